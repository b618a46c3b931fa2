"""``coatcheck doctor``: what it says of real histories, and that what it foresees comes to pass."""

import json
import signal
import socket
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

import pytest
from temporalio.client import WorkflowExecutionStatus
from typer.testing import CliRunner

from coatcheck.cli.app import app
from coatcheck.cli.doctor.page import page
from coatcheck.cli.doctor.words import percent, printable, size
from tests.cli.temporal_runs import completed, hold_talk, run_echo, shown
from tests.doctor.journals import agent, diagnosed, entry, event
from tests.engines.temporal import TemporalServer

HOSTILE = "</title><script>alert(1)</script>\x1b[31m\u202e'\"&[bold]"


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """The output as if lines were never broken."""
        return " ".join(self.out.split())


def run(*arguments: str | Path, given: bytes | None = None) -> Done:
    done = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["doctor", *map(str, arguments)], input=given)
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return Done(done.exit_code, done.stdout, done.stderr)


def values(done: Done) -> dict[str, str | int | float | None]:
    assert (done.code, done.err) == (0, "")
    return {record["name"]: record["value"] for record in json.loads(done.out)}


@pytest.fixture(autouse=True)
def _no_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COATCHECK_KEYS", raising=False)


@pytest.fixture
def at(temporal_server: TemporalServer) -> tuple[str, ...]:
    return ("--address", temporal_server.address, "--namespace", temporal_server.namespace)


@pytest.fixture(scope="module")
def forty(temporal_server: TemporalServer) -> str:
    """An agent of 40 turns that completed."""
    name, status = completed(hold_talk(temporal_server, 40))
    assert status is WorkflowExecutionStatus.COMPLETED
    return name


@pytest.fixture(scope="module")
def ended(temporal_server: TemporalServer) -> str:
    """The same agent, on its way to 130 turns, ended by the server."""
    name, status = completed(hold_talk(temporal_server, 130))
    assert status is WorkflowExecutionStatus.TERMINATED
    return name


@pytest.mark.long
def test_the_turn_at_which_the_server_ends_it_is_foreseen(
    at: tuple[str, ...], forty: str, ended: str
) -> None:
    foreseen = values(run(forty, *at, "--json"))
    came = values(run(ended, *at, "--json"))
    assert foreseen["growth"] == came["growth"] == "quadratic"
    assert foreseen["turns"] == 41
    end = came["turns"]
    assert isinstance(end, int)
    assert came["limit/history_50mb/at_turn"] in {end, end + 1}
    assert foreseen["limit/history_50mb/at_turn"] == pytest.approx(end, rel=0.03)
    assert came["limit/history_10mb/at_turn"] == pytest.approx(foreseen["limit/history_10mb/at_turn"], abs=1)


def test_what_a_chain_saves_is_what_the_demo_measures(at: tuple[str, ...], forty: str) -> None:
    found = values(run(forty, *at, "--json"))
    assert found["history_bytes"] == pytest.approx(8_924_000, rel=0.01)
    assert found["chain/history_bytes"] == pytest.approx(36_000, rel=0.1)
    assert found["chain/stored_bytes"] == pytest.approx(385_000, rel=0.1)
    assert found["chain/objects"] == 80
    assert found["chain/growth"] == "linear"
    assert found["chain/limit/payload_2mb/share"] == pytest.approx(0.0001, abs=0.0001)
    assert isinstance(found["carried_again_share"], float)
    assert found["carried_again_share"] > 0.9


def test_the_report(at: tuple[str, ...], forty: str) -> None:
    done = run(forty, *at)
    assert (done.code, done.err) == (0, "")
    assert max(map(len, done.out.splitlines())) <= 80
    assert done.out.startswith(forty)
    assert "Growth: quadratic." in done.text
    assert "At this growth the run reaches 50 MiB of history at turn 10" in done.text
    assert "(now 41): the workflow is terminated." in done.text
    assert "With coatcheck: 3" in done.text
    for heading in ("limits", "by event type", "by activity", "largest payloads"):
        assert heading in done.out
    assert "ActivityTaskScheduled" in done.out
    assert "Does Lib/" not in done.out, "no payload is shown"


