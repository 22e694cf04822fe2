"""Opening a database and bringing its tables up to date."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

from tests.store.facts import AnyStore, does, rows
from tieout.store.database import BadDatabase, open_store, upgrade
from tieout.store.revision import newest
from tieout.store.statements import StoreUnavailable
from tieout.store.tables import metadata


def engine_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        url: str = request.getfixturevalue("empty_postgres_url")
        return url
    return f"sqlite:///{tmp_path / 'empty.db'}"


def test_upgrade_from_empty_leads_to_exactly_the_tables_of_the_metadata(empty_url: str) -> None:
    assert upgrade(empty_url) == ""
    engine = create_engine(engine_url(empty_url))
    try:
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
    finally:
        engine.dispose()
    assert upgrade(empty_url) == newest()


@pytest.mark.parametrize("before", ["0001", "0003", "0004"])
def test_each_revision_leads_to_the_next(empty_url: str, before: str) -> None:
    """A database that an earlier release made comes up to date with what is in it."""
    assert upgrade(empty_url, before) == ""
    engine = create_engine(engine_url(empty_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO counters (name, value) VALUES ('kept', 7)"))
        assert upgrade(empty_url) == before
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
            assert connection.execute(text("SELECT value FROM counters WHERE name = 'kept'")).scalar() == 7
    finally:
        engine.dispose()
    assert upgrade(empty_url) == newest()


def test_texts_are_compared_byte_by_byte_whatever_language_postgres_speaks(empty_postgres_url: str) -> None:
    upgrade(empty_postgres_url)
    with psycopg.connect(empty_postgres_url) as connection:
        others = connection.execute(
            """SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'
               AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"""
        ).fetchall()
    assert others == []


def test_a_newer_revision_is_refused(empty_url: str) -> None:
    upgrade(empty_url)
    engine = create_engine(engine_url(empty_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(BadDatabase, match=r"revision 9999.*newer.*upgrade tieout"):
            upgrade(empty_url)
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    "url", ["", "hub.db", "mysql://root@localhost/hub", "sqlite:hub.db", "sqlite:///", "postgresql:/x"]
)
def test_bad_urls_are_refused(url: str) -> None:
    with pytest.raises(BadDatabase, match="use sqlite:///FILE or postgresql://"):
        open_store(url, writer="test")
    with pytest.raises(BadDatabase):
        upgrade(url)


def test_a_database_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(BadDatabase) as told:
        upgrade("postgresql://hub:secret-word@127.0.0.1:1/hub")
    assert "127.0.0.1:1/hub" in str(told.value)
    assert "secret-word" not in str(told.value)
    with pytest.raises(BadDatabase):
        upgrade(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder' / 'hub.db'}")


async def test_postgres_that_is_not_there_is_unavailable() -> None:
    store = open_store("postgresql://hub@127.0.0.1:1/hub", writer="test")
    with pytest.raises(StoreUnavailable):
        await store.commit([(does("SELECT 1"), {})])
    with pytest.raises(StoreUnavailable):
        await store.fetch(does("SELECT 1"), {})
    await store.close()


async def test_a_closed_store_takes_nothing(store: AnyStore) -> None:
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.commit([(does("DELETE FROM counters"), {})])


@pytest.mark.parametrize(
    "hostile", ["'; DROP TABLE lanes; --", 'a "quoted", word', "=1+1", "🧾 שלום", "%s :now $1", ""]
)
async def test_hostile_texts_come_back_unharmed(store: AnyStore, hostile: str) -> None:
    pin = does("INSERT INTO pins (connection, identity, pinned_at) VALUES (:connection, :identity, 1)")
    await store.commit([(pin, {"connection": "c", "identity": hostile})])
    found = await rows(store, "SELECT identity FROM pins WHERE identity = :identity", identity=hostile)
    assert found == [(hostile,)]
