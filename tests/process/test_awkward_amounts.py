"""What billing bills and a ledger finds awkward, through the hub and into the books: ten currencies with no, two and
three decimals, invoices of 300 lines, deals of more lines than a subscription holds."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.process.flows import FEBRUARY, clean, do, erp, exceptions, posted, simulated, subscriptions
from tests.process.test_customer_balance import agree
from tieout.ports import Request
from tieout.processes.books import read_books
from tieout_lab.simulation import judge
from tieout_lab.simulation.ports import in_process
from tieout_lab.simulation.truth import Truth
from tieout_lab.simulation.world import PORTS

PRICES = dict.fromkeys(("USD", "EUR", "GBP", "CHF", "KWD", "BHD"), "45.37") | dict.fromkeys(
    ("JPY", "KRW", "CLP", "ISK"), "6000"
)
# Billing's smallest units in one of the ledger's, which keeps dinars with two decimals and krónur with none.
UNITS = {"KWD": 10, "BHD": 10, "ISK": 100}
# Nobody collects taxes there: a tax of a dinar has fils that the ledger cannot keep.
TEXAS = {"street": "1 Main St", "city": "Austin", "state": "TX", "postal_code": "78701", "country": "US"}


async def sell_in_all(world: Any) -> None:
    """The company sells in all of them: price book and legal entity."""
    await world.bury()
    was, text = 'currencies = ["USD", "EUR"]', world.file.read_text()
    assert was in text
    world.file.write_text(text.replace(was, f"currencies = {msgspec.json.encode(list(PRICES)).decode()}"))
    known = await world.act("salesforce", "snapshot", objects=["Product2", "Pricebook2", "PricebookEntry"])
    (product,) = [one["Id"] for one in known["Product2"] if one["ProductCode"] == "PLATFORM"]
    (book,) = [one["Id"] for one in known["Pricebook2"]]
    for currency in PRICES.keys() - {one["CurrencyIsoCode"] for one in known["PricebookEntry"]}:
        entry = {"Pricebook2Id": book, "Product2Id": product, "CurrencyIsoCode": currency}
        fields = {**entry, "UnitPrice": "1", "IsActive": True}
        await world.act("salesforce", "create", object="PricebookEntry", fields=fields)
    await world.live()


async def sell(world: Any, people: Any, currency: str, **more: Any) -> None:
    account = await people.customer(currency, CurrencyIsoCode=currency, **more)
    line = {"product": "PLATFORM", "quantity": 3, "unit_price": PRICES[currency]}
    await people.sell(account, currency=currency, lines=[line])


async def tie(world: Any) -> set[str]:
    """Documents of both sides are equal in whole currency, and every book ties. Answers the currencies still open."""
    await world.rest()
    assert [one["cause"] for one in await exceptions(world)] == []
    crm = await world.act("salesforce", "snapshot", objects=["Opportunity"])
    ledger = await world.act("netsuite", "snapshot")
    for one in ledger["documents"]:
        units = UNITS.get(one["currency"], 1)
        for part in (one, *one["applies"]):
            part |= {name: part[name] * units for name in part if name.endswith("_minor") and part[name]}
    assert Truth(crm, await world.act("stripe", "snapshot"), ledger).violations() == []
    assert await judge.inside(world) == []
    books = await read_books(world.app.hub)
    assert [one.cause for one in books.unexplained] == []
    rows = [row for row in books.books.billing_erp if row.measure == "open receivables"]
    assert [row for row in rows if row.delta_minor] == []
    return {row.currency for row in rows}


@simulated()
async def test_ten_currencies_from_the_deal_into_the_books(world, people):
    await sell_in_all(world)
    for currency in PRICES:
        places = {"billing": TEXAS} if currency in ("KWD", "BHD") else {}
        await sell(world, people, currency, **places)
    assert await tie(world) == PRICES.keys()
    billed = {one["currency"].upper(): one for one in people.invoices()}
    assert billed.keys() == PRICES.keys()
    assert {one: billed[one]["subtotal"] for one in ("USD", "JPY", "KWD", "ISK")} == {
        "USD": 13_611,
        "JPY": 18_000,
        "KWD": 136_110,
        "ISK": 1_800_000,
    }
    for number, (currency, one) in enumerate(billed.items()):
        if number % 2:
            wire = [(one["id"], None)]
            await people.wire(one["customer"], one["total"], wire, currency=currency.lower())
        else:
            await people.pay(one["id"], amount=one["total"] // 2000 * 1000)
    await tie(world)
    for one in billed.values():
        # Of an open invoice it settles a part, of a paid one it becomes the customer's credit.
        await people.credit(one["id"], 1_000)
    await tie(world)
    await people.move_to(FEBRUARY)
    assert await tie(world) == PRICES.keys()
    assert len(people.invoices()) == 2 * len(PRICES)
    assert len(await erp(world, "invoice")) == 2 * len(PRICES)


@simulated()
async def test_fils_that_the_ledger_would_round_are_for_a_person(world, people):
    await sell_in_all(world)
    await sell(world, people, "KWD")
    await world.rest()
    (invoice,) = people.invoices()
    assert invoice["total"] % 10, "a tax of 7.25 % that has fils"
    (found,) = await exceptions(world)
    assert found["code"] == "AMOUNT_PRECISION"
    assert "KWD with 2 decimals" in found["cause"]
    assert await erp(world) == []


async def bill(world: Any, path: str, **form: Any) -> dict[str, Any]:
    """One call at billing, as anybody may make it."""
    request = Request(
        method="POST",
        url=f"http://127.0.0.1:{PORTS['stripe']}{path}",
        headers={
            "authorization": "Bearer sk_test_us",
            "content-type": "application/x-www-form-urlencoded",
        },
        body=urlencode(form).encode(),
    )
    answer = await in_process(world.billing, request, asyncio.Event())
    assert answer.status == 200, answer.body
    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found


@simulated()
async def test_an_invoice_of_300_lines_is_posted_with_each_of_them(world, people):
    await posted(world, people)
    await world.act("stripe", "settings", max_lines=300)
    customer = people.invoices()[0]["customer"]
    made = await bill(world, "/v1/invoices", customer=customer, collection_method="send_invoice",
                      days_until_due=30, currency="usd", **{"automatic_tax[enabled]": "true"})  # fmt: skip
    for number in range(300):
        await bill(world, "/v1/invoiceitems", customer=customer, invoice=made["id"], quantity=1, **{
            "price_data[currency]": "usd",
            "price_data[product]": "prod_PLATFORM",
            "price_data[unit_amount]": 100 + number,
        })  # fmt: skip
    shown = await bill(world, f"/v1/invoices/{made['id']}/finalize")
    assert (len(shown["lines"]["data"]), shown["lines"]["has_more"]) == (10, True)
    await agree(world, people)
    (there,) = [one for one in await erp(world, "invoice") if one["source"] == made["id"]]
    assert sorted(line["amount_minor"] for line in there["lines"]) == list(range(100, 400))
    assert len({line["source_line"] for line in there["lines"]}) == 300
    assert (there["total_minor"], there["posted"]) == (shown["total"], True)
    # What is credited stands beyond the first page of lines.
    await people.credit(made["id"], 399)
    await agree(world, people)
    (memo,) = await erp(world, "creditMemo")
    assert [line["amount_minor"] for line in memo["lines"]] == [399]
    await people.pay(made["id"])
    await agree(world, people)


LINE = {"product": "PLATFORM", "quantity": 1, "unit_price": "10"}
ONCE = {"product": "ONBOARD", "quantity": 1, "unit_price": "500"}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([LINE] * 21, "21 recurring lines, but a subscription holds 20; split the order"),
        ([LINE] + [ONCE] * 21, "21 one-time lines"),
        ([ONCE], "needs a recurring line"),
        ([LINE | {"quantity": "1.5"}], "only whole numbers"),
    ],
    ids=["recurring", "one-time", "none recurring", "fraction"],
)
def test_what_a_subscription_cannot_hold_is_said_before_the_deal_is_accepted_and_can_be_mended(lines, words):
    @simulated()
    async def test(world, people):
        deal = await people.sell(await people.customer("Acme"), lines=lines)
        await world.rest()
        (found,) = await exceptions(world)
        assert (found["code"], words in found["cause"]) == ("preflight", True), found
        assert subscriptions(world) == []
        rows = [
            one for one in world.crm.org.store.rows("OpportunityLineItem") if one["OpportunityId"] == deal
        ]
        if len(lines) > 20:
            await world.act("salesforce", "delete", object="OpportunityLineItem", id=rows[-1]["Id"])
        elif lines == [ONCE]:
            (platform,) = [
                one for one in world.crm.org.store.rows("Product2") if one["ProductCode"] == "PLATFORM"
            ]
            more = {"OpportunityId": deal, "Product2Id": platform["Id"], "Quantity": 1, "UnitPrice": "10"}
            await world.act("salesforce", "create", object="OpportunityLineItem", fields=more)
        else:
            given = {"object": "OpportunityLineItem", "id": rows[0]["Id"], "fields": {"Quantity": 2}}
            await world.act("salesforce", "update", **given)
        await world.rest()
        await do(world, "exceptions.resolve", exception_id=found["exception_id"])
        await world.rest()
        assert await exceptions(world) == []
        assert len(subscriptions(world)) == 1
        assert len(await erp(world, "invoice")) == 1
        await clean(world)

    test()


@simulated()
async def test_as_many_lines_as_a_subscription_holds_are_one_invoice(world, people):
    await people.sell(await people.customer("Acme"), lines=[LINE] * 20 + [ONCE] * 20)
    await world.rest()
    assert await exceptions(world) == []
    (invoice,) = await erp(world, "invoice")
    assert len(invoice["lines"]) == 40
    await clean(world)