def test_a_run_that_has_met_its_end_is_said_to(at: tuple[str, ...], ended: str) -> None:
    assert "Limit reached: 50 MiB of history at turn 10" in run(ended, *at).text


def test_a_file_says_what_the_server_says(
    temporal_server: TemporalServer, tmp_path: Path, at: tuple[str, ...], forty: str
) -> None:
    file = tmp_path / "history.json"
    file.write_bytes(shown(temporal_server, forty))
    from_file = json.loads(run("--file", file, "--json").out)
    assert from_file == json.loads(run("--file", "-", "--json", given=file.read_bytes()).out)
    from_server = json.loads(run(forty, *at, "--json").out)
    # Keys are random, and so are ids and what they compress to.
    assert [record for record in from_file if not record["name"].startswith("chain/")] == [
        record for record in from_server if not record["name"].startswith("chain/")
    ]


def test_a_query_finds_many(temporal_server: TemporalServer, at: tuple[str, ...], forty: str) -> None:
    small = completed(run_echo(temporal_server, "hello"))
    query = f'WorkflowId="{forty}" OR WorkflowId="{small}"'
    done = run("--query", query, *at)
    assert (done.code, done.err) == (0, "")
    rows = [line for line in done.out.splitlines() if "agent-" in line or "echo-" in line]
    assert [row.split()[0][:5] for row in rows] == ["agent", "echo-"], (
        "the one closest to a limit comes first"
    )
    cases = {
        record["case"].partition("/")[0] for record in json.loads(run("--query", query, *at, "--json").out)
    }
    assert cases == {forty, small}
    assert run("--query", query, "--limit", "1", *at).out.count("echo-") == 1
    nothing = run("--query", 'WorkflowId="nothing"', *at)
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no workflow matches the query\n")
    assert json.loads(run("--query", 'WorkflowId="nothing"', *at, "--json").out) == []


def test_the_settings_say_which_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, ...], forty: str
) -> None:
    usual = values(run(forty, *at, "--json"))
    (tmp_path / "coatcheck.toml").write_text("codecs = []\n[offload]\nover = 50000\n")
    found = values(run(forty, *at, "--json"))
    assert found["chain/over"] == 50_000
    assert isinstance(usual["chain/objects"], int)
    assert isinstance(found["chain/objects"], int)
    assert found["chain/objects"] < usual["chain/objects"]
    assert list(tmp_path.iterdir()) == [tmp_path / "coatcheck.toml"], "nothing goes to the settings' store"
    monkeypatch.setenv("COATCHECK_OFFLOAD__OVER", "much")
    done = run(forty, *at)
    assert (done.code, done.out) == (1, "")
    assert "offload.over: must be a whole number" in done.err


def test_the_server_is_that_of_the_temporal_command(
    temporal_server: TemporalServer, monkeypatch: pytest.MonkeyPatch, forty: str
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", temporal_server.namespace)
    assert run(forty).code == 0


def refusal(*arguments: str | Path, code: int = 1) -> str:
    done = run(*arguments)
    assert (done.code, done.out, done.err.count("\n")) == (code, "", 1)
    assert done.err.startswith("coatcheck doctor: ")
    return done.err


def test_what_cannot_be_done_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, ...]
) -> None:
    assert "says not found" in refusal("no-such-workflow", *at)
    assert "invalid" in refusal("--query", "what?", *at)
    assert "does not answer" in refusal("x", "--address", "127.0.0.1:1", code=75)
    assert "No such file" in refusal("--file", tmp_path / "missing")
    (tmp_path / "history.json").write_text("hunter2")
    assert "temporal workflow show" in refusal("--file", tmp_path / "history.json")
    assert "hunter2" not in refusal("--file", tmp_path / "history.json")
    assert "does not exist" in refusal("x", *at, "--html", tmp_path / "missing" / "page.html")
    (tmp_path / "temporal.toml").write_text("[profile")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))
    assert "the configuration of Temporal's clients cannot be read" in refusal("x")


