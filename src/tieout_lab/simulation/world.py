"""A simulated world: the three twins, the demo company's hub, and the lives of the hub's process."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from tieout.app import App, Ports, compose, read_settings
from tieout.connectors.contract import Forged, Inbound, Malformed
from tieout.engine.inbox import accept
from tieout.store import lanes
from tieout.store.database import upgrade
from tieout.store.sqlite import SqliteStore
from tieout_lab.company import write_company
from tieout_lab.simulation.ports import (
    Process,
    SeededChance,
    SeededIds,
    SimulatedStore,
    SimulatedTransport,
    Tape,
    VirtualClock,
)
from tieout_lab.twins import netsuite, salesforce, stripe
from tieout_lab.twins.kit import Twin

# Connectors take http for loopback addresses only; the ports name the twins.
# After an outage a webhook is tried again hours later; what it says is long known from the list of events.
_DELIVERY_SECONDS = 300.0
PORTS = {"salesforce": 9001, "stripe": 9002, "netsuite": 9003}


class Unquiet(AssertionError):
    """The hub did not come to rest in the time it was given."""


class SimulatedWorld:
    """One company in one virtual world. Everything is drawn from `seed`."""

    def __init__(
        self,
        seed: int = 0,
        *,
        echo_suppression: bool = True,
        enforce_keys: bool = True,
        poll_seconds: int = 5,
        feed: str = "sweep",
    ) -> None:
        self.seed = seed
        self.clock = VirtualClock()
        self.crm = salesforce.create(self.clock)
        self.billing = stripe.create(self.clock)
        self.erp = netsuite.create(self.clock)
        self.twins: dict[str, Twin] = {"salesforce": self.crm, "stripe": self.billing, "netsuite": self.erp}
        self.directory = Path(tempfile.mkdtemp(prefix="tieout-sim-", dir=_memory_folder()))
        described = {
            name: twin.describe(f"http://127.0.0.1:{PORTS[name]}") for name, twin in self.twins.items()
        }
        self.by_port = {PORTS[name]: twin for name, twin in self.twins.items()}
        self.file = write_company(
            self.directory, described, enforce_keys=enforce_keys, poll_seconds=poll_seconds, feed=feed
        )
        shutil.copy(_template(), self.directory / "tieout.db")
        self.lives = 0
        self.process = Process()
        self.app: App | None = None
        self.echo_suppression = echo_suppression
        self._tasks: list[asyncio.Task[Any]] = []
        self.billing.webhooks.post = self._webhook
        self.change: Callable[[App], None] = lambda _: None
        # Where the coming lives of the hub's process end: (port operation, after it took effect).
        self.deaths: list[tuple[int, bool]] = []
        self.tape = Tape()

    async def start(self, *, kill_at: int | None = None, after: bool = False) -> None:
        """Begin a life of the hub's process; it dies at its `kill_at`-th port operation, if that is given."""
        self.lives += 1
        self.process = Process(kill_at=kill_at, after=after, tape=self.tape)
        store = SqliteStore(self.directory / "tieout.db", threaded=False)
        ports = Ports(
            clock=self.clock,
            ids=SeededIds(self.seed, self.lives),
            chance=SeededChance(self.seed, self.lives),
            transport=SimulatedTransport(self.by_port, self.process, self.seed),
            store=SimulatedStore(store, self.process),
        )
        before = asyncio.all_tasks()
        composed = asyncio.ensure_future(
            compose(read_settings(self.file), ports, echo_suppression=self.echo_suppression, alone=True)
        )
        await self._or_death(composed)
        if not self.process.dead.is_set():
            self.app = composed.result()
            # Nobody waits for the answer to a command here, and looking costs most of a quiet hour.
            self.app.hub.policy = replace(
                self.app.hub.policy, command_poll_real_seconds=5.0, permit_poll_real_seconds=30.0
            )
            self.change(self.app)
            await self._or_death(asyncio.ensure_future(self.app.start()))
        self._tasks = [task for task in asyncio.all_tasks() if task not in before]
        if self.process.dead.is_set():
            await self.bury()

    async def _or_death(self, task: asyncio.Task[Any]) -> None:
        dying = asyncio.ensure_future(self.process.dead.wait())
        try:
            await asyncio.wait({task, dying}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            dying.cancel()

    async def bury(self) -> None:
        """The process is dead: its tasks never run again, its store is closed as a crash leaves it."""
        self.process.dead.set()
        app, self.app = self.app, None
        if app is None:
            return
        running = [*app.worker.running.values(), *self._tasks]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await app.hub.world.transport.close()
        await app.hub.store.close()

    async def _webhook(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """What the web server does with a webhook, without the socket."""
        app = self.app
        if app is None or self.process.dead.is_set():
            return 503
        name = url.rsplit("/", 1)[-1]
        api = app.hub.connection(name).api
        if not isinstance(api, Inbound):
            return 404
        now = self.clock.now()
        try:
            api.verify({key.lower(): value for key, value in headers.items()}, body, now)
            events = api.parse(body, now)
        except Forged:
            return 401
        except Malformed:
            return 400
        accepting = asyncio.ensure_future(accept(app.hub, events))
        await self._or_death(accepting)
        if not accepting.done():
            accepting.cancel()
            return 0
        await accepting
        app.worker.wake()
        return 200

    async def live(self) -> None:
        """Begin the next life; it ends where `deaths` says, if it says anything."""
        kill_at, after = self.deaths.pop(0) if self.deaths else (None, False)
        await self.start(kill_at=kill_at, after=after)

    async def rest(self, *, within_seconds: float = 7200.0) -> None:
        """Until nothing is to be done but by persons, through every death that is due on the way."""
        while True:
            if self.app is None:
                await self.live()
            if not self.process.dead.is_set():
                await self.quiet(within_seconds=within_seconds)
            if not self.process.dead.is_set():
                return
            await self.bury()

    async def quiet(self, *, within_seconds: float = 7200.0) -> None:
        """Let virtual time pass until nothing is to be done but by persons, or the process is dead."""
        loop = asyncio.get_running_loop()
        deadline, calm = loop.time() + within_seconds, 0
        patience = loop.time() + _DELIVERY_SECONDS
        while not self.process.dead.is_set():
            await asyncio.sleep(3.0)
            states = dict(await self._lanes())
            busy = states.get("ready", 0) + states.get("leased", 0)
            busy += self.twin_work(deliveries=loop.time() < patience)
            calm = 0 if busy else calm + 1
            if calm >= 6:
                return
            if loop.time() > deadline:
                raise Unquiet(f"still busy after {within_seconds:g} s: {states}")

    def twin_work(self, *, deliveries: bool) -> int:
        """Requests still being worked on by a twin, work it does after the client gave up, webhooks under way."""
        later = [task.get_coro() for twin in self.twins.values() for task in twin._background]  # noqa: SLF001
        others = sum(1 for work in later if getattr(work, "__name__", "") != "_deliver")
        return sum(twin.in_flight for twin in self.twins.values()) + (len(later) if deliveries else others)

    async def _lanes(self) -> list[tuple[str, int]]:
        if self.app is None:
            return []
        return [(row[0], row[1]) for row in await self.app.hub.store.fetch(lanes.STATES, {})]

    async def act(self, twin: str, action: str, **given: Any) -> Any:
        """One control action of a twin: what people do in the outside systems."""
        response = await self.twins[twin]._act(action, given)  # noqa: SLF001 - without HTTP
        if response.status >= 400:
            raise AssertionError(f"{twin} {action}: {response.body}")
        return response.body

    async def close(self) -> None:
        """End the world."""
        await self.bury()
        shutil.rmtree(self.directory, ignore_errors=True)


def _memory_folder() -> str | None:
    shared = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
    return str(shared) if shared.is_dir() else None


_TEMPLATES: list[Path] = []


def _template() -> Path:
    """An empty database with all tables, made once."""
    if not _TEMPLATES:
        path = Path(tempfile.mkdtemp(prefix="tieout-sim-template-", dir=_memory_folder())) / "tieout.db"
        upgrade(f"sqlite:///{path}")
        _TEMPLATES.append(path)
    return _TEMPLATES[0]
