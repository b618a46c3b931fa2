"""`coatcheck keys`."""
