"""The packages use each other as docs/architecture.md says, and integrations the seam of docs/adding-an-engine.md alone."""

import ast
import os
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from graphlib import TopologicalSorter
from pathlib import Path
from types import FrameType

import coatcheck
from coatcheck import Chain, Encrypt, Keyring, MemoryStore, Offload, PayloadCache, Scope, Zstd
from tests.chains import KEY

PACKAGE = Path(str(coatcheck.__file__)).parent
DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "architecture.md"
SEAM = DOCS / "adding-an-engine.md"
LAZY = ("chain.py", "settings.model")
"""The one import against the stream: `Chain.from_settings`, when it is called."""
HOMES: dict[str, str] = vars(coatcheck)["_HOME"]


def rules() -> dict[str, set[str]]:
    """Return the imports that the page allows each part; the command line may import everything."""
    rows = re.findall(r"^\| `([\w.]+)` \| ([\w., ]*) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {part: {name for name in re.split(r",\s*", allowed.strip()) if name} for part, allowed in rows}


def modules() -> list[Path]:
    """Also those in the linked folders, which ``rglob`` passes by."""
    walk = os.walk(PACKAGE, followlinks=True)
    return [Path(folder, name) for folder, _, names in walk for name in names if name.endswith(".py")]


def imports_of(path: Path) -> set[str]:
    """Modules below ``coatcheck``; what comes from its face counts as imported from where it is defined."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path.name} has a relative import"
            names = (
                {HOMES.get(alias.name, f"coatcheck.{alias.name}") for alias in node.names}
                if node.module == "coatcheck"
                else {node.module or ""}
            )
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        else:
            continue
        found |= names
    assert "coatcheck" not in found, f"{path.name} imports the face as a whole"
    return {name.removeprefix("coatcheck.") for name in found if name.startswith("coatcheck.")}


def part_of(path: Path, parts: set[str]) -> str:
    """The part that a module belongs to: the smallest that the page names."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return max((part for part in parts if covers(part, module)), key=len, default="")


def covers(rule: str, module: str) -> bool:
    return module == rule or module.startswith(f"{rule}.")


def test_each_part_imports_what_the_page_says_and_nothing_else() -> None:
    allowed = rules()
    unused = {(part, other) for part, others in allowed.items() for other in others}
    for path in modules():
        name, part = str(path.relative_to(PACKAGE)), part_of(path, set(allowed))
        if name in ("__init__.py", "_version.py") or part == "cli":
            continue
        assert part, f"{name} belongs to no part of the page"
        for imported in imports_of(path):
            if (name, imported) == LAZY:
                continue
            fits = {rule for rule in allowed[part] if covers(rule, imported)}
            is_own = imported.partition(".")[0] == part.partition(".")[0]
            assert fits or is_own, f"{name} imports {imported}"
            unused -= {(part, rule) for rule in fits}
    assert unused == {("chain", "settings"), ("cli", "everything")}


def test_no_part_leads_back_to_itself() -> None:
    graph = {part: {other.partition(".")[0] for other in others} for part, others in rules().items()}
    graph["chain"].discard("settings")
    assert "cli" in graph
    assert list(TopologicalSorter(graph).static_order())


def test_the_command_line_is_nobodys() -> None:
    users = {
        path.relative_to(PACKAGE).parts[0]
        for path in modules()
        if any(covers("cli", m) for m in imports_of(path))
    }
    assert users == {"cli"}


def seam() -> set[str]:
    """Return the names that the page lets an integration use."""
    table = SEAM.read_text(encoding="utf-8").partition("\n## What a hook must promise")[0]
    rows = re.findall(r"^\| .+? \| (.*) \|$", table, re.MULTILINE)
    return {name for cell in rows for name in re.findall(r"`([A-Za-z_.]+)`", cell)} - {"retryable"}


def used_of_a_chain(path: Path) -> Iterator[str]:
    """The attributes of whatever is called a chain."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if name in {"chain", "_chain"}:
                yield node.attr


def test_the_seam_is_public() -> None:
    of_chain = {name.partition(".")[2] for name in seam() if name.startswith("Chain.")}
    others = {name.partition(".")[0] for name in seam()}
    assert len(of_chain) > 15
    chain = Chain(Offload(MemoryStore()))
    assert [name for name in of_chain if name.startswith("_") or not hasattr(chain, name)] == []
    assert others - set(coatcheck.__all__) == set()


def test_integrations_use_of_a_chain_what_the_page_says() -> None:
    allowed = {name.partition(".")[2] for name in seam() if name.startswith("Chain.")}
    used: set[str] = set()
    for path in modules():
        if covers("integrations", ".".join(path.relative_to(PACKAGE).parts)):
            found = set(used_of_a_chain(path))
            assert found <= allowed, f"{path.name} uses {found - allowed} of a chain"
            used |= found
    assert used == allowed


def test_the_hooks_of_engines_have_their_names_from_the_seam() -> None:
    """Beside what is no part of a chain: the runtime, the doctor's records and the forms in which things are shown."""
    homes = {HOMES[name.partition(".")[0]].removeprefix("coatcheck.") for name in seam()} - {"errors"}
    beside = {"_version", "doctor.journal", "errors", "format.shown", "offload", "runtime"}
    assert rules()["integrations"] - homes == beside


def ways() -> list[list[str]]:
    """The files of the page's two tables, in order: into the journal, and back."""
    text = PAGE.read_text(encoding="utf-8")
    tables = re.split(r"^## ", text, flags=re.MULTILINE)
    return [re.findall(r"^\| \d+ \| `([\w/]+\.py)` \|", table, re.MULTILINE) for table in tables[1:3]]


def helpers() -> tuple[str, ...]:
    text = PAGE.read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^Helpers that both ways call.*?\n\n", text, re.MULTILINE | re.DOTALL)
    return tuple(re.findall(r"`([\w/]+(?:\.py|/))`", sentence))


@contextmanager
def followed() -> Iterator[list[tuple[str, str]]]:
    """Note all that is called in the package, on this thread: its file and its name."""
    found: list[tuple[str, str]] = []
    links = {(PACKAGE / name).resolve(): name for name in ("codecs", "stores")}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.endswith(".py"):
            path = Path(frame.f_code.co_filename).resolve()
            for folder, name in (*links.items(), (PACKAGE.resolve(), "")):
                if path.is_relative_to(folder):
                    found.append((str(Path(name, path.relative_to(folder))), frame.f_code.co_name))
                    break

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


SCOPE = Scope("acme", "run-1")
PAYLOAD = random.Random(1).randbytes(12_000).hex().encode()
"""Few enough bytes for the event loop, and too many for the journal, also when compressed."""


def chain(store: MemoryStore) -> Chain:
    return Chain(Zstd(), Encrypt(Keyring(KEY)), Offload(store), cache=PayloadCache(2**20))


async def test_a_payload_takes_the_way_that_the_page_shows() -> None:
    store = MemoryStore()
    writer, reader = chain(store), chain(store)
    with followed() as calls_in:
        journaled = await writer.encode(PAYLOAD, SCOPE)
    with followed() as calls_back:
        assert await reader.decode(journaled, SCOPE) == PAYLOAD
    for calls, shown in zip((calls_in, calls_back), ways(), strict=True):
        met = list(dict.fromkeys(name for name, _ in calls))
        assert [name for name in met if not name.startswith(helpers())] == shown
    assert [len(shown) for shown in ways()] == [12, 12]


async def test_a_references_bytes_were_made_three_times_and_a_listing_waited_for_twice() -> None:
    store = MemoryStore()
    writer, reader = chain(store), chain(store)
    with followed() as calls_in:
        journaled = await writer.encode(PAYLOAD, SCOPE)
    with followed() as calls_back:
        assert await reader.decode(journaled, SCOPE) == PAYLOAD
    made = Counter(name for _, name in calls_in)
    assert (made["unsigned_reference"], made["wait_for_listing"]) == (1, 1)
    assert Counter(name for _, name in calls_back)["unsigned_reference"] == 0


async def test_a_scopes_keys_were_looked_up_again_for_each_payload() -> None:
    """Where they need not be loaded: what has to be loaded also expires."""
    store = MemoryStore()
    one = chain(store)
    journaled = await one.encode(PAYLOAD, SCOPE)
    assert await one.decode(journaled, SCOPE) == PAYLOAD
    with followed() as calls:
        assert await one.encode(PAYLOAD, SCOPE) == journaled
        assert await one.decode(journaled, SCOPE) == PAYLOAD
    asked = [name for file, name in calls if file == "codecs/aead.py"]
    assert set(asked) <= {"primary_key_id", "object_id", "mac"}
    assert asked.count("primary_key_id") == 1
