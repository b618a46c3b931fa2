"""Claims names that others have. Nothing here may ever run."""

raise RuntimeError("the rival was imported")
