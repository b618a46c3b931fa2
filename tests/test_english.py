"""Docstrings say the thing they are, or begin with a verb: a reader in an incident does not complete half sentences."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HALF_SENTENCE = re.compile(r"(What|Which|Whether|Whose|Where|How|Of|Who|When|That|Those)\b")
FOLDERS = ("src/coatcheck", "codecs", "stores", "integrations", "benchmarks")


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield the docstrings of a module, its classes, functions, attributes and constants, with their lines."""
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            if (
                isinstance(statement, ast.Expr)
                and isinstance(statement.value, ast.Constant)
                and isinstance(statement.value.value, str)
            ):
                yield statement.lineno, statement.value.value.strip()


def half_sentences(path: Path) -> list[str]:
    """Return the docstrings of a file that begin with a question word or a genitive."""
    return [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for line, text in docstrings(path.read_text())
        if HALF_SENTENCE.match(text)
    ]


def sources(folder: str) -> list[Path]:
    """Return the Python files in a folder of the repository; its links lead to folders that are named by themselves."""
    return sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.skipif(not (ROOT / "src").exists(), reason="the suite runs against a wheel, without the sources")
@pytest.mark.parametrize("folder", FOLDERS)
def test_no_docstring_begins_with_a_question_word(folder: str) -> None:
    assert sources(folder)
    found = [said for path in sources(folder) for said in half_sentences(path)]
    assert not found, "\n".join(found)


def test_half_sentences_are_found_wherever_docstrings_stand() -> None:
    source = '"""What it is."""\nX = 1\n"""How many."""\nclass A:\n    """Of one."""\n    def f(self):\n        """Return."""\n'
    assert [text for _, text in docstrings(source) if HALF_SENTENCE.match(text)] == [
        "What it is.",
        "How many.",
        "Of one.",
    ]
