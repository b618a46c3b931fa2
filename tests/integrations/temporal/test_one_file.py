"""Chain, workflow and worker in one file, as a first program has them, run as a script."""

from pathlib import Path

import pytest

from tests.engines.temporal import TemporalServer
from tests.integrations.temporal.fresh import OLDEST_CRYPTOGRAPHY, Fresh

IMPORTS = """
from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin, wrap_data_converter
"""
PROGRAM = """
import asyncio
import sys

from temporalio import workflow
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Worker
{imports}
chain = Chain(Zstd(), Encrypt(Keyring(Key(bytes(32)))), Offload(FileStore("store"), over=1024))


@workflow.defn
class Shout:
    @workflow.run
    async def run(self, data: str) -> str:
        return data.upper()


async def main(address: str, queue: str) -> None:
    client = await Client.connect(address, {options})
    async with Worker(client, task_queue=queue, workflows=[Shout]):
        print(await client.execute_workflow(Shout.run, '"refund"', id=queue, task_queue=queue))


{before}if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
"""
WAYS = {
    "plug-in": ("plugins=[ClaimCheckPlugin(chain)]", ""),
    "converter": (
        "data_converter=converter",
        "converter = wrap_data_converter(DataConverter.default, chain)\n\n\n",
    ),
}


@pytest.mark.parametrize(
    ("way", "passed_through", "packages"),
    [
        ("plug-in", False, ()),
        ("plug-in", True, ()),
        ("converter", False, ()),
        ("converter", True, ()),
        ("converter", False, (OLDEST_CRYPTOGRAPHY,)),
    ],
)
async def test_a_file_with_a_chain_and_a_workflow_failed_to_be_validated(
    temporal_server: TemporalServer, tmp_path: Path, way: str, passed_through: bool, packages: tuple[str, ...]
) -> None:
    imports = IMPORTS
    if passed_through:
        imports = "\nwith workflow.unsafe.imports_passed_through():" + IMPORTS.replace("\n", "\n    ")
    options, before = WAYS[way]
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(imports=imports, options=options, before=before))
    fresh = Fresh(packages, folder=tmp_path)
    assert await fresh.run(str(program), temporal_server.address, tmp_path.name) == "REFUND"
