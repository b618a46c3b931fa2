"""Settings: a chain from ``coatcheck.toml`` and ``COATCHECK_*`` variables.

The file is the one that ``COATCHECK_CONFIG`` names, else ``coatcheck.toml`` in the working folder if there is one.
A variable overrides the file: ``COATCHECK_ENCRYPT``, ``COATCHECK_OFFLOAD__STORE``, with two underscores for each
level. All settings, with their defaults::

    codecs = ["zstd"]           # applied in this order
    encrypt = true              # with the keys in COATCHECK_KEYS, or those of [keyring]
    accept_plain = true         # accept payloads in the clear; false once every writer has the chain
    accept_unsealed = false     # also read what was written before encryption was introduced
    decode_only = false         # encode nothing, decode everything: for roll-out and roll-back
    max_payload = 268435456     # bytes
    nexus_namespaces = []       # Temporal: namespaces at the other end of Nexus operations; also open their payloads
    # ca_bundle = "/etc/ssl/ours.pem"    # issuers (PEM) to trust for stores and KMSs, in place of the system's

    [codec.zstd]                # the options of a codec in the list above
    level = 3

    [offload]
    store = "file:///home/me/.local/share/coatcheck/payloads"    # or s3:, gs:, postgresql:, ...
    over = 2048                 # bytes after the codecs; larger payloads go to the store
    deadline = 8.0              # seconds for one call to a store, with all its attempts
    alias = "default"           # the store's name in references: keep it as long as any reference is alive
    replicas = []               # URLs of other stores to read from if the store is down or lacks an object
    patience = 2.0              # seconds of silence after which a replica is asked
    # cache = "/var/cache/app"  # a folder for copies of objects read, sealed as in the store
    cache_bytes = 1073741824    # most bytes in that folder

    [offload.read_also]         # other stores, by their aliases: read, and written only by rules; none by default
    old = "s3://old-bucket/prefix"

    [[rules]]                   # exceptions by name, the first match applies: docs/rules.md; none by default
    name = "activity:render*"
    over = 65536                # in place of that of [offload]; or inline = true: never to a store
    store = "old"               # an alias of [offload]

    [keyring]                   # keys from elsewhere than COATCHECK_KEYS: docs/keys.md

    [serve]                     # the codec server: docs/codec-server.md

Nothing is guessed: a setting or a ``COATCHECK_*`` variable that does not exist, or has the wrong type, is an error.
"""

import os
import ssl
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from coatcheck.chain import Chain
from coatcheck.codecs.aead import Encrypt
from coatcheck.contracts.keys import KeySource
from coatcheck.contracts.sealing import Sealing
from coatcheck.contracts.store import Store
from coatcheck.errors import ConfigError
from coatcheck.format.wire import NAME_PATTERN
from coatcheck.keys.keyring import Keyring
from coatcheck.offload import DEFAULT_THRESHOLD, MAX_PAYLOAD, Offload
from coatcheck.rules import Rule
from coatcheck.settings.keyring import KeyringSettings
from coatcheck.settings.problems import in_words, reason, unknown
from coatcheck.settings.registry import make_codec, open_store
from coatcheck.settings.serve import JwtSettings, ServeSettings
from coatcheck.storage.client import DEFAULT_DEADLINE
from coatcheck.stores.cached import DEFAULT_MAX_BYTES, CachedStore
from coatcheck.stores.fallback import DEFAULT_PATIENCE, FallbackStore
from coatcheck.stores.file import FileStore
from coatcheck.stores.urls import trusting

_PREFIX = "COATCHECK_"
_FILE = "coatcheck.toml"
_FILE_VARIABLE = "COATCHECK_CONFIG"
_KEYS_VARIABLE = "COATCHECK_KEYS"

_Namespace = Annotated[str, Field(min_length=1)]
_Alias = Annotated[str, Field(pattern=NAME_PATTERN)]


def _default_store() -> SecretStr:
    return SecretStr(FileStore().folder.absolute().as_uri())


