"""What a sold deal is read from: its papers in one Composite call, each query with all its pages.

Also for the feed: `watched` names the objects whose changes are about a deal, and how each leads to its opportunity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tieout.canonical.order import Order
from tieout.canonical.outcome import NotFound
from tieout.canonical.sale import ChangeOrder, Contract, Quote, SalesOrder
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.contracts import change_order, map_contract
from tieout.connectors.salesforce.cpq import Papers, map_cpq_quote, order_from_quote
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.sales import map_quote, map_sales_order, order_from_orders

STANDARD_QUOTE = "0Q0"
# Of an opportunity, with CPQ.
DEAL_FIELDS = ("AmendedContract", "RenewedContract", "PrimaryQuote")
SALE_KINDS = (Quote, SalesOrder, Contract, ChangeOrder)


class Sold:
    """Deals, quotes, orders, contracts and changes of one connection."""

    def __init__(self, client: Client, org: Org, deal_columns: str) -> None:
        self._client = client
        self._org = org
        self._deal_columns = deal_columns

    async def order(self, id: str, lane: str) -> Order:
        """A deal by the declared order source (`order` or `cpq_quote`). Raises NotFound, Failure."""
        if self._org.config.order_source == "cpq_quote":
            return order_from_quote(await self._papers(id, lane), self._org)
        found = await self._collect(
            {
                "deal": self._deal_query(id),
                "items": f"SELECT {order_item_columns(self._org)} FROM OrderItem"
                f" WHERE Order.OpportunityId = {soql.quoted(id)} ORDER BY Id",
            },
            lane,
        )
        return order_from_orders(_one(found["deal"], f"opportunity {id}"), found["items"], self._org)

    async def sale(self, kind: type[Any], id: str, lane: str) -> Any:
        """A Quote, SalesOrder, Contract or ChangeOrder (by its opportunity). Raises NotFound, Failure."""
        if kind is ChangeOrder:
            return change_order(await self._papers(id, lane), self._org)
        if kind is SalesOrder:
            return await self._sales_order(id, lane)
        if kind is Contract:
            return await self._contract(id, lane)
        return await self._quote(id, lane)

    async def _papers(self, id: str, lane: str) -> Papers:
        cpq, quoted = self._org.config.cpq, soql.quoted(id)
        quote, deal = cpq.parent("Quote"), cpq.name("Opportunity2")
        changed = [
            f"{cpq.name('Contract')} IN (SELECT {cpq.name(way)} FROM Opportunity WHERE Id = {quoted})"
            for way in ("AmendedContract", "RenewedContract")
        ]
        own = soql.columns(self._deal_columns, *map(cpq.name, DEAL_FIELDS))
        found = await self._collect(
            {
                "deal": f"SELECT {own} FROM Opportunity WHERE Id = {quoted}",
                "quotes": f"SELECT {cpq_quote_columns(self._org)} FROM {cpq.name('Quote')}"
                f" WHERE {deal} = {quoted} AND {cpq.name('Primary')} = true",
                "lines": f"SELECT {cpq_line_columns(self._org)} FROM {cpq.name('QuoteLine')}"
                f" WHERE {quote}.{deal} = {quoted} AND {quote}.{cpq.name('Primary')} = true"
                f" ORDER BY {cpq.name('Number')}, Id",
                "items": f"SELECT {order_item_columns(self._org)} FROM OrderItem"
                f" WHERE Order.{quote}.{deal} = {quoted} ORDER BY Id",
                "ledger": f"SELECT {ledger_columns(self._org)} FROM {cpq.name('Subscription')}"
                f" WHERE {changed[0]} ORDER BY Id",
            },
            lane,
        )
        deal_row = _one(found["deal"], f"opportunity {id}")
        if not found["ledger"] and wire.text(deal_row, cpq.name("RenewedContract")):
            query = f"SELECT {ledger_columns(self._org)} FROM {cpq.name('Subscription')} WHERE {changed[1]} ORDER BY Id"
            found["ledger"] = await self._client.rows(query, "order.fetch", lane=lane, deleted=True)
        return Papers(
            deal=deal_row,
            quotes=found["quotes"],
            lines=found["lines"],
            items=found["items"],
            ledger=found["ledger"],
        )

    async def _collect(self, queries: Mapping[str, str], lane: str) -> dict[str, list[dict[str, Any]]]:
        """Every row of each query; recycle bin included."""
        pages, _ = await self._client.first_pages(queries, "order.fetch", lane=lane)
        found: dict[str, list[dict[str, Any]]] = {}
        for name, page in pages.items():
            rows = list(page.records)
            async for following in self._client.following(page, "order.fetch", lane=lane):
                rows += following.records
            found[name] = rows
        return found

    def _deal_query(self, id: str) -> str:
        return f"SELECT {self._deal_columns} FROM Opportunity WHERE Id = {soql.quoted(id)}"

    async def _sales_order(self, id: str, lane: str) -> SalesOrder:
        found = await self._collect(
            {
                "order": f"SELECT {order_columns(self._org)} FROM Order WHERE Id = {soql.quoted(id)}",
                "items": f"SELECT {order_item_columns(self._org)} FROM OrderItem"
                f" WHERE OrderId = {soql.quoted(id)} ORDER BY Id",
            },
            lane,
        )
        return map_sales_order(_one(found["order"], f"order {id}"), found["items"], self._org)

    async def _contract(self, id: str, lane: str) -> Contract:
        cpq = self._org.config.cpq
        queries = {
            "contract": f"SELECT {contract_columns(self._org)} FROM Contract WHERE Id = {soql.quoted(id)}"
        }
        if self._org.config.order_source == "cpq_quote":
            queries["ledger"] = (
                f"SELECT {ledger_columns(self._org)} FROM {cpq.name('Subscription')}"
                f" WHERE {cpq.name('Contract')} = {soql.quoted(id)} ORDER BY Id"
            )
        found = await self._collect(queries, lane)
        return map_contract(_one(found["contract"], f"contract {id}"), found.get("ledger", []), self._org)

    async def _quote(self, id: str, lane: str) -> Quote:
        quoted, cpq = soql.quoted(id), self._org.config.cpq
        if id.startswith(STANDARD_QUOTE):
            queries = {
                "quote": f"SELECT {quote_columns(self._org)} FROM Quote WHERE Id = {quoted}",
                "lines": f"SELECT {quote_line_columns(self._org)} FROM QuoteLineItem"
                f" WHERE QuoteId = {quoted} ORDER BY SortOrder, Id",
            }
        else:
            queries = {
                "quote": f"SELECT {cpq_quote_columns(self._org)} FROM {cpq.name('Quote')} WHERE Id = {quoted}",
                "lines": f"SELECT {cpq_line_columns(self._org)} FROM {cpq.name('QuoteLine')}"
                f" WHERE {cpq.name('Quote')} = {quoted} ORDER BY {cpq.name('Number')}, Id",
            }
        found = await self._collect(queries, lane)
        mapping = map_quote if id.startswith(STANDARD_QUOTE) else map_cpq_quote
        return mapping(_one(found["quote"], f"quote {id}"), found["lines"], self._org)


def _one(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    if not rows:
        raise NotFound(what)
    return rows[0]


# --------------------------------------------------------------------------------------------------------- columns


def _package(org: Org, *shorts: str) -> tuple[str, ...]:
    """Fields of the CPQ package, where this connection reads it."""
    return tuple(map(org.config.cpq.name, shorts)) if org.config.order_source == "cpq_quote" else ()


def opportunity_line_columns(org: Org) -> str:
    """What a line of a deal is made of."""
    return soql.columns(
        *("Id", "IsDeleted", "Quantity", "UnitPrice", "Discount", "TotalPrice", "ServiceDate", "Description"),
        *soql.related("Product2", "ProductCode", "Name", org.names.product_charge_type),
    )


def order_columns(org: Org) -> str:
    """What a sales order is made of."""
    return soql.columns(
        *("Id", "IsDeleted", "AccountId", "OpportunityId", "ContractId", "QuoteId", "OriginalOrderId"),
        *(
            "StatusCode",
            "IsReductionOrder",
            "EffectiveDate",
            "EndDate",
            "PoNumber",
            org.config.currency_field,
        ),
    )


def order_item_columns(org: Org) -> str:
    """What an order product is made of, with what counts of its order."""
    header = ("Id", "StatusCode", "IsReductionOrder", "EffectiveDate", "EndDate", "PoNumber")
    return soql.columns(
        *("Id", "IsDeleted", "Quantity", "UnitPrice", "TotalPrice", "ServiceDate", "EndDate", "Description"),
        *("OriginalOrderItemId", "QuoteLineItemId"),
        *soql.related("Order", *header, org.config.currency_field),
        *soql.related("Product2", "ProductCode", "Name", org.names.product_charge_type),
        *_package(org, "QuoteLine", "RevisedOrderProduct"),
    )


def contract_columns(org: Org) -> str:
    """What a contract is made of; with CPQ the fields of amending and renewing."""
    return soql.columns(
        *("Id", "IsDeleted", "AccountId", "SourceOpportunityId", "StatusCode", "StartDate", "EndDate"),
        *("ContractTerm", org.config.currency_field),
        *_package(
            org, "Opportunity", "Quote", "Order", "MasterContract", "RenewalOpportunity", "RenewalTerm"
        ),
        *_package(
            org, "Evergreen", "DisableAmendmentCoTerm", "AmendmentStartDate", "AmendmentRenewalBehavior"
        ),
        *_package(org, "RenewalForecast", "RenewalQuoted"),
    )


def quote_columns(org: Org) -> str:
    """What a standard quote is made of."""
    return soql.columns(
        *("Id", "IsDeleted", "OpportunityId", "AccountId", "ContractId", "Status", "IsSyncing"),
        org.config.currency_field,
    )


def quote_line_columns(org: Org) -> str:
    """What a line of a standard quote is made of: the same as a deal's line."""
    return opportunity_line_columns(org)


