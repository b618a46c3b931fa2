"""Values that are large, do not compress, and can be told apart from everything that is sealed."""

import base64
from functools import cache
from random import Random

CANARY = "canary-in-the-clear"
"""In every value that must not reach the server, and in nothing else."""
_NOISE_BYTES = 225_000
"""Of which base64 makes 300 kB. Above what the server takes for a memo, and the SDK for a small payload."""


@cache
def large(name: str) -> str:
    """About 300 kB: the same for the same name."""
    return f"{CANARY} {name} {base64.b64encode(Random(name).randbytes(_NOISE_BYTES)).decode()}"
