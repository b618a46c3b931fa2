"""What agents save one after the other: easy series and hard ones, all from seeds."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from coatcheck.cli.demo.conversation import Message, turn


@dataclass(frozen=True, slots=True)
class Series:
    """Payloads of one run, in the order in which they are written."""

    name: str
    payloads: Callable[[], Iterator[bytes]]
    """From the first again with each call; only one of them is held in memory."""


def turns(count: int, seed: int = 0) -> Iterator[bytes]:
    """Each step is given everything that was said so far."""
    said: list[Message] = []
    for number in range(1, count + 1):
        said += turn(seed, number)
        yield as_json(said)


def checkpoints(count: int, size: int, seed: int = 0) -> Iterator[bytes]:
    """A state of ``size`` bytes of JSON; from one to the next, messages at random places give way to new ones: 2%.

    Args:
        count: How many states.
        size: Bytes, about.
        seed: Which state.
    """
    chance = random.Random(seed)
    fresh = _messages(seed)
    state: list[str] = []
    held = 0
    while held < size:
        state.append(next(fresh))
        held += len(state[-1]) + 2
    for number in range(count):
        changed = 0
        while number and changed < size // 50:
            state[chance.randrange(len(state))] = message = next(fresh)
            changed += len(message)
        yield f'{{"step": {number}, "messages": [{", ".join(state)}]}}'.encode()


def images(count: int, seed: int = 0) -> Iterator[bytes]:
    """Growing turns, each with a screenshot of 45 KB in base64: bytes that no compressor makes smaller."""
    chance = random.Random(seed)
    said: list[Message] = []
    for number in range(1, count + 1):
        picture = base64.b64encode(chance.randbytes(45_000)).decode()
        said += turn(seed, number)
        said.append({"role": "user", "content": [{"type": "image", "data": picture}]})
        yield as_json(said)


def embeddings(count: int, seed: int = 0) -> Iterator[bytes]:
    """A growing list of vectors of 768 floats: digits without any pattern."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(count):
        rows.append({"id": number, "vector": [chance.gauss(0, 0.05) for _ in range(768)]})
        yield as_json(rows)


def unrelated(count: int, seed: int = 0) -> Iterator[bytes]:
    """Vectors that are new each time: whatever base there is does not help."""
    chance = random.Random(seed)
    for number in range(count):
        rows = [[chance.gauss(0, 0.05) for _ in range(768)] for _ in range(8)]
        yield as_json({"batch": number, "vectors": rows})


def shuffled(count: int, seed: int = 0) -> Iterator[bytes]:
    """Growing turns from a writer that puts the keys of every object in another order each time."""
    chance = random.Random(seed)
    said: list[Message] = []
    for number in range(1, count + 1):
        said += turn(seed, number)
        yield as_json(_shuffle(said, chance))


def trimmed(count: int, keep: int, seed: int = 0) -> Iterator[bytes]:
    """Turns of which only the last ``keep`` are carried on, behind a system prompt."""
    for number in range(1, count + 1):
        said = [message for n in range(max(1, number - keep + 1), number + 1) for message in turn(seed, n)]
        yield as_json([_SYSTEM, *said])


def summarised(count: int, keep: int, seed: int = 0) -> Iterator[bytes]:
    """Turns of which, whenever there are twice ``keep``, the first half gives way to a summary."""
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
    """Two agents of one run, whose conversations have nothing in common, turn about: ``count`` payloads in all."""
    for pair in zip(turns(count // 2, seed), turns(count // 2, seed + 1), strict=True):
        yield from pair


def as_json(value: Any) -> bytes:
    """The form in which every engine's converter writes it."""
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
