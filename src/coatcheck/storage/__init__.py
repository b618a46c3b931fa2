"""A store as the chain uses it: bounded, retried, remembered, read ahead of, and safe beside a sweep."""
