"""The targets of every benchmark's figures.

A target is a ratio of two figures of one run, or a count; never a time. Every benchmark prints its targets in the same form,
which :meth:`Verdict.read` parses.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.charting.ways import COATCHECK, COMPRESS_ONLY, DELTA, OURS, PLAIN, SDK, split

Values = Mapping[tuple[str, str], float]
"""Figures by case and name."""

RATIOS_TO_SDK = {
    "history_bytes": 1.0,
    "stored_bytes": 1 / 25,
    "requests": 1 / 2,
    "wall_seconds": 1.0,
    "cold_seconds": 0.1,
    "live_seconds": 0.4,
}
"""Bounds of our figures, as multiples of the SDK's."""
_HARD = ("images", "embeddings", "unrelated", "shuffled keys", "trimmed", "summarised", "two agents")
"""Series of ``benchmarks.storage`` that are hard for deltas."""
_LONG_THREAD = 200
"""Turns from which on the size of a thread has a target."""
_FORM = re.compile(r"(?P<verdict>ok|MISSED) +(?P<what>.+): (?P<found>\S+), (?P<wanted>at (?:most|least) \S+)")


@dataclass(frozen=True, slots=True)
class Target:
    """A figure and its bound."""

    what: str
    found: float
    bound: float
    side: Literal["most", "least"] = "most"

    @property
    def met(self) -> bool:
        """True if the figure is within its bound."""
        return self.found <= self.bound if self.side == "most" else self.found >= self.bound

    def __str__(self) -> str:
        verdict = "ok    " if self.met else "MISSED"
        return f"{verdict}  {self.what}: {self.found:.4g}, at {self.side} {self.bound:g}"


class Verdict(NamedTuple):
    """A printed target."""

    met: bool
    what: str
    found: str
    wanted: str

    @classmethod
    def read(cls, line: str) -> "Verdict | None":
        """Parse a line; return None if it has no target."""
        match = _FORM.fullmatch(line.strip())
        if match is None:
            return None
        return cls(match["verdict"] == "ok", match["what"], match["found"], match["wanted"])


