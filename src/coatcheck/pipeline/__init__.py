"""From the payload to the journal, and back."""
