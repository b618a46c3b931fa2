"""Series of an agent's payloads, easy and hard ones, all from seeds."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from coatcheck.cli.demo.conversation import Message, turn


@dataclass(frozen=True, slots=True)
class Series:
    """Payloads of one run, in the order of writing."""

    name: str
    payloads: Callable[[], Iterator[bytes]]
    """Returns a new iterator with each call; only one payload is in memory at a time."""


def turns(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield growing conversations: each step gets everything said so far."""
    said: list[Message] = []
    for number in range(1, count + 1):
        said += turn(seed, number)
        yield as_json(said)


def checkpoints(count: int, size: int, seed: int = 0) -> Iterator[bytes]:
    """Yield states of ``size`` bytes of JSON; from one to the next, 2% of the messages, at random places, are replaced.

    Args:
        count: Number of states.
        size: Approximate bytes of a state.
        seed: Seed of the content.
    """
    chance = random.Random(seed)
    fresh = _messages(seed)
    state: list[str] = []
    filled = 0
    while filled < size:
        state.append(next(fresh))
        filled += len(state[-1]) + 2
    for number in range(count):
        changed = 0
        while number and changed < size // 50:
            state[chance.randrange(len(state))] = message = next(fresh)
            changed += len(message)
        yield f'{{"step": {number}, "messages": [{", ".join(state)}]}}'.encode()


def images(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield growing turns, each with a screenshot of 45 KB in base64: incompressible bytes."""
    chance = random.Random(seed)
    said: list[Message] = []
    for number in range(1, count + 1):
        picture = base64.b64encode(chance.randbytes(45_000)).decode()
        said += turn(seed, number)
        said.append({"role": "user", "content": [{"type": "image", "data": picture}]})
        yield as_json(said)


def embeddings(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield a growing list of vectors of 768 floats: digits without any pattern."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        rows.append({"id": number, "vector": [chance.gauss(0, 0.05) for _ in range(768)]})
        yield as_json(rows)


def unrelated(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield vectors that are new each time: no base helps."""
    chance = random.Random(seed)
    for number in range(count):
        rows = [[chance.gauss(0, 0.05) for _ in range(768)] for _ in range(8)]
        yield as_json({"batch": number, "vectors": rows})


def shuffled(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield growing turns in which the order of every object's keys changes each time."""
    chance = random.Random(seed)
    said: list[Message] = []
    for number in range(1, count + 1):
        said += turn(seed, number)
        yield as_json(_shuffle(said, chance))


def trimmed(count: int, keep: int, seed: int = 0) -> Iterator[bytes]:
    """Yield conversations of the last ``keep`` turns, after a system prompt."""
    for number in range(1, count + 1):
        said = [message for n in range(max(1, number - keep + 1), number + 1) for message in turn(seed, n)]
        yield as_json([_SYSTEM, *said])


def summarised(count: int, keep: int, seed: int = 0) -> Iterator[bytes]:
    """Yield conversations of turns; when there are twice ``keep``, a summary replaces the first half."""
    told: list[Message] = []
    said: list[list[Message]] = []
    for number in range(1, count + 1):
        said.append(turn(seed, number))
        if len(said) == 2 * keep:
            summary = " ".join(str(messages[-1]["content"])[:400] for messages in said[:keep])
            told = [{"role": "user", "content": f"Summary up to turn {number - keep}: {summary}"}]
            said = said[keep:]
        yield as_json([_SYSTEM, *told, *(message for messages in said for message in messages)])


def alternating(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield ``count`` payloads of two agents in one run, alternately; their conversations have nothing in common."""
    for pair in zip(turns(count // 2, seed), turns(count // 2, seed + 1), strict=True):
        yield from pair


def as_json(value: Any) -> bytes:
    """Return the JSON that every engine's converter writes."""
    return json.dumps(value).encode()


_SYSTEM: Message = {"role": "system", "content": "You are a coding agent. Read before you write. " * 40}


def _messages(seed: int) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        for message in turn(seed, number):
            yield json.dumps(message)


def _shuffle(value: Any, chance: random.Random) -> Any:
    if isinstance(value, dict):
        items = [(key, _shuffle(item, chance)) for key, item in value.items()]
        chance.shuffle(items)
        return dict(items)
    return [_shuffle(item, chance) for item in value] if isinstance(value, list) else value
