"""procrastinate: jobs in PostgreSQL. A job's `lock` is its lane: of one lock one job runs at a time, in the order in
which they were deferred. Run in procrastinate's own environment."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import procrastinate
import psycopg_pool
import uvloop

from tieout_lab.bench.peers import work

_options = work.options()
app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(
        conninfo=_options["database"], min_size=4, max_size=work.IN_FLIGHT
    )
)
_found: dict[str, Any] = {}


@app.task(name="post", queue="events")
async def post(event: dict[str, Any]) -> None:
    """The call, then both rows."""
    await work.make_good(_found["session"], _found["pool"], _options["base"], event)


async def keep_statistics(pool: psycopg_pool.AsyncConnectionPool) -> None:
    """Statistics of the table of jobs, each second: a new database has none for a minute, and with the plan that an
    empty table gets a fetch reads every job that waits: a quarter of the rate, seen with 5,000 jobs."""
    while True:
        await asyncio.sleep(1)
        async with pool.connection() as connection:
            await connection.execute("ANALYZE procrastinate_jobs")


async def serve() -> None:
    """A worker. What is done is deleted: the result is in a table of ours, and the table of jobs stays small."""
    async with (
        app.open_async(),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        psycopg_pool.AsyncConnectionPool(
            _options["database"], min_size=4, max_size=work.IN_FLIGHT, kwargs={"autocommit": True}, open=False
        ) as pool,
    ):
        _found.update(session=session, pool=pool)
        statistics = asyncio.create_task(keep_statistics(pool))
        await app.run_worker_async(
            queues=["events"],
            concurrency=work.IN_FLIGHT,
            delete_jobs="successful",
            install_signal_handlers=False,
        )
        statistics.cancel()


async def load() -> None:
    """Hand events over."""
    async with app.open_async():

        async def send(number: int) -> None:
            await post.configure(lock=str(work.lane(number))).defer_async(event=work.payload(number))

        await work.hand_over(send)


async def prepare() -> None:
    """Its tables."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


if __name__ == "__main__":
    uvloop.run({"serve": serve, "load": load, "prepare": prepare}[_options["do"]]())
