"""The golden flows of the process tests: what people do outside, step by step, until everything is at rest.

A flow says nothing of the hub: it may die and be started again anywhere in it.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from tieout.engine.commands import execute
from tieout.store import people as store_people
from tieout.store.statements import Statement
from tieout_lab.simulation import judge
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.world import SimulatedWorld
from tieout_lab.twins.kit import Scripted, Twin

JANUARY = datetime(2026, 1, 10, 20, tzinfo=UTC)
ROWS = {"disputes": "1150", "dispute_fees": "6110"}
FEBRUARY = datetime(2026, 2, 11, 20, tzinfo=UTC)

Flow = Callable[[SimulatedWorld, Business], Awaitable[None]]


async def posted(world: SimulatedWorld, people: Business) -> None:
    """A deal is won; its first invoice is posted."""
    await people.sell(await people.customer("Acme"))
    await world.rest()


async def paid(world: SimulatedWorld, people: Business) -> None:
    """... and paid by card, before the hub has posted it."""
    await people.sell(await people.customer("Acme"))
    while not people.invoices():
        await world.rest()
    await people.pay(people.invoices()[0]["id"])
    await world.rest()


async def credited(world: SimulatedWorld, people: Business) -> None:
    """Paid, then a part of it credited and refunded."""
    await paid(world, people)
    await people.credit(people.invoices()[0]["id"], 10_000, refund=True)
    await world.rest()


async def voided(world: SimulatedWorld, people: Business) -> None:
    """February's invoice is voided."""
    await posted(world, people)
    await people.move_to(FEBRUARY)
    await people.void(people.invoices()[-1]["id"])
    await world.rest()


async def written_off(world: SimulatedWorld, people: Business) -> None:
    """Paid in part, the rest written off a month later."""
    await posted(world, people)
    first = people.invoices()[0]["id"]
    await people.wire(people.invoices()[0]["customer"], 50_000, [(first, 50_000)])
    await world.rest()
    await people.move_to(FEBRUARY)
    await people.write_off(first)
    await world.rest()


async def paid_in_part(world: SimulatedWorld, people: Business) -> None:
    """A part by wire, later the rest by card."""
    await posted(world, people)
    invoice = people.invoices()[0]
    await people.wire(invoice["customer"], 30_000, [(invoice["id"], 30_000)])
    await world.rest()
    await people.pay(invoice["id"])
    await world.rest()


async def paid_several(world: SimulatedWorld, people: Business) -> None:
    """One wire over the invoices of three contracts, signed at once."""
    account = await people.customer("Acme")
    for _ in range(3):
        await people.sell(account)
    await world.rest()
    invoices = people.invoices()
    total = sum(one["total"] for one in invoices)
    await people.wire(invoices[0]["customer"], total, [(one["id"], None) for one in invoices])
    await world.rest()


async def paid_over(world: SimulatedWorld, people: Business) -> None:
    """More than was owed: the rest stays on account."""
    await posted(world, people)
    invoice = people.invoices()[0]
    await people.wire(invoice["customer"], invoice["total"] + 5_000, [(invoice["id"], None)])
    await world.rest()


async def credited_unpaid(world: SimulatedWorld, people: Business) -> None:
    """A part of an open invoice is taken back by a credit memo; nothing is refunded."""
    await posted(world, people)
    await people.credit(people.invoices()[0]["id"], 10_000)
    await world.rest()


async def paid_unapproved(world: SimulatedWorld, people: Business) -> dict[str, Any]:
    """Paid by wire, while the invoice waits at the ERP for somebody's approval; answers the invoice."""
    for subsidiary in (1, 2, 3):
        await world.act("netsuite", "routing", subsidiary=subsidiary, mode="person")
    await posted(world, people)
    invoice = people.invoices()[0]
    await people.wire(invoice["customer"], invoice["total"], [(invoice["id"], None)])
    await world.rest()
    return invoice


async def two_zones(world: SimulatedWorld, people: Business) -> None:
    """Los Angeles on 31 January at 23:30, Tokyo on 1 February at 08:30: each in its own period."""
    await people.move_to(datetime(2026, 1, 31, 23, 30, tzinfo=UTC))
    await people.sell(await people.customer("Nihon", "jp"), "jp", contract_start="2026-02-01")
    await world.rest()
    await people.move_to(datetime(2026, 2, 1, 7, 30, tzinfo=UTC))
    await people.sell(await people.customer("Acme"), contract_start="2026-01-31")
    await world.rest()
    await people.approve_all()
    await world.rest()


async def pay_out(world: SimulatedWorld, people: Business) -> Any:
    """All that is available leaves for the bank, and arrives."""
    await people.move_to(datetime(2026, 1, 14, 20, tzinfo=UTC))
    made = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await people.move_to(datetime(2026, 1, 17, 20, tzinfo=UTC))
    await world.rest()
    return made


async def paid_out(world: SimulatedWorld, people: Business) -> None:
    """A card payment goes to the bank, less its fees; the bank sends it back; it goes out again."""
    await world.act("stripe", "settings", fee_percent="2.9", fee_fixed=30)
    await paid(world, people)
    made = await pay_out(world, people)
    await people.move_to(datetime(2026, 2, 3, 20, tzinfo=UTC))
    await world.act("stripe", "fail_payout", account="acct_us", payout=made["id"])
    await world.rest()
    await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await people.move_to(datetime(2026, 2, 6, 20, tzinfo=UTC))
    await world.rest()


FLOWS: dict[str, Flow] = {
    "posted": posted,
    "paid": paid,
    "paid_in_part": paid_in_part,
    "paid_several": paid_several,
    "paid_over": paid_over,
    "credited_unpaid": credited_unpaid,
    "credited": credited,
    "voided": voided,
    "written_off": written_off,
    "two_zones": two_zones,
    "paid_out": paid_out,
}


