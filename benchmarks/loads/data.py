"""What agents carry around: the demo's conversation, as JSON."""

import json
from functools import cache

from coatcheck.cli.demo.conversation import conversation


@cache
def transcript() -> bytes:
    """About 12 MB."""
    return json.dumps(conversation(seed=1, turns=1200)).encode()


def payloads(size: int, count: int) -> list[bytes]:
    """``count`` payloads of ``size`` bytes that have nothing to do with each other, as far as 12 MB go."""
    text = transcript()
    while len(text) < size * count:
        text += text[::-1]
    return [text[size * n : size * (n + 1)] for n in range(count)]
