"""Stores and codecs by name: ours and those of other distributions, all found through entry points.

Two groups. ``coatcheck.stores``: the name is the scheme of a URL, the value a callable that takes the URL and returns
a :class:`~coatcheck.contracts.store.Store`. ``coatcheck.codecs``: the name is the codec's own, the value a callable that
takes its options as keywords and returns a :class:`~coatcheck.contracts.store.Codec`. In a ``pyproject.toml``::

    [project.entry-points."coatcheck.stores"]
    attic = "coatcheck_attic.store:from_url"

    [project.entry-points."coatcheck.codecs"]
    attic-zlib = "coatcheck_attic.codec:AtticZlib"
"""

import inspect
import re
import traceback
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from coatcheck.contracts.codec import Codec
from coatcheck.contracts.store import Store
from coatcheck.errors import CoatcheckError, ConfigError

STORES = "coatcheck.stores"
CODECS = "coatcheck.codecs"

_OURS = "coatcheck"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.*", re.DOTALL)


def open_store(url: str) -> Store:
    """Make the store that ``url`` names; does not connect yet.

    No error repeats the URL, which may contain a password.

    Raises:
        ConfigError: It is not a URL, no distribution or more than one has its scheme, or its distribution refuses it.
    """
    entry = _find(STORES, scheme_of(url))
    store = _called(entry, lambda factory: factory(url))
    if not isinstance(store, Store):
        raise _misbehaves(entry, f"returns {type(store).__name__}, which is not a Store")
    return store


def make_codec(name: str, options: Mapping[str, object] | None = None) -> Codec:
    """Make the codec called ``name``, with ``options``.

    Raises:
        ConfigError: No distribution or more than one has the name, or its distribution refuses the options.
    """
    entry = _find(CODECS, name)

    def make(factory: Callable[..., object]) -> object:
        _check_options(factory, name, options or {})
        return factory(**(options or {}))

    codec = _called(entry, make)
    if not isinstance(codec, Codec):
        raise _misbehaves(entry, f"returns {type(codec).__name__}, which is not a Codec")
    if codec.name != name:
        raise ConfigError(
            f"the codec that {_owner(entry)} registers as {name!r} calls itself {codec.name!r}",
            "Both names must be the same: the codec's own is written into every payload.",
        )
    return codec


def names(group: str) -> list[str]:
    """Return all names that are registered in ``group``, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def scheme_of(url: str) -> str:
    """Return the scheme of a URL, in lower case.

    Raises:
        ConfigError: There is no scheme before ``://``.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise ConfigError(
            "not a store URL",
            f"Expected file:///folder, or another of the schemes {_listed(STORES)}.",
        )
    return found[1].lower()


def _find(group: str, name: str) -> EntryPoint:
    found = list(entry_points(group=group, name=name))
    if not found:
        raise _unknown(group, name)
    if len(found) > 1:
        owners = " and ".join(sorted(map(_owner, found)))
        raise ConfigError(
            f"{_kind(group)} {name!r} is registered by {owners}",
            "Uninstall all but one.",
        )
    return found[0]


def _called(entry: EntryPoint, make: Callable[[Callable[..., object]], object]) -> object:
    factory = _load(entry)
    try:
        return make(factory)
    except CoatcheckError:
        raise
    except Exception as error:  # noqa: BLE001 - it is foreign code, and may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        blame = f"raises {type(error).__name__} ({Path(last.filename).name}, line {last.lineno})"
    # Out here, so that the original does not hang on to it: it may quote a URL with a password.
    raise _misbehaves(entry, blame)


def _misbehaves(entry: EntryPoint, how: str) -> ConfigError:
    return ConfigError(
        f"{_kind(entry.group)} {entry.name!r} of {_owner(entry)} {how}",
        "Check the settings it gets here; if they are right, report this to its makers.",
    )


def _load(entry: EntryPoint) -> Callable[..., Any]:
    try:
        loaded: object = entry.load()
    except Exception as error:
        raise ConfigError(
            f"{_kind(entry.group)} {entry.name!r} of {_owner(entry)} cannot be imported: "
            f"{type(error).__name__}: {str(error).rstrip('.')}",
            "Install what it needs, or another version of it.",
        ) from error
    if not callable(loaded):
        raise ConfigError(
            f"{_kind(entry.group)} {entry.name!r} of {_owner(entry)} is not callable",
            "Report this to its makers.",
        )
    return loaded


def _check_options(factory: Callable[..., object], name: str, options: Mapping[str, object]) -> None:
    """Refuse unknown options by name; the codec itself checks the values of the others."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:
        return
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    known = [parameter.name for parameter in parameters if parameter.kind is not parameter.POSITIONAL_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"the codec {name!r} has no option {option!r}", f"It has: {', '.join(known) or 'none'}."
            )


def _unknown(group: str, name: str) -> ConfigError:
    if not any(entry.dist and entry.dist.name == _OURS for entry in entry_points(group=group)):
        return ConfigError(
            f"{_kind(group)} {name!r} is not installed, nor any of coatcheck's own: its metadata is missing",
            "Install coatcheck with pip (from a checkout: again); a bundler must copy its metadata.",
        )
    near = get_close_matches(name, names(group), n=1)
    guess = f" Did you mean {near[0]}?" if near else ""
    return ConfigError(
        f"{_kind(group)} {name[:80]!r} is not installed; there are {_listed(group)}",
        f"Install the package that has it: one with the entry point {name[:80]!r} in {group}.{guess}",
    )


def _listed(group: str) -> str:
    return ", ".join(names(group)) or "none"


def _kind(group: str) -> str:
    return "the store" if group == STORES else "the codec"


def _owner(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unnamed distribution"
