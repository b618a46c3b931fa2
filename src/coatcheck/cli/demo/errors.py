"""The error of the demo."""


class DemoError(Exception):
    """The demo could not start or go on; the text is one line for the user."""
