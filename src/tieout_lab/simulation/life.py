"""What the people of one simulated company do, step by step, while things go wrong around them.

Nothing is drawn in passing: each choice is hash(seed, who, what, ordinal), so that leaving one step out changes no
other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tieout_lab.simulation import judge, profiles
from tieout_lab.simulation.business import ACCOUNT, LINES, YEN_LINES, Business
from tieout_lab.simulation.ports import VirtualClock, draw
from tieout_lab.simulation.world import SimulatedWorld, Unquiet

_TICK_SECONDS = 10.0
# So many of a twin's calls fail at the worst of times.
_STORMIEST = 0.5


@dataclass(frozen=True)
class Size:
    """How large a life is: customers at most, deeds, and about how many port operations a process lives through."""

    customers: int
    steps: int
    operations: int


SMALL = Size(customers=2, steps=5, operations=700)


def of_days(days: int) -> Size:
    """About five hundred events a day."""
    return Size(customers=12 * days, steps=30 * days, operations=4000 * days)


@dataclass
class Life:
    """One seed's course."""

    seed: int
    world: SimulatedWorld
    people: Business
    profile: profiles.Profile
    size: Size = SMALL
    without: frozenset[str] = frozenset()
    done: list[str] = field(default_factory=list)
    unapproved: list[str] = field(default_factory=list)
    _weather: dict[str, dict[str, profiles.Weather]] = field(default_factory=dict)
    _blowing: asyncio.Task[None] | None = None
    _setting_back: list[asyncio.TimerHandle] = field(default_factory=list)
    _backup: tuple[Path, datetime] | None = None
    _promised: set[tuple[str, str]] = field(default_factory=set)

    def draw(self, *parts: object) -> float:
        return draw(self.seed, *parts)

    def choose(self, given: list[Any], *parts: object) -> Any:
        return given[int(self.draw(*parts) * len(given))]

    # -- what goes wrong --------------------------------------------------------------------------------------------
    def trouble(self) -> None:
        """Faults of every twin, of the database, and the deaths and stops of the hub's processes."""
        for name, twin in self.world.twins.items():
            faults = twin.faults
            faults.seed = self.seed
            self._weather[name] = profiles.weather(self.draw, self.profile, name, self.without)
            # Later than any vendor: never; as late as the connector's own horizon allows: yes.
            faults.late_seconds = (
                (5.0, 110.0) if name == "stripe" else (20.0, 890.0) if name == "netsuite" else (5.0, 30.0)
            )
            if (
                self.profile.hidden
                and self.draw(name, "hidden") < 0.5
                and f"{name}.hidden" not in self.without
            ):
                faults.visibility_delay_seconds = 55.0 if name != "salesforce" else 20.0
        self.world.billing.faults.webhooks = profiles.webhooks(self.draw, self.profile, self.without)
        self.world.fates = profiles.fates(
            self.draw, self.profile, len(self.world.nodes), self.size.operations, self.without
        )
        self.world.store_trouble = profiles.store_trouble(self.draw, self.profile, self.without)
        self._clocks()
        self._blow()
        self._blowing = asyncio.ensure_future(self._keep_blowing())

    def _clocks(self) -> None:
        loop, troubles = asyncio.get_running_loop(), self.world.troubles

        def set_back(clock: VirtualClock, seconds: float) -> None:
            clock.ahead_seconds -= seconds
            troubles["clock.back"] += 1

        for node in self.world.nodes:
            drawn = profiles.clock_trouble(self.draw, self.profile, node.number, self.without)
            if drawn.ahead:
                node.clock.ahead_seconds = drawn.ahead
                troubles["clock.apart"] += 1
            if drawn.back:
                self._setting_back.append(loop.call_at(drawn.back_at, set_back, node.clock, drawn.back))

    async def _keep_blowing(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._blow()

    def _blow(self) -> None:
        now = asyncio.get_running_loop().time()
        for name, twin in self.world.twins.items():
            rates = {kind: one.rate_at(now) for kind, one in self._weather[name].items()}
            # Bursts that meet must not add up to an outage for good: a lane that looks every five minutes would meet
            # nothing else, and be put before a person, rightly.
            mildly = min(1.0, _STORMIEST / (sum(rates.values()) or 1.0))
            twin.faults.rates = {kind: rate * mildly for kind, rate in rates.items()}

    def parts(self) -> list[str]:
        """What of this life can be left out, by name: for shrinking."""
        kinds = [one.name for found in self._weather.values() for one in found.values()]
        kinds += [f"{name}.hidden" for name in self.world.twins]
        kinds += [f"webhook.{kind}" for kind in ("duplicate", "drop", "forge", "delay")]
        kinds += ["store.down", "store.lost_reply", "store.outage", "un-keyed"]
        kinds += [f"kill.{number}" for number in range(self.profile.kills)]
        kinds += [f"pause.{number}" for number in range(self.profile.pauses)]
        kinds += [f"clock.{part}{node.number}" for node in self.world.nodes for part in ("", "back.")]
        kinds += ["restore"]
        kinds += [f"step.{number}" for number in range(self.size.steps)]
        kinds += [f"customer.{number}" for number in range(self.size.customers)]
        return [name for name in kinds if name not in self.without]

    def calm(self) -> None:
        """The trouble is over; what it has begun ends by itself."""
        if self._blowing is not None:
            self._blowing.cancel()
        for timer in self._setting_back:
            timer.cancel()
        self.world.store_trouble = None
        for twin in self.world.twins.values():
            twin.faults.rates = {}
            twin.faults.webhooks = {}
            twin.faults.script = []

    # -- what people do -----------------------------------------------------------------------------------------------
    async def play(self) -> None:
        """Sell, then a few months of whatever comes."""
        least = 1 + self.size.customers // 2 if self.size.customers > 2 else 1
        for number in range(least + int(self.draw("customers") * (self.size.customers - least + 1))):
            if f"customer.{number}" not in self.without:
                await self._customer(number)
        await self._pass(0)
        for waiting in self.unapproved:
            await self.people.edit_deal(waiting, Finance_Approved__c=True)
        for step in range(self.size.steps):
            await self._lose_the_machine(step)
            if f"step.{step}" not in self.without:
                await self._act(step)
                await self._pass(step + 1)

    async def _lose_the_machine(self, step: int) -> None:
        """Before one step the database is backed up; some steps later the machine is lost, and comes back up to an hour
        after that, on a database that has forgotten what was done since."""
        if self.size is SMALL:
            return
        taken, lost = profiles.restore(self.draw, self.profile, self.size.steps, self.without) or (-1, -1)
        if step == taken:
            self._backup = self.world.back_up(), self.world.clock.now()
            self._promised = set(self.world.history.acknowledged)
        if step == lost and self._backup is not None:
            self.world.troubles["restore"] += 1
            await self.world.put_back(self._backup[0])
            # What was acknowledged since is forgotten, and comes again only as far as a feed lists its kind: that
            # nothing of it is missing is for outside truth to say.
            self.world.history.acknowledged = self._promised
            await asyncio.sleep(3600 * self.draw("restore away"))
            await self.world.restored(*self._backup)
            await self.world.live()

    async def _customer(self, number: int) -> None:
        entity = "jp" if self.draw("entity", number) < 0.25 else "us"
        account = await self.people.customer(f"Customer {number}", entity)
        for deal in range(1 + int(self.draw("deals", number) * 2)):
            lines = list(
                YEN_LINES if entity == "jp" else LINES[: 1 + int(self.draw("lines", number, deal) * 2)]
            )
            approved = self.draw("approved", number, deal) < 0.7
            sold = await self.people.sell(account, entity, lines=lines, finance_approved=approved)
            if not approved:
                self.unapproved.append(sold)

    async def _pass(self, step: int) -> None:
        """A while goes by, sometimes to rest, sometimes hardly any."""
        if self.draw("rest", step) < (0.3 if self.size is SMALL else 0.1):
            with contextlib.suppress(Unquiet):  # in the midst of trouble it need not come to rest
                await self.world.rest(within_seconds=20_000)
            return
        # A dead process is noticed and started again.
        until = asyncio.get_running_loop().time() + 30 * self.draw("pause", step)
        while asyncio.get_running_loop().time() < until:
            await self.world.live()
            await asyncio.sleep(1)

    async def _act(self, step: int) -> None:
        deeds: list[Callable[[int], Any]] = [
            self._next_month,
            self._pay,
            self._pay,
            self._wire,
            self._credit,
            self._void,
            self._write_off,
            self._recover,
            self._downgrade,
            self._rename,
        ]
        deed = self.choose(deeds, "deed", step)
        self.done.append(deed.__name__.strip("_"))
        # Billing dates by the second, and people do one thing after the other.
        await self.people.move_to(self.world.clock.business() + timedelta(seconds=1))
        try:
            await deed(step)
        except AssertionError:
            self.done[-1] += " refused"  # billing takes no payment of a voided invoice, and the like

    def _open(self, step: int) -> tuple[str, dict[str, Any]] | None:
        entities = [("us", one) for one in self.people.invoices("us")]
        entities += [("jp", one) for one in self.people.invoices("jp")]
        found = [(entity, one) for entity, one in entities if one["status"] == "open"]
        return self.choose(found, "invoice", step) if found else None

    async def _next_month(self, step: int) -> None:  # noqa: ARG002 - a deed
        await self.people.move_to(self.world.clock.business() + timedelta(days=31))

    async def _pay(self, step: int) -> None:
        if found := self._open(step):
            await self.people.pay(found[1]["id"], found[0])

    async def _wire(self, step: int) -> None:
        if found := self._open(step):
            entity, one = found
            over = int(self.draw("over", step) * 3) * 500
            part = one["amount_remaining"] // 2 if self.draw("part", step) < 0.4 else one["amount_remaining"]
            amount, currency = part + over, one["currency"]
            await self.people.wire(one["customer"], amount, [(one["id"], part)], entity, currency)

    async def _credit(self, step: int) -> None:
        invoices = [
            (e, one)
            for e in ("us", "jp")
            for one in self.people.invoices(e)
            if one["status"] in ("open", "paid", "uncollectible")
        ]
        if invoices:
            entity, one = self.choose(invoices, "credit", step)
            way = self.draw("refund", step)
            # Kept as the customer's balance it settles the next invoice.
            refund = "outside" if way < 0.3 else "balance" if way < 0.6 else one["status"] == "paid"
            if self.draw("amount alone", step) < 0.3:
                await self.people.credit_amount(one["id"], 1_101, entity, refund=refund)
            else:
                await self.people.credit(one["id"], 1_000, refund=refund, entity=entity)

    async def _void(self, step: int) -> None:
        if found := self._open(step):
            await self.people.void(found[1]["id"], found[0])

    async def _write_off(self, step: int) -> None:
        if found := self._open(step):
            await self.people.write_off(found[1]["id"], found[0])

    async def _recover(self, step: int) -> None:
        """What was written off is paid after all, in part or in whole."""
        lost = [
            (e, one)
            for e in ("us", "jp")
            for one in self.people.invoices(e)
            if one["status"] == "uncollectible"
        ]
        if lost:
            entity, one = self.choose(lost, "recover", step)
            left = one["amount_remaining"]
            part = left // 2 if self.draw("recovered", step) < 0.5 else left
            await self.people.wire(one["customer"], part, [(one["id"], part)], entity, one["currency"])

    async def _downgrade(self, step: int) -> None:
        """Fewer seats in the midst of a period: the credit settles what comes next."""
        running = [
            (e, one)
            for e, account in ACCOUNT.items()
            for one in self.world.billing.accounts[account].all("subscriptions")
            if one["status"] == "active" and one["items"]["data"][0]["quantity"] > 1
        ]
        if running:
            entity, one = self.choose(running, "downgrade", step)
            item = one["items"]["data"][0]
            fewer = {"id": item["id"], "quantity": max(1, item["quantity"] // 2)}
            await self.people.change(one["id"], [fewer], entity)

    async def _rename(self, step: int) -> None:
        await asyncio.sleep(self.world.crm.faults.visibility_delay_seconds)
        accounts = list(self.world.crm.org.store.rows("Account"))
        chosen = self.choose(accounts, "name", step)["Id"]
        await self.people.rename(chosen, f"Renamed {step}")

    async def settle(self) -> None:
        """Faults over, time for everything in doubt, a person approves what waits for one; then the last rest."""
        self.calm()
        # An invoice, what was paid of it after its write-off, and what that settles are approved one after another.
        for _ in range(3):
            await self.world.rest(within_seconds=20_000)
            # Once more than the pause between two reads of the list of events.
            await asyncio.sleep(70)
            await self.people.approve_all()
        # Once more than the pause between two looks whether what was approved is posted by now.
        await asyncio.sleep(70)
        await self.world.rest(within_seconds=20_000)
        for _ in range(40):
            if not await judge.restoring(self.world):
                break
            await asyncio.sleep(60)
            await self.world.rest()
