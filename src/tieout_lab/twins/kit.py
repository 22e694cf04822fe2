"""What every twin is built from: a clock, a router, seedable faults, a control API.

A twin is an ASGI application given a clock. uvicorn serves it over real sockets; the simulation harness calls it
in process. It imports nothing from the hub: a fake that shares the client's code shares the client's mistakes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tieout_lab.twins import deviations
from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.faults import CALL_FAULTS, FaultPlan, Scripted

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Dropped(Exception):
    """The connection ended without an answer; raised where no socket can be aborted (in-process calls)."""


@dataclass(slots=True)
class Request:
    """One HTTP request as the twin's handlers see it. `query` and `form` keep order and repeats."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]
    body: bytes
    params: dict[str, str] = field(default_factory=dict)

    def q(self, name: str, default: str | None = None) -> str | None:
        return next((value for key, value in self.query if key == name), default)

    def json(self) -> Any:
        return msgspec.json.decode(self.body) if self.body else None

    def form(self) -> list[tuple[str, str]]:
        return parse_qsl(self.body.decode(), keep_blank_values=True)


@dataclass(slots=True)
class Response:
    """One HTTP answer; a dict or list body is sent as JSON, bytes and str as they are."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> tuple[bytes, dict[str, str]]:
        headers = {"content-type": "application/json", **{k.lower(): v for k, v in self.headers.items()}}
        if isinstance(self.body, bytes):
            return self.body, headers
        if isinstance(self.body, str):
            return self.body.encode(), headers
        return msgspec.json.encode(self.body), headers


Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    pattern: re.Pattern[str]
    operation: str
    handler: Handler
    writes: bool


class Twin:
    """A stateful stand-in for one vendor. Subclasses add routes with `route()` and actions with `action()`."""

    name = "twin"

    def __init__(self, clock: TwinClock) -> None:
        self.clock = clock
        self.faults = FaultPlan()
        self.deviations: list[deviations.Deviation] = []
        self.routes: list[Route] = []
        self.actions: dict[str, Callable[[dict[str, Any]], Awaitable[Any] | Any]] = {}
        self.log: list[dict[str, Any]] = []
        self.in_flight = 0
        self.max_in_flight = 0
        self.paused: asyncio.Event = asyncio.Event()
        self.resumed: asyncio.Event = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    # -- to be given by each twin -------------------------------------------------------------------------------
    def rate_limited(self) -> Response:
        """The vendor's own 429."""
        return Response(429, {"error": "rate limited"})

    def server_error(self) -> Response:
        """The vendor's own 500."""
        return Response(500, {"error": "internal"})

    def not_found(self, request: Request) -> Response:
        return Response(404, {"error": f"no route for {request.method} {request.path}"})

    async def admit(self, request: Request, operation: str) -> Response | None:  # noqa: ARG002 - for subclasses
        """A refusal before any work (sign-in, concurrency, rate), or None."""
        return None

    def failed_after_work(self, request: Request) -> Response:  # noqa: ARG002 - for subclasses
        """The answer of `error_after`, given once the work is done; a twin with idempotency keys keeps it."""
        return self.server_error()

    def accepted_late(self, request: Request) -> None:
        """Called as a `late` request is accepted, before its work: a twin with idempotency keys reserves its key."""

    async def clock_moved(self) -> None:
        """Called after the control API has moved the business clock: do what has become due."""

    async def open(self) -> None:
        """Called as the server starts, in its loop."""

    async def close(self) -> None:
        """Called as the server stops: nothing goes on in the background."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    def describe(self, url: str) -> dict[str, Any]:
        """What a client needs to talk to this twin at `url` (credentials included)."""
        return {"url": url}

    def writes(self, route: Route, request: Request) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a call changes anything; a resource that can do both is told by its request."""
        return route.writes

    # -- declaring ----------------------------------------------------------------------------------------------
    def route(
        self, method: str, path: str, operation: str, handler: Handler, *, writes: bool | None = None
    ) -> None:
        """Declare a route. `path` holds `{name}` for one segment and `{name:rest}` for the remainder."""
        pattern = re.sub(r"\{(\w+):rest\}", r"(?P<\1>.+)", path)
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", pattern)
        does_write = method not in ("GET", "HEAD") if writes is None else writes
        self.routes.append(Route(method, re.compile(f"^{pattern}$"), operation, handler, does_write))

    def action(self, name: str, run: Callable[[dict[str, Any]], Awaitable[Any] | Any]) -> None:
        """Declare a control action: POST /_control/act/<name> with a JSON object."""
        self.actions[name] = run

    def later(self, work: Awaitable[Any]) -> None:
        """Run work that outlives the request (late effects, webhook deliveries)."""
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- ASGI ---------------------------------------------------------------------------------------------------
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self, receive, send)
            return
        if scope["type"] != "http":
            return
        request = await _read(scope, receive)
        if request.path.startswith("/_control"):
            await _answer(send, await self._control(request))
            return
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            await self._serve(request, receive, send)
        finally:
            self.in_flight -= 1

    def routed(self, request: Request) -> Route | None:
        """The route of a request; a vendor with one address for everything tells them apart by the body."""
        return next(
            (r for r in self.routes if r.method == request.method and r.pattern.match(request.path)), None
        )

    async def _serve(self, request: Request, receive: Receive, send: Send) -> None:
        route = self.routed(request)
        writes = route is not None and self.writes(route, request)
        entry: dict[str, Any] = {
            "n": len(self.log) + 1,
            "method": request.method,
            "path": request.path,
            "operation": route.operation if route else "unknown",
            "writes": writes,
            "at": self.clock.technical().isoformat(),
            "in_flight": self.in_flight,
            "status": None,
            "fault": None,
        }
        self.log.append(entry)
        if route is None:
            entry["status"] = 404
            await _answer(send, self.not_found(request))
            return
        matched = route.pattern.match(request.path)
        request.params = matched.groupdict() if matched else {}
        refusal = await self.admit(request, route.operation)
        if refusal is not None:
            refusal = deviations.deviate(self.deviations, route.operation, refusal)
            entry["status"] = refusal.status
            await _answer(send, refusal)
            return
        fault = self.faults.decide(route.operation, writes=writes)
        if fault is None:
            response = deviations.deviate(self.deviations, route.operation, await route.handler(request))
            entry["status"] = response.status
            await _answer(send, response)
            return
        entry["fault"] = fault[0]
        await self._faulty(route, request, receive, send, *fault)

    async def _faulty(
        self, route: Route, request: Request, receive: Receive, send: Send, kind: str, seconds: float
    ) -> None:
        if kind == "pause_before":
            await self._pause()
            await _answer(send, await route.handler(request))
        elif kind == "refuse":
            _drop(send)
        elif kind == "hang":
            await self._never_answer(receive)
        elif kind == "late":
            self.accepted_late(request)
            self.later(self._late(route, request, seconds))
            await self._never_answer(receive)
        elif kind == "error_before":
            await _answer(send, self.server_error())
        elif kind == "rate_limited":
            await _answer(send, self.rate_limited())
        else:
            await self._after_work(request, await route.handler(request), receive, send, kind)

    async def _after_work(
        self, request: Request, response: Response, receive: Receive, send: Send, kind: str
    ) -> None:
        if kind == "pause_after":
            await self._pause()
            await _answer(send, response)
        elif kind == "timeout_after_work":
            await self._never_answer(receive)
        elif kind == "error_after":
            await _answer(send, self.failed_after_work(request))
        elif kind == "reset":
            _drop(send)
        elif kind == "cut":
            await _cut(send, response)
        elif kind == "malformed":
            body, _ = response.encoded()
            await _answer(send, Response(response.status, body[: len(body) // 2] or b"{", response.headers))
        elif kind == "html":
            await _answer(
                send,
                Response(
                    200, b"<html><body>Service maintenance</body></html>", {"content-type": "text/html"}
                ),
            )
        else:
            raise ValueError(f"unknown fault kind {kind!r}; known: {', '.join(CALL_FAULTS)}")

    async def _never_answer(self, receive: Receive) -> None:
        """Hold the request until the client gives up, a day of technical time at most."""
        waits = [asyncio.ensure_future(self.clock.sleep(24 * 3600)), asyncio.ensure_future(_gone(receive))]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _late(self, route: Route, request: Request, seconds: float) -> None:
        await self.clock.sleep(seconds)
        await route.handler(request)

    async def _pause(self) -> None:
        """Hold the request until POST /_control/resume: the moment at which a test kills the hub."""
        self.paused.set()
        await self.resumed.wait()
        self.resumed.clear()
        self.paused.clear()

    # -- control API --------------------------------------------------------------------------------------------
    async def _control(self, request: Request) -> Response:
        what = request.path.removeprefix("/_control").strip("/")
        if what == "faults" and request.method == "PUT":
            return self._set_faults(request.json() or {})
        if what == "faults":
            return Response(200, {"counts": dict(self.faults.counts)})
        if what == "deviate" and request.method == "PUT":
            return self._set_deviations(request.json() or {})
        if what == "clock":
            given = request.json() if request.body else None
            if given and given.get("business"):
                self.clock.set_business(datetime.fromisoformat(given["business"]))
                await self.clock_moved()
            return Response(
                200,
                {
                    "business": self.clock.business().isoformat(),
                    "technical": self.clock.technical().isoformat(),
                },
            )
        if what == "log":
            since = int(request.q("since", "0") or 0)
            return Response(200, {"log": self.log[since:]})
        if what == "stats":
            writes = sum(1 for entry in self.log if entry["writes"])
            return Response(
                200, {"requests": len(self.log), "writes": writes, "max_in_flight": self.max_in_flight}
            )
        if what == "paused":
            await self.paused.wait()
            return Response(200, {"paused": True})
        if what == "resume":
            self.resumed.set()
            return Response(200, {"resumed": True})
        if what.startswith("act/") and request.method == "POST":
            return await self._act(what.removeprefix("act/"), request.json() or {})
        return Response(404, {"error": f"no control {what!r}", "actions": sorted(self.actions)})

    def _set_faults(self, given: dict[str, Any]) -> Response:
        plan = dict(given)
        script = [Scripted(**entry) for entry in plan.pop("script", [])]
        unknown = set(plan.get("rates", {})) - set(CALL_FAULTS)
        if unknown:
            return Response(
                400, {"error": f"unknown fault kinds {sorted(unknown)}", "known": list(CALL_FAULTS)}
            )
        if "late_seconds" in plan:
            plan["late_seconds"] = tuple(plan["late_seconds"])
        counts = self.faults.counts
        try:
            self.faults = FaultPlan(**plan, script=script, counts=counts)
        except TypeError as error:
            return Response(400, {"error": str(error)})
        return Response(200, {"counts": dict(counts)})

    def _set_deviations(self, given: dict[str, Any]) -> Response:
        try:
            self.deviations = deviations.read(given)
        except TypeError as error:
            return Response(400, {"error": str(error)})
        return Response(200, {"answers": len(self.deviations)})

    async def _act(self, name: str, given: dict[str, Any]) -> Response:
        run = self.actions.get(name)
        if run is None:
            return Response(404, {"error": f"no action {name!r}", "actions": sorted(self.actions)})
        try:
            result = run(given)
            if asyncio.iscoroutine(result) or isinstance(result, Awaitable):
                result = await result
        except (KeyError, ValueError, LookupError) as error:
            return Response(400, {"error": f"{type(error).__name__}: {error}"})
        return Response(200, result if result is not None else {})


def visible(created_technical: datetime, clock: TwinClock, delay_seconds: float) -> bool:
    """Whether a document can be found by search yet (visibility delay; reads by id are always consistent)."""
    return clock.technical() >= created_technical + timedelta(seconds=delay_seconds)


def header(headers: Mapping[str, str] | Iterable[tuple[str, str]], name: str) -> str | None:
    """A header by name, whatever its case."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return next((value for key, value in pairs if key.lower() == name.lower()), None)


async def _read(scope: Scope, receive: Receive) -> Request:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            break
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    query = parse_qsl(scope.get("query_string", b"").decode(), keep_blank_values=True)
    headers = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in scope["headers"]}
    return Request(scope["method"], scope["path"], query, headers, b"".join(chunks))


async def _answer(send: Send, response: Response) -> None:
    body, headers = response.encoded()
    if response.status in (204, 304):
        body = b""
        headers.pop("content-type", None)
    else:
        headers["content-length"] = str(len(body))
    raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def _drop(send: Send) -> None:
    """End the connection without an answer: abort the socket under uvicorn, raise where there is none."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise Dropped
    transport.abort()


async def _cut(send: Send, response: Response) -> None:
    """Begin an answer, and end the connection in the middle of its body; before it where there is none."""
    if getattr(getattr(send, "__self__", None), "transport", None) is None:
        raise Dropped
    body, headers = response.encoded()
    if body and response.status not in (204, 304):
        headers["content-length"] = str(len(body))
        raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": raw})
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
    _drop(send)


async def _gone(receive: Receive) -> None:
    """Wait until the client has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lifespan(twin: Twin, receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await twin.open()
        if message["type"] == "lifespan.shutdown":
            await twin.close()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
