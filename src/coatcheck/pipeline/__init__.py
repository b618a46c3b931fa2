"""The steps from a payload to the journal, and back."""
