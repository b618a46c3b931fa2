"""Events: what triggers runs, resumes them, and tells of their end."""

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
"""The event that Inngest itself sends for a time table; nobody else may send events of ``inngest/``."""
_TIMER_FIELDS: Final = frozenset({"cron"})


class SealedData(dict[str, object]):
    """The data of an event that was sealed in this process, which JSON from outside can never be taken for."""

    def __init__(self, data: Mapping[str, object], original: Mapping[str, Any]) -> None:
        super().__init__(data)
        self.original = original


class Events:
    """Seals and opens the data of events. They belong to the tenant, since one run hands them to another.

    Args:
        payloads: Every value's path.
        clear: Fields of the data that stay readable beside what was sealed, for expressions and keys.
        plain: Names of events that may come in the clear, if nothing else may.
    """

    def __init__(self, payloads: Payloads, clear: ClearFields, plain: Collection[str] = ()) -> None:
        self._payloads = payloads
        self._plain = frozenset(plain)
        self._clear = clear

    async def seal(
        self, data: Mapping[str, Any], *, original: Mapping[str, Any], name: str
    ) -> Mapping[str, Any]:
        """What to send in place of an event's ``data``, whose owner has it as ``original``.

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
        """The data that an event called ``name`` was sent with.

        Raises:
            CoatcheckError: As :meth:`Payloads.open`; an event whose name was given as plain is taken as it is.
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
            raise FormatError("the data of an event is no object", "It was written as something else.")
        return {**opened, **added}

    async def _open_others(self, data: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """Other middleware seals the data, or some of its fields."""
        whole = await self._payloads.read_others(data, scope)
        if whole is not data and isinstance(whole, dict):
            return {**({ADDED: data[ADDED]} if ADDED in data else {}), **whole}
        fields = await all_at_once(self._payloads.read_others(value, scope) for value in data.values())
        return dict(zip(data, fields, strict=True))

    async def open_event(self, event: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
        """The same for an event as JSON has it."""
        name, data = event.get("name"), event.get("data")
        if not isinstance(name, str) or not isinstance(data, dict):
            if data is not None:
                self._payloads.chain.check_plain("what has the form of an event")
            return dict(event)
        return {**event, "data": await self.open(name, data, scope)}

    def _check_plain(self, name: str, data: Mapping[str, Any]) -> None:
        """Refuse data in the clear, unless the chain or the configuration takes it. What is empty says nothing."""
        fields = data.keys() - {ADDED}
        if fields and name not in self._plain and not (name == _TIMER and fields <= _TIMER_FIELDS):
            self._payloads.chain.check_plain(f"the data of the event {name[:200]!r}")

    async def _open_lifecycle(self, data: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
        """Such an event carries those that triggered the run, and what the run came to."""
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
