"""Whole aggregates of the CRM: orders, quotes, contracts and CPQ, by the connector from its twin."""

from __future__ import annotations

import itertools
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.conformance.support import RecordingTransport, Served, serve
from tests.conformance.test_salesforce_connector import (  # fixtures among them
    account,
    config,
    deal,
    transport,
    twin,
    world,
)
from tieout.canonical.order import Order
from tieout.canonical.outcome import Failure, NotFound, Rejected
from tieout.canonical.sale import ChangeOrder, Contract, Quote, SalesOrder
from tieout.connectors.contract import World
from tieout.connectors.salesforce import CONNECTOR
from tieout.connectors.salesforce.connection import SalesforceConnection
from tieout.connectors.salesforce.mapping import Org as Names
from tieout.connectors.salesforce.sold import subject_id, watched
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin

__all__ = ["transport", "twin", "world"]


class Cpq:
    """What people and the package do in an org with Salesforce CPQ: papers of new deals and of their changes."""

    def __init__(self, twin: Served, namespace: str = "SBQQ") -> None:
        self.twin = twin
        self.namespace = namespace
        self.customer = account(twin)

    def named(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Short names get the package's prefix; names of standard fields begin with a dot."""
        return {
            name[1:] if name.startswith(".") else f"{self.namespace}__{name}__c": value
            for name, value in fields.items()
        }

    def make(self, sobject: str, **fields: Any) -> str:
        full = sobject if sobject[0] == "." else f".{self.namespace}__{sobject}__c"
        return str(self.twin.act("create", object=full[1:], fields=self.named(fields))["id"])

    def change(self, sobject: str, id: str, **fields: Any) -> None:
        full = sobject if sobject[0] == "." else f".{self.namespace}__{sobject}__c"
        self.twin.act("update", object=full[1:], id=id, fields=self.named(fields))

    def product(self, code: str) -> str:
        rows = self.twin.act("snapshot", objects=["Product2"])["Product2"]
        return str(next(row["Id"] for row in rows if row["ProductCode"] == code))

    def deal(self, *, won: bool = True, **fields: Any) -> str:
        made = deal(self.twin, self.customer, lines=0, won=won, fields=self.named(fields))
        return str(made["id"])

    def quote(self, of: str, **more: Any) -> str:
        usual = {"Opportunity2": of, "Account": self.customer, "Primary": True, "Status": "Approved"}
        usual |= {".CurrencyIsoCode": "USD", "StartDate": "2026-02-01", "EndDate": "2027-01-31"}
        return self.make("Quote", **usual | {"SubscriptionTerm": 12, "Type": "Quote"} | more)

    def line(self, quote: str, product: str, quantity: str, price: str, total: str, **more: Any) -> str:
        usual = {"Quote": quote, "Product": self.product(product), "Quantity": quantity, "NetPrice": price}
        usual |= {"NetTotal": total, "EffectiveQuantity": quantity, "ProrateMultiplier": 1}
        usual |= {
            "DefaultSubscriptionTerm": 12,
            ".CurrencyIsoCode": "USD",
            "SubscriptionPricing": "Fixed Price",
        }
        return self.make(
            "QuoteLine", **usual | {"ChargeType": "Recurring", "BillingFrequency": "Monthly"} | more
        )

    def order(self, of: str, quote: str, *items: tuple[str, str, str, str]) -> tuple[str, list[str]]:
        """Items: (quote line, product, quantity, price)."""
        fields = {".AccountId": self.customer, ".OpportunityId": of, ".EffectiveDate": "2026-02-01"}
        fields |= {".EndDate": "2027-01-31", ".Status": "Draft", "Quote": quote, ".CurrencyIsoCode": "USD"}
        order = self.make(".Order", **fields)
        made = [
            self.make(
                ".OrderItem",
                **{".OrderId": order, ".Product2Id": self.product(product), ".Quantity": quantity},
                **{".UnitPrice": price, "QuoteLine": line},
            )
            for line, product, quantity, price in items
        ]
        self.change(".Order", order, **{".Status": "Activated"})
        return order, made

    def reduction(self, of: str, order: str, item: str, quantity: str, price: str) -> str:
        """A draft that takes pieces off a line of an order."""
        fields = {".AccountId": self.customer, ".OpportunityId": of, ".EffectiveDate": "2026-05-01"}
        fields |= {".Status": "Draft", ".IsReductionOrder": True, ".OriginalOrderId": order}
        made = self.make(".Order", **fields)
        taken = {".OrderId": made, ".Product2Id": self.product("PLATFORM"), ".Quantity": quantity}
        self.make(".OrderItem", **taken | {".UnitPrice": price, ".OriginalOrderItemId": item})
        return made

    def contract(self, of: str, **more: Any) -> str:
        fields = {".AccountId": self.customer, ".StartDate": "2026-02-01", ".ContractTerm": 12}
        return self.make(".Contract", **fields | {".CurrencyIsoCode": "USD", "Opportunity": of} | more)

    def subscription(self, contract: str, product: str, quantity: str, price: str, **more: Any) -> str:
        usual = {"Contract": contract, "Account": self.customer, "Product": self.product(product)}
        usual |= {"Quantity": quantity, "NetPrice": price, "SubscriptionStartDate": "2026-02-01"}
        return self.make("Subscription", **usual | {"SubscriptionEndDate": "2027-01-31"} | more)


@pytest.fixture
def cpq(twin: Served) -> Cpq:
    return Cpq(twin)


@pytest.fixture
def crm(twin: Served, world: World) -> SalesforceConnection:
    return CONNECTOR.open("crm", config(twin, order_source="cpq_quote"), world)


async def refusal(crm: SalesforceConnection, id: str, kind: type = Order) -> Rejected:
    with pytest.raises(Failure) as caught:
        await crm.fetch(kind, id)
    assert isinstance(caught.value.outcome, Rejected)
    return caught.value.outcome


# -------------------------------------------------------------------------------------------------- order as source


async def test_order_as_source(twin: Served, world: World, cpq: Cpq, transport: RecordingTransport) -> None:
    crm = CONNECTOR.open("crm", config(twin, order_source="order"), world)
    of = deal(twin, cpq.customer, lines=2)["id"]
    assert not (await crm.fetch(Order, of)).approved  # won, but its order is not activated
    quote = cpq.quote(of)
    order, items = cpq.order(of, quote, ("", "PLATFORM", "3", "50.00"), ("", "ONBOARD", "1", "1500.00"))
    transport.requests.clear()
    found = await crm.fetch(Order, of)
    assert len(transport.requests) == 1
    assert found.approved
    assert [(line.id, line.quantity, line.net_minor, line.charge) for line in found.lines] == [
        (items[0], Decimal(3), 15000, "recurring"),
        (items[1], Decimal(1), 150000, "one_time"),
    ]
    assert (found.start, found.end, found.ref.id) == (date(2026, 2, 1), date(2027, 2, 1), of)
    whole = await crm.fetch(SalesOrder, order)
    assert (whole.status, whole.net_minor, len(whole.lines)) == ("activated", 165000, 2)
    assert whole.opportunity is not None
    assert whole.opportunity.id == of
    reduction = cpq.reduction(of, order, items[0], "-1", "50.00")
    assert (await crm.fetch(Order, of)).lines == found.lines  # a draft takes nothing away
    cpq.change(".Order", reduction, **{".Status": "Activated"})
    reduced = await crm.fetch(Order, of)
    assert [(line.quantity, line.net_minor) for line in reduced.lines] == [(2, 10000), (1, 150000)]
    assert (await crm.fetch(SalesOrder, reduction)).reduction
    cpq.order(of, quote, ("", "PLATFORM", "1", "50.00"))
    assert (await refusal(crm, of)).code == "SEVERAL_ORDERS"


async def test_order_item_that_ends_early_is_no_order(twin: Served, world: World, cpq: Cpq) -> None:
    crm = CONNECTOR.open("crm", config(twin, order_source="order"), world)
    of = deal(twin, cpq.customer, lines=0)["id"]
    _, items = cpq.order(of, cpq.quote(of), ("", "PLATFORM", "3", "50.00"))
    twin.act("alter", object="OrderItem", id=items[0], fields={"EndDate": "2026-06-30"})
    refused = await refusal(crm, of)
    assert refused.code == "RAMP"
    assert "2026-07-01" in refused.message


async def test_many_order_items_over_pages(twin: Served, world: World, cpq: Cpq) -> None:
    twin.act("limits", page_size=3)
    crm = CONNECTOR.open("crm", config(twin, order_source="order"), world)
    of = deal(twin, cpq.customer, lines=0)["id"]
    _, items = cpq.order(of, cpq.quote(of), *[("", "PLATFORM", str(n + 1), "1.00") for n in range(10)])
    assert [line.id for line in (await crm.fetch(Order, of)).lines] == items


# ---------------------------------------------------------------------------------------------------- CPQ, new deals


async def test_new_cpq_deal(cpq: Cpq, crm: SalesforceConnection, transport: RecordingTransport) -> None:
    of = cpq.deal()
    quote = cpq.quote(of, PaymentTerms="Net 45", NetAmount="9300.00")
    bundle = cpq.line(quote, "PLATFORM", "10", "600.00", "6000.00", Number=1, Bundle=True)
    cpq.line(quote, "ANALYTICS", "10", "0", "0", Number=2, RequiredBy=bundle, Bundled=True)
    support = cpq.line(quote, "SUPPORT", "1", "1800.00", "1800.00", Number=3)
    setup = cpq.line(
        quote, "ONBOARD", "1", "1500.00", "1500.00", Number=4, ChargeType="One-Time", BillingFrequency=None
    )
    cpq.line(quote, "GHOST", "1", "99.00", "99.00", Number=5, Optional=True)
    await crm.identity()
    transport.requests.clear()
    found = await crm.fetch(Order, of)
    assert len(transport.requests) == 1
    assert [
        (line.id, line.quantity, line.unit_price, line.net_minor, line.charge) for line in found.lines
    ] == [
        (bundle, Decimal(10), Decimal(50), 50000, "recurring"),
        (support, Decimal(1), Decimal(150), 15000, "recurring"),
        (setup, Decimal(1), Decimal(1500), 150000, "one_time"),
    ]
    assert (found.start, found.end, found.term_months) == (date(2026, 2, 1), date(2027, 2, 1), 12)
    assert (found.frequency, found.payment_terms, found.approved) == ("month", "Net 45", True)
    whole = await crm.fetch(Quote, quote)
    assert (whole.kind, whole.status, whole.primary, whole.net_minor) == ("new", "approved", True, 930000)
    assert [line.bundle for line in whole.lines] == ["", bundle, "", ""]
    cpq.change("Quote", quote, Status="Draft")
    assert not (await crm.fetch(Order, of)).approved
    cpq.change("Quote", quote, Status="Sideways")
    assert (await crm.fetch(Quote, quote)).status == "pending: Sideways"


async def test_two_years_with_a_yearly_price_billed_quarterly(cpq: Cpq, crm: SalesforceConnection) -> None:
    of = cpq.deal()
    quote = cpq.quote(of, EndDate="2028-01-31", SubscriptionTerm=24)
    cpq.line(quote, "PLATFORM", "5", "2400.00", "12000.00", ProrateMultiplier=2, BillingFrequency="Quarterly")
    found = await crm.fetch(Order, of)
    assert [(line.unit_price, line.net_minor) for line in found.lines] == [(Decimal(300), 150000)]
    assert (found.frequency, found.end) == ("quarter", date(2028, 2, 1))


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"line": {"NetPrice": "1000.00", "NetTotal": "1000.00", "Quantity": "1", "EffectiveQuantity": "1"}},
         "LINE_AMOUNT", "83.333333 USD a month comes to 999.96"),
        ({"quote": {"NetAmount": "6000.01"}}, "QUOTE_TOTAL", "6000.01"),
        ({"line": {"NetTotal": None}}, "LINE_AMOUNT", "no SBQQ__NetTotal__c"),
        ({"line": {"BillingFrequency": "Invoice Plan"}}, "LINE_AMOUNT", "pending: Invoice Plan"),
        ({"line": {"StartDate": "2026-05-01"}}, "RAMP", "2026-05-01"),
        ({"line": {"EffectiveEndDate": "2026-12-31"}}, "RAMP", "2027-01-01"),
        ({"quote": {"Primary": False}}, "QUOTE", "0 primary quotes"),
        ({"quote": {"Type": "Amendment"}}, "CHANGE_ORDER", "amendment"),
        ({"quote": {"Type": "Re-Quote"}}, "CHANGE_ORDER", "Re-Quote"),
    ],
)  # fmt: skip
async def test_what_is_no_new_deal(
    cpq: Cpq, crm: SalesforceConnection, change: dict[str, Any], code: str, words: str
) -> None:
    of = cpq.deal()
    quote = cpq.quote(of)
    line = cpq.line(quote, "PLATFORM", "10", "600.00", "6000.00")
    cpq.change("QuoteLine", line, **change.get("line", {}))
    cpq.change("Quote", quote, **change.get("quote", {}))
    refused = await refusal(crm, of)
    assert refused.code == code
    assert words in refused.message


