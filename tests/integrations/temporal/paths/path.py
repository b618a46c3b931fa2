"""What one row of the table says, and how a history is held against it."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.worker import Replayer

from benchmarks.loads.counted import Counted
from coatcheck import Reference
from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.format.wire import is_reference
from coatcheck.integrations.temporal import ENCODING, from_native
from coatcheck.integrations.temporal.history import payloads_of
from tests.integrations.temporal.paths.flows import FLOWS
from tests.integrations.temporal.paths.site import Site
from tests.integrations.temporal.paths.values import large

Handles = list[WorkflowHandle[Any, Any]]
START, END = "WorkflowExecutionStarted input", "WorkflowExecutionCompleted result"


@dataclass(frozen=True)
class PayloadPath:
    """One way that a payload takes.

    Args:
        name: As in ``docs/temporal-paths.md``.
        walk: Sends large values on this path, holds what arrives against them, and gives the runs whose histories
            are to be looked at. They have ended.
        large: Where in these histories a reference must stand, and nowhere else: the kind of the event, and the
            field in it.
        clear: Where payloads stand that are not ours, for a reason that the row states.
        options: What client and replayer are set up with besides the plug-in.
        offers: How often a cold replay offers the store an object that is there already.
    """

    name: str
    walk: Callable[[Site], Awaitable[Handles]]
    large: AbstractSet[str] = frozenset()
    clear: AbstractSet[str] = frozenset()
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    offers: int = 0


def gives_back(flow: Any, *, child: bool = False) -> Callable[[Site], Awaitable[Handles]]:
    """Walks a workflow that gives back its input, alone or with a child that has its ID and a suffix."""

    async def walk(site: Site) -> Handles:
        data = large(flow.__qualname__)
        handle = await site.start(flow, data)
        assert await handle.result() == data
        return [handle, site.run(f"{handle.id}-child")] if child else [handle]

    return walk


@dataclass(frozen=True)
class Look:
    """What the server has of some runs."""

    large: frozenset[str]
    clear: frozenset[str]
    largest: int
    """Bytes of the largest payload."""
    raw: bytes


def look_at(histories: list[WorkflowHistory], site: Site) -> Look:
    """See it as the server does."""
    found = [(place, payload) for history in histories for place, payload in places(history)]
    return Look(
        large=frozenset(place for place, payload in found if is_large(payload, site)),
        clear=frozenset(place for place, payload in found if not is_ours(payload)),
        largest=max(payload.ByteSize() for _, payload in found),
        raw=b"".join(event.SerializeToString() for history in histories for event in history.events),
    )


async def requests_of_replay(site: Site, history: WorkflowHistory) -> Counter[str]:
    """What a process that has nothing in memory asks of the store to replay it."""
    counted = Counted(site.store)
    replayer = Replayer(workflows=FLOWS, plugins=[site.plugin(counted)], **site.options)
    await replayer.replay_workflow(history)
    return counted.requests


def places(history: WorkflowHistory) -> Iterator[tuple[str, Payload]]:
    """Every payload, with the kind of event and the field that it stands in."""
    for event in history.events:
        for where, payload in payloads_of(event):
            yield f"{_kind(event)} {where}", payload


def is_ours(payload: Payload) -> bool:
    """Whether the chain made it."""
    return payload.metadata.get("encoding") == ENCODING or from_native(payload) is not None


def is_large(payload: Payload, site: Site) -> bool:
    """Whether it stands for an object, in the form that the mode has for it: of the tenant it is the codec's in either."""
    if from_native(payload) is not None:
        return site.mode == "native"
    if payload.metadata.get("encoding") != ENCODING or not is_reference(payload.data):
        return False
    return site.mode == "codec" or Reference.from_bytes(payload.data).run_tag == TENANT_SCOPE_TAG


def _kind(event: HistoryEvent) -> str:
    name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
    return "".join(word.capitalize() for word in name.split("_"))
