"""The hub's ports in the simulation: clock, ids and chance from the seed; calls go to the twins in process.

Every call of a port is counted. At any one of them the process can be killed or stopped for a while, before or after it
takes effect; a dead process's tasks never get anything done again, a stopped one goes on later as if nothing had been.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from tieout.ports import Request, Response, Store, Stream, TransportError
from tieout.store.statements import Refused, StoreUnavailable, Violated
from tieout_lab.simulation.loop import OWNER, VirtualLoop
from tieout_lab.simulation.streams import SimulatedStream
from tieout_lab.twins.kit import Dropped, Twin

EPOCH = datetime(2026, 1, 1, 12, tzinfo=UTC)
_UNIX, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
# One text of one content, whatever the order in which a dict was filled; several times as fast as `repr`.
_encoded = msgspec.msgpack.Encoder(enc_hook=repr, order="sorted").encode
# What the hub calls the call that a twin is answering: for a fault that means one kind of call alone.
CALLED: ContextVar[str] = ContextVar("called", default="")


class VirtualClock:
    """Technical and real time are the loop's, `ahead_seconds` before the world's (negative: behind) where a machine's
    clock is wrong. `business` stands for the twins until it is moved."""

    factor = 1

    def __init__(self) -> None:
        self._business: datetime | None = None
        self.ahead_seconds = 0.0
        self._told = (0.0, EPOCH)

    def now(self) -> datetime:
        # Asked many times in one virtual moment.
        seconds = asyncio.get_running_loop().time() + self.ahead_seconds
        if seconds != self._told[0]:
            self._told = seconds, EPOCH + timedelta(seconds=seconds)
        return self._told[1]

    def real_now_micros(self) -> int:
        return (self.now() - _UNIX) // _MICROSECOND

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
    """A running hash over every port operation in its order, with its virtual time and content, and over what each
    commit left behind: two runs of one seed must have the same."""

    def __init__(self, seed: int = 0) -> None:
        self.operations = 0
        self.seed = seed
        self._digest = hashlib.sha256()
        self._ordinals: Counter[tuple[str, str]] = Counter()

    def place(self, lane: str, what: str) -> tuple[int, str, str, int]:
        """Where an operation stands in the line of those that are ready at the same moment: drawn from its name."""
        self._ordinals[lane, what] += 1
        ordinal = self._ordinals[lane, what]
        drawn = zlib.crc32(f"{self.seed}|{lane}|{what}|{ordinal}".encode())
        return drawn, lane, what, ordinal

    def note(self, *content: object) -> None:
        """One more operation."""
        self.operations += 1
        self.add(*content)

    def add(self, *content: object) -> None:
        """Something that belongs to an operation noted before."""
        moment = round(asyncio.get_running_loop().time() * 1_000_000)
        self._digest.update(_encoded((moment, content)))

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True)
class Fate:
    """Where a life ends or stands still: at its so manieth port operation, before or after that took effect; or at its
    so manieth call that makes a document (`kill_at_write`), `before` the first byte, `during` the call or `after` the
    answer. `pause_seconds` is how long the process is stopped (as by SIGSTOP) before it goes on as if nothing had
    been."""

    kill_at: int | None = None
    after: bool = False
    kill_at_write: int | None = None
    write_side: str = "after"
    pause_at: int | None = None
    pause_after: bool = False
    pause_seconds: float = 0.0


class Process:
    """One life of a simulated hub process: counts port operations, and meets its fate at the one it is told to."""

    def __init__(
        self,
        fate: Fate | None = None,
        *,
        tape: Tape | None = None,
        name: str = "0",
        on_fate: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.on_fate = on_fate
        self.fate = fate or Fate()
        self.tape = tape or Tape()
        self.name = name
        self.operations = 0
        self.writes = 0
        self.dead = asyncio.Event()
        self.trail: list[str] = []
        self.pauses = 0
        self._stopped_until = 0.0

    @property
    def stopped(self) -> bool:
        """Whether it stands still at this moment."""
        return asyncio.get_running_loop().time() < self._stopped_until

    async def before(self, what: str, lane: str, *content: object, group: str = "") -> int:
        """Called at every port operation, before it takes effect; answers its number. `content` goes onto the tape."""
        await self.running()
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            await loop.gate.passed(self.tape.place(lane, what), group)
            await self.running()
        self.operations += 1
        number = self.operations
        self.trail.append(what)
        self.tape.note(self.name, what, lane, *content)
        await self._meet(number, after=False)
        return number

    async def done(self, number: int, *content: object) -> None:
        """Called after it took effect."""
        await self.running()
        if content:
            self.tape.add(*content)
        await self._meet(number, after=True)

    async def writing(self, side: str) -> None:
        """Called `before`, `during` and `after` each call that makes a document."""
        self.writes += side == "before"
        if self.writes == self.fate.kill_at_write and side == self.fate.write_side and not self.dead.is_set():
            self.dead.set()
            self.on_fate("kill at a write")
        await self.running()

    async def _meet(self, number: int, *, after: bool) -> None:
        fate = self.fate
        if number == fate.kill_at and after == fate.after:
            self.dead.set()
            self.on_fate("kill")
        if number == fate.pause_at and after == fate.pause_after:
            self.pauses += 1
            self.on_fate("pause")
            self._stopped_until = asyncio.get_running_loop().time() + fate.pause_seconds
        await self.running()

    async def running(self) -> None:
        """Go on only while the process runs: later if it is stopped, never if it is dead."""
        loop = asyncio.get_running_loop()
        while loop.time() < self._stopped_until and not self.dead.is_set():  # noqa: ASYNC110 - it may be stopped anew
            await asyncio.sleep(self._stopped_until - loop.time())
        if self.dead.is_set():
            await loop.create_future()


class SimulatedTransport:
    """Calls to twins by the port of their URL, each with a little latency drawn from the seed."""

    def __init__(
        self,
        twins: Mapping[int, Twin],
        process: Process,
        seed: int,
        late_first_byte: Callable[[Request], bool] = lambda _: False,
        leaves: Callable[[Request, asyncio.Task[Response], asyncio.Event], None] = lambda *_: None,
    ) -> None:
        self._twins = twins
        self._leaves = leaves
        self._process = process
        self._seed = seed
        self._ordinal: dict[str, int] = {}
        self._late_first_byte = late_first_byte
        self._streams: list[SimulatedStream] = []

    async def open(self, request: Request) -> Stream:
        parts = urlsplit(request.url)
        number = await self._process.before(f"open {request.operation}", "", parts.path)
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
        pauses = self._process.pauses
        what = f"call {request.operation}"
        number = await self._process.before(what, request.lane, request.method, request.url, content)
        twin = self._twins.get(urlsplit(request.url).port or 0)
        if twin is None:
            raise TransportError("no connection", sent=False)
        if self._process.pauses != pauses and not self._late_first_byte(request):
            # Stopped between the check of the lease and the first byte: `docs/simulation.md`, what is not covered.
            raise TransportError("stopped before the first byte", sent=False)
        writes = makes_a_document(request)
        if writes:
            await self._process.writing("before")
        name = f"{request.lane}|{request.operation}"
        self._ordinal[name] = self._ordinal.get(name, 0) + 1
        latency = 0.01 + 0.2 * draw(self._seed, "latency", name, self._ordinal[name])
        gone = asyncio.Event()
        # The server outlives its client.
        outside = copy_context()
        outside.run(OWNER.set, None)
        outside.run(CALLED.set, request.operation)
        loop = asyncio.get_running_loop()
        work = loop.create_task(_call(twin, request, latency, gone), context=outside)
        work.add_done_callback(_seen)
        self._leaves(request, work, gone)
        try:
            if writes:
                await self._process.writing("during")
            async with asyncio.timeout(request.timeout_seconds):
                # Shielded: a client that gives up does not stop the server.
                response = await asyncio.shield(work)
        except TimeoutError as error:
            raise TransportError("no answer in time", sent=True) from error
        except Dropped as error:
            raise TransportError("connection lost", sent=True) from error
        finally:
            gone.set()
        if writes:
            await self._process.writing("after")
        await self._process.done(number)
        return response

    async def close(self) -> None:
        """End the streams, as the operating system does for a process that dies."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.close()


