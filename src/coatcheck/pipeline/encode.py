"""Encoding: all computation between a payload and the bytes to journal or store, in any thread."""

from dataclasses import dataclass

from coatcheck.errors import LimitExceeded
from coatcheck.format.codec_pipeline import CodecPipeline, Encoded
from coatcheck.format.envelope import INLINE, EnvelopeHeader, object_context
from coatcheck.format.reference import unsigned_reference
from coatcheck.format.suites import ScopeSealer
from coatcheck.format.wire import REFERENCE, Prefix, is_ours
from coatcheck.pipeline.decode import delta_chain_of, unpack
from coatcheck.storage.base_index import Member, Sketch
from coatcheck.storage.scoped_store import ScopedStore
from coatcheck.telemetry import Outcome, encoded

_SAMPLE = 4
"""Times the threshold: the part of a payload that is compressed to see if the payload is large."""
_SURE_GAIN = 8
"""A delta of at most 1/8 of its payload is used without a comparison: hardly anything compresses better as a whole."""
_LEAST_GAIN = 0.8
"""A larger delta is used if it has at most this share of the whole object's size; else a new delta chain begins."""


@dataclass(frozen=True, slots=True)
class Base:
    """An earlier payload that a new one can be a delta against."""

    payload: bytes
    place: int
    """The new payload's place in the delta chain."""
    bases: tuple[bytes, ...]
    """The new payload's bases; the first is the object of ``payload``."""


@dataclass(slots=True)
class Draft:
    """A payload on its way to becoming an object."""

    scope: ScopedStore
    object_id: bytes
    payload: bytes
    whole: Encoded | None = None
    """The payload after the codecs, if it was computed."""
    envelope: bytes = b""
    """The object's bytes; empty until they are computed."""
    base: Base | None = None
    """The payload that the object is a delta against."""
    sketch: Sketch | None = None
    outcome: Outcome = Outcome.KNOWN

    @property
    def key(self) -> str:
        """The object's key in the store."""
        return self.scope.state.key(self.object_id)

    @property
    def member(self) -> Member:
        """The object's place in a delta chain."""
        if self.base is None:
            return Member(self.object_id)
        return Member(self.object_id, self.base.place, self.base.bases)

    def known_bases(self) -> tuple[bytes, ...] | None:
        """Return the bases of the object if it is known to be in the store; None if not."""
        return self.scope.state.bases_of(self.object_id)

    def header(self, codecs: tuple[str, ...]) -> EnvelopeHeader:
        """Return the object's header.

        Args:
            codecs: Names of the applied codecs, in order.
        """
        suite, key_id, run_tag, _ = self.scope.sealing
        return EnvelopeHeader(suite, key_id, run_tag, codecs, len(self.payload), self.member.bases)

    def holds(self, header: EnvelopeHeader) -> bool:
        """Return True if the header of an object with this name fits the payload."""
        suite, key_id, run_tag, _ = self.scope.sealing
        return header[:3] == (suite, key_id, run_tag) and header.size == len(self.payload)

    def reference(self, bases: tuple[bytes, ...]) -> bytes:
        """Return the reference to the object, to journal (:class:`~coatcheck.format.reference.Reference`).

        Args:
            bases: The bases of the object in the store, which another writer may have made.
        """
        suite, key_id, run_tag, sealer = self.scope.sealing
        prefix, alias = Prefix(REFERENCE, suite, key_id, run_tag), self.scope.store.alias
        unsigned = unsigned_reference(prefix, self.object_id, len(self.payload), alias, bases)
        return unsigned + sealer.mac(unsigned)


