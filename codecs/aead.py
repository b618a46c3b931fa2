"""Suite 1: AES-256-GCM under a key that is used once and committed to.

After the committing suites of the AWS Encryption SDK (``AES_256_GCM_HKDF_SHA512_COMMIT_KEY``): HKDF (RFC 5869)
gives each message a key and a commitment from a 32-byte salt. The salt is a keyed hash of everything that is
encrypted and bound, so sealing is deterministic, and one key meets two messages only if the hash collides.
"""

import hmac
from functools import lru_cache
from weakref import WeakKeyDictionary

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from coatcheck.contracts.keys import Key, KeySource
from coatcheck.contracts.sealing import TENANT_SCOPE_TAG, Sealer, Sealing, joined_run_tag
from coatcheck.errors import ConfigError, IntegrityError
from coatcheck.scope import Scope

_KEY_LENGTH = 32
_SALT_LENGTH = 32
_COMMITMENT_LENGTH = 32
_TAG_LENGTH = 16
_MAC_LENGTH = 16
_NONCE = bytes(12)
"""Always zero (NIST SP 800-38D asks for a nonce never used twice with a key; here no key is used twice)."""
_LABEL = b"coatcheck/v1/"


def _hkdf(key: bytes, length: int, label: bytes, *fields: bytes, salt: bytes = b"") -> bytes:
    return HKDF(SHA512(), length, salt, _LABEL + label + _framed(*fields)).derive(key)


def _framed(*fields: bytes) -> bytes:
    """Join fields so that they cannot run into each other: each after its length in 8 bytes, big-endian."""
    # A list: a generator takes three times as long, and every payload comes through here.
    return b"".join([part for field in fields for part in (len(field).to_bytes(8, "big"), field)])


class Encrypt(Sealing):
    """Seal every payload: encrypted, authenticated, bound to its tenant and run, deterministic.

    The last step of a chain before :class:`~coatcheck.Offload`. With it, nothing leaves the chain unsealed, and
    payloads that were never sealed are refused when they claim to be.

    Args:
        keyring: The keys: a :class:`~coatcheck.Keyring`, or :class:`~coatcheck.TenantKeys`.
        accept_plain: Accept payloads in the clear, which anyone who can start, signal or call can write. Needed while
            processes without the chain still write; set ``False`` afterwards, and they are refused.
        accept_unsealed: Also open what a chain without ``Encrypt`` wrote. Only for the time in which encryption is
            being introduced: it lets anyone who can write to the journal skip authentication.

    Raises:
        ConfigError: ``accept_unsealed`` is set without ``accept_plain``.
    """

    suite = 1

    def __init__(
        self, keyring: KeySource, *, accept_plain: bool = True, accept_unsealed: bool = False
    ) -> None:
        if accept_unsealed and not accept_plain:
            raise ConfigError(
                "accept_unsealed=True accepts what anyone can write; accept_plain=False refuses it",
                "Set accept_plain=False only once nothing written before encryption is read any more.",
            )
        self._keyring = keyring
        self.accept_plain = accept_plain
        self.accept_unsealed = accept_unsealed
        self.loads_keys = keyring.loads
        # Weak: when a key is let go of, what was derived from it goes as well.
        self._derived: WeakKeyDictionary[Key, _Derived] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Encrypt({self._keyring!r})"

    def key_ids(self, tenant: str) -> tuple[bytes, ...]:
        """See :class:`Sealing`."""
        return self._keyring.key_ids(tenant)

    def primary_key_id(self, tenant: str) -> bytes:
        """See :class:`Sealing`."""
        return self._keyring.primary_key_id(tenant)

    def run_tag(self, scope: Scope, key_id: bytes) -> bytes:
        """See :meth:`Sealing.run_tag`."""
        tenant = self._of(scope.tenant, key_id).tenant(scope.tenant)
        return (
            TENANT_SCOPE_TAG if scope.run is None else tenant.run_tag(scope.run, scope.series, scope.engine)
        )

    def sealer(self, tenant: str, run_tag: bytes, key_id: bytes) -> Sealer:
        """See :meth:`Sealing.sealer`."""
        return self._of(tenant, key_id).sealer(tenant, run_tag)

    def is_loaded(self, tenant: str, key_id: bytes | None) -> bool:
        """See :meth:`Sealing.is_loaded`."""
        return self._keyring.is_loaded(tenant, key_id)

    async def load_primary(self, tenant: str) -> None:
        """See :meth:`Sealing.load_primary`."""
        await self._keyring.load_primary(tenant)

    async def load(self, tenant: str, key_id: bytes) -> None:
        """See :meth:`Sealing.load`."""
        await self._keyring.load(tenant, key_id)

    async def load_all(self, tenant: str) -> None:
        """See :meth:`Sealing.load_all`."""
        await self._keyring.load_all(tenant)

    async def close(self) -> None:
        """See :meth:`Sealing.close`."""
        await self._keyring.close()

    def _of(self, tenant: str, key_id: bytes) -> "_Derived":
        key = self._keyring.key(tenant, key_id)
        derived = self._derived.get(key)
        if derived is None:
            derived = self._derived[key] = _Derived(key.secret)
        return derived


