"""Analysis of a journal: its content, its growth, the engine's limits, and the savings by a chain.

Pure functions over :class:`~coatcheck.doctor.journal.Journal`, which an integration builds from its engine's records.
"""
