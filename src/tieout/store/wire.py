"""One PostgreSQL connection in pipeline mode: many prepared statements on their way at once, answers as they come.

psycopg's own cursors cost about 100 us each; the protocol below them (libpq through `psycopg.pq`) costs a tenth of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import pq

from tieout.store.statements import Row, Statement, Step, Unit, Violated

Answer = pq.abc.PGresult
_FAILED = (pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED, pq.ExecStatus.BAD_RESPONSE)
# While an answer is awaited the connection is looked at so often, whatever the event loop says of it. Of a reset uvloop
# tells once: if the server's last word is read by then, the reset itself is never seen. A worker that started as the
# server died waited for its first answer for ever, and could not even be stopped.
_LOOK_SECONDS = 1.0
_BYTEA = 17
_TEXTS = frozenset({18, 19, 25, 705, 1042, 1043})
_NUMBERS = frozenset({20, 21, 23, 26, 1700, 5069})  # sums are numeric; all that we sum are integers


class Lost(Exception):
    """The connection broke; what was on its way may or may not have been done."""


class Wire:
    """A connection that this event loop drives. `lost` once it is broken."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self.lost: Lost | None = None
        self._connection = connection
        self._pg = connection.pgconn
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        self._prepared: dict[Statement, bytes] = {}
        self._asked: deque[tuple[asyncio.Future[list[Answer]], list[Answer]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._socket = self._pg.socket
        self._names = 0
        self._writing = False
        self._look: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._socket, self._readable)

    @classmethod
    async def connect(
        cls, url: str, settings: Sequence[str] = (), statements: Sequence[Statement] = ()
    ) -> Wire:
        """Open a connection, put these session settings in force, prepare these statements. Raises Lost."""
        try:
            connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        except psycopg.OperationalError as error:
            raise Lost(str(error)) from error
        try:
            await connection.execute("; ".join(settings))
        except psycopg.Error as error:
            await connection.close()
            raise Lost(str(error)) from error
        wire = cls(connection)
        await wire.prepare([(statement, {}) for statement in statements])
        return wire

    async def run(self, steps: Sequence[Step]) -> list[Answer]:
        """Send steps together and wait for all their answers, one for each, failed ones too. Raises Lost; Violated,
        with nothing sent, when the database does not know a statement or a value can not be sent."""
        await self.prepare(steps)
        return await self._exchange(
            [(self._prepared[statement], *encoded(statement, params)) for statement, params in steps]
        )

    async def check(self, unit: Unit) -> None:
        """See whether a unit can be sent. Not in a transaction: an error would abort it. Raises Lost, Violated."""
        await self.prepare(unit)
        for statement, params in unit:
            encoded(statement, params)

    async def prepare(self, steps: Iterable[Step]) -> None:
        """Have the database parse the statements that it has not parsed yet. Raises Lost, Violated."""
        for statement, _ in steps:
            if statement in self._prepared:
                continue
            future = self._ask()
            # Reads share a connection: two that meet a statement for the first time both have it parsed, by two names.
            self._names += 1
            name = f"s{self._names}".encode()
            try:
                self._pg.send_prepare(name, statement.postgres.encode())
                self._send()
            except psycopg.OperationalError as error:
                self._lose(str(error))
            (answer,) = await future
            if answer.status in _FAILED:
                raise Violated(f"{statement.name}: {error_text(answer)}")
            self._prepared[statement] = name

    async def _exchange(
        self, ready: list[tuple[bytes, list[bytes | None], list[int] | None]]
    ) -> list[Answer]:
        future = self._ask()
        try:
            send = self._pg.send_query_prepared
            for name, values, formats in ready:
                send(name, values, formats)
            self._send()
        except psycopg.OperationalError as error:
            self._lose(str(error))
        return await future

    def _ask(self) -> asyncio.Future[list[Answer]]:
        if self.lost is not None:
            raise self.lost
        future: asyncio.Future[list[Answer]] = self._loop.create_future()
        self._asked.append((future, []))
        if self._look is None:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._look_after)
        return future

    def _look_after(self) -> None:
        """Look whether the connection still stands, as long as somebody waits for an answer."""
        self._look = None
        if self._asked:
            self._readable()
        if self._asked:
            self._look = self._loop.call_later(_LOOK_SECONDS, self._look_after)

    def _send(self) -> None:
        self._pg.pipeline_sync()
        self._flush()

    def _flush(self) -> None:
        try:
            unsent = self._pg.flush()
        except psycopg.OperationalError as error:
            self._lose(str(error))
            return
        if unsent and not self._writing:
            self._loop.add_writer(self._socket, self._flush)
        elif self._writing and not unsent:
            self._loop.remove_writer(self._socket)
        self._writing = bool(unsent)

    def _readable(self) -> None:
        try:
            self._pg.consume_input()
            self._collect()
        except psycopg.OperationalError as error:
            self._lose(str(error))
            return
        if self._pg.status == pq.ConnStatus.BAD:
            self._lose(self._pg.get_error_message())

    def _collect(self) -> None:
        """Take what has arrived: results, each group of them closed by its synchronisation point."""
        ended = False
        while not self._pg.is_busy():
            answer = self._pg.get_result()
            if answer is None:
                if ended:
                    return  # two in a row: nothing more is there
                ended = True
                continue
            ended = False
            if not self._asked:
                continue  # a farewell of the server: the next read says that the connection is gone
            future, answers = self._asked[0]
            if answer.status != pq.ExecStatus.PIPELINE_SYNC:
                answers.append(answer)
                continue
            self._asked.popleft()
            if not future.done():
                future.set_result(answers)

    def _lose(self, reason: str) -> None:
        if self.lost is None:
            self.lost = Lost(" ".join(reason.split()))
            self._unwatch()
        asked, self._asked = self._asked, deque()
        for future, answers in asked:
            if not future.done():
                farewell = next((error_text(answer) for answer in answers if answer.status in _FAILED), "")
                future.set_exception(Lost(f"{self.lost} {farewell}".strip()))

    def _unwatch(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None
        self._loop.remove_reader(self._socket)
        if self._writing:
            self._loop.remove_writer(self._socket)
            self._writing = False

    async def close(self) -> None:
        """Close the connection; whoever still waits for an answer gets Lost."""
        self._lose("the connection was closed")
        await self._connection.close()


def encoded(statement: Statement, params: Any) -> tuple[list[bytes | None], list[int] | None]:
    """The parameters of a statement as PostgreSQL takes them: text form, bytes as they are. Raises Violated."""
    values: list[bytes | None] = []
    binary = False
    try:
        given = statement.postgres_values(params)
    except KeyError as error:
        raise Violated(f"{statement.name}: parameter {error} is missing") from error
    for value in given:
        kind = type(value)
        if kind is str:
            raw = value.encode(errors="surrogatepass")
            if b"\0" in raw:
                raise Violated(f"{statement.name}: PostgreSQL keeps no NUL character in a text")
            values.append(raw)
        elif value is None:
            values.append(None)
        elif kind is int or kind is bool:
            values.append(b"%d" % value)
        elif kind is bytes:
            values.append(value)
            binary = True
        else:
            raise Violated(f"{statement.name}: a {kind.__name__} is no value for the store")
    if not binary:
        return values, None
    return values, [1 if type(value) is bytes else 0 for value in given]


def failed(answer: Answer) -> bool:
    """Whether the database refused the statement, or skipped it because an earlier one of its group was refused."""
    return answer.status in _FAILED


def sqlstate(answer: Answer) -> str:
    """The five characters that say what was refused; empty for a statement that was only skipped."""
    return (answer.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def error_text(answer: Answer) -> str:
    """The database's own words."""
    return (answer.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace")


def rows_of(answer: Answer) -> list[Row]:
    """The rows of an answer as Python values: text, integers and bytes; nothing else is in our tables."""
    columns = range(answer.nfields)
    read = [_reader(answer.ftype(column)) for column in columns]
    get = answer.get_value
    rows = []
    for row in range(answer.ntuples):
        raw = [get(row, column) for column in columns]
        rows.append(
            tuple([None if value is None else as_(value) for value, as_ in zip(raw, read, strict=True)])
        )
    return rows


def _reader(oid: int) -> Any:
    if oid in _NUMBERS:
        return int
    if oid in _TEXTS:
        return bytes.decode
    if oid == _BYTEA:
        return _bytes
    raise TypeError(f"a column of type {oid} is none of ours")


def _bytes(raw: bytes) -> bytes:
    return bytes.fromhex(raw[2:].decode())
