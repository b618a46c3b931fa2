"""Values on their way into the run state and back, on a chain."""

import asyncio
import logging
import math
from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from coatcheck.chain import Chain
from coatcheck.errors import CoatcheckError, LimitExceeded
from coatcheck.format.reference import Reference
from coatcheck.format.shown import MARKER
from coatcheck.format.wire import is_ours, is_reference
from coatcheck.integrations.inngest.marker import (
    MARKED_SIZE,
    escaped,
    from_json,
    is_escaped,
    looks_marked,
    marked,
    marked_size,
    sealed_in,
    to_json,
)
from coatcheck.integrations.inngest.scopes import run_scope
from coatcheck.runtime.concurrency import DECODE_INLINE_UP_TO, all_at_once, off_loop
from coatcheck.scope import Scope

_MOST_INLINE: Final = 4 * 2**20 - 64 * 1024
"""Most bytes of a value: Inngest accepts 4 MiB for a step (Inngest, "Usage limits"), and the rest of the step is far less."""
_PATIENCE: Final = 600.0
"""Seconds that a result too large for the run state waits for the store: hosts give a request 15 minutes at most."""
_PAUSE: Final = 1.0

_log = logging.getLogger("coatcheck.inngest")


class FormatReader(Protocol):
    """Reads values that another middleware wrote; never writes."""

    def knows(self, value: object) -> bool:
        """Tell if ``value`` is in its format. Pure."""
        ...

    async def read(self, value: Any, run: str) -> Any:
        """Return the value behind ``value``, which it knows, in the run with this ID.

        Raises:
            CoatcheckError: It cannot be read, or lies outside of what was configured.
        """
        ...


