"""Mistakes in settings: one clear line for each, which never repeats a value."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from pydantic_core import ErrorDetails

_OF_TESTS = frozenset(
    f"COATCHECK_{name}"
    for name in (
        "LANGGRAPH_KILL_EVERY",
        "LARGE_RUN",
        "LARGE_SCOPE",
        "MACHINE_SEED",
        "MACHINE_STEPS",
        "REQUIRE_ENGINES",
        "SCREENSHOT",
        "SOAK_KILLS",
        "SOAK_OPERATIONS",
        "SWEEP_RACES",
        "SWEEP_SCOPES",
        "SWEEP_STEPS",
        "SWEEP_WORKFLOWS",
        "WHEEL",
    )
)
"""Variables of coatcheck's own tests and benchmarks, which run commands that read settings."""
_FOR_TESTS = "COATCHECK_TEST_"
"""Prefix of all their other variables; never a setting."""
_KUBERNETES = re.compile(
    r"(?P<service>.+?)_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Variables that Kubernetes gives every pod for each service."""
_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a table",
    "finite_number": "must be a number",
    "float_type": "must be a number",
    "int_type": "must be a whole number",
    "list_type": "must be a list",
    "model_type": "must be a table",
    "string_pattern_mismatch": "must be 1 to 32 characters of a-z 0-9 _ -",
    "string_type": "must be text",
}


def in_words(detail: ErrorDetails, known: Sequence[str]) -> str:
    """Return the line for one of pydantic's errors; ``known`` are the settings that exist at its place."""
    place = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    match detail["type"]:
        case "extra_forbidden":
            said = f"there is no such setting{_guess(str(detail['loc'][-1]), known)}"
        case "greater_than_equal" | "greater_than":
            said = detail["msg"].replace("Input should", "must")
        case "value_error":
            said = detail["msg"].removeprefix("Value error, ")
        case other:
            said = _WORDS.get(other, detail["msg"])
    return f"{place}: {said}" if place else said


def unknown(variables: Iterable[str], sections: Collection[str], known: Sequence[str]) -> list[str]:
    """Return a line for each of ``variables`` that has our prefix but is not a setting.

    Ignored are the variables that Kubernetes gives every pod for a service whose name begins with coatcheck
    (``COATCHECK_PORT`` beside ``COATCHECK_SERVICE_HOST``), and those of coatcheck's own tests.

    Args:
        variables: Names of all variables in the environment.
        sections: Sections whose names are checked elsewhere: ``OFFLOAD`` for those with ``COATCHECK_OFFLOAD__``.
        known: All other names that exist, and those of the sections, for suggestions.
    """
    names = set(map(str.upper, variables))
    lines = []
    for name in sorted(names):
        section, inwards, _ = name.removeprefix("COATCHECK_").partition("__")
        if (
            not name.startswith("COATCHECK_")
            or (section in sections if inwards else name in known)
            or name in _OF_TESTS
            or name.startswith(_FOR_TESTS)
            or _is_of_kubernetes(name, names)
        ):
            continue
        near = get_close_matches(name, known, n=1, cutoff=0.75)
        lines.append(f"{name}: there is no such variable{f'; did you mean {near[0]}?' if near else ''}")
    return lines


def _is_of_kubernetes(name: str, names: Collection[str]) -> bool:
    found = _KUBERNETES.fullmatch(name)
    return found is not None and f"{found['service']}_SERVICE_HOST" in names


def reason(error: Exception) -> str:
    """Return the reason why a file cannot be read."""
    if isinstance(error, OSError):
        return str(error.strerror)
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).rstrip(".")


def _guess(name: str, known: Sequence[str]) -> str:
    if name.lower() in {"key", "keys", "keyring"}:
        return "; keys come only from the environment variable COATCHECK_KEYS"
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
