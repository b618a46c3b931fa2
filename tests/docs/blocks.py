"""What the documentation says in code, as a CommonMark parser finds it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced or indented block."""

    line: int
    """Of its first line of code, from 1."""
    language: str
    """Empty where none is given."""
    title: str
    """The name of the file that it is, if it is a whole one."""
    source: str


def blocks(page: Path) -> list[Block]:
    """Every block of code of a page, in order."""
    found = []
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type in {"fence", "code_block"}:
            assert token.map is not None
            language, _, options = token.info.partition(" ")
            title = re.search(r'title="([^"]+)"', options)
            # The line after the fence, counted from 1.
            line = token.map[0] + (2 if token.type == "fence" else 1)
            found.append(Block(line, language, title[1] if title else "", token.content))
    return found


def spans(page: Path) -> list[str]:
    """Every piece of code that stands in a sentence or a table."""
    parser = MarkdownIt().enable("table")
    found = []
    for token in parser.parse(page.read_text(encoding="utf-8")):
        found += [child.content for child in token.children or () if child.type == "code_inline"]
    return found


def commands(source: str) -> Iterator[str]:
    """The commands of a console block: what follows a ``$``, with the lines that a backslash continues it with."""
    lines = iter(source.splitlines())
    for line in lines:
        if line.startswith("$ "):
            command = line.removeprefix("$ ")
            while command.endswith("\\"):
                command = command.removesuffix("\\") + next(lines)
            yield command
