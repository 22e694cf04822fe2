"""Usage by file: judged whole, reported once, whatever is given twice, lost or interrupted."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.process.flows import (
    FEBRUARY,
    clean,
    do,
    erp,
    exceptions,
    meter,
    operation_of,
    posted,
    refused,
    report_usage,
    script,
    simulated,
    sql,
)
from tests.process.flows import subscriptions as sold
from tests.process.test_in_doubt import LOST
from tieout.engine import usage
from tieout_lab.twins.stripe.catalogue import new_price

USED = "2026-01-10T20:00:00Z"
EVENTS = "/v1/billing/meter_events"


def row(world: Any, people: Any, identifier: str = "u-1", **more: Any) -> dict[str, Any]:
    customer = people.invoices()[0]["customer"]
    given = {"identifier": identifier, "customer": customer, "meter": "calls", "quantity": "12.5"}
    return {**given, "at": USED, **more}


def told(world: Any) -> list[tuple[str, str, str]]:
    events = world.billing.accounts["acct_us"].all("meter_events")
    return [
        (one["identifier"], one["payload"]["value"], one["payload"]["stripe_customer_id"]) for one in events
    ]


@simulated()
async def test_a_file_is_reported_once_however_often_it_is_given(world, people):
    await posted(world, people)
    meter(world)
    account = world.crm.org.store.rows("Account")
    rows = [row(world, people), row(world, people, "u-2", customer=next(iter(account))["Id"], quantity="3")]
    assert await report_usage(world, *rows) == {"new": 2}
    await world.rest()
    customer = people.invoices()[0]["customer"]
    assert sorted(told(world)) == [("u-1", "12.5", customer), ("u-2", "3", customer)]
    assert await report_usage(world, *rows, row(world, people, "u-3")) == {"reported": 2, "new": 1}
    await world.rest()
    assert len(told(world)) == 3
    assert await report_usage(world, *rows) == {"reported": 2}
    same = row(world, people, quantity="12.50", at="2026-01-10T21:00:00+01:00")
    assert await report_usage(world, same) == {"reported": 1}
    assert await sql(world, "SELECT 1 FROM documents WHERE kind = 'usage'") == []
    audit = await sql(world, "SELECT subject, detail FROM audit WHERE action = 'usage.report'")
    assert audit[0] == ("stripe-us", "2 rows of january.csv")
    await clean(world)


@simulated()
async def test_what_the_vendor_forgot_after_a_day_the_ledger_still_knows(world, people):
    await posted(world, people)
    meter(world)
    given = row(world, people)
    await report_usage(world, given)
    await world.rest()
    await people.move_to(world.clock.business() + timedelta(days=3))
    await world.rest()
    assert await report_usage(world, given) == {"reported": 1}
    await world.rest()
    assert len(told(world)) == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"customer": "cus_nobody"}, "not one that the hub knows"),
        ({"meter": "steps"}, "no active meter"),
        ({"at": "2026-01-10T00:00:00"}, "time zone"),
        ({"quantity": "-1"}, "quantity"),
        ({"identifier": "a|b"}, "visible ASCII"),
        ({"identifier": "x" * 101}, "visible ASCII"),
        ({"identifier": "u-0"}, "twice"),
        ({"quantity": "many"}, "quantity"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_one_row_that_cannot_be_taken_keeps_all_of_them_out(more: dict[str, str], words: str) -> None:
    @simulated()
    async def test(world: Any, people: Any) -> None:
        await posted(world, people)
        meter(world)
        meter(world, "steps", customer_mapping={"event_payload_key": "mine", "type": "by_id"})
        rows = [row(world, people, "u-0"), row(world, people, **more)]
        why = await refused(world, "usage.report", connection="stripe-us", rows=rows)
        assert words in why
        await world.rest()
        assert told(world) == []
        assert await sql(world, "SELECT 1 FROM lanes WHERE kind = 'usage'") == []
        assert await exceptions(world) == []

    test()


@simulated()
async def test_an_identifier_that_comes_back_with_something_else_is_a_conflict(world, people):
    await posted(world, people)
    meter(world)
    await report_usage(world, row(world, people))
    await world.rest()
    other = [row(world, people, quantity="13")]
    assert "something else" in await refused(world, "usage.report", connection="stripe-us", rows=other)
    assert told(world)[0][1] == "12.5"
    assert "takes no usage" in await refused(world, "usage.report", connection="netsuite-main", rows=other)
    assert "no connection" in await refused(world, "usage.report", connection="nobody", rows=other)


@pytest.mark.parametrize("kind", LOST)
def test_a_lost_answer_makes_no_second_report(kind: str) -> None:
    @simulated()
    async def test(world: Any, people: Any) -> None:
        await posted(world, people)
        meter(world)
        script(world.billing, operation_of(world.billing, EVENTS), kind, seconds=100.0)
        await report_usage(world, row(world, people))
        await world.rest()
        assert world.billing.faults.counts[kind] == 1
        assert len(told(world)) == 1
        assert await report_usage(world, row(world, people)) == {"reported": 1}
        await clean(world)

    test()


@simulated(workers=2)
async def test_a_hub_that_dies_on_the_way_reports_the_rest_when_it_lives_again(world, people):
    await posted(world, people)
    meter(world)
    await report_usage(world, *(row(world, people, f"u-{number}") for number in range(20)))
    await world.bury()
    await world.live()
    await world.rest()
    assert sorted(one[0] for one in told(world)) == sorted(f"u-{number}" for number in range(20))
    await clean(world)


@simulated()
async def test_a_report_that_billing_refuses_is_an_exception_with_its_words(world, people):
    await posted(world, people)
    counted = meter(world)
    given = row(world, people)
    await report_usage(world, given)
    counted["value_settings"] = {"event_payload_key": "amount"}
    await world.rest()
    (found,) = await exceptions(world)
    assert "amount" in found["cause"]
    (judged,) = await usage.judge(world.app.hub, "stripe-us", usage.rows_of([given]))
    assert judged.state == "refused"
    assert "amount" in judged.why
    counted["value_settings"] = {"event_payload_key": "value"}
    await do(world, "exceptions.resolve", exception_id=found["exception_id"])
    await world.rest()
    assert len(told(world)) == 1


# -- sold by use ----------------------------------------------------------------------------------------------------
def by_use(world: Any, counted: dict[str, Any], **more: Any) -> dict[str, Any]:
    recurring = {"interval": "month", "interval_count": 1, "usage_type": "metered", "meter": counted["id"]}
    given = {"currency": "usd", "product": "prod_ANALYTICS", "unit_amount_decimal": Decimal(250), **more}
    price = new_price(world.billing.accounts["acct_us"], {"recurring": recurring, **given})
    price["active"] = True
    return price


async def sell_by_use(world: Any, people: Any) -> None:
    product = next(one for one in world.crm.org.store.rows("Product2") if one["ProductCode"] == "ANALYTICS")
    charge = {"Charge_Type__c": "Usage"}
    await world.act("salesforce", "update", object="Product2", id=product["Id"], fields=charge)
    lines = [
        {"product": "PLATFORM", "quantity": 10, "unit_price": "45.50"},
        {"product": "ANALYTICS", "quantity": 1, "unit_price": "2.50"},
    ]
    await people.sell(await people.customer("Acme"), lines=lines)
    await world.rest()


@simulated()
async def test_what_is_sold_by_use_is_billed_by_what_was_reported_and_posted(world, people):
    counted = meter(world)
    price = by_use(world, counted)
    by_use(world, counted, currency="jpy")
    await sell_by_use(world, people)
    assert await exceptions(world) == []
    (subscription,) = sold(world)
    items = {item["price"]["product"]: item for item in subscription["items"]["data"]}
    assert items["prod_ANALYTICS"]["price"]["id"] == price["id"]
    assert "quantity" not in items["prod_ANALYTICS"]
    assert [one["total"] for one in people.invoices()] == [round(455_00 * 1.0725)]
    await report_usage(
        world, *(row(world, people, one, quantity=two) for one, two in (("a", "40"), ("b", "2")))
    )
    await world.rest()
    await people.move_to(FEBRUARY)
    await world.rest()
    second = people.invoices()[1]
    used = next(one for one in second["lines"]["data"] if one["quantity"] == 42)
    assert used["amount"] == 42 * 250
    (found,) = await usage.of_invoice(world.app.hub, "stripe-us", second["id"])
    assert (found.line.meter, found.line.billed, found.line.metered) == ("calls", 42, 42)
    assert (found.reported, found.reports, found.agrees) == (42, 2, True)
    assert await usage.of_invoice(world.app.hub, "stripe-us", people.invoices()[0]["id"]) == ()
    world.billing.accounts["acct_us"].all("meter_events")[0]["_cancelled"] = True
    (found,) = await usage.of_invoice(world.app.hub, "stripe-us", second["id"])
    assert (found.line.metered, found.reported, found.agrees) == (2, 42, False)
    posted_lines = {line["item"]: line for line in (await erp(world, "invoice"))[1]["lines"]}
    assert "ANALYTICS-IMM" in str(posted_lines)
    await clean(world)


@pytest.mark.parametrize("prices", [0, 2])
def test_a_product_without_one_price_by_use_is_parked_by_name(prices: int) -> None:
    @simulated()
    async def test(world: Any, people: Any) -> None:
        counted = meter(world)
        for _ in range(prices):
            by_use(world, counted)
        await sell_by_use(world, people)
        (found,) = await exceptions(world)
        assert found["code"] == "metered_price"
        assert f"{prices} active metered prices" in found["cause"]
        assert sold(world) == []

    test()
