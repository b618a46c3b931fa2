"""What the figures of ``benchmarks.storage`` have to come to."""

from collections.abc import Iterable, Iterator

from benchmarks.records import Record

HARD = ("images", "embeddings", "unrelated", "shuffled keys", "trimmed", "summarised", "two agents")


def verdicts(records: Iterable[Record]) -> Iterator[str]:
    """One line a target: whether it is met, and by what figure."""
    value = {(record.case, record.name): record.value for record in records}

    def at_most(what: str, found: float, bound: float) -> str:
        return f"{'ok    ' if found <= bound else 'MISSED'}  {what}: {found:.3f}, at most {bound:g}"

    def at_least(what: str, found: float, bound: float) -> str:
        return f"{'ok    ' if found >= bound else 'MISSED'}  {what}: {found:.3f}, at least {bound:g}"

    short, long = "60 turns coatcheck", "120 turns coatcheck"
    yield at_most("60 turns, MB stored", value[short, "stored"], 0.62)
    yield at_most("60 turns, PUTs", value[short, "puts"], 60)
    yield at_most("60 turns, GETs for the last", value[short, "last_gets"], 6)
    yield at_most("60 turns, round trips for the last", value[short, "last_round_trips"], 1)
    yield at_most("120 turns, times what 60 take", value[long, "stored"] / value[short, "stored"], 2.4)
    for case in (short, long):
        yield at_least(f"{case}, encode, times zstd-3", value[case, "encode_ratio"], 1.0)
        yield at_least(f"{case}, decode of the last, MB/s", value[case, "decode_last"], 500)
        yield at_most(f"{case}, sketch, share of encode", value[case, "sketch_share"], 0.15)
    yield at_most(f"{short}, warm replay, requests", value[short, "warm_replay"], 0)
    for kind in ("decoded", "encoded"):
        yield at_most(f"60 turns {kind} cold, PUTs", value[short, f"cold_{kind}_puts"], 0)
        yield at_most(f"60 turns {kind} cold, GETs", value[short, f"cold_{kind}_gets"], 60)
        yield at_most(f"60 turns {kind} cold, LISTs", value[short, f"cold_{kind}_lists"], 1)
        yield at_most(f"60 turns {kind} cold, round trips", value[short, f"cold_{kind}_round_trips"], 9)
    if ("40 checkpoints coatcheck", "stored") in value:
        yield at_most("40 checkpoints, MB stored", value["40 checkpoints coatcheck", "stored"], 4.0)
    for name in HARD:
        against = value[f"{name} coatcheck", "stored"] / value[f"{name} whole-zstd", "stored"]
        yield at_most(f"{name}, times whole-zstd", against, 1.01)
    for (case, name), found in value.items():
        if name == "peak_memory":
            yield at_most(f"{case}, peak memory, MB", found, value[case, "peak_memory_bound"])
