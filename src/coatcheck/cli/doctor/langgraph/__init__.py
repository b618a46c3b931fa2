"""``coatcheck doctor langgraph``: the bytes of a database of checkpoints, their growth, and the savings by a chain."""