class Encoder:
    """Compresses and seals payloads. Safe to use from several threads; does no I/O.

    Args:
        codecs: The chain's codecs.
        max_payload: Bytes that a payload may have.
        encrypts: True if a payload must be sealed even if that only makes it larger.
        threshold_varies: True if a payload that is an object in a store can be small by another threshold.
    """

    def __init__(
        self,
        codecs: CodecPipeline,
        max_payload: int,
        *,
        encrypts: bool,
        threshold_varies: bool,
    ) -> None:
        self._codecs = codecs
        self._max_payload = max_payload
        self._encrypts = encrypts
        self._threshold_varies = threshold_varies

    def seal_inline(self, data: bytes, sealing: ScopeSealer) -> bytes:
        """Return the envelope to journal for a payload of any size. The same payload gives the same bytes.

        Args:
            data: The payload.
            sealing: The sealer of its scope.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        self._check_size(data)
        return self._seal_inline(self._codecs.encode(data), data, sealing)

    def draft(self, data: bytes, scope: ScopedStore) -> Draft:
        """Begin an object for a payload of any size. Computes no more than a hash.

        Args:
            data: The payload.
            scope: The scope that it belongs to.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        self._check_size(data)
        return Draft(scope, scope.sealing.sealer.object_id(data), data)

    def encode(self, data: bytes, scope: ScopedStore, over: int) -> bytes | Draft:
        """Return the envelope or reference to journal for a payload, or an object that has to be stored first.

        Args:
            data: The payload.
            scope: Where it is stored if it is large.
            over: Bytes after the codecs above which it is large.

        Raises:
            LimitExceeded: ``data`` is larger than ``max_payload``.
        """
        draft = self.draft(data, scope)
        if self._threshold_varies and not self._is_surely_large(data, over):
            draft.whole = self._codecs.encode(data)
            if len(draft.whole.body) <= over:
                return self._seal_inline(draft.whole, data, scope.sealing)
        bases = draft.known_bases()
        if bases is not None:
            known = draft.reference(bases)
            encoded(Outcome.KNOWN, len(data), len(known))
            return known
        if scope.state.is_listed(draft.object_id):
            return draft
        self._choose_base(draft)
        if draft.base is None or not self._is_surely_large(data, over):
            draft.whole = draft.whole or self._codecs.encode(data)
            if len(draft.whole.body) <= over:
                return self._seal_inline(draft.whole, data, scope.sealing)
        self._seal(draft)
        return draft

    def seal(self, draft: Draft) -> None:
        """Make the object of a draft, as a delta if that saves enough."""
        self._choose_base(draft)
        self._seal(draft)

    def seal_whole(self, draft: Draft) -> None:
        """Make the object of a draft without a base."""
        draft.base = None
        self._seal(draft)

    def _seal_inline(self, whole: Encoded, data: bytes, sealing: ScopeSealer) -> bytes:
        """Seal a payload, or return it unchanged if sealing only makes it larger and the chain does not encrypt."""
        if not whole.codecs and not self._encrypts and not is_ours(data):
            encoded(Outcome.PASSED, len(data), len(data))
            return data
        suite, key_id, run_tag, sealer = sealing
        header = EnvelopeHeader(suite, key_id, run_tag, whole.codecs, len(data))
        sealed = sealer.seal(header.to_bytes(), INLINE, whole.body)
        encoded(Outcome.INLINE, len(data), len(sealed))
        return sealed

    def _is_surely_large(self, data: bytes, over: int) -> bool:
        """Return True if the beginning of the payload alone is above the threshold after compression.

        So the payload alone decides if it is offloaded, whether or not there is a base, and a payload that becomes a
        small delta need not be compressed as a whole for that decision.
        """
        return len(self._codecs.encode(data[: _SAMPLE * over]).body) > over

    def _choose_base(self, draft: Draft) -> None:
        """Find the best base.

        There is none if no payload is similar, if it is no longer cached, or if the store itself has not shown all objects
        that it is built on.
        """
        scope = draft.scope
        if not self._codecs.makes_deltas:
            return
        like, draft.sketch = scope.most_like(draft.payload)
        if like is None:
            return
        place, bases = like.next()
        if not scope.state.are_there(bases):
            return
        # This marks all of them as recently used: those far back in the skip list are needed rarely, but save most.
        cached = {object_id: scope.cached(object_id) for object_id in reversed(bases)}
        bodies, payload, is_whole = delta_chain_of(cached[bases[0]], cached.get)
        if bodies and is_whole:
            payload, _ = unpack(self._codecs, scope, bodies, payload)
        if payload is not None and is_whole:
            draft.base = Base(payload, place, bases)

    def _seal(self, draft: Draft) -> None:
        body = self._delta(draft)
        if body is None:
            draft.base = None
            body = draft.whole or self._codecs.encode(draft.payload)
        header = draft.header(body.codecs).to_bytes()
        context = object_context(draft.object_id)
        draft.envelope = draft.scope.sealing.sealer.seal(header, context, body.body)

    def _delta(self, draft: Draft) -> Encoded | None:
        """Return the payload as a delta; None if that does not save enough."""
        if draft.base is None:
            return None
        delta = self._codecs.encode_delta(draft.payload, draft.base.payload, draft.base.place)
        if delta is None or len(delta.body) * _SURE_GAIN <= len(draft.payload):
            return delta
        draft.whole = draft.whole or self._codecs.encode(draft.payload)
        return delta if len(delta.body) <= _LEAST_GAIN * len(draft.whole.body) else None

    def _check_size(self, data: bytes) -> None:
        if len(data) > self._max_payload:
            raise LimitExceeded(
                f"a payload has {len(data)} bytes, {self._max_payload} are allowed",
                "Split it, or raise Chain(max_payload=...) everywhere that it is written and read.",
            )
