"""Machine-readable records of a database of checkpoints."""

from collections.abc import Iterator

from coatcheck.doctor.records import Figure, Record, growth_figures, repeated_figures
from coatcheck.doctor.threads import DatabaseDiagnosis, ThreadDiagnosis, forecast


def records(diagnosis: DatabaseDiagnosis) -> list[Record]:
    """Return every figure of a database, and of the threads that were read value by value."""
    found = [(diagnosis.case, figure) for figure in _of(diagnosis)]
    found += [(thread.thread, figure) for thread in diagnosis.threads for figure in _of_thread(thread)]
    return [Record(case=case, name=name, value=value, unit=unit) for case, (name, value, unit) in found]


def _of(diagnosis: DatabaseDiagnosis) -> Iterator[Figure]:
    yield "database_bytes", diagnosis.file_size, "bytes"
    yield "row_bytes", diagnosis.size, "bytes"
    yield "threads", len(diagnosis.by_thread), "count"
    yield "examined_threads", len(diagnosis.threads), "count"
    yield "examined_bytes", diagnosis.examined, "bytes"
    for name, shares in (
        ("thread", diagnosis.by_thread),
        ("namespace", diagnosis.by_namespace),
        ("kind", diagnosis.by_kind),
    ):
        for share in shares:
            yield f"{name}/{share.name}", share.size, "bytes"


def _of_thread(thread: ThreadDiagnosis) -> Iterator[Figure]:
    yield "thread_bytes", thread.size, "bytes"
    yield "steps", thread.steps, "count"
    yield from growth_figures(thread.growth, "step")
    for steps, size in forecast(thread.growth):
        yield f"forecast/{steps}", size, "bytes"
    for name, shares in (
        ("kind", thread.by_kind),
        ("namespace", thread.by_namespace),
        ("channel", thread.by_channel),
    ):
        for share in shares:
            yield (
                f"{name}/{share.name}/rows" if name != "channel" else f"channel/{share.name}/values",
                share.count,
                "count",
            )
            yield f"{name}/{share.name}", share.size, "bytes"
    for form in thread.by_form:
        yield f"form/{form.form}/values", form.count, "count"
        yield f"form/{form.form}", form.size, "bytes"
        yield f"form/{form.form}/stands_for", form.stands_for, "bytes"
    for place in thread.largest:
        yield f"largest/{place.number}/{place.kind}/{place.where}", place.size, "bytes"
    yield from repeated_figures(thread.repeats, thread.repeated, thread.carried)
    chained = thread.chained
    yield "chain/over", chained.over, "bytes"
    yield "chain/thread_bytes", chained.size, "bytes"
    yield "chain/stored_bytes", chained.stored, "bytes"
    yield "chain/objects", chained.objects, "count"
    yield "chain/untried_bytes", chained.untried, "bytes"
    for name, value, unit in growth_figures(chained.growth, "step"):
        yield f"chain/{name}", value, unit
    for steps, size in forecast(chained.growth):
        yield f"chain/forecast/{steps}", size, "bytes"
