"""Pages of an S3 listing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote_plus
from xml.etree import ElementTree as ET

from coatcheck.contracts.store import StoredObject
from coatcheck.runtime.http import Answer

PAGE_LIMIT: Final = 1 << 23
"""Most bytes of a page that are read: 1,000 entries with keys of 1,024 characters take less than half of it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page as S3 gave it."""

    entries: Sequence[StoredObject]
    """Entries, with keys as they are in the bucket."""
    token: str
    """The token of the next page; empty after the last."""


def query_of(prefix: str, count: int, token: str) -> dict[str, str]:
    """Return the query for a page of at most ``count`` objects whose keys in the bucket begin with ``prefix``."""
    query = {"list-type": "2", "encoding-type": "url", "max-keys": str(count), "prefix": prefix}
    if token:
        query["continuation-token"] = token
    return query


def page_of(answer: Answer, bucket: str, prefix: str) -> Page | None:
    """Return the page in an answer; None if it is not a listing of this bucket and prefix."""
    if answer.status != HTTPStatus.OK or answer.size > len(answer.body) or b"<!DOCTYPE" in answer.body:
        return None
    try:
        root = ET.fromstring(answer.body)  # noqa: S314 - no document type, so no entities; and bounded
        space = root.tag[: root.tag.find("}") + 1]
        is_asked_for = (
            root.tag == f"{space}ListBucketResult"
            and root.findtext(f"{space}Name") == bucket
            and unquote_plus(root.findtext(f"{space}Prefix") or "") == prefix
        )
        if not is_asked_for:
            return None
        entries = [
            StoredObject(
                unquote_plus(found.findtext(f"{space}Key") or ""),
                int(found.findtext(f"{space}Size") or ""),
                datetime.fromisoformat(found.findtext(f"{space}LastModified") or ""),
            )
            for found in root.iterfind(f"{space}Contents")
        ]
        cut = root.findtext(f"{space}IsTruncated") == "true"
        token = root.findtext(f"{space}NextContinuationToken") or ""
    except (ET.ParseError, ValueError):
        return None
    # A page that has more behind it and does not say where is none to go on from.
    return None if cut and not token else Page(entries, token if cut else "")
