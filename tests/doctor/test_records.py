"""Records: the golden ones, which readers of the JSON rely on."""

import json
from pathlib import Path

from coatcheck.doctor.records import records
from tests.doctor.journals import agent, diagnosed

GOLDEN = Path(__file__).with_name("records.json")


def test_the_records_of_a_known_journal() -> None:
    journal = agent([bytes([turn]) * (2000 * turn) for turn in range(1, 9)] + [b"\x01" * 2000])
    with_chain = agent([b"r" * 90] * 9)
    found = json.dumps(records(diagnosed(journal, with_chain)), indent=1) + "\n"
    assert found == GOLDEN.read_text()


def test_nothing_to_tell_is_null() -> None:
    found = {record["name"]: record["value"] for record in records(diagnosed(agent([b"x"])))}
    assert found["growth"] is None
    assert found["limit/history_50mb/at_turn"] is None
    assert "growth_per_turn" not in found
