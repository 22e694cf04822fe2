"""Opening a database and bringing its tables up to date."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from tests.store.facts import AnyStore, does, rows
from tieout.store.database import BadDatabase, open_store
from tieout.store.revision import DECLARED, MIGRATIONS, bring_up_to_date, known, newest, present, usable
from tieout.store.statements import StoreUnavailable
from tieout.store.tables import metadata
from tieout.store.upgrading import COMPATIBLE_SINCE, upgrade


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


@pytest.mark.parametrize("before", ["0001", "0003", "0004", "0005"])
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


def test_the_files_of_the_migrations_are_named_by_their_revisions() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert newest() == scripts.get_current_head()
    assert all(known(script.revision) for script in scripts.walk_revisions())


def test_what_is_up_to_date_is_left_alone(empty_url: str) -> None:
    assert bring_up_to_date(empty_url) == ""
    assert bring_up_to_date(empty_url) == newest()


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
            # It says itself since when one may work beside it: not since ours.
            since = int(newest()) + 1
            connection.execute(text(f"UPDATE counters SET value = {since} WHERE name = '{DECLARED}'"))
        with pytest.raises(BadDatabase, match=r"revision 9999.*newer.*upgrade tieout"):
            upgrade(empty_url)
        assert not usable(empty_url)
        with engine.begin() as connection:
            connection.execute(text(f"DELETE FROM counters WHERE name = '{DECLARED}'"))
        with pytest.raises(BadDatabase, match=r"revision 9999.*newer.*upgrade tieout"):
            upgrade(empty_url)
        assert not usable(empty_url)
    finally:
        engine.dispose()


def test_a_newer_revision_that_says_it_is_compatible_is_worked_beside(empty_url: str) -> None:
    """A process that is restarted in the midst of a rolling upgrade goes on, and leaves the tables as they are."""
    upgrade(empty_url)
    engine = create_engine(engine_url(empty_url))
    try:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
            connection.execute(text(f"UPDATE counters SET value = {int(newest())} WHERE name = '{DECLARED}'"))
        assert upgrade(empty_url) == "9999"
        assert present(empty_url) == "9999"
        assert usable(empty_url)
    finally:
        engine.dispose()


def test_the_tables_say_since_when_they_are_compatible(empty_url: str) -> None:
    """And they are: since that revision columns and tables were only added, with defaults."""
    upgrade(empty_url, COMPATIBLE_SINCE)
    assert not usable(empty_url)
    engine = create_engine(engine_url(empty_url))
    asked = text(f"SELECT value FROM counters WHERE name = '{DECLARED}'")
    try:
        with engine.connect() as connection:
            old = {name: _columns(connection, name) for name in inspect(connection).get_table_names()}
            assert connection.execute(asked).scalar() is None
        upgrade(empty_url)
        with engine.connect() as connection:
            assert connection.execute(asked).scalar() == int(COMPATIBLE_SINCE)
            assert usable(empty_url)
            for name, columns in old.items():
                new = _columns(connection, name)
                assert columns.items() <= new.items(), name
                assert [column for column in new.keys() - columns if new[column] == (False, False)] == []
    finally:
        engine.dispose()


def _columns(connection: Connection, table: str) -> dict[str, tuple[bool, bool]]:
    """Of each column: whether it may be empty, and whether it has a default."""
    return {
        one["name"]: (bool(one["nullable"]), one["default"] is not None)
        for one in inspect(connection).get_columns(table)
    }


def test_processes_that_start_at_once_bring_the_tables_up_to_date_once(empty_postgres_url: str) -> None:
    """Known defect: each saw the old tables, and all but one ended with an error."""
    with ThreadPoolExecutor(4) as pool:
        before = list(pool.map(lambda _: upgrade(empty_postgres_url), range(4)))
    assert sorted(before) == ["", newest(), newest(), newest()]


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
    with pytest.raises(BadDatabase) as told:
        present("postgresql://hub:secret-word@127.0.0.1:1/hub")
    assert "127.0.0.1:1/hub" in str(told.value)
    assert "secret-word" not in str(told.value)
    (tmp_path / "letter.db").write_text(
        "Dear accountant, this is no database, however long it is looked at." * 9
    )
    with pytest.raises(BadDatabase, match="not a database"):
        present(f"sqlite:///{tmp_path / 'letter.db'}")


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
