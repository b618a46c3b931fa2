"""Diagnosis of a database of checkpoints: counted as a whole, its largest threads read value by value."""

from collections.abc import Sequence

from coatcheck.chain import Chain
from coatcheck.cli.doctor.bar import Bar
from coatcheck.cli.doctor.langgraph.database import Count, Database
from coatcheck.cli.doctor.langgraph.values import METADATA, packed, parsed_metadata, payload
from coatcheck.cli.doctor.trial import chain_under_test
from coatcheck.doctor.journal import Form
from coatcheck.doctor.places import Share
from coatcheck.doctor.threads import (
    ROOT,
    DatabaseDiagnosis,
    Row,
    Tally,
    ThreadDiagnosis,
    ThreadReading,
    Value,
)
from coatcheck.integrations.langgraph.metadata import ClearKeys
from coatcheck.scope import Scope

_TOP = 10
_TENANT = "doctor"
_FOUR_THIRDS = (3, 4)
"""Bytes, and the characters of base64 that stand for them."""


async def examine(database: Database, most: int, bar: Bar) -> DatabaseDiagnosis:
    """Diagnose a database.

    Args:
        database: The database.
        most: Most threads to read value by value; the largest ones.
        bar: Shows the progress.

    Raises:
        ConfigError: The settings are wrong, or the database fails.
        FormatError: A row is damaged.
        LimitExceeded: A value is larger than the settings allow.
    """
    with bar.task("counting"):
        counts = database.counts()
        file_size = database.file_size()
    by_thread = _shares(counts, [count.thread for count in counts])
    rows = {share.name: share.count for share in by_thread}
    threads = [await _thread(database, share.name, rows[share.name], bar) for share in by_thread[:most]]
    return DatabaseDiagnosis(
        case=database.name,
        file_size=file_size,
        size=sum(count.size for count in counts),
        by_thread=by_thread,
        by_namespace=_shares(counts, [count.namespace or ROOT for count in counts]),
        by_kind=_shares(counts, [count.kind for count in counts]),
        threads=threads,
    )


def _shares(counts: Sequence[Count], names: Sequence[str]) -> list[Share]:
    tally = Tally()
    for count, name in zip(counts, names, strict=True):
        tally.add(name, count.size, count=count.rows)
    return tally.shares()


async def _thread(database: Database, thread: str, rows: int, bar: Bar) -> ThreadDiagnosis:
    """Read one thread, and write it through the chain of the settings as a saver with that chain would."""
    chain, store, settings = chain_under_test()
    scope = Scope(_TENANT, thread or "thread")
    reading = ThreadReading(thread)
    with bar.task(f"reading {thread}") as advance:
        for number, row in enumerate(database.rows(thread), 1):
            reading.begin(row, store.size)
            reading.add(row, await _chained(chain, scope, row), top=_TOP)
            advance(number, rows)
    await chain.close()
    return reading.diagnosis(over=settings.offload.over, stored=store.size, objects=store.objects, top=_TOP)


async def _chained(chain: Chain, scope: Scope, row: Row) -> int:
    """Return the bytes of a row with a chain. What is encoded or encrypted already stays as it is."""
    size = row.size
    for value in row.values:
        if value.form is Form.PLAIN:
            encoded = _metadata if value.channel == METADATA and not value.serializer else _value
            size += await encoded(chain, scope, value) - value.size
    return size


async def _value(chain: Chain, scope: Scope, value: Value) -> int:
    content = payload(value.serializer, value.content)
    return len(await chain.encode(content, scope, name=f"channel:{value.channel}"))


async def _metadata(chain: Chain, scope: Scope, value: Value) -> int:
    clear, rest = ClearKeys(()).split(parsed_metadata(value.content))
    if not rest:
        return value.size
    hidden = len(await chain.encode(packed(rest), scope, name="metadata"))
    of, become = _FOUR_THIRDS
    return len(str(clear)) + -(-hidden // of) * become
