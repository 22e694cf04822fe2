"""Sign-in and calls of one Tryton user.

A read raises `Failure`; a write raises `NotDone` with the outcome that its answer, or the want of one, means. The
session and the user's preferences are the only things remembered.
"""

from __future__ import annotations

import base64
from typing import Any

from tieout.canonical.outcome import (
    Failure,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.connectors.contract import World
from tieout.connectors.http import BadBody, Http, SignIn, Token
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.wire import Fault, Row, request_body, result_of
from tieout.ports import Response, TransportError, retry_after

# What the server says in a 503 when others held the lock until its own retries were used up: it rolled back.
LOCK_WORDS = ("lock", "serialize", "deadlock")
MOST_WARNINGS = 5


class NotDone(Exception):
    """A write that is not confirmed; `outcome` says what that means."""

    def __init__(self, outcome: SendOutcome) -> None:
        super().__init__(str(outcome))
        self.outcome = outcome


class _BrokenOff(Failure):
    """A read whose answer was a 5xx or is none of the server's."""


class TrytonClient:
    """The calls of one connection."""

    def __init__(self, name: str, config: TrytonConfig, world: World) -> None:
        self.http = Http(name, world)
        self.config = config
        self._sign_in = SignIn(self._fetch_token, world)
        self._preferences: Row = {}

    @property
    def name(self) -> str:
        return self.http.name

    # -- sign-in --------------------------------------------------------------------------------------------------
    async def _fetch_token(self) -> Token:
        """A fresh session, and the preferences that go with every call as its context. Raises Failure."""
        user, secret = self.config.username, self.config.password.reveal()
        params = (user, {"password": secret}, "en")
        given = await self._signing_in("common.db.login", params, {})
        if not isinstance(given, list) or len(given) < 2:
            raise Failure(self.http.blocked("sign-in refused: wrong user or password"))
        session = base64.b64encode(f"{user}:{given[0]}:{given[1]}".encode()).decode()
        header = {"authorization": f"Session {session}"}
        preferences = await self._signing_in("model.res.user.get_preferences", (True, {}), header)
        self._preferences = {name: value for name, value in preferences.items() if name != "locale"}
        return Token(value=session, expires_at=None)

    async def _signing_in(self, method: str, params: tuple[Any, ...], header: dict[str, str]) -> Any:
        try:
            response = await self._once(method, params, header, "sign_in", "")
        except TransportError as error:
            raise Failure(Transient(reason=f"sign-in: {error.reason}")) from None
        if response.status in (401, 403, 404):
            # The answer to an unknown database is 404; what it says is not quoted, it may name the user.
            raise Failure(self.http.blocked(f"sign-in refused: {response.status}"))
        if 300 <= response.status < 400:
            raise Failure(self.http.blocked(f"sign-in: {response.status}: a redirect was refused"))
        at = retry_after(response, self.http.now())
        if response.status == 429:
            # After failed tries the server makes the user wait, the right password included.
            raise Failure(RateLimited(reason="sign-in: too many tries", retry_at=at))
        if response.status != 200:
            raise Failure(Transient(reason=f"sign-in: {response.status}", retry_at=at))
        try:
            return result_of(response.body)
        except BadBody:
            raise Failure(Transient(reason="sign-in: an answer that is no session")) from None
        except Fault as fault:
            raise Failure(self.http.blocked(f"sign-in refused: {fault.kind}")) from None

    # -- calls ----------------------------------------------------------------------------------------------------
    async def _once(
        self, method: str, params: tuple[Any, ...], header: dict[str, str], operation: str, lane: str
    ) -> Response:
        return await self.http.exchange(
            "POST",
            self.config.endpoint,
            headers={"content-type": "application/json", "accept": "application/json", **header},
            body=request_body(method, params),
            operation=operation,
            lane=lane,
            timeout_seconds=self.config.timeout_seconds,
        )

    async def preferences(self) -> Row:
        """The user's preferences. Raises Failure."""
        await self._sign_in.token()
        return self._preferences

    async def _call(
        self, method: str, params: tuple[Any, ...], context: Row, operation: str, lane: str
    ) -> Response:
        """One call, signed in; a 401 (the session has ended) is tried once more with a fresh session, which is safe:
        nothing was done. Raises TransportError, and Failure when it was not let in."""
        for again in (True, False):
            token = await self._sign_in.token()
            header = {"authorization": f"Session {token.value}"}
            whole = (*params, {**self._preferences, **context})
            response = await self._once(method, whole, header, operation, lane)
            if response.status != 401:
                return response
            self._sign_in.discard(token)
            if not again:
                break
        raise Failure(self.http.blocked("401 with a fresh session"))

    async def read(self, method: str, *params: Any, operation: str, lane: str = "", **context: Any) -> Any:
        """A call that changes nothing. One settlement reads a dozen times: what the server broke off is asked once more
        at once, so that it need not begin anew. Raises Failure."""
        try:
            return await self._read(method, params, context, operation, lane)
        except _BrokenOff:
            return await self._read(method, params, context, operation, lane)

    async def _read(
        self, method: str, params: tuple[Any, ...], context: Row, operation: str, lane: str
    ) -> Any:
        try:
            response = await self._call(method, params, context, operation, lane)
        except TransportError as error:
            self.http.read_failed(error)
        if response.status >= 500 and not response.headers.get("retry-after"):
            raise _BrokenOff(Transient(reason=str(response.status)))
        if response.status != 200:
            self.http.read_status(response, str(response.status), "")
        try:
            return result_of(response.body)
        except BadBody as error:
            raise _BrokenOff(Transient(reason=str(error))) from None
        except Fault as fault:
            if fault.kind == "ConcurrencyException":
                raise Failure(Transient(reason=fault.message)) from None
            raise Failure(Rejected(code=fault.kind, message=fault.message)) from None

    async def rows(
        self,
        model: str,
        domain: list[Any],
        fields: list[str],
        *,
        operation: str,
        limit: int | None = None,
        lane: str = "",
        **context: Any,
    ) -> list[Row]:
        """Records that match, by id. Raises Failure."""
        found = await self.read(
            f"model.{model}.search_read",
            domain,
            0,
            limit,
            [["id", "ASC"]],
            fields,
            operation=operation,
            lane=lane,
            **context,
        )
        if not isinstance(found, list) or not all(isinstance(row, dict) and "id" in row for row in found):
            raise Failure(Transient(reason=f"{model}: rows that are none"))
        return found

    async def write(self, method: str, *params: Any, operation: str, lane: str = "", **context: Any) -> Any:
        """A call that changes something. The server's questions are answered by their names, as configured, each for
        this one call; every other one is a refusal. Raises NotDone."""
        for _ in range(MOST_WARNINGS):
            try:
                return await self._written(method, params, context, operation, lane)
            except Fault as fault:
                kind = fault.name.rpartition(".")[2]
                if fault.kind != "UserWarning" or kind not in self.config.warnings:
                    raise NotDone(refused(fault)) from None
                try:
                    await self._written(
                        "model.res.user.warning.skip", (fault.name, False), {}, "answer_warning", lane
                    )
                except (Fault, NotDone) as error:
                    # The question could not be answered: the write itself was rolled back before.
                    raise NotDone(Transient(reason=f"a warning was not answered: {error}")) from None
        raise NotDone(Rejected(code="UserWarning", message="the server asks again what was answered"))

    async def _written(
        self, method: str, params: tuple[Any, ...], context: Row, operation: str, lane: str
    ) -> Any:
        try:
            response = await self._call(method, params, context, operation, lane)
        except Failure as failure:
            raise NotDone(failure.outcome) from failure
        except TransportError as error:
            raise NotDone(self.http.send_failed(error)) from error
        if response.status != 200:
            raise NotDone(self._not_200(response))
        try:
            return result_of(response.body)
        except BadBody as error:
            raise NotDone(OutcomeUnknown(reason=str(error))) from None

    def _not_200(self, response: Response) -> SendOutcome:
        words = response.body[:500].decode(errors="replace").lower()
        if response.status == 503 and any(word in words for word in LOCK_WORDS):
            return Transient(reason="503: another poster held the lock")
        if 200 < response.status < 300:
            return OutcomeUnknown(reason=f"{response.status} where 200 is documented")
        return self.http.send_status(response, str(response.status), "")


def refused(fault: Fault) -> SendOutcome:
    """What a fault means for a write: the server rolled back, nothing was done."""
    if fault.kind == "ConcurrencyException":
        return Transient(reason=f"changed meanwhile: {fault.message}")
    return Rejected(code=fault.kind, message=fault.message)
