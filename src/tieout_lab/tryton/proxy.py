"""What stands between a client and the real server: every fault of the twins, a journal, and a control API.

Its operations are the server's own method names (`account.invoice.post`); signing in is `sign_in`.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import aiohttp
import msgspec

from tieout_lab.tryton import sabotage
from tieout_lab.tryton.server import Server
from tieout_lab.tryton.snapshot import snapshot, trial_balance
from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request, Response, Route, Twin

_PATH = re.compile(r"^/[^/]+/rpc/$")
_WRITES = ("create", "write", "delete", "post", "skip", "execute")
_LONGEST_SECONDS = 120


class TrytonProxy(Twin):
    """The real server as if it were a twin. `max_posters`: most calls that post, per company, at one time."""

    name = "tryton"

    def __init__(self, clock: TwinClock, server: Server) -> None:
        super().__init__(clock)
        self.server = server
        self.posting: Counter[int] = Counter()
        self.max_posters: Counter[int] = Counter()
        self._session: aiohttp.ClientSession | None = None
        looks: dict[str, Callable[[dict[str, Any]], Any]] = {
            "snapshot": lambda _: snapshot(server),
            "trial_balance": lambda _: {"trial_balance": trial_balance(server)},
            "sabotage": lambda given: sabotage.strike(server, given),
            "close_period": lambda given: sabotage.close_period(server, given),
            "reopen_period": lambda given: sabotage.close_period(server, {**given, "state": "open"}),
            "alter": lambda given: sabotage.alter(server, given),
            "expire_sessions": lambda _: sabotage.expire_sessions(server),
            "empty": lambda _: sabotage.empty(server),
            "kill": lambda _: server.kill(),
            "start": lambda _: server.start(),
            "posters": lambda _: {str(company): most for company, most in self.max_posters.items()},
        }
        for name, look in looks.items():
            self.action(name, _apart(look))

    def describe(self, url: str) -> dict[str, Any]:
        return {**self.server.describe(), "url": url}

    def rate_limited(self) -> Response:
        """As the server answers who signs in too often: no body that says more."""
        return Response(429, b"Too Many Requests", {"content-type": "text/html"})

    def server_error(self) -> Response:
        return Response(500, b"Internal Server Error", {"content-type": "text/html"})

    def routed(self, request: Request) -> Route | None:
        """One route per method of the server."""
        if request.method != "POST" or not _PATH.match(request.path):
            return None
        method = str(_called(request).get("method", ""))
        operation = "sign_in" if method == "common.db.login" else method.partition(".")[2]
        writes = method.startswith(("model.", "wizard.")) and operation.rpartition(".")[2] in _WRITES
        return Route("POST", _PATH, operation, self._forward, writes)

    async def _forward(self, request: Request) -> Response:
        """The server's own answer; 502 where there is no server (any more)."""
        method, company = str(_called(request).get("method", "")), _company(request)
        posts = method.endswith((".post", ".create")) and method.startswith("model.account.")
        if posts:
            self.posting[company] += 1
            self.max_posters[company] = max(self.max_posters[company], self.posting[company])
        try:
            return await self._asked(request)
        finally:
            if posts:
                self.posting[company] -= 1

    async def _asked(self, request: Request) -> Response:
        if self._session is None:
            # A session per request of its own: a connection to a killed server is not used again.
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, limit=0),
                timeout=aiohttp.ClientTimeout(total=_LONGEST_SECONDS),
            )
        passed = {
            name: value
            for name, value in request.headers.items()
            if name in ("authorization", "content-type", "accept")
        }
        try:
            async with self._session.post(
                f"{self.server.url}{request.path}", data=request.body, headers=passed
            ) as answer:
                body = await answer.read()
                kind = answer.headers.get("content-type", "application/json")
                return Response(answer.status, body, {"content-type": kind})
        except (aiohttp.ClientError, TimeoutError, OSError):
            return Response(502, b"Bad Gateway", {"content-type": "text/html"})

    async def close(self) -> None:
        await super().close()
        if self._session is not None:
            await self._session.close()
            self._session = None


def _called(request: Request) -> dict[str, Any]:
    try:
        given = request.json()
    except msgspec.DecodeError:
        return {}
    return given if isinstance(given, dict) else {}


def _company(request: Request) -> int:
    params = _called(request).get("params") or [{}]
    context = params[-1] if isinstance(params[-1], dict) else {}
    return int(context.get("company") or 0)


def _apart(look: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """A blocking action in a thread of its own."""

    async def run(given: dict[str, Any]) -> Any:
        return await asyncio.to_thread(look, given)

    return run
