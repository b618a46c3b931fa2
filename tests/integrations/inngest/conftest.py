"""The server, for all tests of this folder."""

from tests.engines.inngest import inngest_server

__all__ = ["inngest_server"]
