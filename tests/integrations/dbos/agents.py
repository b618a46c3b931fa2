"""Workflows on a DBOS in this process. What is large in them is said in `text`."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, WorkflowSerializationFormat

from coatcheck import (
    Chain,
    Encrypt,
    FileStore,
    Keyring,
    MemoryStore,
    Offload,
    PayloadCache,
    Scope,
    Store,
    Zstd,
)
from coatcheck.format.shown import text_of
from coatcheck.integrations.dbos import ClaimCheckSerializer
from coatcheck.retention.live import run_tags_in
from tests.chains import KEY

TENANT = "acme"
SIZE = 20_000
PATIENCE = 60.0
"""Seconds for anything that is expected to happen."""

QUEUE = "coatcheck"
done: list[str] = []
"""What steps have done in this process: a side effect."""


def text(name: str, size: int = SIZE) -> str:
    """Text that compresses to about half, and so does not fit into a row."""
    return name + random.Random(name).randbytes(size // 2).hex()


class OopsError(Exception):
    """What a step raises."""


def chain_on(store: Store | Path, *, deadline: float = 8.0, decode_only: bool = False) -> Chain:
    """A chain that has nothing in memory."""
    return Chain(
        Zstd(),
        Encrypt(Keyring(KEY)),
        Offload(FileStore(store) if isinstance(store, Path) else store, deadline=deadline),
        decode_only=decode_only,
        cache=PayloadCache(2**22),
    )


def serializer_on(
    store: Store | Path, *, patience: float = PATIENCE, deadline: float = 8.0, decode_only: bool = False
) -> ClaimCheckSerializer:
    chain = chain_on(store, deadline=deadline, decode_only=decode_only)
    return ClaimCheckSerializer(chain, tenant=TENANT, patience=patience)


@DBOS.step()
def say(name: str) -> str:
    done.append(name)
    return text(name)


@DBOS.step()
def fail(name: str) -> None:
    done.append(name)
    raise OopsError(text(name))


@DBOS.workflow()
def failing(name: str) -> None:
    fail(name)


@DBOS.step()
async def say_async(name: str) -> str:
    done.append(name)
    return text(name)


@DBOS.workflow()
def agent(asked: str, turns: int) -> list[str]:
    return [asked, *(say(f"{asked[:10]}/{turn}") for turn in range(turns))]


@DBOS.workflow()
async def child(asked: str) -> str:
    return await say_async(asked[:10] + "/child") + asked


@DBOS.workflow()
async def parent(asked: str) -> str:
    """Asks a child, which gives back the result of its own in the event loop."""
    handle = await DBOS.start_workflow_async(child, asked)
    return await handle.get_result()


@DBOS.workflow()
def everything(asked: str) -> list[Any]:
    """All that DBOS serializes for a workflow."""
    DBOS.set_event("event", text("event"))
    DBOS.write_stream("stream", text("stream"))
    DBOS.close_stream("stream")
    told: list[Any] = [DBOS.recv("topic", PATIENCE)]
    try:
        fail("failure")
    except OopsError as error:
        told.append(str(error))
    told.append(DBOS.enqueue_workflow(QUEUE, agent, asked, 1).get_result(polling_interval_sec=0.05))
    return told


@DBOS.workflow(serialization_type=WorkflowSerializationFormat.PORTABLE)
def portable(asked: str) -> str:
    return say("portable") + asked


class Database:
    """A system database, read from outside."""

    def __init__(self, url: str) -> None:
        self.url = url

    def texts(self) -> dict[str, list[str]]:
        """What DBOS has serialized, by table and column, in the order of the rows."""
        engine = sa.create_engine(self.url)
        tables = sa.MetaData(schema="dbos" if engine.dialect.name == "postgresql" else None)
        found: dict[str, list[str]] = {}
        with engine.connect() as connection:
            tables.reflect(connection, resolve_fks=False)
            for table in tables.tables.values():
                for column in table.columns:
                    if column.name in {"inputs", "output", "error", "message", "value", "context"}:
                        rows = connection.execute(sa.select(column).where(column.is_not(None))).scalars()
                        found.setdefault(f"{table.name}.{column.name}", []).extend(rows)
        engine.dispose()
        return {name: texts for name, texts in found.items() if texts}

    def runs(self, *known: str) -> dict[str, set[str]]:
        """The runs that references belong to, by table and column: by name where it is ``known``, else ``?``."""
        names = {tag: run for run in known for tag in run_tags_in(_probe(run).encode())}
        return {
            where: {names.get(tag, "?") for text in texts for tag in run_tags_in(text.encode())}
            for where, texts in self.texts().items()
        }


def _probe(run: str) -> str:
    """A reference of this run, as text."""
    scope = Scope(TENANT, run, engine="dbos")
    return text_of(chain_on(MemoryStore()).sync.put(b"anything", scope).to_bytes())


@contextmanager
def launched(url: str, serializer: ClaimCheckSerializer | None, version: str = "1") -> Iterator[Database]:
    """DBOS in this process, within the block."""
    done.clear()
    DBOS(
        config={
            "name": "agents",
            "system_database_url": url,
            "application_version": version,
            "serializer": serializer,
            "log_level": "ERROR",
        }
    )
    try:
        DBOS.launch()
        DBOS.register_queue(QUEUE, polling_interval_sec=0.05)
        yield Database(url)
    finally:
        DBOS.destroy()