def cpq_quote_columns(org: Org) -> str:
    """What a CPQ quote is made of."""
    shorts = (
        *("Opportunity2", "Account", "Type", "Status", "Primary", "StartDate", "EndDate", "SubscriptionTerm"),
        *("MasterContract", "NetAmount", "PaymentTerms"),
    )
    return soql.columns("Id", "IsDeleted", org.config.currency_field, *map(org.config.cpq.name, shorts))


def cpq_line_columns(org: Org) -> str:
    """What a line of a CPQ quote is made of."""
    shorts = (
        *(
            "Quote",
            "Quantity",
            "EffectiveQuantity",
            "PriorQuantity",
            "NetPrice",
            "NetTotal",
            "ProrateMultiplier",
        ),
        *("DefaultSubscriptionTerm", "Description", "StartDate", "EndDate", "EffectiveStartDate"),
        *("EffectiveEndDate", "SubscriptionPricing", "ChargeType", "BillingFrequency", "Optional", "Bundled"),
        *("RequiredBy", "SegmentKey", "SegmentLabel", "UpgradedSubscription", "RenewedSubscription"),
    )
    cpq = org.config.cpq
    return soql.columns(
        "Id", "IsDeleted", *map(cpq.name, shorts), *soql.related(cpq.parent("Product"), "ProductCode", "Name")
    )


