"""Events, which trigger runs, resume them and report their end."""

from collections.abc import Collection, Mapping
from typing import Any, Final

from coatcheck.errors import FormatError
from coatcheck.format.shown import MARKER
from coatcheck.integrations.inngest.clear import ADDED, LIFECYCLE, ClearFields
from coatcheck.integrations.inngest.failures import open_error
from coatcheck.integrations.inngest.marker import is_escaped, sealed_in
from coatcheck.integrations.inngest.payloads import Payloads
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.scope import Scope

_TIMER: Final = "inngest/scheduled.timer"
"""Event that Inngest itself sends for a cron schedule; nobody else may send events below ``inngest/``."""
_TIMER_FIELDS: Final = frozenset({"cron"})


class SealedData(dict[str, object]):
    """Data of an event sealed in this process: a type of its own, which JSON from outside never has."""

    def __init__(self, data: Mapping[str, object], original: Mapping[str, Any]) -> None:
        super().__init__(data)
        self.original = original


class Events:
    """Seals and opens the data of events. They belong to the tenant, since one run hands them to another.

    Args:
        payloads: Seals and opens the values.
        clear: Fields of the data that also stay readable, for expressions and keys.
        plain: Names of events that may come in the clear when nothing else may.
    """

    def __init__(self, payloads: Payloads, clear: ClearFields, plain: Collection[str] = ()) -> None:
        self._payloads = payloads
        self._plain = frozenset(plain)
        self._clear = clear

    async def seal(
        self, data: Mapping[str, Any], *, original: Mapping[str, Any], name: str
    ) -> Mapping[str, Any]:
        """Return the data to send in place of an event's ``data``, which its owner has as ``original``.

        Args:
            data: As JSON has it.
            original: What the owner gets back.
            name: What it is, for the chain's rules.

        Raises:
            CoatcheckError: As :meth:`Payloads.seal`.
        """
        if not data or isinstance(data, SealedData):
            return original
        sealed: Mapping[str, Any] = await self._payloads.seal(data, self._payloads.shared, name=name)
        if sealed is data:
            return original
        return SealedData({**self._clear.of(data), **sealed}, original)

    async def open(self, name: str, data: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """Return the data that an event called ``name`` was sent with.

        Raises:
            CoatcheckError: As :meth:`Payloads.open`; an event whose name was given as plain is accepted as it is.
        """
        if name in LIFECYCLE:
            return await self._open_lifecycle(data, scope)
        added = {ADDED: data[ADDED]} if ADDED in data else {}
        if (sealed := sealed_in(data)) is not None:
            opened = await self._payloads.open_sealed(sealed, scope)
        else:
            self._check_plain(name, data)
            if MARKER not in data:
                return await self._open_others(data, scope)
            opened = data[MARKER][0] if is_escaped(data) else data
        if not isinstance(opened, dict):
            raise FormatError(
                "the data of an event is not a JSON object", "It was not sealed as the data of an event."
            )
        return {**opened, **added}

    async def _open_others(self, data: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """Read data of which other middleware sealed all or some fields."""
        whole = await self._payloads.read_others(data, scope)
        if whole is not data and isinstance(whole, dict):
            return {**({ADDED: data[ADDED]} if ADDED in data else {}), **whole}
        fields = await all_at_once(self._payloads.read_others(value, scope) for value in data.values())
        return dict(zip(data, fields, strict=True))

    async def open_event(self, event: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
        """Return an event, given as JSON, with its data opened."""
        name, data = event.get("name"), event.get("data")
        if not isinstance(name, str) or not isinstance(data, dict):
            if data is not None:
                self._payloads.chain.check_plain("a value in the form of an event")
            return dict(event)
        return {**event, "data": await self.open(name, data, scope)}

    def _check_plain(self, name: str, data: Mapping[str, Any]) -> None:
        """Refuse data in the clear, unless the chain or the configuration accepts it. Empty data is always accepted."""
        fields = data.keys() - {ADDED}
        if fields and name not in self._plain and not (name == _TIMER and fields <= _TIMER_FIELDS):
            self._payloads.chain.check_plain(f"the data of the event {name[:200]!r}")

    async def _open_lifecycle(self, data: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """Open an event of Inngest's own, which carries the events that triggered the run, and its result."""
        opened = dict(data)
        if isinstance(event := data.get("event"), dict):
            opened["event"] = await self.open_event(event, scope)
        if isinstance(events := data.get("events"), list):
            opened["events"] = [
                await self.open_event(item, scope) if isinstance(item, dict) else item for item in events
            ]
        if "result" in data:
            opened["result"] = await self._payloads.open(data["result"], scope)
        if isinstance(error := data.get("error"), dict):
            opened["error"] = await open_error(self._payloads, error, scope)
        return opened
