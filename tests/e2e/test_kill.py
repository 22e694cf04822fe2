"""`kill -9` of `tieout up` at requests that a twin has just received: the same books, and nothing twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.asking import Asking
from tests.e2e.demo_run import COMMAND, environment, undisturbed
from tieout_lab.child import twins
from tieout_lab.demo import outside_truth
from tieout_lab.environments import free_port
from tieout_lab.scenario import Player, Steering, make_plan
from tieout_lab.scenario.draws import Draws
from tieout_lab.scenario.plan import CUT_OFF, OPENING
from tieout_lab.scenario.play import Patience
from tieout_lab.world import BILLING, Company, write_company

# A killed write is believed not to have happened after so many seconds; the twin ends what it was at within one.
LONGEST_SECONDS, VISIBILITY_SECONDS = 4, 1
LEASE_SECONDS = 5
TWINS = ("netsuite", "netsuite", "stripe", "salesforce")


class Hub(Asking):
    """`tieout up` as a process that is killed and started again; asked by its API how it stands."""

    def __init__(self, settings: Path, port: int) -> None:
        self.settings = settings
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.kills = 0
        # The source of another release, which runs until it is killed.
        self.release: Path | None = None

    def start(self) -> None:
        given = environment()
        if self.release is not None:
            given["PYTHONPATH"] = str(self.release)
        with (self.settings.parent / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "--config", str(self.settings), "--log-level", "error", "up"],
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=given,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.release = None

    async def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            await asyncio.to_thread(self.process.wait, 20)
        await self.forget()

    def books(self) -> dict:
        """What `tieout books` says while the hub is down."""
        done = subprocess.run(
            [*COMMAND, "--config", str(self.settings), "books", "--json", "--cut-off", CUT_OFF.isoformat()],
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return json.loads(done.stdout)


async def executioner(hub: Hub, steering: Steering, draws: Draws, kills: int) -> None:
    """Kill at so many requests, chosen by the seed: which twin, which one from now, before or after its work."""
    while hub.kills < kills:
        number = hub.kills
        twin = draws.pick(TWINS, "twin", number)
        kind = draws.pick(("pause_before", "pause_after"), "kind", number)
        nth = 1 + draws.below(12, "nth", number)
        await steering.faults(twin, {"script": [{"operation": "*", "nth": nth, "kind": kind}]})
        while True:
            try:
                await steering.control(twin, "paused")
                break
            except TimeoutError:
                continue
        hub.kill()
        # The twin goes on with what it was at: its client is gone, its work is done.
        await steering.control(twin, "resume", {})
        hub.start()


async def play_with_kills(
    tmp_path: Path, customers: int, seed: int, kills: int, first: Path | None = None
) -> tuple[Hub, list[str]]:
    """`first`: the source of the release that runs until the first kill; ours by default."""
    port = free_port()
    async with twins(business=OPENING) as described:
        steering = Steering(described)
        company = Company(
            technical=datetime.now(UTC), port=port, timeout_seconds=2, lease_seconds=LEASE_SECONDS
        )
        settings = write_company(tmp_path, described, company)
        horizon = f"longest_seconds = {LONGEST_SECONDS}\nvisibility_seconds = {VISIBILITY_SECONDS}\n"
        text = settings.read_text()
        for vendor in ("stripe", "netsuite"):
            text = text.replace(f'vendor = "{vendor}"\n', f'vendor = "{vendor}"\n{horizon}')
        # Here the process is killed from outside, whatever it has in hand.
        text = text.replace("[engine]\n", "[engine]\nmost_crashes = 1000\n")
        settings.write_text(text)
        hub = Hub(settings, port)
        hub.release = first
        for entity, name in BILLING.items():
            hook = f"{hub.url}/hooks/{name}"
            await steering.act("stripe", "register_webhook", account=f"acct_{entity}", url=hook)
        hub.start()
        killing = asyncio.create_task(executioner(hub, steering, Draws(seed), kills))
        try:
            player = Player(
                make_plan(seed, customers),
                steering,
                hub,
                patience=Patience(quiet_seconds=60 + 40 * kills, waiting_seconds=20),
            )
            await player.play()
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            for twin in ("stripe", "salesforce", "netsuite"):
                await steering.faults(twin, {})
            await hub.stop()
            books = await asyncio.to_thread(hub.books)
            owned = frozenset(one["document"] for one in books["differences"])
            wrong = [str(one) for one in await outside_truth(steering, owned)]
            assert books["books_hash"] == undisturbed(customers, seed).hash
            return hub, wrong
        finally:
            killing.cancel()
            await hub.stop()
            await steering.close()


@pytest.mark.skipif(sys.platform != "linux", reason="kill -9 of a process group: Linux")
@pytest.mark.parametrize("seed", [7])
async def test_killed_at_seeded_requests(seed: int, tmp_path: Path) -> None:
    hub, wrong = await play_with_kills(tmp_path, 3, seed, kills=4)
    assert wrong == []
    assert hub.kills == 4


@pytest.mark.soak
async def test_killed_at_fifty_seeded_requests(tmp_path: Path) -> None:
    hub, wrong = await play_with_kills(tmp_path, 12, 11, kills=50)
    assert wrong == []
    assert hub.kills == 50
