"""The digital twins as a running world: one event loop, a port for each, and one more to steer them all together."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import msgspec
import uvicorn
import uvloop

from tieout_lab.tryton.proxy import TrytonProxy
from tieout_lab.tryton.server import served
from tieout_lab.twins import netsuite, salesforce, stripe
from tieout_lab.twins.calls import reserve_port
from tieout_lab.twins.clock import SystemTwinClock, TwinClock
from tieout_lab.twins.kit import Receive, Request, Response, Scope, Send, Twin


class TwoAccounts(stripe.StripeTwin):
    """The billing twin; its log says which account each call was of."""

    async def admit(self, request: Request, operation: str) -> Response | None:
        refusal = await super().admit(request, operation)
        if refusal is None:
            self.log[-1]["account"] = self.account_of(request).id
        return refusal


def _salesforce(clock: TwinClock) -> Twin:
    """The CRM twin, its gRPC service too where grpcio is there to serve it."""
    if find_spec("grpc") is None:
        return salesforce.create(clock)
    kept = reserve_port()
    _KEPT.append(kept)
    return salesforce.SalesforceTwin(clock, pubsub_port=kept.getsockname()[1])


# Places kept until the servers that take them end.
_KEPT: list[socket.socket] = []
CREATE: dict[str, Callable[[TwinClock], Twin]] = {
    "stripe": TwoAccounts,
    "salesforce": _salesforce,
    "netsuite": netsuite.create,
}
HOST = "127.0.0.1"
# How the demo company calls what a twin, or one account of it, serves.
_CONNECTION = {
    "acct_us": "stripe-us",
    "acct_jp": "stripe-jp",
    "salesforce": "salesforce-main",
    "netsuite": "netsuite-main",
    "tryton": "tryton-main",
}


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the world is opened with. `factor` technical seconds pass in a real one from `epoch` on; the business clock
    stands at `business`. `port_base`: the twins take this port and the next ones; 0 for any that are free.
    `with_parent`: end when standard input ends, so that a killed parent leaves nobody behind. `tryton`: the PostgreSQL
    on which the real ERP is to be served as well."""

    only: Sequence[str] = ()
    factor: float = 1.0
    business: datetime | None = None
    epoch: datetime | None = None
    port_base: int = 0
    with_parent: bool = False
    tryton: str = ""


class Control:
    """An ASGI application that steers all twins at once.

    GET and POST `/clock` {"business"}; GET `/pending` {twin: deliveries not yet taken}; GET `/counts` {twin:
    {"faults", "requests", "writes"}}."""

    def __init__(self, clock: TwinClock, twins: Mapping[str, Twin]) -> None:
        self.clock = clock
        self.twins = twins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status, answer = await self._answer(str(scope["path"]), body)
        raw = msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(raw)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": raw})

    async def _answer(self, path: str, body: bytes) -> tuple[int, Any]:
        match path:
            case "/clock":
                if body:
                    await self._move(datetime.fromisoformat(msgspec.json.decode(body)["business"]))
                shown = {"business": self.clock.business(), "technical": self.clock.technical()}
                return 200, {name: moment.isoformat() for name, moment in shown.items()}
            case "/pending":
                return 200, {name: pending(twin) for name, twin in self.twins.items()}
            case "/counts":
                return 200, {name: counts(twin) for name, twin in self.twins.items()}
            case _:
                return 404, {"error": f"no {path}; there are /clock, /pending and /counts"}

    async def _move(self, business: datetime) -> None:
        self.clock.set_business(business)
        for twin in self.twins.values():
            await twin.clock_moved()


def pending(twin: Twin) -> int:
    """How many deliveries of a twin nobody has taken yet."""
    if not isinstance(twin, stripe.StripeTwin):
        return 0
    return sum(
        1
        for account in twin.accounts.values()
        for event in account.objects["events"].values()
        if event["pending_webhooks"]
    )


def counts(twin: Twin) -> dict[str, Any]:
    """What a twin was asked and what went wrong on the way."""
    writes = Counter(
        _CONNECTION.get(entry.get("account", twin.name), twin.name) for entry in twin.log if entry["writes"]
    )
    return {
        "faults": dict(twin.faults.counts),
        "requests": len(twin.log),
        "writes": writes.total(),
        "writes_by_connection": dict(writes),
    }


class QuietServer(uvicorn.Server):
    """A server among several in one loop: signals are the world's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@dataclass
class World:
    """The open twins, their servers and where they are."""

    described: dict[str, Any]
    servers: list[QuietServer] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def bind(port: int) -> socket.socket:
    """A listening place on loopback; port 0: any that is free. OSError when it is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind((HOST, port))
    # Who reads where it is may connect at once; the server takes the connection as soon as it is up.
    bound.listen(2048)
    return bound


def _server(app: Any) -> QuietServer:
    return QuietServer(
        uvicorn.Config(
            app,
            log_level="critical",
            access_log=False,
            lifespan="on" if isinstance(app, Twin) else "off",
            timeout_graceful_shutdown=1,
            timeout_keep_alive=75,
        )
    )


def open_world(opening: Opening) -> World:
    """Make the twins and bind their ports. OSError when a port is taken; KeyError for a twin that there is not;
    NotThere when the real ERP cannot be had."""
    clock = SystemTwinClock(factor=opening.factor, business=opening.business, epoch=opening.epoch)
    twins = {name: CREATE[name](clock) for name in opening.only or CREATE}
    world = World({})
    if opening.tryton:
        real = world.held.enter_context(served(opening.tryton, f"tieout_tryton_demo_{os.getpid()}"))
        twins["tryton"] = TrytonProxy(clock, real)
    apps: dict[str, Any] = {**twins, "control": Control(clock, twins)}
    for number, (name, app) in enumerate(apps.items()):
        bound = bind(opening.port_base + number if opening.port_base else 0)
        url = f"http://{HOST}:{bound.getsockname()[1]}"
        world.described[name] = app.describe(url) if isinstance(app, Twin) else {"url": url}
        world.sockets.append(bound)
        world.servers.append(_server(app))
    world.described["control"]["twins"] = {name: f"{world.described[name]['url']}/_control" for name in twins}
    return world


async def serve(world: World, *, with_parent: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, or until the parent is gone."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in world.servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    if with_parent:
        loop.add_reader(sys.stdin.fileno(), lambda: None if os.read(sys.stdin.fileno(), 1024) else stop())
    await asyncio.gather(
        *(server.serve(sockets=[bound]) for server, bound in zip(world.servers, world.sockets, strict=True))
    )


def run(opening: Opening) -> None:
    """Print one line of JSON saying where everything is, then serve until told to stop."""
    world = open_world(opening)
    print(msgspec.json.encode(world.described).decode(), flush=True)
    with world.held, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(world, with_parent=opening.with_parent))