def history(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history`` on Temporal."""
    for case in OURS:
        for name in ("history_bytes", "stored_bytes", "requests", "wall_seconds"):
            yield _ratio(value, case, name)
        yield Target(f"{case}, requests of a warm replay", value[case, "replay_requests"], 0)


def growth(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.growth``."""
    for (case, name), found in value.items():
        if name == "completed" and split(case)[1] in OURS:
            yield Target(f"{case}, runs completed", found, 1, "least")


def replay(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.replay``."""
    for (case, name), found in value.items():
        if split(case)[1] not in OURS:
            continue
        if name in {"cold_seconds", "live_seconds"} and "50 ms" in case:
            yield _ratio(value, case, name)
        elif name in {"warm_requests", "task_time_outs", "unfinished"}:
            yield Target(f"{case}, {name}", found, 0)


def recovery(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.recovery``: as fast as with the SDK's storage."""
    for (case, name), found in value.items():
        where, way = split(case)
        if way in OURS and name == "back_seconds":
            yield Target(f"{case}, {name}, times the SDK's", found / value[f"{where} {SDK}", name], 1)


def restate(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history --engine restate``."""
    share = value["coatcheck", "journal_bytes"] / value["plain", "journal_bytes"]
    yield Target("coatcheck, journal_bytes, times plain", share, 0.01)


def durabletask(value: Values, turns: int) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history --engine durabletask``, for a run of so many turns that plain stalls."""
    yield Target("plain, turns until it stalls", value["plain", "turns"], turns - 1)
    yield Target("coatcheck, turns", value["coatcheck", "turns"], turns, "least")
    share = value["coatcheck", "history_bytes"] / value["plain", "history_bytes"]
    yield Target("coatcheck, history_bytes, times plain's where it stalls", share, 0.01)


def dbos(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history --engine dbos``."""
    for database in ("SQLite", "PostgreSQL"):
        ours = f"{database} coatcheck"
        kept = value[ours, "database_bytes"] + value[ours, "stored_bytes"]
        share = kept / value[f"{database} plain", "database_bytes"]
        yield Target(f"{database}, database and store, times plain", share, 1 / 15)


def aws_durable(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history --engine aws-durable``."""
    share = value["coatcheck", "journal_bytes"] / value["plain", "journal_bytes"]
    yield Target("coatcheck, journal_bytes, times plain", share, 0.01)
    yield Target("coatcheck, largest_checkpoint, bytes", value["coatcheck", "largest_checkpoint"], 256 * 1024)


def inngest(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.history --engine inngest``."""
    for case, name in value:
        where, way = split(case)
        if way == "coatcheck" and name == "last_request":
            share = value[case, name] / value[f"{where} plain", name]
            yield Target(f"{where}, last request, times plain", share, 0.01)
            yield Target(f"{where}, GETs of the process that wrote the objects", value[case, "gets"], 0)
            yield Target(f"{where}, runs completed", value[case, "completed"], 1, "least")


def langgraph(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.langgraph``: size once a thread is long, speed beside LangGraph's savers."""
    for (case, name), found in value.items():
        where, way = split(case)
        if way != COATCHECK:
            continue
        plain, delta = f"{where} {PLAIN}", f"{where} {DELTA}"
        if name == "kept_bytes" and value[case, "turns"] >= _LONG_THREAD:
            for peer, bound in ((plain, 1 / 60), (delta, 1 / 5)):
                if (peer, name) in value:
                    yield Target(
                        f"{where}, kept_bytes, times {split(peer)[1]}", found / value[peer, name], bound
                    )
        elif name == "turn_seconds" and "sqlite" in where:
            yield Target(f"{where}, a turn, times plain", found / value[plain, name], 1.1)
        elif name == "resume_seconds":
            yield Target(f"{where}, cold resume, times plain", found / value[plain, name], 1)


def throughput(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.throughput``: the chain's speed beside its parts' and beside the usual codec's."""
    for (case, name), found in value.items():
        where, way = split(case)
        if way != "coatcheck":
            continue
        if name == "ratio":
            bound = 0.75 if where == "1 KB" else 0.9
            yield Target(f"{where}, encode, share of the speed of its parts", found, bound, "least")
        elif name == "encode" and where != "1 KB":
            against = found / value[f"{where} {COMPRESS_ONLY}", name]
            yield Target(f"{where}, {name}, times the compress-only codec", against, 1, "least")


def loop_stall(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.loop_stall``: beside a codec that computes on the loop."""
    for (case, name), found in value.items():
        where, way = split(case)
        if way == "coatcheck" and (f"{where} {COMPRESS_ONLY}", name) in value and name == "stall_median":
            share = found / value[f"{where} {COMPRESS_ONLY}", name]
            yield Target(f"{where}, stall, times the compress-only codec", share, 0.5)


def storage(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.storage``."""
    short, long = "60 turns coatcheck", "120 turns coatcheck"
    yield Target("60 turns, MB stored", value[short, "stored"], 0.62)
    yield Target("60 turns, PUTs", value[short, "puts"], 60)
    yield Target("60 turns, GETs for the last", value[short, "last_gets"], 6)
    yield Target("60 turns, round trips for the last", value[short, "last_round_trips"], 1)
    yield Target("120 turns, times what 60 take", value[long, "stored"] / value[short, "stored"], 2.4)
    for case in (short, long):
        yield Target(f"{case}, encode, times zstd-3", value[case, "encode_ratio"], 1, "least")
        yield Target(f"{case}, decode of the last, MB/s", value[case, "decode_last"], 500, "least")
        yield Target(f"{case}, sketch, share of encode", value[case, "sketch_share"], 0.15)
    yield Target(f"{short}, warm replay, requests", value[short, "warm_replay"], 0)
    for kind in ("decoded", "encoded"):
        yield Target(f"60 turns {kind} cold, PUTs", value[short, f"cold_{kind}_puts"], 0)
        yield Target(f"60 turns {kind} cold, GETs", value[short, f"cold_{kind}_gets"], 60)
        yield Target(f"60 turns {kind} cold, LISTs", value[short, f"cold_{kind}_lists"], 1)
        yield Target(f"60 turns {kind} cold, round trips", value[short, f"cold_{kind}_round_trips"], 9)
    for (case, name), found in value.items():
        where, way = split(case)
        if name == "peak_memory":
            yield Target(f"{case}, peak memory, MB", found, value[case, "peak_memory_bound"])
        elif (where, name, way) == ("40 checkpoints", "stored", "coatcheck"):
            yield Target(f"{where}, MB stored", found, 4)
        elif where in _HARD and (name, way) == ("stored", "coatcheck"):
            yield Target(f"{where}, times whole-zstd", found / value[f"{where} whole-zstd", name], 1.01)


def stores(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.stores``: concurrent GETs a second, beside the client of the SDK's S3 driver."""
    for (case, name), found in value.items():
        if name == "gets_vs_aioboto3" and ", 1 at once" not in case and not case.startswith("1 MB"):
            yield Target(f"{case}, GETs a second, times aioboto3", found, 2, "least")


def import_time(value: Values) -> Iterator[Target]:
    """Yield the targets of ``benchmarks.import_time``: our cost beside that of the peer."""
    for (case, name), found in value.items():
        where, way = split(case)
        if (
            way == "coatcheck"
            and (f"{where} peer", name) in value
            and name in {"cpu_seconds", "memory_bytes"}
        ):
            yield Target(f"{where}, {name}, times its peer", found / value[f"{where} peer", name], 2)


def _ratio(value: Values, case: str, name: str) -> Target:
    where, _ = split(case)
    peer = f"{where} {SDK}".strip() if where != case else SDK
    ratio = value[case, name] / value[peer, name]
    return Target(f"{case}, {name}, times the SDK's", ratio, RATIOS_TO_SDK[name])
