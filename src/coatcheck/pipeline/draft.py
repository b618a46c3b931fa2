"""A payload that has yet to be stored."""

from dataclasses import dataclass

from coatcheck.format.codec_pipeline import Encoded
from coatcheck.format.envelope import EnvelopeHeader
from coatcheck.format.reference import Reference
from coatcheck.pipeline.delta_chain import Base
from coatcheck.storage.base_index import Member, Sketch
from coatcheck.storage.scoped_store import ScopedStore
from coatcheck.telemetry import Outcome


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

    def reference(self, bases: tuple[bytes, ...]) -> Reference:
        """Return the reference to the object.

        Args:
            bases: The bases of the object in the store, which another writer may have made.
        """
        suite, key_id, run_tag, sealer = self.scope.sealing
        reference = Reference(
            suite=suite,
            key_id=key_id,
            run_tag=run_tag,
            object_id=self.object_id,
            size=len(self.payload),
            store=self.scope.store.alias,
            bases=bases,
        )
        return reference.model_copy(update={"mac": sealer.mac(reference.authenticated_bytes())})
