"""Cost of a run: steps are billed, retries included, and every request carries all earlier results."""

import logging
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from opentelemetry import metrics

from coatcheck._version import __version__
from coatcheck.runtime.forks import new_lock

_RUNS: Final = 4096
"""Most runs that are remembered."""

_log = logging.getLogger("coatcheck.inngest")
_meter = metrics.get_meter("coatcheck", __version__)
_executions = _meter.create_counter(
    "coatcheck.inngest.executions", "{execution}", "Requests that carried a function on by a step."
)
_journal = _meter.create_counter(
    "coatcheck.inngest.journal.io", "By", "Bytes of steps and events in requests and their answers."
)
_state = _meter.create_histogram("coatcheck.inngest.run.state", "By", "Run state when a run ended.")
_run_executions = _meter.create_histogram(
    "coatcheck.inngest.run.executions", "{execution}", "Executions of a run that ended."
)


@dataclass(frozen=True, slots=True)
class StepReport:
    """A run, as seen by this process: of requests served by others it knows only the steps."""

    run: str
    """The run's ID."""
    steps: int = 0
    """Steps that have a result."""
    executions: int = 0
    """Requests, retries included."""
    retries: int = 0
    """Requests that were not the first attempt."""
    state: int = 0
    """Bytes of all results and events, as Inngest keeps them and sends them with the next request."""
    received: int = 0
    """Bytes of results and events in all requests."""
    sent: int = 0
    """Bytes of results in all answers."""
    ended: bool = False
    """True if the function has ended, with a result or a final error."""


class StepReports:
    """The latest runs of a process. Safe to use from several threads."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, StepReport] = OrderedDict()
        self._lock = new_lock()

    def of(self, run: str) -> StepReport:
        """Return the report of a run; zeros for one that was never here, or too long ago."""
        with self._lock:
            return self._runs.get(run) or StepReport(run)

    def requested(self, run: str, *, steps: int, attempt: int, size: int) -> None:
        """Record a request, with ``size`` bytes of ``steps`` results and of events; ``attempt`` counts from 0."""
        _executions.add(1, {"coatcheck.retry": attempt > 0})
        _journal.add(size, {"coatcheck.direction": "decode"})
        with self._lock:
            now = self._runs.pop(run, None) or StepReport(run)
            self._runs[run] = replace(
                now,
                steps=steps,
                executions=now.executions + 1,
                retries=now.retries + (attempt > 0),
                state=size,
                received=now.received + size,
            )
            if len(self._runs) > _RUNS:
                self._runs.popitem(last=False)

    def answered(self, run: str, size: int, *, step: bool) -> None:
        """Record a result of ``size`` bytes in an answer: a step's, or the function's."""
        _journal.add(size, {"coatcheck.direction": "encode"})
        with self._lock:
            now = self._runs.pop(run, None) or StepReport(run)
            self._runs[run] = replace(
                now, steps=now.steps + step, state=now.state + size * step, sent=now.sent + size
            )

    def ended(self, run: str) -> None:
        """Record the end of the function, once even if a request is repeated afterwards."""
        with self._lock:
            before = self._runs.pop(run, None) or StepReport(run)
            report = self._runs[run] = replace(before, ended=True)
        if before.ended:
            return
        _state.record(report.state)
        _run_executions.record(report.executions)
        _log.info(
            "run %s: %d steps in %d executions, %d of them retries; %d bytes of run state, %d received, %d sent",
            *(report.run, report.steps, report.executions, report.retries),
            *(report.state, report.received, report.sent),
        )
