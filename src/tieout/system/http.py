"""Outgoing HTTP/1.1 over kept connections: one request at a time on each, and nothing is ever sent twice.

By hand over asyncio's transports and the parser that also serves our webhooks: a general client costs the loop five
times as much for each call, and calls are most of what the hub does (docs/adr/0018).
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import zlib
from collections import deque
from functools import cache
from typing import Any, NamedTuple

import aiohappyeyeballs
import httptools
from yarl import URL

from tieout.ports import Request, Response, TransportError

_KEPT_SECONDS = 30.0
# The next address of a host is tried when one has not answered for so long (RFC 8305).
_NEXT_ADDRESS_SECONDS = 0.25
# What can be sent as it stands. All else is brought into form first.
_PLAIN = re.compile(r"(https?)://([A-Za-z0-9.-]+)(?::([0-9]{1,5}))?(/[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*)?")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BROKEN = re.compile("[\r\n\0]")
_BODIED = frozenset({"POST", "PUT", "PATCH"})
# How a request is framed is said here, and nowhere else.
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "expect", "te"})
_PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    """Whom a connection is to."""

    scheme: str
    host: str
    port: int


def split(url: str) -> tuple[Origin, str, str]:
    """Origin, the Host header, the request target. ValueError when it is no address to send to."""
    plain = _PLAIN.fullmatch(url)
    if plain is not None:
        scheme, host, port, target = plain.groups()
        if port is None:
            return Origin(scheme, host.lower(), _PORTS[scheme]), host, target or "/"
        if int(port) < 65536:
            return Origin(scheme, host.lower(), int(port)), f"{host}:{port}", target or "/"
    found = URL(url)
    if found.scheme not in _PORTS or not found.raw_host or found.raw_user is not None or not found.port:
        raise ValueError(f"no address to send to: {found.scheme}://{found.raw_host}")
    host = f"[{found.raw_host}]" if ":" in found.raw_host else found.raw_host
    named = host if found.is_default_port() else f"{host}:{found.port}"
    return Origin(found.scheme, found.raw_host, found.port), named, found.raw_path_qs


def written(request: Request, host: str, target: str) -> bytes:
    """The request as bytes. ValueError when a name or value would become something else."""
    if not _TOKEN.fullmatch(request.method) or request.method == "HEAD":
        raise ValueError(f"method {request.method!r}")
    lines = [f"{request.method} {target} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip, deflate\r\n"]
    for name, value in request.headers.items():
        if not _TOKEN.fullmatch(name) or _BROKEN.search(value) or name.lower() in _FRAMING:
            raise ValueError(f"header {name!r}")
        lines.append(f"{name}: {value}\r\n")
    if request.body or request.method in _BODIED:
        lines.append(f"Content-Length: {len(request.body)}\r\n")
    lines.append("User-Agent: tieout\r\n\r\n")
    return "".join(lines).encode() + request.body


class _Untrusted(Exception):
    """What came is no answer to trust."""


class Line(asyncio.Protocol):
    """One connection, and the one exchange under way on it."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.idle_since = 0.0
        self._parser = httptools.HttpResponseParser(self)
        self._waiting: asyncio.Future[Response] | None = None
        self._headers: dict[str, str] = {}
        self._chunks: list[bytes] = []
        self._size = 0
        self._most = 0
        self._status = 0
        self._keep = False

    # -- one exchange -------------------------------------------------------------------------------------------
    def ask(self, raw: bytes, most: int) -> asyncio.Future[Response]:
        """Send; the answer comes, or TransportError."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._most = most
        self._begin()
        self.transport.write(raw)
        return self._waiting

    def usable(self, now_seconds: float) -> bool:
        """Whether the next exchange may go out on it."""
        return (
            self._keep and not self.transport.is_closing() and now_seconds - self.idle_since < _KEPT_SECONDS
        )

    def drop(self) -> None:
        """Close at once; what may still come is for nobody."""
        self._keep = False
        self.transport.abort()

    def _begin(self) -> None:
        self._headers, self._chunks, self._size, self._status, self._keep = {}, [], 0, 0, False

    def _fail(self, reason: str) -> None:
        self.drop()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(TransportError(reason, sent=True))

    def _finish(self, *, keep: bool) -> None:
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        try:
            body = unpacked(body, self._headers.get("content-encoding", ""), self._most)
        except _Untrusted as wrong:
            self._fail(str(wrong))
            return
        self._keep = keep
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(Response(status=self._status, headers=self._headers, body=body))

    # -- asyncio ------------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.drop()  # nobody asked
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"connection lost: {_cause(error)}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep = False
        if self._waiting is None or self._waiting.done():
            return
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if exc is None and self._status >= 200 and not framed:
            self._finish(keep=False)
            return
        self._fail("connection lost: " + (type(exc).__name__ if exc else "closed by the other side"))

    # -- the parser ---------------------------------------------------------------------------------------------
    def on_message_begin(self) -> None:
        if self._waiting is None:
            raise _Untrusted("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Of one name the last counts: a server that adds its own date to an application's says the same twice.
        self._headers[name.decode("latin-1").lower()] = value.decode("utf-8", "surrogateescape")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > self._most:
            raise _Untrusted(f"the answer is larger than {self._most} bytes, and was refused")
        self._chunks.append(body)

    def on_message_complete(self) -> None:
        if self._status < 200:
            self._begin()  # a provisional one: the answer itself is still to come
        else:
            self._finish(keep=self._parser.should_keep_alive())


def _cause(error: BaseException) -> str:
    """Our own word where a callback raised it, else the parser's."""
    inner = error.__context__
    return str(inner) if isinstance(inner, _Untrusted) else type(error).__name__


