"""At which revision a database stands, and whether this release can work with it.

Asked at every start, and so by the bare drivers: Alembic comes in only when there is something to do.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg

from tieout.store.database import BadDatabase, scheme_of

MIGRATIONS = Path(__file__).parent / "migrations"
NEWER = "at revision {there}, which this release does not know: it is newer; upgrade tieout"
# The counter in which a release writes the oldest revision whose release may work beside its tables.
DECLARED = "schema_compatible_since"


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite URL; None for a server, or for a database in memory."""
    name = url.removeprefix("sqlite:///")
    return None if name in {url, ":memory:"} else Path(name)


def _revisions() -> list[str]:
    """Those that this release has, the oldest first: a migration's file name begins with its revision."""
    return sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def newest() -> str:
    """The revision that this release works with."""
    return _revisions()[-1]


def known(revision: str) -> bool:
    """Whether this release has the revision; one that it has not is of a newer release."""
    return revision in _revisions()


def bring_up_to_date(url: str) -> str:
    """Bring the tables to this release's revision unless it can work with them as they are; answers the revision
    before. Raises BadDatabase."""
    there = present(url)
    if _fit(url, there):
        return there
    from tieout.store.upgrading import upgrade

    return upgrade(url)


def usable(url: str) -> bool:
    """Whether this release can work with the tables as they are: its own, or a newer release's that say so. Raises
    BadDatabase."""
    return _fit(url, present(url))


def _fit(url: str, there: str) -> bool:
    return there == newest() or (bool(there) and not known(there) and beside(url))


def beside(url: str) -> bool:
    """Whether the tables, of a revision that this release does not know, say that it may work with them. Raises
    BadDatabase."""
    since = _value(url, f"SELECT value FROM counters WHERE name = '{DECLARED}'")
    return since is not None and int(newest()) >= since


def present(url: str) -> str:
    """The revision of a database; empty when it has no tables, or when its file does not exist. Raises BadDatabase."""
    path = sqlite_file(url)
    if path is not None and not path.exists():
        return ""
    return _value(url, "SELECT version_num FROM alembic_version") or ""


def _value(url: str, sql: str) -> Any:
    """The one value that a query answers; None where there is none, or no such table. Raises BadDatabase."""
    connect = sqlite3.connect if scheme_of(url) == "sqlite" else psycopg.connect
    try:
        with closing(connect(url.removeprefix("sqlite:///"))) as connection:
            row = connection.execute(sql).fetchone()
    except (sqlite3.Error, psycopg.Error) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, psycopg.errors.UndefinedTable) or reason.startswith("no such table"):
            return None
        raise BadDatabase(
            f"{url.rpartition('@')[2]}: {reason}; is the server up, and is the address right?"
        ) from error
    return row[0] if row else None
