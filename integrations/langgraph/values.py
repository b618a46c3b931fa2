"""Values of channels on their way through the chain, each in the scope of its thread."""

import copy
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, cast

from langgraph.checkpoint.serde.types import _DeltaSnapshot

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.langgraph.scopes import thread_scope
from coatcheck.integrations.langgraph.sealed import ClaimCheckSerde, Sealed, mapped
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope

_T = TypeVar("_T")

_SMALL: Final = 1024
"""Bytes of values that are encoded one after the other: they are rarely stored, and this takes no event loop."""


class Place(NamedTuple):
    """The place of a value in a saver's database, for errors."""

    thread: str
    checkpoint: str
    name: str
    """``channel 'messages'``, say."""

    @classmethod
    def of(cls, thread: str, checkpoint: str, channel: str) -> "Place":
        """Return the place of a channel's value."""
        return cls(thread, checkpoint, f"channel {channel!r}")

    def __str__(self) -> str:
        return f"{self.name} of checkpoint {self.checkpoint} of thread {self.thread!r}"


def of_channel(config: Mapping[str, Any], channel: str) -> Place:
    """Return the place of a channel's value.

    Args:
        config: The checkpoint's.
        channel: The channel's name.
    """
    known = config["configurable"]
    checkpoint = str(known.get("checkpoint_id") or "(latest)")
    if namespace := known.get("checkpoint_ns"):
        checkpoint += f" in {namespace!r}"
    return Place.of(str(known["thread_id"]), checkpoint, channel)


class Values:
    """Encodes and decodes values. For any number of threads and event loops.

    Args:
        chain: Every value's path.
        tenant: The tenant that the values belong to.
        serde: Makes bytes of values.
    """

    def __init__(self, chain: Chain, tenant: str, serde: ClaimCheckSerde) -> None:
        self._chain = chain
        self._tenant = Scope(tenant)
        self._serde = serde

    async def seal(self, values: Sequence[tuple[Place, str, Any]]) -> list[Any]:
        """Return what the saver is to keep instead of values. All that they need is durable then.

        Args:
            values: Each with its place, and the name that rules know it by.

        Raises:
            CoatcheckError: As :meth:`Chain.encode`, with the place.
        """
        payloads = [
            self._serde.pack(value.value if isinstance(value, _DeltaSnapshot) else value)
            for _, _, value in values
        ]
        encoded = await _each(
            [
                (len(payload) > _SMALL, partial(_at, place, partial(self._encoded, payload, place, name)))
                for payload, (place, name, _) in zip(payloads, values, strict=True)
            ]
        )
        return [
            _DeltaSnapshot(Sealed(data)) if isinstance(value, _DeltaSnapshot) else Sealed(data)
            for data, (_, _, value) in zip(encoded, values, strict=True)
        ]

    async def open(self, values: Sequence[tuple[Place, Any]]) -> list[Any]:
        """Return the values for what a saver kept: encoded ones, and what was written before there was a chain.

        Raises:
            CoatcheckError: As :meth:`Chain.decode`, with the place.
        """
        sealed: list[tuple[Place, Sealed]] = []
        for place, value in values:

            def note(item: Any, place: Place = place) -> Any:
                if isinstance(item, Sealed):
                    sealed.append((place, item))
                return item

            before = len(sealed)
            mapped(value, note)
            if len(sealed) == before:
                self._chain.check_plain(f"{place}")
        opened = await _each(
            [
                (
                    is_ours(item.data) and is_reference(item.data),
                    partial(_at, place, partial(self._opened, item)),
                )
                for place, item in sealed
            ]
        )
        results = iter(opened)
        return [
            mapped(value, lambda item: next(results) if isinstance(item, Sealed) else item)
            for _, value in values
        ]

    async def _encoded(self, payload: bytes, place: Place, name: str) -> bytes:
        return await self._chain.encode(payload, thread_scope(self._tenant.tenant, place.thread), name=name)

    async def _opened(self, item: Sealed) -> Any:
        # The tenant's rights: a thread may be the copy of another one.
        return self._serde.unpack(await self._chain.decode(item.data, self._tenant))


async def _each(work: Sequence[tuple[bool, Callable[[], Coroutine[Any, Any, _T]]]]) -> list[_T]:
    """Do all, and return the results in order; at once what may have to wait for a store."""
    done = [None if waits else await begin() for waits, begin in work]
    waiting = [begin for waits, begin in work if waits]
    waited = iter(
        await all_at_once([begin() for begin in waiting])
        if len(waiting) > 1
        else [await begin() for begin in waiting]
    )
    return [
        next(waited) if waits else cast("_T", result) for (waits, _), result in zip(work, done, strict=True)
    ]


async def _at(place: Place, work: Callable[[], Awaitable[_T]]) -> _T:
    try:
        return await work()
    except CoatcheckError as error:
        # Several may wait for one object, and be raised one error.
        named = copy.copy(error)
        named.what = f"{place}: {error.what}"
        named.args = (named.what, *error.args[1:])
        raise named from error
