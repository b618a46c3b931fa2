"""Readers of what others wrote, while a project moves to coatcheck."""
