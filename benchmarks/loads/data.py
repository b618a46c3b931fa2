"""Typical payloads of agents: the demo's conversation, as JSON."""

import json
from functools import cache

from coatcheck.cli.demo.conversation import conversation


@cache
def transcript() -> bytes:
    """Return a conversation of about 12 MB."""
    return json.dumps(conversation(seed=1, turns=1200)).encode()


def payloads(size: int, count: int) -> list[bytes]:
    """Return ``count`` payloads of ``size`` bytes without common content, up to 12 MB in total."""
    text = transcript()
    while len(text) < size * count:
        text += text[::-1]
    return [text[size * n : size * (n + 1)] for n in range(count)]
