"""Deletion of objects that no run can reach any more. ``docs/retention.md`` explains why it is safe."""
