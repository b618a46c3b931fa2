"""What stands in journals and in stores, byte by byte: everything here is pure and knows no store."""
