"""The suites that a chain seals with and accepts, and the check that a scope may open a payload."""

import hmac
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from coatcheck.contracts.sealing import SERIES_TAG_LENGTH, TENANT_SCOPE_TAG, Sealer, Sealing
from coatcheck.errors import CoatcheckError, FormatError, IntegrityError, KeyUnavailable
from coatcheck.format.checksum import Checksum
from coatcheck.format.envelope import EnvelopeHeader
from coatcheck.format.layout import scope_prefix
from coatcheck.format.reference import Reference
from coatcheck.format.wire import MAC_LENGTH, SUITES
from coatcheck.runtime.portal import on_loop
from coatcheck.scope import Scope


class ScopeSealer(NamedTuple):
    """The sealer of a scope under one key, with the fields that identify it in headers."""

    suite: int
    key_id: bytes
    run_tag: bytes
    sealer: Sealer

    @property
    def prefix(self) -> str:
        """The start of the keys of the scope's objects."""
        return scope_prefix(self.sealer, self.run_tag)


class SealingPolicy:
    """Decides what may be opened. Safe to use from several threads and event loops.

    Args:
        sealing: Seals new payloads; None for a chain without keys.
    """

    def __init__(self, sealing: Sealing | None) -> None:
        self.sealing: Sealing = sealing or Checksum()
        self.loads_keys = self.sealing.loads_keys
        # A worker sees the same few thousand scopes again and again. Loaded keys must not be cached here: they expire.
        self._sealer_of: Callable[[Sealing, Scope, bytes], ScopeSealer] = (
            scope_sealer if self.loads_keys else lru_cache(maxsize=8192)(scope_sealer)
        )
        self._accepted: dict[int, Sealing] = {self.sealing.suite: self.sealing}
        if self.sealing.accept_unsealed:
            self._accepted[Checksum.suite] = Checksum()

    @property
    def accepted(self) -> tuple[Sealing, ...]:
        """The accepted sealings; the first one seals new payloads."""
        return tuple(self._accepted.values())

    @property
    def encrypts(self) -> bool:
        """True if new payloads are encrypted."""
        return self.sealing.suite != Checksum.suite

    def for_new(self, scope: Scope) -> ScopeSealer:
        """Return the sealer for new payloads of a scope.

        Raises:
            KeyUnavailable: The tenant's key is not loaded.
        """
        return self._sealer_of(self.sealing, scope, self.sealing.primary_key_id(scope.tenant))

    def all_for(self, scope: Scope) -> list[ScopeSealer]:
        """Return the sealers of a scope under all accepted suites and keys, the one for new payloads first.

        Raises:
            KeyUnavailable: The tenant's keys are not loaded.
        """
        return [
            self._sealer_of(sealing, scope, key_id)
            for sealing in self._accepted.values()
            for key_id in sealing.key_ids(scope.tenant)
        ]

    async def load_for_new(self, scope: Scope) -> ScopeSealer:
        """Load the scope's key, and return the sealer for new payloads.

        Raises:
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The store with the keys cannot or will not return it.
        """
        await self.load_primary(scope.tenant)
        return self.for_new(scope)

    async def load_primary(self, tenant: str) -> None:
        """Load the key that seals the tenant's new payloads, if keys have to be loaded.

        Raises:
            KeyUnavailable: The tenant's key cannot be loaded now.
            StoreError: The store with the keys cannot or will not return it.
        """
        if self.loads_keys and not self.sealing.is_loaded(tenant, None):
            await on_loop()
            await self.sealing.load_primary(tenant)

    async def load_all(self, tenant: str) -> None:
        """Load all keys of the tenant, if keys have to be loaded. Raises as :meth:`load_primary`."""
        if self.loads_keys:
            await on_loop()
            await self.sealing.load_all(tenant)

    async def load(self, sealed: EnvelopeHeader | Reference, tenant: str) -> None:
        """Load the key that ``sealed`` names, if keys have to be loaded.

        Args:
            sealed: A header or a reference, not yet verified.
            tenant: The tenant's name.

        Raises:
            KeyUnavailable: The tenant has no such key, or it cannot be loaded now.
            StoreError: The store with the keys cannot or will not return it.
        """
        if self.loads_keys and sealed.suite == self.sealing.suite:
            if self.sealing.is_loaded(tenant, sealed.key_id):
                return
            await on_loop()
            await self.sealing.load(tenant, sealed.key_id)

    def sealer_for(self, sealed: EnvelopeHeader | Reference, scope: Scope) -> ScopeSealer:
        """Return the sealer that ``sealed`` names, if its suite is accepted and ``scope`` may open its run.

        Args:
            sealed: A header or a reference, not yet verified.
            scope: The scope that wants to open it.

        Raises:
            IntegrityError: It was sealed for another run, or it is unsealed and must be sealed.
            KeyUnavailable: Its key is not in the keyring, or there is no keyring.
            FormatError: Its suite is unknown.
        """
        sealing = self._accepted.get(sealed.suite)
        if sealing is None:
            raise _refusal(sealed.suite)
        if scope.run is not None and sealed.run_tag != TENANT_SCOPE_TAG:
            own = self._sealer_of(sealing, scope, sealed.key_id)
            if sealed.run_tag == own.run_tag:
                return own
            if scope.series is None or not _is_same_series(sealed.run_tag, own.run_tag):
                raise IntegrityError(
                    "the payload was sealed for another run, or another tenant",
                    "Decode it in the scope that it was written for (Temporal: namespace and workflow ID).",
                )
        sealer = sealing.sealer(scope.tenant, sealed.run_tag, sealed.key_id)
        return ScopeSealer(sealed.suite, sealed.key_id, sealed.run_tag, sealer)

    def verify(self, reference: Reference, data: bytes, scope: Scope) -> ScopeSealer:
        """Check that a reference is authentic, and return its sealer.

        Args:
            reference: The reference.
            data: The binary form that it was read from.
            scope: The scope that wants to open it.

        Raises:
            IntegrityError: It was forged, damaged, or written for another tenant or run.
            KeyUnavailable: As :meth:`sealer_for`.
            FormatError: As :meth:`sealer_for`.
        """
        found = self.sealer_for(reference, scope)
        if not hmac.compare_digest(found.sealer.mac(data[:-MAC_LENGTH]), reference.mac):
            raise IntegrityError(
                "the reference is not authentic: it was forged, damaged, or written for another tenant",
                "Nothing was fetched. Restore the original journal entry, and check the tenant.",
            )
        return found


