"""A conversation between a user, a coding agent and its tools, generated from a seed.

Its prose is from Python's reference manual, its code from the standard library, so that it compresses like real
conversations. Turn k depends only on the seed and on k: from them the expected conversation can be computed.
"""

import importlib.util
import json
import random
from functools import cache
from pydoc_data.topics import topics
from typing import Any, Final

Message = dict[str, Any]
"""One message in the form that chat models take, JSON throughout."""

_MODULE_NAMES: Final = """
argparse ast calendar collections configparser csv dataclasses datetime difflib dis doctest enum
fractions functools gzip heapq http.client http.server imaplib inspect ipaddress locale logging mailbox
mimetypes optparse pathlib pickle pickletools platform plistlib pprint pydoc random selectors shelve
shlex shutil smtplib socket ssl statistics subprocess tarfile tempfile textwrap threading tokenize
traceback typing unittest.case unittest.mock urllib.parse urllib.request uuid warnings weakref
xmlrpc.client zipfile
"""
_PROSE: Final = (500, 1600)
_CODE: Final = (3100, 5700)
_CASES: Final = (12, 26)


def turn(seed: int, number: int) -> list[Message]:
    """Return the messages of one turn, about 10.4 KB as JSON on average.

    Args:
        seed: The conversation.
        number: The turn, from 1.
    """
    chance = random.Random(f"{seed}:{number}")  # noqa: S311 - it must be repeatable
    module, path = _module(chance)
    read, run = _call_id(chance), _call_id(chance)
    start, code = _excerpt(chance, _source(module), _CODE)
    return [
        {"role": "user", "content": f"{_prose(chance)}\n\nDoes {path} keep to that from line {start} on?"},
        {
            "role": "assistant",
            "content": f"Turn {number}. I read {path} first, then run its tests.",
            "tool_calls": [
                _call(read, "read_file", path=path, first_line=start, lines=code.count("\n") + 1),
                _call(run, "run_tests", target=f"test_{module.replace('.', '_')}", timeout_seconds=120),
            ],
        },
        {"role": "tool", "tool_call_id": read, "content": code},
        {"role": "tool", "tool_call_id": run, "content": json.dumps(_report(chance, module), indent=1)},
        {"role": "assistant", "content": f"{_prose(chance)}\n\n```python\n{_snippet(chance, code)}\n```"},
    ]


def conversation(seed: int, turns: int) -> list[Message]:
    """Return the whole conversation of ``turns`` turns."""
    return [message for number in range(1, turns + 1) for message in turn(seed, number)]


@cache
def _source(module: str) -> str:
    spec = importlib.util.find_spec(module)
    get_source = getattr(spec and spec.loader, "get_source", None)
    source = get_source(module) if get_source else None
    # Some interpreters have no sources; all have the manual.
    return source or "\n".join(topics.values())


def _module(chance: random.Random) -> tuple[str, str]:
    module = chance.choice(_MODULE_NAMES.split())
    return module, f"Lib/{module.replace('.', '/')}.py"


def _call_id(chance: random.Random) -> str:
    return f"call_{chance.getrandbits(96):024x}"


def _call(call_id: str, name: str, **arguments: str | int) -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _excerpt(chance: random.Random, text: str, sizes: tuple[int, int]) -> tuple[int, str]:
    """Return whole lines of ``text``, within a range of sizes in characters, and the number of the first line."""
    size = chance.randint(*sizes)
    start = text.rfind("\n", 0, chance.randint(0, max(0, len(text) - size))) + 1
    end = max(text.rfind("\n", start, start + size), start + 1)
    return text.count("\n", 0, start) + 1, text[start:end]


def _prose(chance: random.Random) -> str:
    topic = topics[chance.choice(sorted(topics))]
    return _excerpt(chance, topic, _PROSE)[1].strip()


def _snippet(chance: random.Random, code: str) -> str:
    return _excerpt(chance, code, (400, 1200))[1]


def _report(chance: random.Random, module: str) -> Message:
    cases = [
        {
            "id": f"{chance.getrandbits(32):08x}",
            "name": f"{module}.{chance.choice(('test_read', 'test_write', 'test_edge', 'test_type'))}"
            f"_{chance.randint(1, 400)}",
            "outcome": chance.choices(("passed", "failed", "skipped"), (92, 5, 3))[0],
            "seconds": round(chance.expovariate(20), 6),
        }
        for _ in range(chance.randint(*_CASES))
    ]
    return {
        "run": f"{chance.getrandbits(64):016x}",
        "cases": cases,
        "coverage": round(chance.uniform(60, 99), 2),
    }
