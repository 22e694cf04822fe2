"""PostgreSQL behind the store interface: many workers on many hosts, the same units.

A group of units goes out as one pipeline in one transaction. If any guard fails or the database refuses a statement,
the group is rolled back and run again in ever smaller parts under savepoints, so that exactly the bad unit is left
out. A commit whose reply was lost is recognised by asking the database what became of its transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain

from tieout.store.statements import (
    Params,
    Refused,
    Results,
    Row,
    Statement,
    Step,
    StoreUnavailable,
    Unit,
    Violated,
    check_rows,
)
from tieout.store.wire import Answer, Lost, Wire, error_text, failed, rows_of, sqlstate

_BATCH = 256
_PART = 16  # units run together again after their group was refused
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0  # for the database to come back and say what became of a commit
Outcome = Results | Exception

_BEGIN = Statement("begin", "BEGIN ISOLATION LEVEL READ COMMITTED")
_NUMBER = Statement("transaction", "SELECT CAST(pg_current_xact_id() AS TEXT)", returns=True)
_STATUS = Statement(
    "outcome", "SELECT pg_xact_status(CAST(CAST(:number AS TEXT) AS XID8)) FROM pg_sleep(0.01)", returns=True
)
_COMMIT = Statement("commit", "COMMIT")
_ROLLBACK = Statement("rollback", "ROLLBACK")
_SAVE = Statement("save", "SAVEPOINT unit")
_FORGET = Statement("forget", "RELEASE SAVEPOINT unit")
_BACK = Statement("back", "ROLLBACK TO SAVEPOINT unit")
_CONTROL = (_BEGIN, _NUMBER, _STATUS, _COMMIT, _ROLLBACK, _SAVE, _FORGET, _BACK)
# Every statement of a unit looks rows up by a key. A plan made while a table was empty or its statistics old must not
# turn into reading a table of millions, so index look-ups and nested loops are all that the writer and the readers of
# runs may use, planned once. A commit is durable whatever the server's default says.
_SESSION = (
    "SET jit = off",
    "SET plan_cache_mode = force_generic_plan",
    "SET enable_seqscan = off",
    "SET enable_bitmapscan = off",
    "SET enable_hashjoin = off",
    "SET enable_mergejoin = off",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '30s'",
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'",
)
_READING = ("SET default_transaction_read_only = on",)
# Deadlock, serialisation failure, lock time-out: nobody's fault, run again.
_CONFLICTS = ("40", "55P03")
# What the statement itself is to blame for: its values, a constraint, a limit. All else is the database's state.
_OF_THE_UNIT = ("21", "22", "23", "42", "44", "54", "0A")


class _Conflict(Exception):
    """Another transaction was in the way; the whole group was rolled back."""


class PostgresStore:
    """One writer connection that group-commits, a few readers."""

    dialect = "postgresql"

    def __init__(self, url: str, *, writer: str, readers: int = 2) -> None:
        self._url = url
        self._named = (
            f"SELECT set_config('application_name', 'tieout {writer[:40].replace(chr(39), '')}', false)"
        )
        self._writer: Wire | None = None
        self._readers = [_Reader(url, (*_SESSION, *_READING, self._named)) for _ in range(readers)]
        self._long = _Reader(url, (*_READING, self._named))
        self._next = 0
        self._pending: list[tuple[Unit, asyncio.Future[Results]]] = []
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._closed = False
        # The transaction whose COMMIT is on its way, and what its units are told if it succeeds.
        self._committing: tuple[str, list[Outcome]] | None = None
        self.commits = 0
        self.units = 0

    # -- writing ------------------------------------------------------------------------------------------------
    async def commit(self, unit: Unit) -> Results:
        """Write a unit durably with whatever else is waiting. Raises Refused, Violated, StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        future: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self._pending.append((unit, future))
        self._wake.set()
        return await future

    async def _write(self) -> None:
        while not self._closed or self._pending:
            if not self._pending:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
            # All processes lock lanes in the same order: fewer deadlocks. Whoever claims comes last, he never waits.
            batch.sort(key=_lane)
            outcomes: Sequence[Outcome]
            try:
                outcomes = await self._group([unit for unit, _ in batch])
            except Exception as error:  # noqa: BLE001 - nobody may wait for ever, whatever is wrong with this writer
                outcomes = [error] * len(batch)
            self.commits += 1
            self.units += len(batch)
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if future.done():
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)

    async def _group(self, units: list[Unit]) -> list[Outcome]:
        """Commit a group, however often it takes; at last every unit by itself. Raises StoreUnavailable."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._transaction(units, self._together)
            except _Conflict:
                continue
            except Lost as lost:
                committed = await self._after_loss(lost)
                if committed is not None:
                    return committed
                if attempt == _ATTEMPTS - 1:
                    raise StoreUnavailable(f"PostgreSQL: {lost}") from lost
        return [await self._alone(unit) for unit in units]

    async def _alone(self, unit: Unit) -> Outcome:
        """One unit in a transaction of its own, after its group was in the way of others again and again."""
        outcome: Exception = StoreUnavailable("PostgreSQL: not tried")
        for _ in range(_ATTEMPTS):
            try:
                return (await self._transaction([unit], self._apart))[0]
            except _Conflict as conflict:
                outcome = StoreUnavailable(f"PostgreSQL: {conflict}")
            except StoreUnavailable as unavailable:
                return unavailable
            except Lost as lost:
                committed = await self._after_loss(lost)
                if committed is not None:
                    return committed[0]
                outcome = StoreUnavailable(f"PostgreSQL: {lost}")
        return outcome

    async def _transaction(
        self, units: list[Unit], way: Callable[[Wire, list[Unit]], Awaitable[tuple[str, list[Outcome]]]]
    ) -> list[Outcome]:
        if self._writer is None or self._writer.lost is not None:
            self._writer = await self._open()
        wire = self._writer
        try:
            number, outcomes = await way(wire, units)
        except (Lost, asyncio.CancelledError):
            raise
        except BaseException:
            await wire.run([(_ROLLBACK, {})])
            raise
        self._committing = (number, outcomes)
        (answer,) = await wire.run([(_COMMIT, {})])
        self._committing = None
        if failed(answer):
            _raise_for(answer)
        if answer.command_status != b"COMMIT":
            raise StoreUnavailable(f"PostgreSQL answered COMMIT with {answer.command_status!r}")
        return outcomes

    async def _together(self, wire: Wire, units: list[Unit]) -> tuple[str, list[Outcome]]:
        """The whole group in one pipeline; when any unit is refused, once more in parts."""
        try:
            answers = await wire.run([(_BEGIN, {}), (_NUMBER, {}), *chain.from_iterable(units)])
        except Violated:  # a unit that cannot even be sent; nothing was
            return await self._apart(wire, units)
        outcomes, refused = _outcomes(units, answers, 2)
        if refused is None:
            return rows_of(answers[1])[0][0], outcomes
        await wire.run([(_ROLLBACK, {})])
        return await self._apart(wire, units)

    async def _apart(self, wire: Wire, units: list[Unit]) -> tuple[str, list[Outcome]]:
        """In parts under savepoints. A part in which a unit is refused is undone and split there; a unit's refusal
        counts only when it ran by itself, after all that come before it."""
        outcomes: list[Outcome] = [[]] * len(units)
        fit: list[int] = []
        for place, unit in enumerate(units):
            try:
                await wire.check(unit)
                fit.append(place)
            except Violated as unfit:
                outcomes[place] = unfit
        begun = await wire.run([(_BEGIN, {}), (_NUMBER, {})])
        _outcomes([], begun, 2)
        parts = [fit[start : start + _PART] for start in range(0, len(fit), _PART)][::-1]
        closing: list[Step] = []
        while parts:
            part = parts.pop()
            tried = [units[place] for place in part]
            answers = await wire.run([*closing, (_SAVE, {}), *chain.from_iterable(tried)])
            found, refused = _outcomes(tried, answers, len(closing) + 1)
            closing = [(_FORGET, {})] if refused is None else [(_BACK, {}), (_FORGET, {})]
            if refused is None or len(part) == 1:
                for place, outcome in zip(part, found, strict=True):
                    outcomes[place] = outcome
            else:
                split = (part[refused + 1 :], part[refused : refused + 1], part[:refused])
                parts += [some for some in split if some]
        if closing:
            _outcomes([], await wire.run(closing), len(closing))
        return rows_of(begun[1])[0][0], outcomes

    async def _after_loss(self, lost: Lost) -> list[Outcome] | None:
        """The connection broke: the outcomes if the group was committed nevertheless, else None."""
        committing, self._committing = self._committing, None
        if committing is None:
            return None  # COMMIT was not even sent
        number, outcomes = committing
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_SECONDS
        while loop.time() < until:
            try:
                if self._writer is None or self._writer.lost is not None:
                    self._writer = await self._open()
                (answer,) = await self._writer.run([(_STATUS, {"number": number})])
            except (Lost, StoreUnavailable):
                if await self._closes_within(_PAUSE_SECONDS):
                    break
                continue
            status = "unknown" if failed(answer) else rows_of(answer)[0][0]
            if status == "committed":
                return outcomes
            if status == "aborted":
                return None
            if status != "in progress":
                break
            # The backend is still at it, without us; the question itself waits a little.
        raise StoreUnavailable(f"PostgreSQL: {lost}; the outcome of transaction {number} is unknown")

    async def _closes_within(self, seconds: float) -> bool:
        """Wait before the next attempt; True when there will be none, because the store is being closed."""
        try:
            async with asyncio.timeout(seconds):
                return await self._closing.wait()
        except TimeoutError:
            return False

    async def _open(self) -> Wire:
        if self._writer is not None:
            await self._writer.close()
            self._writer = None
        try:
            return await Wire.connect(self._url, (*_SESSION, self._named), _CONTROL)
        except Lost as lost:
            raise StoreUnavailable(f"PostgreSQL: {lost}") from lost

    # -- reading ------------------------------------------------------------------------------------------------
    async def fetch(self, statement: Statement, params: Params) -> list[Row]:
        """Read committed rows. Raises StoreUnavailable."""
        self._next = (self._next + 1) % len(self._readers)
        return await self._readers[self._next].fetch(statement, params)

    async def fetch_long(self, statement: Statement, params: Params) -> list[Row]:
        """Read by a query that may take long, on a connection of its own. Raises StoreUnavailable."""
        return await self._long.fetch(statement, params)

    async def close(self) -> None:
        """Commit what is pending, then close."""
        self._closed = True
        self._closing.set()
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._writer is not None:
            await self._writer.close()
        for reader in (*self._readers, self._long):
            await reader.close()


class _Reader:
    """A connection that many reads share, each its own transaction."""

    def __init__(self, url: str, settings: Sequence[str]) -> None:
        self._url = url
        self._settings = settings
        self._wire: Wire | None = None
        self._opening = asyncio.Lock()

    async def fetch(self, statement: Statement, params: Params) -> list[Row]:
        for last in (False, True):
            try:
                wire = self._wire
                if wire is None or wire.lost is not None:
                    wire = await self._open()
                (answer,) = await wire.run([(statement, params)])
            except Lost as lost:
                if last:
                    raise StoreUnavailable(f"PostgreSQL: {lost}") from lost
                continue
            if failed(answer):
                _raise_for(answer)
            return rows_of(answer)
        raise AssertionError("unreachable")

    async def _open(self) -> Wire:
        async with self._opening:
            if self._wire is not None and self._wire.lost is None:
                return self._wire
            await self.close()
            self._wire = await Wire.connect(self._url, self._settings)
            return self._wire

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()
            self._wire = None


def _lane(pending: tuple[Unit, asyncio.Future[Results]]) -> str:
    return str(pending[0][0][1].get("lane_id", "\U0010ffff")) if pending[0] else ""


def _outcomes(
    units: Sequence[Unit], answers: Sequence[Answer], place: int
) -> tuple[list[Outcome], int | None]:
    """What came of each unit, read from `place` on, up to the first that was refused, and which one that is.
    Raises _Conflict, StoreUnavailable."""
    for answer in answers[:place]:
        if failed(answer):
            _raise_for(answer)
    outcomes: list[Outcome] = []
    for number, unit in enumerate(units):
        results: Results = []
        for statement, _ in unit:
            answer = answers[place]
            place += 1
            try:
                if failed(answer):
                    _raise_for(answer)
                if statement.returns:
                    rows = rows_of(answer)
                    check_rows(statement, len(rows))
                    results.append(rows)
                else:
                    check_rows(statement, answer.command_tuples or 0)
                    results.append([])
            except (Refused, Violated) as error:
                return [*outcomes, error], number
        outcomes.append(results)
    return outcomes, None


def _raise_for(answer: Answer) -> None:
    state, text = sqlstate(answer), error_text(answer)
    if state.startswith(_CONFLICTS):
        raise _Conflict(text)
    if state.startswith(_OF_THE_UNIT):
        raise Violated(f"{state}: {text}")
    raise StoreUnavailable(f"PostgreSQL: {state} {text}")
