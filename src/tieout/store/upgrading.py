"""Bringing a database's tables up to date. Apart, because Alembic is a third of what a command's start costs."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, inspect, text

from tieout.store.database import BadDatabase, scheme_of
from tieout.store.revision import DECLARED, MIGRATIONS, NEWER, beside, known, newest

# The oldest revision whose release may work on beside this one's tables, which it finds in the database when it has no
# migration to them: they only added to its own. A migration that takes something away names itself here.
COMPATIBLE_SINCE = "0005"
_DECLARE = text(
    "INSERT INTO counters (name, value) VALUES (:name, :since) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
# Processes that start at once bring the tables up to date one after the other; any number that is ours alone.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(7405600102)")


def _alembic(url: str) -> Config:
    address = url if scheme_of(url) == "sqlite" else f"postgresql+psycopg://{url.split('://', 1)[1]}"
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("sqlalchemy.url", address.replace("%", "%%"))
    return config


def upgrade(url: str, revision: str = "head") -> str:
    """Bring the tables up to `revision`; answers the revision before. Tables of a newer release are left as they are
    where they say that this one may work with them, else BadDatabase is raised."""
    config = _alembic(url)
    engine = create_engine(config.get_main_option("sqlalchemy.url") or "")
    try:
        with engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(_ONE_AT_A_TIME)
            before = ""
            if inspect(connection).has_table("alembic_version"):
                row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
                before = row[0] if row else ""
            if before and not known(before):
                if not beside(url):
                    raise BadDatabase(f"the database is {NEWER.format(there=before)}")
                return before
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision in ("head", newest()) and before != newest():
                connection.execute(_DECLARE, {"name": DECLARED, "since": int(COMPATIBLE_SINCE)})
    except Exception as error:
        if isinstance(error, BadDatabase):
            raise
        raise BadDatabase(f"{url.rsplit('@', maxsplit=1)[-1]}: {error}") from error
    finally:
        engine.dispose()
    return before
