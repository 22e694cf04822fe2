"""Webhooks in: a bare ASGI route, because at a billing run's peak a framework costs more than the work itself.

Signature over the raw bytes, then the event is stored, and only then 2xx. Nothing is stored of what is not signed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache, partial
from typing import Any, TypeAlias

import msgspec
import structlog

from tieout.canonical.change import ChangeEvent
from tieout.connectors.contract import Forged, Inbound, Malformed, OtherAccount, WebhookAnswer
from tieout.engine import inbox, pinning
from tieout.engine.hub import Connection, Hub
from tieout.store.statements import StoreUnavailable

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

log = structlog.get_logger("tieout.hooks")
PREFIX = "/hooks/"
_LENGTH = b"content-length"
_TAKEN = WebhookAnswer(content_type="application/json", body=b"{}")


@cache
def _taken_headers(answer: WebhookAnswer) -> list[tuple[bytes, bytes]]:
    length = str(len(answer.body)).encode()
    return [(b"content-type", answer.content_type.encode()), (b"content-length", length)]


class TooLarge(Exception):
    """The body is over the limit."""


class Gone(Exception):
    """The sender hung up before the body was whole: nobody waits for an answer."""


class Hooks:
    """`POST /hooks/{connection}`, with more path behind it where the connector verifies by it, as an ASGI application.
    `wake` is called when something was taken in; `accept` takes verified events in, by default straight into the
    inbox, and raises StoreUnavailable."""

    def __init__(
        self,
        hub: Hub,
        max_body_bytes: int,
        wake: Callable[[], None],
        accept: Callable[[tuple[ChangeEvent, ...]], Awaitable[None]] | None = None,
    ) -> None:
        self._hub = hub
        self._accept = accept or partial(inbox.accept, hub)
        self._max = max_body_bytes
        self._wake = wake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await refuse(send, 405, "send a POST")
            return
        name, below, _ = scope["path"][len(PREFIX) :].partition("/")
        connection = self._hub.connections.get(name)
        api = None if connection is None else pinning.inner(connection)
        if below and not getattr(api, "secret_in_path", False):
            connection = None
        if connection is None or not isinstance(api, Inbound) or not api.accepts_webhooks:
            await refuse(
                send, 404, "no webhooks are taken here: unknown connection, or it has no webhook secret"
            )
            return
        try:
            body = await _read(scope, receive, self._max)
        except TooLarge:
            await refuse(send, 413, f"the body is larger than {self._max} bytes")
            return
        except Gone:
            return
        await self._take(connection, api, scope, body, send)

    async def _take(
        self, connection: Connection, api: Inbound, scope: Scope, body: bytes, send: Send
    ) -> None:
        now = self._hub.clock.now()
        headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        headers[":path"] = scope["path"]
        try:
            api.verify(headers, body, now)
        except Forged as forged:
            await self._forged(connection.name, forged)
            await refuse(send, 401, "the signature is missing, wrong or too old")
            return
        if why := pinning.parked(connection):
            await refuse(send, 403, f"the connection is parked: {why}")
            return
        try:
            events = api.parse(body, now)
            await self._accept(events)
        except OtherAccount as stranger:
            await self._stranger(connection, stranger, send)
            return
        except Malformed as malformed:
            self._malformed(connection.name, malformed)
            await refuse(send, 400, str(malformed))
            return
        except StoreUnavailable as error:
            await self._unavailable(connection.name, error, send)
            return
        self._wake()
        answer = getattr(api, "answer", _TAKEN)
        await send({"type": "http.response.start", "status": 200, "headers": _taken_headers(answer)})
        await send({"type": "http.response.body", "body": answer.body})

    async def _forged(self, name: str, forged: Forged) -> None:
        """Counted, and nothing else is kept of it."""
        self._hub.metrics.forged.labels(name).inc()
        log.warning("webhook_forged", connection=name, reason=str(forged))

    def _malformed(self, name: str, malformed: Malformed) -> None:
        """Signed, but not what the vendor documents: nothing is kept of it."""
        self._hub.metrics.events.labels(name, "malformed").inc()
        log.warning("webhook_malformed", connection=name, reason=str(malformed))

    async def _stranger(self, connection: Connection, stranger: OtherAccount, send: Send) -> None:
        """Signed as ours, and of another account or mode: it is refused, and the connection is parked."""
        self._malformed(connection.name, stranger)
        try:
            await pinning.park(self._hub, connection, stranger)
        except StoreUnavailable as error:
            await self._unavailable(connection.name, error, send)
            return
        await refuse(send, 403, str(stranger))

    @staticmethod
    async def _unavailable(name: str, error: StoreUnavailable, send: Send) -> None:
        """Not stored, so not accepted: the sender keeps it and sends again."""
        log.warning("store_unavailable", connection=name, reason=str(error))
        await refuse(send, 503, "the store cannot take it now; send it again", ("retry-after", "5"))


async def _read(scope: Scope, receive: Receive, most: int) -> bytes:
    """The body, of at most so many bytes; what says that it is longer is not read at all."""
    for key, value in scope["headers"]:
        if key == _LENGTH and (not value.isdigit() or int(value) > most):
            raise TooLarge
    message = await receive()
    if message["type"] == "http.disconnect":
        raise Gone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > most:
            raise TooLarge
        return body
    chunks, size = [body], len(body)
    while message.get("more_body", False):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > most:
            raise TooLarge
        chunks.append(part)
    return b"".join(chunks)


async def refuse(send: Send, status: int, message: str, *headers: tuple[str, str]) -> None:
    """An error in words. The connection is closed where a body is left unread."""
    body = msgspec.json.encode({"error": message})
    named = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    named += [(key.encode(), value.encode()) for key, value in headers]
    if status == 413:
        named.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": named})
    await send({"type": "http.response.body", "body": body})
