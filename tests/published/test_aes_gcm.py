"""AES-GCM by NIST's and Wycheproof's vectors, through :meth:`Sealer.seal` and :meth:`Sealer.open`.

A sealer chooses its key, nonce and associated data by itself; here they are the vector's, and nothing else is changed.
"""

import hmac
import logging
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coatcheck import IntegrityError
from coatcheck.codecs import aead
from tests.published.sources import NIST, records, wycheproof

_log = logging.getLogger(__name__)
_BEFORE = 64
"""Bytes of the salt and the commitment, which stand before the ciphertext."""
_TAG = 16


class _VectorSealer(aead._AeadSealer):
    """The sealer, with a message key and a nonce that are given, and the context alone as associated data."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, key: bytes, nonce: bytes) -> None:
        self._cipher = AESGCM(key)
        self._salt_mac = hmac.new(bytes(32), digestmod="sha256")
        monkeypatch.setattr(aead, "_NONCE", nonce)
        monkeypatch.setattr(aead, "_framed", lambda header, context: header + context)

    def _message_key(self, salt: bytes, bound: bytes) -> tuple[AESGCM, bytes]:
        return self._cipher, bytes(32)

    def ciphertext(self, plaintext: bytes, associated: bytes) -> bytes:
        return self.seal(b"", associated, plaintext)[_BEFORE:]

    def plaintext(self, ciphertext: bytes, associated: bytes) -> bytes:
        return self.open(b"", associated, memoryview(bytes(_BEFORE) + ciphertext))


def _usable(nonce: bytes) -> bool:
    """Whether ``cryptography`` takes a nonce of this length; ours always has 12 bytes."""
    return 8 <= len(nonce) <= 128


@pytest.mark.parametrize("key_size", [128, 192, 256])
def test_nist_encryption(monkeypatch: pytest.MonkeyPatch, key_size: int) -> None:
    ran = Counter[str]()
    text = (NIST / f"ciphers/AES/GCM/gcmEncryptExtIV{key_size}.rsp").read_text()
    for record in records(text, "Count"):
        key, nonce, associated, plaintext, ciphertext, tag = (
            bytes.fromhex(record[name]) for name in ("Key", "IV", "AAD", "PT", "CT", "Tag")
        )
        with monkeypatch.context() as patch:
            sealer = _VectorSealer(patch, key, nonce)
            if not _usable(nonce):
                with pytest.raises(ValueError, match="Nonce"):
                    sealer.ciphertext(plaintext, associated)
                ran["nonce refused"] += 1
                continue
            sealed = sealer.ciphertext(plaintext, associated)
            assert sealed[:-_TAG] == ciphertext
            assert sealed[-_TAG:][: len(tag)] == tag
            assert sealer.plaintext(sealed, associated) == plaintext
        ran["sealed"] += 1
    _log.info("AES-%d-GCM, NIST, encryption: %s", key_size, dict(ran))
    assert ran == {"sealed": 5250, "nonce refused": 2625}


@pytest.mark.parametrize(("key_size", "opened_count"), [(128, 354), (192, 362), (256, 372)])
def test_nist_decryption(monkeypatch: pytest.MonkeyPatch, key_size: int, opened_count: int) -> None:
    ran = Counter[str]()
    text = (NIST / f"ciphers/AES/GCM/gcmDecrypt{key_size}.rsp").read_text()
    for record in records(text, "Count"):
        key, nonce, associated, ciphertext, tag = (
            bytes.fromhex(record[name]) for name in ("Key", "IV", "AAD", "CT", "Tag")
        )
        with monkeypatch.context() as patch:
            sealer = _VectorSealer(patch, key, nonce)
            outcome = "opened"
            try:
                opened = sealer.plaintext(ciphertext + tag, associated)
            except IntegrityError:
                outcome = "refused" if "FAIL" in record else "short tag refused"
                assert "FAIL" in record or len(tag) < _TAG
            except ValueError:
                outcome = "nonce refused"
                assert not _usable(nonce)
            else:
                assert "FAIL" not in record
                assert opened == bytes.fromhex(record["PT"])
        ran[outcome] += 1
    _log.info("AES-%d-GCM, NIST, decryption: %s", key_size, dict(ran))
    assert ran.total() == 7875
    assert ran["opened"] == opened_count


def test_wycheproof(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = Counter[str]()
    for vector in wycheproof("aes_gcm"):
        key, nonce, associated, plaintext, ciphertext, tag = map(
            vector.bytes_of, ("key", "iv", "aad", "msg", "ct", "tag")
        )
        with monkeypatch.context() as patch:
            sealer = _VectorSealer(patch, key, nonce)
            if not _usable(nonce):
                with pytest.raises(ValueError, match="Nonce"):
                    sealer.plaintext(ciphertext + tag, associated)
                ran["nonce refused"] += 1
            elif vector.valid:
                assert sealer.ciphertext(plaintext, associated) == ciphertext + tag
                assert sealer.plaintext(ciphertext + tag, associated) == plaintext
                ran["opened"] += 1
            else:
                with pytest.raises(IntegrityError):
                    sealer.plaintext(ciphertext + tag, associated)
                ran["refused"] += 1
    _log.info("AES-GCM, Wycheproof: %s", dict(ran))
    assert ran.total() == 316
    assert ran["refused"] == 81
