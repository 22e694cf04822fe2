"""One suite on both databases: `store` is open on an empty, upgraded database, first SQLite, then PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.store.facts import AnyStore
from tieout.store.database import open_store
from tieout.store.tables import metadata
from tieout.store.upgrading import upgrade


@pytest.fixture(scope="session")
def upgraded_postgres_url(postgres_url: str) -> str:
    upgrade(postgres_url)
    return postgres_url


@pytest.fixture
def clean_postgres_url(upgraded_postgres_url: str) -> Iterator[str]:
    yield upgraded_postgres_url
    with psycopg.connect(upgraded_postgres_url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY")  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upgraded") / "hub.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An upgraded, empty database."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("clean_postgres_url")
        return url
    shutil.copy(request.getfixturevalue("upgraded_sqlite"), tmp_path / "hub.db")
    return f"sqlite:///{tmp_path / 'hub.db'}"


@pytest.fixture
async def open_another(database_url: str) -> AsyncIterator[Callable[[], AnyStore]]:
    """Opens one more store on the same database, as another process would."""
    opened: list[AnyStore] = []

    def another() -> AnyStore:
        opened.append(open_store(database_url, writer=f"process-{len(opened)}"))  # type: ignore[arg-type]
        return opened[-1]

    yield another
    for store in opened:
        await store.close()


@pytest.fixture
async def store(open_another: Callable[[], AnyStore]) -> AnyStore:
    return open_another()


@pytest.fixture
async def postgres(clean_postgres_url: str) -> AsyncIterator[Callable[[], AnyStore]]:
    """As `open_another`, on PostgreSQL only."""
    opened: list[AnyStore] = []

    def another() -> AnyStore:
        opened.append(open_store(clean_postgres_url, writer=f"process-{len(opened)}"))  # type: ignore[arg-type]
        return opened[-1]

    yield another
    for store in opened:
        await store.close()
