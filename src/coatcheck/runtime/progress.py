"""Reports on work that takes a while."""

from collections.abc import Callable

Progress = Callable[[str, int], None]
"""Told what is being counted, and how many there are by now."""
