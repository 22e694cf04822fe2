"""Restate: a virtual object for each lane, which runs one invocation at a time, in the order in which they were sent.
The call is a durable step; result and audit entry are the object's state. Run in the environment of Restate's SDK."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiohttp
import hypercorn
import hypercorn.asyncio
import restate
import uvloop

from tieout_lab.bench.peers import work

_options = work.options()
_found: dict[str, aiohttp.ClientSession] = {}
# The server limits invocations per partition only, so the limit on calls is kept here.
_calls = asyncio.Semaphore(work.IN_FLIGHT)
lane = restate.VirtualObject("Lane")


def _session() -> aiohttp.ClientSession:
    """One session, opened where the loop runs."""
    if "session" not in _found:
        _found["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    return _found["session"]


async def call(event: dict[str, Any]) -> dict[str, Any]:
    """The step: what it answers is in Restate's journal, and the call is not made again."""
    async with (
        _calls,
        _session().post(
            _options["base"] + work.PATH + str(event["number"]),
            json=event,
            headers={"Idempotency-Key": event["id"]},
        ) as response,
    ):
        response.raise_for_status()
        return {"reference": (await response.json())["id"], "at": time.time()}


@lane.handler("post")
async def post(ctx: restate.ObjectContext, event: dict[str, Any]) -> None:
    """The call, then both entries."""
    made = await ctx.run_typed("call", call, event=event)
    ctx.set(f"result-{event['id']}", {"lane": event["lane"], "reference": made["reference"]})
    audit = {"at": made["at"], "actor": "worker", "action": "event.posted", "detail": made["reference"]}
    ctx.set(f"audit-{event['id']}", audit)


async def serve() -> None:
    """The service, over HTTP/2 as the documentation serves it."""
    settings = hypercorn.Config()
    settings.bind = [f"127.0.0.1:{_options['port']}"]
    settings.h2_max_concurrent_streams = 2147483647
    settings.keep_alive_max_requests = 2147483647
    settings.keep_alive_timeout = 2147483647
    await hypercorn.asyncio.serve(restate.app([lane]), settings)


async def load() -> None:
    """Hand events over: one-way messages, each under its idempotency key."""

    async def send(number: int) -> None:
        address = f"{_options['ingress']}/Lane/{work.lane(number)}/post/send"
        headers = {"Idempotency-Key": work.key(number)}
        async with _session().post(address, json=work.payload(number), headers=headers) as response:
            response.raise_for_status()

    await work.hand_over(send)
    await _session().close()


if __name__ == "__main__":
    uvloop.run({"serve": serve, "load": load}[_options["do"]]())
