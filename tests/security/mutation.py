"""Mutation testing of envelope, sealing and reference: ``python -m tests.security.mutation``.

cosmic-ray changes one thing at a time in a copy of the tree, and the tests of the wire format have to notice. Prints the
mutants that survive, and how many were killed. ``docs/verification.md`` says why the survivors do.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODULES = ("src/coatcheck/envelope.py", "codecs/aead.py", "src/coatcheck/reference.py")
"""As they lie, not through the links: a mutant is written to the file."""
STAGES = (
    ("tests/test_wire_format.py",),
    (
        "tests/test_envelope.py",
        "tests/test_reference.py",
        "tests/codecs/test_keyring.py",
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
_COPIED = ("src", "codecs", "stores", "integrations", "tests", "pyproject.toml")
_SECONDS = 600
"""For the tests of one mutant, which take ten; so long that a busy machine kills none by being slow."""
_COSMIC_RAY = (sys.executable, "-m", "cosmic_ray.cli")
_PYTEST = f"{sys.executable} -m pytest --noconftest -x -q -p no:cacheprovider -p pytest_asyncio.plugin"
_SCRIPT = "\n".join(
    [
        "set -e",
        # None of the plug-ins that happen to be installed: they take longer to load than the tests of a stage.
        "export PYTHONPATH=src PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
        # Hypothesis: the same examples for each mutant, and none fails for being slow.
        "export CI=true",
        *(f"{_PYTEST} {' '.join(stage)}" for stage in STAGES),
    ]
)
_CONFIG = f"""
[cosmic-ray]
module-path = {list(MODULES)!r}
timeout = {_SECONDS}.0
excluded-modules = []
test-command = "sh stages.sh"

[cosmic-ray.distributor]
name = "local"
"""


def survivors(folder: Path) -> tuple[int, list[str]]:
    """How many mutants there were, and what each survivor changed, from a copy of the tree in ``folder``."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True)
        else:
            shutil.copy2(source, folder / name)
    (folder / "mutation.toml").write_text(_CONFIG, encoding="utf-8")
    (folder / "stages.sh").write_text(_SCRIPT, encoding="utf-8")
    for command in (
        ["baseline", "mutation.toml"],
        ["init", "mutation.toml", "session.sqlite"],
        ["exec", "mutation.toml", "session.sqlite"],
    ):
        subprocess.run([*_COSMIC_RAY, *command], cwd=folder, check=True, stdout=sys.stderr)
    dumped = subprocess.run(
        [*_COSMIC_RAY, "dump", "session.sqlite"], cwd=folder, check=True, capture_output=True, text=True
    )
    results = [json.loads(line)[1] for line in dumped.stdout.splitlines()]
    assert all(results), "every mutant was tried"
    return len(results), [result["diff"] for result in results if result["test_outcome"] == "survived"]


def main() -> None:
    """Run."""
    with tempfile.TemporaryDirectory() as folder:
        mutants, lived = survivors(Path(folder))
    killed = mutants - len(lived)
    sys.stdout.write(
        "\n\n".join([*lived, f"{killed} of {mutants} mutants killed ({killed / mutants:.1%})\n"])
    )
    sys.exit(killed < 0.9 * mutants)


if __name__ == "__main__":
    main()