async def test_inexact_periods_may_be_rounded_where_the_company_says_so(
    twin: Served, world: World, cpq: Cpq
) -> None:
    from tieout.connectors.salesforce.config import Cpq as Package

    crm = CONNECTOR.open("crm", config(twin, order_source="cpq_quote", cpq=Package(periods="round")), world)
    of = cpq.deal()
    cpq.line(cpq.quote(of), "PLATFORM", "1", "1000.00", "1000.00")
    assert [line.net_minor for line in (await crm.fetch(Order, of)).lines] == [8333]


async def test_mixed_frequency_and_several_quotes(cpq: Cpq, crm: SalesforceConnection) -> None:
    of = cpq.deal()
    quote = cpq.quote(of)
    cpq.line(quote, "PLATFORM", "10", "600.00", "6000.00")
    cpq.line(quote, "SUPPORT", "1", "1200.00", "1200.00", BillingFrequency="Annual")
    assert (await refusal(crm, of)).code == "MIXED_FREQUENCY"
    cpq.quote(of)
    assert (await refusal(crm, of)).code == "QUOTE"
    assert (await crm.fetch(Order, cpq.deal(won=False))).lines == ()
    with pytest.raises(NotFound):
        await crm.fetch(Order, "006000000000001AAA")


async def test_quote_and_order_must_agree_to_the_cent(cpq: Cpq, crm: SalesforceConnection) -> None:
    of = cpq.deal()
    quote = cpq.quote(of)
    line = cpq.line(quote, "PLATFORM", "10", "600.00", "6000.00")
    order, items = cpq.order(of, quote, (line, "PLATFORM", "10", "600.00"))
    assert len((await crm.fetch(Order, of)).lines) == 1
    cpq.twin.act("alter", object="OrderItem", id=items[0], fields={"TotalPrice": "5999.99"})
    refused = await refusal(crm, of)
    assert refused.code == "QUOTE_AND_ORDER"
    assert "quoted 10 for 6000.00, ordered 10 for 5999.99 USD" in refused.message
    cpq.twin.act("alter", object="Order", id=order, fields={"StatusCode": "Canceled"})
    assert len((await crm.fetch(Order, of)).lines) == 1