class Payloads:
    """Seals values on a chain, and opens what it and other middleware wrote. For any number of event loops.

    Args:
        chain: The chain for all values.
        tenant: The tenant that the values belong to.
        over: Bytes of JSON that a value may take in the run state; larger ones are offloaded.
        read_also: Readers of other formats.

    Raises:
        ConfigError: The chain accepts only sealed payloads, and ``read_also`` is not empty.
    """

    def __init__(self, chain: Chain, tenant: str, over: int, read_also: Sequence[FormatReader]) -> None:
        chain.check_readers(read_also)
        self.chain = chain
        self.shared: Final = Scope(tenant)
        """Scope of values that one run hands to another: events, the input and output of functions, errors."""
        self._tenant = tenant
        self._over = over
        self._read_also = tuple(read_also)

    def run(self, run: str) -> Scope:
        """Return the scope of values that stay in the run with this ID."""
        return run_scope(self._tenant, run)

    async def load_key(self) -> None:
        """Load the tenant's key, under which the function's result will be sealed.

        Raises:
            CoatcheckError: As :meth:`Chain.load_keys`.
        """
        if not self.chain.decode_only:
            await self.chain.load_keys(self._tenant)

    async def seal(self, value: object, scope: Scope, *, name: str = "", scarce: bool = False) -> Any:
        """Return the value to give to Inngest in place of ``value``.

        Args:
            value: Anything that can be JSON.
            scope: The scope that it belongs to.
            name: Its name, for the chain's rules.
            scarce: True if there is hardly any room left: then every value larger than its reference is offloaded.

        Raises:
            TypeError: It cannot be JSON.
            ValueError: As above.
            CoatcheckError: As :meth:`Chain.encode`.
        """
        return await self.seal_json(to_json(value), value, scope, name=name, scarce=scarce)

    async def seal_json(
        self, data: bytes, value: object, scope: Scope, *, name: str = "", scarce: bool = False
    ) -> Any:
        """Do :meth:`seal` for a value of which ``data`` is the JSON."""
        sealed = await self.chain.encode(data, scope, name=name)
        size = marked_size(sealed) if is_ours(sealed) else len(data)
        if size > (MARKED_SIZE if scarce else self._most(name)) and not _is_reference_of_ours(sealed):
            sealed = await self._offloaded(data, scope, name) or sealed
        return self._standing_for(sealed, data, value)

    async def seal_result(
        self, data: bytes, value: object, scope: Scope, *, name: str = "", scarce: bool
    ) -> Any:
        """Do :meth:`seal_json` for the result of a step or a function. It is done, and must not run again because of a codec.

        A result that the store does not accept is kept in the run state; if it is too large for that, it waits for the store.

        Raises:
            LimitExceeded: It is larger than the chain's ``max_payload``.
            CoatcheckError: The store does not accept it, and it is too large for the run state.
        """
        try:
            return await self.seal_json(data, value, scope, name=name, scarce=scarce)
        except LimitExceeded:
            raise
        except CoatcheckError:
            return self._standing_for(await self.seal_done(data, scope, name=name), data, value)

    async def seal_done(self, data: bytes, scope: Scope, *, name: str = "") -> bytes:
        """Return the result of :meth:`Chain.encode`, or the payload sealed inline if the store does not accept it; as :meth:`seal_result`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE
        while True:
            try:
                return await self.chain.encode(data, scope, name=name)
            except LimitExceeded:
                raise
            except CoatcheckError as error:
                sealed = await self.chain.encode(data, scope, inline=True)
                if marked_size(sealed) <= _MOST_INLINE:
                    _log.warning(
                        "A result is kept in the run state, since the store does not accept it: %s", error
                    )
                    return sealed
                if not error.retryable or loop.time() >= until:
                    raise
                _log.warning(
                    "A result waits for the store, since it is too large for the run state: %s", error
                )
            await asyncio.sleep(_PAUSE)

    async def open(self, value: Any, scope: Scope) -> Any:
        """Return the value that ``value`` stands for; ``value`` itself if it is not ours and no reader knows it.

        Raises:
            CoatcheckError: As :meth:`Chain.open`, and as :meth:`check_plain`.
        """
        [opened] = await self.open_all([value], scope)
        self.check_plain(value, opened, "a value")
        return opened

    def check_plain(self, value: object, opened: object, what: str) -> None:
        """Refuse a value that :meth:`open_all` left as it was, unless the chain accepts it. ``None`` is always accepted.

        Raises:
            IntegrityError: As :meth:`Chain.check_plain`.
        """
        if opened is value and value is not None:
            self.chain.check_plain(what)

    async def open_all(self, values: Iterable[Any], scope: Scope) -> list[Any]:
        """Open each that is ours, concurrently; same length and order as ``values``, what is not ours unchecked."""
        opened = list(values)
        levels: dict[int, list[tuple[int, bytes]]] = {}
        others: list[int] = []
        for position, value in enumerate(opened):
            if not isinstance(value, dict) or value.keys() != {MARKER}:
                others.append(position)
            elif (sealed := sealed_in(value)) is not None:
                levels.setdefault(_depth(sealed), []).append((position, sealed))
            elif is_escaped(value):
                self.chain.check_plain("a value")
                opened[position] = value[MARKER][0]
        # What others are deltas against comes first and is then in the cache: no object is fetched twice.
        for _, level in sorted(levels.items()):
            found = await all_at_once(self.open_sealed(sealed, scope) for _, sealed in level)
            for (position, _), value in zip(level, found, strict=True):
                opened[position] = value
        if self._read_also:
            found = await all_at_once(self.read_others(opened[position], scope) for position in others)
            for position, value in zip(others, found, strict=True):
                opened[position] = value
        return opened

    async def read_others(self, value: Any, scope: Scope) -> Any:
        """Return the value behind ``value`` if another middleware wrote it; else ``value`` itself.

        Raises:
            CoatcheckError: As :meth:`FormatReader.read`.
        """
        for reader in self._read_also:
            if reader.knows(value):
                return await reader.read(value, scope.run or "")
        return value

    async def open_sealed(self, sealed: bytes, scope: Scope) -> Any:
        """Return the value in an envelope or behind a reference.

        Raises:
            CoatcheckError: As :meth:`Chain.open`.
        """
        data = await self.chain.open(sealed, scope)
        return await off_loop(len(data), DECODE_INLINE_UP_TO, from_json, data)

    def _standing_for(self, sealed: bytes, data: bytes, value: object) -> Any:
        if is_ours(sealed):
            return marked(sealed)
        return escaped(value) if looks_marked(data) else value

    def _most(self, name: str) -> float:
        """Return the bytes that a value may take in the run state; where a rule has a threshold, the chain has applied it."""
        rule = self.chain.rule_for(name)
        return self._over if rule is None or (rule.over is None and not rule.inline) else math.inf

    async def _offloaded(self, data: bytes, scope: Scope, name: str) -> bytes | None:
        return (await self.chain.put(data, scope, name=name)).to_bytes() if self.chain.offloads else None


def _is_reference_of_ours(data: bytes) -> bool:
    """Tell if ``data`` is a reference, and not a payload that the chain left as it is."""
    return is_ours(data) and is_reference(data)


def _depth(sealed: bytes) -> int:
    """Return the number of objects that a reference builds on."""
    return len(Reference.from_bytes(sealed).bases) if is_reference(sealed) else 0
