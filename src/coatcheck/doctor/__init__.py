"""What a journal holds, how it grows, when it meets the engine's limits, and what a chain would save.

Pure functions over :class:`~coatcheck.doctor.journal.Journal`, which an integration makes of its engine's own records.
"""
