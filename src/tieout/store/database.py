"""Opening a store by its URL."""

from __future__ import annotations

from urllib.parse import urlsplit

from tieout.ports import Store
from tieout.store.postgres import PostgresStore
from tieout.store.sqlite import SqliteStore


class BadDatabase(Exception):
    """The database URL or what stands behind it cannot be used; the message says why and what to do."""


def scheme_of(url: str) -> str:
    """`sqlite`, `postgresql` or `postgres`. Raises BadDatabase for any other address."""
    scheme = urlsplit(url).scheme
    known = url.startswith(("sqlite:///", "postgresql://", "postgres://"))
    if not known or url == "sqlite:///":
        raise BadDatabase(f"database url {url!r}: use sqlite:///FILE or postgresql://USER@HOST/NAME")
    return scheme


def open_store(url: str, *, writer: str, threaded: bool = True) -> Store:
    """Open the store. `writer` names this process in the database. Raises BadDatabase."""
    if scheme_of(url) == "sqlite":
        return SqliteStore(url.removeprefix("sqlite:///"), threaded=threaded)
    return PostgresStore(url, writer=writer)
