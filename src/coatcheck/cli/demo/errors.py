"""The error of the demo."""


class DemoError(Exception):
    """An error that ends the demo; its text is one line for the user."""
