"""The benchmarks of whole runs, with a few turns on the real servers: they come to an end, and count what there is."""

import subprocess
import time
from collections import defaultdict
from collections.abc import Iterable

import boto3
import pytest

from benchmarks import growth, recovery, replay
from benchmarks.charting.ways import CODEC, COMPRESS_ONLY, OURS, PLAIN, SDK
from benchmarks.engines import sdk_storage
from benchmarks.engines.http_proxy import KINDS
from benchmarks.engines.s3 import REGION, s3
from benchmarks.harness.records import Record
from benchmarks.history import aws_durable as history_aws_durable
from benchmarks.history import temporal as history_temporal
from tests.engines.requirement import unavailable

TURNS = 3
PAYLOADS = 2 * TURNS
"""That leave the history: all results, all inputs but the first one, which is nearly empty, and the run's result."""


@pytest.fixture(scope="module")
def _sdk_storage() -> None:
    try:
        sdk_storage.environment()
    except subprocess.CalledProcessError:
        unavailable("aioboto3", "pip cannot install it")


def by_case(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for record in records:
        found[record.case][record.name] = record.value
    return found


@pytest.mark.long
@pytest.mark.usefixtures("_sdk_storage")
async def test_history_measures_every_way_on_real_servers() -> None:
    found = by_case(await history_temporal.measure_all(TURNS, rounds=1))
    assert set(found) == set(history_temporal.CASES)
    assert found[COMPRESS_ONLY]["history_bytes"] < found[PLAIN]["history_bytes"] / 2
    assert found[PLAIN]["requests"] == found[PLAIN]["objects"] == found[PLAIN]["replay_requests"] == 0
    assert found[SDK]["puts"] == found[SDK]["heads"] == found[SDK]["objects"] == PAYLOADS
    assert found[SDK]["replay_requests"] == PAYLOADS
    for case in OURS:
        assert found[case]["puts"] == found[case]["requests"] == found[case]["objects"] == PAYLOADS
        assert found[case]["replay_requests"] == 0
        assert found[case]["history_bytes"] <= found[SDK]["history_bytes"]
        assert found[case]["stored_bytes"] < found[SDK]["stored_bytes"] / 3
    assert all(found[case]["wall_seconds"] > 0 < found[case]["cpu_seconds"] for case in found)


def test_history_measures_aws_durable_execution_both_ways() -> None:
    found = by_case(history_aws_durable.measure_all(40))
    assert set(found) == set(history_aws_durable.CASES)
    # Where a real execution would end.
    assert 0 < found[PLAIN]["first_turn_above_256_kb"] < 40
    assert found["coatcheck"]["first_turn_above_256_kb"] == 0
    assert found["coatcheck"]["journal_bytes"] < found[PLAIN]["journal_bytes"] / 100
    assert found["coatcheck"]["objects"] == 41


@pytest.mark.long
async def test_replay_measures_cold_warm_and_a_restart() -> None:
    plan = replay.Plan(TURNS, TURNS + 1, delay=0.05, restart_delay=0.05)
    found = by_case(await replay.measure_all(plan, (PLAIN, CODEC)))
    assert found[f"replay, 3 steps, 50 ms {PLAIN}"]["cold_requests"] == 0
    live, cold = found[f"live, 3 steps, 50 ms {CODEC}"], found[f"replay, 3 steps, 50 ms {CODEC}"]
    assert live["live_requests"] == PAYLOADS
    # Every object once, and the list of them.
    assert cold["cold_requests"] == PAYLOADS + 1
    assert cold["warm_requests"] == 0
    restart = found[f"restart, 4 steps, 50 ms {CODEC}"]
    assert restart["unfinished"] == restart["task_time_outs"] == 0


@pytest.mark.long
async def test_recovery_measures_from_kill_to_kill() -> None:
    found = by_case(await recovery.measure_all(rounds=1, steps=(2, 4), cases=(CODEC,)))
    assert set(found) == {f"step {step} {CODEC}" for step in (2, 4)}
    for figures in found.values():
        assert 0 < figures["input_seconds"] < figures["back_seconds"]
    for step in (2, 4):
        # All results and inputs but the first, each once.
        assert 0 < found[f"step {step} {CODEC}"]["gets"] <= 2 * step - 1


@pytest.mark.long
@pytest.mark.usefixtures("_sdk_storage")
async def test_growth_follows_every_turn() -> None:
    found = by_case(await growth.measure_all(TURNS))
    for case in growth.CASES:
        assert found[f"{TURNS} turns {case}"]["completed"] == 1
        sizes = [found[f"turn {turn} {case}"]["history_bytes"] for turn in range(1, TURNS + 1)]
        assert sizes == sorted(sizes)
        assert sizes[-1] < found[f"{TURNS} turns {case}"]["history_bytes"]


async def test_the_proxy_counts_by_kind_and_delays() -> None:
    async with s3() as server:
        bucket = server.new_bucket("counted")
        session = boto3.Session(bucket.access_key, bucket.secret_key, region_name=REGION)
        client = session.client("s3", endpoint_url=bucket.endpoint)
        client.put_object(Bucket=bucket.name, Key="one", Body=b"x" * 100_000)
        await server.proxy.count_from_zero(0.05)
        begin = time.perf_counter()
        assert client.get_object(Bucket=bucket.name, Key="one")["Body"].read() == b"x" * 100_000
        client.head_object(Bucket=bucket.name, Key="one")
        client.list_objects_v2(Bucket=bucket.name)
        client.put_object(Bucket=bucket.name, Key="two", Body=b"y")
        client.delete_object(Bucket=bucket.name, Key="one")
        assert time.perf_counter() - begin >= 5 * 0.05
        client.close()
        counted = {kind: 1 for kind in KINDS if kind != "others"}
        assert await server.proxy.requests() == {**counted, "others": 0}
        assert server.sizes(bucket) == [1]
