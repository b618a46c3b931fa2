"""Suite 0: a chain without keys. Detects damage; hides nothing and does not prevent forgery."""

import hashlib
import hmac
from functools import lru_cache

from blake3 import blake3

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG, Sealer, Sealing, joined_run_tag
from coatcheck.errors import IntegrityError, KeyUnavailable
from coatcheck.format.wire import KEY_ID_LENGTH, TAG_LENGTH
from coatcheck.scope import Scope

_NO_KEY = bytes(KEY_ID_LENGTH)
_DIGEST_LENGTH = 16


def _digest(label: str, *fields: bytes | memoryview) -> "hashlib._Hash":
    """Return SHA-256 over a domain label and fields, each with its length, so that they cannot run into each other."""
    digest = hashlib.sha256(b"coatcheck/v1/plain/" + label.encode("ascii"))
    for field in fields:
        digest.update(len(field).to_bytes(8, "big"))
        digest.update(field)
    return digest


class Checksum(Sealing):
    """The sealing of a chain without :class:`~coatcheck.Encrypt`: SHA-256 checksums, nothing secret."""

    suite = 0

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:  # noqa: ARG002 - all tenants have the same
        """See :class:`Sealing`: four zeros."""
        return (_NO_KEY,)

    def run_tag(self, scope: Scope, key_id: bytes) -> bytes:
        """See :meth:`Sealing.run_tag`."""
        _check_no_key(key_id)
        if scope.run is None:
            return TENANT_SCOPE_TAG
        run = _digest("run-tag", scope.tenant.encode(), scope.run.encode()).digest()
        series = b""
        if scope.series is not None:
            series = _digest("series-tag", scope.tenant.encode(), scope.series.encode()).digest()
        return joined_run_tag(scope.engine, run, series)

    def sealer(self, tenant: str, run_tag: bytes, key_id: bytes) -> Sealer:
        """See :meth:`Sealing.sealer`."""
        _check_no_key(key_id)
        return _ChecksumSealer(tenant, run_tag)


def _check_no_key(key_id: bytes) -> None:
    if key_id != _NO_KEY:
        raise KeyUnavailable(
            f"an unsealed payload names the key {key_id.hex()}",
            "It is damaged, or was not written by coatcheck.",
        )


class _ChecksumSealer(Sealer):
    def __init__(self, tenant: str, run_tag: bytes) -> None:
        self.tenant_tag = _tenant_tag(tenant)
        self._address_key = _digest("address", self.tenant_tag, run_tag).digest()

    def object_id(self, payload: bytes) -> bytes:
        return blake3(payload, key=self._address_key).digest()

    def seal(self, header: bytes, context: bytes, body: bytes) -> bytes:
        return b"".join((header, body, self._checksum(header, context, body)))

    def open(self, header: bytes, context: bytes, sealed: memoryview) -> memoryview:
        body, checksum = sealed[:-_DIGEST_LENGTH], sealed[-_DIGEST_LENGTH:]
        if not hmac.compare_digest(checksum, self._checksum(header, context, body)):
            raise IntegrityError(
                "the checksum does not match: the bytes are damaged, swapped or truncated",
                "Restore the object from a backup or a replica.",
            )
        return body

    def check(self, payload: bytes, object_id: bytes) -> None:
        if not hmac.compare_digest(self.object_id(payload), object_id):
            raise IntegrityError(
                "the object contains another payload than its name says",
                "Restore the original object, and find out who wrote this one.",
                object_id.hex(),
            )

    def mac(self, reference: bytes) -> bytes:
        return _digest("reference", self.tenant_tag, reference).digest()[:_DIGEST_LENGTH]

    def _checksum(self, header: bytes, context: bytes, body: bytes | memoryview) -> bytes:
        return _digest("envelope", self.tenant_tag, header, context, body).digest()[:_DIGEST_LENGTH]


@lru_cache(maxsize=1024)
def _tenant_tag(tenant: str) -> bytes:
    return _digest("tenant-tag", tenant.encode()).digest()[:TAG_LENGTH]
