"""``coatcheck demo``: an agent on a real Temporal server, without and with the chain."""
