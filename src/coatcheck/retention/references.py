"""Finding references in what an engine has journaled, without opening anything."""

import base64
import re
from collections.abc import Iterator
from typing import Final

from coatcheck.format.wire import KEY_ID_LENGTH, MAGIC, REFERENCE, TAG_LENGTH, VERSION
from coatcheck.retention.live import RunTag

MARK: Final = MAGIC + bytes((VERSION, REFERENCE))
"""Every reference begins so."""
TEXT_MARK: Final = base64.urlsafe_b64encode(MARK)
"""Every text of a reference begins so: six bytes are eight characters."""

_PREFIX_LENGTH: Final = len(MARK) + 1 + KEY_ID_LENGTH + TAG_LENGTH
_TEXT_LENGTH: Final = _PREFIX_LENGTH * 4 // 3
# What stands in a lookahead is found wherever it begins, also within what only looked like a reference.
_PREFIX: Final = re.compile(b"(?=(%b.{%d}))" % (re.escape(MARK), _PREFIX_LENGTH - len(MARK)), re.DOTALL)
_TEXT: Final = re.compile(
    b"(?=(%b[A-Za-z0-9_-]{%d}))" % (re.escape(TEXT_MARK), _TEXT_LENGTH - len(TEXT_MARK))
)


def run_tags_in(data: bytes) -> Iterator[RunTag]:
    """The run tag of every reference that stands anywhere in ``data``, in either form.

    Bytes that only begin like a reference give one as well: to keep too much is the safe side.
    """
    for found in _PREFIX.finditer(data):
        yield RunTag(found[1][-TAG_LENGTH:])
    for found in _TEXT.finditer(data):
        yield RunTag(base64.urlsafe_b64decode(found[1])[-TAG_LENGTH:])
