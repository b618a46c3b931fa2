"""Looking at everything in a store: whether it can be read, and what it takes. Nothing is changed."""
