"""What runs cost, as metrics. In a process of its own: a process has one meter provider for ever."""

import json
import logging
import subprocess
import sys

import pytest

from coatcheck.integrations.inngest.step_report import StepReport, StepReports

MEASURED = """
import json
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
from coatcheck.integrations.inngest.step_report import StepReports

reports = StepReports()
reports.requested("run", steps=0, attempt=0, size=100)
reports.requested("run", steps=0, attempt=1, size=100)
reports.answered("run", 50, step=True)
reports.requested("run", steps=1, attempt=0, size=150)
reports.answered("run", 7, step=False)
reports.ended("run")
found = {}
for resource in reader.get_metrics_data().resource_metrics:
    for scope in resource.scope_metrics:
        for metric in scope.metrics:
            for point in metric.data.data_points:
                value = point.value if hasattr(point, "value") else point.sum
                found[f"{metric.name} {sorted(point.attributes.values())}"] = value
print(json.dumps(found))
"""


def test_metrics() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert {name: value for name, value in found.items() if name.startswith("coatcheck.inngest")} == {
        "coatcheck.inngest.executions [False]": 2,
        "coatcheck.inngest.executions [True]": 1,
        "coatcheck.inngest.journal.io ['decode']": 350,
        "coatcheck.inngest.journal.io ['encode']": 57,
        "coatcheck.inngest.run.state []": 150,
        "coatcheck.inngest.run.executions []": 3,
    }


def test_a_run_that_was_never_here() -> None:
    assert StepReports().of("run") == StepReport("run")


def test_only_the_latest_runs_are_remembered() -> None:
    reports = StepReports()
    for number in range(5000):
        reports.requested(str(number), steps=1, attempt=0, size=1)
    assert reports.of("0").executions == 0
    assert reports.of("4999").executions == 1


def test_the_end_of_a_run_was_logged_for_each_repetition_of_its_last_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    reports = StepReports()
    for attempt in range(3):
        reports.requested("run", steps=1, attempt=attempt, size=1)
        reports.ended("run")
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["run run"]