async def test_other_namespace(world: World) -> None:
    from tieout.connectors.salesforce.config import Cpq as Package

    with serve(SalesforceTwin(SystemTwinClock(), namespace="fork")) as served:
        own = Cpq(served, "fork")
        of = own.deal()
        own.line(own.quote(of), "PLATFORM", "10", "600.00", "6000.00")
        given = config(served, order_source="cpq_quote", cpq=Package(namespace="fork"))
        crm = CONNECTOR.open("crm", given, world)
        assert [line.net_minor for line in (await crm.fetch(Order, of)).lines] == [50000]


# ------------------------------------------------------------------------------------------------- contracts, changes


class Sold:
    """A contract of two lines, and an amendment of it that is made step by step."""

    def __init__(self, cpq: Cpq) -> None:
        self.cpq = cpq
        first = cpq.deal()
        self.contract = cpq.contract(first)
        self.seats = cpq.subscription(self.contract, "PLATFORM", "10", "600.00")
        self.support = cpq.subscription(self.contract, "SUPPORT", "1", "1800.00")
        self.deal = cpq.deal(won=False, AmendedContract=self.contract)
        self.quote = cpq.quote(
            self.deal,
            Type="Amendment",
            Status="Draft",
            MasterContract=self.contract,
            StartDate="2026-08-01",
            SubscriptionTerm=6,
        )
        half = {"ProrateMultiplier": "0.5", "StartDate": "2026-08-01"}
        self.more = cpq.line(
            self.quote, "PLATFORM", "15", "300.00", "1500.00",
            PriorQuantity=10, EffectiveQuantity=5, UpgradedSubscription=self.seats, Existing=True, Number=1, **half,
        )  # fmt: skip
        self.kept = cpq.line(
            self.quote, "SUPPORT", "1", "900.00", "0.00",
            PriorQuantity=1, EffectiveQuantity=0, UpgradedSubscription=self.support, Existing=True, Number=2, **half,
        )  # fmt: skip
        self.added = cpq.line(
            self.quote, "ANALYTICS", "15", "120.00", "1800.00", PriorQuantity=0, Number=3, **half
        )

    def win(self) -> None:
        self.cpq.change(".Opportunity", self.deal, **{".StageName": "Closed Won"})

    def approve(self) -> None:
        self.cpq.change("Quote", self.quote, Status="Approved")

    def order(self) -> None:
        self.orders = self.cpq.order(
            self.deal,
            self.quote,
            (self.more, "PLATFORM", "5", "300.00"),
            (self.added, "ANALYTICS", "15", "120.00"),
        )

    def book(self) -> None:
        self.booked = self.cpq.subscription(
            self.contract, "PLATFORM", "5", "300.00",
            RevisedSubscription=self.seats, QuoteLine=self.more, SubscriptionStartDate="2026-08-01",
        )  # fmt: skip
        self.cpq.subscription(self.contract, "ANALYTICS", "15", "120.00", QuoteLine=self.added)


