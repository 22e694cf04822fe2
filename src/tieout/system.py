"""The real ports: the machine's clock, ids, randomness and sockets. Nothing else in the hub touches them."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import ssl
import sys
import time
import zlib
from datetime import UTC, datetime
from typing import TypeAlias, cast
from urllib.parse import quote, urlsplit

import httptools
import uuid_utils

from tieout.ports import Request, Response, TransportError


class SystemClock:
    """Technical time passes `factor` times as fast as real time, from `epoch` on; 1 everywhere but in demonstrations."""

    def __init__(self, factor: int = 1, epoch: datetime | None = None) -> None:
        self.factor = factor
        self._epoch = epoch or datetime.now(UTC)

    def now(self) -> datetime:
        real = datetime.now(UTC)
        return real if self.factor == 1 else self._epoch + (real - self._epoch) * self.factor

    def real_now_micros(self) -> int:
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.factor)

    async def sleep_real(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """UUIDv7 from the operating system's clock and randomness."""

    def new(self) -> str:
        return str(uuid_utils.uuid7())


class SystemChance:
    """Randomness from the operating system."""

    def jitter(self, name: str, ordinal: int) -> float:
        return secrets.randbelow(1 << 20) / (1 << 20)

    def token(self, size: int) -> bytes:
        return os.urandom(size)


def keep_still() -> None:
    """Once a long-lived process is set up: what is there now stays, so the garbage collector need not look at it again,
    and it looks less often at what comes; and the thread that commits gets the interpreter back within a millisecond,
    since everybody waits for it. To be called once per process, never in tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    sys.setswitchinterval(0.001)


_GZIP = 31  # zlib's word for a gzip wrapper
_KEEP_SECONDS = 30.0
_PLAIN_TARGET = "!#$%&'()*+,/:;=?@[]~"


class SocketTransport:
    """HTTP/1.1 over pooled keep-alive connections, parsed by llhttp. No redirect is followed, no request is sent twice,
    bodies are limited, the time-out is hard.

    A client library's conveniences (cookies, redirects, retries, middleware) are all things that the hub must not have,
    and they cost three times what the exchange itself does (docs/performance.md)."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin] = {}
        self._secure: ssl.SSLContext | None = None

    async def exchange(self, request: Request) -> Response:
        """Send and receive. Raises TransportError: `sent` is False only when no connection was made."""
        slash = request.url.find("/", 8)
        base = request.url if slash < 0 else request.url[:slash]
        origin = self._origins.get(base) or self._origin(base)
        head = _head(request, origin, "/" if slash < 0 else request.url[slash:])
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.timeout_seconds
        channel = origin.kept(loop.time()) or await self._connect(origin, request.timeout_seconds)
        # From here on bytes may have left: whatever goes wrong, nobody knows what became of the request.
        answered = channel.send(head + request.body, request.max_bytes)
        timer = loop.call_at(deadline, channel.fail, f"no answer within {request.timeout_seconds:g} s")
        try:
            response = await answered
        except BaseException:
            channel.drop()
            raise
        finally:
            timer.cancel()
        if channel.reusable:
            channel.kept_until = loop.time() + _KEEP_SECONDS
            origin.idle.append(channel)
        else:
            channel.drop()
        return response

    def _origin(self, base: str) -> _Origin:
        try:
            parts = urlsplit(base)
            port = parts.port
        except ValueError as error:
            raise TransportError(f"no connection: {error}", sent=False) from error
        secure = parts.scheme == "https"
        if not parts.hostname or parts.username is not None or not (secure or parts.scheme == "http"):
            raise TransportError("no connection: not an http address", sent=False)
        if secure and self._secure is None:
            self._secure = ssl.create_default_context()
        context = self._secure if secure else None
        origin = _Origin(parts.hostname, port or (443 if secure else 80), context, parts.netloc)
        self._origins[base] = origin
        return origin

    async def _connect(self, origin: _Origin, seconds: float) -> _Channel:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                _, channel = await loop.create_connection(_Channel, origin.host, origin.port, ssl=origin.secure)
        except (TimeoutError, OSError, UnicodeError) as error:
            raise TransportError(f"no connection: {type(error).__name__}", sent=False) from error
        return channel

    async def close(self) -> None:
        """Release the sockets."""
        for origin in self._origins.values():
            while origin.idle:
                origin.idle.pop().drop()
        await asyncio.sleep(0)  # the loop closes them in its next round


