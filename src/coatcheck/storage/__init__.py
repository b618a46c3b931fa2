"""Access of the chain to a store: with limits, retries, caches, prefetch and protection from sweeps."""
