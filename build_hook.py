"""Refuses to build where the checkout lost its symbolic links (some Windows checkouts)."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = Path("src/coatcheck")
LINKED = ("codecs", "stores", "integrations")


class CheckLinks(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Without the links the wheel would silently lack every codec, store and integration."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Fail unless every linked folder is a folder with modules in it."""
        for name in LINKED:
            folder = Path(self.root) / PACKAGE / name
            if not folder.is_dir() or not any(folder.glob("**/*.py")):
                msg = (
                    f"{PACKAGE / name} is not a folder of modules. It must be a symbolic link to ../../{name}: "
                    "check out again with links enabled (git config core.symlinks true)."
                )
                raise RuntimeError(msg)
