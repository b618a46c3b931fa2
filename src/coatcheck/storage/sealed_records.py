"""Small named things that are sealed for one scope and one name: nobody without its key can make one, or move one."""

from coatcheck.errors import IntegrityError
from coatcheck.format.envelope import Envelope, EnvelopeHeader
from coatcheck.format.suites import ScopeSealer


def seal_record(scope: ScopeSealer, name: str, content: bytes) -> bytes:
    """Seal ``content`` so that it opens only in this scope, and under this name."""
    return scope.sealer.seal(_header(scope, content).to_bytes(), _context(name), content)


def open_record(scope: ScopeSealer, name: str, data: bytes) -> bytes:
    """Return what :func:`seal_record` was given with the same scope and name.

    Raises:
        FormatError: ``data`` is not a record of a version known here.
        IntegrityError: It was not sealed for this scope and name.
    """
    envelope = Envelope.from_bytes(data)
    content = bytes(scope.sealer.open(envelope.header_bytes, _context(name), envelope.sealed))
    if envelope.header != _header(scope, content):
        raise IntegrityError("the record was not written for this scope", "Restore the original record.")
    return content


def _header(scope: ScopeSealer, content: bytes) -> EnvelopeHeader:
    return EnvelopeHeader(scope.suite, scope.key_id, scope.run_tag, (), size=len(content))


def _context(name: str) -> bytes:
    """The context of an envelope that is the record with this name: it can pass for no other, and for no object."""
    return b"\x02" + name.encode("ascii")
