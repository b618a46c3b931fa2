"""``coatcheck doctor``: where the bytes of a history are, when it meets the limits, and what a chain would save."""
