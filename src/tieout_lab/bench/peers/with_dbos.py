"""DBOS on PostgreSQL: a durable workflow for each event, on a queue that is partitioned by lane. Of a partition one
workflow runs at a time, first in first out. Run in DBOS's own environment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import psycopg_pool
from dbos import DBOS, DBOSClient

from tieout_lab.bench.peers import work

_options = work.options()
_QUEUE = "events"
# The default, a second, is for work that is not in a hurry.
_POLLING_SECONDS = 0.05
_found: dict[str, Any] = {}


@DBOS.step()
async def call(event: dict[str, Any]) -> str:
    """The call, then both rows: one step, since the rows may be written again."""
    return await work.make_good(_found["session"], _found["pool"], _options["base"], event)


@DBOS.workflow(name="post")
async def post(event: dict[str, Any]) -> str:
    """One event."""
    return str(await call(event))


async def serve() -> None:
    """A worker."""
    DBOS(
        config={
            "name": "peer",
            "system_database_url": _options["database"],
            "sys_db_pool_size": 20,
            "run_admin_server": False,
            "log_level": "WARNING",
            "application_version": "1",
        }
    )
    DBOS.launch()
    await DBOS.register_queue_async(
        _QUEUE,
        worker_concurrency=work.IN_FLIGHT,
        partition_concurrency=1,
        polling_interval_sec=_POLLING_SECONDS,
    )
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        psycopg_pool.AsyncConnectionPool(
            _options["database"], min_size=4, max_size=work.IN_FLIGHT, kwargs={"autocommit": True}, open=False
        ) as pool,
    ):
        _found.update(session=session, pool=pool)
        await asyncio.to_thread(Path("dbos.ready").touch)
        await asyncio.Event().wait()


async def load() -> None:
    """Hand events over: the event's id is the workflow's, so that one handed over twice runs once."""
    client = DBOSClient(system_database_url=_options["database"], system_database_pool_size=20)

    async def send(number: int) -> None:
        options = {
            "workflow_name": "post",
            "queue_name": _QUEUE,
            "workflow_id": work.key(number),
            "queue_partition_key": str(work.lane(number)),
            "app_version": "1",
        }
        await client.enqueue_async(options, work.payload(number))

    await work.hand_over(send)
    client.destroy()


if __name__ == "__main__":
    asyncio.run({"serve": serve, "load": load}[_options["do"]]())
