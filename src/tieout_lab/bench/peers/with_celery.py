"""Celery with Redis: one queue, many greenlets, acknowledged when done. Celery keeps no order of its own: the events of
a lane are taken from the queue in order, and then run beside one another. Run in Celery's own environment."""

from __future__ import annotations

import asyncio
from typing import Any

import celery
import psycopg_pool
import urllib3
from celery.signals import worker_init

from tieout_lab.bench.peers import work

_options = work.options()
app = celery.Celery("peer", broker=_options["broker"])
app.conf.update(
    task_acks_late=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    # Short tasks: the guide on optimizing advises many messages ahead; this is 128 of them.
    worker_prefetch_multiplier=4,
    worker_disable_rate_limits=True,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    # A connection for each task that acknowledges; the default of ten makes some fail.
    broker_pool_limit=work.IN_FLIGHT,
    broker_transport_options={"visibility_timeout": 3600, "max_connections": 4 * work.IN_FLIGHT},
)
_http = urllib3.PoolManager(maxsize=work.IN_FLIGHT, block=True)
_found: dict[str, psycopg_pool.ConnectionPool] = {}


@worker_init.connect
def open_pool(**_: object) -> None:
    """The worker's connections to PostgreSQL."""
    _found["pool"] = psycopg_pool.ConnectionPool(
        _options["database"], min_size=4, max_size=work.IN_FLIGHT, kwargs={"autocommit": True}, open=True
    )


@app.task(name="post")
def post(event: dict[str, Any]) -> None:
    """The call, then both rows."""
    response = _http.request(
        "POST",
        _options["base"] + work.PATH + str(event["number"]),
        json=event,
        headers={"Idempotency-Key": event["id"]},
    )
    if response.status != 200:
        raise RuntimeError(f"status {response.status}")
    reference = response.json()["id"]
    with _found["pool"].connection() as connection:
        connection.execute(work.WRITE, work.row(event, reference))


async def load() -> None:
    """Hand events over: a call of the client's own, which blocks, one after the other."""

    async def send(number: int) -> None:
        post.apply_async((work.payload(number),), task_id=work.key(number))

    await work.hand_over(send)


if __name__ == "__main__":
    asyncio.run(load())
