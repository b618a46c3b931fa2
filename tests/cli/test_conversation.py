"""The demo's conversation: foreseeable, and as large as it says."""

import json
import subprocess
import sys
import zlib

from coatcheck.cli.demo.conversation import Message, conversation, turn


def as_json(messages: list[Message]) -> bytes:
    return json.dumps(messages, separators=(",", ":"), sort_keys=True).encode()


def test_a_turn_depends_on_seed_and_number_only() -> None:
    alone = turn(7, 5)
    assert conversation(7, 6)[len(conversation(7, 4)) : len(conversation(7, 5))] == alone
    assert turn(8, 5) != alone
    assert turn(7, 6) != alone


def test_another_process_says_the_same() -> None:
    program = (
        "import sys, json; from coatcheck.cli.demo.conversation import conversation; "
        "json.dump(conversation(3, 4), sys.stdout)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=60)
    assert json.loads(said.stdout) == conversation(3, 4)


def test_a_turn_has_about_10_kb() -> None:
    for seed in range(3):
        sizes = [len(as_json(turn(seed, number))) for number in range(1, 61)]
        assert 9_900 < sum(sizes) / len(sizes) < 10_900
        assert 6_000 < min(sizes) <= max(sizes) < 16_000


def test_it_compresses_like_text_of_agents_and_not_better() -> None:
    said = as_json(conversation(0, 10))
    assert 2.5 < len(said) / len(zlib.compress(said, 6)) < 4.5


def test_every_tool_result_answers_a_call() -> None:
    said = conversation(1, 3)
    calls = [call["id"] for message in said for call in message.get("tool_calls", ())]
    answers = [message["tool_call_id"] for message in said if message["role"] == "tool"]
    assert calls == answers
    assert len(set(calls)) == len(calls) == 6