def _is_same_series(run_tag: bytes, other: bytes) -> bool:
    return run_tag[:SERIES_TAG_LENGTH] == other[:SERIES_TAG_LENGTH]


def scope_sealer(sealing: Sealing, scope: Scope, key_id: bytes) -> ScopeSealer:
    """Return the sealer of a scope under one key of a suite.

    Args:
        sealing: The suite with its keys.
        scope: The scope.
        key_id: The key's id, 4 bytes.

    Raises:
        KeyUnavailable: There is no such key, or it is not loaded.
    """
    run_tag = sealing.run_tag(scope, key_id)
    return ScopeSealer(sealing.suite, key_id, run_tag, sealing.sealer(scope.tenant, run_tag, key_id))


def _refusal(suite: int) -> CoatcheckError:
    if suite == Checksum.suite:
        return IntegrityError(
            "the payload is not encrypted, and this chain accepts only encrypted ones",
            "While you introduce encryption, use Encrypt(keyring, accept_unsealed=True).",
        )
    if suite in SUITES:
        return KeyUnavailable(
            f"the payload is encrypted ({SUITES[suite]}), and this chain has no keys",
            "Add Encrypt(keyring) to the chain.",
        )
    return FormatError(f"the payload is sealed with the unknown suite {suite}", "Upgrade coatcheck.")
