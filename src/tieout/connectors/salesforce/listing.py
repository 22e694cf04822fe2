"""Listings for reconciliation: sold lines of won, approved deals, and the invoices shown inside the CRM."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import ListedDocument, ListedLine
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.bulk import Bulk
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.cpq import LINE_NUMBERS, map_listed_quote_line
from tieout.connectors.salesforce.mapping import Org, map_contract_line, map_mirror
from tieout.connectors.salesforce.sales import map_listed_item, reductions_by_line
from tieout.connectors.salesforce.sold import cpq_line_columns
from tieout.connectors.salesforce.wire import Row

T = TypeVar("T")

BY_ID = " ORDER BY Id"


class Listings:
    """`LineLister` and `Lister` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self._bulk = Bulk(client)

    async def contract_lines(self) -> AsyncIterator[ListedLine]:
        """Every sold line of every won and approved deal, as the declared order source holds it; a long listing by a
        Bulk job. Raises Failure."""
        self._client.spare()
        org = self._org
        line_of: Callable[[wire.Row], ListedLine | None]
        if org.config.order_source == "cpq_quote":
            query, numbers, flags = cpq_contract_query(org)
            line_of = partial(map_listed_quote_line, org=org)
        elif org.config.order_source == "order":
            query, numbers, flags = order_contract_query(org, reductions=True)
            taken: list[wire.Row] = [row async for row in self._rows(query, numbers, flags)]
            by_line = reductions_by_line(taken)
            query, numbers, flags = order_contract_query(org, reductions=False)
            line_of = partial(map_listed_item, taken=by_line, org=org)
        else:
            query, numbers, flags = contract_query(org), contract_numbers(org), frozenset()
            line_of = partial(map_contract_line, org=org)
        async for row in self._rows(query, numbers, flags):
            if (line := _mapped(row, line_of)) is not None:
                yield line

    async def _rows(
        self, query: str, numbers: frozenset[str], flags: frozenset[str]
    ) -> AsyncIterator[wire.Row]:
        async for page in self._client.pages(query, "contract_lines.list"):
            if page.total_size > self._org.config.bulk_threshold:
                break
            for row in page.records:
                yield row
        else:
            return
        # A job needs no order, and is slower with one.
        async for text in self._bulk.rows(query.removesuffix(BY_ID), "contract_lines.list"):
            yield _mapped(text, lambda each: wire.from_csv(each, numbers, flags))

    async def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        """Kind `invoice`: the invoice mirror; this connection holds no other document. Raises Failure."""
        if kind != "invoice":
            return
        self._client.spare()
        async for page in self._client.pages(mirror_query(self._org), "invoice_mirror.list"):
            for row in page.records:
                try:
                    yield map_mirror(row, self._org)
                except BadBody as error:
                    raise Failure(Transient(reason=f"invoice_mirror.list: {error}")) from error


def _mapped(row: Row, mapping: Callable[[Row], T]) -> T:
    try:
        return mapping(row)
    except BadBody as error:
        raise Failure(Transient(reason=f"contract_lines.list: {error}")) from error


def _deal_conditions(org: Org, path: str) -> list[str]:
    conditions = [f"{path}.IsWon = true"]
    if org.approval:
        conditions.append(f"{path}.{org.approval} = true")
    if org.config.deals_from:
        conditions.append(f"{path}.CloseDate >= {soql.day(org.config.deals_from)}")
    return conditions


def order_contract_query(org: Org, *, reductions: bool) -> tuple[str, frozenset[str], frozenset[str]]:
    """SOQL of the lines of activated orders, or of what reductions take off them; its numbers and checkboxes."""
    names, deal = org.names, "Order.Opportunity"
    columns = soql.columns(
        *("Id", "Quantity", "UnitPrice", "TotalPrice", "OriginalOrderItemId", "ServiceDate", "EndDate"),
        *soql.related("Product2", "ProductCode", names.product_charge_type),
        *soql.related("Order", "OpportunityId", "EffectiveDate", "EndDate", org.config.currency_field),
        *soql.related(
            deal,
            names.opportunity_legal_entity,
            names.opportunity_end,
            names.opportunity_term_months,
            names.opportunity_frequency,
            names.opportunity_status,
        ),
    )
    conditions = [
        "Order.StatusCode = 'Activated'",
        f"Order.IsReductionOrder = {str(reductions).lower()}",
        *_deal_conditions(org, deal),
    ]
    numbers = frozenset(("Quantity", "UnitPrice", "TotalPrice", f"{deal}.{names.opportunity_term_months}"))
    return f"SELECT {columns} FROM OrderItem WHERE {' AND '.join(conditions)}{BY_ID}", numbers, frozenset()


def cpq_contract_query(org: Org) -> tuple[str, frozenset[str], frozenset[str]]:
    """SOQL of the lines of new deals' primary quotes; its numbers and checkboxes."""
    cpq, names = org.config.cpq, org.names
    quote = cpq.parent("Quote")
    deal = f"{quote}.{cpq.parent('Opportunity2')}"
    own = cpq_line_columns(org)
    columns = soql.columns(
        own,
        *soql.related(
            quote,
            *(cpq.name(short) for short in ("Opportunity2", "StartDate", "EndDate", "SubscriptionTerm")),
            org.config.currency_field,
        ),
        *soql.related(deal, names.opportunity_legal_entity, names.opportunity_status),
    )
    conditions = [
        f"{quote}.{cpq.name('Primary')} = true",
        f"{quote}.{cpq.name('Type')} = 'Quote'",
        f"{cpq.name('Optional')} = false",
        *_deal_conditions(org, deal),
    ]
    numbers = frozenset((*map(cpq.name, LINE_NUMBERS), f"{quote}.{cpq.name('SubscriptionTerm')}"))
    flags = frozenset(("IsDeleted", cpq.name("Optional"), cpq.name("Bundled")))
    return (
        f"SELECT {columns} FROM {cpq.name('QuoteLine')} WHERE {' AND '.join(conditions)}{BY_ID}",
        numbers,
        flags,
    )


def contract_query(org: Org) -> str:
    """SOQL of the contract lines."""
    names, config = org.names, org.config
    columns = soql.columns(
        "Id",
        "OpportunityId",
        "Quantity",
        "UnitPrice",
        "Discount",
        "TotalPrice",
        *soql.related("Product2", "ProductCode", names.product_charge_type),
        *soql.related(
            "Opportunity",
            config.currency_field,
            names.opportunity_legal_entity,
            names.opportunity_start,
            names.opportunity_end,
            names.opportunity_term_months,
            names.opportunity_frequency,
            names.opportunity_status,
        ),
    )
    conditions = _deal_conditions(org, "Opportunity")
    return f"SELECT {columns} FROM OpportunityLineItem WHERE {' AND '.join(conditions)}{BY_ID}"


def contract_numbers(org: Org) -> frozenset[str]:
    """The columns of the contract lines that are numbers: in a Bulk file everything is text."""
    term = org.names.opportunity_term_months
    return frozenset(("Quantity", "UnitPrice", "Discount", "TotalPrice", f"Opportunity.{term}"))


def mirror_query(org: Org) -> str:
    """SOQL of the invoice mirror."""
    names = org.names
    columns = soql.columns(
        "Id",
        "SystemModstamp",
        names.mirror_external_id,
        names.mirror_number,
        names.mirror_amount,
        org.config.currency_field,
        names.mirror_status,
        names.mirror_erp_document,
    )
    return f"SELECT {columns} FROM {names.mirror_object} ORDER BY Id"
