"""The real ports: the machine's clock, ids, randomness and sockets. Nothing else in the hub touches them."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import socket
import sys
import time
from datetime import UTC, datetime
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import aiohttp
import uuid_utils

from tieout.ports import Request, Response, Stream, StreamEnded, TransportError
from tieout.system.addresses import PrivateAddress, PublicResolver, literal_refused


class SystemClock:
    """Technical time passes `factor` times as fast as real time from `epoch` on; 1 but for demonstrations."""

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

    def jitter(self, name: str, ordinal: int) -> float:  # noqa: ARG002 - drawn from them in the simulation
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


class AiohttpTransport:
    """HTTP over pooled keep-alive connections. Redirects are not followed, bodies are limited, the time-out is hard."""

    def __init__(self) -> None:
        # By whether their connections lead to public addresses only: no connection is ever shared between the two.
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._channels: dict[tuple[str, bool], Any] = {}

    def _open(self, *, public_only: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(public_only)
        if session is None or session.closed:
            resolver = PublicResolver() if public_only else None
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, resolver=resolver)
            session = self._sessions[public_only] = aiohttp.ClientSession(
                connector=connector,
                auto_decompress=True,
                headers={"User-Agent": "tieout"},
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            # aiohttp silently sends PUT and DELETE again on a kept connection that died: whether to send again is ours
            # to decide, by look-up. There is no public switch for it.
            session._retry_connection = False  # noqa: SLF001
        return session

    async def exchange(self, request: Request) -> Response:
        """Send and receive. Raises TransportError: `sent` is False only when no connection was made."""
        if request.public_only and (why := literal_refused(request.url)):
            raise TransportError(why, sent=False)
        session = self._open(public_only=request.public_only)
        try:
            async with asyncio.timeout(request.timeout_seconds):
                async with session.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    data=request.body or None,
                    allow_redirects=False,
                    timeout=_NO_TIMEOUT,
                ) as answer:
                    body = await _limited(answer, request.max_bytes)
                    headers = {name.lower(): value for name, value in answer.headers.items()}
                    return Response(status=answer.status, headers=headers, body=body)
        except TimeoutError as error:
            raise TransportError(f"no answer within {request.timeout_seconds:g} s", sent=True) from error
        except aiohttp.ClientConnectorDNSError as error:
            private = isinstance(error.os_error, PrivateAddress)
            why = str(error.os_error) if private else f"no connection: {type(error).__name__}"
            raise TransportError(why, sent=False) from error
        except _NOT_SENT as error:
            # No connection, no such address, or a header that would have begun a second request: no byte left.
            raise TransportError(f"no connection: {type(error).__name__}", sent=False) from error
        except (aiohttp.ClientError, OSError) as error:
            raise TransportError(f"connection lost: {type(error).__name__}", sent=True) from error

    async def open(self, request: Request) -> Stream:
        """A gRPC call over a kept channel to its host; needs the package grpcio. Raises TransportError."""
        try:
            import grpc.aio
        except ImportError as error:
            raise TransportError("no gRPC: pip install grpcio", sent=False) from error
        parts = urlsplit(request.url)
        place = (parts.netloc, parts.scheme == "https")
        channel = self._channels.get(place)
        if channel is None:
            if parts.scheme == "https":
                channel = grpc.aio.secure_channel(
                    parts.netloc, grpc.ssl_channel_credentials(), options=_CHANNEL
                )
            else:
                channel = grpc.aio.insecure_channel(parts.netloc, options=_CHANNEL)
            self._channels[place] = channel
        call = channel.stream_stream(parts.path)(
            timeout=request.timeout_seconds or None, metadata=tuple(request.headers.items())
        )
        return GrpcStream(call)

    async def close(self) -> None:
        """Release the sockets."""
        for channel in self._channels.values():
            await channel.close(None)
        self._channels.clear()
        for session in self._sessions.values():
            await session.close()


# A ping each minute shows a dead connection; grpcio's own retries are off, since whoever opened the call decides.
_CHANNEL = (
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.max_receive_message_length", 8_000_000),
    ("grpc.enable_retries", 0),
)


class GrpcStream:
    """`Stream` over one grpc.aio call; messages are not interpreted."""

    def __init__(self, call: Any) -> None:
        self._call = call
        # Kept from one `receive` to the next: to cancel a read is to cancel the call.
        self._reading: asyncio.Future[Any] | None = None

    async def send(self, message: bytes) -> None:
        try:
            await self._call.write(message)
        except Exception as error:
            raise await self._ended(error) from error

    async def finish(self) -> None:
        try:
            await self._call.done_writing()
        except Exception as error:
            raise await self._ended(error) from error

    async def receive(self, timeout_seconds: float) -> bytes | None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._call.read())
        await asyncio.wait({self._reading}, timeout=timeout_seconds)
        if not self._reading.done():
            return None
        reading, self._reading = self._reading, None
        try:
            message = reading.result()
        except (Exception, asyncio.CancelledError) as error:
            raise await self._ended(error) from error
        if isinstance(message, bytes):
            return message
        raise await self._ended(None)

    async def _ended(self, error: BaseException | None) -> StreamEnded:
        """How the call ended, in the other side's words."""
        if error is not None and not self._call.done():
            self._call.cancel()
            return StreamEnded("UNKNOWN", type(error).__name__)
        status = (await self._call.code()).name
        trailing = await self._call.trailing_metadata() or ()
        details = {key: value for key, value in trailing if isinstance(value, str)}
        return StreamEnded(status, await self._call.details() or "", details)

    async def close(self) -> None:
        self._call.cancel()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None


_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.InvalidURL,
    aiohttp.NonHttpUrlClientError,
    ValueError,
    OverflowError,
)
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)


async def _limited(answer: aiohttp.ClientResponse, most: int) -> bytes:
    if "content-encoding" not in answer.headers and (answer.content_length or most + 1) <= most:
        return await answer.read()
    chunks, size = [], 0
    async for chunk in answer.content.iter_chunked(65536):
        size += len(chunk)
        if size > most:
            raise TransportError(f"the answer is larger than {most} bytes, and was refused", sent=True)
        chunks.append(chunk)
    return b"".join(chunks)


Listening: TypeAlias = socket.socket


def listen(host: str, port: int) -> Listening:
    """A socket that takes connections at host and port (0: any free one). Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=2048)
    listening.setblocking(False)
    return listening
