"""Keys of tenants that a key management service (KMS) wraps: see ``docs/keys.md``."""