async def test_one_amendment_told_four_times_in_any_order_is_one_change_order(
    twin: Served, cpq: Cpq, crm: SalesforceConnection
) -> None:
    for steps in itertools.permutations(("win", "approve", "order", "book")):
        sold = Sold(cpq)
        seen = []
        for step in steps:
            getattr(sold, step)()
            found = await crm.fetch(ChangeOrder, sold.deal)
            if found.won and found.approved:
                seen.append(found)
        assert seen
        assert all(each == seen[0] for each in seen), steps
        change = seen[0]
        assert (change.kind, change.contract.id, change.ref.id) == ("amendment", sold.contract, sold.deal)
        assert (change.net_minor, change.start) == (330000, date(2026, 8, 1))
        assert [
            (line.line, line.before, line.after, line.delta, line.net_minor) for line in change.lines
        ] == [
            (sold.seats, 10, 15, 5, 150000),
            ("", 0, 15, 15, 180000),
        ]
        assert {line.end for line in change.lines} == {date(2027, 2, 1)}
        assert (await refusal(crm, sold.deal)).code == "CHANGE_ORDER"


async def test_every_paper_of_a_change_leads_to_one_subject(
    twin: Served, cpq: Cpq, crm: SalesforceConnection
) -> None:
    sold = Sold(cpq)
    sold.order()
    sold.book()
    names: Names = crm._aggregates._org
    found = {}
    for each in watched(names):
        query = f"SELECT Id, {each.path} FROM {each.sobject}"
        rows = await crm._client.rows(query, "watch")
        found[each.sobject] = {subject_id(row, each.path) for row in rows} - {""}
    assert len(found) == 5
    assert set(map(frozenset, found.values())) == {frozenset({sold.deal})}


