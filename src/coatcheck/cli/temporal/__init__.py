"""Access to Temporal for commands."""
