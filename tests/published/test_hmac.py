"""HMAC-SHA256 by Wycheproof's and the RFC's vectors, through the MAC of references and the salt of envelopes."""

import hmac

import pytest

from coatcheck.codecs import aead
from tests.published.sources import NIST, records, wycheproof

_MAC = 16
"""Bytes of a reference's MAC: half of HMAC-SHA256."""


class _VectorSealer(aead._AeadSealer):
    """The sealer, with reference and salt keys that are given."""

    def __init__(self, key: bytes) -> None:
        self._reference_key = key
        self._salt_mac = hmac.new(key, digestmod="sha256")
        self._data_key = bytes(32)

    def salt(self, bound: bytes, body: bytes) -> bytes:
        return self.seal(b"", bound, body)[:32]


def _check(monkeypatch: pytest.MonkeyPatch, key: bytes, message: bytes) -> bytes:
    """The whole HMAC as the salt gives it, whichever part of the message is bound; the MAC must be its start."""
    monkeypatch.setattr(aead, "_framed", lambda *fields: b"".join(fields))
    sealer = _VectorSealer(key)
    salts = {sealer.salt(message[:cut], message[cut:]) for cut in {0, len(message) // 2, len(message)}}
    (salt,) = salts
    assert sealer.mac(message) == salt[:_MAC]
    return salt


def test_wycheproof(monkeypatch: pytest.MonkeyPatch) -> None:
    valid = 0
    for vector in wycheproof("hmac_sha256"):
        tag = vector.bytes_of("tag")
        got = _check(monkeypatch, vector.bytes_of("key"), vector.bytes_of("msg"))
        assert (got[: len(tag)] == tag) == vector.valid
        valid += vector.valid
    assert valid == 66


def test_rfc_4231(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = 0
    for record in records((NIST / "HMAC/rfc-4231-sha256.txt").read_text(), "Len"):
        got = _check(monkeypatch, bytes.fromhex(record["Key"]), bytes.fromhex(record["Msg"]))
        assert got.hex() == record["MD"]
        ran += 1
    assert ran == 6
