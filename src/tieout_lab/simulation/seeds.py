"""One seed, one company's life: what its people do, what goes wrong outside, where the hub dies.

Nothing is drawn in passing: each choice is hash(seed, who, what, ordinal), so that leaving one step out changes no
other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from tieout_lab.simulation import judge
from tieout_lab.simulation.business import LINES, YEN_LINES, Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import draw
from tieout_lab.simulation.world import SimulatedWorld
from tieout_lab.twins.kit import Twin

_BEGIN = datetime(2026, 1, 10, 20, tzinfo=UTC)
# The master data of the outside systems is older than any delay after which it is seen.
_OLD_SECONDS = 120
_WRITE_FAULTS = (
    "timeout_after_work",
    "late",
    "error_after",
    "error_before",
    "reset",
    "refuse",
    "rate_limited",
    "malformed",
)


@dataclass
class Outcome:
    """What came of one seed. `violations` is empty when all is well."""

    seed: int
    violations: list[str]
    faults: dict[str, int]
    ways: dict[str, int]
    lives: int
    operations: int
    events: int
    hash: str
    documents: int
    parked: int = 0

    def replay(self) -> str:
        """The one line that plays this seed again."""
        return f"python -m tieout_lab.simulation.seeds {self.seed}"


@dataclass
class Life:
    """One seed's course."""

    seed: int
    world: SimulatedWorld
    people: Business
    steps: int = 5
    done: list[str] = field(default_factory=list)
    unapproved: list[str] = field(default_factory=list)

    def draw(self, *parts: object) -> float:
        return draw(self.seed, *parts)

    def choose(self, given: list[Any], *parts: object) -> Any:
        return given[int(self.draw(*parts) * len(given))]

    # -- what goes wrong --------------------------------------------------------------------------------------------
    def trouble(self) -> None:
        """Faults of every twin, and the deaths of the hub."""
        for name, twin in self.world.twins.items():
            self._trouble(name, twin)
        for life in range(int(self.draw("lives") * 3)):
            at = 5 + int(self.draw("death", life) ** 2 * 700)
            self.world.deaths.append((at, self.draw("death side", life) < 0.5))

    def _trouble(self, name: str, twin: Twin) -> None:
        faults = twin.faults
        faults.seed = self.seed
        kinds = [kind for kind in _WRITE_FAULTS if self.draw(name, "has", kind) < 0.4]
        faults.rates = {kind: 0.02 + 0.1 * self.draw(name, "rate", kind) for kind in kinds}
        # Later than any vendor: never; as late as the connector's own horizon allows: yes.
        faults.late_seconds = (
            (5.0, 110.0) if name == "stripe" else (20.0, 890.0) if name == "netsuite" else (5.0, 30.0)
        )
        if self.draw(name, "hidden") < 0.5:
            faults.visibility_delay_seconds = 55.0 if name != "salesforce" else 20.0
        if name == "stripe":
            faults.webhooks = {
                "duplicate": 0.3 * self.draw("webhook", "duplicate"),
                "drop": 0.2 * self.draw("webhook", "drop"),
                "forge": 0.1,
                "delay": 0.5 * self.draw("webhook", "delay"),
                "delay_seconds": 90.0,
            }

    def calm(self) -> None:
        """The trouble is over; what it has begun ends by itself."""
        for twin in self.world.twins.values():
            twin.faults.rates = {}
            twin.faults.webhooks = {}
            twin.faults.script = []

    # -- what people do -----------------------------------------------------------------------------------------------
    async def play(self) -> None:
        """Sell, then a few months of whatever comes."""
        for number in range(1 + int(self.draw("customers") * 2)):
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
        await self._pass(0)
        for waiting in self.unapproved:
            await self.people.edit_deal(waiting, Finance_Approved__c=True)
        for step in range(self.steps):
            await self._act(step)
            await self._pass(step + 1)

    async def _pass(self, step: int) -> None:
        """A while goes by, sometimes to rest, sometimes hardly any."""
        if self.draw("rest", step) < 0.3:
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
            self._rename,
        ]
        deed = self.choose(deeds, "deed", step)
        self.done.append(deed.__name__.strip("_"))
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
        # Billing takes no first period that is over: what was sold is at billing before the month ends.
        await asyncio.sleep(60)
        await self.world.rest(within_seconds=20_000)
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
            if one["status"] in ("open", "paid")
        ]
        if invoices:
            entity, one = self.choose(invoices, "credit", step)
            # Kept as the customer's balance it would settle the next invoice, which is no flow of the hub's yet.
            refund = "outside" if self.draw("refund", step) < 0.3 else one["status"] == "paid"
            await self.people.credit(one["id"], 1_000, refund=refund, entity=entity)

    async def _void(self, step: int) -> None:
        if found := self._open(step):
            await self.people.void(found[1]["id"], found[0])

    async def _write_off(self, step: int) -> None:
        if found := self._open(step):
            await self.people.write_off(found[1]["id"], found[0])

    async def _rename(self, step: int) -> None:
        await asyncio.sleep(self.world.crm.faults.visibility_delay_seconds)
        accounts = list(self.world.crm.org.store.rows("Account"))
        fields = {"Name": f"Renamed {step}"}
        await self.world.act(
            "salesforce",
            "update",
            object="Account",
            id=self.choose(accounts, "name", step)["Id"],
            fields=fields,
        )

    async def settle(self) -> None:
        """Faults over, time for everything in doubt, a person approves what waits for one; then the last rest."""
        self.calm()
        for _ in range(2):
            await self.world.rest(within_seconds=20_000)
            # Once more than the pause between two reads of the list of events.
            await asyncio.sleep(70)
            await self.people.approve_all()
        await asyncio.sleep(30)
        await self.world.rest(within_seconds=20_000)


async def _live(seed: int, change: Callable[[Any], None] | None, given: dict[str, Any]) -> Outcome:
    un_keyed = draw(seed, "un-keyed") < 0.3
    world = SimulatedWorld(seed, enforce_keys=not un_keyed, poll_seconds=15, **given)
    world.erp.faults.enforce_keys = not un_keyed
    if change is not None:
        world.change = change
    life = Life(seed, world, Business(world, _BEGIN))
    try:
        await life.people.open()
        await asyncio.sleep(_OLD_SECONDS)
        life.trouble()
        await world.live()
        await life.play()
        await life.settle()
        return await _outcome(life)
    finally:
        await world.close()


async def _outcome(life: Life) -> Outcome:
    world = life.world
    in_hand = await judge.in_hand(world)
    violations = [*await judge.outside(world, excused=in_hand), *await judge.inside(world)]
    # Nothing here is for a person: whoever stopped, stopped wrongly.
    violations += [f"I21 {text}" for text in await judge.stopped(world)]
    ways = dict(await judge.ways(world))
    faults: dict[str, int] = {}
    for twin in world.twins.values():
        for kind, count in twin.faults.counts.items():
            faults[kind] = faults.get(kind, 0) + count
    return Outcome(
        seed=life.seed,
        violations=violations,
        faults=faults,
        ways=ways,
        lives=world.lives,
        operations=world.tape.operations,
        events=await judge.events(world),
        hash=world.tape.hexdigest(),
        documents=len(await judge.content(world)),
        parked=len(in_hand),
    )


def live(seed: int, change: Callable[[Any], None] | None = None, **given: Any) -> Outcome:
    """Play one seed to its end and judge it. `change` alters each life's hub before it starts (planted bugs)."""
    return run_virtual(_live(seed, change, given))


if __name__ == "__main__":
    import sys

    for argument in sys.argv[1:]:
        print(live(int(argument)))
