"""The payloads of a workflow's history: a list of them, and the data of one."""

from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent

from coatcheck.cli.doctor.bar import Bar
from coatcheck.cli.temporal.options import Server
from coatcheck.cli.temporal.server import connect, fetch
from coatcheck.doctor.journal import Form
from coatcheck.doctor.places import Place, places
from coatcheck.errors import ConfigError, FormatError
from coatcheck.integrations.temporal.codec import ClaimCheckCodec
from coatcheck.integrations.temporal.history import form_of, journal_of, payloads_of
from coatcheck.integrations.temporal.native import from_native
from coatcheck.scope import Scope
from coatcheck.settings.model import Settings


async def payloads(workflow_id: str, run_id: str | None, server: Server, bar: Bar) -> list[Place]:
    """Return every payload of the run, in the order of its history. None is opened.

    Raises:
        EngineError: The server does not answer, or refuses.
    """
    client = await connect(server)
    with bar.task(f"reading {workflow_id}") as advance:
        history, run = await fetch(client, workflow_id, run_id, advance)
    return list(places(journal_of(history, run)))


async def data_of(
    workflow_id: str, run_id: str | None, server: Server, bar: Bar, *, number: int, where: str | None
) -> bytes:
    """Return the data of one payload, opened on the chain of the settings if it is ours.

    Args:
        workflow_id: ID of the workflow.
        run_id: ID of the run; None for the latest.
        server: The Temporal server.
        bar: Shows the progress of reading.
        number: Number of the event.
        where: Field in the event; None if there is only one payload.

    Raises:
        EngineError: As :func:`payloads`.
        ConfigError: There is no such event, or ``where`` does not name one of its payloads.
        FormatError: The payload is in external storage of others.
        CoatcheckError: As :meth:`coatcheck.Chain.open`.
    """
    client = await connect(server)
    with bar.task(f"reading {workflow_id}") as advance:
        history, _ = await fetch(client, workflow_id, run_id, advance)
    event = next((event for event in history.events if event.event_id == number), None)
    if event is None:
        raise ConfigError(f"the history has no event {number}", f"Its events are 1 to {len(history.events)}.")
    payload = _chosen(event, where)
    ours = from_native(payload) or payload
    if form_of(ours) is Form.PLAIN:
        return ours.data
    if form_of(ours) is Form.EXTERNAL:
        raise FormatError(
            "the payload is in external storage that coatcheck did not write", "Read it with its own driver."
        )
    settings = Settings.load()
    async with settings.chain() as chain:
        # Without a run: a payload for a child workflow was sealed for the child.
        codec = ClaimCheckCodec(chain, Scope(client.namespace), nexus_namespaces=settings.nexus_namespaces)
        (opened,) = await codec.decode([ours])
    return opened.data


def _chosen(event: HistoryEvent, where: str | None) -> Payload:
    found = dict(payloads_of(event))
    if where is None and len(found) == 1:
        return next(iter(found.values()))
    if where in found:
        return found[where]
    held = ", ".join(found) or "no payload"
    raise ConfigError(
        f"event {event.event_id} has {held}", "Choose one with --field." if found else "Choose another event."
    )
