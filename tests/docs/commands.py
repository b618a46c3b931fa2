"""Whether what a command line names is there: the command and its options, the extra, the target, the module."""

import re
import shlex
import tomllib
from functools import cache
from importlib.util import find_spec

from typer.core import TyperGroup
from typer.main import get_command

from coatcheck.cli.app import app
from coatcheck.cli.doctor.group import DefaultGroup
from tests.docs.blocks import ROOT

PLACEHOLDER = re.compile(r"\.\.\.|…|\b[A-Z][A-Z_]{2,}\b")
"""What a reader has to fill in."""
_TRACED = {"coatcheck encode", "coatcheck decode", "coatcheck store create"}
"""Spans that telemetry.md tells of."""


def check(command: str) -> None:
    """Fail if the command cannot be what a reader is to type."""
    for simple in _simple_commands(command):
        match simple:
            case ["coatcheck", *arguments]:
                _check_ours(arguments, whole=not PLACEHOLDER.search(" ".join(arguments)))
            case ["make", *targets]:
                for target in targets:
                    assert "=" in target or target in _targets(), f"there is no `make {target}`"
            case ["pip", "install", *requirements]:
                for requirement in requirements:
                    _check_extras(requirement)
            case [("python" | "python3"), "-m", module, *_]:
                assert find_spec(module), f"there is no module {module}"
            case [("python" | "python3"), script, *_] if script.endswith(".py"):
                assert (ROOT / script).is_file(), f"there is no {script}"
            case _:
                pass


def check_span(span: str) -> None:
    """Fail if a ``coatcheck ...`` in a sentence names a command or an option that is not there."""
    if re.match(r"coatcheck [a-z]", span) and span not in _TRACED:
        words = shlex.split(span)[1:]
        last = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
        alternatives = next((word for word in words[:last] if "|" in word), None)
        for alternative in alternatives.split("|") if alternatives else [""]:
            _check_ours(
                [alternative if word == alternatives else word for word in words],
                whole=False,
            )


def _simple_commands(command: str) -> list[list[str]]:
    """The commands in a line of shell, each as its words: also those in ``$(...)``, pipes and lists."""
    parts = re.findall(r"\$\(([^)]*)\)", command)
    lexer = shlex.shlex(re.sub(r"\$\([^)]*\)", "x", command), posix=True, punctuation_chars="|&;><")
    lexer.whitespace_split = True
    words: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;><"):
            words.append([])
        else:
            words[-1].append(word)
    return [*words, *(shlex.split(part) for part in parts)]


def _check_ours(arguments: list[str], *, whole: bool) -> None:
    """Parse as the program would; where a part is left to the reader, look up commands and options one by one."""
    command = get_command(app)
    rest = list(arguments)
    while isinstance(command, TyperGroup):
        if isinstance(command, DefaultGroup):
            rest = command.named(rest)
        if not rest or rest[0].startswith("-"):
            break
        assert rest[0] in command.commands, f"there is no `coatcheck {rest[0]}` in {' '.join(arguments)!r}"
        command = command.commands[rest.pop(0)]
    if whole:
        assert not isinstance(command, TyperGroup) or rest, f"{' '.join(arguments)!r} is no whole command"
        command.make_context("coatcheck", rest)
        return
    known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for word in rest:
        option = word.partition("=")[0]
        assert not option.startswith("--") or option in known, f"{command.name} has no {option}"


def _check_extras(requirement: str) -> None:
    found = re.fullmatch(r"coatcheck(?:\[([a-z,]+)\])?", requirement)
    if found:
        missing = set(filter(None, (found[1] or "").split(","))) - _extras()
        assert not missing, f"there is no extra {missing}"


@cache
def _extras() -> frozenset[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return frozenset(project["optional-dependencies"])


@cache
def _targets() -> frozenset[str]:
    return frozenset(
        re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
