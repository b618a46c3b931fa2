"""Tests of what could wait for itself: they fail, where they would hang."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

_T = TypeVar("_T")


def run_for_at_most(seconds: float, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Run ``work`` on an event loop of its own, in a thread that is left behind if it hangs, and return its result."""
    results: list[_T | BaseException] = []

    def run() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not results:
        pytest.fail("it hangs")
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]
