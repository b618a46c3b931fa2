"""Makes and tries the mutants in the tree that is the working directory; :mod:`tests.security.mutation` starts it.

Each mutant is tried in a fork of this process, which has loaded everything but coatcheck: to load that for each would take
far longer than the tests.
"""

import importlib
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cosmic_ray import mutating, plugins  # type: ignore[import-untyped]
from cosmic_ray.ast import ast_nodes, get_ast_from_path  # type: ignore[import-untyped]

MODULES = (
    Path("src/coatcheck/format/envelope.py"),
    Path("codecs/aead.py"),
    Path("src/coatcheck/format/reference.py"),
)
"""As they lie, not through the links: a mutant is written to the file."""
STAGES = (
    ("tests/format/test_wire_format.py",),
    (
        "tests/format/test_envelope.py",
        "tests/format/test_reference.py",
        "tests/keys/test_keyring.py",
        "tests/published/test_sealing.py",
        "tests/published/test_hkdf.py",
        "tests/published/test_hmac.py",
        "tests/security/test_swaps.py",
        "tests/security/test_commitment.py",
        "tests/security/test_downgrade.py",
    ),
    ("tests/security/test_forgery.py", "tests/published/test_aes_gcm.py"),
)
"""Each a run of pytest, the fast ones first: most mutants fall to the golden vectors, and what follows is not even loaded."""
_PYTEST = (
    "--noconftest",
    "-x",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "pytest_asyncio.plugin",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
)
_CPU_SECONDS = 120
"""Of the processor, for the tests of one mutant, which take ten: a busy machine kills none by being slow."""
_SECONDS = 1800
"""For a mutant that waits for ever."""
_TO_KILL = 0.9


def main() -> None:
    """Run."""
    # Two versions of a file that are as long and as old as each other would share their bytecode.
    sys.dont_write_bytecode = True
    for module in MODULES:
        shutil.rmtree(module.parent / "__pycache__", ignore_errors=True)
    _load_all_but_ours()
    if not _survives():
        sys.exit("the tests fail without any mutant")
    mutants, lived = 0, []
    for diff, survived in _tried():
        mutants += 1
        lived += [diff] if survived else []
        sys.stderr.write(f"{mutants} tried, {len(lived)} survived\n")
    killed = mutants - len(lived)
    summary = f"{killed} of {mutants} mutants killed ({killed / mutants:.1%})\n"
    sys.stdout.write("\n\n".join([*lived, summary]))
    sys.exit(killed < _TO_KILL * mutants)


def _tried() -> Iterator[tuple[str, bool]]:
    """What each mutant changed, and whether it survived."""
    for module in MODULES:
        nodes = list(ast_nodes(get_ast_from_path(module)))
        for name in plugins.operator_names():
            kind = plugins.get_operator(name)
            if kind.arguments():
                continue
            operator = kind()
            places = sum(len(list(operator.mutation_positions(node))) for node in nodes)
            for occurrence in range(places):
                with mutating.use_mutation(module, operator, occurrence) as (before, after):
                    yield _diff(before, after, module), _survives()


def _diff(before: str, after: str | None, module: Path) -> str:
    assert after is not None
    changed = [
        (number, old, new)
        for number, (old, new) in enumerate(
            zip(before.splitlines(), after.splitlines(), strict=False), start=1
        )
        if old != new
    ]
    number, old, new = changed[0]
    return f"{module}:{number}\n- {old.strip()}\n+ {new.strip()}"


def _survives() -> bool:
    """Whether all tests pass, in a process of their own."""
    child = os.fork()
    if child == 0:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        signal.alarm(_SECONDS)
        failed = any(pytest.main([*_PYTEST, *stage]) != pytest.ExitCode.OK for stage in STAGES)
        os._exit(failed)
    _, status = os.waitpid(child, 0)
    return status == 0


def _load_all_but_ours() -> None:
    for module in (
        "hypothesis",
        "pytest_asyncio.plugin",
        "coatcheck",
        "coatcheck.chain",
        "coatcheck.codecs.aead",
    ):
        importlib.import_module(module)
    for name in list(sys.modules):
        if name.split(".")[0] == "coatcheck":
            del sys.modules[name]


if __name__ == "__main__":
    main()
