"""A process that serves an agent: ``python -m tests.integrations.inngest.process URL APP FOLDER PORT HANG_IN``.

Says ``ready`` when it can be asked, and ``hanging`` in the step that it never comes back from; -1 for none.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import uvicorn
from inngest import Context

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, Zstd
from coatcheck.integrations.inngest import claim_check
from tests.chains import KEY
from tests.engines.inngest import InngestServer
from tests.integrations.inngest.serving import fast_api_of, new_app, text

STEPS = 8
SIZE = 100_000


def chain_in(folder: Path) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(FileStore(folder)))


async def main(url: str, name: str, folder: Path, port: int, hang_in: int) -> None:
    app = new_app(InngestServer(int(url.rsplit(":", 1)[1])), claim_check(chain_in(folder)), name=name)

    @app.client.create_function(fn_id="agent", trigger=app.on("go"))
    async def agent(ctx: Context) -> Any:
        said: list[str] = []
        for number in range(STEPS):

            async def think(number: int = number) -> str:
                if number == hang_in:
                    sys.stdout.write("hanging\n")
                    sys.stdout.flush()
                    await asyncio.Event().wait()
                return text(SIZE, f"{number} {len(said)}")

            said.append(await ctx.step.run(f"think-{number}", think))
        return {"said": said, "asked": ctx.event.data}

    fast_api = fast_api_of(app, [agent])
    await ReadyServer(uvicorn.Config(fast_api, port=port, log_level="error", ws="none")).serve()


class ReadyServer(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])))