def makes_a_document(request: Request) -> bool:
    """Whether a call makes something outside that must be made once."""
    return request.operation.endswith(".create")


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
    """A store whose commits are port operations. `fault` says of each, by its number, whether it fails ("down") or is
    written and its answer lost ("lost_reply")."""

    def __init__(
        self, inner: Store, process: Process, fault: Callable[[int], str | None] = lambda _: None
    ) -> None:
        self._fault = fault
        self.dialect = inner.dialect
        self._inner = inner
        self._process = process

    async def commit(self, unit: Any) -> Any:
        names = [statement.name for statement, _ in unit]
        # Host and pid are of the machine that simulates, not of the world.
        given = [params if "pid" not in params else {**params, "host": "", "pid": 0} for _, params in unit]
        lane = str(unit[0][1].get("lane_id", ""))
        what = "commit " + names[-1]
        number = await self._process.before(
            what, lane, names, given, group=f"commits of {self._process.name}"
        )
        fault = self._fault(self._process.tape.operations)
        if fault == "down":
            await self._process.done(number, fault)
            raise StoreUnavailable("the database is restarting")
        try:
            results = await self._inner.commit(unit)
        except (Refused, Violated) as refused:
            await self._process.done(number, str(refused))
            raise
        await self._process.done(number, results)
        if fault == "lost_reply":
            raise StoreUnavailable("the answer to the commit was lost; its outcome is unknown")
        return results

    async def fetch(self, statement: Any, params: Mapping[str, Any]) -> Any:
        await self._process.running()
        return await self._inner.fetch(statement, params)

    async def fetch_long(self, statement: Any, params: Mapping[str, Any]) -> Any:
        return await self.fetch(statement, params)

    async def close(self) -> None:
        await self._inner.close()
