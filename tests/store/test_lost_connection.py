"""PostgreSQL goes away at the worst moments: no unit is lost, none is written twice, and nobody is told a lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.store.facts import AnyStore, audit, guard, one, reads
from tieout.store.postgres import PostgresStore
from tieout.store.statements import Refused, StoreUnavailable


class Line:
    """The wire to the server: on order it swallows the reply to a COMMIT, or the COMMIT itself, and is cut."""

    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.port = 0
        self.swallow = ""
        self.cuts = 0
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self.address)
        self._writers += [writer, server_writer]
        for source, target, side in ((reader, server_writer, "hub"), (server_reader, writer, "server")):
            task = asyncio.create_task(self._carry(source, target, side))
            self._tasks.add(task)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, side: str) -> None:
        try:
            while raw := await source.read(65536):
                if side == "server" and self.swallow == "reply" and b"COMMIT\x00" in raw:
                    self.cut()
                    return
                target.write(raw)
                await target.drain()
        except OSError:
            pass
        finally:
            target.close()

    def cut(self) -> None:
        self.swallow = ""
        self.cuts += 1
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.transport.abort()

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def line(clean_postgres_url: str) -> AsyncIterator[Line]:
    parts = urlsplit(clean_postgres_url)
    line = Line(parts.hostname or "127.0.0.1", parts.port or 5432)
    await line.open()
    yield line
    await line.close()


@pytest.fixture
async def remote(clean_postgres_url: str, line: Line) -> AsyncIterator[PostgresStore]:
    """A store whose wire we hold."""
    parts = urlsplit(clean_postgres_url)
    netloc = f"{parts.username}@127.0.0.1:{line.port}"
    store = PostgresStore(parts._replace(netloc=netloc).geturl(), writer="remote")
    yield store
    await store.close()


async def test_a_commit_whose_reply_was_lost_is_recognised(remote: PostgresStore, line: Line) -> None:
    await remote.commit([audit("first")])
    line.swallow = "reply"
    outcomes = await asyncio.gather(
        remote.commit([audit("a")]),
        remote.commit([audit("b"), guard("nowhere")]),
        remote.commit([(reads("SELECT COUNT(*) FROM audit"), {})]),
        return_exceptions=True,
    )
    assert line.cuts == 1
    assert outcomes[0] == [[]]
    assert isinstance(outcomes[1], Refused)
    assert outcomes[2] == [[(2,)]]
    assert await one(remote, "SELECT COUNT(*) FROM audit WHERE audit_id = 'a'") == 1
    assert await one(remote, "SELECT COUNT(*) FROM audit WHERE audit_id = 'b'") == 0


async def test_a_commit_that_is_still_at_work_is_waited_for(
    remote: PostgresStore, line: Line, clean_postgres_url: str
) -> None:
    await remote.commit([audit("first")])
    with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
        connection.execute(
            """CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN PERFORM pg_sleep(0.4); RETURN NULL; END'"""
        )
        connection.execute(
            """CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON audit DEFERRABLE INITIALLY DEFERRED
               FOR EACH ROW EXECUTE FUNCTION dawdle()"""
        )
        try:
            writing = asyncio.create_task(remote.commit([audit("slow")]))
            await asyncio.sleep(0.2)  # COMMIT is under way and sleeps
            assert remote._committing is not None
            line.cut()
            assert await writing == [[]]
        finally:
            connection.execute("DROP FUNCTION dawdle CASCADE")
    assert await one(remote, "SELECT COUNT(*) FROM audit WHERE audit_id = 'slow'") == 1


async def backend_of(store: PostgresStore) -> int:
    ((pid,),) = (await store.commit([(reads("SELECT pg_backend_pid()"), {})]))[0:1][0]
    return int(pid)


