"""Readers of what the SDK's own payload store left."""