def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """The body without its content coding. Raises _Untrusted."""
    if coding in ("", "identity"):
        return body
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise _Untrusted(f"an unknown coding: {coding}")
    unpacking = zlib.decompressobj(47 if coding != "deflate" else (15 if body[:1] == b"\x78" else -15))
    try:
        whole = unpacking.decompress(body, most + 1)
    except zlib.error as error:
        raise _Untrusted("a broken coding") from error
    if len(whole) > most:
        raise _Untrusted(f"the answer is larger than {most} bytes, and was refused")
    if not unpacking.eof:
        raise _Untrusted("a body that was cut off")
    return whole


@cache
def _tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Outgoing:
    """Kept connections by origin."""

    def __init__(self) -> None:
        self._idle: dict[Origin, deque[Line]] = {}

    async def exchange(self, request: Request) -> Response:
        """Send and receive. Raises TransportError."""
        try:
            origin, host, target = split(request.url)
            raw = written(request, host, target)
        except ValueError as error:
            raise TransportError(f"not sent: {error}", sent=False) from error
        loop = asyncio.get_running_loop()
        began = loop.time()
        line = self._kept(origin, began) or await self._connect(origin, request.timeout_seconds)
        answer = line.ask(raw, request.max_bytes)
        late = loop.call_at(began + request.timeout_seconds, _expire, line, answer, request.timeout_seconds)
        try:
            response = await answer
        finally:
            late.cancel()
            if not answer.done() or answer.cancelled():
                line.drop()
        line.idle_since = loop.time()
        if line.usable(line.idle_since):
            self._idle.setdefault(origin, deque()).append(line)
        else:
            line.drop()
        return response

    def _kept(self, origin: Origin, now_seconds: float) -> Line | None:
        idle = self._idle.get(origin)
        while idle:
            line = idle.pop()
            if line.usable(now_seconds):
                return line
            line.drop()
        return None

    async def _connect(self, origin: Origin, seconds: float) -> Line:
        loop = asyncio.get_running_loop()
        tls = _tls() if origin.scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
                connected = await aiohappyeyeballs.start_connection(
                    addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1, loop=loop
                )
                name = origin.host if tls else None
                _, line = await loop.create_connection(Line, sock=connected, ssl=tls, server_hostname=name)
        except TimeoutError as error:
            raise TransportError(f"no connection within {seconds:g} s", sent=False) from error
        except (OSError, ValueError) as error:  # a certificate that does not hold is an OSError, too
            raise TransportError(f"no connection: {type(error).__name__}", sent=False) from error
        return line

    def close(self) -> None:
        """Close what is kept."""
        for idle in self._idle.values():
            for line in idle:
                line.drop()
        self._idle.clear()


def _expire(line: Line, answer: asyncio.Future[Response], seconds: float) -> None:
    if not answer.done():
        answer.set_exception(TransportError(f"no answer within {seconds:g} s", sent=True))
        line.drop()
