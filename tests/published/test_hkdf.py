"""HKDF by Wycheproof's and the RFC's vectors, through the one function that derives our keys, and the second reader's."""

import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from coatcheck.codecs import aead
from tests import reader
from tests.published.sources import NIST, records, wycheproof


def _ours(monkeypatch: pytest.MonkeyPatch, key: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """The derivation with ``info`` where else its labels stand."""
    with monkeypatch.context() as patch:
        patch.setattr(aead, "_LABEL", b"")
        return aead._hkdf(key, length, info, salt=salt)


def test_wycheproof_sha512(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = 0
    for vector in wycheproof("hkdf_sha512"):
        key, salt, info = map(vector.bytes_of, ("ikm", "salt", "info"))
        length = vector.case["size"]
        if not vector.valid:
            # Each asks for more than HKDF gives.
            with pytest.raises(ValueError, match="larger than"):
                _ours(monkeypatch, key, salt, info, length)
            refused += 1
            continue
        expected = vector.bytes_of("okm")
        assert _ours(monkeypatch, key, salt, info, length) == expected
        if length < 255 * 64:  # what the second reader derives has at most three blocks
            assert reader.hkdf(key, salt, info, length) == expected
    assert refused == 3


@pytest.mark.parametrize(
    ("name", "count"), [("rfc-5869-HKDF-SHA1", 4), ("rfc-5869-HKDF-SHA256", 3), ("hkdf-generated", 1)]
)
def test_rfc_5869(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """The RFC has no vectors of SHA-512: what is shown is the order of key, salt and info, and the expansion."""
    monkeypatch.setattr(aead, "SHA512", SHA1 if name.endswith("SHA1") else SHA256)
    ran = 0
    for record in records((NIST / f"KDF/{name}.txt").read_text(), "COUNT"):
        key, salt, info = (bytes.fromhex(record[field]) for field in ("IKM", "salt", "info"))
        assert _ours(monkeypatch, key, salt, info, int(record["L"])).hex() == record["OKM"].lower()
        ran += 1
    assert ran == count
