"""What the hub tells the outside of whole flows: everything that stands, nothing else, through every death."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections import Counter
from typing import Any

import pytest

from tests.process import flows
from tests.process.flows import FLOWS, JANUARY, Flow, simulated, sql
from tests.process.test_restored import caught_up, restore
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.ports import draw
from tieout_lab.simulation.world import SimulatedWorld

SECRET = "whsec_" + base64.b64encode(b"s" * 32).decode()
PORT = 9100
OUTBOX = f"""
[outbox]
source = "urn:tieout:demo"

[[outbox.webhooks]]
name = "listener"
url = "http://127.0.0.1:{PORT}/told"
secrets = ["{SECRET}"]
private = true
timeout_seconds = 5
"""


class Listener:
    """A receiver on the simulated network that verifies what it gets; it fails where `fails` says."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.fails = lambda _: False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(b"s" * 32, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        event = json.loads(body)
        assert event["id"] == headers["webhook-id"]
        status = 503 if self.fails(event) else 204
        if status == 204:
            self.heard.append(event)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    @property
    def first(self) -> list[dict[str, Any]]:
        """The first delivery of each event, in the order in which they came."""
        seen: dict[str, dict[str, Any]] = {}
        for event in self.heard:
            seen.setdefault(event["id"], event)
        return list(seen.values())

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [one["data"] for one in self.first if one["type"] == f"io.tieout.{type_}.v1"]


def listening(world: SimulatedWorld) -> Listener:
    """Configure a receiver before the hub begins to live."""
    world.file.write_text(world.file.read_text() + OUTBOX)
    listener: Any = Listener()
    world.by_port[PORT] = listener
    return listener


async def told(world: SimulatedWorld) -> None:
    """Until everything is delivered, through every death that is due on the way."""
    while True:
        await world.rest()
        ((waiting,),) = await sql(
            world,
            """SELECT (SELECT COUNT(*) FROM outbox WHERE state = 'new')
               + (SELECT COUNT(*) FROM deliveries WHERE state = 'pending')""",
        )
        if not waiting:
            return


async def facts(world: SimulatedWorld) -> Counter[tuple[str, str]]:
    """What must have been told, by the tables that hold what is so: not by the outbox."""
    found: Counter[tuple[str, str]] = Counter()
    for kind, external_id in await sql(
        world,
        "SELECT kind, external_id FROM documents WHERE status = 'POSTED' AND kind IN ('invoice', 'credit_memo')",
    ):
        found["invoice.posted" if kind == "invoice" else "credit.issued", external_id] += 1
    for (external_id,) in await sql(world, "SELECT external_id FROM documents WHERE kind = 'subscription'"):
        found["subscription.activated", external_id] += 1
    for (key,) in await sql(world, "SELECT key FROM records WHERE kind = 'order'"):
        found["contract.accepted", key.rpartition("|")[2]] += 1
    for (exception_id,) in await sql(world, "SELECT exception_id FROM exceptions"):
        found["exception.opened", exception_id] += 1
    for (target,) in await sql(
        world,
        "SELECT target_id FROM assigns WHERE kind = 'payment' AND field_group = 'applications' AND state = 'CONFIRMED'",
    ):
        found["payment.applied", target] += 1
    return found


def heard(listener: Listener) -> Counter[tuple[str, str]]:
    """What was told, by the same names; of a payment's lists only that there was one."""
    found: Counter[tuple[str, str]] = Counter()
    for data in listener.of("contract.accepted"):
        found["contract.accepted", data["contract"]["id"]] += 1
    for data in listener.of("subscription.activated"):
        found["subscription.activated", data["subscription"]["id"]] += 1
    for type_ in ("invoice.posted", "credit.issued"):
        for data in listener.of(type_):
            found[type_, data["document"]["id"]] += 1
    for data in listener.of("exception.opened"):
        found["exception.opened", data["exception_id"]] += 1
    for payment in {data["document"]["id"] for data in listener.of("payment.applied")}:
        found["payment.applied", payment] += 1
    return found


async def _play(
    flow: Flow, deaths: list[tuple[int, bool]]
) -> tuple[Listener, Counter[tuple[str, str]], int, list[str]]:
    world = SimulatedWorld(1)
    listener = listening(world)
    world.deaths = list(deaths)
    people = Business(world, JANUARY)
    try:
        await people.open()
        await world.live()
        await flow(world, people)
        await told(world)
        return listener, await facts(world), world.lives, list(world.process.trail)
    finally:
        await world.close()


def play(flow: str, *deaths: tuple[int, bool]) -> tuple[Listener, Counter[tuple[str, str]], int, list[str]]:
    return run_virtual(_play(FLOWS[flow], list(deaths)))


@pytest.mark.parametrize("flow", sorted(FLOWS))
def test_all_that_stands_is_told_once_and_nothing_else(flow: str) -> None:
    listener, so, _, _ = play(flow)
    assert heard(listener) == so
    assert len(listener.heard) == len(listener.first)


@pytest.mark.parametrize("flow", ["credited", "paid_several", "voided"])
def test_a_kill_anywhere_loses_nothing_and_tells_nothing_that_is_not_so(flow: str) -> None:
    """A sample: kills at the calls and commits of the outbox and at others, before and after they took effect."""
    _, calm, _, trail = play(flow)
    ours = [
        at for at, what in enumerate(trail, 1) if "announce" in what or "deliver" in what or "outbox" in what
    ]
    assert len(ours) > 10
    chosen = [ours[int(draw(flow, number) * len(ours))] for number in range(4)]
    chosen += [1 + int(draw(flow, "any", number) * len(trail)) for number in range(4)]
    died = 0
    for number, at in enumerate(chosen):
        listener, so, lives, _ = play(flow, (at, number % 2 == 0), (40, number % 3 == 0))
        died += lives > 1
        assert heard(listener) == so, (flow, at)
        assert {type_ for type_, _ in so} == {type_ for type_, _ in calm}
    assert died == len(chosen)


