"""The raw loop: the same calls and bodies through a bare aiohttp client, and one batched insert and update per event.
Nothing else: no ledger, no encryption, no audit, no retry. The floor that the hub is measured against."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import psycopg
import uvloop
from yarl import URL

from tieout_lab.bench import bodies
from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.stub import FLOW

_TABLE = "raw_events (id TEXT PRIMARY KEY, body BYTEA, state TEXT, reference TEXT)"
_INSERT = "INSERT INTO raw_events VALUES ({0}, {0}, 'pending', '')"
_UPDATE = "UPDATE raw_events SET state = 'posted', reference = {0} WHERE id = {0}"
_LEFT_OUT = {"host", "content-length", "accept-encoding", "user-agent", "accept"}
_LINGER_SECONDS = 0.004
Rows = list[tuple[str, bytes]]


class Batches:
    """One insert and one update per event, whatever is waiting in one transaction; `linger_seconds` makes it more."""

    def __init__(self, url: str, linger_seconds: float = _LINGER_SECONDS) -> None:
        self._linger_seconds = linger_seconds
        self._write = _sqlite(url) if url.startswith("sqlite") else _postgres(url)
        self._thread = ThreadPoolExecutor(1)
        self._inserts: Rows = []
        self._updates: list[tuple[str, str]] = []
        self._told: list[asyncio.Future[None]] = []
        self._writing = False

    async def insert(self, id: str, body: bytes) -> None:
        self._inserts.append((id, body))
        await self._durable()

    async def update(self, id: str, reference: str) -> None:
        self._updates.append((reference, id))
        await self._durable()

    async def _durable(self) -> None:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._told.append(future)
        if not self._writing:
            self._writing = True
            loop.call_soon(lambda: loop.create_task(self._run()))
        await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._told:
            # A little patience makes the batches large: that is what batching is for.
            await asyncio.sleep(self._linger_seconds)
            inserts, updates, told = self._inserts, self._updates, self._told
            self._inserts, self._updates, self._told = [], [], []
            await loop.run_in_executor(self._thread, self._write, inserts, updates)
            for future in told:
                future.set_result(None)
        self._writing = False


def _sqlite(url: str) -> Callable[[Rows, list[tuple[str, str]]], None]:
    connection = sqlite3.connect(
        url.removeprefix("sqlite:///"), isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"CREATE TABLE IF NOT EXISTS {_TABLE}")

    def write(inserts: Rows, updates: list[tuple[str, str]]) -> None:
        connection.execute("BEGIN")
        connection.executemany(_INSERT.format("?"), inserts)
        connection.executemany(_UPDATE.format("?"), updates)
        connection.execute("COMMIT")

    return write


def _postgres(url: str) -> Callable[[Rows, list[tuple[str, str]]], None]:
    connection = psycopg.connect(url, autocommit=True)
    connection.execute(f"DROP TABLE IF EXISTS raw_events; CREATE TABLE {_TABLE}")

    def write(inserts: Rows, updates: list[tuple[str, str]]) -> None:
        with connection.transaction(), connection.cursor() as cursor:
            if inserts:
                cursor.executemany(_INSERT.format("%s"), inserts)
            if updates:
                cursor.executemany(_UPDATE.format("%s"), updates)

    return write


class Call:
    """One of the calls, as the hub made it, for any invoice."""

    def __init__(self, sample: dict[str, Any], base: str) -> None:
        self.method = sample["method"]
        self._number = sample["number"]
        self._url, self._body = base + sample["path"], sample["body"]
        self.headers = {
            name: value for name, value in sample["headers"].items() if name.lower() not in _LEFT_OUT
        }

    def at(self, number: int) -> tuple[str, bytes | None]:
        """URL and body for an invoice."""
        url, body = self._of(self._url, number), self._of(self._body, number)
        return url, body.encode() or None

    def _of(self, text: str, number: int) -> str:
        for name in (bodies.invoice_id, bodies.erp_document, bodies.erp_customer):
            text = text.replace(name(self._number), name(number))
        return text


async def drain(session: aiohttp.ClientSession, calls: list[Call], number: int) -> None:
    """The calls of one event, one after the other."""
    for call in calls:
        url, body = call.at(number)
        async with session.request(
            call.method, URL(url, encoded=True), headers=call.headers, data=body, allow_redirects=False
        ) as response:
            await response.read()
            if response.status >= 300:
                raise AssertionError(f"{call.method} {url}: {response.status}")


async def measure(options: dict[str, Any], told: dict[str, Any], batches: Batches) -> dict[str, Any]:
    """Drain events at a concurrency; `calls` and `store` say which parts take part."""
    calls = (
        [Call(told["samples"][name], options["base"]) for name in told.get("flow", FLOW)]
        if told["calls"]
        else []
    )
    numbers = iter(range(told["first"], told["first"] + told["count"]))
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def work() -> None:
            for number in numbers:
                id = f"{told['name']}{number}"
                if told["store"]:
                    await batches.insert(id, bodies.event(number, 0))
                await drain(session, calls, number)
                if told["store"]:
                    await batches.update(id, bodies.erp_document(number))

        started = time.monotonic()
        await asyncio.gather(*(work() for _ in range(told["concurrency"])))
        return {"started": started, "ended": time.monotonic()}


async def main() -> None:
    options = given()
    batches = Batches(options["database"])
    answer({"ready": True})
    while (told := await heard()) is not None:
        answer(await measure(options, told, batches))


if __name__ == "__main__":
    uvloop.run(main())