class Result:
    """What a run left behind."""

    books: list[tuple[Any, ...]]
    wrong: list[str]
    trail: list[str]
    lives: int
    tape: str


async def _play(flow: Flow, seed: int, deaths: list[tuple[int, bool]], given: dict[str, Any]) -> Result:
    world = SimulatedWorld(seed, **given)
    world.deaths = list(deaths)
    people = Business(world, JANUARY)
    try:
        await people.open()
        await world.live()
        await flow(world, people)
        await world.rest()
        result = Result()
        result.trail = list(world.process.trail)
        result.books = await judge.content(world)
        result.wrong = [*await judge.outside(world), *await judge.inside(world)]
        result.lives = world.lives
        result.tape = world.tape.hexdigest()
        return result
    finally:
        await world.close()


def play(flow: Flow, seed: int = 1, deaths: list[tuple[int, bool]] | None = None, **given: Any) -> Result:
    """Play a flow to its end in a world of its own, the hub dying where `deaths` says."""
    return run_virtual(_play(flow, seed, deaths or [], given))


def simulated(**given: Any) -> Callable[[Flow], Callable[[], None]]:
    """A test in a world of its own, with a hub that lives: `async def test(world, people)` becomes a plain test."""

    def wrap(flow: Flow) -> Callable[[], None]:
        async def main() -> None:
            world = SimulatedWorld(**given)
            people = Business(world, JANUARY)
            try:
                await people.open()
                await world.live()
                await flow(world, people)
            finally:
                await world.close()

        def test() -> None:
            run_virtual(main())

        functools.update_wrapper(test, flow)
        del test.__wrapped__  # pytest must not ask for the flow's own parameters
        return test

    return wrap


async def name_accounts(
    world: SimulatedWorld, *, disputes: bool = True, policy: str = "person", settings: str = ""
) -> None:
    """Start the hub anew with accounts for disputes, a policy for lost ones, and `settings` of its ERP connection; the
    gateway takes fees."""
    await world.bury()
    path = world.directory / "rules" / "accounts.csv"
    rows = [f"a-{one}-us,us,{one},*,*,{ROWS[one]},,2025-01-01,\n" for one in ROWS if disputes]
    path.write_text(path.read_text() + "".join(rows))
    text = world.file.read_text().replace('code = "us"', f'code = "us"\ndispute_lost = "{policy}"')
    world.file.write_text(text.replace("in_flight = 10", f"in_flight = 10\n{settings}"))
    await world.live()
    await world.act("stripe", "settings", fee_percent="2.9", fee_fixed=30, dispute_fee=1_500)


def meter(world: SimulatedWorld, event: str = "calls", **more: Any) -> dict[str, Any]:
    """A meter of the gateway."""
    account = world.billing.accounts["acct_us"]
    made = {
        "id": account.new_id("mtr"),
        "object": "billing.meter",
        "created": account.now(),
        "customer_mapping": {"event_payload_key": "stripe_customer_id", "type": "by_id"},
        "default_aggregation": {"formula": "sum"},
        "display_name": event,
        "event_name": event,
        "event_time_window": None,
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": account.now(),
        "value_settings": {"event_payload_key": "value"},
        **more,
    }
    return account.put("meters", made)


async def report_usage(world: SimulatedWorld, *rows: dict[str, Any]) -> dict[str, Any]:
    """Have a file of usage reported."""
    return await do(world, "usage.report", connection="stripe-us", rows=list(rows), file="january.csv")


async def clean(world: SimulatedWorld, **given: Any) -> None:
    """Nothing is wrong outside or inside, and no person is needed."""
    assert await judge.outside(world, **given) == []
    assert await judge.inside(world) == []


async def exceptions(world: SimulatedWorld) -> list[dict[str, Any]]:
    """The open exceptions."""
    rows = await world.app.hub.store.fetch(store_people.LIST, {})
    return [dict(zip(store_people.COLUMNS.split(", "), row, strict=True)) for row in rows]


async def sql(world: SimulatedWorld, text: str) -> list[tuple[Any, ...]]:
    """What the hub's tables say."""
    return await world.app.hub.store.fetch(Statement("test", text, returns=True), {})


async def do(
    world: SimulatedWorld, command: str, actor: str = "accountant", **arguments: Any
) -> dict[str, Any]:
    """A command of a person; AssertionError when it is refused."""
    state, answer = await execute(world.app.hub, command, arguments, actor)
    assert state == "done", answer
    return answer


async def refused(world: SimulatedWorld, command: str, actor: str = "accountant", **arguments: Any) -> str:
    """Why a command of a person was refused."""
    state, answer = await execute(world.app.hub, command, arguments, actor)
    assert state == "failed", answer
    return str(answer["error"])


async def erp(world: SimulatedWorld, type_: str | None = None) -> list[dict[str, Any]]:
    """The documents of the ERP twin."""
    snapshot = await world.act("netsuite", "snapshot")
    return [one for one in snapshot["documents"] if type_ in (None, one["type"])]


def operation_of(twin: Twin, path: str, method: str = "POST") -> str:
    """What a twin calls the operation behind a path."""
    return next(one.operation for one in twin.routes if one.method == method and one.pattern.match(path))


def script(twin: Twin, operation: str, *kinds: str, seconds: float | None = None) -> None:
    """The first calls of an operation fail so, one after the other."""
    # An entry counts only the calls that those before it let pass.
    twin.faults.script = [Scripted(operation, 1, kind, seconds) for kind in kinds]


def subscriptions(world: SimulatedWorld, entity: str = "us") -> list[dict[str, Any]]:
    return list(world.billing.accounts[f"acct_{entity}"].all("subscriptions"))
