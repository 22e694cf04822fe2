"""Opening a store by its URL, and bringing its tables up to date."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from tieout.ports import Store
from tieout.store.postgres import PostgresStore
from tieout.store.sqlite import SqliteStore

MIGRATIONS = Path(__file__).parent / "migrations"
NEWER = "at revision {there}, which this release does not know: it is newer; upgrade tieout"


class BadDatabase(Exception):
    """The database URL or what stands behind it cannot be used; the message says why and what to do."""


def _scheme(url: str) -> str:
    scheme = urlsplit(url).scheme
    known = url.startswith(("sqlite:///", "postgresql://", "postgres://"))
    if not known or url == "sqlite:///":
        raise BadDatabase(f"database url {url!r}: use sqlite:///FILE or postgresql://USER@HOST/NAME")
    return scheme


def open_store(url: str, *, writer: str, threaded: bool = True) -> Store:
    """Open the store. `writer` names this process in the database. Raises BadDatabase."""
    if _scheme(url) == "sqlite":
        return SqliteStore(url.removeprefix("sqlite:///"), threaded=threaded)
    return PostgresStore(url, writer=writer)


def _alembic(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    sqlalchemy_url = url if _scheme(url) == "sqlite" else f"postgresql+psycopg://{url.split('://', 1)[1]}"
    config.set_main_option("sqlalchemy.url", sqlalchemy_url.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> str:
    """Bring the tables up to `revision`; answers the revision before. Raises BadDatabase on a newer schema."""
    config = _alembic(url)
    engine = create_engine(config.get_main_option("sqlalchemy.url") or "")
    try:
        with engine.connect() as connection:
            before = ""
            if inspect(connection).has_table("alembic_version"):
                row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
                before = row[0] if row else ""
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if before and before not in known:
            raise BadDatabase(f"the database is {NEWER.format(there=before)}")
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except Exception as error:
        if isinstance(error, BadDatabase):
            raise
        raise BadDatabase(f"{url.rsplit('@', maxsplit=1)[-1]}: {error}") from error
    finally:
        engine.dispose()
    return before
