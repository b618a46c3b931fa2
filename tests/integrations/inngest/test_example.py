"""The example runs as it stands."""

import asyncio
import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import httpx
import pytest

from tests.engines.inngest import InngestServer, serving_asgi
from tests.integrations.inngest.serving import App, Wire, closing, register, until

EXAMPLE = Path(__file__).parents[3] / "examples" / "inngest_agent.py"


async def test_the_agent(
    inngest_server: InngestServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_DEV", inngest_server.url)
    monkeypatch.setenv("PAYLOADS", str(tmp_path))
    spec = spec_from_file_location("inngest_agent", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)

    async def send(name: str, **data: object) -> str:
        async with httpx.AsyncClient() as http:
            answer = await http.post(f"{inngest_server.url}/e/key", json={"name": name, "data": data})
            return str(answer.json()["ids"][0])

    wire = Wire()
    async with closing(App(inngest_server, example.client, "reports")):
        with serving_asgi(wire.around_asgi(example.app)) as port:
            await register(port)
            sent = await send("report/asked", report=7, about="tides")
            run = await inngest_server.started_by(sent)
            await until(lambda: any(b"WaitForEvent" in answer for answer in wire.answers))
            asked = len(wire.of(run))
            async with asyncio.timeout(60):
                while len(wire.of(run)) == asked:
                    await send("report/approved", report=7, by="Ada")
                    await inngest_server.started_by(sent)
            [ended] = await inngest_server.runs_of(sent)
    assert ended["status"] == "Completed", ended
    report = await example.middleware.unwrap(ended["output"])
    assert (report["report"], report["approved_by"], len(report["summary"])) == (7, "Ada", 20_000)
    assert max(len(json.dumps(request["steps"])) for request in wire.of(run)) < 3_000