async def drain(crm: SalesforceConnection, cursor: str) -> tuple[list[Any], str]:
    found: list[Any] = []
    while True:
        page = await crm.poll(cursor)
        found += page.events
        cursor = page.cursor
        if not page.more:
            return found, cursor


async def test_papers_of_a_won_deal_are_told_as_the_deal(
    twin: Served, cpq: Cpq, crm: SalesforceConnection, world: World
) -> None:
    sold = Sold(cpq)
    _, cursor = await drain(crm, "")
    sold.order()
    events, cursor = await drain(crm, cursor)
    assert [event for event in events if event.subject.id == sold.deal] == []  # not won: nobody's business
    sold.win()
    events, cursor = await drain(crm, cursor)
    told = [event.type for event in events if event.subject.id == sold.deal]
    assert told[-1] == "Opportunity.changed"  # the deal's own content comes last
    assert {
        "Order.changed",
        "OrderItem.changed",
        "SBQQ__Quote__c.changed",
        "SBQQ__QuoteLine__c.changed",
    } < set(told)
    assert (await drain(crm, cursor))[0] == []
    sold.book()
    cpq.change("QuoteLine", sold.more, Description="more seats")
    restarted = CONNECTOR.open("crm", config(twin, order_source="cpq_quote"), world)
    events, cursor = await drain(restarted, cursor)
    assert {event.subject.id for event in events} == {sold.deal}
    assert {event.type.partition(".")[0] for event in events} >= {"SBQQ__Subscription__c"}
    twin.act("delete", object="SBQQ__QuoteLine__c", id=sold.kept)
    events, _ = await drain(restarted, cursor)
    assert "SBQQ__QuoteLine__c.deleted" in {event.type for event in events}


