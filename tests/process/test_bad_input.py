"""What people do wrong: everything is parked with every fault at once; nothing is made twice, nothing is cancelled."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest

import tieout.processes
from tests.process.flows import clean, do, erp, exceptions, posted, refused, simulated, sql, subscriptions
from tieout.canonical.ids import Ref
from tieout.engine.process import Process
from tieout.engine.stops import Need, NotYet
from tieout_lab.simulation.business import LINES
from tieout_lab.twins.deviations import Deviation


async def _parked(world, code):
    (found,) = await exceptions(world)
    assert found["code"] == code, found
    return found


@simulated()
async def test_every_fault_of_a_deal_at_once(world, people):
    account = await people.customer("Acme", PO_Required__c=True)
    deal = await people.sell(
        account,
        contract_start="2026-02-01",
        contract_end="2026-01-01",
        term_months=None,
        currency="USD",
        lines=[{"product": "GHOST", "quantity": 1, "unit_price": "5"}],
    )
    await world.rest()
    found = await _parked(world, "preflight")
    for fault in ("end_before_start", "po_number", "product_mapping"):
        assert fault in found["detail"]
    shown = (await world.act("salesforce", "snapshot", objects=["Opportunity"]))["Opportunity"][0]
    assert shown["Id"] == deal
    assert shown["Tieout_Status__c"] == "parked"
    assert shown["Tieout_Last_Error__c"]
    assert subscriptions(world) == []
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"lines": []}, "no_lines"),
        (
            {"contract_start": "2026-03-01", "contract_end": "2026-02-01", "term_months": None},
            "end_before_start",
        ),
        ({"currency": "EUR", "legal_entity": "jp"}, "currency"),
        ({"legal_entity": "de"}, "legal_entity"),
        ({"lines": [{"product": "PLATFORM", "quantity": -1, "unit_price": "5"}]}, "quantity"),
    ],
)
def test_a_deal_that_cannot_be_accepted_is_parked_and_mended(fields, fault):
    @simulated()
    async def test(world, people):
        try:
            deal = await people.sell(await people.customer("Acme"), **fields)
        except AssertionError:  # the CRM itself takes no such line or value
            if fault in ("quantity", "legal_entity"):
                return
            raise
        await world.rest()
        found = await _parked(world, "preflight")
        assert fault in found["detail"]
        assert found["entity"] == fields.get("legal_entity", "us")
        assert subscriptions(world) == []
        if fault == "no_lines":
            product = next(p for p in world.crm.org.store.rows("Product2") if p["ProductCode"] == "PLATFORM")
            line = {"OpportunityId": deal, "Product2Id": product["Id"], "Quantity": 1, "UnitPrice": 10}
            await world.act("salesforce", "create", object="OpportunityLineItem", fields=line)
            await world.rest()
            await do(world, "exceptions.resolve", exception_id=found["exception_id"])
            await world.rest()
            assert len(subscriptions(world)) == 1
            await clean(world)

    test()


@pytest.mark.parametrize(
    "change",
    [
        {"StageName": "Negotiation/Review"},
        {"StageName": "Closed Lost"},
        {"Term_Months__c": 24},
        {"Legal_Entity__c": "jp"},
    ],
)
def test_a_deal_that_changes_after_acceptance_is_parked(change):
    @simulated()
    async def test(world, people):
        await posted(world, people)
        deal = world.crm.org.store.rows("Opportunity")
        deal_id = next(iter(deal))["Id"]
        await people.edit_deal(deal_id, **change)
        await world.rest()
        found = await _parked(world, "changed_after_acceptance")
        assert len(subscriptions(world)) == 1
        assert subscriptions(world)[0]["status"] == "active"
        assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
        back = {"StageName": "Closed Won", "Term_Months__c": 12, "Legal_Entity__c": "us"}
        await people.edit_deal(deal_id, **{name: back[name] for name in change})
        await world.rest()
        if await exceptions(world):
            await do(world, "exceptions.resolve", exception_id=found["exception_id"])
            await world.rest()
        assert len(subscriptions(world)) == 1
        await clean(world)

    test()


@simulated()
async def test_an_invoice_of_a_status_that_nobody_knows_is_not_posted_until_it_has_one(world, people):
    world.billing.deviations = [Deviation("invoices.retrieve", fields={"status": "settled_elsewhere"})]
    await posted(world, people)
    invoice = people.invoices()[0]["id"]
    assert await erp(world, "invoice") == []
    world.billing.deviations = []
    account = world.billing.accounts["acct_us"]
    account.emit("invoice.updated", account.objects["invoices"][invoice], {"description": "x"})
    await world.rest()
    assert len(await erp(world, "invoice")) == 1


@simulated()
async def test_a_deal_that_is_deleted_after_acceptance_is_parked(world, people):
    account = await people.customer("Acme")
    deal = await people.sell(account)
    await world.rest()
    await world.act("salesforce", "delete", object="Opportunity", id=deal)
    await world.rest()
    await _parked(world, "changed_after_acceptance")
    assert subscriptions(world)[0]["status"] == "active"
    assert len(await erp(world)) == 1


@simulated()
async def test_a_clone_of_an_accepted_deal_makes_no_second_subscription(world, people):
    account = await people.customer("Acme")
    await people.sell(account)
    await world.rest()
    await people.sell(account, fields={"Tieout_Status__c": "active"})
    await world.rest()
    found = await _parked(world, "preflight")
    assert "cloned" in found["detail"]
    assert len(subscriptions(world)) == 1


@simulated()
async def test_a_merged_account_is_parked_where_it_is_needed_again(world, people):
    kept, gone = await people.customer("Acme"), await people.customer("Acme Inc")
    await people.sell(gone)
    await world.rest()
    await world.act("salesforce", "merge_accounts", winner=kept, loser=gone)
    await world.rest()
    assert {one["code"] for one in await exceptions(world)} <= {"account_merged", "changed_after_acceptance"}
    assert await exceptions(world)
    assert len(world.billing.accounts["acct_us"].all("customers")) == 1
    assert len(subscriptions(world)) == 1


@simulated()
async def test_a_dangling_reference_waits_says_for_what_and_is_parked_at_its_deadline(world, people):
    await posted(world, people)
    customer = await world.act(
        "stripe", "copy", account="acct_us", kind="customers", id=people.invoices()[0]["customer"]
    )
    await world.act(
        "stripe",
        "alter",
        account="acct_us",
        kind="invoices",
        id=people.invoices()[0]["id"],
        path="customer",
        value=customer["id"],
    )
    copy = await world.act(
        "stripe", "copy", account="acct_us", kind="invoices", id=people.invoices()[0]["id"]
    )
    lane = f"stripe-us|invoice|{copy['id']}"
    from tieout.store import lanes

    start = {"lane_id": lane, "connection": "stripe-us", "kind": "invoice", "subject_id": copy["id"]}
    await world.app.hub.store.commit([(lanes.START, {**start, "now": world.app.hub.now()})])
    await world.rest()
    ((what, since, deadline),) = await sql(world, "SELECT what, since, deadline_at FROM waiters")
    assert customer["id"] in what
    assert deadline - since == 7 * 86_400_000_000
    await asyncio.sleep(3_600)
    assert await sql(world, "SELECT since, deadline_at FROM waiters") == [(since, deadline)]
    await world.app.hub.store.commit(
        [(_statement(f"UPDATE waiters SET deadline_at = {world.app.hub.now()}"), {})]
    )
    await asyncio.sleep(120)
    found = await _parked(world, "waited_too_long")
    assert customer["id"] in found["cause"]
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])


def _statement(text):
    from tieout.store.statements import Statement

    return Statement("test", text)


@simulated()
async def test_documents_of_a_closed_period_are_released_only_by_an_approval(world, people):
    await people.close_period(date(2026, 1, 15))
    await people.sell(await people.customer("Acme"))
    await people.sell(await people.customer("Beta"))
    await world.rest()
    found = await _parked(world, "blocked_period")
    assert await erp(world) == []
    assert "approved action" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    await people.reopen_period(date(2026, 1, 15))
    await asyncio.sleep(1_200)
    assert await erp(world) == [], "its reopening releases nothing"
    await people.close_period(date(2026, 1, 15))
    asked = await do(world, "exceptions.resolve", exception_id=found["exception_id"], period="2026-02")
    assert len(asked["documents"]) == 2
    assert asked["sum_minor"] == {"USD": 2 * people.invoices()[0]["total"]}
    assert await erp(world) == []
    await do(world, "approvals.decide", actor="olga", approval_id=asked["approval_id"], approve=True)
    await world.rest()
    assert {one["period"] for one in await erp(world)} == {"Feb 2026"}
    assert {one["date"] for one in await erp(world)} == {"2026-01-10"}
    await clean(world, periods={one["id"]: "Feb 2026" for one in people.invoices()})
    again = await refused(world, "approvals.decide", approval_id=asked["approval_id"], approve=True)
    assert "already" in again


@simulated()
async def test_what_cannot_be_read_is_said_where_a_closed_periods_documents_are_listed(world, people):
    await people.close_period(date(2026, 1, 15))
    await people.sell(await people.customer("Acme"))
    await world.rest()
    found = await _parked(world, "blocked_period")
    world.billing.faults.rates = {"error_before": 1.0}
    asked = await do(world, "exceptions.resolve", exception_id=found["exception_id"], period="2026-02")
    (document,) = asked["documents"]
    assert (document["number"], document["amount_minor"]) == ("unreadable now", 0)
    assert asked["sum_minor"] == {"": 0}


@simulated()
async def test_an_exception_that_is_deferred_reopens(world, people):
    await people.sell(
        await people.customer("Acme"), lines=[{"product": "GHOST", "quantity": 1, "unit_price": "5"}]
    )
    await world.rest()
    found = await _parked(world, "preflight")
    until = (world.clock.now() + timedelta(hours=1)).isoformat()
    assert "reason" in await refused(
        world, "exceptions.defer", exception_id=found["exception_id"], until=until
    )
    await do(
        world,
        "exceptions.defer",
        exception_id=found["exception_id"],
        until=until,
        reason="price list on Friday",
    )
    assert (await exceptions(world))[0]["state"] == "deferred"
    await asyncio.sleep(3_700)
    assert (await exceptions(world))[0]["state"] == "open"


@simulated()
async def test_a_process_that_fails_is_parked_with_its_traceback_while_others_go_on(world, people):
    processes = dict(tieout.processes.PROCESSES)

    async def poisoned(run, ref):
        if "0000001" in ref.id:
            raise ZeroDivisionError("poison")
        await processes["opportunity"].function(run, ref)

    world.app.hub.processes = processes | {
        "opportunity": Process(name="close_won", kind="opportunity", function=poisoned)
    }
    await people.sell(await people.customer("Acme"))
    await people.sell(await people.customer("Beta"))
    await world.rest()
    found = await _parked(world, "bug")
    assert "poison" in found["cause"]
    assert "poisoned" in found["detail"]
    assert len(await sql(world, "SELECT 1 FROM runs WHERE process = 'close_won' AND outcome <> 'done'")) == 3
    assert len(subscriptions(world)) == 1


@simulated()
async def test_a_circle_of_waits_is_found_when_it_is_written(world, people):
    async def circular(run, ref):
        other = Ref(connection=ref.connection, kind=ref.kind, id="B" if ref.id == "A" else "A")
        raise NotYet(
            Need(key=f"circle|{other.id}", what=f"{other.id} of {ref.id}", on_lane=str(other), producer=other)
        )

    hub = world.app.hub
    hub.processes = dict(hub.processes) | {
        "circle": Process(name="circular", kind="circle", function=circular)
    }
    from tieout.store import lanes

    start = {
        "lane_id": "x|circle|A",
        "connection": "x",
        "kind": "circle",
        "subject_id": "A",
        "now": hub.now(),
    }
    await hub.store.commit([(lanes.START, start)])
    await world.rest()
    found = await _parked(world, "cycle")
    assert "waits in a circle" in found["cause"]
    assert dict(
        await sql(world, "SELECT state, COUNT(*) FROM lanes WHERE kind = 'circle' GROUP BY state")
    ) == {
        "parked": 1,
        "waiting": 1,
    }


@simulated()
async def test_hostile_names_pass_unharmed(world, people):
    name = '=HYPERLINK("x"), "Acme" \u202eO\u2019Brien \U0001f600; DROP TABLE'
    await people.sell(await people.customer(name), lines=[LINES[0]])
    await world.rest()
    (customer,) = (await world.act("netsuite", "snapshot"))["customers"]
    assert customer["company_name"] == name
    await clean(world)
