"""A workflow whose first large payload is one that it writes: what it is given is next to nothing."""

from datetime import timedelta
from hashlib import sha256

from temporalio import activity, workflow

STEPS = 12


@activity.defn
async def answer(conversation: str) -> str:
    """The next message."""
    return "".join(sha256(f"{len(conversation)} {n}".encode()).hexdigest() for n in range(30))


@workflow.defn
class Growing:
    """Gives each step all that was said before."""

    @workflow.run
    async def run(self) -> str:
        said = ""
        for _ in range(STEPS):
            said += await workflow.execute_activity(
                answer, said, start_to_close_timeout=timedelta(seconds=20)
            )
        return said
