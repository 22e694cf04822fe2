"""Listings for reconciliation: sold lines of won, approved deals, and the invoices shown inside the CRM."""

from __future__ import annotations

from collections.abc import AsyncIterator

from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import ListedDocument, ListedLine
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.bulk import Bulk
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org, map_contract_line, map_mirror

BY_ID = " ORDER BY Id"


class Listings:
    """`LineLister` and `Lister` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self._bulk = Bulk(client)

    async def contract_lines(self) -> AsyncIterator[ListedLine]:
        """Every line of every won and approved deal; a long listing by a Bulk job. Raises Failure."""
        self._client.spare()
        query = contract_query(self._org)
        async for page in self._client.pages(query, "contract_lines.list"):
            if page.total_size > self._org.config.bulk_threshold:
                break
            for row in page.records:
                yield self._line(row)
        else:
            return
        # A job needs no order, and is slower with one.
        numbers = contract_numbers(self._org)
        async for text in self._bulk.rows(query.removesuffix(BY_ID), "contract_lines.list"):
            try:
                row = wire.from_csv(text, numbers)
            except BadBody as error:
                raise Failure(Transient(reason=f"contract_lines.list: {error}")) from error
            yield self._line(row)

    def _line(self, row: wire.Row) -> ListedLine:
        try:
            return map_contract_line(row, self._org)
        except BadBody as error:
            raise Failure(Transient(reason=f"contract_lines.list: {error}")) from error

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
    conditions = ["Opportunity.IsWon = true"]
    if org.approval:
        conditions.append(f"Opportunity.{org.approval} = true")
    if config.deals_from:
        conditions.append(f"Opportunity.CloseDate >= {soql.day(config.deals_from)}")
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