async def test_papers_over_many_polls_and_from_another_source(twin: Served, cpq: Cpq, world: World) -> None:
    plain = CONNECTOR.open("crm", config(twin), world)
    _, cursor = await drain(plain, "")
    of = deal(twin, cpq.customer, lines=0)["id"]
    quote = cpq.quote(of)
    items = []
    for second in range(4):
        _, made = cpq.order(of, quote, *[("", "PLATFORM", "1", "1.00")] * 3)
        items += made
        for each in made:
            stamp = {"SystemModstamp": f"2026-11-25T10:00:0{second}.000+0000"}
            twin.act("alter", object="OrderItem", id=each, fields=stamp)
    twin.act("limits", page_size=4)
    early = config(twin, order_source="order", start_date=date(2026, 11, 1))
    crm = CONNECTOR.open("crm", early, world)
    events, cursor = await drain(crm, cursor)
    told = [event for event in events if event.type.startswith("OrderItem")]
    assert {event.subject.id for event in told} == {of}
    assert sorted(msgspec.json.decode(event.data)["id"] for event in told) == sorted(items)
    assert (await drain(crm, cursor))[0] == []


async def test_papers_that_disagree_are_refused(cpq: Cpq, crm: SalesforceConnection) -> None:
    sold = Sold(cpq)
    sold.win()
    sold.approve()
    cpq.change("Subscription", sold.seats, Quantity="11")
    assert "quoted from 10, the contract holds 11" in (await refusal(crm, sold.deal, ChangeOrder)).message
    cpq.change("Subscription", sold.seats, Quantity="10")
    sold.book()
    cpq.change("Subscription", sold.booked, Quantity="4")
    assert "quoted 5, booked 4" in (await refusal(crm, sold.deal, ChangeOrder)).message
    cpq.change("Subscription", sold.booked, Quantity="5")
    cpq.change("QuoteLine", sold.more, PriorQuantity="9")
    assert "from 9 to 15 is no change by 5" in (await refusal(crm, sold.deal, ChangeOrder)).message
    cpq.change("QuoteLine", sold.more, PriorQuantity="10")
    sold.order()
    cpq.twin.act("alter", object="OrderItem", id=sold.orders[1][0], fields={"Quantity": "6"})
    assert (await refusal(crm, sold.deal, ChangeOrder)).code == "QUOTE_AND_ORDER"
    new = cpq.deal()
    cpq.line(cpq.quote(new), "PLATFORM", "10", "600.00", "6000.00")
    assert (await refusal(crm, new, ChangeOrder)).code == "NOT_A_CHANGE"