@simulated()
async def test_nothing_is_written_while_nobody_is_told(world: SimulatedWorld, people: Business) -> None:
    await flows.credited(world, people)
    assert await sql(world, "SELECT COUNT(*) FROM outbox") == [(0,)]
    assert await sql(world, "SELECT COUNT(*) FROM deliveries") == [(0,)]


def listened(flow: Any) -> Any:
    """As `simulated`, with a receiver from the start: `async def test(world, people, listener)`."""

    async def main() -> None:
        world = SimulatedWorld(1)
        listener = listening(world)
        people = Business(world, JANUARY)
        try:
            await people.open()
            await world.live()
            await flow(world, people, listener)
        finally:
            await world.close()

    def test() -> None:
        run_virtual(main())

    test.__name__, test.__doc__ = flow.__name__, flow.__doc__
    return test


@listened
async def test_a_deal_is_told_in_its_order_with_ids_and_amounts(world, people, listener) -> None:
    await flows.paid(world, people)
    await told(world)
    types = [one["type"].removeprefix("io.tieout.").removesuffix(".v1") for one in listener.heard]
    assert types == ["contract.accepted", "subscription.activated", "invoice.posted", "payment.applied"]
    assert len({one["partitionkey"] for one in listener.heard}) == 1
    assert [one["sequence"] for one in listener.heard] == sorted(one["sequence"] for one in listener.heard)
    invoice = people.invoices()[0]
    accepted, activated, posted, applied = (one["data"] for one in listener.heard)
    assert accepted["contract"] == activated["contract"]
    assert (accepted["entity"], accepted["currency"]) == ("us", "USD")
    assert accepted["contracted_minor"] >= invoice["subtotal"]
    assert posted["source"]["id"] == invoice["id"]
    assert posted["source_number"] == invoice["number"]
    assert (posted["total_minor"], posted["currency"]) == (invoice["total"], "USD")
    assert posted["number"]
    assert (applied["amount_minor"], applied["currency"]) == (invoice["total"], "USD")
    assert applied["applications"] == [{"invoice": posted["source"], "amount_minor": invoice["total"]}]


@listened
async def test_bodies_name_nobody(world, people, listener) -> None:
    await people.sell(await people.customer("Acme Unmistakable"))
    await people.sell(await people.customer("Nowhere Unmistakable", "jp"), "jp", contract_start="2026-02-01")
    await world.rest()
    await flows.credited(world, people)
    await told(world)
    everything = json.dumps(listener.heard)
    assert len(listener.heard) > 5
    assert "Unmistakable" not in everything
    assert "cause" not in everything
    assert SECRET not in everything


@listened
async def test_a_receiver_that_is_down_for_an_hour_holds_up_no_posting_and_is_told_all_of_it(
    world, people, listener
) -> None:
    listener.fails = lambda _: True
    await flows.paid(world, people)
    assert people.invoices()[0]["status"] == "paid"
    await flows.clean(world)
    assert listener.heard == []
    listener.fails = lambda _: False
    await told(world)
    assert heard(listener) == await facts(world)


@listened
async def test_after_a_restore_all_is_told_under_its_id_and_numbers_never_mean_two_things(
    world, people, listener
) -> None:
    """What waited in the backup, what was told in the forgotten hour, and what comes after it."""
    account = await people.customer("Before")
    await people.sell(account)
    await told(world)
    listener.fails = lambda _: True
    await people.sell(account)
    await world.rest()
    backup, taken_at = world.back_up(), world.clock.now()
    waiting = await sql(
        world, "SELECT event_id FROM outbox JOIN deliveries USING (seq) WHERE deliveries.state = 'pending'"
    )
    assert waiting
    listener.fails = lambda _: False
    await told(world)
    await people.sell(account)
    await people.sell(await people.customer("Forgotten"))
    await told(world)
    before = [(one["id"], one["sequence"]) for one in listener.heard]
    # Longer than a delivery is tried: what waited has all its time from the restore on.
    await world.bury()
    await asyncio.sleep(5 * 86_400)
    tried: set[str] = set()

    def fails_once(event: dict[str, Any]) -> bool:
        new = event["id"] not in tried
        tried.add(event["id"])
        return new

    listener.fails = fails_once
    await restore(world, backup, taken_at)
    await caught_up(world)
    await people.sell(account)
    await told(world)
    after = [(one["id"], one["sequence"]) for one in listener.heard[len(before) :]]
    ids = {id_ for id_, _ in before}
    assert {id_ for (id_,) in waiting} <= {id_ for id_, _ in after}
    assert heard(listener) == await facts(world)
    assert await sql(world, "SELECT COUNT(*) FROM deliveries WHERE state = 'dead'") == [(0,)]
    news = [number for id_, number in after if id_ not in ids]
    assert len(news) >= 3
    assert min(news) > max(number for _, number in before)
    by_number: dict[str, set[str]] = {}
    for id_, number in before + after:
        by_number.setdefault(number, set()).add(id_)
    assert all(len(one) == 1 for one in by_number.values())
