"""Packages that are optional, and the extra that brings them."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Around imports that need an extra: a missing package is named, and so is what to install.

    Args:
        extra: Of coatcheck, as ``pyproject.toml`` calls it.

    Raises:
        ModuleNotFoundError: A package is missing. ``name`` stays that of the package.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "coatcheck":
            raise
        raise ModuleNotFoundError(
            f"{missing.name} is not installed: pip install 'coatcheck[{extra}]'", name=missing.name
        ) from missing
