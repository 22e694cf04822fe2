"""Whoever exports every table, over and over: each round one consistent snapshot, from its first row to its last."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from tieout.store.tables import metadata
from tieout_lab.bench.children import answer, given, heard

_TABLES = tuple(metadata.tables)
_AT_ONCE = 500


def of_sqlite(file: str) -> Iterator[int]:
    """One round on a file: the numbers of rows, part by part."""
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        for table in _TABLES:
            rows = connection.execute(f"SELECT * FROM {table}")
            while part := rows.fetchmany(_AT_ONCE):
                yield len(part)
    finally:
        connection.close()


def of_postgres(url: str) -> Iterator[int]:
    """One round on a server: the numbers of bytes, part by part."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table in _TABLES:
            with cursor.copy(f"COPY {table} TO STDOUT") as copy:
                for part in copy:
                    yield len(part)


def log_bytes(url: str) -> Callable[[], int]:
    """How large the log of writes is now: SQLite's file, or what PostgreSQL has written since."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///") + "-wal")
        return lambda: file.stat().st_size if file.exists() else 0
    connection = psycopg.connect(url, autocommit=True)

    def written() -> int:
        row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        return int(row[0]) if row else 0

    first = written()
    return lambda: written() - first


async def exporting(url: str, found: dict[str, Any]) -> None:
    """Export until cancelled; each part gives way to whoever wants to stop us."""
    size = log_bytes(url)
    sqlite = url.startswith("sqlite")
    while True:
        for part in of_sqlite(url.removeprefix("sqlite:///")) if sqlite else of_postgres(url):
            found["rows" if sqlite else "bytes"] = found.get("rows" if sqlite else "bytes", 0) + part
            found["parts"] += 1
            if found["parts"] % 50 == 0:
                found["log_mb"] = max(found["log_mb"], size() / 1e6)
                await asyncio.sleep(0)
        found["rounds"] += 1
        found["log_mb"] = max(found["log_mb"], size() / 1e6)
        await asyncio.sleep(0)


async def main() -> None:
    url = given()["database"]
    answer({"ready": True})
    await heard()
    found: dict[str, Any] = {"rounds": 0, "parts": 0, "log_mb": 0.0}
    task = asyncio.create_task(exporting(url, found))
    await heard()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    answer(found)
    await heard()


if __name__ == "__main__":
    uvloop.run(main())
