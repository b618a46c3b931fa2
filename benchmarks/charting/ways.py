"""The ways that are compared: a name, a label and a colour for each.

The case of a record ends with its way; the text before it is the place of the measurement: ``60 turns sdk``.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

PLAIN = "plain"
SDK = "sdk"
SDK_256K = "sdk-256k"
COMPRESS_ONLY = "compress-only"
CODEC = "coatcheck-codec"
NATIVE = "coatcheck-native"
OURS = (CODEC, NATIVE)
DELTA = "delta-channel"
ENCRYPTED = "encrypted-serializer"
COATCHECK = "coatcheck"
DELTA_AND_COATCHECK = "coatcheck-delta-channel"
ONLY = "value"
"""The column of figures that have only one way."""


class Way(NamedTuple):
    """The display of a way."""

    label: str
    colour: str


WAYS: Mapping[str, Way] = {
    PLAIN: Way("plain", "#c2410c"),
    COMPRESS_ONLY: Way("compress-only codec (zlib)", "#d9a514"),
    SDK: Way("SDK external storage", "#6366f1"),
    SDK_256K: Way("SDK external storage, 256 KiB", "#a5b4fc"),
    CODEC: Way("coatcheck", "#0f766e"),
    NATIVE: Way("coatcheck, native references", "#5eaaa3"),
    "inngest-encryption": Way("official encryption", "#d9a514"),
    "remote-state": Way("official remote state", "#6366f1"),
    "parts": Way("zstd-3 and AES-GCM alone", "#9ca3af"),
    "whole": Way("whole", "#c2410c"),
    "whole-zstd": Way("whole, zstd-3", "#d9a514"),
    "chunked": Way("content-defined chunks", "#6366f1"),
    DELTA: Way("LangGraph's DeltaChannel", "#6366f1"),
    ENCRYPTED: Way("LangGraph's EncryptedSerializer", "#d9a514"),
    COATCHECK: Way("coatcheck", "#0f766e"),
    DELTA_AND_COATCHECK: Way("coatcheck with DeltaChannel", "#5eaaa3"),
    "boto3": Way("boto3 in threads", "#d9a514"),
    "aioboto3": Way("aioboto3", "#6366f1"),
    "peer": Way("its peer", "#6366f1"),
}


def split(case: str) -> tuple[str, str]:
    """Split a case into its place and its way; the way is empty if there is only one."""
    where, _, way = case.rpartition(" ")
    return (where, way) if way in WAYS else (case, "")


def found_in(cases: Iterable[str]) -> list[str]:
    """Return the ways of these cases, in display order."""
    there = {split(case)[1] for case in cases}
    return [way for way in WAYS if way in there]
