"""Where these tests can run."""

from tests.docs.blocks import ROOT

collect_ignore_glob = [] if (ROOT / "mkdocs.yml").exists() else ["test_*.py"]
"""The suite that is tried against an installed wheel has no sources: neither README.md nor what the site is built from."""
