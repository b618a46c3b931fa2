"""Rows that a saver wrote without a chain, encoded in place."""

import json
from typing import Any

from coatcheck import MemoryStore
from coatcheck.integrations.langgraph import ClaimCheckSaver
from coatcheck.integrations.langgraph.rows import Rows
from tests.integrations.langgraph.graphs import loop, said
from tests.integrations.langgraph.savers import chain_on, keys_in, whole_sqlite
from tests.integrations.langgraph.test_graphs import config


async def test_a_thread_that_was_encoded_in_place_is_read_as_before() -> None:
    below, store = whole_sqlite(), MemoryStore()
    run: Any = {**config("t"), "metadata": {"note": "a secret note"}}
    loop().compile(checkpointer=below).invoke({"messages": [said("in")]}, run)
    before = list(below.list(config("t")))
    rows = Rows(chain_on(store, over=0), "default", below.serde)
    for _ in range(2):  # the second time there is nothing to do
        found = below.conn.execute("SELECT rowid, checkpoint_id, type, checkpoint, metadata FROM checkpoints")
        for row, checkpoint, kind, data, metadata in found.fetchall():
            new = await rows.checkpoint("t", (kind, data))
            told = json.dumps(await rows.metadata("t", checkpoint, json.loads(metadata))).encode()
            below.conn.execute(
                "UPDATE checkpoints SET type = ?, checkpoint = ?, metadata = ? WHERE rowid = ?",
                (*new, told, row),
            )
        writes = below.conn.execute("SELECT rowid, checkpoint_id, channel, type, value FROM writes")
        for row, checkpoint, channel, kind, data in writes.fetchall():
            new = await rows.value("t", checkpoint, channel, (kind, data))
            below.conn.execute("UPDATE writes SET type = ?, value = ? WHERE rowid = ?", (*new, row))
        assert list(ClaimCheckSaver(below, chain_on(store, accept_plain=False)).list(config("t"))) == before
    assert await keys_in(store)
    dumped = "".join(map(str, below.conn.execute("SELECT * FROM checkpoints").fetchall()))
    assert "secret" not in dumped
