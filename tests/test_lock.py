"""The lock file has what pyproject.toml asks for, no more, and for every supported Python."""

import re
from collections import defaultdict

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.environments import LOCK, direct_requirements, supported_pythons

RENEW = "make lock renews it"
TEXT = LOCK.read_text(encoding="utf-8")
ENTRY = re.compile(
    r"^(?P<pin>[a-z0-9][^\\\n]*?) \\\n(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
PINS = [Requirement(found["pin"]) for found in ENTRY.finditer(TEXT)]


def locked(python: str) -> dict[str, str]:
    """What is installed on Linux for this Python: versions by name."""
    where = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "os_name": "posix",
    }
    found: dict[str, list[str]] = defaultdict(list)
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(where):
            (exactly,) = pin.specifier
            assert exactly.operator == "==", pin
            found[canonicalize_name(pin.name)].append(exactly.version)
    assert all(len(versions) == 1 for versions in found.values()), found
    return {name: version for name, [version] in found.items()}


def test_every_line_is_a_pin_with_its_hashes_or_a_comment() -> None:
    left = [line for line in ENTRY.sub("", TEXT).splitlines() if not re.match(r"\s*#", line)]
    assert left == []
    assert len(PINS) > 100
    assert "://" not in TEXT


@pytest.mark.parametrize("python", supported_pythons())
def test_what_is_asked_for_is_locked(python: str) -> None:
    versions = locked(python)
    where = {"python_version": python, "python_full_version": f"{python}.0"}
    for asked in direct_requirements():
        if asked.marker is None or asked.marker.evaluate(where):
            version = versions.get(canonicalize_name(asked.name))
            assert version is not None, f"{asked} is not locked for Python {python}: {RENEW}"
            assert asked.specifier.contains(version, prereleases=True), (
                f"{asked}, and {version} is locked: {RENEW}"
            )


def test_what_is_locked_for_itself_is_asked_for() -> None:
    asked = {canonicalize_name(one.name) for one in direct_requirements()}
    entries = re.split(r"^(?=[a-z0-9])", TEXT, flags=re.MULTILINE)
    for_itself = {entry.partition("==")[0] for entry in entries if "coatcheck (pyproject.toml" in entry}
    assert {canonicalize_name(name) for name in for_itself} == asked, RENEW
