"""Fixtures of the whole suite: the real servers."""

import signal

import pytest
from hypothesis import settings
from temporalio.worker._workflow import _WorkflowWorker

from coatcheck.storage.cache import PROCESS_CACHE
from tests.engines.aws_kms import aws_kms
from tests.engines.gcs import gcs_bucket, gcs_server
from tests.engines.openbao import openbao
from tests.engines.postgres import postgres_server
from tests.engines.seaweed import s3_server
from tests.engines.temporal import temporal_server
from tests.stores.s3_fixtures import bucket, new_store

__all__ = [
    "aws_kms",
    "bucket",
    "gcs_bucket",
    "gcs_server",
    "new_store",
    "openbao",
    "postgres_server",
    "s3_server",
    "temporal_server",
]

# A shell starts what it does not wait for with interrupts ignored, and the processes of tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The SDK takes a workflow that gets no processor time for two seconds for a deadlock.
_WorkflowWorker._deadlock_timeout_seconds = property(lambda _: 60.0, lambda _, __: None)  # type: ignore[assignment]

# A machine that is busy fails no property.
settings.register_profile("coatcheck", deadline=None)
settings.load_profile("coatcheck")


@pytest.fixture(autouse=True)
def _empty_process_cache() -> None:
    """No test sees what another one left in the cache of the process."""
    PROCESS_CACHE.clear()
