"""Shared transport of the connectors: sign-in, status -> outcome, redaction, body limits.

One rule decides everything here: was it certain that nothing was done? A refused connection and a vendor's own "not
now" are Transient; a time-out, a reset or a 5xx after the bytes left is OutcomeUnknown.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NoReturn

import msgspec

from tieout.canonical.outcome import (
    Failure,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.connectors.contract import World, connection_blocked
from tieout.ports import Request, Response, Stream, Transport, TransportError, retry_after

_json = msgspec.json.Decoder(float_hook=Decimal)


class BadBody(Exception):
    """A body that is not the JSON the vendor documents (cut off, HTML, wrong type)."""


def decode_json(body: bytes) -> Any:
    """JSON with numbers as Decimal, never float. Raises BadBody."""
    try:
        return _json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody(f"not JSON: {error}") from error


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An access token and the base URL that came with it; `expires_at` None when the vendor does not say."""

    value: str
    expires_at: datetime | None
    base_url: str = ""
    organisation: str = ""


class SignIn:
    """Single-flight access token of one connection: fifty workers that find it expired make one call."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], world: World) -> None:
        self._fetch = fetch
        self._world = world
        self._token: Token | None = None
        self._lock = asyncio.Lock()

    async def token(self) -> Token:
        """The present token, fetched when there is none or when it has under a minute to live."""
        token = self._token
        if token is not None and not self._stale(token):
            return token
        async with self._lock:
            if self._token is None or self._stale(self._token):
                self._token = await self._fetch()
            return self._token

    def _stale(self, token: Token) -> bool:
        return token.expires_at is not None and self._world.clock.now() >= token.expires_at - timedelta(
            seconds=60
        )

    def discard(self, token: Token) -> None:
        """Forget a token that the vendor refused; a newer one stays."""
        if self._token is token:
            self._token = None


class Http:
    """The calls of one connection. Answers are `Response`; whoever calls tells reads from writes."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        operation: str,
        lane: str = "",
        timeout_seconds: float = 30.0,
    ) -> Response:
        """One request. Raises TransportError."""
        return await self.world.transport.exchange(
            Request(
                method=method,
                url=url,
                headers=headers,
                body=body,
                timeout_seconds=timeout_seconds,
                connection=self.name,
                operation=operation,
                lane=lane,
            )
        )

    def now(self) -> datetime:
        return self.world.clock.now()

    def send_failed(self, error: TransportError) -> SendOutcome:
        """The outcome of a write that got no answer."""
        if error.sent:
            return OutcomeUnknown(reason=error.reason)
        return Transient(reason=error.reason)

    def send_status(self, response: Response, code: str, message: str) -> SendOutcome:
        """The outcome of a write by its status, where the vendor's own code says nothing more special."""
        status = response.status
        if status == 429:
            return RateLimited(reason=f"{code} {message}".strip(), retry_at=retry_after(response, self.now()))
        if status == 503 and response.headers.get("retry-after"):
            return Transient(reason=f"503 {message}".strip(), retry_at=retry_after(response, self.now()))
        if status >= 500 or status == 408:
            return OutcomeUnknown(reason=f"{status} {code} {message}".strip())
        if status in (401, 403):
            return self.blocked(f"{status} {code} {message}".strip())
        if 300 <= status < 400:
            return self.blocked(f"{status}: a redirect to another address was refused")
        if _unexplained(status, code):
            return Transient(reason=f"{status} {message}".strip())
        return Rejected(code=code or str(status), message=message)

    def blocked(self, message: str) -> Misconfigured:
        remedy = f"mend the credentials or scopes of {self.name}, then `tieout check`"
        return connection_blocked(self.name, message, remedy)

    def read_failed(self, error: TransportError) -> NoReturn:
        """A read that got no answer: reading again is always safe."""
        raise Failure(Transient(reason=error.reason)) from error

    def read_status(self, response: Response, code: str, message: str) -> NoReturn:
        """A read that was refused."""
        status = response.status
        if status == 429:
            raise Failure(RateLimited(reason=message or code, retry_at=retry_after(response, self.now())))
        if status >= 500 or status == 408:
            raise Failure(
                Transient(reason=f"{status} {message}".strip(), retry_at=retry_after(response, self.now()))
            )
        if status in (401, 403):
            raise Failure(self.blocked(f"{status} {code} {message}".strip()))
        if 300 <= status < 400:
            raise Failure(self.blocked(f"{status}: a redirect to another address was refused"))
        if _unexplained(status, code):
            raise Failure(Transient(reason=f"{status} {message}".strip()))
        raise Failure(Rejected(code=code or str(status), message=message))


def _unexplained(status: int, code: str) -> bool:
    """Whether a refusal does not say why: a gateway's page, or the vendor's own words cut off. They may have been "not
    now" (a CRM that says 400 of a locked row; simulation, seed 28). What is not there (404) needs no words."""
    return not code and status != 404


class Tapped:
    """A transport that adds `headers` to every request and keeps each operation's last answer: for probes, which go
    through a connector's own client and need what it does not show."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.headers: Mapping[str, str] = {}
        self.answers: dict[str, Response] = {}

    async def exchange(self, request: Request) -> Response:
        if self.headers:
            request = msgspec.structs.replace(request, headers={**request.headers, **self.headers})
        answer = self.answers[request.operation] = await self._inner.exchange(request)
        return answer

    async def open(self, request: Request) -> Stream:
        return await self._inner.open(request)

    async def close(self) -> None:
        await self._inner.close()
