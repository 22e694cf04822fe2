"""The hub's ports in the simulation: clock, ids and chance from the seed; calls go to the twins in process.

Every call of a port is counted. At any one of them the process can be killed, before or after it takes effect; a dead
process's tasks never get anything done again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from tieout.ports import Request, Response, Store, Stream, TransportError
from tieout_lab.simulation.streams import SimulatedStream
from tieout_lab.twins.kit import Dropped, Twin

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)


class VirtualClock:
    """Technical and real time are the loop's. `business` stands for the twins until it is moved."""

    factor = 1

    def __init__(self) -> None:
        self._business: datetime | None = None

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=asyncio.get_running_loop().time())

    def real_now_micros(self) -> int:
        return (self.now() - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def sleep_real(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    # the twins' side of the same clock
    def technical(self) -> datetime:
        return self.now()

    def business(self) -> datetime:
        return self._business or self.now()

    def set_business(self, moment: datetime) -> None:
        self._business = moment


def draw(*parts: object) -> float:
    """A number in [0, 1) that depends on its parts alone."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class SeededIds:
    """Ids that look like UUIDv7 and count up."""

    def __init__(self, seed: int, life: int) -> None:
        self._next = (seed << 24) + (life << 40)

    def new(self) -> str:
        self._next += 1
        text = f"{self._next:032x}"
        return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-8{text[17:20]}-{text[20:]}"


class SeededChance:
    """Jitter and bytes from the seed."""

    def __init__(self, seed: int, life: int) -> None:
        self._seed, self._life, self._count = seed, life, 0

    def jitter(self, name: str, ordinal: int) -> float:
        return draw(self._seed, "jitter", name, ordinal)

    def token(self, size: int) -> bytes:
        self._count += 1
        block = hashlib.sha256(f"{self._seed}|{self._life}|{self._count}".encode()).digest()
        return (block * (size // 32 + 1))[:size]


class Tape:
    """A running hash over every port operation in its order, with its virtual time and content: two runs of one seed
    must have the same."""

    def __init__(self) -> None:
        self.operations = 0
        self._digest = hashlib.sha256()

    def note(self, *content: object) -> None:
        """One more operation."""
        self.operations += 1
        moment = round(asyncio.get_running_loop().time() * 1_000_000)
        self._digest.update(f"{moment}|{content!r}\n".encode())

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@dataclass
class Process:
    """One life of the simulated hub process: counts port operations, and dies at the one it is told to."""

    kill_at: int | None = None
    after: bool = False
    operations: int = 0
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    trail: list[str] = field(default_factory=list)
    tape: Tape | None = None

    async def before(self, what: str, *content: object) -> int:
        """Called at every port operation, before it takes effect; answers its number. `content` goes onto the tape."""
        await self._still_alive()
        self.operations += 1
        self.trail.append(what)
        if self.tape is not None:
            self.tape.note(what, *content)
        number = self.operations
        if number == self.kill_at and not self.after:
            await self._die()
        return number

    async def done(self, number: int) -> None:
        """Called after it took effect."""
        await self._still_alive()
        if number == self.kill_at and self.after:
            await self._die()

    async def _die(self) -> None:
        self.dead.set()
        await self._still_alive()

    async def _still_alive(self) -> None:
        if self.dead.is_set():
            await asyncio.get_running_loop().create_future()


class SimulatedTransport:
    """Calls to twins by the port of their URL, each with a little latency drawn from the seed."""

    def __init__(self, twins: Mapping[int, Twin], process: Process, seed: int) -> None:
        self._twins = twins
        self._process = process
        self._seed = seed
        self._ordinal: dict[str, int] = {}
        self._streams: list[SimulatedStream] = []

    async def open(self, request: Request) -> Stream:
        parts = urlsplit(request.url)
        number = await self._process.before(f"open {request.operation}", parts.path)
        handler = getattr(self._twins.get(parts.port or 0), "calls", {}).get(parts.path)
        if handler is None:
            raise TransportError("no connection", sent=False)
        stream = SimulatedStream(handler, request.headers, self._process, request.operation)
        self._streams.append(stream)
        await self._process.done(number)
        return stream

    async def exchange(self, request: Request) -> Response:
        # Sign-in carries fresh signatures, every other body is of the seed.
        content = b"" if "token" in request.url else request.body
        what = (request.lane, request.method, request.url, content)
        number = await self._process.before(f"call {request.operation}", *what)
        twin = self._twins.get(urlsplit(request.url).port or 0)
        if twin is None:
            raise TransportError("no connection", sent=False)
        name = f"{request.lane}|{request.operation}"
        self._ordinal[name] = self._ordinal.get(name, 0) + 1
        latency = 0.01 + 0.2 * draw(self._seed, "latency", name, self._ordinal[name])
        gone = asyncio.Event()
        work = asyncio.ensure_future(_call(twin, request, latency, gone))
        work.add_done_callback(_seen)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                # Shielded: a client that gives up does not stop the server.
                response = await asyncio.shield(work)
        except TimeoutError as error:
            raise TransportError("no answer in time", sent=True) from error
        except Dropped as error:
            raise TransportError("connection lost", sent=True) from error
        finally:
            gone.set()
        await self._process.done(number)
        return response

    async def close(self) -> None:
        """End the streams, as the operating system does for a process that dies."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.close()


def _seen(task: asyncio.Task[Response]) -> None:
    if not task.cancelled():
        task.exception()


async def _call(twin: Twin, request: Request, latency: float, gone: asyncio.Event) -> Response:
    await asyncio.sleep(latency)
    return await in_process(twin, request, gone)


async def in_process(twin: Twin, request: Request, gone: asyncio.Event) -> Response:
    """Call an ASGI application without a socket; `gone` is set when the client has hung up."""
    parts = urlsplit(request.url)
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers.items()]
    headers.append((b"host", parts.netloc.encode()))
    scope: dict[str, Any] = {
        "type": "http",
        "method": request.method,
        "scheme": parts.scheme,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "query_string": parts.query.encode(),
        "headers": headers,
        "server": (parts.hostname, parts.port or 80),
        "client": ("127.0.0.1", 1),
    }
    got: dict[str, Any] = {"body": b"", "read": False}

    async def receive() -> MutableMapping[str, Any]:
        if got["read"]:
            await gone.wait()
            return {"type": "http.disconnect"}
        got["read"] = True
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            got["status"] = message["status"]
            got["headers"] = {name.decode().lower(): value.decode() for name, value in message["headers"]}
        else:
            got["body"] += message.get("body", b"")

    await twin(scope, receive, send)
    if "status" not in got:
        raise Dropped
    return Response(status=got["status"], headers=got["headers"], body=got["body"])


class SimulatedStore:
    """A store whose commits are port operations."""

    def __init__(self, inner: Store, process: Process) -> None:
        self.dialect = inner.dialect
        self._inner = inner
        self._process = process

    async def commit(self, unit: Any) -> Any:
        names = [statement.name for statement, _ in unit]
        given = [sorted(params.items()) for _, params in unit]
        number = await self._process.before("commit " + names[-1], names, given)
        results = await self._inner.commit(unit)
        await self._process.done(number)
        return results

    async def fetch(self, statement: Any, params: Mapping[str, Any]) -> Any:
        return await self._inner.fetch(statement, params)

    async def fetch_long(self, statement: Any, params: Mapping[str, Any]) -> Any:
        return await self._inner.fetch(statement, params)

    async def close(self) -> None:
        await self._inner.close()
