"""What the API reference needs: mkdocs calls the function, and griffe, which reads the sources for it, the class."""

import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

import griffe

_ROOT = Path(__file__).parent.parent
_COPY = _ROOT / "build" / "reference"
_LINKED = ("codecs", "stores", "integrations")
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):`(~?)([\w.]+)`")


def on_startup(**_: Any) -> None:
    """Lay the package out as griffe reads it: it passes by folders without an ``__init__.py``, as the linked ones are."""
    package = _COPY / "coatcheck"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(_ROOT / "src" / "coatcheck", package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in _LINKED:
        (package / folder / "__init__.py").touch()


class SphinxRoles(griffe.Extension):
    """Makes a link of a role such as ``:class:`Chain```, or plain code where the name is not in the reference."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything in the package."""
        if obj.docstring:
            obj.docstring.value = _ROLE.sub(lambda role: _link(obj, role), obj.docstring.value)


def _link(obj: griffe.Object, role: re.Match[str]) -> str:
    shortened, name = role.groups()
    try:
        path = obj.resolve(name)
    except griffe.NameResolutionError:
        path = name
    shown = name.rpartition(".")[2] if shortened else name
    return f'<autoref optional identifier="{escape(path)}"><code>{escape(shown)}</code></autoref>'
