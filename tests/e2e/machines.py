"""Several `tieout work` processes on a PostgreSQL of their own, against an ERP that takes a second document under one
key: fed, killed and started again, with the database taken down under them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.e2e.cluster import FAST, IMMEDIATE, Cluster
from tests.e2e.demo_run import COMMAND, environment
from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.engine.inbox import accept
from tieout.store.statements import Statement, StoreUnavailable
from tieout_lab.bench import company
from tieout_lab.bench.hub import bind_customers
from tieout_lab.environments import ends_with_us
from tieout_lab.scenario.draws import Draws

ROOT = Path(__file__).parents[2]
BUDGET = 8
TIMEOUT_SECONDS, LEASE_SECONDS = 2, 12
# A call that was sent may still show for so long.
HORIZON = "longest_seconds = 2\nvisibility_seconds = 1"
SECONDS = {"netsuite": 0.25, "stripe": 0.02, "salesforce": 0.02}


@dataclass(frozen=True)
class Form:
    """How much of it: flows are fed and kills happen all over `seconds`, and then the rest is waited for."""

    flows: int
    kills: int
    seconds: float
    restart_seconds: tuple[int, int] = (5, 20)
    workers: int = 4


@contextmanager
def stub(*, enforce: bool, seconds: dict[str, float] = SECONDS) -> Iterator[int]:
    """The outside systems; gives their port."""
    options = json.dumps({"enforce": enforce, "seconds": seconds})
    process = subprocess.Popen(
        [*ends_with_us(), sys.executable, "-m", "tests.e2e.keeping_stub", options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())["port"]
    finally:
        process.stdin.close()
        process.wait(15)
        process.stdout.close()


def report(port: int) -> dict[str, Any]:
    """What the outside systems have and saw."""
    with urlopen(f"http://127.0.0.1:{port}/_stub/report", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def configured(folder: Path, port: int, *, enforce: bool) -> Path:
    """The configuration of the bench's company for short calls, short leases and a small budget."""
    path = company.write(folder, port, in_flight=BUDGET)
    company.alter(
        path,
        ("timeout_seconds = 60", f"timeout_seconds = {TIMEOUT_SECONDS}"),
        # Here processes are killed from outside, whatever they have in hand.
        ("lease_seconds = 600", f"lease_seconds = {LEASE_SECONDS}\nmost_crashes = 1000"),
        ("enforce_keys = true", f"enforce_keys = {str(enforce).lower()}\n{HORIZON}"),
    )
    return path


@asynccontextmanager
async def opened(settings: Path, url: str) -> AsyncIterator[App]:
    """The hub, to feed it and to look at it; it does no work."""
    app = await compose(read_settings(settings), system_ports(), database=url)
    try:
        yield app
    finally:
        await app.close()


async def feed(app: App, first: int, count: int) -> None:
    """Tell of so many finalised invoices, however often it takes."""
    for number in range(first, first + count):
        event = ChangeEvent(
            id=f"evt_{number:08d}",
            source="stripe-us",
            type="invoice.finalized",
            subject=Ref(connection="stripe-us", kind="invoice", id=f"in_{number:08d}"),
            time=app.hub.clock.now(),
        )
        while True:
            try:
                await accept(app.hub, (event,))
                break
            except StoreUnavailable:
                await asyncio.sleep(0.2)


async def rows(app: App, sql: str) -> list[tuple[Any, ...]]:
    """Rows of the hub's database."""
    return await app.hub.store.fetch(Statement("test", sql, returns=True), {})


def command(settings: Path, url: str, *arguments: str) -> list[str]:
    """A `tieout` command on this database."""
    return [*COMMAND, "--config", str(settings), "--database", url, "--log-level", "error", *arguments]


class Workers:
    """`tieout work` processes that are killed, and started again whenever they are gone, as by a supervisor."""

    def __init__(self, settings: Path, url: str, count: int) -> None:
        self._command = command(settings, url, "work")
        self._folder = settings.parent
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []
        self._said: dict[int, Path] = {}
        self._lives = 0
        self.kills = 0
        self.ended: Counter[int] = Counter()

    def start(self) -> None:
        """All of them. By a thread that stays."""
        self._processes = [self._started() for _ in range(self._count)]

    def _started(self) -> subprocess.Popen[bytes]:
        self._lives += 1
        said = self._folder / f"worker-{self._lives}.out"
        with (self._folder / "workers.log").open("ab") as log, said.open("wb") as out:
            process = subprocess.Popen(
                [*ends_with_us(), *self._command], stdout=out, stderr=log, env=environment(), cwd=ROOT
            )
        self._said[process.pid] = said
        return process

    def at_work(self) -> list[int]:
        """Which of them have begun to work: to kill those that only start would prove little."""
        return [
            number
            for number, process in enumerate(self._processes)
            if process.poll() is None and self._said[process.pid].stat().st_size
        ]

    def kill(self, number: int) -> None:
        """`kill -9` one, and start another one in its place."""
        process = self._processes[number]
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.kills += 1
        self._processes[number] = self._started()

    def look_after(self) -> None:
        """Start again whoever ended by itself (a lost lease, no database at its start)."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                self.ended[process.returncode] += 1
                self._processes[number] = self._started()

    def stop(self) -> list[int]:
        """End all in order; answers how they ended."""
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        return [process.wait(60) for process in self._processes]

    def destroy(self) -> None:
        """Whatever still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


