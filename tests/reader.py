"""A second reader of the wire format, written from ``docs/wire-format.md`` alone: takes nothing of coatcheck but its import of Zstandard.

It opens what the library wrote, so the document and the library are held against each other. It derives every
intermediate value with the standard library; only AES-GCM and Zstandard come from elsewhere.
"""

import hashlib
import hmac
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from coatcheck.codecs.zstd import zstd


def framed(*fields: bytes) -> bytes:
    return b"".join(len(item).to_bytes(8, "big") + item for item in fields)


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 over SHA-512."""
    key = hmac.digest(salt, ikm, "sha512")
    out = block = b""
    for counter in range(1, -(-length // 64) + 1):
        block = hmac.digest(key, block + info + bytes([counter]), "sha512")
        out += block
    return out[:length]


def derive(key: bytes, label: str, length: int, *fields: bytes) -> bytes:
    return hkdf(key, b"", b"coatcheck/v1/" + label.encode() + framed(*fields), length)


def digest(label: str, *fields: bytes) -> bytes:
    return hashlib.sha256(b"coatcheck/v1/plain/" + label.encode() + framed(*fields)).digest()


def run_tag(keyring_key: bytes | None, tenant: str, run: str | None) -> bytes:
    if run is None:
        return bytes(16)
    if keyring_key is None:
        return bytes(1) + digest("run-tag", tenant.encode(), run.encode())[:15]
    naming_key = derive(derive(keyring_key, "tenant", 32, tenant.encode()), "run-tag", 32)
    return bytes(1) + hmac.digest(naming_key, run.encode(), "sha256")[:15]


def series_run_tag(keyring_key: bytes | None, tenant: str, run: str, series: str) -> bytes:
    if keyring_key is None:
        start = digest("series-tag", tenant.encode(), series.encode())[:7]
    else:
        series_key = derive(derive(keyring_key, "tenant", 32, tenant.encode()), "series-tag", 32)
        start = hmac.digest(series_key, series.encode(), "sha256")[:7]
    return bytes(1) + start + run_tag(keyring_key, tenant, run)[1:9]


def key_id(keyring_key: bytes | None) -> bytes:
    return bytes(4) if keyring_key is None else hmac.digest(keyring_key, b"coatcheck/v1/key-id", "sha256")[:4]


def intermediates(keyring_key: bytes | None, tenant: str, run: str | None) -> dict[str, bytes]:
    """Every value that the document derives for a scope."""
    tag = run_tag(keyring_key, tenant, run)
    if keyring_key is None:
        tenant_tag = digest("tenant-tag", tenant.encode())[:16]
        return {
            "key_id": key_id(None),
            "tenant_tag": tenant_tag,
            "run_tag": tag,
            "address_key": digest("address", tenant_tag, tag),
        }
    tenant_key = derive(keyring_key, "tenant", 32, tenant.encode())
    scope_keys = derive(tenant_key, "scope", 96, tag)
    return {
        "key_id": key_id(keyring_key),
        "tenant_key": tenant_key,
        "tenant_tag": derive(tenant_key, "tenant-tag", 16),
        "reference_key": derive(tenant_key, "reference", 32),
        "naming_key": derive(tenant_key, "run-tag", 32),
        "run_tag": tag,
        "address_key": scope_keys[:32],
        "data_key": scope_keys[32:64],
        "salt_key": scope_keys[64:],
    }


@dataclass
class Cursor:
    data: bytes
    at: int = 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data), "too short"
        return self.data[self.at - count : self.at]

    def leb128(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def name(self) -> str:
        return self.take(self.take(1)[0]).decode("ascii")

    def ids(self) -> list[bytes]:
        return [self.take(32) for _ in range(self.take(1)[0])]


@dataclass
class Parsed:
    kind: int
    suite: int
    key_id: bytes
    run_tag: bytes
    size: int
    codecs: list[str] = field(default_factory=list)
    object_id: bytes = b""
    store: str = ""
    bases: list[bytes] = field(default_factory=list)
    header: bytes = b""
    sealed: bytes = b""
    mac: bytes = b""


def parse(data: bytes) -> Parsed:
    cursor = Cursor(data)
    assert cursor.take(5) == bytes.fromhex("c0a7c4ec01")
    kind, suite = cursor.take(2)
    key, tag = cursor.take(4), cursor.take(16)
    if kind == 1:
        codecs = [cursor.name() for _ in range(cursor.take(1)[0])]
        parsed = Parsed(kind, suite, key, tag, cursor.leb128(), codecs, bases=cursor.ids())
        parsed.header, parsed.sealed = data[: cursor.at], data[cursor.at :]
        return parsed
    object_id, size, store, bases = cursor.take(32), cursor.leb128(), cursor.name(), cursor.ids()
    parsed = Parsed(kind, suite, key, tag, size, object_id=object_id, store=store, bases=bases)
    parsed.header, parsed.mac = data[: cursor.at], cursor.take(16)
    assert cursor.at == len(data)
    return parsed


def open_envelope(data: bytes, context: bytes, values: dict[str, bytes]) -> tuple[Parsed, bytes]:
    """The parsed envelope, and the body after the codecs."""
    parsed = parse(data)
    if parsed.suite == 0:
        body, checksum = parsed.sealed[:-16], parsed.sealed[-16:]
        assert checksum == digest("envelope", values["tenant_tag"], parsed.header, context, body)[:16]
        return parsed, body
    salt, commitment, ciphertext = parsed.sealed[:32], parsed.sealed[32:64], parsed.sealed[64:]
    bound = framed(parsed.header, context)
    keys = hkdf(values["data_key"], salt, b"coatcheck/v1/message" + bound, 64)
    assert commitment == keys[32:]
    body = AESGCM(keys[:32]).decrypt(bytes(12), ciphertext, bound)
    assert salt == hmac.digest(values["salt_key"], bound + body, "sha256")
    return parsed, body


def payload_of(data: bytes, context: bytes, values: dict[str, bytes], objects: dict[str, bytes]) -> bytes:
    """The payload of an envelope; that of its first base before, if it is a delta."""
    envelope, body = open_envelope(data, context, values)
    assert (envelope.key_id, envelope.run_tag) == (values["key_id"], values["run_tag"])
    for name in reversed(envelope.codecs):
        if name == "zstd":
            body = zstd.decompress(body)
        else:
            assert name == "zstd-delta"
            cursor = Cursor(body)
            assert cursor.leb128().bit_count() == len(envelope.bases)
            key = f"{values['tenant_tag'].hex()}/{envelope.run_tag.hex()}/{envelope.bases[0].hex()}"
            base = payload_of(objects[key], b"\x01" + envelope.bases[0], values, objects)
            prefix = zstd.ZstdDict(base, is_raw=True).as_prefix
            body = zstd.ZstdDecompressor(zstd_dict=prefix).decompress(body[cursor.at :])
    assert envelope.size == len(body)
    return body


def reference_mac(parsed: Parsed, values: dict[str, bytes]) -> bytes:
    if parsed.suite == 0:
        return digest("reference", values["tenant_tag"], parsed.header)[:16]
    return hmac.digest(values["reference_key"], parsed.header, "sha256")[:16]


def object_key(parsed: Parsed, values: dict[str, bytes]) -> str:
    return f"{values['tenant_tag'].hex()}/{parsed.run_tag.hex()}/{parsed.object_id.hex()}"


def record_name(branch: int, step: int, values: dict[str, bytes]) -> str:
    place = f"step-{999_999 - branch:06}{10**20 - 1 - step:020}"
    named = b"coatcheck/v1/record-name/" + values["run_tag"] + place.encode()
    if "reference_key" in values:
        code = hmac.digest(values["reference_key"], named, "sha256")
    else:
        code = digest("reference", values["tenant_tag"], named)
    return f"{place}-{code[:8].hex()}"
