"""A simulated world: the three twins, the demo company's hub, and the lives of the hub's processes."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from tieout.app import App, Ports, compose, read_settings
from tieout.connectors.contract import Forged, Inbound, Malformed
from tieout.engine import restoring
from tieout.engine.inbox import accept
from tieout.ports import Request
from tieout.store.sqlite import SqliteStore
from tieout.store.statements import Statement, StoreUnavailable
from tieout.store.upgrading import upgrade
from tieout_lab.company import write_company
from tieout_lab.simulation.history import History
from tieout_lab.simulation.node import Node
from tieout_lab.simulation.ports import (
    Fate,
    Process,
    SeededChance,
    SeededIds,
    SimulatedTransport,
    Tape,
    VirtualClock,
    draw,
)
from tieout_lab.simulation.profiles import StoreTrouble
from tieout_lab.twins import netsuite, salesforce, stripe
from tieout_lab.twins.kit import Twin

_AT_WORK = Statement(
    "simulation.at_work", "SELECT 1 FROM lanes WHERE state IN ('ready', 'leased') LIMIT 1", returns=True
)
# Connectors take http for loopback addresses only; the ports name the twins.
# After an outage a webhook is tried again hours later; what it says is long known from the list of events.
_DELIVERY_SECONDS = 300.0
PORTS = {"salesforce": 9001, "stripe": 9002, "netsuite": 9003}


class Unquiet(AssertionError):
    """The hub did not come to rest in the time it was given."""


class SimulatedWorld:
    """One company in one virtual world, its hub on 1 to 4 processes that share a store. Everything is drawn from
    `seed`."""

    def __init__(
        self,
        seed: int = 0,
        *,
        echo_suppression: bool = True,
        enforce_keys: bool = True,
        poll_seconds: int = 5,
        feed: str = "sweep",
        workers: int = 1,
        lease_seconds: int = 10,
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
            self.directory,
            described,
            enforce_keys=enforce_keys,
            poll_seconds=poll_seconds,
            lease_seconds=lease_seconds,
            feed=feed,
        )
        (self.directory / "tieout.db").write_bytes(_empty_database())
        self.lives = 0
        self.echo_suppression = echo_suppression
        self.enforce_keys = enforce_keys
        self.tape = Tape(seed)
        self.history = History()
        self.nodes = [Node(self, number) for number in range(workers)]
        self.billing.webhooks.post = self._webhook
        self.change: Callable[[App], None] = lambda _: None
        # Where the coming lives end: (port operation, after it took effect); then what else becomes of them.
        self.deaths: list[tuple[int, bool]] = []
        self.fates: list[Fate] = []
        # How long a dead process stays down while others go on, at most.
        self.down_seconds = 0.0
        # What goes wrong with the database, and how often anything of the hub's own went wrong.
        self.store_trouble: StoreTrouble | None = None
        self.troubles: Counter[str] = Counter()
        self._hooks = 0

    # -- the hub's processes ------------------------------------------------------------------------------------
    @property
    def app(self) -> App | None:
        """The hub of the first process that would answer now."""
        return next((node.app for node in self.nodes if node.awake), None)

    @property
    def process(self) -> Process:
        """The first process, or what is left of it."""
        return self.nodes[0].process

    async def start(self, *, kill_at: int | None = None, after: bool = False) -> None:
        """Begin a life of the first process; it dies at its `kill_at`-th port operation, if that is given."""
        await self.nodes[0].start(Fate(kill_at=kill_at, after=after))

    async def bury(self) -> None:
        """Every process is dead."""
        for node in self.nodes:
            await node.bury()

    def back_up(self) -> Path:
        """A copy of the database as it is at this moment, as `.backup` makes it of a hub that works on."""
        copy = self.directory / f"backup-{self.clock.real_now_micros()}.db"
        with (
            closing(sqlite3.connect(self.directory / "tieout.db")) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
        return copy

    async def put_back(self, backup: Path) -> None:
        """The machine is lost: every process dies, and the database is the backup again."""
        await self.bury()
        for path in self.directory.glob("tieout.db*"):
            path.unlink()
        shutil.copy(backup, self.directory / "tieout.db")

    async def restored(self, backup: Path, taken_at: datetime) -> None:
        """Put a backup back, and tell the hub so before anything is started on it: `tieout restored`."""
        await self.put_back(backup)
        self.lives += 1
        ports = Ports(
            clock=self.clock,
            ids=SeededIds(self.seed, self.lives),
            chance=SeededChance(self.seed, self.lives),
            transport=SimulatedTransport({}, Process(), self.seed),
            store=SqliteStore(self.directory / "tieout.db", threaded=False),
        )
        app = await compose(read_settings(self.file), ports, alone=True)
        await restoring.begin(app.hub, taken_at, "operator")
        await app.close()

    async def live(self) -> None:
        """Start every process that is dead or has lost its lease and whose time has come; its life ends where `fates`
        (or `deaths`) says, if it says anything."""
        now = asyncio.get_running_loop().time()
        others = any(node.alive for node in self.nodes)
        for node in self.nodes:
            if node.alive:
                continue
            if node.app is not None:
                await node.bury()
                if others and self.down_seconds:
                    node.begins_at = now + self.down_seconds * draw(self.seed, "down", self.lives)
            if now >= node.begins_at or not others:
                await node.start(self._fate())

    def _fate(self) -> Fate:
        if self.deaths:
            kill_at, after = self.deaths.pop(0)
            return Fate(kill_at=kill_at, after=after)
        return self.fates.pop(0) if self.fates else Fate()

    @property
    def complete(self) -> bool:
        """Whether every process lives and none stands still."""
        return all(node.awake for node in self.nodes)

    def store_fault(self, ordinal: int) -> str | None:
        """What the database does to the commit of this number in a process's life, if anything."""
        if self.store_trouble is None:
            return None
        fault = self.store_trouble.fault(asyncio.get_running_loop().time(), ordinal)
        if fault is not None:
            self.troubles[f"store.{fault}"] += 1
        return fault

    def late_first_byte(self, request: Request) -> bool:
        """Whether a request may leave although its process stood still after the check of its lease: only to who
        enforces our keys whatever the moment."""
        return self.enforce_keys and request.connection.startswith("netsuite")

    async def _webhook(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        """What the web server of one of the processes does with a webhook, without the socket."""
        awake = [node for node in self.nodes if node.awake]
        self._hooks += 1
        if not awake:
            return 503
        node = awake[self._hooks % len(awake)]
        app = node.app
        if app is None:
            return 503
        name = url.rsplit("/", 1)[-1]
        api = app.hub.connection(name).api
        if not isinstance(api, Inbound):
            return 404
        now = node.clock.now()
        try:
            api.verify({key.lower(): value for key, value in headers.items()}, body, now)
            events = api.parse(body, now)
        except Forged:
            return 401
        except Malformed:
            return 400
        accepting = asyncio.ensure_future(accept(app.hub, events))
        await node.or_death(accepting)
        if not accepting.done():
            accepting.cancel()
            return 0
        try:
            await accepting
        except StoreUnavailable:
            return 503
        self.history.promised(name, events)
        app.worker.wake()
        return 200

    # -- time -----------------------------------------------------------------------------------------------------
    async def rest(self, *, within_seconds: float = 7200.0) -> None:
        """Until nothing is to be done but by persons, through every death that is due on the way."""
        while True:
            await self.live()
            if await self.quiet(within_seconds=within_seconds):
                return

    async def quiet(self, *, within_seconds: float = 7200.0) -> bool:
        """Let virtual time pass until nothing is to be done but by persons; False when a process has died."""
        loop = asyncio.get_running_loop()
        deadline, calm = loop.time() + within_seconds, 0
        patience = loop.time() + _DELIVERY_SECONDS
        while True:
            await asyncio.sleep(4.0)
            if not all(node.alive for node in self.nodes):
                return False
            # What is cheap to know is asked first: most of the time it is enough.
            busy = bool(self.twin_work(deliveries=loop.time() < patience) or not self.complete)
            busy = busy or await self._at_work()
            calm = 0 if busy else calm + 1
            if calm >= 5:
                return True
            if loop.time() > deadline:
                raise Unquiet(f"still busy after {within_seconds:g} s")

    def twin_work(self, *, deliveries: bool) -> int:
        """Requests still being worked on by a twin, work it does after the client gave up, webhooks under way."""
        later = [task.get_coro() for twin in self.twins.values() for task in twin._background]  # noqa: SLF001
        others = sum(1 for work in later if getattr(work, "__name__", "") != "_deliver")
        return sum(twin.in_flight for twin in self.twins.values()) + (len(later) if deliveries else others)

    async def _at_work(self) -> bool:
        """Whether any lane has, or will have by itself, something to do."""
        return self.app is not None and bool(await self.app.hub.store.fetch(_AT_WORK, {}))

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


@cache
def _empty_database() -> bytes:
    """An empty database with all tables, made once and kept in memory: a folder would be left behind."""
    with tempfile.TemporaryDirectory(prefix="tieout-sim-template-", dir=_memory_folder()) as folder:
        path = Path(folder) / "tieout.db"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()
