"""The parts of the store suite, one topic each."""
