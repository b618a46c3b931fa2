"""Progress of work that takes a while."""

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Called with the name of the things that are counted, and their number so far."""
