"""Real sockets for conformance tests: the hub's own transport and clock, and twins served by uvicorn.

with serve(StripeTwin(SystemTwinClock())) as twin:
    async with open_world() as world:
        connection = CONNECTOR.open("stripe-us", config, world)
        twin.faults(rates={"error_after": 1.0})
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
import uvicorn

from tieout.connectors.contract import World
from tieout.ports import Chance, Clock, Request, Response, Stream, Transport, TransportError
from tieout.system import SystemClock, SystemTransport


class RecordingTransport:
    """Keeps what went through another transport: `requests`, `responses`, and the errors as `None` answers.

    `change(request, answer)` may put another answer in the place of what came; `most_bytes` lowers the limit of every
    answer."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.requests: list[Request] = []
        self.responses: list[Response | None] = []
        self.change: Callable[[Request, Response], Response] | None = None
        self.most_bytes: int | None = None

    async def exchange(self, request: Request) -> Response:
        self.requests.append(request)
        self.responses.append(None)
        place = len(self.responses) - 1
        if self.most_bytes is not None:
            request = msgspec.structs.replace(request, max_bytes=self.most_bytes)
        answer = await self._inner.exchange(request)
        if self.change is not None:
            answer = self.change(request, answer)
        self.responses[place] = answer
        return answer

    async def open(self, request: Request) -> Stream:
        return await self._inner.open(request)

    async def close(self) -> None:
        await self._inner.close()


class CannedTransport:
    """Answers from a list, in order, and keeps the requests: what the connector makes of one exact body."""

    def __init__(self, *answers: Response | TransportError) -> None:
        self._answers = list(answers)
        self.requests: list[Request] = []

    async def exchange(self, request: Request) -> Response:
        self.requests.append(request)
        if not self._answers:
            raise AssertionError(f"no canned answer left for {request.method} {request.url}")
        answer = self._answers.pop(0)
        if isinstance(answer, TransportError):
            raise answer
        return answer

    async def close(self) -> None:
        """Nothing to release."""


def canned(body: Any, status: int = 200, **headers: str) -> Response:
    """A JSON answer for `CannedTransport`; bytes and str bodies as they are. `retry_after="5"` is a header."""
    raw = (
        body
        if isinstance(body, bytes)
        else body.encode()
        if isinstance(body, str)
        else msgspec.json.encode(body)
    )
    named = {name.replace("_", "-").lower(): value for name, value in headers.items()}
    return Response(status=status, headers={"content-type": "application/json", **named}, body=raw)


class RealClock(SystemClock):
    """The machine's clock; `shift` moves technical time on for tests of age and expiry."""

    def __init__(self, factor: int = 1, epoch: datetime | None = None) -> None:
        super().__init__(factor, epoch)
        self.shift = timedelta()

    def now(self) -> datetime:
        return super().now() + self.shift


class RealChance:
    """Real randomness; jitter is by name and ordinal so that a failing test can be run again."""

    def jitter(self, name: str, ordinal: int) -> float:
        return int.from_bytes(hashlib.sha256(f"{name}|{ordinal}".encode()).digest()[:6], "big") / 2**48

    def token(self, size: int) -> bytes:
        return os.urandom(size)


@asynccontextmanager
async def open_world(transport: Transport | None = None, clock: Clock | None = None) -> AsyncIterator[World]:
    """The ports over real sockets, closed at the end."""
    chance: Chance = RealChance()
    world = World(clock=clock or RealClock(), chance=chance, transport=transport or SystemTransport())
    try:
        yield world
    finally:
        await world.transport.close()


@dataclass(slots=True)
class Served:
    """A twin behind a socket: its application, where it is, and its control API."""

    app: Any
    url: str
    port: int

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """One blocking call of the control API (the twin runs in its own thread). Raises on a refusal."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            link.request(
                method, f"/_control/{path}", body=msgspec.json.encode(body) if body is not None else None
            )
            answer = link.getresponse()
            given = msgspec.json.decode(answer.read() or b"null")
        finally:
            link.close()
        if answer.status >= 400:
            raise AssertionError(f"control {method} {path}: {answer.status} {given}")
        return given

    def act(self, name: str, /, **given: Any) -> Any:
        """An action of the twin."""
        return self.control("POST", f"act/{name}", given)

    def faults(self, **plan: Any) -> None:
        """Set the fault plan; without arguments everything works again."""
        self.control("PUT", "faults", plan)

    def fail(self, kind: str, *operations: str, **more: Any) -> None:
        """Every call (of these operations) has this fault until `faults()`."""
        self.faults(rates={kind: 1.0}, operations=list(operations) or None, **more)

    def fail_once(self, kind: str, operation: str = "*", nth: int = 1, seconds: float | None = None) -> None:
        """The nth call from now of an operation has this fault, then all is well."""
        self.faults(script=[{"operation": operation, "nth": nth, "kind": kind, "seconds": seconds}])

    def deviate(self, *answers: dict[str, Any]) -> None:
        """Have the twin answer otherwise than its vendor; without arguments as its vendor again."""
        self.control("PUT", "deviate", {"answers": list(answers)})

    def move_clock(self, business: datetime) -> None:
        """Move the business clock: what becomes due on the way is done."""
        self.control("POST", "clock", {"business": business.isoformat()})

    def log(self) -> list[dict[str, Any]]:
        """The journal of requests as the twin saw them."""
        entries: list[dict[str, Any]] = self.control("GET", "log")["log"]
        return entries

    def describe(self) -> Mapping[str, Any]:
        """What a client needs to talk to it, credentials included."""
        description: Mapping[str, Any] = self.app.describe(self.url)
        return description


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, for a thread."""

    def install_signal_handlers(self) -> None:
        """Signals are the test runner's."""


@contextmanager
def serve(app: Any) -> Iterator[Served]:
    """Serve an ASGI application on a free loopback port in a thread of its own until the block ends.

    What still hangs then is cut off: a twin that is told never to answer must not hold up the tests."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        timeout_graceful_shutdown=0,
        timeout_keep_alive=30,
    )
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name=f"twin-{port}", daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise AssertionError("the twin did not start")
            time.sleep(0.005)
        yield Served(app=app, url=f"http://127.0.0.1:{port}", port=port)
    finally:
        server.should_exit = True
        thread.join(timeout=3)
        if thread.is_alive():
            server.force_exit = True
            thread.join(timeout=5)
        listening.close()


def refused_url() -> str:
    """An address at which nobody listens: every connection is refused."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
