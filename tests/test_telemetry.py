"""What a process with OpenTelemetry's SDK is told, and that it is told no secrets."""

import json
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from tests.telemetry_process import CANARY


@pytest.fixture(scope="module")
def printed() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.telemetry_process"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout


@pytest.fixture(scope="module")
def points(printed: str) -> dict[str, list[dict[str, Any]]]:
    (resource,) = json.loads(printed)["metrics"]["resource_metrics"]
    (scope,) = resource["scope_metrics"]
    return {metric["name"]: metric["data"]["data_points"] for metric in scope["metrics"]}


def test_each_payload_is_counted_by_its_outcome(points: dict[str, list[dict[str, Any]]]) -> None:
    counted = {
        (point["attributes"]["coatcheck.direction"], point["attributes"]["coatcheck.outcome"]): point["value"]
        for point in points["coatcheck.payloads"]
    }
    assert counted == {
        ("encode", "inline"): 1,
        ("encode", "offloaded"): 1,
        ("encode", "delta"): 1,
        ("encode", "known"): 1,
        ("encode", "found"): 1,
        ("decode", "inline"): 1,
        ("decode", "known"): 2,
        ("decode", "fetched"): 1,
    }


def test_bytes_tell_what_the_journal_was_spared(points: dict[str, list[dict[str, Any]]]) -> None:
    def bytes_of(name: str) -> int:
        (point,) = (point for point in points[name] if point["attributes"]["coatcheck.direction"] == "encode")
        return int(point["value"])

    assert bytes_of("coatcheck.payload.io") > 4 * 40_000
    assert bytes_of("coatcheck.journal.io") < 1_000


def test_calls_of_the_store_are_timed(points: dict[str, list[dict[str, Any]]]) -> None:
    calls = {
        point["attributes"]["coatcheck.operation"]: point for point in points["coatcheck.store.duration"]
    }
    assert calls["create"]["count"] == 3
    assert calls["get"]["count"] >= 2, "read-ahead may add some"
    assert calls["create"]["attributes"]["coatcheck.store"] == "MemoryStore"
    assert all(point["sum"] > 0 for point in calls.values())


def test_errors_are_counted_by_type(points: dict[str, list[dict[str, Any]]]) -> None:
    errors = {point["attributes"]["error.type"]: point["value"] for point in points["coatcheck.errors"]}
    assert errors == {"IntegrityError": 2}


def test_the_cache_is_observed(points: dict[str, list[dict[str, Any]]]) -> None:
    assert points["coatcheck.cache.size"][0]["value"] > 40_000
    assert points["coatcheck.cache.hits"][0]["value"] > 0


def test_spans_nest_store_calls_in_payloads(printed: str) -> None:
    spans = json.loads(printed)["spans"]
    names = Counter(span["name"] for span in spans)
    assert names["coatcheck encode"] == 3
    assert names["coatcheck decode"] == 1
    by_id = {span["context"]["span_id"]: span for span in spans}
    creates = [span for span in spans if span["name"] == "coatcheck store create"]
    assert {by_id[span["parent_id"]]["name"] for span in creates} == {"coatcheck encode"}
    roots = [span for span in by_id.values() if not span["parent_id"]]
    # What is listed and fetched ahead belongs to no payload.
    payloads = [span for span in roots if span["name"] not in ("coatcheck store list", "coatcheck store get")]
    assert len(payloads) == 4
    assert all(span["attributes"]["coatcheck.object_id"] for span in payloads)


def test_nothing_told_is_secret(printed: str) -> None:
    assert CANARY not in printed
    assert "canary" not in printed
