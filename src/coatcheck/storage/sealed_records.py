"""Small records that are sealed for one scope and one name: without the key nobody can make or move one."""

from coatcheck.errors import IntegrityError
from coatcheck.format.envelope import Envelope, EnvelopeHeader
from coatcheck.format.suites import ScopeSealer


def seal_record(scope: ScopeSealer, name: str, content: bytes) -> bytes:
    """Seal ``content`` so that it opens only in this scope and under this name.

    Args:
        scope: The sealer of the scope.
        name: The record's name, ASCII.
        content: The bytes to seal.
    """
    return scope.sealer.seal(_header(scope, content).to_bytes(), _context(name), content)


def open_record(scope: ScopeSealer, name: str, data: bytes) -> bytes:
    """Return the content that :func:`seal_record` sealed with the same scope and name.

    Args:
        scope: The sealer of the scope.
        name: The record's name, ASCII.
        data: The sealed bytes.

    Raises:
        FormatError: ``data`` is not a record of a known version.
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
    """Return the context of the record with this name, so that it cannot pass for another record or an object."""
    return b"\x02" + name.encode("ascii")