class _Origin:
    """One host with the connections to it that are free."""

    def __init__(self, host: str, port: int, secure: ssl.SSLContext | None, netloc: str) -> None:
        self.host = host
        self.port = port
        self.secure = secure
        self.shared = f"Host: {netloc}\r\nUser-Agent: tieout\r\nAccept-Encoding: gzip\r\n"
        self.idle: list[_Channel] = []

    def kept(self, now: float) -> _Channel | None:
        """A connection that is open and was used a moment ago, if there is one; the last one used first."""
        while self.idle:
            channel = self.idle.pop()
            if channel.reusable and channel.kept_until > now:
                return channel
            channel.drop()
        return None


def _head(request: Request, origin: _Origin, target: str) -> bytes:
    """Request line and headers. Raises TransportError for what would not stay one request."""
    target = target.partition("#")[0]
    if not (target.isascii() and target.isprintable()) or " " in target:
        target = quote(target, safe=_PLAIN_TARGET)
    given = "".join([f"{name}: {value}\r\n" for name, value in request.headers.items()])
    if given.count("\n") != len(request.headers) or given.count("\r") != len(request.headers):
        raise TransportError("no connection: a header with a line break", sent=False)
    length = f"Content-Length: {len(request.body)}\r\n" if request.body or request.method != "GET" else ""
    return f"{request.method} {target} HTTP/1.1\r\n{origin.shared}{given}{length}\r\n".encode()


class _Channel(asyncio.Protocol):
    """One connection; one exchange at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answered: asyncio.Future[Response] | None = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._most = 0
        self._begun = False
        self.reusable = True
        self.kept_until = 0.0

    def send(self, raw: bytes, most: int) -> asyncio.Future[Response]:
        """Write one request; the future is its answer or a TransportError."""
        self._most = most
        self._begun = False
        answered = self._answered = asyncio.get_running_loop().create_future()
        if self._transport is None or self._transport.is_closing():
            self.fail("connection lost")
        else:
            self._transport.write(raw)
        return answered

    def fail(self, reason: str) -> None:
        """No answer will come, or none that could be trusted."""
        self.reusable = False
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            answered.set_exception(TransportError(reason, sent=True))

    def drop(self) -> None:
        """Close the connection without ceremony."""
        self.reusable = False
        self._answered = None
        if self._transport is not None:
            self._transport.abort()

    # -- what the loop says ---------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(f"connection lost: {type(error).__name__}")
            self.drop()

    def eof_received(self) -> bool:
        self._ended()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's own signature
        self._ended()

    def _ended(self) -> None:
        """The other side closed. That ends a body which nothing else ends, and cuts off any other."""
        self.reusable = False
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if self._answered is not None and self._begun and not framed:
            self.on_message_complete()
        self.fail("connection lost")

    # -- what the parser says -------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        if self._answered is None:  # an answer that nobody asked for: this connection is out of step
            self.reusable = False
        self._headers, self._chunks, self._size, self._begun = {}, [], 0, False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._begun = True

    def on_body(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._most:
            self.fail(f"connection lost: the answer is larger than {self._most} bytes")
        else:
            self._chunks.append(chunk)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        answered = self._answered
        if status < 200 or answered is None:  # 1xx: the answer proper follows
            return
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        if "content-encoding" in self._headers and body:
            unpacked = _unpacked(body, self._headers["content-encoding"], self._most)
            if unpacked is None:
                self.fail("connection lost: a body that does not unpack within its limit")
                return
            body = unpacked
        self.reusable = self.reusable and self._parser.should_keep_alive()
        self._answered = None
        if not answered.done():
            answered.set_result(Response(status=status, headers=self._headers, body=body))


def _unpacked(body: bytes, coding: str, most: int) -> bytes | None:
    """A body as it was before it was packed; None when it is broken or larger than that."""
    if coding.strip().lower() not in ("gzip", "x-gzip"):
        return body
    unpacker = zlib.decompressobj(_GZIP)
    try:
        plain = unpacker.decompress(body, most + 1)
    except zlib.error:
        return None
    return plain if unpacker.eof and len(plain) <= most else None


Listening: TypeAlias = socket.socket


def listen(host: str, port: int) -> Listening:
    """A socket that takes connections at host and port (0: any free one). Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    listening.setblocking(False)
    return listening
