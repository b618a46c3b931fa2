"""What is wrong with settings: one clear line for each mistake, which never repeats a value."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from pydantic_core import ErrorDetails

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
    """One line for one of pydantic's errors; ``known`` are the settings that exist at its place."""
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


def misspelt(variables: Iterable[str], prefix: str, known: Sequence[str]) -> list[str]:
    """A line for each of ``variables`` that is most likely one of ``known``, misspelt.

    Others are not ours to judge: Kubernetes gives every pod a COATCHECK_PORT if some service is called coatcheck.
    What has two underscores is judged where it leads.
    """
    return [
        f"{name}: there is no such variable; did you mean {near[0]}?"
        for name in sorted(map(str.upper, variables))
        if name.startswith(prefix)
        and name not in known
        and "__" not in name
        and (near := get_close_matches(name, known, n=1, cutoff=0.9))
    ]


def reason(error: Exception) -> str:
    """Why a file cannot be read."""
    if isinstance(error, OSError):
        return str(error.strerror)
    return "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error).rstrip(".")


def _guess(name: str, known: Sequence[str]) -> str:
    if name.lower() in {"key", "keys", "keyring"}:
        return "; keys come only from the environment variable COATCHECK_KEYS"
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""
