"""One flow, one kind of call, one fault: the worlds of the fault matrix."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.process.flows import (
    FEBRUARY,
    FLOWS,
    JANUARY,
    Flow,
    credited,
    credited_unpaid,
    meter,
    name_accounts,
    paid,
    posted,
    subscriptions,
)
from tieout.app import App
from tieout.connectors.contract import Writer
from tieout.engine.commands import execute
from tieout.processes.books import read_books
from tieout.store import effects
from tieout_lab.simulation import judge
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import CALLED
from tieout_lab.simulation.world import SimulatedWorld
from tieout_lab.twins.faults import FaultPlan
from tieout_lab.twins.kit import Twin
from tieout_lab.twins.stripe.accounts import Account, Obj

# A call by the twin it goes to, the hub's name for it and the twin's name of what answers it.
Call = tuple[str, str, str]
EVENTS = "events"
WEBHOOK_FAULTS = ("duplicate", "drop", "delay", "reorder", "forge")
# The longest that a late call is worked on: less than what the connector says of its vendor.
_LATE_SECONDS = {"stripe": 110.0, "salesforce": 30.0, "netsuite": 890.0}
_HIDDEN_SECONDS = 55.0
_REORDER_SECONDS, _DELAY_SECONDS = 30.0, 90.0
# How long a call that only failed so far is waited for, and what is read back at last: virtual seconds.
_TRIED_AGAIN_SECONDS, _READ_BACK_SECONDS = 300.0, 6000.0
# Once more than the pause between two reads of the list of events.
_LISTED_SECONDS = 70.0
_FOR_EVER = 2**62
# Less than the 18 s of calm that a world's rest takes; more calls are needless: an hour of waiting is mostly polls.
_POLL_SECONDS = 14


@dataclass(frozen=True)
class Trouble:
    """What goes wrong: a kind of fault at the `nth` call of this kind and the ones after it, `times` in all. `loose`:
    the ERP enforces no key and shows late what was made. For `call[0] == EVENTS` the call is a webhook of this type."""

    call: Call
    kind: str
    nth: int = 1
    times: int = 1
    loose: bool = False


@dataclass(frozen=True)
class Course:
    """A flow of the matrix and the company it is played in: `told`, what its configuration says otherwise. `lost`: the
    answer to the first write of each kind never comes, and the ERP is a loose one, so that look-ups are called."""

    flow: Flow
    told: tuple[tuple[str, str], ...] = ()
    feed: str = "sweep"
    lost: bool = False


@dataclass
class Seen:
    """What a world left behind. `calls`: how many of each kind, `writes`: which of them write, `declared`: the writes
    that the connectors say they can, by vendor."""

    books: Any = None
    waiting: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    calls: Counter[Call] = field(default_factory=Counter)
    writes: set[Call] = field(default_factory=set)
    declared: set[tuple[str, str]] = field(default_factory=set)
    fired: int = 0


@dataclass(slots=True)
class Aimed(FaultPlan):
    """The faults of one twin in the matrix: those of one trouble, counted by kind of call."""

    twin: str = ""
    trouble: Trouble | None = None
    lost: bool = False
    seen: Seen = field(default_factory=Seen)
    # Whether the last call of the kind was a disturbed one.
    failing: bool = False

    def decide(self, operation: str, *, writes: bool) -> tuple[str, float] | None:
        call = (self.twin, CALLED.get(), operation)
        self.seen.calls[call] += 1
        if writes:
            self.seen.writes.add(call)
        trouble = self.trouble
        if trouble is None or trouble.call != call or trouble.kind == "partial":
            return (
                ("timeout_after_work", 0.0) if self.lost and writes and self.seen.calls[call] == 1 else None
            )
        self.failing = 0 <= self.seen.calls[call] - trouble.nth < trouble.times
        if not self.failing:
            return None
        self.seen.fired += 1
        return trouble.kind, _LATE_SECONDS[self.twin]

    def chance(self, name: str, rate: float) -> bool:
        hit = FaultPlan.chance(self, name, rate)
        self.seen.fired += hit and name == "partial_batch"
        return hit


class Hooks:
    """The troubled way of one type of webhook: every one of `times` from the `nth` on."""

    def __init__(self, twin: Any, trouble: Trouble | None, seen: Seen) -> None:
        self._twin, self._trouble, self._seen = twin, trouble, seen
        self._plan: Callable[[Account, Obj, Obj], None] = twin.webhooks._plan
        self._held: list[tuple[Account, Obj, Obj]] = []
        # Whether one never came that only the list of events can still tell of.
        self.dropped = False
        twin.webhooks._plan = self.plan

    def plan(self, account: Account, endpoint: Obj, event: Obj) -> None:
        call = (EVENTS, event["type"], "")
        self._seen.calls[call] += 1
        trouble, ordinal = self._trouble, self._seen.calls[call]
        aimed = trouble is not None and trouble.call == call and 0 <= ordinal - trouble.nth < trouble.times
        if aimed and trouble is not None and trouble.kind == "reorder":
            self._held.append((account, endpoint, event))
            self._twin.later(self._release_later())
            return
        if aimed and trouble is not None:
            self._seen.fired += 1
            self.dropped = self.dropped or trouble.kind == "drop"
            self._twin.faults.webhooks = {trouble.kind: 1.0, "delay_seconds": _DELAY_SECONDS}
        self._plan(account, endpoint, event)
        self._twin.faults.webhooks = {}
        if self._held:
            self._seen.fired += len(self._held)
            self._release(1.0)

    def _release(self, after_seconds: float) -> None:
        held, self._held = self._held, []
        for one in held:
            self._twin.later(self._slowly(one, after_seconds))

    async def _slowly(self, one: tuple[Account, Obj, Obj], seconds: float) -> None:
        await asyncio.sleep(seconds)
        self._plan(*one)

    async def _release_later(self) -> None:
        await asyncio.sleep(_REORDER_SECONDS)
        self._release(0.0)


class DisturbedWorld(SimulatedWorld):
    """A world with one trouble in it, or with none."""

    def __init__(self, course: Course, trouble: Trouble | None) -> None:
        loose = course.lost or (trouble is not None and trouble.loose)
        super().__init__(
            1, enforce_keys=not loose, feed=course.feed, poll_seconds=_POLL_SECONDS, lease_seconds=60
        )
        text = self.file.read_text()
        for old, new in course.told:
            assert old in text, old
            text = text.replace(old, new)
        self.file.write_text(text)
        self.seen = Seen()
        self.said: list[str] = []
        self.aimed = []
        for name, twin in self.twins.items():
            self.aimed.append(self._aim(name, twin, trouble, course, loose=loose))
        self.hooks = Hooks(self.billing, trouble, self.seen)

    def _aim(self, name: str, twin: Twin, trouble: Trouble | None, course: Course, *, loose: bool) -> Aimed:
        plan = Aimed(twin=name, trouble=trouble, lost=course.lost, seen=self.seen)
        if name == "netsuite" and loose:
            plan.enforce_keys, plan.visibility_delay_seconds = False, _HIDDEN_SECONDS
        if trouble is not None and trouble.kind == "partial" and trouble.call[0] == name:
            plan.partial_batch = 0.5
        twin.faults = plan
        return plan

    async def rest(self, *, within_seconds: float = 7200.0) -> None:
        """At rest is only who has tried again what failed: a feed that could not be read has told nothing yet."""
        patience = asyncio.get_running_loop().time() + _TRIED_AGAIN_SECONDS
        await super().rest(within_seconds=within_seconds)
        if self.hooks.dropped:
            self.hooks.dropped = False
            await asyncio.sleep(_LISTED_SECONDS)
            await super().rest(within_seconds=within_seconds)
        while any(plan.failing for plan in self.aimed) and asyncio.get_running_loop().time() < patience:
            await asyncio.sleep(3.0)
            await super().rest(within_seconds=within_seconds)

    async def settle(self) -> None:
        """Until what was assigned in doubt has been read back."""
        assert self.app is not None
        patience = asyncio.get_running_loop().time() + _READ_BACK_SECONDS
        while asyncio.get_running_loop().time() < patience:
            await self.rest()
            given = {"now": _FOR_EVER, "limit": 1}
            if not await self.app.hub.store.fetch(effects.ASSIGNS_TO_VERIFY, given):
                return
            await asyncio.sleep(60.0)


async def _disturb(course: Course, trouble: Trouble | None, change: Callable[[App], None] | None) -> Seen:
    world = DisturbedWorld(course, trouble)
    world.change = change or world.change
    people = Business(world, JANUARY)
    try:
        # What the account was founded with can be seen whatever hides new things for a while.
        await asyncio.sleep(_HIDDEN_SECONDS)
        await people.open()
        await world.live()
        await course.flow(world, people)
        await world.settle()
        assert world.app is not None
        seen = world.seen
        for connection in world.app.hub.connections.values():
            if isinstance(connection.api, Writer):
                seen.declared |= {(connection.vendor, operation) for operation in connection.api.operations}
        seen.books = (await judge.content(world), world.said)
        seen.waiting = await judge.stopped(world)
        seen.wrong = [*await judge.outside(world), *await judge.inside(world), *world.history.wrong]
        return seen
    finally:
        await world.close()


def disturb(course: str, trouble: Trouble | None = None, change: Callable[[App], None] | None = None) -> Seen:
    """Play a course to its end with this trouble; `change` is done to each hub as it starts."""
    return run_virtual(_disturb(COURSES[course], trouble, change))


# -- what no golden flow does --------------------------------------------------------------------------------------
async def renamed(world: SimulatedWorld, people: Business) -> None:
    """A customer has another name."""
    account = await people.customer("Acme")
    await people.sell(account)
    await world.rest()
    await people.rename(account, "Acme Ltd")
    await world.rest()


async def kept_as_credit(world: SimulatedWorld, people: Business) -> None:
    """What was paid and credited stays with the customer and settles the next invoice, which is paid and detached."""
    await paid(world, people)
    await people.credit(people.invoices()[0]["id"], 10_000, refund="balance")
    await world.rest()
    await people.move_to(FEBRUARY)
    await world.rest()
    second = people.invoices()[-1]
    made = await people.pay(second["id"])
    await world.rest()
    await people.detach(second["id"], made["payment"]["payment_intent"])
    await world.rest()


async def fewer_seats(world: SimulatedWorld, people: Business) -> None:
    """Less than was paid for is left: an invoice below zero, whose credit settles the next one."""
    await paid(world, people)
    (sold,) = subscriptions(world)
    await people.change(sold["id"], [{"id": sold["items"]["data"][0]["id"], "quantity": 3}])
    await world.rest()
    await people.move_to(FEBRUARY)
    await world.rest()


async def approved_by_the_hub(world: SimulatedWorld, people: Business) -> None:
    """Documents are made pending, and the hub approves them."""
    await world.act("netsuite", "routing", subsidiary="2", mode="api")
    await people.sell(await people.customer("Kaisha", "jp"), "jp")
    await world.rest()


async def in_batches(world: SimulatedWorld, people: Business) -> None:
    """More than there are places for: documents leave together."""
    admit = world.erp.admit

    async def slowly(request: Any, operation: str) -> Any:
        refused = await admit(request, operation)
        await world.clock.sleep(1.5)
        return refused

    world.erp.admit = slowly  # type: ignore[method-assign]
    for number in range(6):
        await people.sell(await people.customer(f"Customer {number}"))
    await world.rest()
    for one in people.invoices():
        await people.pay(one["id"])
    await world.rest()


async def disputed(world: SimulatedWorld, people: Business) -> None:
    """A dispute is booked: what was taken, and its fee."""
    await name_accounts(world, settings='journal_approval = "hub"')
    tenant = world.erp.tenant
    tenant.preferences = tenant.preferences.change({"approve_journals": True})
    await paid(world, people)
    (charge,) = world.billing.accounts["acct_us"].all("charges")
    await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
    await world.rest()


async def used(world: SimulatedWorld, people: Business) -> None:
    """What a customer used is reported to a meter."""
    await posted(world, people)
    meter(world)
    one = {"identifier": "u-1", "customer": people.invoices()[0]["customer"], "meter": "calls"}
    row = {**one, "quantity": "12.5", "at": "2026-01-10T20:00:00Z"}
    state = ""
    while state != "done":  # refused while billing does not answer: people report it again
        given = {"connection": "stripe-us", "rows": [row], "file": "january.csv"}
        state, answer = await execute(world.app.hub, "usage.report", given, "accountant")
        assert state == "done" or "nothing was taken in" in str(answer), answer
        await asyncio.sleep(60)
    await world.rest()


async def read(world: SimulatedWorld, people: Business) -> None:
    """Books with everything in them are read by listings."""
    await credited(world, people)
    await asyncio.sleep(_HIDDEN_SECONDS)  # until everything can be listed, whatever the account is like
    assert isinstance(world, DisturbedWorld)
    assert world.app is not None
    books = await read_books(world.app.hub)
    world.said += [books.books_hash, str(books.tied)]


async def from_an_order(world: SimulatedWorld, people: Business) -> None:
    """What was sold stands on an order."""
    account = await people.customer("Acme")
    deal = await people.sell(account, lines=[])
    rows = (await world.act("salesforce", "snapshot", objects=["Product2"]))["Product2"]
    platform = next(row["Id"] for row in rows if row["ProductCode"] == "PLATFORM")
    fields = {"AccountId": account, "OpportunityId": deal, "Status": "Draft"}
    fields |= {"EffectiveDate": "2026-01-10", "EndDate": "2027-01-09"}
    order = await world.act("salesforce", "create", object="Order", fields=fields)
    line = {"OrderId": order["id"], "Product2Id": platform, "Quantity": 3, "UnitPrice": "50.00"}
    await world.act("salesforce", "create", object="OrderItem", fields=line)
    await world.rest()
    await world.act("salesforce", "update", object="Order", id=order["id"], fields={"Status": "Activated"})
    await world.rest()


_SALESFORCE = 'vendor = "salesforce"'
COURSES: dict[str, Course] = {name: Course(flow) for name, flow in FLOWS.items()} | {
    "renamed": Course(renamed),
    "kept_as_credit": Course(kept_as_credit),
    "fewer_seats": Course(fewer_seats),
    "approved_by_the_hub": Course(approved_by_the_hub, (('2 = "person"', '2 = "hub"'),)),
    "made_out_of_the_invoice": Course(
        credited_unpaid, (("in_flight = 10", "in_flight = 10\ntransform_credits = true"),)
    ),
    "in_batches": Course(in_batches, (("in_flight = 10", "in_flight = 2"),)),
    "disputed": Course(disputed),
    "used": Course(used),
    "read": Course(read),
    "from_an_order": Course(from_an_order, ((_SALESFORCE, f'{_SALESFORCE}\norder_source = "order"'),)),
    "by_change_events": Course(posted, feed="pubsub"),
    "credited, answers lost": Course(credited, lost=True),
    "kept_as_credit, answers lost": Course(kept_as_credit, lost=True),
}
