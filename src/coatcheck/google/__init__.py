"""Access to Google Cloud."""
