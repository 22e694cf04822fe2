"""A rolling upgrade, alive: processes of the previous release and of this one side by side on one database."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.e2e.asking import Asking
from tests.e2e.demo_run import COMMAND, environment, undisturbed
from tests.e2e.test_kill import play_with_kills
from tests.upgrade.previous import previous_source
from tieout_lab.child import twins
from tieout_lab.demo import outside_truth
from tieout_lab.environments import free_port
from tieout_lab.scenario import Player, Steering, make_plan
from tieout_lab.scenario.plan import CUT_OFF, OPENING
from tieout_lab.scenario.play import Patience
from tieout_lab.world import BILLING, Company, write_company

LONGEST_SECONDS, VISIBILITY_SECONDS = 4, 1
LEASE_SECONDS = 5


@pytest.fixture(scope="session")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return previous_source(tmp_path_factory.mktemp("previous"))


class Fleet(Asking):
    """The processes of a deployment, by release, on one PostgreSQL database."""

    def __init__(self, settings: Path, port: int, previous: Path, database: str) -> None:
        self.settings, self.previous, self.database = settings, previous, database
        self.url = f"http://127.0.0.1:{port}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, release: str, *command: str) -> tuple[list[str], dict[str, str]]:
        given = environment()
        if release == "old":
            given["PYTHONPATH"] = str(self.previous)
        return [*COMMAND, "--config", str(self.settings), "--log-level", "error", *command], given

    def start(self, name: str, *command: str) -> None:
        """`name` begins with the release: old or new."""
        line, given = self.command(name.partition(" ")[0], *command)
        with (self.settings.parent / f"{name.replace(' ', '-')}.log").open("ab") as log:
            self.running[name] = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log, env=given)

    def end(self, name: str, how: int = signal.SIGTERM) -> None:
        process = self.running.pop(name)
        assert process.poll() is None, f"{name} ended by itself"
        process.send_signal(how)
        process.wait(20)

    def workers(self, *names: str) -> set[str]:
        """The ids of these workers, once each of them has joined."""
        pids = {self.running[name].pid for name in names}
        until = time.monotonic() + 60
        while True:
            found = {pid: worker for worker, pid in self.ask("SELECT worker_id, pid FROM workers")}
            if pids <= found.keys():
                return {found[pid] for pid in pids}
            assert time.monotonic() < until, f"{names}: not all have joined"
            time.sleep(0.2)

    def ask(self, sql: str) -> list[tuple]:
        with psycopg.connect(self.database) as connection:
            return connection.execute(sql).fetchall()  # type: ignore[arg-type]

    def books(self) -> dict:
        line, given = self.command("new", "books", "--json", "--cut-off", CUT_OFF.isoformat())
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, env=given)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout)

    async def stop(self) -> None:
        for process in self.running.values():
            process.kill()
        for process in self.running.values():
            await asyncio.to_thread(process.wait)
        self.running.clear()
        await self.forget()


class Upgrade:
    """One process after the other, as the business goes on."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.done = 0
        self.old = fleet.workers("old work 1", "old work 2")
        self.new: set[str] = set()
        # Effects that stood before any worker of this release was there.
        self.before = 0
        self.steps = [self.add_new, self.lose_one, self.serve_new, self.end_last]

    def tell(self, done: int, everything: int, _: str) -> None:
        if self.done < len(self.steps) and done * (len(self.steps) + 1) >= everything * (self.done + 1):
            self.steps[self.done]()
            self.done += 1

    def add_new(self) -> None:
        """Tables first, beneath the feet of the previous release; then workers beside its own."""
        ((self.before,),) = self.fleet.ask("SELECT COUNT(*) FROM effects")
        line, given = self.fleet.command("new", "migrate")
        subprocess.run(line, check=True, timeout=60, env=given, stdout=subprocess.DEVNULL)
        for number in (1, 2):
            self.fleet.start(f"new work {number}", "work")
        self.new = self.fleet.workers("new work 1", "new work 2")

    def lose_one(self) -> None:
        """What a worker of the previous release had in hand when it died is finished by whoever is there."""
        self.fleet.end("old work 1", signal.SIGKILL)

    def serve_new(self) -> None:
        self.fleet.end("old serve")
        self.fleet.start("new serve", "serve")

    def end_last(self) -> None:
        self.fleet.end("old work 2")


async def roll(tmp_path: Path, previous: Path, database: str, customers: int, seed: int) -> None:
    port = free_port()
    async with twins(business=OPENING) as described:
        steering = Steering(described)
        company = Company(
            technical=datetime.now(UTC),
            port=port,
            timeout_seconds=2,
            lease_seconds=LEASE_SECONDS,
            database=database,
        )
        settings = write_company(tmp_path, described, company)
        horizon = f"longest_seconds = {LONGEST_SECONDS}\nvisibility_seconds = {VISIBILITY_SECONDS}\n"
        text = settings.read_text()
        for vendor in ("stripe", "netsuite"):
            text = text.replace(f'vendor = "{vendor}"\n', f'vendor = "{vendor}"\n{horizon}')
        settings.write_text(text)
        fleet = Fleet(settings, port, previous, database)
        try:
            line, given = fleet.command("old", "migrate")
            subprocess.run(line, check=True, timeout=60, env=given, stdout=subprocess.DEVNULL)
            ((at_first,),) = fleet.ask("SELECT version_num FROM alembic_version")
            for name, command in (("old work 1", "work"), ("old work 2", "work"), ("old serve", "serve")):
                fleet.start(name, command)
            for entity, name in BILLING.items():
                hook = f"{fleet.url}/hooks/{name}"
                await steering.act("stripe", "register_webhook", account=f"acct_{entity}", url=hook)
            upgrade = Upgrade(fleet)
            player = Player(
                make_plan(seed, customers),
                steering,
                fleet,
                patience=Patience(quiet_seconds=120, waiting_seconds=20),
                tell=upgrade.tell,
            )
            await player.play()
            assert upgrade.done == len(upgrade.steps)
            assert [name for name, one in fleet.running.items() if one.poll() is not None] == []
            ((now,),) = fleet.ask("SELECT version_num FROM alembic_version")
            assert at_first < now
            # Both have made documents side by side.
            beside = {
                worker
                for (worker,) in fleet.ask(
                    f"SELECT worker_id FROM effects ORDER BY planned_at OFFSET {upgrade.before}"
                )
            }
            assert beside & upgrade.old
            assert beside & upgrade.new
            books = await asyncio.to_thread(fleet.books)
            owned = frozenset(one["document"] for one in books["differences"])
            assert [str(one) for one in await outside_truth(steering, owned)] == []
            assert books["books_hash"] == undisturbed(customers, seed).hash
        finally:
            await fleet.stop()
            await steering.close()


@pytest.mark.soak
async def test_previous_and_present_release_side_by_side(
    tmp_path: Path, previous: Path, empty_postgres_url: str
) -> None:
    await roll(tmp_path, previous, empty_postgres_url, 12, 11)


@pytest.mark.soak
async def test_this_release_takes_over_a_file_that_the_previous_one_died_on(
    tmp_path: Path, previous: Path
) -> None:
    hub, wrong = await play_with_kills(tmp_path, 6, 11, kills=3, first=previous)
    assert wrong == []
    assert hub.kills == 3