class _Derived:
    """Cache of what was derived from one key: deriving costs about 20 us a scope, and a worker meets the same few thousand."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.tenant = lru_cache(maxsize=1024)(self._derive_tenant)
        self.sealer = lru_cache(maxsize=8192)(self._derive_sealer)

    def _derive_tenant(self, tenant: str) -> "_TenantKeys":
        return _TenantKeys(_hkdf(self._secret, _KEY_LENGTH, b"tenant", tenant.encode()))

    def _derive_sealer(self, tenant: str, run_tag: bytes) -> "_AeadSealer":
        return _AeadSealer(self.tenant(tenant), run_tag)


class _TenantKeys:
    """Derived keys of one tenant; its key itself is used for nothing but deriving them."""

    def __init__(self, tenant_key: bytes) -> None:
        self.tag = _hkdf(tenant_key, 16, b"tenant-tag")
        self.reference_key = _hkdf(tenant_key, _KEY_LENGTH, b"reference")
        self._naming_key = _hkdf(tenant_key, _KEY_LENGTH, b"run-tag")
        self._series_key = _hkdf(tenant_key, _KEY_LENGTH, b"series-tag")
        self._tenant_key = tenant_key

    def run_tag(self, run: str, series: str | None, engine: str) -> bytes:
        run_digest = hmac.digest(self._naming_key, run.encode(), "sha256")
        series_digest = b"" if series is None else hmac.digest(self._series_key, series.encode(), "sha256")
        return joined_run_tag(engine, run_digest, series_digest)

    def scope_keys(self, run_tag: bytes) -> tuple[bytes, bytes, bytes]:
        """Return the address key, the data key and the salt key of a scope."""
        keys = _hkdf(self._tenant_key, 3 * _KEY_LENGTH, b"scope", run_tag)
        return keys[:32], keys[32:64], keys[64:]


class _AeadSealer(Sealer):
    def __init__(self, tenant: _TenantKeys, run_tag: bytes) -> None:
        self.tenant_tag = tenant.tag
        self._reference_key = tenant.reference_key
        self._address_key, self._data_key, salt_key = tenant.scope_keys(run_tag)
        # Keyed once: to copy it takes half as long as to key another one.
        self._salt_mac = hmac.new(salt_key, digestmod="sha256")

    def object_id(self, payload: bytes) -> bytes:
        # Keyed BLAKE3 rather than HMAC-SHA256: four to five times as fast, and the one thing that is done to the
        # whole payload on every replay. Readers never need it: GCM vouches for the id by the bound context.
        return blake3(payload, key=self._address_key).digest()

    def seal(self, header: bytes, context: bytes, body: bytes) -> bytes:
        bound = _framed(header, context)
        mac = self._salt_mac.copy()
        mac.update(bound)
        mac.update(body)
        salt = mac.digest()
        cipher, commitment = self._message_key(salt, bound)
        return b"".join((header, salt, commitment, cipher.encrypt(_NONCE, body, bound)))

    def open(self, header: bytes, context: bytes, sealed: memoryview) -> bytes:
        bound = _framed(header, context)
        salt = bytes(sealed[:_SALT_LENGTH])
        commitment = sealed[_SALT_LENGTH : _SALT_LENGTH + _COMMITMENT_LENGTH]
        ciphertext = sealed[_SALT_LENGTH + _COMMITMENT_LENGTH :]
        cipher, expected = self._message_key(salt, bound)
        if len(ciphertext) < _TAG_LENGTH or not hmac.compare_digest(commitment, expected):
            raise IntegrityError(
                "the key commitment does not match: the payload was tampered with, damaged, truncated, or sealed "
                "for another tenant, run or object",
                "Restore the original bytes, and check that the tenant is the one it was sealed for.",
            )
        try:
            return cipher.decrypt(_NONCE, ciphertext, bound)
        except InvalidTag:
            raise IntegrityError(
                "the authentication tag does not match: the payload was tampered with, damaged or truncated",
                "Restore the original bytes.",
            ) from None

    def mac(self, reference: bytes) -> bytes:
        return hmac.digest(self._reference_key, reference, "sha256")[:_MAC_LENGTH]

    def _message_key(self, salt: bytes, bound: bytes) -> tuple[AESGCM, bytes]:
        keys = HKDF(SHA512(), _KEY_LENGTH + _COMMITMENT_LENGTH, salt, _LABEL + b"message" + bound).derive(
            self._data_key
        )
        return AESGCM(keys[:_KEY_LENGTH]), keys[_KEY_LENGTH:]
