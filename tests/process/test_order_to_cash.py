"""Whole flows with what is hard about them: many at once, months that end, outages, changes behind our back."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import pytest

from tests.process.flows import (
    FEBRUARY,
    JANUARY,
    clean,
    do,
    erp,
    exceptions,
    paid,
    play,
    posted,
    refused,
    simulated,
    sql,
    subscriptions,
    two_zones,
)
from tieout.engine import housekeeping
from tieout.engine.dry_run import forecast
from tieout.processes.trace import tell_trace
from tieout_lab.simulation.business import LINES


@simulated()
async def test_two_contracts_of_one_customer_at_once(world, people):
    account = await people.customer("Acme")
    await people.sell(account)
    await people.sell(account)
    await world.rest()
    assert len(subscriptions(world)) == 2
    assert len(world.billing.accounts["acct_us"].all("customers")) == 1
    assert len(await erp(world, "invoice")) == 2
    await clean(world)


@simulated()
async def test_fifty_deals_of_a_new_account_in_one_second(world, people):
    account = await people.customer("Acme")
    for _ in range(50):
        await people.sell(account)
    await world.rest()
    assert len(subscriptions(world)) == 50
    assert len(world.billing.accounts["acct_us"].all("customers")) == 1
    assert len((await world.act("netsuite", "snapshot"))["customers"]) == 1
    await clean(world)


@simulated()
async def test_one_payment_over_three_contracts_with_something_left_over(world, people):
    account = await people.customer("Acme")
    deals = [await people.sell(account) for _ in range(3)]
    await world.rest()
    invoices = people.invoices()
    total = sum(one["total"] for one in invoices)
    await people.wire(invoices[0]["customer"], total + 5_000, [(one["id"], None) for one in invoices])
    await world.rest()
    (payment,) = await erp(world, "customerPayment")
    assert len(payment["applies"]) == 3
    assert payment["open_minor"] == 5_000
    await clean(world)
    for deal in deals:
        story = await tell_trace(world.app.hub, deal)
        assert [
            one.id for one in story.subjects if one.kind == "payment" and one.connection == "netsuite-main"
        ] == [payment["id"]], "each deal's story tells of the money"


@simulated()
async def test_one_parked_invoice_holds_back_neither_the_next_one_nor_its_payment(world, people):
    await people.close_period(date(2026, 1, 15))
    await people.sell(await people.customer("Acme"))
    await world.rest()
    (held,) = await exceptions(world)
    assert held["code"] == "blocked_period"
    await people.move_to(FEBRUARY)
    await world.rest()
    january, february = people.invoices()
    await people.pay(february["id"])
    await world.rest()
    assert [one["source"] for one in await erp(world, "invoice")] == [february["id"]]
    assert len(await erp(world, "customerPayment")) == 1
    await clean(world, excused=(january["id"],))


@simulated()
async def test_three_days_of_outage_over_a_month_end(world, people):
    account = await people.customer("Acme")
    for _ in range(3):
        await people.sell(account, contract_start="2026-01-10")
    await world.rest()
    first, second, third = (one["id"] for one in people.invoices())
    await people.pay(first)
    await world.rest()
    await world.bury()
    await people.move_to(datetime(2026, 1, 30, 20, tzinfo=UTC))
    await asyncio.sleep(86_400)
    await people.void(second)
    await people.move_to(datetime(2026, 1, 31, 20, tzinfo=UTC))
    await people.credit(first, 10_000, refund=True)
    await people.write_off(third)
    await asyncio.sleep(2 * 86_400)
    await people.move_to(datetime(2026, 2, 11, 20, tzinfo=UTC))
    await world.rest()
    memos = {one["reason"]: one["period"] for one in await erp(world, "creditMemo")}
    assert memos == {"voided": "Jan 2026", "written_off": "Jan 2026", "credited": "Jan 2026"}
    (refund,) = await erp(world, "customerRefund")
    assert refund["period"] == "Jan 2026"
    await clean(world)


@simulated()
async def test_days_begin_where_the_legal_entity_is(world, people):
    """Tokyo, 1 February 08:30, is January in California; Los Angeles, 31 January 23:30, is February in Tokyo."""
    await two_zones(world, people)
    found = {one["subsidiary"]: (one["date"], one["period"]) for one in await erp(world, "invoice")}
    assert found == {"1": ("2026-01-31", "Jan 2026"), "2": ("2026-02-01", "Feb 2026")}
    await clean(world)


@simulated()
async def test_what_is_approved_first_is_seen_however_much_waits_before_it(world, people):
    """Only the oldest thousand were ever asked about: behind those that nobody approves the others stayed unseen."""
    for name in ("Ichi", "Ni", "San"):
        await people.sell(await people.customer(name, "jp"), "jp")
        await world.rest()
    *before, last = await erp(world, "invoice")
    assert [one["posted"] for one in (*before, last)] == [False, False, False]
    await world.act("netsuite", "approve", id=last["id"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(housekeeping, "_UNPOSTED_AT_ONCE", 1)
        patch.setattr(housekeeping, "_UNPOSTED_PAGES", 1)
        await world.rest()
        await asyncio.sleep(90)
        states = await sql(world, "SELECT status FROM documents WHERE kind = 'invoice' ORDER BY created_at")
    assert [state for (state,) in states] == ["CREATED", "CREATED", "POSTED"]


@simulated()
async def test_an_approval_that_a_person_gives_wakes_what_waits_for_it(world, people):
    await people.sell(await people.customer("Nihon", "jp"), "jp")
    await world.rest()
    (invoice,) = people.invoices("jp")
    await people.wire(invoice["customer"], invoice["total"], [(invoice["id"], None)], "jp", "jpy")
    await world.rest()
    (document,) = await erp(world, "invoice")
    assert not document["posted"]
    assert (await erp(world, "customerPayment"))[0]["applies"] == []
    await people.approve_all()
    await world.rest()
    await clean(world)


@simulated()
async def test_an_invoice_that_was_rejected_at_the_erp_is_for_a_person(world, people):
    await people.sell(await people.customer("Nihon", "jp"), "jp")
    await world.rest()
    (document,) = await erp(world, "invoice")
    await world.act("netsuite", "reject", id=document["id"])
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "post_rejected"
    assert found["amount_minor"] == document["total_minor"]
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    assert len(await erp(world)) == 1


@simulated()
async def test_everything_before_the_hub_has_posted_anything(world, people):
    """Paid, credited and refunded within the second: events before, during and after the customer is bound."""
    await people.sell(await people.customer("Acme"))
    while not people.invoices():
        await asyncio.sleep(0.05)
    (invoice,) = people.invoices()
    await people.pay(invoice["id"])
    await people.credit(invoice["id"], 10_000, refund=True)
    await world.rest()
    assert sorted(one["type"] for one in await erp(world)) == [
        "creditMemo",
        "customerPayment",
        "customerRefund",
        "invoice",
    ]
    await clean(world)


@simulated()
async def test_events_before_during_and_after_the_customer_is_bound(world, people):
    """An invoice is told of before its customer stands at the ERP; it is paid while that is made, credited after."""
    await people.sell(await people.customer("Acme"))
    while not people.invoices():
        await asyncio.sleep(0.05)
    (invoice,) = people.invoices()
    made = "SELECT state FROM effects WHERE operation = 'customer.create' AND connection = 'netsuite-main'"
    assert await sql(world, made) == []
    while not await sql(world, made):
        await asyncio.sleep(0.01)
    assert await sql(world, made) == [("SENT",)]
    await people.pay(invoice["id"])
    await world.rest()
    await people.credit(invoice["id"], 10_000, refund=True)
    await world.rest()
    assert len((await world.act("netsuite", "snapshot"))["customers"]) == 1
    assert len(await erp(world)) == 4
    await clean(world)


async def _shuffled(world, people):
    world.billing.faults.seed = world.seed
    world.billing.faults.webhooks = {"delay": 0.9, "delay_seconds": 40.0, "duplicate": 0.5}
    account = await people.customer("Acme")
    await people.sell(account, lines=[LINES[0]])
    await people.sell(account, lines=[LINES[0]])
    while len(people.invoices()) < 2:
        await asyncio.sleep(1)
    first, second = people.invoices()
    total = first["total"] + second["total"]
    await people.wire(first["customer"], total + 1_000, [(first["id"], None), (second["id"], None)])
    await people.move_to(FEBRUARY)
    third, fourth = people.invoices()[2:]
    await people.void(third["id"])
    await people.credit(fourth["id"], 10_000)
    await people.pay(fourth["id"])


def _shuffles(seeds):
    books = None
    for seed in seeds:
        result = play(_shuffled, seed)
        assert result.wrong == [], f"seed {seed}"
        books = books or result.books
        assert result.books == books, f"seed {seed}"


@pytest.mark.parametrize("part", range(5))
def test_fifty_shuffles_of_the_events_give_the_same_books(part):
    _shuffles(range(10 * part, 10 * part + 10))


@pytest.mark.soak
@pytest.mark.parametrize("part", range(20))
def test_a_thousand_shuffles_of_the_events_give_the_same_books(part):
    _shuffles(range(50 * part, 50 * part + 50))


# -- changed between SENT and the run after it -----------------------------------------------------------------------
async def _die_with_the_invoice_in_doubt(world, people):
    """The hub dies as the ERP has made the invoice and has not answered yet."""
    await people.sell(await people.customer("Acme"))
    while not await erp(world, "invoice"):
        await asyncio.sleep(0.01)
    await world.bury()


@simulated()
async def test_an_invoice_that_changed_after_it_was_sent_is_never_made_twice(world, people):
    await _die_with_the_invoice_in_doubt(world, people)
    (invoice,) = people.invoices()
    line = invoice["lines"]["data"][0]
    for path, value in (
        ("lines.data.0.description", "Renamed"),
        ("lines.data.0.period.end", line["period"]["end"] + 86_400),
    ):
        await world.act(
            "stripe", "alter", account="acct_us", kind="invoices", id=invoice["id"], path=path, value=value
        )
    await world.rest()
    (document,) = await erp(world)
    assert document["total_minor"] == invoice["total"]
    (found,) = await exceptions(world)
    assert found["code"] == "diverged"
    assert (await sql(world, "SELECT state FROM effects WHERE operation = 'invoice.create'")) == [
        ("CONFIRMED",)
    ]


@simulated()
async def test_a_rule_that_changed_after_it_was_sent_moves_nothing(world, people):
    await _die_with_the_invoice_in_doubt(world, people)
    rules = world.directory / "rules" / "items.csv"
    rules.write_text(rules.read_text().replace("PLATFORM-DEF,2400", "SUPPORT-DEF,2400"))
    await world.rest()
    (document,) = await erp(world)
    assert {line["item"] for line in document["lines"]} == {"PLATFORM-DEF", "ONBOARD-IMM"}
    (found,) = await exceptions(world)
    assert found["code"] == "diverged"
    rules.write_text(rules.read_text().replace("SUPPORT-DEF,2400", "PLATFORM-DEF,2400"))
    await world.bury()
    await world.live()
    assert (await do(world, "exceptions.resolve", exception_id=found["exception_id"]))["state"] == "resolved"
    await world.rest()
    await clean(world)


@simulated()
async def test_a_replay_from_the_failed_effect_takes_what_stands_as_it_stands(world, people):
    """The rule for the item was changed for good: the posted invoice diverges, and its void is not made good. A replay
    from the start says so again; one from the failed effect leaves the invoice alone and goes on, as whoever asked."""
    await posted(world, people)
    rules = world.directory / "rules" / "items.csv"
    rules.write_text(rules.read_text().replace("PLATFORM-DEF,2400", "SUPPORT-DEF,2400"))
    await world.bury()
    await world.live()
    await people.void(people.invoices()[0]["id"])
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "diverged"
    ((lane,),) = await sql(world, "SELECT lane_id FROM effects WHERE operation = 'invoice.create'")
    again = await do(world, "replay", subject=lane, reason="look again")
    assert again["state"] == "parked"
    with_verdicts = {one.verdict for one in (await forecast(world.app.hub, lane, resumes=True)).steps}
    assert "diverged" not in with_verdicts
    answer = await do(
        world, "replay", "controller", subject=lane, reason="new documents only", **{"from": "failed"}
    )
    assert answer["state"] == "idle"
    assert await exceptions(world) == []
    assert sorted(one["type"] for one in await erp(world)) == ["creditMemo", "invoice"]
    (invoice,) = await erp(world, "invoice")
    assert {line["item"] for line in invoice["lines"]} == {"PLATFORM-DEF", "ONBOARD-IMM"}
    runs = await sql(world, f"SELECT actor, detail FROM runs WHERE lane_id = '{lane}' ORDER BY started_at")
    assert [actor for actor, _ in runs][-2:] == ["accountant", "controller"]
    assert "replay from the failed effect: new documents only (rules " in runs[-1][1]
    assert await sql(world, "SELECT 1 FROM lanes WHERE replay <> ''") == []
    assert "begins at" in await refused(world, "replay", subject=lane, reason="x", **{"from": "middle"})


@simulated()
async def test_a_legal_entity_that_changed_after_the_subscription_was_sent(world, people):
    deal = await people.sell(await people.customer("Acme"))
    while not subscriptions(world):
        await asyncio.sleep(0.01)
    await world.bury()
    await people.edit_deal(deal, Legal_Entity__c="jp")
    await world.rest()
    assert len(subscriptions(world)) == 1
    assert subscriptions(world, "jp") == []
    (found,) = await exceptions(world)
    assert found["code"] == "changed_after_acceptance"
    await people.edit_deal(deal, Legal_Entity__c="us")
    await world.rest()
    await clean(world)


@simulated()
async def test_the_route_of_a_begun_document_is_frozen(world, people):
    """An invoice that was begun for one ERP connection never goes to another."""
    await _die_with_the_invoice_in_doubt(world, people)
    settings = world.file
    settings.write_text(settings.read_text().replace('subsidiary = "1"', 'subsidiary = "2"', 1))
    await world.rest()
    assert len(await erp(world)) == 1
    assert len(await exceptions(world)) == 1


@simulated()
async def test_the_hub_says_what_it_did_in_the_crm_and_at_billing(world, people):
    await paid(world, people)
    (document,) = await erp(world, "invoice")
    shown = await world.act("salesforce", "snapshot", objects=["Opportunity", "Tieout_Invoice__c"])
    (deal,), (mirror,) = shown["Opportunity"], shown["Tieout_Invoice__c"]
    assert deal["Tieout_Status__c"] == "active"
    assert deal["Tieout_Subscription_Id__c"] == subscriptions(world)[0]["id"]
    assert (mirror["ERP_Number__c"], mirror["Status__c"]) == (document["number"], "posted")
    assert people.invoices()[0]["metadata"]["erp_number"] == document["number"]


@simulated()
async def test_a_deal_is_accepted_while_billing_and_erp_are_down(world, people):
    for twin in (world.billing, world.erp):
        twin.faults.rates = {"error_before": 1.0}
    await people.sell(await people.customer("Acme"))
    await asyncio.sleep(60)
    (deal,) = (await world.act("salesforce", "snapshot", objects=["Opportunity"]))["Opportunity"]
    assert deal["Tieout_Status__c"] == "operationally accepted"
    for twin in (world.billing, world.erp):
        twin.faults.rates = {}
    await world.rest()
    await clean(world)


@simulated(echo_suppression=False)
async def test_without_echo_suppression_the_same_books(world, people):
    await posted(world, people)
    assert len(await erp(world)) == 1
    await clean(world)


def test_a_run_is_the_same_every_time():
    assert play(paid, 5).tape == play(paid, 5).tape
    assert JANUARY + timedelta(days=32) == FEBRUARY


@simulated()
async def test_a_replay_that_is_asked_for_while_the_lane_runs_is_the_next_run(world, people):
    """The mark of the replay belongs to the run after the one that is under way."""
    await posted(world, people)
    hub = world.app.hub
    ((lane,),) = await sql(world, "SELECT lane_id FROM effects WHERE operation = 'invoice.create'")
    read = hub.connection("stripe-us").api.fetch
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow(kind, id_, of_lane=""):
        if of_lane == lane and not under_way.is_set():
            under_way.set()
            await go_on.wait()
        return await read(kind, id_, of_lane)

    hub.connection("stripe-us").api.fetch = slow
    first = asyncio.ensure_future(do(world, "replay", "clerk", subject=lane, reason="first"))
    await under_way.wait()
    second = asyncio.ensure_future(do(world, "replay", "controller", subject=lane, reason="second"))
    await asyncio.sleep(1)
    go_on.set()
    await asyncio.gather(first, second)
    await world.rest()
    runs = await sql(world, f"SELECT actor, detail FROM runs WHERE lane_id = '{lane}' ORDER BY started_at")
    assert [actor for actor, _ in runs][-2:] == ["clerk", "controller"]
    assert "second" in runs[-1][1]
