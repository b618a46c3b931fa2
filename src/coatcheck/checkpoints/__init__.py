"""Checkpoints of an agent's state."""