async def test_a_backend_killed_before_its_commit_writes_once(
    postgres: Callable[[], PostgresStore], monkeypatch: pytest.MonkeyPatch, clean_postgres_url: str
) -> None:
    store = postgres()
    pid = await backend_of(store)
    wire = store._writer
    assert wire is not None
    run, killed = wire.run, []

    async def kill_first(steps):
        if steps[0][0].name == "commit" and not killed:
            killed.append(pid)
            with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        return await run(steps)

    monkeypatch.setattr(wire, "run", kill_first)
    outcomes = await asyncio.gather(store.commit([audit("a")]), store.commit([audit("b")]))
    assert killed == [pid]
    assert outcomes == [[[]], [[]]]
    assert await one(store, "SELECT COUNT(*) FROM audit") == 2


async def test_connections_lost_between_batches_heal(
    postgres: Callable[[], PostgresStore], clean_postgres_url: str
) -> None:
    store = postgres()
    await store.commit([audit("a")])
    assert await one(store, "SELECT COUNT(*) FROM audit") == 1
    with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
        connection.execute(
            """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()"""
        )
    await store.commit([audit("b")])
    assert await one(store, "SELECT COUNT(*) FROM audit") == 2
    assert await one(store, "SELECT COUNT(*) FROM audit") == 2


async def test_reads_survive_a_cut(remote: PostgresStore, line: Line) -> None:
    sleeping = asyncio.gather(*(remote.fetch(reads("SELECT 1 FROM pg_sleep(0.2)"), {}) for _ in range(3)))
    await asyncio.sleep(0.1)
    line.cut()
    assert await sleeping == [[(1,)]] * 3


async def test_a_server_that_stays_away_is_unavailable_and_heals(remote: PostgresStore, line: Line) -> None:
    await remote.commit([audit("a")])
    address, line.address = line.address, ("127.0.0.1", 1)
    line.cut()
    with pytest.raises(StoreUnavailable):
        await remote.commit([audit("b")])
    line.address = address
    await remote.commit([audit("b")])
    assert await one(remote, "SELECT COUNT(*) FROM audit") == 2


async def test_a_commit_is_durable_whatever_the_server_s_default(
    postgres: Callable[[], AnyStore], clean_postgres_url: str
) -> None:
    with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')  # type: ignore[arg-type]
        try:
            ((setting,),) = (await postgres().commit([(reads("SHOW synchronous_commit"), {})]))[0:1][0:1][0]
        finally:
            connection.execute(f'ALTER DATABASE "{name}" RESET synchronous_commit')  # type: ignore[arg-type]
    assert setting == "on"


async def test_a_statement_that_is_new_to_a_dead_connection_opens_another_one(
    postgres: Callable[[], AnyStore],
) -> None:
    """While the database was restarted, `OperationalError` came out of the store: it ended worker and housekeeping."""
    store = postgres()
    assert isinstance(store, PostgresStore)
    for number in range(6):
        reader = store._readers[(store._next + 1) % len(store._readers)]
        if reader._wire is not None:
            reader._wire._pg.finish()
        assert await one(store, f"SELECT {number}") == number
    await store.commit([audit("before")])
    assert store._writer is not None
    store._writer._pg.finish()
    await store.commit([(reads("SELECT 1"), {}), audit("after")])
    assert await one(store, "SELECT COUNT(*) FROM audit") == 2


async def test_a_cut_of_which_the_event_loop_tells_nothing_is_noticed(
    remote: PostgresStore, line: Line
) -> None:
    """Of a reset uvloop tells once, and never again: where the server's last word was read by that, nobody learned that
    the connection was gone. A worker that started as the server died waited for ever, and could not even be stopped."""
    slow = reads("SELECT CAST(pg_sleep(CAST(:seconds AS INT)) AS TEXT)")
    asked = asyncio.create_task(remote.fetch(slow, {"seconds": 2}))
    await asyncio.sleep(0.5)
    (wire,) = [reader._wire for reader in remote._readers if reader._wire is not None]
    asyncio.get_running_loop().remove_reader(wire._socket)
    line.cut()
    async with asyncio.timeout(15):
        assert len(await asked) == 1, "asked once more, on a new connection"
