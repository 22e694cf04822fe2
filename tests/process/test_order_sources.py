"""Deals whose sold lines stand on an order or a CPQ quote, from the CRM to billing; changes are for a person."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.process.flows import JANUARY, clean, exceptions, subscriptions
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.world import SimulatedWorld

Flow = Callable[[SimulatedWorld, Business], Awaitable[None]]


def with_source(source: str, flow: Flow) -> None:
    """Play a flow in a company whose CRM connection declares this order source."""

    async def main() -> None:
        world = SimulatedWorld()
        text = world.file.read_text()
        told = text.replace('vendor = "salesforce"', f'vendor = "salesforce"\norder_source = "{source}"')
        assert told != text
        world.file.write_text(told)
        people = Business(world, JANUARY)
        try:
            await people.open()
            await world.live()
            await flow(world, people)
        finally:
            await world.close()

    run_virtual(main())


async def make(world: SimulatedWorld, sobject: str, **fields: Any) -> str:
    made = await world.act("salesforce", "create", object=sobject, fields=fields)
    return str(made["id"])


async def product(world: SimulatedWorld, code: str) -> str:
    rows = (await world.act("salesforce", "snapshot", objects=["Product2"]))["Product2"]
    return str(next(row["Id"] for row in rows if row["ProductCode"] == code))


def test_won_deal_is_billed_when_its_order_is_activated() -> None:
    async def flow(world: SimulatedWorld, people: Business) -> None:
        account = await people.customer("Acme")
        deal = await people.sell(account, lines=[])
        await world.rest()
        assert subscriptions(world) == []  # won, but nobody has activated an order
        order = await make(
            world, "Order", AccountId=account, OpportunityId=deal, EffectiveDate="2026-01-10", EndDate="2027-01-09",
            Status="Draft",
        )  # fmt: skip
        line = {"OrderId": order, "Product2Id": await product(world, "PLATFORM"), "Quantity": 3}
        await make(world, "OrderItem", **line, UnitPrice="50.00")
        await world.rest()
        assert subscriptions(world) == []
        await world.act("salesforce", "update", object="Order", id=order, fields={"Status": "Activated"})
        await world.rest()
        assert len(subscriptions(world)) == 1
        assert [invoice["subtotal"] for invoice in people.invoices()] == [15_000]
        assert await exceptions(world) == []
        await clean(world)

    with_source("order", flow)


def test_cpq_deal_is_billed_by_its_quote_and_its_amendment_waits_for_a_person() -> None:
    async def flow(world: SimulatedWorld, people: Business) -> None:
        account = await people.customer("Acme")
        deal = await people.sell(account, lines=[])
        platform = await product(world, "PLATFORM")
        cpq = {"SBQQ__Account__c": account, "CurrencyIsoCode": "USD", "SBQQ__StartDate__c": "2026-01-10"}
        cpq |= {"SBQQ__EndDate__c": "2027-01-09", "SBQQ__SubscriptionTerm__c": 12, "SBQQ__Primary__c": True}
        line = {"SBQQ__Product__c": platform, "SBQQ__ChargeType__c": "Recurring", "CurrencyIsoCode": "USD"}
        line |= {"SBQQ__BillingFrequency__c": "Monthly", "SBQQ__DefaultSubscriptionTerm__c": 12}
        quote = await make(world, "SBQQ__Quote__c", SBQQ__Opportunity2__c=deal, **cpq)
        sold = {"SBQQ__Quantity__c": 10, "SBQQ__EffectiveQuantity__c": 10, "SBQQ__NetPrice__c": "600.00"}
        await make(
            world, "SBQQ__QuoteLine__c", SBQQ__Quote__c=quote, SBQQ__NetTotal__c="6000.00", **line, **sold
        )
        await world.rest()
        assert (subscriptions(world), await exceptions(world)) == ([], [])  # the quote is a draft
        fields = {"SBQQ__Status__c": "Approved"}
        await world.act("salesforce", "update", object="SBQQ__Quote__c", id=quote, fields=fields)
        await world.rest()
        assert len(subscriptions(world)) == 1
        assert [invoice["subtotal"] for invoice in people.invoices()] == [50_000]
        contract = await make(world, "Contract", AccountId=account, StartDate="2026-01-10", ContractTerm=12)
        change = await people.sell(account, lines=[], SBQQ__AmendedContract__c=contract)
        more = {
            "SBQQ__Opportunity2__c": change,
            "SBQQ__Type__c": "Amendment",
            "SBQQ__MasterContract__c": contract,
        }
        await make(world, "SBQQ__Quote__c", **cpq, **more, SBQQ__Status__c="Approved")
        await world.rest()
        assert "CHANGE_ORDER" in {each["code"] for each in await exceptions(world)}
        assert len(subscriptions(world)) == 1

    with_source("cpq_quote", flow)
