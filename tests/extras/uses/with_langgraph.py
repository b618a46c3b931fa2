"""``with_langgraph.py``: a checkpoint in memory, and its value in a store."""

from chains import PAYLOAD, chain_on
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from coatcheck import MemoryStore
from coatcheck.integrations.langgraph import ClaimCheckSaver

saver = ClaimCheckSaver(InMemorySaver(), chain_on(MemoryStore()))
checkpoint = empty_checkpoint()
checkpoint["channel_values"] = {"payload": PAYLOAD}
checkpoint["channel_versions"] = {"payload": "1"}
config = saver.put(
    {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}, checkpoint, {"step": 0}, {"payload": "1"}
)
found = saver.get_tuple(config)
assert found is not None
assert found.checkpoint["channel_values"] == {"payload": PAYLOAD}