async def test_contract_with_its_ledger(cpq: Cpq, crm: SalesforceConnection) -> None:
    sold = Sold(cpq)
    sold.book()
    cpq.subscription(
        sold.contract,
        "PLATFORM",
        "-3",
        "100.00",
        RevisedSubscription=sold.booked,
        TerminatedDate="2026-12-01",
    )
    cpq.change(
        ".Contract",
        sold.contract,
        RenewalTerm=24,
        DisableAmendmentCoTerm=True,
        AmendmentStartDate="2026-08-01",
        RenewalForecast=True,
        AmendmentRenewalBehavior="Latest End Date",
    )
    found = await crm.fetch(Contract, sold.contract)
    assert (found.status, found.start, found.end) == ("draft", date(2026, 2, 1), date(2027, 2, 1))
    assert (found.renewal_months, found.co_term, found.renewal_forecast) == (24, False, True)
    assert found.amendment_start == date(2026, 8, 1)
    lines = {line.first.product: line for line in found.lines}
    assert [(line.quantity, len(line.rows)) for line in lines.values()] == [(12, 3), (1, 1), (15, 1)]
    assert lines["PLATFORM"].rows[0].quantity == 10
    assert lines["PLATFORM"].rows[-1].terminated or lines["PLATFORM"].rows[1].terminated
    cpq.change("Subscription", sold.seats, RevisedSubscription=sold.booked)
    refused = await refusal(crm, sold.contract, Contract)
    assert (refused.code, "ring" in refused.message) == ("LEDGER", True)
    cpq.twin.act("alter", object="Contract", id=sold.contract, fields={"StatusCode": "Elsewhere"})
    cpq.change("Subscription", sold.seats, RevisedSubscription=None)
    assert (await crm.fetch(Contract, sold.contract)).status == "pending: Elsewhere"


async def test_cancellation_and_renewal(cpq: Cpq, crm: SalesforceConnection) -> None:
    contract = cpq.contract(cpq.deal())
    seats = cpq.subscription(contract, "PLATFORM", "10", "600.00")
    ending = cpq.deal(AmendedContract=contract)
    quote = cpq.quote(ending, Type="Amendment", MasterContract=contract, StartDate="2026-08-01")
    cpq.line(
        quote, "PLATFORM", "0", "300.00", "-3000.00",
        PriorQuantity=10, EffectiveQuantity=-10, UpgradedSubscription=seats, ProrateMultiplier="0.5",
    )  # fmt: skip
    ended = await crm.fetch(ChangeOrder, ending)
    assert (ended.kind, ended.net_minor, ended.lines[0].delta) == ("cancellation", -300000, -10)
    renewing = cpq.deal(RenewedContract=contract)
    quote = cpq.quote(renewing, Type="Renewal", StartDate="2027-02-01", EndDate="2028-01-31")
    cpq.line(quote, "PLATFORM", "12", "600.00", "7200.00", RenewedSubscription=seats)
    renewed = await crm.fetch(ChangeOrder, renewing)
    assert (renewed.kind, renewed.lines[0].line, renewed.lines[0].before, renewed.lines[0].after) == (
        "renewal",
        seats,
        0,
        12,
    )


