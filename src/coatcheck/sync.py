"""A face of objects with asynchronous methods for code that cannot await."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import wraps
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar

from coatcheck.runtime.portal import run_eagerly

_P = ParamSpec("_P")
_S = TypeVar("_S")
_T = TypeVar("_T")

_END: Final = object()


class SyncFace(Generic[_S]):
    """An object, with methods that wait. Its methods are made by :func:`blocking`, once for each asynchronous one.

    Args:
        subject: The object.
    """

    __slots__ = ("_subject",)

    def __init__(self, subject: _S) -> None:
        self._subject = subject

    def __repr__(self) -> str:
        return f"{self._subject!r}.sync"


def blocking(
    method: Callable[Concatenate[_S, _P], Coroutine[Any, Any, _T]],
) -> Callable[Concatenate[SyncFace[_S], _P], _T]:
    """Return the method of a :class:`SyncFace` that does the same and waits for it, with the same arguments."""

    @wraps(method)
    def call(self: SyncFace[_S], /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return run_eagerly(method(self._subject, *args, **kwargs))

    return call


def blocking_iterator(
    method: Callable[Concatenate[_S, _P], AsyncIterator[_T]],
) -> Callable[Concatenate[SyncFace[_S], _P], Iterator[_T]]:
    """As :func:`blocking`, for a method that gives one thing after the other: each is waited for when it is asked for."""

    @wraps(method)
    def call(self: SyncFace[_S], /, *args: _P.args, **kwargs: _P.kwargs) -> Iterator[_T]:
        found = method(self._subject, *args, **kwargs)
        while (item := run_eagerly(_next(found))) is not _END:
            yield item  # type: ignore[misc] # what is left is one of them

    return call


async def _next(found: AsyncIterator[_T]) -> _T | object:
    return await anext(found, _END)
