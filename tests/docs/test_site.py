"""The site builds without a warning, has the whole public API in it, and fetches nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs.blocks import ROOT

FETCHED = {
    "audio": "src",
    "iframe": "src",
    "img": "src",
    "link": "href",
    "script": "src",
    "source": "src",
    "use": "href",
}


# One test, so that the site is built once, and by one process.
@pytest.mark.long
def test_the_site(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    nothing_is_fetched_from_elsewhere(tmp_path)
    reference = (tmp_path / "api.html").read_text(encoding="utf-8")
    every_public_name_is_in(reference)
    # Roles are Sphinx's: docs/reference.py translates them.
    assert not re.findall(r":(?:class|func|meth|mod|attr|data):", reference)


class Addresses(HTMLParser):
    """What a browser fetches by itself for a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get(FETCHED.get(tag, ""))
        if address and dict(attrs).get("rel") != "canonical":
            self.found.append(address)


def nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not [address for address in Addresses(text).found if urlsplit(address).netloc], page.name
        # The theme's script would fetch what draws them.
        assert 'class="mermaid"' not in text
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(\s*[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")), sheet.name


def every_public_name_is_in(reference: str) -> None:
    for module in (
        "coatcheck",
        *(
            f"coatcheck.integrations.{engine}"
            for engine in ("dbos", "inngest", "langgraph", "restate", "temporal")
        ),
    ):
        public = set(import_module(module).__all__) - {"__version__"}
        missing = [name for name in public if f'id="{module}.{name}"' not in reference]
        assert not missing, module
