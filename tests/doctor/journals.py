"""Journals in which every byte is known."""

from collections.abc import Sequence

from coatcheck.doctor.diagnosis import Diagnosis, diagnose, prospect
from coatcheck.doctor.journal import Event, Form, Journal, JournalPayload

OVERHEAD = 100
"""Bytes of an event but for its payloads."""


def entry(
    where: str, content: bytes, form: Form = Form.PLAIN, stands_for: int | None = None
) -> JournalPayload:
    return JournalPayload(where, content, form, len(content) if stands_for is None else stands_for)


def event(
    number: int, kind: str, *payloads: JournalPayload, step: str = "", ends_turn: bool = False, batch: int = 0
) -> Event:
    size = OVERHEAD + sum(len(one.content) for one in payloads)
    return Event(number, kind, size, step, ends_turn, batch, payloads)


def agent(inputs: Sequence[bytes], case: str = "agent/run") -> Journal:
    """A run that completes one workflow task for each of ``inputs``, and schedules a step with it."""
    events = [event(1, "WorkflowExecutionStarted", entry("input", b"go"))]
    for content in inputs:
        completed = len(events) + 1
        events += [
            event(completed, "WorkflowTaskCompleted", ends_turn=True),
            event(
                completed + 1, "ActivityTaskScheduled", entry("input", content), step="think", batch=completed
            ),
            event(completed + 2, "ActivityTaskCompleted", entry("result", b"done"), step="think"),
        ]
    return Journal(case, tuple(events))


def diagnosed(journal: Journal, with_chain: Journal | None = None) -> Diagnosis:
    chained = prospect(with_chain or agent([b"r" * 80] * 3), over=2048, stored=5000, objects=3)
    return diagnose(journal, chained)