async def killing(workers: Workers, form: Form, draws: Draws) -> None:
    """All kills at drawn moments, whatever the victim is at."""
    mean = form.seconds / form.kills
    while workers.kills < form.kills:
        number = workers.kills
        await asyncio.sleep(mean * (2 + draws.below(160, "pause", number)) / 82)
        while not (at_work := workers.at_work()):
            await asyncio.sleep(0.05)
        workers.kill(draws.pick(at_work, "victim", number))


async def restarting(cluster: Cluster, workers: Workers, form: Form, draws: Draws) -> None:
    """Take the database down again and again, in order or as by a crash; not before somebody works."""
    least, most = form.restart_seconds
    while True:
        number = cluster.restarts
        await asyncio.sleep(least + draws.below(most - least + 1, "restart", number))
        while len(workers.at_work()) * 2 < form.workers:
            await asyncio.sleep(0.05)
        cluster.ask_to_end(draws.pick((FAST, IMMEDIATE), "how", number))
        await asyncio.to_thread(cluster.wait_until_ended)
        cluster.start()
        await asyncio.to_thread(cluster.wait_until_up)
        cluster.restarts += 1


async def feeding(app: App, form: Form) -> None:
    """All flows, at an even pace over most of the time."""
    began, fed = time.monotonic(), 0
    while fed < form.flows:
        due = min(form.flows, 8 + int(form.flows * (time.monotonic() - began) / (form.seconds * 0.9)))
        await feed(app, fed, due - fed)
        fed = due
        await asyncio.sleep(0.2)


async def _standing(app: App) -> dict[str, int]:
    try:
        return await app.lanes()
    except StoreUnavailable:
        return {}


async def play(
    form: Form, cluster: Cluster, folder: Path, seed: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """The whole of it; answers its figures, after the inside and the outside were looked at."""
    draws = Draws(seed)
    with stub(enforce=False) as port:
        settings = configured(folder, port, enforce=False)
        async with opened(settings, cluster.url) as app:
            await bind_customers(app)
            workers = Workers(settings, cluster.url, form.workers)
            workers.start()
            began = time.monotonic()
            tasks = [
                asyncio.create_task(feeding(app, form)),
                asyncio.create_task(killing(workers, form, draws)),
            ]
            down = asyncio.create_task(restarting(cluster, workers, form, draws))
            try:
                await _until_done(app, workers, cluster, form, (tasks, down), say)
                minutes = (time.monotonic() - began) / 60
                codes = await asyncio.to_thread(workers.stop)
            finally:
                for task in (*tasks, down):
                    task.cancel()
                await asyncio.gather(*tasks, down, return_exceptions=True)
                workers.destroy()
            found = await asyncio.to_thread(report, port)
            return {
                "flows": form.flows,
                "kills": workers.kills,
                "restarts": cluster.restarts,
                "minutes": round(minutes, 1),
                "ended_by_themselves": sum(workers.ended.values()),
                "codes": codes,
                "lanes": await app.lanes(),
                "effects": dict(await rows(app, "SELECT state, COUNT(*) FROM effects GROUP BY state")),
                "ways_out": await app.doubts(),
                "exceptions": await app.exceptions(),
                "invariants": await asyncio.to_thread(_broken, settings, cluster.url),
                "documents": len(found["documents"]),
                "doubles": {name: ids for name, ids in found["documents"].items() if len(ids) > 1},
                "calls": found["calls"],
                "most_in_flight": found["most_in_flight"],
            }


async def _until_done(
    app: App,
    workers: Workers,
    cluster: Cluster,
    form: Form,
    going_on: tuple[list[asyncio.Task[None]], asyncio.Task[None]],
    say: Callable[[str], None],
) -> None:
    """Until everything was fed, every kill has happened and nothing is left to do."""
    tasks, down = going_on
    began, told = time.monotonic(), 0.0
    patience = form.seconds * 2 + 180
    while True:
        workers.look_after()
        for task in (*tasks, down):
            if task.done() and not task.cancelled():
                task.result()
        ended = all(task.done() for task in tasks)
        if ended and not down.done() and time.monotonic() - began > form.seconds:
            # Not in the middle of a restart.
            up = cluster.restarts
            while cluster.restarts == up:
                await asyncio.sleep(0.1)
            down.cancel()
        standing = await _standing(app)
        seconds = time.monotonic() - began
        if ended and standing.get("parked") and set(standing) <= {"idle", "parked"}:
            raise AssertionError([one["cause"] for one in await app.exceptions()])
        if down.done() and standing == {"idle": form.flows}:
            return
        if seconds - told > 15:
            told = seconds
            say(f"{seconds:5.0f} s: {workers.kills} kills, {cluster.restarts} restarts, lanes {standing}")
        assert seconds < patience, f"after {seconds:.0f} s: {standing}"
        await asyncio.sleep(0.3)


def _broken(settings: Path, url: str) -> list[str]:
    """What `tieout invariants` finds broken."""
    done = subprocess.run(
        command(settings, url, "invariants", "--json"),
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(),
        cwd=ROOT,
    )
    found = json.loads(done.stdout)
    assert {one["state"] for one in found} >= {"holds"}, done.stderr[-2000:]
    return [f"{one['id']}: {one['rows']}" for one in found if one["state"] == "broken"]


def whole() -> Form:
    """The whole form; `TIEOUT_SOAK_MACHINES` (flows, kills, seconds) makes it smaller or larger."""
    flows, kills, seconds = os.environ.get("TIEOUT_SOAK_MACHINES", "10000,500,1800").split(",")
    return Form(flows=int(flows), kills=int(kills), seconds=float(seconds))
