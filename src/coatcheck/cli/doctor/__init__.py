"""``coatcheck doctor``: the bytes of a history, its distance from the limits, and the savings by a chain."""
