"""Writers, readers and sweeps go by the store's clock and by how long ago something was, never by what day it is."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from coatcheck import MemoryStore
from coatcheck.retention.tally import Report
from tests.retention import calendars
from tests.retention.sweeping import GRACE, scope_of
from tests.retention.world import Asker, Run, Worker, World

YEARS_AGO = datetime(1999, 12, 31, tzinfo=UTC)


async def test_a_wrong_calendar_reaches_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    calendars.lead(monkeypatch, lambda: YEARS_AGO)
    store = MemoryStore()
    await store.create("a", b"1")
    assert [entry.modified async for entry in store.list_objects()] == [YEARS_AGO]


def test_nobody_asks_what_day_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def calendar() -> datetime:
        raise AssertionError("a calendar was read")

    async def write_and_read(worker: Worker) -> None:
        for workflow in ("kept", "gone"):
            scope = scope_of(workflow)
            for turn in range(3):
                data = random.Random(workflow).randbytes(1000 * (turn + 1))
                assert await worker.chain.open(await worker.chain.encode(data, scope), scope) == data

    world = World()
    world.lead_clocks(monkeypatch)
    calendars.lead(monkeypatch, calendar)
    for _ in range(2):  # the second finds everything there
        worker = Worker(world)
        worker.begin(write_and_read(worker))
        world.finish(worker)
        assert len(world.objects) == 6
    world.runs.append(Run("kept", started=timedelta()))
    assert [after_a_grace(world).deleted for _ in range(3)] == [0, 3, 0]
    assert not world.failures
    world.close()


def after_a_grace(world: World) -> Report:
    async def swept() -> Report:
        return await world.sweep(sweeper)

    world.pass_time(GRACE + timedelta(hours=1))
    sweeper = Asker(world)
    task = sweeper.begin(swept())
    world.finish(sweeper)
    report: Report = task.result()
    return report
