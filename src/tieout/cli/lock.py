"""One process works on one SQLite file: a second one is refused, and told the pid of the first."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tieout.settings import ConfigurationError
from tieout.store.revision import sqlite_file


@contextmanager
def only_instance(url: str) -> Iterator[bool]:
    """Hold the database file's lock; answers whether this process is alone on its database. The kernel frees the lock
    with the process, however that ends. Raises ConfigurationError; PostgreSQL carries many processes."""
    path = sqlite_file(url)
    if path is None:
        yield False
        return
    # By its own name: a link to it is the same file.
    path = path.resolve()
    lock = path.with_name(f"{path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            handle.seek(0)
            raise ConfigurationError(
                f"{path} is in use by process {handle.read().strip() or 'unknown'}: one process works on one SQLite"
                " file; stop that one, or use PostgreSQL, which carries many"
            ) from error
        handle.seek(0)
        handle.truncate()
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        yield True


def holder(url: str) -> int | None:
    """The pid of the process that works on an SQLite file, or None when nobody does."""
    path = sqlite_file(url)
    lock = path.resolve().with_name(f"{path.resolve().name}.lock") if path is not None else None
    if lock is None or not lock.exists():
        return None
    with Path(lock).open("r") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            text = handle.read().strip()
            return int(text) if text.isdigit() else None
    return None
