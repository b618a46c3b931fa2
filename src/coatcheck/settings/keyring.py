"""The section ``[keyring]`` of the settings: the source of the keys, if not ``COATCHECK_KEYS``."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator
from pydantic_settings import NoDecode

from coatcheck.contracts.keys import KeySource
from coatcheck.errors import ConfigError
from coatcheck.keys.aws import AwsKms
from coatcheck.keys.google import GoogleKms
from coatcheck.keys.key_cache import DEFAULT_MAX_AGE
from coatcheck.keys.keyring import Keyring
from coatcheck.keys.kms import KeyService
from coatcheck.keys.tenant_keys import LABEL_PATTERN, TenantKeys
from coatcheck.settings.registry import open_store
from coatcheck.settings.vault_url import open_vault
from coatcheck.stores.urls import trusting

_Name = Annotated[str, StringConstraints(min_length=1)]
_Label = Annotated[str, Field(pattern=LABEL_PATTERN)]


class KeyringSettings(BaseModel):
    """Keys from a file, or tenants' keys wrapped by a KMS; with neither, the keys are in ``COATCHECK_KEYS``."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    file: _Name | None = None
    """A file of keys: :meth:`Keyring.from_file`."""
    kms: _Name | None = None
    """The key that wraps tenants' keys: an ARN of AWS KMS, ``projects/...`` of Google Cloud KMS, or ``vault://...`` of Vault."""
    decrypt_only: Annotated[list[_Name], NoDecode] = []
    """KMS keys that wrapped tenants' keys before. In the environment separated by commas."""
    label: _Label | None = None
    """Name of this store among all stores whose keys the KMS wraps: :class:`TenantKeys`. Needed with ``kms``."""
    former_labels: Annotated[list[_Label], NoDecode] = []
    """Labels that the store had before. In the environment separated by commas."""
    store: SecretStr | None = None
    """URL of the store of wrapped keys; by default the store of ``[offload]``."""
    max_age: float = Field(default=DEFAULT_MAX_AGE, ge=1, allow_inf_nan=False)
    """Seconds that an unwrapped key is cached; at least one."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.file is not None and self.kms is not None:
            raise ValueError("keyring has both file and kms: set only one")
        if self.kms is None and self.model_fields_set - {"file", "kms"}:
            raise ValueError("keyring has settings that require keyring.kms")
        if self.kms is not None and self.label is None:
            raise ValueError(
                "keyring.kms requires keyring.label: a name for this store, such as prod, unique among the stores whose keys "
                "the KMS wraps"
            )
        return self

    def source(self, default_store: str, ca_bundle: str | None = None) -> KeySource:
        """Return the keys that the section describes; nothing is connected to yet.

        Args:
            default_store: The URL of the store of wrapped keys if the section names none.
            ca_bundle: A PEM file of the issuers to trust for the store and the KMS; None for the system's.

        Raises:
            ConfigError: The file or a name cannot be used, or a package is not installed.
        """
        if self.file is not None:
            return Keyring.from_file(Path(self.file).expanduser())
        assert self.kms is not None
        assert self.label is not None
        url = self.store.get_secret_value() if self.store else default_store
        return TenantKeys(
            open_store(trusting(url, ca_bundle)),
            *(open_service(name, ca_bundle) for name in (self.kms, *self.decrypt_only)),
            label=self.label,
            former_labels=self.former_labels,
            max_age=self.max_age,
        )


def open_service(name: str, ca_bundle: str | None = None) -> KeyService:
    """Return the KMS key with this name. ``ca_bundle`` is an argument of each class.

    Raises:
        ConfigError: The name is neither an ARN, nor ``projects/...``, nor a URL of Vault.
    """
    if name.startswith("arn:"):
        return AwsKms(name, ca_bundle=ca_bundle)
    if name.startswith("projects/"):
        return GoogleKms(name, ca_bundle=ca_bundle)
    if name.startswith("vault://"):
        return open_vault(name, ca_bundle)
    raise ConfigError(
        f"{name[:200]!r} is not the name of a KMS key",
        "Give an ARN (AWS KMS), projects/P/locations/L/keyRings/R/cryptoKeys/K (Google Cloud KMS), or "
        "vault://HOST/MOUNT/KEY (Vault or OpenBao).",
    )
