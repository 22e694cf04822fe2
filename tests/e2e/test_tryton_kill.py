"""`kill -9` of the real ERP in the middle of its work, and of the hub while it waits for it: one document each,
balanced, and the books tie."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.test_kill import LEASE_SECONDS, Hub
from tests.e2e.test_tryton_demo import own_books, postgres
from tieout_lab.child import twins
from tieout_lab.demo import outside_truth
from tieout_lab.environments import free_port
from tieout_lab.scenario import Player, Steering, make_plan
from tieout_lab.scenario.draws import Draws
from tieout_lab.scenario.plan import OPENING
from tieout_lab.scenario.play import Patience
from tieout_lab.world import BILLING, Company, write_company

__all__ = ["postgres"]

# The real server gives back what it was at within a second of its client's death; with it everything is gone at once.
LONGEST_SECONDS = 8
OPERATIONS = ("account.invoice.create", "account.invoice.post", "account.move.create", "account.move.post")
SEED = 7


async def executioner(hub: Hub, steering: Steering, kills: int, told: Counter[str]) -> None:
    """In turn: the server somewhere in the middle of a call, and the hub before or after one."""
    draws = Draws(SEED)
    while told.total() < kills:
        number = told.total()
        victim = ("server", "hub")[number % 2]
        kind = (
            "pause_before"
            if victim == "server"
            else draws.pick(("pause_before", "pause_after"), "kind", number)
        )
        nth = 1 + draws.below(2, "nth", number)
        script = [{"operation": operation, "nth": nth, "kind": kind} for operation in OPERATIONS]
        await steering.faults("tryton", {"script": script})
        while True:
            try:
                await steering.control("tryton", "paused")
                break
            except TimeoutError:
                continue
        if victim == "hub":
            hub.kill()
            await steering.control("tryton", "resume", {})
            hub.start()
        else:
            await steering.control("tryton", "resume", {})
            await asyncio.sleep(draws.below(200, "moment", number) / 1000)
            await steering.act("tryton", "kill")
            await steering.act("tryton", "start")
        told[victim] += 1
    # The others of the last script would wait for somebody who does not come.
    await steering.faults("tryton", {})
    await steering.control("tryton", "resume", {})


async def play_with_kills(
    folder: Path, url: str, *, customers: int, kills: int
) -> tuple[Counter[str], list[str], dict[str, Any]]:
    port = free_port()
    async with twins(business=OPENING, tryton=url) as described:
        steering = Steering(described)
        company = Company(
            technical=datetime.now(UTC), port=port, timeout_seconds=2, lease_seconds=LEASE_SECONDS + 5
        )
        settings = write_company(folder, described, company)
        horizon = f"longest_seconds = {LONGEST_SECONDS}\n"
        text = settings.read_text().replace("longest_seconds = 120\n", horizon)
        text = text.replace('vendor = "stripe"\n', f'vendor = "stripe"\n{horizon}')
        settings.write_text(text)
        hub, told = Hub(settings, port), Counter[str]()
        for entity, name in BILLING.items():
            hook = f"{hub.url}/hooks/{name}"
            await steering.act("stripe", "register_webhook", account=f"acct_{entity}", url=hook)
        hub.start()
        try:
            patience = Patience(quiet_seconds=600, waiting_seconds=20)
            # A kill that fails ends the play: nobody would start again what it left dead.
            async with asyncio.TaskGroup() as group:
                killing = group.create_task(executioner(hub, steering, kills, told))
                await Player(make_plan(SEED, customers), steering, hub, patience=patience).play()
                killing.cancel()
            await steering.faults("tryton", {})
            await hub.stop()
            books = await asyncio.to_thread(hub.books)
            owned = frozenset(one["document"] for one in books["differences"])
            wrong = [str(one) for one in await outside_truth(steering, owned)]
            await asyncio.to_thread(own_books, described)
            return told, wrong, await steering.act("tryton", "snapshot")
        finally:
            await hub.stop()
            await steering.close()


def in_order(snapshot: dict[str, Any]) -> None:
    """The server's numbers go up with its dates, without a gap: nothing was numbered and lost."""
    for kind in ("invoice", "creditMemo"):
        numbered = sorted(
            (one["number"], one["invoice_date"]) for one in snapshot["documents"] if one["type"] == kind
        )
        assert [day for _, day in numbered] == sorted(day for _, day in numbered)
        ordinals = [int(number.rpartition("-")[2]) for number, _ in numbered]
        assert ordinals == list(range(1, len(ordinals) + 1))


@pytest.mark.skipif(sys.platform != "linux", reason="kill -9 of a process group: Linux")
async def test_killed_in_the_middle_of_its_work(postgres: str, tmp_path: Path) -> None:
    told, wrong, snapshot = await play_with_kills(tmp_path, postgres, customers=3, kills=4)
    assert wrong == []
    assert told == {"server": 2, "hub": 2}
    in_order(snapshot)


@pytest.mark.soak
async def test_killed_forty_times(postgres: str, tmp_path: Path) -> None:
    told, wrong, snapshot = await play_with_kills(tmp_path, postgres, customers=12, kills=40)
    assert wrong == []
    assert told == {"server": 20, "hub": 20}
    in_order(snapshot)
