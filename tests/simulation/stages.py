"""Worlds in which some bugs are hunted, because an ordinary life hardly ever comes to where they bite."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from functools import partial
from typing import Any

from msgspec.structs import replace

from tests.simulation.planting import Change, Swap
from tieout.engine.commands import execute
from tieout.store import people as store_people
from tieout_lab.simulation import judge, profiles, world
from tieout_lab.simulation.life import Life
from tieout_lab.simulation.ports import Fate

# What goes into one batch may be refused item by item so often.
_REFUSED = 0.3


def one_permit(swap: Swap) -> Change:
    """Every connection takes one call at a time, and calls take up to ten seconds: whatever can wait for others does,
    and leaves in batches, of which single items are refused."""
    swap(world, "write_company", partial(world.write_company, timeout_seconds=10))
    honest = Life.trouble

    def trouble(self: Life) -> None:
        honest(self)
        for twin in self.world.twins.values():
            twin.faults.partial_batch = _REFUSED

    swap(Life, "trouble", trouble)
    calm = Life.calm

    def calmed(self: Life) -> None:
        calm(self)
        for twin in self.world.twins.values():
            twin.faults.partial_batch = 0.0

    swap(Life, "calm", calmed)

    def tight(app: Any) -> None:
        for budget in app.hub.budgets.values():
            budget.limits = replace(budget.limits, in_flight=1)

    return tight


def _month_after_month(swap: Swap) -> None:
    """Nothing happens but that the months go by, so that invoices come together."""

    async def next_month(self: Life, step: int) -> None:
        self.done.append("next month")
        await self._next_month(step)

    swap(Life, "_act", next_month)


def slow_erp(swap: Swap) -> Change:
    """As `one_permit`, month after month; the ERP goes on working for long on every third call, and the hub dies over
    and over while a call is out and other documents wait."""
    tight = one_permit(swap)
    _month_after_month(swap)
    honest = Life._blow

    def blow(self: Life) -> None:
        honest(self)
        self.world.erp.faults.rates["late"] = 0.3

    def fates(draw: Any, *_: Any) -> list[Fate]:
        first = Fate(kill_at_write=8 + int(8 * draw("first kill")), write_side="during")
        later = [Fate(kill_at_write=1 + int(4 * draw("kill", n)), write_side="during") for n in range(10)]
        return [first, *later]

    swap(Life, "_blow", blow)
    swap(profiles, "fates", fates)
    return tight


def out_of_order(swap: Swap) -> Change:
    """As `one_permit`, month after month, and the CRM answers for the records of a call in reversed order."""
    tight = one_permit(swap)
    honest = Life.trouble

    def trouble(self: Life) -> None:
        honest(self)
        self.world.crm.collections.disorder = ["reversed"] * 10_000

    swap(Life, "trouble", trouble)
    _month_after_month(swap)
    return tight


def seen_late(swap: Swap) -> Change:
    """What is made at the ERP is not found there for almost a minute."""
    honest = Life.trouble

    def trouble(self: Life) -> None:
        honest(self)
        self.world.erp.faults.visibility_delay_seconds = 55.0

    swap(Life, "trouble", trouble)
    return None


def back_and_forth(swap: Swap) -> Change:
    """People rename a customer, and think better of it, again and again."""

    async def deed(self: Life, step: int) -> None:
        await asyncio.sleep(self.world.crm.faults.visibility_delay_seconds)
        account = min(self.world.crm.org.store.rows("Account"), key=lambda row: str(row["Id"]))
        await self.people.rename(account["Id"], ("Acme", "Apex")[step % 2])

    async def act(self: Life, step: int) -> None:
        self.done.append("rename")
        await self.people.move_to(self.world.clock.business() + timedelta(seconds=1))
        await deed(self, step)

    swap(Life, "_act", act)
    return None


def closed_month(swap: Swap) -> Change:
    """In the end the month is closed at the ERP, deals are signed in it all the same, and what is held back is released
    into the next month: asked for by one person, approved by another a while later."""
    honest, outside = Life.settle, judge.outside
    periods: dict[str, str] = {}

    async def settle(self: Life) -> None:
        await honest(self)
        day = self.world.clock.business().date()
        after = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
        await self.people.close_period(day)
        await self.people.sell(await self.people.customer("Early"))
        await self.world.rest()
        asked = await _ask(self, f"{after:%Y-%m}")
        await self.people.sell(await self.people.customer("Late"))
        await self.world.rest()
        while asked is not None:
            listed = [str(one["lane"]).rpartition("|")[2] for one in asked["documents"]]
            periods.update(dict.fromkeys(listed, f"{after:%b %Y}"))
            await _do(self, "approvals.decide", "controller", approval_id=asked["approval_id"], approve=True)
            await self.world.rest()
            asked = await _ask(self, f"{after:%Y-%m}")

    async def judged(given: Any, **named: Any) -> list[str]:
        return await outside(given, **named, periods=periods)

    swap(Life, "settle", settle)
    swap(judge, "outside", judged)
    return None


async def _ask(life: Life, period: str) -> dict[str, Any] | None:
    """Ask for the release of what a closed period holds back, if anything."""
    assert life.world.app is not None
    names = store_people.COLUMNS.split(", ")
    rows = await life.world.app.hub.store.fetch(store_people.LIST, {})
    for found in (dict(zip(names, row, strict=True)) for row in rows):
        if found["code"] == "blocked_period":
            return await _do(
                life, "exceptions.resolve", "accountant", exception_id=found["exception_id"], period=period
            )
    return None


async def _do(life: Life, command: str, actor: str, **arguments: Any) -> dict[str, Any]:
    assert life.world.app is not None
    state, answer = await execute(life.world.app.hub, command, arguments, actor)
    assert state == "done", answer
    return answer
