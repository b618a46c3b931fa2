"""What stands in journals and in stores, byte by byte, and what of it may be opened for whom. Knows no store."""
