"""Stores that fail, and an eye on what leaves the process."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from coatcheck import MemoryStore, StoreUnavailable
from coatcheck.contracts.store import DEFAULT_LIMIT
from coatcheck.format.wire import ENVELOPE, MAGIC, OBJECT_ID_LENGTH, REFERENCE, VERSION

_MARK = MAGIC + bytes((VERSION, REFERENCE))
_INLINE_MARK = MAGIC + bytes((VERSION, ENVELOPE))
_OBJECT_ID_AT = 27
_DEAD_AFTER = 3
"""Writes that are troubled, with the first one that finds the store dead."""


class FaultyStore(MemoryStore):
    """Slow, then failing now and then, then dead, from a given write on.

    Args:
        healthy: Writes that pass before the trouble begins.
        reads_die: Whether the dead store does not give anything back either.
    """

    def __init__(self, healthy: int = 10**9, *, reads_die: bool = False) -> None:
        super().__init__()
        self.writes = 0
        self.refused = 0
        self._healthy = healthy
        self._reads_die = reads_die

    def kill(self) -> None:
        self._healthy = self.writes - _DEAD_AFTER

    def revive(self) -> None:
        self._healthy = 10**9

    @property
    def dead(self) -> bool:
        return self.writes >= self._healthy + _DEAD_AFTER

    async def create(self, key: str, data: bytes) -> bool:
        self.writes += 1
        match self.writes - self._healthy:
            case late if late <= 0:
                pass
            case 1:
                await asyncio.sleep(0.02)
            case 2:
                raise self._fault("it hiccups")
            case _:
                raise self._fault("it is dead")
        return await super().create(key, data)

    async def get(self, key: str, limit: int = DEFAULT_LIMIT) -> bytes:
        if self._reads_die and self.dead:
            raise self._fault("it is dead")
        return await super().get(key, limit)

    def has(self, object_id: bytes) -> bool:
        return any(key.endswith(object_id.hex()) for key in self._objects)

    def _fault(self, why: str) -> StoreUnavailable:
        self.refused += 1
        return StoreUnavailable(why, "Wait.")


class Watched:
    """An ASGI app whose every word is looked at: whatever it refers to has to be in the store by then."""

    def __init__(self, app: Any, store: FaultyStore) -> None:
        self.app = app
        self.store = store
        self.references: list[bytes] = []
        self.inline = 0
        self.dangling: list[bytes] = []

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        async def watched(message: Any) -> None:
            body = message.get("body", b"")
            self.inline += body.count(_INLINE_MARK)
            for object_id in referred_to(body):
                self.references.append(object_id)
                if not self.store.has(object_id):
                    self.dangling.append(object_id)
            await send(message)

        await self.app(scope, receive, watched)


def referred_to(data: bytes) -> list[bytes]:
    """The object ids of all references in ``data``."""
    found = []
    at = data.find(_MARK)
    while at >= 0:
        found.append(data[at + _OBJECT_ID_AT : at + _OBJECT_ID_AT + OBJECT_ID_LENGTH])
        at = data.find(_MARK, at + 1)
    return found
