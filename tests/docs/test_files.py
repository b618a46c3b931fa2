"""Files that other files of the repository name exist: nobody is sent to a document that only its writer has."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT, blocks

FOLDERS = (".github", "benchmarks", "codecs", "docs", "examples", "integrations", "src", "stores", "tests")
TEXT = {".html", ".md", ".py", ".toml", ".yml"}
DOCUMENT = re.compile(r"[\w./-]*\w\.md\b")
SOURCE = re.compile(r"`([\w./-]*\w\.py)`")


def files() -> list[Path]:
    tops = [path for path in ROOT.iterdir() if path.is_file()]
    below = [
        Path(at, name) for folder in FOLDERS for at, _, names in os.walk(ROOT / folder) for name in names
    ]
    return [path for path in (*tops, *below) if "__pycache__" not in path.parts]


FILES = files()
ENDS = {
    "/".join(parts[start:])
    for path in FILES
    for parts in [path.relative_to(ROOT).parts]
    for start in range(len(parts))
}
"""Every path, and each end of it: a sentence may leave out the folders above."""


def named_in(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    yield from DOCUMENT.findall(text)
    if path.suffix in {".md", ".py"}:
        written = {block.title for block in blocks(path)} if path.suffix == ".md" else set()
        yield from set(SOURCE.findall(text)) - written


def is_there(name: str) -> bool:
    return re.sub(r"^(\.\.?/)+", "", name) in ENDS


def test_what_is_named_is_there() -> None:
    texts = [path for path in FILES if path.suffix in TEXT or path.name == "Makefile"]
    assert len(texts) > 500
    assert {
        f"{path.relative_to(ROOT)}: {name}" for path in texts for name in named_in(path) if not is_there(name)
    } == set()


@pytest.mark.parametrize("name", ["plan", "docs/plan", "../plan", "storage/plan"])
def test_a_name_of_what_is_not_there_is_found(name: str) -> None:
    assert not is_there(f"{name}.md")
    assert not is_there(f"{name}.py")


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent == ROOT], ids=lambda page: page.name)
def test_the_links_of(page: Path) -> None:
    """Pages outside of `docs/`; the site checks its own."""
    targets = re.findall(r"\]\((?!https?://|mailto:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert targets
    assert [target for target in targets if not (page.parent / target).exists()] == []
