"""coatcheck: hand in the payload, keep the ticket.

A claim-check payload codec toolkit for durable execution engines. Import everything public from here.
Each name is loaded on first use, so this import is fast and needs no optional dependency.
"""

from typing import TYPE_CHECKING

from coatcheck._version import __version__

if TYPE_CHECKING:
    from coatcheck.chain import Chain as Chain
    from coatcheck.chain import SyncChain as SyncChain
    from coatcheck.checkpoints.checkpoints import Checkpoint as Checkpoint
    from coatcheck.checkpoints.checkpoints import Checkpoints as Checkpoints
    from coatcheck.checkpoints.checkpoints import DamagedCheckpoint as DamagedCheckpoint
    from coatcheck.checkpoints.checkpoints import SyncCheckpoints as SyncCheckpoints
    from coatcheck.checkpoints.idempotency import idempotency_key as idempotency_key
    from coatcheck.codecs.aead import Encrypt as Encrypt
    from coatcheck.codecs.zstd import Zstd as Zstd
    from coatcheck.contracts.codec import Codec as Codec
    from coatcheck.contracts.codec import DeltaCodec as DeltaCodec
    from coatcheck.contracts.keys import Key as Key
    from coatcheck.contracts.keys import KeySource as KeySource
    from coatcheck.contracts.sealing import Sealer as Sealer
    from coatcheck.contracts.sealing import Sealing as Sealing
    from coatcheck.contracts.store import DEFAULT_LIMIT as DEFAULT_LIMIT
    from coatcheck.contracts.store import Store as Store
    from coatcheck.contracts.store import StoredObject as StoredObject
    from coatcheck.contracts.store import check_key as check_key
    from coatcheck.contracts.store import check_size as check_size
    from coatcheck.errors import CheckpointConflict as CheckpointConflict
    from coatcheck.errors import CoatcheckError as CoatcheckError
    from coatcheck.errors import ConfigError as ConfigError
    from coatcheck.errors import EngineError as EngineError
    from coatcheck.errors import FormatError as FormatError
    from coatcheck.errors import IntegrityError as IntegrityError
    from coatcheck.errors import KeyDestroyed as KeyDestroyed
    from coatcheck.errors import KeyServiceError as KeyServiceError
    from coatcheck.errors import KeyUnavailable as KeyUnavailable
    from coatcheck.errors import LimitExceeded as LimitExceeded
    from coatcheck.errors import PayloadNotFound as PayloadNotFound
    from coatcheck.errors import StoreDenied as StoreDenied
    from coatcheck.errors import StoreError as StoreError
    from coatcheck.errors import StoreUnavailable as StoreUnavailable
    from coatcheck.format.reference import Reference as Reference
    from coatcheck.format.wire import is_ours as is_ours
    from coatcheck.format.wire import is_reference as is_reference
    from coatcheck.keys.aws import AwsKms as AwsKms
    from coatcheck.keys.google import GoogleKms as GoogleKms
    from coatcheck.keys.keyring import Keyring as Keyring
    from coatcheck.keys.kms import KeyService as KeyService
    from coatcheck.keys.lease import KeyLease as KeyLease
    from coatcheck.keys.lease import current_lease as current_lease
    from coatcheck.keys.tenant_keys import TenantKeys as TenantKeys
    from coatcheck.keys.vault import VaultTransit as VaultTransit
    from coatcheck.keys.vault_auth import VaultAuth as VaultAuth
    from coatcheck.offload import Offload as Offload
    from coatcheck.pipeline.upload import Upload as Upload
    from coatcheck.retention.live import LiveRuns as LiveRuns
    from coatcheck.retention.live import Origin as Origin
    from coatcheck.retention.live import RunTag as RunTag
    from coatcheck.retention.live import Series as Series
    from coatcheck.retention.live import run_tags_in as run_tags_in
    from coatcheck.retention.rules import RetentionRules as RetentionRules
    from coatcheck.retention.sweep import Sweep as Sweep
    from coatcheck.retention.tally import Report as Report
    from coatcheck.rules import Rule as Rule
    from coatcheck.scope import Scope as Scope
    from coatcheck.settings.model import Settings as Settings
    from coatcheck.storage.cache import CacheStats as CacheStats
    from coatcheck.storage.cache import PayloadCache as PayloadCache
    from coatcheck.storage.prefixes import ScopePrefixes as ScopePrefixes
    from coatcheck.stores.cached import CachedStore as CachedStore
    from coatcheck.stores.fallback import FallbackStore as FallbackStore
    from coatcheck.stores.file import FileStore as FileStore
    from coatcheck.stores.gcs import GCSStore as GCSStore
    from coatcheck.stores.memory import MemoryStore as MemoryStore
    from coatcheck.stores.postgres import PostgresStore as PostgresStore
    from coatcheck.stores.s3 import S3Store as S3Store

_HOMES = {
    "chain": ("Chain", "SyncChain"),
    "checkpoints.checkpoints": (
        "Checkpoint",
        "Checkpoints",
        "DamagedCheckpoint",
        "SyncCheckpoints",
    ),
    "checkpoints.idempotency": ("idempotency_key",),
    "codecs.aead": ("Encrypt",),
    "contracts.keys": ("Key", "KeySource"),
    "keys.keyring": ("Keyring",),
    "codecs.zstd": ("Zstd",),
    "contracts.codec": ("Codec", "DeltaCodec"),
    "contracts.sealing": ("Sealer", "Sealing"),
    "contracts.store": ("DEFAULT_LIMIT", "Store", "StoredObject", "check_key", "check_size"),
    "errors": (
        "CheckpointConflict",
        "CoatcheckError",
        "ConfigError",
        "EngineError",
        "FormatError",
        "IntegrityError",
        "KeyDestroyed",
        "KeyServiceError",
        "KeyUnavailable",
        "LimitExceeded",
        "PayloadNotFound",
        "StoreDenied",
        "StoreError",
        "StoreUnavailable",
    ),
    "format.reference": ("Reference",),
    "format.wire": ("is_ours", "is_reference"),
    "keys.aws": ("AwsKms",),
    "keys.google": ("GoogleKms",),
    "keys.kms": ("KeyService",),
    "keys.lease": ("KeyLease", "current_lease"),
    "keys.tenant_keys": ("TenantKeys",),
    "keys.vault": ("VaultTransit",),
    "keys.vault_auth": ("VaultAuth",),
    "offload": ("Offload",),
    "pipeline.upload": ("Upload",),
    "retention.live": ("LiveRuns", "Origin", "RunTag", "Series", "run_tags_in"),
    "retention.tally": ("Report",),
    "retention.rules": ("RetentionRules",),
    "retention.sweep": ("Sweep",),
    "rules": ("Rule",),
    "scope": ("Scope",),
    "settings.model": ("Settings",),
    "storage.cache": ("CacheStats", "PayloadCache"),
    "storage.prefixes": ("ScopePrefixes",),
    "stores.cached": ("CachedStore",),
    "stores.fallback": ("FallbackStore",),
    "stores.file": ("FileStore",),
    "stores.gcs": ("GCSStore",),
    "stores.memory": ("MemoryStore",),
    "stores.postgres": ("PostgresStore",),
    "stores.s3": ("S3Store",),
}
_HOME = {name: f"coatcheck.{module}" for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME]  # noqa: PLE0604 # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'coatcheck' has no attribute {name!r}")
    return getattr(__import__(_HOME[name], fromlist=[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
