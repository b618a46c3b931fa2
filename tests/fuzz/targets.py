"""What is fuzzed: each function takes any bytes, and returns or fails as its interface says it does.

An exception that leaves one of them is a finding, and so is an assertion: nothing but genuine bytes opens, everything
has one form, and nothing gives more bytes than it was allowed.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coatcheck.chain import Chain
from coatcheck.codecs.aead import Encrypt
from coatcheck.codecs.zstd import Zstd
from coatcheck.contracts.keys import Key
from coatcheck.errors import CoatcheckError, FormatError, LimitExceeded
from coatcheck.format.checksum import Checksum
from coatcheck.format.codec_pipeline import CodecPipeline
from coatcheck.format.envelope import INLINE, Envelope, EnvelopeHeader
from coatcheck.format.reference import Reference
from coatcheck.format.shown import MARKER
from coatcheck.format.suites import SealingPolicy
from coatcheck.integrations.inngest import marker
from coatcheck.keys.keyring import Keyring
from coatcheck.scope import Scope
from coatcheck.server import messages
from coatcheck.server.payloads import PayloadDesk, Reach
from coatcheck.server.placeholders import Unopened
from coatcheck.server.refusals import Refused

CAP = 2**20
"""Bytes that a payload has at most."""
VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "format/vectors/v1.json").read_text(encoding="utf-8")
)
_SEALED = [vector for vector in VECTORS if vector["keyring_key"]]
_GENUINE = {bytes.fromhex(vector["journal"]) for vector in _SEALED}
_SCOPE = Scope(_SEALED[0]["tenant"], _SEALED[0]["run"])
_ENCRYPT = Encrypt(Keyring(Key(bytes.fromhex(_SEALED[0]["keyring_key"]))))
BASE = bytes(range(256)) * 16
"""What deltas are decoded against; :mod:`tests.fuzz.corpus` makes some."""
_FRAME = Zstd().encode(BASE) or b""

_suites = SealingPolicy(_ENCRYPT)
_sealed_chain = Chain(Zstd(), _ENCRYPT, max_payload=CAP)
_plain_chain = Chain(Zstd(), max_payload=CAP)
_plain_suites = SealingPolicy(None)
_transforms = CodecPipeline((Zstd(),), CAP)
_desk = PayloadDesk(_sealed_chain, download_over=100, max_response=CAP)
_loop = asyncio.new_event_loop()


def envelope(data: bytes) -> None:
    """An envelope: one form, and only what was sealed opens."""
    try:
        parsed = Envelope.from_bytes(data)
    except FormatError:
        return
    assert parsed.header.to_bytes() == parsed.header_bytes
    assert parsed.header_bytes + parsed.sealed == data
    try:
        _sealed_chain.open_inline(data, _SCOPE)
    except CoatcheckError:
        return
    assert data in _GENUINE


def reference(data: bytes) -> None:
    """A reference in both forms: one of each, and only what was written verifies."""
    try:
        from_text = Reference.from_text(data.decode("latin-1"))
    except FormatError:
        pass
    else:
        assert from_text.to_text().encode() == data
    try:
        parsed = Reference.from_bytes(data)
    except FormatError:
        return
    assert parsed.to_bytes() == data
    assert Reference.from_text(parsed.to_text()) == parsed
    try:
        _suites.verify(parsed, data, _SCOPE)
    except CoatcheckError:
        return
    assert data in _GENUINE


def decompression(data: bytes) -> None:
    """A frame by itself, as a delta and in a line: at most what was allowed, which is what the first three bytes say."""
    limit, frame = int.from_bytes(data[:3], "big") % CAP, data[3:]
    for base in (None, BASE):
        try:
            decoded = Zstd().decode(frame, limit) if base is None else Zstd().decode_delta(frame, base, limit)
        except (FormatError, LimitExceeded):
            continue
        assert len(decoded) <= limit
    with contextlib.suppress(FormatError, LimitExceeded):
        assert len(Zstd().decode_deltas(_FRAME, [frame], [len(BASE), limit])) <= limit
    with contextlib.suppress(FormatError, LimitExceeded):
        assert Zstd().decode_deltas(frame, [_FRAME], [limit, len(BASE)]) == BASE


def transforms(data: bytes) -> None:
    """All the codecs that a header may name, under the size that it states, with a base and without."""
    try:
        parsed = Envelope.from_bytes(data)
    except FormatError:
        return
    header = parsed.header
    for base in (BASE if header.bases else None, None):
        try:
            payload, place = _transforms.decode(parsed.sealed, header, base)
        except (FormatError, LimitExceeded):
            continue
        assert len(payload) == header.size
        assert place.bit_count() == (len(header.bases) if base else 0) or header.codecs[:1] != ("zstd-delta",)


def unsealed(data: bytes) -> None:
    """An envelope that a forger made for a chain without keys, with the checksum that it has to have."""
    try:
        header = Envelope.from_bytes(data).header
        scope_tag = Checksum().run_tag(_SCOPE, bytes(4))
        header = EnvelopeHeader(0, bytes(4), scope_tag, header.codecs, header.size, header.bases)
    except FormatError:
        return
    body = bytes(Envelope.from_bytes(data).sealed)
    sealer = _plain_suites.sealer_for(header, _SCOPE).sealer
    try:
        payload = _plain_chain.open_inline(sealer.seal(header.to_bytes(), INLINE, body), _SCOPE)
    except CoatcheckError:
        return
    assert len(payload) == header.size <= CAP


def codec_server(data: bytes) -> None:
    """The body of a request to the codec server, up to what is answered."""
    try:
        payloads = messages._parse(bytearray(data))
    except Refused:
        return
    body = messages.AnswerBody(payloads)
    text = b"".join(body.parts())
    assert len(text) == body.size
    assert messages._parse(bytearray(text)) == payloads
    for keep in (False, True):
        plan = _desk.decode(payloads, Reach(_SCOPE.tenant), keep_references=keep)
        answer = _loop.run_until_complete(plan.carry_out(_loop.time() + 60))
        assert len(answer) == len(payloads)
        errors = [item.error for item in answer if isinstance(item, Unopened)]
        assert all(isinstance(error, CoatcheckError) for error in errors), errors


def inngest_marker(data: bytes) -> None:
    """A value and a message in Inngest's run state: user data, one of ours, or a typed error."""
    message = data.decode("utf-8", "surrogateescape")
    sealed = marker.sealed_in_message(message)
    assert sealed is None or marker.marked_message(sealed) == message
    assert marker.unescaped_message(marker.escaped_message(message)) == message or sealed is not None
    try:
        value = marker.from_json(data)
    except FormatError:
        return
    if isinstance(value, dict):
        sealed = marker.sealed_in(value)
        assert sealed is None or marker.marked(sealed)[MARKER] == value[MARKER]
        if sealed is not None or marker.is_escaped(value):
            assert marker.looks_marked(marker.to_json(value))


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        envelope,
        reference,
        decompression,
        transforms,
        unsealed,
        codec_server,
        inngest_marker,
    )
}
