"""The bytes in journals and stores, and the rules about who may open them. Does no I/O."""