@pytest.mark.parametrize(
    "arguments", [(), ("x", "--file", "y"), ("x", "--query", "y"), ("x", "--limit", "0")]
)
def test_what_is_no_use_of_it(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).code == 2


@pytest.mark.parametrize("command", ["doctor", "get"])
def test_without_temporal_one_line_names_the_extra(command: str) -> None:
    program = (
        f"import sys; sys.modules['temporalio'] = None; sys.argv[1:] = [{command!r}, 'x']; "
        "from coatcheck.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"coatcheck {command}: temporalio is not installed. pip install 'coatcheck[temporal]'\n"
    )


def test_ctrl_c_ends_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        program = "from coatcheck.cli import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", program, "doctor", "x", "--address", address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = mute.accept()
            with connection:
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


class Balance(HTMLParser):
    """Checks that every element is closed where it must be, and collects what there is."""

    VOID = frozenset({"meta"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in {"href", "src"}}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Balance:
    assert html.startswith("<!doctype html>\n")
    found = Balance()
    found.feed(html)
    found.close()
    assert found.open == []
    assert not found.tags & {"script", "link", "img", "iframe", "object"}
    assert not any(name.startswith("on") for name in found.attributes)
    assert all(link.startswith("#run-") for link in found.links)
    return found


def test_the_page(tmp_path: Path, at: tuple[str, ...], forty: str) -> None:
    file = tmp_path / "page.html"
    assert run(forty, *at, "--html", file).code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = parsed(file.read_text())
    assert {"svg", "table", "polyline"} <= found.tags
    assert forty in found.text
    assert "At this growth the run reaches 50 MiB of history" in found.text
    assert "Does Lib/" not in found.text
    assert "--force" in refusal(forty, *at, "--html", file)
    assert run(forty, *at, "--html", file, "--force").code == 0


def test_a_page_of_many_has_a_link_to_each() -> None:
    found = parsed(page([diagnosed(agent([b"x"] * 9, case=f"case-{n}/run")) for n in range(3)]))
    assert found.links == {"#run-1", "#run-2", "#run-3"}
    assert "case-2/run" in found.text
    assert "0 runs" in parsed(page([])).text


def test_hostile_names_stay_text_on_the_page() -> None:
    journal = agent([b"x" * 90 * turn for turn in range(9)], case=HOSTILE)
    named = event(99, HOSTILE, entry(HOSTILE, b"x" * 90_000), entry("again", b"x" * 90_000), step=HOSTILE)
    html = page([diagnosed(type(journal)(HOSTILE, (*journal.events, named)))])
    assert parsed(html).text.count(printable(HOSTILE)) >= 4
    assert not {"\x1b", "\u202e"} & set(html)


def test_short_histories_have_a_page_too() -> None:
    for turns in range(4):
        parsed(page([diagnosed(agent([b"x"] * turns))]))


def test_hostile_names_stay_text_in_the_terminal(
    temporal_server: TemporalServer, tmp_path: Path, forty: str
) -> None:
    history = shown(temporal_server, forty).decode()
    renamed = history.replace('"name": "step"', f'"name": {json.dumps(HOSTILE)}')
    (tmp_path / "history.json").write_text(renamed)
    done = run("--file", tmp_path / "history.json")
    assert done.code == 0
    assert "[bold]" in done.out, "it is no markup either"
    assert not {"\x1b", "\u202e"} & set(done.out)


@pytest.mark.parametrize(
    ("count", "said"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1024**2 - 1, "1.0 MiB"), (50 * 2**20, "50.0 MiB")],
)
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said


def test_words() -> None:
    assert [percent(share) for share in (0, 0.001, 0.25, 5.08)] == ["0%", "<1%", "25%", "508%"]
    assert printable("abcdefghij", 5) == "ab…ij"
    assert printable("a\nb\x00") == "a\ufffdb\ufffd"
