"""Whatever several processes do with one store, and whatever happens to them: what was acknowledged opens."""

import gc
import itertools
import logging
import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coatcheck import GCSStore, PostgresStore
from tests.engines.gcs import GCSServer
from tests.engines.postgres import PostgresServer
from tests.machine import grounds
from tests.machine.crew import Ground
from tests.machine.driver import EVERYTHING, run, tell
from tests.machine.scenarios import Step
from tests.machine.steps import FAMILIES, random_steps, step_names
from tests.stores.s3_fixtures import NewStore

STEPS = int(os.environ.get("COATCHECK_MACHINE_STEPS", "600"))
SEED = int(os.environ.get("COATCHECK_MACHINE_SEED", "7"))
"""The same each time; the long form is run with others."""
SLOWLY = max(40, STEPS // 200)
"""Steps where each takes a while."""
_log = logging.getLogger("tests.machine")

numbers = st.integers(0, 11)
plain_steps = st.tuples(
    st.sampled_from(step_names(EVERYTHING)), numbers, numbers, numbers, numbers, numbers, numbers
)


def test_in_memory() -> None:
    outcome = run(STEPS, SEED)

    _log.info("seed %d, in memory: %s", SEED, outcome)
    assert not outcome.broken, f"seed {SEED}: {outcome}"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_thing_at_a_time(family: str) -> None:
    """Rare turns of events are less rare where little else happens."""
    families = {"checkpoints"} if family in ("shared names", "planted marks") else set[str]()

    outcome = run(STEPS // 20, SEED, frozenset({"runs", family, *families}))

    _log.info("seed %d, %s: %s", SEED, family, outcome)
    assert not outcome.broken, f"seed {SEED}: {outcome}"


@settings(
    derandomize=True,
    max_examples=max(20, STEPS // 200),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(st.sets(st.sampled_from(FAMILIES)), st.lists(plain_steps, max_size=50))
def test_any_story(families: set[str], story: list[Step]) -> None:
    possible = step_names({"runs", *families})

    outcome = tell((step for step in story if step[0] in possible), frozenset(families))

    assert not outcome.broken, outcome


def test_on_files(tmp_path: Path) -> None:
    check_on("files", grounds.files(tmp_path, instant=True))


leaves_connections = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""A process that is killed closes nothing; here its connections are found by the collector of garbage."""


def test_processes_of_the_operating_system(tmp_path: Path) -> None:
    check_on("files, by several processes", grounds.files(tmp_path, instant=False), remote=True)


@leaves_connections
def test_on_s3(new_store: NewStore) -> None:
    replica = new_store(prefix=f"replica-{secrets.token_hex(8)}")

    check_on("S3", Ground(lambda: (new_store(), replica), instant=False, deadline=grounds.DEADLINE))


@pytest.mark.long
@leaves_connections
def test_on_gcs(gcs_server: GCSServer) -> None:
    google: Any = storage.Client(
        project="tests",
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": gcs_server.endpoint},
    )
    name = google.create_bucket(f"machine-{secrets.token_hex(8)}", retry=None).name
    google.close()

    def stores() -> tuple[GCSStore, GCSStore]:
        return (
            GCSStore(name, "shared/", endpoint_url=gcs_server.endpoint),
            GCSStore(name, "replica/", endpoint_url=gcs_server.endpoint),
        )

    check_on("GCS", Ground(stores, instant=False, deadline=grounds.DEADLINE))


@pytest.mark.long
@leaves_connections
def test_on_postgresql(postgres_server: PostgresServer) -> None:
    name = f"machine_{secrets.token_hex(8)}"

    def stores() -> tuple[PostgresStore, PostgresStore]:
        return (
            PostgresStore(postgres_server.dsn(), table=name, prefix="shared/", connections=2),
            PostgresStore(postgres_server.dsn(), table=name, prefix="replica/", connections=2),
        )

    check_on("PostgreSQL", Ground(stores, instant=False, deadline=grounds.DEADLINE))


def check_on(name: str, ground: Ground, *, remote: bool = False) -> None:
    outcome = tell(
        itertools.islice(random_steps(SEED, EVERYTHING), SLOWLY), EVERYTHING, ground, remote=remote
    )
    # What those that were killed have left open is told now, and not to a test that comes later.
    gc.collect()

    _log.info("seed %d, on %s: %s", SEED, name, outcome)
    assert not outcome.broken, f"seed {SEED}: {outcome}"