class OffloadSettings(BaseModel):
    """The section ``[offload]``: the payloads that go to a store, and the store."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    store: SecretStr = Field(default_factory=_default_store)
    """URL of the store. Secret, since it may contain a password."""
    over: int = Field(default=DEFAULT_THRESHOLD, ge=0)
    """Bytes."""
    deadline: float = Field(default=DEFAULT_DEADLINE, gt=0, allow_inf_nan=False)
    """Seconds."""
    alias: _Alias = "default"
    read_also: dict[_Alias, SecretStr] = {}
    """URLs by alias."""
    replicas: Annotated[list[SecretStr], NoDecode] = []
    """URLs, in the order in which they are tried: :class:`FallbackStore`. In the environment separated by commas."""
    patience: float = Field(default=DEFAULT_PATIENCE, ge=0, allow_inf_nan=False)
    """Seconds."""
    cache: str | None = Field(default=None, min_length=1)
    """A folder: :class:`CachedStore`. ``~`` is the home folder."""
    cache_bytes: int = Field(default=DEFAULT_MAX_BYTES, gt=0)

    @model_validator(mode="after")
    def _aliases_differ(self) -> Self:
        if self.alias in self.read_also:
            raise ValueError(
                f"read_also has the alias {self.alias!r}, which is the alias of the store itself"
            )
        return self

    def open(self, ca_bundle: str | None = None) -> Store:
        """Open the store that is written to, with its replicas and its cache; does not connect yet.

        Args:
            ca_bundle: A file of certificates: as :attr:`Settings.ca_bundle`.

        Raises:
            ConfigError: A store cannot be made.
        """
        store = _opened(self.store, ca_bundle)
        if self.replicas:
            replicas = [_opened(url, ca_bundle) for url in self.replicas]
            store = FallbackStore(store, *replicas, patience=self.patience)
        if self.cache is not None:
            store = CachedStore(store, Path(self.cache).expanduser(), max_bytes=self.cache_bytes)
        return store

    def step(self, ca_bundle: str | None = None) -> Offload:
        """Make the step of a chain; does not connect yet. Arguments and errors are those of :meth:`open`."""
        return Offload(
            self.open(ca_bundle),
            over=self.over,
            deadline=self.deadline,
            alias=self.alias,
            read_also={alias: _opened(url, ca_bundle) for alias, url in self.read_also.items()},
        )


class RuleSettings(BaseModel):
    """A table ``[[rules]]``: a :class:`~coatcheck.Rule`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    name: str
    over: int | None = None
    """Bytes."""
    inline: bool = False
    store: str | None = None
    """An alias."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        try:
            self.rule()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def rule(self) -> Rule:
        """The rule; raises as :class:`~coatcheck.Rule`."""
        return Rule(self.name, over=self.over, inline=self.inline, store=self.store)


class Settings(BaseSettings):
    """Everything that a chain is made from. :meth:`load` reads it; the module's docstring has an example."""

    model_config = SettingsConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        env_prefix=_PREFIX,
        env_nested_delimiter="__",
    )

    codecs: Annotated[list[str], NoDecode] = ["zstd"]
    """Names, in the order in which they are applied. In the environment separated by commas."""
    codec: dict[str, Any] = {}
    """The options of codecs by the codec's name: ``[codec.zstd]``."""
    encrypt: bool = True
    accept_plain: bool = True
    accept_unsealed: bool = False
    decode_only: bool = False
    max_payload: int = Field(default=MAX_PAYLOAD, gt=0)
    """Bytes."""
    nexus_namespaces: Annotated[list[_Namespace], NoDecode] = []
    """As given to ``ClaimCheckPlugin``, for commands that read Temporal's histories. In the environment separated by commas."""
    ca_bundle: str | None = None
    """A PEM file of the issuers to trust for stores and KMSs, in place of the system's. A store's URL may name another. Stores
    of other packages take it from their URLs only."""
    offload: OffloadSettings = Field(default_factory=OffloadSettings)
    rules: list[RuleSettings] = []
    """In the order in which they are tried. In the environment a list in JSON."""
    keyring: KeyringSettings = Field(default_factory=KeyringSettings)
    """Keys from elsewhere than the variable ``COATCHECK_KEYS``."""
    serve: ServeSettings = Field(default_factory=ServeSettings)
    """Settings of ``coatcheck serve``; the chain uses none of them."""

    @classmethod
    def load(cls) -> Self:
        """Read the file and the environment.

        Raises:
            ConfigError: The file cannot be read, or settings are wrong: one line for each mistake.
        """
        file = _file()
        where = f"in {file} or the {_PREFIX}* variables" if file else f"in the {_PREFIX}* variables"
        wrong = unknown(os.environ, _SECTIONS, _variables())
        try:
            if not wrong:
                return cls()
        except ValidationError as error:
            wrong = [
                in_words(detail, _fields(detail["loc"]))
                for detail in error.errors(include_url=False, include_input=False)
            ]
        except SettingsError:
            wrong = [
                f"{_PREFIX}CODEC, {_PREFIX}OFFLOAD and {_PREFIX}RULES must be JSON; or use {_PREFIX}OFFLOAD__STORE and the like"
            ]
        except (TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            wrong = [f"{file} cannot be read as TOML: {reason(error)}"]
        # Out here, so that the original does not hang on to it: it quotes what was set.
        raise ConfigError("the settings cannot be used", "\n- ".join([f"Correct {where}:", *wrong]))

    def chain(self) -> Chain:
        """Build the chain, with :meth:`keys`.

        Raises:
            ConfigError: There are no keys and ``encrypt`` is true, or a codec or a store cannot be made.
        """
        sealing: list[Sealing] = []
        if self.encrypt:
            sealing = [
                Encrypt(self.keys(), accept_plain=self.accept_plain, accept_unsealed=self.accept_unsealed)
            ]
        return Chain(
            *(make_codec(name, self.codec.get(name)) for name in self.codecs),
            *sealing,
            self.offload.step(self.ca_bundle),
            rules=[rule.rule() for rule in self.rules],
            decode_only=self.decode_only,
            max_payload=self.max_payload,
        )

    def keys(self) -> KeySource:
        """Return the keys: those of the section ``[keyring]`` or, if it names none, of the variable ``COATCHECK_KEYS``.

        Raises:
            ConfigError: There are none, or they are in several places.
        """
        if self.keyring.file is None and self.keyring.kms is None:
            return Keyring.from_env(_KEYS_VARIABLE)
        if os.environ.get(_KEYS_VARIABLE):
            raise ConfigError(
                f"keys are in both {_KEYS_VARIABLE} and the section [keyring]",
                f"Unset one of them. `keyring.file` can hold those of {_KEYS_VARIABLE}.",
            )
        return self.keyring.source(self.offload.store.get_secret_value(), self.ca_bundle)

    def store_url(self, url: str = "") -> str:
        """Return ``url``, or that of the store that is written to, with ``ca_bundle`` as its option. Secret."""
        return trusting(url or self.offload.store.get_secret_value(), self.ca_bundle)

    @field_validator("ca_bundle")
    @classmethod
    def _holds_certificates(cls, file: str | None) -> str | None:
        if file is None:
            return None
        whole = Path(file).expanduser().absolute()
        try:
            ssl.create_default_context(cafile=whole)
        except ssl.SSLError:
            raise ValueError("that file has no certificates; it must be PEM") from None
        except OSError as error:
            raise ValueError(f"that file cannot be read: {error.strerror}") from None
        return str(whole)

    @model_validator(mode="after")
    def _keys_are_used(self) -> Self:
        if self.encrypt:
            return self
        if os.environ.get(_KEYS_VARIABLE) or self.keyring.model_fields_set:
            where = _KEYS_VARIABLE if os.environ.get(_KEYS_VARIABLE) else "[keyring]"
            raise ValueError(
                f"encrypt is false, but there are keys in {where}: payloads would be written in the clear; remove one "
                "of the two, or set decode_only to read without writing"
            )
        if not self.accept_plain:
            raise ValueError("accept_plain and encrypt are both false: nothing would be sealed")
        return self

    @model_validator(mode="after")
    def _rules_name_stores(self) -> Self:
        known = (self.offload.alias, *self.offload.read_also)
        for rule in self.rules:
            if rule.store is not None and rule.store not in known:
                raise ValueError(
                    f"the rule for {rule.name!r} names a store {rule.store!r}; [offload] has {', '.join(known)}"
                )
        return self

    @model_validator(mode="after")
    def _options_belong_to_codecs(self) -> Self:
        for name, options in self.codec.items():
            if not isinstance(options, dict):
                raise ValueError(f"codec.{name} must be a table: [codec.{name}]")  # noqa: TRY004 - pydantic's way
            if name not in self.codecs:
                raise ValueError(f"[codec.{name}] has options, but codecs does not name {name!r}")
        if len(set(self.codecs)) < len(self.codecs):
            raise ValueError("codecs names a codec twice")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments override the environment, the environment the file. Nothing else is read."""
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls, _file())


def _opened(url: SecretStr, ca_bundle: str | None) -> Store:
    return open_store(trusting(url.get_secret_value(), ca_bundle))


class _Environment(EnvSettingsSource):
    def __call__(self) -> dict[str, Any]:
        values = super().__call__()
        for section, name in (
            (values, "codecs"),
            (values, "nexus_namespaces"),
            (values.get("serve"), "origins"),
            (values.get("offload"), "replicas"),
            (values.get("keyring"), "decrypt_only"),
            (values.get("keyring"), "former_labels"),
        ):
            if isinstance(section, dict) and isinstance(listed := section.get(name), str):
                section[name] = [item.strip() for item in listed.split(",") if item.strip()]
        return values


def _file() -> Path | None:
    named = os.environ.get(_FILE_VARIABLE)
    if not named:
        return Path(_FILE) if Path(_FILE).exists() else None
    if not Path(named).is_file():
        raise ConfigError(
            f"{_FILE_VARIABLE} names {named!r}, which does not exist", "Correct it, or unset it."
        )
    return Path(named)


def place_of_file() -> Path:
    """Return the path of the settings file, which need not exist: the one that ``COATCHECK_CONFIG`` names, else the default."""
    return Path(os.environ.get(_FILE_VARIABLE) or _FILE)


def sources() -> tuple[Path | None, dict[str, Any], dict[str, Any]]:
    """Return the file that is read, the settings in it, and those in variables. Values are as written, secrets included.

    Raises:
        ConfigError: ``COATCHECK_CONFIG`` names a file that does not exist.
    """
    file = _file()
    return file, TomlConfigSettingsSource(Settings, file)(), _Environment(Settings)()


_MODELS: dict[tuple[int | str, ...], type[BaseModel]] = {
    (): Settings,
    ("offload",): OffloadSettings,
    ("keyring",): KeyringSettings,
    ("serve",): ServeSettings,
    ("serve", "jwt"): JwtSettings,
    ("rules",): RuleSettings,
}
_SECTIONS = frozenset({"CODEC", "KEYRING", "OFFLOAD", "SERVE"})


def _variables() -> list[str]:
    """Return all names of settings, except in tables whose names the user chooses."""
    return [
        *(
            _PREFIX + "__".join((*map(str, place), name)).upper()
            for place, model in _MODELS.items()
            if model is not RuleSettings
            for name in model.model_fields
        ),
        _FILE_VARIABLE,
        _KEYS_VARIABLE,
    ]


def _fields(place: tuple[int | str, ...]) -> list[str]:
    """Return the settings that exist beside the one at ``place``."""
    section = tuple(part for part in place[:-1] if isinstance(part, str))
    return list(_MODELS.get(section, Settings).model_fields)
