"""The parts of the store suite, one theme each."""
