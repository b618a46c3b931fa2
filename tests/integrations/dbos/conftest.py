import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.engines.postgres import PostgresServer, postgres_server
from tests.integrations.dbos.agents import launched

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An empty system database in SQLite: making one takes a second."""
    path = tmp_path_factory.mktemp("dbos") / "system.db"
    with launched(f"sqlite:///{path}", None):
        pass
    return path.read_bytes()


@pytest.fixture
def sqlite(migrated: bytes, tmp_path: Path) -> str:
    """The URL of an empty system database."""
    path = tmp_path / "system.db"
    path.write_bytes(migrated)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a system database in PostgreSQL, which DBOS makes."""
    name = f"dbos_{uuid.uuid4().hex[:8]}"
    yield postgres_server.dsn(name).replace("postgresql://", "postgresql+psycopg://")
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'.encode())


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty system database, in each of the two engines."""
    found: str = request.getfixturevalue(request.param)
    return found
