"""Real sockets for the conformance tests: a transport, a clock and chance, and twins served by uvicorn.

with serve(StripeTwin(SystemTwinClock())) as twin:
    async with open_world() as world:
        connection = CONNECTOR.open("stripe-us", config, world)
        twin.faults(rates={"error_after": 1.0})
"""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import logging
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import uvicorn
from yarl import URL

from tieout.connectors.contract import World
from tieout.ports import Chance, Clock, Request, Response, Transport, TransportError


class AiohttpTransport:
    """`tieout.ports.Transport` over aiohttp. Redirects are not followed, nothing is retried.

    `sent` is False only where no connection came about (refused, unknown host, connecting timed out). Once there is
    one, a time-out, a reset or a cut-off answer is `sent=True`: the bytes may have been read."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
            )
            # aiohttp by itself sends GET, PUT and DELETE a second time on a kept connection that the server had
            # closed. A PUT is a write: sending it again is the engine's decision alone.
            self._session._retry_connection = False
        return self._session

    async def exchange(self, request: Request) -> Response:
        session = self._open()
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=request.timeout_seconds, sock_connect=request.timeout_seconds
                ),
            ) as answer:
                body = await _read(answer, request.max_bytes)
                headers = {name.lower(): value for name, value in answer.headers.items()}
                return Response(status=answer.status, headers=headers, body=body)
        except aiohttp.ClientConnectorError as error:
            raise TransportError(f"no connection: {type(error).__name__}", sent=False) from error
        except aiohttp.ConnectionTimeoutError as error:
            raise TransportError("connecting timed out", sent=False) from error
        except TimeoutError as error:
            raise TransportError(f"no answer in {request.timeout_seconds} s", sent=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"connection lost: {type(error).__name__}", sent=True) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _read(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            raise TransportError(f"an answer of more than {max_bytes} bytes", sent=True)
    return bytes(body)


class RecordingTransport:
    """Keeps what went through another transport: `requests`, `responses`, and the errors as `None` answers."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.requests: list[Request] = []
        self.responses: list[Response | None] = []

    async def exchange(self, request: Request) -> Response:
        self.requests.append(request)
        self.responses.append(None)
        place = len(self.responses) - 1
        self.responses[place] = answer = await self._inner.exchange(request)
        return answer

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


class RealClock:
    """The machine's clock; `shift` moves technical time on for tests of age and expiry."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_real(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


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
    world = World(clock=clock or RealClock(), chance=chance, transport=transport or AiohttpTransport())
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
