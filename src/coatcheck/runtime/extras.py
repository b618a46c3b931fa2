"""Imports of optional packages."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def require_extra(extra: str) -> Iterator[None]:
    """Wrap imports that need an extra, so that the error for a missing package says which extra to install.

    Args:
        extra: Name of the extra in ``pyproject.toml``.

    Raises:
        ModuleNotFoundError: A package is missing. ``name`` is still that of the package.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.partition(".")[0] == "coatcheck":
            raise
        raise ModuleNotFoundError(
            f"{missing.name} is not installed: pip install 'coatcheck[{extra}]'", name=missing.name
        ) from missing
