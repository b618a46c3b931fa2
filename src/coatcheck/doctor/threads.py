"""Analysis of a thread of checkpoints, read row by row: sizes and names, no values are kept.

Pure, like the analysis of a journal, but a thread can be larger than memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from blake3 import blake3

from coatcheck.doctor.growth import Growth, fit
from coatcheck.doctor.journal import Form
from coatcheck.doctor.places import FormShare, Place, Share
from coatcheck.doctor.repeats import Carried, Repeat, Stretches


@dataclass(frozen=True, slots=True)
class Value:
    """One value in a row."""

    channel: str
    content: bytes = field(repr=False)
    """Its bytes."""
    size: int
    """Bytes that the database takes for it, which may compress."""
    form: Form
    stands_for: int
    """Bytes of the decoded value; for a plain one, those of ``content``."""
    serializer: str = ""
    """The type that stands next to it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A checkpoint with the values that are new in it, or a write."""

    kind: str
    """``checkpoints`` or ``writes``."""
    namespace: str
    checkpoint: str
    """The checkpoint's ID."""
    size: int
    """Bytes, including values."""
    values: tuple[Value, ...] = ()

    @property
    def ends_step(self) -> bool:
        """True if the graph has completed a step with it: a checkpoint of the graph itself, not of a subgraph."""
        return self.kind == CHECKPOINTS and not self.namespace


CHECKPOINTS, WRITES = "checkpoints", "writes"


@dataclass(frozen=True, slots=True)
class Chained:
    """The same thread, written with a chain."""

    over: int
    """Threshold in bytes: larger values, after compression, were offloaded."""
    size: int
    """Bytes of the rows."""
    stored: int
    """Bytes in the store."""
    objects: int
    untried: int
    """Bytes of values that LangGraph has encrypted: they stayed as they are, since without their key nothing can be gained."""
    growth: Growth | None
    """Growth of rows and store together."""


@dataclass(frozen=True, slots=True)
class ThreadDiagnosis:
    """The findings about one thread."""

    thread: str
    size: int
    """Bytes of the rows."""
    steps: int
    by_kind: list[Share]
    by_namespace: list[Share]
    by_channel: list[Share]
    by_form: list[FormShare]
    largest: list[Place]
    growth: Growth | None
    """None for fewer than :data:`~coatcheck.doctor.growth.LEAST_POINTS` steps."""
    repeats: list[Repeat]
    """The most expensive ones first."""
    repeated: int
    """Bytes of all values that are exact copies of an earlier one in the thread."""
    carried: Carried
    chained: Chained


@dataclass(frozen=True, slots=True)
class DatabaseDiagnosis:
    """The findings about a database of checkpoints."""

    case: str
    """The database, without a password."""
    file_size: int
    """Bytes that the database takes for the tables, with indexes."""
    size: int
    """Bytes of all rows."""
    by_thread: list[Share]
    by_namespace: list[Share]
    by_kind: list[Share]
    threads: list[ThreadDiagnosis]
    """The largest ones, read value by value."""

    @property
    def examined(self) -> int:
        """Bytes of the threads that were read value by value."""
        return sum(thread.size for thread in self.threads)


class Tally:
    """Shares by name."""

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}

    def add(self, name: str, size: int, values: int = 0, *, count: int = 1) -> None:
        """Count something.

        Args:
            name: The share that it belongs to.
            size: Its bytes.
            values: Bytes of values among them.
            count: Number of things.
        """
        share = self._shares.setdefault(name, Share(name))
        share.count += count
        share.size += size
        share.payloads += values

    def shares(self) -> list[Share]:
        """Return all shares, the largest first."""
        return sorted(self._shares.values(), key=attrgetter("size"), reverse=True)


class ThreadReading:
    """Takes the rows of one thread, in order.

    Args:
        thread: The thread's ID.
    """

    def __init__(self, thread: str) -> None:
        self._thread = thread
        self._size = self._steps = self._chained = self._untried = 0
        self._kinds, self._namespaces, self._channels = Tally(), Tally(), Tally()
        self._forms: dict[Form, FormShare] = {}
        self._points: list[int] = []
        self._chained_points: list[int] = []
        self._same: dict[bytes, list[Place]] = {}
        self._stretches = Stretches()
        self._largest: list[Place] = []

    def begin(self, row: Row, stored: int) -> None:
        """Take note that ``row`` comes next: it may end a step.

        Args:
            row: The next row.
            stored: Bytes in the store of the chain under test so far.
        """
        if row.ends_step:
            if self._steps:
                self._end_step(stored)
            self._steps += 1

    def add(self, row: Row, chained: int, *, top: int) -> None:
        """Count a row.

        Args:
            row: After :meth:`begin`.
            chained: Bytes that it has with a chain.
            top: Number of the largest values to remember.
        """
        self._size += row.size
        self._chained += chained
        of_values = sum(value.size for value in row.values)
        self._kinds.add(row.kind, row.size, of_values)
        self._namespaces.add(row.namespace or ROOT, row.size, of_values)
        for value in row.values:
            self._add_value(row, value)
        self._largest = sorted(self._largest, key=attrgetter("size"), reverse=True)[:top]

    def diagnosis(self, *, over: int, stored: int, objects: int, top: int) -> ThreadDiagnosis:
        """Return the findings.

        Args:
            over: Threshold of the chain under test.
            stored: Bytes in its store.
            objects: Objects in its store.
            top: Number of repeated values to list.
        """
        if self._steps:
            self._end_step(stored)
        several = [Repeat(tuple(places)) for places in self._same.values() if len(places) > 1]
        repeats = sorted(several, key=attrgetter("again"), reverse=True)
        return ThreadDiagnosis(
            thread=self._thread,
            size=self._size,
            steps=self._steps,
            by_kind=self._kinds.shares(),
            by_namespace=self._namespaces.shares(),
            by_channel=self._channels.shares(),
            by_form=[self._forms[form] for form in Form if form in self._forms],
            largest=self._largest,
            growth=fit(self._points),
            repeats=repeats[:top],
            repeated=sum(repeat.again for repeat in repeats),
            carried=self._stretches.carried,
            chained=Chained(over, self._chained, stored, objects, self._untried, fit(self._chained_points)),
        )

    def _end_step(self, stored: int) -> None:
        self._points.append(self._size)
        self._chained_points.append(self._chained + stored)

    def _add_value(self, row: Row, value: Value) -> None:
        self._channels.add(value.channel, value.size, value.size)
        form = self._forms.setdefault(value.form, FormShare(value.form))
        form.count += 1
        form.size += value.size
        form.stands_for += value.stands_for
        place = Place(
            self._steps, row.kind, row.namespace, value.channel, value.form, value.size, value.stands_for
        )
        self._largest.append(place)
        if value.content:
            self._same.setdefault(blake3(value.content).digest(), []).append(place)
        if value.form is Form.PLAIN:
            self._stretches.add(value.content)
        elif value.form is Form.ENCRYPTED:
            self._untried += value.size


ROOT = "(the graph itself)"
"""Name of the empty namespace."""


def forecast(growth: Growth | None, factors: Sequence[int] = (2, 10)) -> list[tuple[int, int]]:
    """Return steps ahead, as multiples of those so far, and the bytes then; empty if the growth is unknown or irregular."""
    if growth is None or not growth.steady:
        return []
    return [
        (factor * len(growth.points), round(growth.at(factor * len(growth.points)))) for factor in factors
    ]
