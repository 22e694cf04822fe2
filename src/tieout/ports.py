"""What the outside world is to us: clock, ids, chance, transport. Outside these ports nothing reads a clock, draws a
random number or opens a socket (a lint says so), which is what lets a simulation run the whole hub from one seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import msgspec


class Clock(Protocol):
    """Technical time: retries, horizons, token age. Business dates come from documents, never from here. `factor`
    technical seconds pass in one real second (1 but for demonstrations)."""

    factor: int

    def now(self) -> datetime:
        """The present moment, aware UTC."""

    def real_now_micros(self) -> int:
        """The real moment in microseconds since 1970: leases of processes."""

    def monotonic(self) -> float:
        """Seconds of a clock that never steps back, in real seconds: socket time-outs and leases."""

    async def sleep(self, seconds: float) -> None:
        """Wait technical seconds."""

    async def sleep_real(self, seconds: float) -> None:
        """Wait real seconds (leases, polling)."""


class Ids(Protocol):
    """Fresh ids."""

    def new(self) -> str:
        """A fresh UUIDv7 in text form."""


class Chance(Protocol):
    """Randomness."""

    def jitter(self, name: str, ordinal: int) -> float:
        """A number in [0, 1) for back-off jitter; the simulation derives it from seed, name and ordinal."""

    def token(self, size: int) -> bytes:
        """Unpredictable bytes: keys, salts, nonces."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One outgoing HTTP request. `timeout_seconds` is the hard deadline in real seconds; `connection` and
    `operation` label metrics and draw the simulation's choices; `lane` names the document it is for."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    timeout_seconds: float = 30.0
    connection: str = ""
    operation: str = ""
    lane: str = ""
    max_bytes: int = 20_000_000
    # Whether the address must be a public one: not this machine's, not one of a private network.
    public_only: bool = False


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def retry_after(response: Response, now: datetime) -> datetime | None:
    """The moment a Retry-After header names (seconds or HTTP date), or None."""
    text = response.headers.get("retry-after", "")
    try:
        if text.isdigit():
            return now + timedelta(seconds=int(text))
        named = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return named if named.tzinfo is not None else named.replace(tzinfo=UTC)


class TransportError(Exception):
    """No answer. `sent` is False only when it is certain that not a single byte left: then nothing was done."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent


class StreamEnded(Exception):
    """The other side ended a stream, or it broke. `status` is the gRPC status (`OK`, `UNAVAILABLE`, ...), `details` the
    trailing metadata by lower-case name."""

    def __init__(self, status: str, message: str = "", details: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {message}".strip())
        self.status = status
        self.message = message
        self.details = dict(details or {})


class Stream(Protocol):
    """One open gRPC call: messages as bytes, both ways. A call with one request and one answer is `send`, `finish`,
    `receive`. All but `close` raise StreamEnded."""

    async def send(self, message: bytes) -> None:
        """Send one message."""

    async def finish(self) -> None:
        """Say that no more messages will be sent; answers still come."""

    async def receive(self, timeout_seconds: float) -> bytes | None:
        """The next message; None when none came within so many real seconds: the stream stays open."""

    async def close(self) -> None:
        """Leave the call."""


class Transport(Protocol):
    """Outgoing HTTP, and gRPC for the few that offer their changes no other way."""

    async def exchange(self, request: Request) -> Response:
        """Send and receive. Redirects are not followed. Raises TransportError."""

    async def open(self, request: Request) -> Stream:
        """Open a gRPC call: `url` is `https://host:port/package.Service/Method` (http: without TLS), `headers` its
        metadata; `timeout_seconds` 0 is a call without a deadline. Raises TransportError: nothing was sent."""

    async def close(self) -> None:
        """Release sockets."""


class StreamFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker says of a stream: the subjects it keeps, its copies, how long it knows a message by its id."""

    subjects: tuple[str, ...]
    copies: int
    dedupe_seconds: int


class Publisher(Protocol):
    """One stream of a message broker, to write to."""

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> None:
        """Hand a message over, and wait until the stream says that it has it. Raises TransportError."""

    async def facts(self, timeout_seconds: float) -> StreamFacts:
        """What the stream is. Raises TransportError."""

    async def close(self) -> None:
        """Release the socket."""


class BufferUnavailable(Exception):
    """The buffer does not answer, or did not take it: the sender keeps it."""


class Buffered(msgspec.Struct, frozen=True, kw_only=True):
    """One message out of a buffer; `handle` is the buffer's own."""

    body: bytes
    handle: Any


class BufferFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a buffer says of itself. `storage`: `file` or `memory`; `discard`: what goes when it is full, `old` or
    `new`; `retention`: `workqueue` keeps a message until it is settled; `most_age_seconds`: 0 keeps it for ever;
    `most_bytes`: of one message; `leader`: the server of a cluster that answers for the stream, `server_id` the one we
    talk to."""

    stream: str
    copies: int
    storage: str
    discard: str
    retention: str
    most_age_seconds: float
    most_bytes: int
    leader: str = ""
    server_id: str = ""


class Buffer(Protocol):
    """A broker's durable queue before the inbox. All but `close` raise BufferUnavailable."""

    async def facts(self) -> BufferFacts:
        """What the stream is; it is made where there is none."""

    async def put(self, body: bytes) -> None:
        """Hand a message over, and wait until the broker says that it has it."""

    async def take(self, most: int, wait_seconds: float) -> list[Buffered]:
        """Up to so many messages; waits so many real seconds for the first."""

    async def done(self, message: Buffered) -> None:
        """The message is stored: it is not handed out any more."""

    async def again(self, message: Buffered, seconds: float) -> None:
        """The message is not stored: hand it out again, not before so many real seconds."""

    async def close(self) -> None:
        """Release the socket."""


class Store(Protocol):
    """Where the hub keeps what it knows; `tieout.store` has the two implementations."""

    dialect: str

    async def commit(self, unit: Sequence[tuple[Any, Mapping[str, Any]]]) -> list[list[tuple[Any, ...]]]:
        """Write a unit durably, together with whatever else is waiting. Raises Refused, Violated, StoreUnavailable."""

    async def fetch(self, statement: Any, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Read committed rows by a short query."""

    async def fetch_long(self, statement: Any, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Read by a query that may take long."""

    async def close(self) -> None:
        """Commit what is pending, then close."""