async def test_ramp_is_whole_as_a_quote_and_refused_as_one_subscription(
    cpq: Cpq, crm: SalesforceConnection
) -> None:
    of = cpq.deal()
    quote = cpq.quote(of, EndDate="2028-01-31", SubscriptionTerm=24)
    for year, (start, end, quantity, total) in enumerate(
        (("2026-02-01", "2027-01-31", "10", "6000.00"), ("2027-02-01", "2028-01-31", "20", "12000.00"))
    ):
        cpq.line(
            quote, "PLATFORM", quantity, "600.00", total,
            SegmentKey="s1", SegmentIndex=year + 1, SegmentLabel=f"Year {year + 1}", StartDate=start, EndDate=end,
        )  # fmt: skip
    whole = await crm.fetch(Quote, quote)
    assert [
        (line.segment, line.segment_label, line.start, line.end, line.net_minor) for line in whole.lines
    ] == [
        ("s1", "Year 1", date(2026, 2, 1), date(2027, 2, 1), 600000),
        ("s1", "Year 2", date(2027, 2, 1), date(2028, 2, 1), 1200000),
    ]
    assert (await refusal(crm, of)).code == "RAMP"


async def test_standard_quote(twin: Served, cpq: Cpq, crm: SalesforceConnection) -> None:
    of = deal(twin, cpq.customer, lines=0)["id"]
    quote = cpq.make(".Quote", **{".Name": "Q", ".OpportunityId": of, ".Status": "Approved"})
    line = {
        ".QuoteId": quote,
        ".Product2Id": cpq.product("PLATFORM"),
        ".Quantity": 2,
        ".UnitPrice": 50,
        ".Discount": 10,
    }
    cpq.make(".QuoteLineItem", **line)
    found = await crm.fetch(Quote, quote)
    assert (found.status, found.net_minor, found.lines[0].unit_price) == ("approved", 9000, Decimal(45))


# --------------------------------------------------------------------------------------------------------- listings


@pytest.mark.parametrize("by_job", [False, True])
async def test_contract_lines_of_each_source_are_those_of_its_order(
    twin: Served, cpq: Cpq, world: World, by_job: bool
) -> None:
    of = cpq.deal()
    quote = cpq.quote(of)
    seats = cpq.line(quote, "PLATFORM", "10", "600.00", "6000.00", Bundle=True)
    cpq.line(quote, "ANALYTICS", "10", "0", "0", RequiredBy=seats, Bundled=True)
    setup = cpq.line(
        quote, "ONBOARD", "1", "1500.00", "1500.00", ChargeType="One-Time", BillingFrequency=None
    )
    cpq.line(quote, "GHOST", "1", "99.00", "99.00", Optional=True)
    order, items = cpq.order(
        of, quote, (seats, "PLATFORM", "10", "600.00"), (setup, "ONBOARD", "1", "1500.00")
    )
    Sold(cpq)  # an amendment that is not won, and its first deal without a quote
    threshold = 1 if by_job else 20_000
    for source, lines in (("cpq_quote", [seats, setup]), ("order", items)):
        crm = CONNECTOR.open("crm", config(twin, order_source=source, bulk_threshold=threshold), world)
        found = {line.line: line async for line in crm.contract_lines()}
        assert sorted(found) == sorted(lines)
        sold = await crm.fetch(Order, of)
        for line in sold.lines:
            listed = found[line.id]
            assert (listed.contract, listed.product, listed.quantity) == (of, line.product, line.quantity)
            assert (listed.start, listed.end, listed.currency) == (sold.start, sold.end, "USD")
            assert listed.unit_minor == line.unit_price * 100
            assert listed.frequency == ("month" if line.charge == "recurring" else "once")
    assert found[items[0]].contracted_minor == 12 * 600000
    crm = CONNECTOR.open("crm", config(twin, order_source="cpq_quote"), world)
    cpq.change("QuoteLine", seats, BillingFrequency="Invoice Plan")
    odd = {line.line: line async for line in crm.contract_lines()}[seats]
    assert (odd.contracted_minor, odd.status.startswith("pending")) == (600000, True)
    reduction = cpq.reduction(of, order, items[0], "-4", "600.00")
    cpq.change(".Order", reduction, **{".Status": "Activated"})
    crm = CONNECTOR.open("crm", config(twin, order_source="order"), world)
    assert {line.line: line.quantity async for line in crm.contract_lines()} == {items[0]: 6, items[1]: 1}
