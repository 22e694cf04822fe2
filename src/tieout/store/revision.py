"""At which revision a database stands, without changing it."""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from tieout.store.database import MIGRATIONS, BadDatabase, beside, sqlalchemy_url


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for a server, or for a database in memory."""
    name = url.removeprefix("sqlite:///")
    return None if name in {url, ":memory:"} else Path(name)


def newest() -> str:
    """The revision that this release works with."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return ScriptDirectory.from_config(config).get_current_head() or ""


def usable(url: str) -> bool:
    """Whether this release can work with the tables as they are: its own, or a newer release's that say so. Raises
    BadDatabase."""
    there, wanted = present(url), newest()
    if not there or known(there):
        return there == wanted
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            return beside(connection, wanted)
    finally:
        engine.dispose()


def known(revision: str) -> bool:
    """Whether this release has the revision; one that it has not is of a newer release."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return revision in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def present(url: str) -> str:
    """The revision of a database; empty when it has no tables, or when its file does not exist. Raises BadDatabase."""
    path = sqlite_file(url)
    if path is not None and not path.exists():
        return ""
    engine = create_engine(sqlalchemy_url(url))
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return ""
            row = connection.execute(text("SELECT version_num FROM alembic_version")).first()
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise BadDatabase(
            f"{url.rpartition('@')[2]}: {reason}; is the server up, and is the address right?"
        ) from error
    finally:
        engine.dispose()
    return row[0] if row else ""
