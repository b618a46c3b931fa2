"""Limits that are the server's own, where nobody has a reason to set another."""

from typing import Final

from coatcheck.settings.serve import REQUESTS

CONNECTIONS: Final = 2 * REQUESTS
"""Connections open at once. Half of them at most have a request under way, so that for a new one there are always some to
close that wait for their callers: whoever asks only for ``/health`` gets through."""
BACKLOG: Final = 128
"""Connections that are accepted in one turn of the event loop, and may for that long be open above the limit."""
