"""Reading of the authentic marks of sweeps."""

import logging
from collections.abc import Mapping
from datetime import datetime

from coatcheck.errors import PayloadNotFound, StoreError
from coatcheck.format.suites import ScopeSealer
from coatcheck.retention.index import MOST_MARKS, ScopeMarks
from coatcheck.runtime.concurrency import all_at_once
from coatcheck.storage.client import StoreClient
from coatcheck.storage.prefixes import ScopePrefixes
from coatcheck.storage.sweep_marks import SWEEP_MARK, SweepMark, deleting_of, lease_of, read_mark

_AT_ONCE = 16

_log = logging.getLogger("coatcheck")


class Marks:
    """Reads marks. For any number of tasks.

    Args:
        client: The store.
        prefixes: The prefixes of its tenants, already loaded.
    """

    def __init__(self, client: StoreClient, prefixes: ScopePrefixes) -> None:
        self._client = client
        self._prefixes = prefixes

    async def read(self, prefix: str, names: Mapping[str, datetime]) -> ScopeMarks:
        """Read the marks of a scope, one bounded request for each. If the store fails, the result is `unread`.

        Args:
            prefix: The scope's prefix.
            names: Names of the listed marks, with their times of writing by the store.

        Raises:
            KeyUnavailable: The key that they are sealed under cannot be loaded.
        """
        if not names:
            return ScopeMarks()
        if len(names) > MOST_MARKS:
            return ScopeMarks(crowded=True, forged=len(names))
        scope = await self._prefixes.sealer_at(prefix)
        listed = list(names.items())
        read: list[tuple[SweepMark | None, bool]] = []
        try:
            for start in range(0, len(listed), _AT_ONCE):
                some = listed[start : start + _AT_ONCE]
                read += await all_at_once(self._read(scope, name, stamp) for name, stamp in some)
        except StoreError as error:
            _log.warning("Marks of a sweep could not be read: %s", error.about(prefix))
            return ScopeMarks(unread=True)
        authentic = {
            name: mark for (name, _), (mark, _) in zip(listed, read, strict=True) if mark is not None
        }
        return _marks(names, authentic, forged=sum(mark is None and there for mark, there in read))

    async def _read(self, scope: ScopeSealer, name: str, stamp: datetime) -> tuple[SweepMark | None, bool]:
        """Return the mark if it is authentic, and True if there is one at all."""
        try:
            mark = await read_mark(self._client, scope, name, stamp)
            if mark is None:
                for entry in await self._client.list_first(scope.prefix + name, 1):
                    if entry.modified != stamp:  # it was written again since it was listed
                        mark = await read_mark(self._client, scope, name, entry.modified)
        except PayloadNotFound:
            return None, False
        return mark, True


def _marks(names: Mapping[str, datetime], authentic: Mapping[str, SweepMark], forged: int) -> ScopeMarks:
    marks = ScopeMarks(forged=forged)
    mark = authentic.get(SWEEP_MARK)
    if mark is not None:
        marks.mark, marks.until = mark.id, mark.until
        marks.due = max(mark.made, names[SWEEP_MARK])
    leases = [(names[name], name) for name in authentic if lease_of(name)]
    for stamp, name in leases:
        mark_id, number = lease_of(name) or (b"", 0)
        if marks.leased is None or marks.lease is None or (stamp, number) > (marks.leased, marks.lease):
            marks.owner, marks.lease, marks.leased = mark_id, number, stamp
    of = marks.owner or marks.mark
    marks.highest = max(
        (number for mark_id, number in filter(None, map(lease_of, names)) if mark_id == of), default=-1
    )
    for name, mark in authentic.items():
        kept = deleting_of(name)
        if kept is not None and kept[0] == marks.owner:
            marks.deletes_until = max(marks.deletes_until or mark.until, mark.until)
            marks.keep = max(marks.keep, kept[1])
    return marks
