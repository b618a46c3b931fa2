"""Find the fields of events that an expression refers to.

Inngest evaluates expressions (CEL, github.com/google/cel-spec) over events as they were sent. This reads as much of the
language as it takes to find every path that starts at an event, and refuses what it does not understand.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from coatcheck.errors import ConfigError

ROOTS: Final = frozenset({"event", "async"})
"""Names of the event that triggered the run, and of the one that resumes or cancels it."""
_WORDS: Final = frozenset({"true", "false", "null", "in"})
_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
"""Calls whose first argument names a variable."""
_LIBRARIES: Final = frozenset({"math", "strings", "lists", "sets", "base64", "optional", "date", "time"})
"""Namespaces of functions, which are not values."""
_TOKEN: Final = re.compile(
    r"""\s+ | //[^\n]*
    | (?P<text>[rRbB]{0,2} (?: \"\"\"(?s:(?:\\.|[^\\])*?)\"\"\" | '''(?s:(?:\\.|[^\\])*?)'''
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' ))
    | (?P<number>\d[\w.]*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<sign>\.\?|\[\?|&&|\|\||[=!<>]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)


class Path(NamedTuple):
    """A value that an expression refers to: ``event.data.order.id``."""

    root: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        return ".".join((self.root, *self.names))


class _Token(NamedTuple):
    kind: str
    text: str


def paths_in(expression: str) -> list[Path]:
    """Return every path that starts at an event, each as far as its names are known.

    ``event.data["order"].id`` and ``event.data.order.id`` are the same.

    Raises:
        ConfigError: It is not an expression, or its references cannot be determined.
    """
    tokens = [*_tokens(expression), _Token("end", "")]
    variables = _variables(tokens)
    found: list[Path] = []
    at = 0
    while tokens[at].kind != "end":
        kind, text = tokens[at]
        before, after = tokens[at - 1].text if at else "", tokens[at + 1].text
        at += 1
        if kind != "name" or before in (".", ".?"):
            continue
        if text in ROOTS:
            names, at = _names(tokens, at, expression)
            found.append(Path(text, names))
        elif after != "(" and text not in _WORDS | variables and not (text in _LIBRARIES and after == "."):
            raise _refusal(expression, f"{text!r} is neither `event` nor `async`")
    return found


def _tokens(expression: str) -> Iterator[_Token]:
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise _refusal(expression, f"{expression[at : at + 20]!r} is not understood")
        at = match.end()
        if match.lastgroup is not None:
            yield _Token(match.lastgroup, match.group())


def _variables(tokens: Sequence[_Token]) -> set[str]:
    """Return the names that macros bind: ``tag`` in ``event.data.list.exists(tag, tag == 1)`` has no meaning of its own."""
    return {
        tokens[at + 2].text
        for at in range(len(tokens) - 3)
        if (tokens[at].text in _MACROS, tokens[at + 1].text, tokens[at + 2].kind, tokens[at + 3].text)
        == (True, "(", "name", ",")
    }


def _names(tokens: Sequence[_Token], at: int, expression: str) -> tuple[tuple[str, ...], int]:
    """Return the chain of names from a root on, without the function that is called at its end."""
    names: list[str] = []
    while True:
        sign, first, second = (tokens[min(at + ahead, len(tokens) - 1)] for ahead in range(3))
        if sign.text in (".", ".?"):
            if first.kind != "name":
                raise _refusal(expression, f"{first.text!r} is not a name")
            if second.text == "(":
                break
            names.append(first.text)
            at += 2
        elif sign.text in ("[", "[?") and first.kind == "text" and second.text == "]":
            names.append(_unquoted(first.text, expression))
            at += 3
        else:
            # What follows picks from a list, or by a computed name: the path before it is what has to be there.
            break
    return tuple(names), at


def _unquoted(text: str, expression: str) -> str:
    quote = text[-1]
    if text[0] not in "'\"" or text[:3] == quote * 3 or "\\" in text:
        raise _refusal(expression, f"the name {text} is not understood")
    return text[1:-1]


def _refusal(expression: str, why: str) -> ConfigError:
    return ConfigError(
        f"the expression `{expression[:200]}` cannot be read: {why}",
        "Write fields of events as event.data.name or async.data.name.",
    )
