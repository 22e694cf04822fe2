"""The bare intake: an ASGI callable that verifies the signature, decodes, and inserts in batches. The hub's floor."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from typing import Any

import msgspec
import uvicorn
import uvloop

from tieout_lab.bench import bodies
from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.rawloop import Batches

_SECRET = bodies.WEBHOOK_SECRET.encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"2")]
_decode = msgspec.json.Decoder().decode


class Bare:
    """The callable."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        given_by = dict(scope["headers"])[b"stripe-signature"]
        stamp, _, signature = given_by[2:].partition(b",v1=")
        expected = hmac.digest(_SECRET, stamp + b"." + body, hashlib.sha256).hex().encode()
        status = 200 if hmac.compare_digest(expected, signature) else 401
        if status == 200:
            await self._batches.insert(_decode(body)["id"], body)
        await send({"type": "http.response.start", "status": status, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"{}"})


def server(application: Any) -> uvicorn.Server:
    """The server as the hub sets it, on a free port."""
    settings = uvicorn.Config(
        application,
        host="127.0.0.1",
        port=0,
        loop="none",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_keep_alive=30,
        backlog=2048,
    )
    return uvicorn.Server(settings)


async def serving(application: Any) -> tuple[uvicorn.Server, asyncio.Task[None], int]:
    """Serve in the background; the port is known."""
    found = server(application)
    task = asyncio.create_task(found.serve())
    while not found.started:  # noqa: ASYNC110 - it tells by a flag
        await asyncio.sleep(0.01)
    return found, task, found.servers[0].sockets[0].getsockname()[1]


async def main() -> None:
    # Without patience: whoever waits for the 2xx would wait for that, too.
    running, task, port = await serving(Bare(Batches(given()["database"], linger_seconds=0)))
    answer({"port": port, "pid": os.getpid()})
    while await heard() is not None:
        pass
    running.should_exit = True
    await task


if __name__ == "__main__":
    uvloop.run(main())
