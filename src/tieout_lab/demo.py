"""One run of the demo: twins beside us, a hub inside us, a business in between; then the books and the judge."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from tieout.app import App, compose, read_settings, system_ports
from tieout.web.app import Web
from tieout_lab.child import twins
from tieout_lab.clock import FastClock
from tieout_lab.faults import FACTOR, fault_plans
from tieout_lab.mending import mend
from tieout_lab.outside_truth import Violation, judge
from tieout_lab.scenario import Plan, Player, Steering, make_plan
from tieout_lab.scenario.plan import CUT_OFF, OPENING
from tieout_lab.scenario.play import Patience
from tieout_lab.serve import QuietServer, bind
from tieout_lab.world import BILLING, Company, add_ghost_rules, write_company

SABOTAGES = ("drop", "double", "cent", "period", "account")
Tell = Callable[[int, int, str], None]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What the demo is asked for. `database` and `directory` are the run's own where they are not given."""

    customers: int = 12
    seed: int = 7
    faults: bool = False
    echo_suppression: bool = True
    resolve: bool = False
    sabotage: str = ""
    database: str = ""
    directory: Path | None = None
    # The PostgreSQL of the real ERP, where one entity's books are to be in it.
    tryton: str = ""


class NotEmpty(Exception):
    """The database holds another run; a demo needs an empty one."""


@dataclass(kw_only=True)
class Outcome:
    """What came of it. `books` is the hub's comparison as plain data; `violations` what the judge from outside says."""

    books: Mapping[str, Any]
    tied: bool
    exceptions: list[dict[str, Any]]
    faults: dict[str, int]
    in_doubt: dict[str, int]
    writes: dict[str, int]
    seconds: float
    violations: list[Violation] = field(default_factory=list)
    sabotaged: Mapping[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """The one JSON document of `--json`."""
        return {
            **self.books,
            "exceptions": self.exceptions,
            "faults": self.faults,
            "in_doubt": self.in_doubt,
            "writes": self.writes,
            "seconds": self.seconds,
        }


@dataclass
class Stage:
    """Everything that is up while a demo runs."""

    wish: Wish
    plan: Plan
    steering: Steering
    app: App
    settings: Path
    url: str


async def play(
    wish: Wish,
    *,
    tell: Tell = lambda *_: None,
    after: Callable[[Stage, Outcome], Awaitable[None]] | None = None,
) -> Outcome:
    """Run the whole demo; `after` is called before everything is taken down. Raises NotEmpty, NeverQuiet, NoTwins."""
    began = time.monotonic()
    with _directory(wish) as directory:
        async with _stage(wish, directory) as stage:
            outcome = await _run(stage, began, tell)
            if after is not None:
                await after(stage, outcome)
            return outcome


@contextlib.contextmanager
def _directory(wish: Wish) -> Any:
    """The given folder, or one of our own that is gone afterwards."""
    if wish.directory is not None:
        wish.directory.mkdir(parents=True, exist_ok=True)
        yield wish.directory
        return
    own = Path(tempfile.mkdtemp(prefix="tieout-demo-"))
    try:
        yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)


@asynccontextmanager
async def _stage(wish: Wish, directory: Path) -> AsyncIterator[Stage]:
    factor, epoch = FACTOR if wish.faults else 1, datetime.now(UTC)
    async with twins(factor=factor, business=OPENING, epoch=epoch, tryton=wish.tryton) as described:
        steering = Steering(described)
        company = Company(
            technical=epoch,
            port=0,
            unkeyed=wish.faults,
            timeout_seconds=2 if wish.faults else 30,
            lease_seconds=15 if wish.faults else 60,
            echo_suppression=wish.echo_suppression,
        )
        settings = write_company(directory, described, company)
        ports = system_ports(FastClock(factor, epoch))
        app = await compose(read_settings(settings), ports, database=wish.database or None)
        try:
            if await app.lanes():
                raise NotEmpty(
                    f"{wish.database or directory} holds an earlier run; give the demo an empty database"
                )
            async with _web(app) as url:
                for entity, name in BILLING.items():
                    hook = f"{url}/hooks/{name}"
                    await steering.act("stripe", "register_webhook", account=f"acct_{entity}", url=hook)
                await app.start()
                plan = make_plan(wish.seed, wish.customers)
                yield Stage(wish, plan, steering, app, settings, url)
        finally:
            await app.stop()
            await steering.close()


@asynccontextmanager
async def _web(app: App) -> AsyncIterator[str]:
    """Webhooks, API and pages on a free port; gives the URL."""
    bound = bind(app.settings.web.port)
    config = uvicorn.Config(
        Web(app, app.worker.wake),
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = QuietServer(config)
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    host, port = bound.getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        await asyncio.gather(serving, return_exceptions=True)
        bound.close()


async def _run(stage: Stage, began: float, tell: Tell) -> Outcome:
    wish, steering, app = stage.wish, stage.steering, stage.app
    if wish.faults:
        for twin, plan in fault_plans(wish.seed).items():
            if twin in steering.described:
                await steering.faults(twin, plan)
    # A real server keeps real time: its time-outs, and what is waited for after a doubt, are not sped up.
    patience = Patience(quiet_seconds=500 if wish.tryton and wish.faults else 170)
    player = Player(stage.plan, steering, app, patience=patience, tell=tell)
    await player.play()
    if wish.resolve:
        add_ghost_rules(stage.settings.parent)
        app.reload_rules(read_settings(stage.settings))
        await mend(app, steering, player)
    for twin in stage.steering.described:
        if wish.faults and twin != "control":
            await steering.faults(twin, {})
    counts = await steering.counts()
    erp = "tryton" if wish.tryton else "netsuite"
    sabotaged = await steering.act(erp, "sabotage", kind=wish.sabotage) if wish.sabotage else None
    books = await app.books(CUT_OFF)
    exceptions = [_shown(one) for one in await app.exceptions()]
    owned = frozenset(one["document"] for one in msgspec.to_builtins(books)["differences"])
    return Outcome(
        books=msgspec.to_builtins(books),
        tied=books.tied,
        exceptions=exceptions,
        faults=_faults(counts),
        in_doubt=await app.doubts(),
        writes={
            name: count for twin in counts.values() for name, count in twin["writes_by_connection"].items()
        },
        seconds=round(time.monotonic() - began, 1),
        violations=await outside_truth(steering, owned, player.released),
        sabotaged=sabotaged,
    )


async def outside_truth(
    steering: Steering, owned: frozenset[str], released: frozenset[str] = frozenset()
) -> list[Violation]:
    """What the judge says of the twins as they stand. `owned`: documents that a person owns."""
    return judge(
        await steering.act("stripe", "snapshot"),
        await _erps(steering),
        await steering.act("salesforce", "snapshot", objects=["Account", "Opportunity"]),
        allowed=owned,
        released=released,
    )


async def _erps(steering: Steering) -> dict[str, list[Any]]:
    """The snapshots of all ERPs as one: each legal entity has its books in one of them."""
    whole: dict[str, list[Any]] = {}
    for name in ("netsuite", "tryton"):
        if name in steering.described:
            found = await steering.act(name, "snapshot")
            for part in ("documents", "customers", "trial_balance"):
                whole.setdefault(part, []).extend(found[part])
    return whole


def _faults(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Faults by kind, of all twins together."""
    total: Counter[str] = Counter()
    for twin in counts.values():
        total.update(twin["faults"])
    return dict(sorted(total.items()))


_COLUMNS = (
    "exception_id", "code", "document", "number", "entity", "currency", "amount_minor", "cause", "remedy", "state",
)  # fmt: skip


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _COLUMNS}
