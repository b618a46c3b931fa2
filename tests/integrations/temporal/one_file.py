"""A workflow in a file that makes a chain as well, as a first program does."""

from temporalio import workflow

from coatcheck import Chain, MemoryStore, Offload, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin

PLUGIN = ClaimCheckPlugin(Chain(Zstd(), Offload(MemoryStore())))


@workflow.defn
class OneFile:
    """Gives back what it was given."""

    @workflow.run
    async def run(self, data: str) -> str:
        return data
