"""The attack that commitment is there for: one ciphertext that AES-GCM opens under two keys, to two payloads.

After Dodis, Grubbs, Ristenpart and Woodage, "Fast Message Franking: From Invisible Salamanders to Encryptment" (CRYPTO 2018).
"""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coatcheck import Chain, Encrypt, IntegrityError, Keyring, Scope
from coatcheck.format.envelope import INLINE, EnvelopeHeader
from tests import reader
from tests.chains import KEY

TENANTS = ["tenant-a", "tenant-b"]
_NONCE = bytes(12)
_BLOCK = 16
_POLYNOMIAL = 0xE1 << 120
"""NIST SP 800-38D, section 6.3; the first bit is the most significant."""


def _times(x: int, y: int) -> int:
    """In GCM's field, as algorithm 1 of NIST SP 800-38D."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (_POLYNOMIAL if y & 1 else 0)
    return product


def _inverse(x: int) -> int:
    """x to the power of 2**128 - 2."""
    result, power = 1 << 127, x
    for _ in range(127):
        power = _times(power, power)
        result = _times(result, power)
    return result


def _blocks(data: bytes) -> list[int]:
    padded = data + bytes(-len(data) % _BLOCK)
    return [int.from_bytes(padded[at : at + _BLOCK], "big") for at in range(0, len(padded), _BLOCK)]


def _ghash(key: int, associated: bytes, ciphertext: bytes) -> int:
    lengths = len(associated) * 8 << 64 | len(ciphertext) * 8
    value = 0
    for block in [*_blocks(associated), *_blocks(ciphertext), lengths]:
        value = _times(value ^ block, key)
    return value


def _hash_key_and_mask(key: bytes) -> tuple[int, int]:
    """What GHASH is keyed with, and what is added to it to make the tag."""
    encryptor = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 - GCM's own building block
    hash_key, mask = encryptor.update(bytes(_BLOCK)), encryptor.update(_NONCE + b"\0\0\0\1")
    return int.from_bytes(hash_key, "big"), int.from_bytes(mask, "big")


def opens_under_both(first: bytes, second: bytes, associated: bytes) -> bytes:
    """Ciphertext and tag that are valid under both keys: the last block is solved for."""
    keys = [_hash_key_and_mask(key) for key in (first, second)]
    start = bytes(range(_BLOCK))
    # tag = (everything with a last block of zeros) + last * H^2 + mask, under each key: equate, and solve for last.
    constant = 0
    for hash_key, mask in keys:
        constant ^= _ghash(hash_key, associated, start + bytes(_BLOCK)) ^ mask
    (one, _), (two, _) = keys
    last = _times(constant, _inverse(_times(one, one) ^ _times(two, two)))
    ciphertext = start + last.to_bytes(_BLOCK, "big")
    return ciphertext + (_ghash(one, associated, ciphertext) ^ keys[0][1]).to_bytes(_BLOCK, "big")


async def test_one_envelope_does_not_say_two_things_to_two_tenants() -> None:
    """Both keys are known to the forger, who may be the operator of both tenants: the most that can be given away."""
    values = [reader.intermediates(KEY.secret, tenant, None) for tenant in TENANTS]
    header = EnvelopeHeader(1, KEY.id, bytes(16), (), 2 * _BLOCK).to_bytes()
    bound, salt = reader.framed(header, INLINE), bytes(range(32))
    derived = [reader.hkdf(value["data_key"], salt, b"coatcheck/v1/message" + bound, 64) for value in values]
    sealed = opens_under_both(derived[0][:32], derived[1][:32], bound)

    plaintexts = {AESGCM(keys[:32]).decrypt(_NONCE, sealed, bound) for keys in derived}
    assert len(plaintexts) == 2, "the attack works on AES-GCM as it is"

    chain = Chain(Encrypt(Keyring(KEY)))
    for committed_to, keys in enumerate(derived):
        envelope = header + salt + keys[32:] + sealed
        assert await chain.open(envelope, Scope(TENANTS[committed_to])) in plaintexts
        with pytest.raises(IntegrityError, match="key commitment does not match"):
            await chain.open(envelope, Scope(TENANTS[1 - committed_to]))
