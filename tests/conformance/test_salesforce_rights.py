"""Under the permission sets that ship with the connector everything works; under less, `check` says what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.support import Served
from tests.conformance.test_salesforce_batches import mirror, mirrors
from tests.conformance.test_salesforce_connector import (  # fixtures among them
    KEYS,
    account,
    config,
    crm,
    deal,
    transport,
    twin,
    world,
)
from tests.conformance.test_salesforce_sales import Cpq, Sold
from tests.unit.connectors.test_salesforce_metadata import permissions, text
from tieout.canonical.ids import Ref
from tieout.canonical.order import Order
from tieout.canonical.outcome import Confirmed, Failure, Misconfigured, Rejected
from tieout.canonical.party import Customer
from tieout.canonical.sale import ChangeOrder, Contract, Quote, SalesOrder
from tieout.connectors.contract import World
from tieout.connectors.salesforce import CONNECTOR
from tieout.connectors.salesforce.connection import SalesforceConnection

__all__ = ["crm", "transport", "twin", "world"]


def restrict(twin: Served, *folders: str) -> None:
    """Give the integration user what these folders' permission sets give, and no other custom field."""
    given = {
        text(each, "field"): text(each, "editable") == "true"
        for folder in folders
        for each in permissions("fieldPermissions", folder)
    }
    every = {
        f"{sobject.name}.{field.name}"
        for sobject in twin.app.org.whole.objects.values()
        for field in sobject.fields.values()
        if field.custom
    }
    master = {"SBQQ__QuoteLine__c.SBQQ__Quote__c"}  # a detail's master is never hidden
    twin.act(
        "field_security",
        hidden=sorted(every - given.keys() - master),
        read_only=sorted(name for name, editable in given.items() if not editable and name in every),
    )


async def test_shipped_rights_are_enough(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    made = deal(twin, customer)["id"]
    restrict(twin, "tieout", "deal-terms")
    assert [each for each in await crm.check() if each.level != "ok"] == []
    assert len((await crm.fetch(Order, made)).lines) == 2
    assert (await crm.fetch(Customer, customer)).po_required
    target = Ref(connection="crm", kind="opportunity", id=made)
    assert isinstance(
        await crm.assign(target, "status", {"status": "x", "subscription": "s"}, KEYS), Confirmed
    )
    outcomes = await crm.assign_many([mirror(1, account=customer, opportunity=made)])
    assert {type(each) for each in outcomes.values()} == {Confirmed}
    assert len([line async for line in crm.contract_lines()]) == 2
    assert {event.subject.id for event in (await crm.poll("")).events} >= {made}


async def test_shipped_rights_are_enough_for_orders_and_cpq(twin: Served, world: World) -> None:
    crm = CONNECTOR.open("crm", config(twin, order_source="cpq_quote"), world)
    sold = Sold(Cpq(twin))
    for step in ("win", "approve", "order", "book"):
        getattr(sold, step)()
    restrict(twin, "tieout", "deal-terms", "orders", "cpq")
    assert [each for each in await crm.check() if each.level != "ok"] == []
    assert (await crm.fetch(ChangeOrder, sold.deal)).net_minor == 330000
    assert len((await crm.fetch(Contract, sold.contract)).lines) == 3
    assert len((await crm.fetch(Quote, sold.quote)).lines) == 3
    assert len((await crm.fetch(SalesOrder, sold.orders[0])).lines) == 2


@pytest.mark.parametrize(
    ("hidden", "read_only", "words"),
    [
        (["Opportunity.Tieout_Status__c"], [], "missing, or hidden"),
        ([], ["Opportunity.Tieout_Status__c"], "may not edit the field"),
        (["Account.Tax_Id__c"], [], "missing, or hidden"),
    ],
)
async def test_check_names_what_is_hidden(
    twin: Served, crm: SalesforceConnection, hidden: list[str], read_only: list[str], words: str
) -> None:
    twin.act("field_security", hidden=hidden, read_only=read_only)
    found = [each for each in await crm.check() if each.level == "error"]
    assert [(each.subject, words in each.message) for each in found] == [
        (f"crm {(hidden + read_only)[0]}", True)
    ]


async def test_hidden_field_blocks_the_connection_and_writes_nothing(
    twin: Served, crm: SalesforceConnection
) -> None:
    customer = account(twin)
    made = deal(twin, customer)["id"]
    twin.act(
        "field_security", hidden=["Opportunity.Tieout_Subscription_Id__c", "Opportunity.Legal_Entity__c"]
    )
    target = Ref(connection="crm", kind="opportunity", id=made)
    refused = await crm.assign(target, "status", {"status": "x", "subscription": "s"}, KEYS)
    assert isinstance(refused, Misconfigured)
    assert "permission set" in refused.remedy
    with pytest.raises(Failure) as caught:
        await crm.fetch(Order, made)
    assert isinstance(caught.value.outcome, Misconfigured)
    assert twin.act("snapshot", objects=["Opportunity"])["Opportunity"][0]["Tieout_Status__c"] is None


async def test_duplicate_rule_parks_with_the_match(twin: Served, crm: SalesforceConnection) -> None:
    await crm.assign_many([mirror(1)])
    twin.act("duplicate_rule", object="Tieout_Invoice__c", field="Invoice_Number__c")
    ours: dict[str, Any] = {"number": "INV-1"}
    target = Ref(connection="crm", kind="invoice_mirror", id="in_other")
    refused = await crm.assign(target, "mirror", ours, KEYS)
    assert isinstance(refused, Rejected)
    assert refused.code == "DUPLICATES_DETECTED"
    assert mirrors(twin)["in_000001"]["Id"] in refused.message
    outcomes = await crm.assign_many([mirror(1, status="paid"), mirror(7, number="INV-1")])
    assert [type(each) for each in outcomes.values()] == [Confirmed, Rejected]
    assert list(mirrors(twin)) == ["in_000001"]
