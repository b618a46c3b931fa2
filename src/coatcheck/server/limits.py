"""Fixed limits of the server."""

from typing import Final

from coatcheck.settings.serve import REQUESTS

CONNECTIONS: Final = 2 * REQUESTS
"""Connections open at once. At most half of them have a request in progress, so that there are always idle ones to close
in favour of a new one: a check of ``/health`` always gets through."""
BACKLOG: Final = 128
"""Connections accepted in one iteration of the event loop; for that long they may exceed the limit."""
