"""Distributions as pip leaves them behind, without pip."""

from collections.abc import Mapping
from pathlib import Path


def lay_out(
    folder: Path,
    name: str,
    source: str,
    *,
    stores: Mapping[str, str] | None = None,
    codecs: Mapping[str, str] | None = None,
) -> Path:
    """Put the distribution ``name`` into ``folder``: a module of the same name that holds ``source``.

    Args:
        folder: Made if need be; belongs on the path.
        name: Of the distribution and its module.
        source: What the module holds.
        stores: Attributes of the module by the schemes that they are registered for.
        codecs: Attributes of the module by the codec names that they are registered for.
    """
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, entries in (("stores", stores or {}), ("codecs", codecs or {})):
        lines.append(f"[coatcheck.{group}]")
        lines += [f"{entry} = {name}:{attribute}" for entry, attribute in entries.items()]
    (information / "entry_points.txt").write_text("\n".join(lines))
    return folder
