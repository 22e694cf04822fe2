"""Opening a store by its URL, and bringing its tables up to date."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from tieout.ports import Store
from tieout.store.postgres import PostgresStore
from tieout.store.sqlite import SqliteStore

MIGRATIONS = Path(__file__).parent / "migrations"
NEWER = "at revision {there}, which this release does not know: it is newer; upgrade tieout"
# The oldest revision whose release may work on beside this one's tables, which it finds in the database when it has no
# migration to them: they only added to its own. A migration that takes something away names itself here.
COMPATIBLE_SINCE = "0005"
_DECLARED = "schema_compatible_since"
_DECLARE = text(
    "INSERT INTO counters (name, value) VALUES (:name, :since) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
# Processes that start at once bring the tables up to date one after the other; any number that is ours alone.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(7405600102)")


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
    config.set_main_option("sqlalchemy.url", sqlalchemy_url(url).replace("%", "%%"))
    return config


def sqlalchemy_url(url: str) -> str:
    """The address of a database as SQLAlchemy wants it: with the driver's name. Raises BadDatabase."""
    return url if _scheme(url) == "sqlite" else f"postgresql+psycopg://{url.split('://', 1)[1]}"


def beside(connection: Connection, own: str) -> bool:
    """Whether the tables, of a revision that a release of revision `own` does not know, let it work with them."""
    asked = text("SELECT value FROM counters WHERE name = :name")
    since = connection.execute(asked, {"name": _DECLARED}).scalar()
    return since is not None and int(own) >= since


def upgrade(url: str, revision: str = "head") -> str:
    """Bring the tables up to `revision`; answers the revision before. Tables of a newer release are left as they are
    where they say that this one may work with them, else BadDatabase is raised."""
    config = _alembic(url)
    engine = create_engine(config.get_main_option("sqlalchemy.url") or "")
    try:
        scripts = ScriptDirectory.from_config(config)
        newest = scripts.get_current_head() or ""
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(_ONE_AT_A_TIME)
            before = ""
            if inspect(connection).has_table("alembic_version"):
                row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
                before = row[0] if row else ""
            if before and before not in {script.revision for script in scripts.walk_revisions()}:
                if not beside(connection, newest):
                    raise BadDatabase(f"the database is {NEWER.format(there=before)}")
                return before
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision in ("head", newest) and before != newest:
                connection.execute(_DECLARE, {"name": _DECLARED, "since": int(COMPATIBLE_SINCE)})
    except Exception as error:
        if isinstance(error, BadDatabase):
            raise
        raise BadDatabase(f"{url.rsplit('@', maxsplit=1)[-1]}: {error}") from error
    finally:
        engine.dispose()
    return before
