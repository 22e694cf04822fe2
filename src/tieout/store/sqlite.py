"""SQLite behind the store interface: the embedded default, one file, one writer.

Statements run on the loop's own thread (a few microseconds each); only COMMIT, which waits for the disk, runs in a
thread beside it. Whatever arrives meanwhile is the next group. A writer thread that ran the statements too was slower:
every statement gave the interpreter lock away and waited to get it back.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tieout.store.statements import (
    Params,
    Refused,
    Results,
    Row,
    Statement,
    StoreUnavailable,
    Unit,
    Violated,
    check_rows,
)

_BATCH = 512
_PATIENCE_SECONDS = 10.0  # for another process (the command line) to finish its write
_PAUSE_SECONDS = 0.005
_LONG_MILLISECONDS = 10_000
# What SQLite says when not the statement but the database is to blame.
_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_INTERRUPT,
    }
)
_Batch = list[tuple[Unit, asyncio.Future[Results]]]
Outcome = Results | Exception


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 for an error of another origin."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


class SqliteStore:
    """One database file. `threaded=False` commits on the loop's thread: the simulation's order stays its own."""

    dialect = "sqlite"

    def __init__(self, path: str | Path, *, threaded: bool = True) -> None:
        self.path = str(path)
        self._memory = self.path == ":memory:"
        try:
            self._writer = self._connect()
            self._reader = self._writer if self._memory else self._connect(read_only=True)
        except sqlite3.Error as error:
            raise _unavailable(error, self.path) from error
        self._pending: _Batch = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="commit") if threaded else None
        self._flushing = False
        self._idle = asyncio.Event()
        self._blocked_since_seconds: float | None = None
        self._closed = False
        self.commits = 0
        self.units = 0

    def _connect(self, *, read_only: bool = False, patience_milliseconds: int = 0) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        connection.execute(f"PRAGMA busy_timeout = {_LONG_MILLISECONDS}")
        connection.execute("PRAGMA foreign_keys = ON")
        if not self._memory:
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -8000")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
        # Nobody may stand still on the loop's thread while another process writes: the store itself tries again.
        connection.execute(f"PRAGMA busy_timeout = {patience_milliseconds}")
        return connection

    # -- writing ------------------------------------------------------------------------------------------------
    async def commit(self, unit: Unit) -> Results:
        """Write a unit durably with whatever else is waiting. Answers the rows of each step.

        Raises Refused (a guard), Violated (a constraint), StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Results] = loop.create_future()
        self._pending.append((unit, future))
        if not self._flushing:
            self._flushing = True
            self._idle.clear()
            loop.call_soon(self._flush, loop)
        return await future

    def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what is pending in one transaction, and have it committed."""
        if not self._pending:
            self._rest()
            return
        if not self._begin(loop):
            return
        batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
        try:
            outcomes = self._run([unit for unit, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, everybody is told
            self._deliver(loop, batch, [], error)
            return
        if self._executor is None:
            self._deliver(loop, batch, outcomes, self._commit())
            return
        done = loop.run_in_executor(self._executor, self._commit)
        done.add_done_callback(lambda f: self._deliver(loop, batch, outcomes, f.result()))

    def _begin(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Open the transaction; while another process writes, try again later without standing still."""
        try:
            self._writer.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            now = loop.time()
            if self._blocked_since_seconds is None:
                self._blocked_since_seconds = now
            if _code(error) == sqlite3.SQLITE_BUSY and now - self._blocked_since_seconds < _PATIENCE_SECONDS:
                loop.call_later(_PAUSE_SECONDS, self._flush, loop)
                return False
            self._blocked_since_seconds = None
            batch, self._pending = self._pending, []
            self._deliver(loop, batch, [], error)
            return False
        self._blocked_since_seconds = None
        return True

    def _run(self, units: list[Unit]) -> Sequence[Outcome]:
        """All units in the open transaction. Mostly every one is fine; if one is not, the transaction is begun anew
        with a savepoint around each."""
        try:
            return [self._unit(unit) for unit in units]
        except Exception as error:
            if not self._blamed(error):
                raise
        self._writer.execute("ROLLBACK")
        self._writer.execute("BEGIN IMMEDIATE")
        return [self._apart(unit) for unit in units]

    def _apart(self, unit: Unit) -> Outcome:
        self._writer.execute("SAVEPOINT unit")
        outcome: Outcome
        try:
            outcome = self._unit(unit)
        except Exception as error:
            if not self._blamed(error):
                raise
            self._writer.execute("ROLLBACK TO unit")
            refused = isinstance(error, Refused)
            outcome = error if refused else Violated(f"{type(error).__name__}: {error}")
        self._writer.execute("RELEASE unit")
        return outcome

    def _blamed(self, error: Exception) -> bool:
        """Whether the unit is to blame; else the database is, and the whole batch fails."""
        return self._writer.in_transaction and _code(error) not in _UNAVAILABLE

    def _unit(self, unit: Unit) -> Results:
        execute = self._writer.execute
        results: Results = []
        for statement, params in unit:
            cursor = execute(statement.sqlite, statement.sqlite_values(params))
            if statement.returns:
                rows = cursor.fetchall()
                check_rows(statement, len(rows))
                results.append(rows)
            else:
                check_rows(statement, cursor.rowcount)
                results.append([])
        return results

    def _commit(self) -> sqlite3.Error | None:
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            return error
        return None

    def _deliver(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: _Batch,
        outcomes: Sequence[Outcome],
        failed: Exception | None,
    ) -> None:
        """Tell everybody what came of his unit, then go on with what has arrived since."""
        if failed is not None:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            outcomes = [_unavailable(failed, self.path)] * len(batch)
        self.commits += 1
        self.units += len(batch)
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        if self._pending:
            loop.call_soon(self._flush, loop)
        else:
            self._rest()

    def _rest(self) -> None:
        self._flushing = False
        self._idle.set()

    # -- reading ------------------------------------------------------------------------------------------------
    async def fetch(self, statement: Statement, params: Params) -> list[Row]:
        """Read committed rows by a short query. Raises StoreUnavailable."""
        try:
            return self._reader.execute(statement.sqlite, statement.sqlite_values(params)).fetchall()
        except sqlite3.Error as error:
            raise _unavailable(error, self.path) from error

    async def fetch_long(self, statement: Statement, params: Params) -> list[Row]:
        """Read by a query that may take long, off the loop's thread. Raises StoreUnavailable."""
        if self._memory:
            return await self.fetch(statement, params)

        def read() -> list[Row]:
            connection = self._connect(read_only=True, patience_milliseconds=_LONG_MILLISECONDS)
            try:
                return connection.execute(statement.sqlite, statement.sqlite_values(params)).fetchall()
            finally:
                connection.close()

        try:
            return await asyncio.get_running_loop().run_in_executor(None, read)
        except sqlite3.Error as error:
            raise _unavailable(error, self.path) from error

    async def close(self) -> None:
        """Commit what is pending, then close."""
        self._closed = True
        if self._flushing:
            await self._idle.wait()
        if self._executor is not None:
            self._executor.shutdown(wait=True)
        if self._reader is not self._writer:
            self._reader.close()
        self._writer.close()


def _unavailable(error: Exception, path: str) -> StoreUnavailable:
    return StoreUnavailable(f"SQLite {path}: {type(error).__name__}: {error}")