def ledger_columns(org: Org) -> str:
    """What a row of a contract's ledger is made of."""
    shorts = (
        *("Quantity", "NetPrice", "SubscriptionStartDate", "SubscriptionEndDate", "RevisedSubscription"),
        *("TerminatedDate", "QuoteLine", "RequiredById", "SegmentKey", "SegmentLabel", "BillingFrequency"),
    )
    cpq = org.config.cpq
    return soql.columns(
        "Id", "IsDeleted", *map(cpq.name, shorts), *soql.related(cpq.parent("Product"), "ProductCode", "Name")
    )


# ------------------------------------------------------------------------------------------------------------ feed


class Watched(msgspec.Struct, frozen=True):
    """An object whose changes are about a deal: `path` is the field that leads to the opportunity's id."""

    sobject: str
    path: str


def watched(org: Org) -> tuple[Watched, ...]:
    """What to watch besides Account, Opportunity and its lines, for this connection's order source. All of it is told
    as one subject, the opportunity: a change that four records tell of is one lane, and one change order."""
    if org.config.order_source == "order":
        return (Watched("Order", "OpportunityId"), Watched("OrderItem", "Order.OpportunityId"))
    if org.config.order_source == "cpq_quote":
        cpq = org.config.cpq
        quote, deal = cpq.parent("Quote"), cpq.name("Opportunity2")
        return (
            Watched(cpq.name("Quote"), deal),
            Watched(cpq.name("QuoteLine"), f"{quote}.{deal}"),
            Watched("Order", f"{quote}.{deal}"),
            Watched("OrderItem", f"Order.{quote}.{deal}"),
            Watched(cpq.name("Subscription"), f"{cpq.parent('QuoteLine')}.{quote}.{deal}"),
        )
    return ()


def subject_id(row: wire.Row, path: str) -> str:
    """The opportunity that a row leads to by its path; empty where the path ends before."""
    *through, last = path.split(".")
    for step in through:
        row = wire.parent(row, step)
    return wire.text(row, last)
