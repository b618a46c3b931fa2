"""Collecting what no run can reach any more, and nothing else. ``docs/retention.md`` says why it is safe."""
