"""Readable fields of an envelope or a reference, without a key: nothing is decrypted, and nothing is verified."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from coatcheck.contracts.sealing import TENANT_SCOPE_TAG
from coatcheck.errors import FormatError
from coatcheck.format.envelope import Envelope
from coatcheck.format.reference import Reference
from coatcheck.format.shown import sealed_in_text
from coatcheck.format.wire import KEY_ID_LENGTH, SUITES, VERSION, is_ours, is_reference

Fact = str | int | list[str]
Facts = dict[str, Fact]
"""Facts in display order. Sizes are in bytes."""

_NATIVE = b"temporal.api.sdk.v1.ExternalStorageReference"
_NO_KEY = bytes(KEY_ID_LENGTH)
_EXPECTED = (
    "Pass an envelope or a reference: a file with its bytes, or base64 or hexadecimal text, also as Inngest shows it; "
    'or a Temporal payload in JSON: {"metadata": {...}, "data": "..."}.'
)


def explain(given: bytes) -> Facts:
    """Return the readable fields of ``given``: our bytes, the text that a tool shows them as, or a Temporal payload in JSON.

    Raises:
        FormatError: It is none of these, is damaged, or has an unknown version. The message does not quote it.
    """
    if is_ours(given):
        return _ours(given)
    text = given.decode("ascii", "replace").strip()
    data = sealed_in_text(text)
    if data is not None:
        return _ours(data)
    if text.startswith("{"):
        return _temporal(given)
    raise FormatError("not a coatcheck envelope or reference", _EXPECTED)


def _ours(data: bytes) -> Facts:
    return _reference(Reference.from_bytes(data), len(data)) if is_reference(data) else _envelope(data)


def _envelope(data: bytes) -> Facts:
    envelope = Envelope.from_bytes(data)
    header = envelope.header
    return {
        "kind": "envelope",
        **_prefix(header.suite, header.key_id, header.run_tag),
        "codecs": list(header.codecs),
        "payload bytes": header.size,
        "sealed bytes": len(envelope.sealed),
        "bytes": len(data),
        "bases": [base.hex() for base in header.bases],
        "verified": "no: verification needs the key",
    }


def _reference(reference: Reference, size: int) -> Facts:
    return {
        "kind": "reference",
        **_prefix(reference.suite, reference.key_id, reference.run_tag),
        "payload bytes": reference.size,
        "bytes": size,
        "store": reference.store,
        "object": reference.object_id.hex(),
        "bases": [base.hex() for base in reference.bases],
        "MAC": reference.mac.hex(),
        "verified": "no: checking the MAC needs the key",
        "text": reference.to_text(),
    }


def _prefix(suite: int, key_id: bytes, run_tag: bytes) -> Facts:
    return {
        "format version": VERSION,
        "suite": f"{suite}: {SUITES.get(suite, 'unknown to this release')}",
        "key": "none" if key_id == _NO_KEY else key_id.hex(),
        "run tag": "none: it belongs to the whole tenant" if run_tag == TENANT_SCOPE_TAG else run_tag.hex(),
    }


def _temporal(given: bytes) -> Facts:
    try:
        payload = json.loads(given)
        metadata = {
            name: base64.b64decode(value, validate=True) for name, value in payload["metadata"].items()
        }
        data = base64.b64decode(payload.get("data", ""), validate=True)
    # RecursionError: the JSON may be nested arbitrarily deep.
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FormatError("this JSON is not a Temporal payload", _EXPECTED) from None
    if is_ours(data):
        return {"found in": "a Temporal payload", **_ours(data)}
    if metadata.get("messageType") == _NATIVE:
        return _native(data, payload)
    encoding = metadata.get("encoding", b"").decode("ascii", "backslashreplace")
    return {
        "kind": "Temporal payload, not from coatcheck",
        "encoding": encoding or "none",
        "data bytes": len(data),
    }


def _native(data: bytes, payload: Mapping[str, Any]) -> Facts:
    """Facts of Temporal's own reference to external storage. If we wrote it, its claim holds one of our references."""
    try:
        message = json.loads(data)
        claim = {str(name): str(value) for name, value in message.get("claimData", {}).items()}
        driver = str(message.get("driverName", ""))
        sizes = [int(part["sizeBytes"]) for part in payload.get("externalPayloads", [])]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FormatError(
            "malformed Temporal reference", "It is damaged, or was written by another program."
        ) from None
    found: Facts = {"found in": f"Temporal's reference to external storage, driver {driver}"}
    if sizes:
        found["external bytes"] = sum(sizes)
    try:
        return found | _ours(Reference.from_text(claim.get("reference", "")).to_bytes())
    except FormatError:
        return found | {f"claim {name}": value for name, value in claim.items()}
