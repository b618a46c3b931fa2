"""The house is built as docs/architecture.md says."""

import ast
import os
import re
from graphlib import TopologicalSorter
from pathlib import Path

import coatcheck

PACKAGE = Path(str(coatcheck.__file__)).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"
LAZY = ("chain.py", "coatcheck.settings.model")
"""The one import against the stream: `Chain.from_settings`, when it is called."""


def rules() -> dict[str, set[str]]:
    """What each part may import, by the page; the command line may import everything."""
    rows = re.findall(r"^\| `(\w+)` \| ([\w., ]*) ?\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {part: {name for name in re.split(r",\s*", allowed.strip()) if name} for part, allowed in rows}


def modules() -> list[Path]:
    """Also those in the linked folders, which ``rglob`` passes by."""
    walk = os.walk(PACKAGE, followlinks=True)
    return [Path(folder, name) for folder, _, names in walk for name in names if name.endswith(".py")]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return {name for name in found if name.startswith("coatcheck.")}


def part_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_each_part_imports_what_the_page_says_and_nothing_else() -> None:
    allowed = rules()
    unused = {(part, other) for part, others in allowed.items() for other in others}
    for path in modules():
        part, name = part_of(path), str(path.relative_to(PACKAGE))
        if part in ("__init__", "_version", "py", "cli"):
            continue
        for imported in imports_of(path):
            if (name, imported) == LAZY:
                continue
            inner = imported.removeprefix("coatcheck.")
            other = inner.partition(".")[0]
            fits = {rule for rule in allowed[part] if inner == rule or inner.startswith(f"{rule}.")}
            assert fits or other == part, f"{name} imports {imported}"
            unused -= {(part, rule) for rule in fits}
    assert not {rule for rule in unused if rule != ("chain", "settings")}


def test_no_part_leads_back_to_itself() -> None:
    graph = {part: {other.partition(".")[0] for other in others} for part, others in rules().items()}
    graph["chain"].discard("settings")
    assert "cli" in graph
    assert list(TopologicalSorter(graph).static_order())


def test_the_command_line_is_nobodys() -> None:
    users = {
        part_of(path) for path in modules() if any(m.startswith("coatcheck.cli") for m in imports_of(path))
    }
    assert users == {"cli"}


def test_integrations_use_nothing_behind_the_chain() -> None:
    """What stands behind the chain is reached by names with an underscore, or by the pipeline's modules."""
    behind = re.compile(r"chain\._\w+|coatcheck\.pipeline\.(?!upload\b)")
    for path in modules():
        if part_of(path) == "integrations":
            assert not behind.search(path.read_text(encoding="utf-8")), path.name


def test_a_payloads_way_on_the_page_is_made_of_files() -> None:
    text = PAGE.read_text(encoding="utf-8")
    ways = re.findall(r"^\| \d+ \| (.*?) \|", text, re.MULTILINE)
    files = [name for cell in ways for name in re.findall(r"`([\w/]+\.py)`", cell)]
    assert len(files) > 20
    assert [name for name in files if not (PACKAGE / name).is_file()] == []
