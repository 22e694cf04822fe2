"""The present aggregate: an opportunity with its lines, account terms and product codes in one call; an account with
the accounts above it."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from tieout.canonical.order import Order
from tieout.canonical.outcome import Failure, NotFound, Rejected, Transient
from tieout.canonical.party import Customer
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org, map_customer, map_order
from tieout.connectors.salesforce.sold import SALE_KINDS, Sold, opportunity_line_columns

T = TypeVar("T")
DEEPEST = 100
# A query may go up five relationships, so one row shows an account's parent and five more.
LEVELS = 5
HIERARCHY = ", ".join(["ParentId", *("Parent." * level + "ParentId" for level in range(1, LEVELS + 1))])


class Aggregates:
    """`Reader` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self._order_columns = order_columns(org)
        self._account_columns = account_columns(org)
        self._sold = Sold(client, org, deal_columns(org))

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T:
        """The present `Order` (by the declared order source), `Customer`, `Quote`, `SalesOrder`, `Contract` or
        `ChangeOrder` (by its opportunity), deleted ones included. Raises NotFound, Failure."""
        if not soql.is_record_id(id):
            raise NotFound(f"{id[:40]!r} is no record id")
        fetched: Any
        try:
            if kind is Order:
                fetched = await self._order(id, lane)
            elif kind is Customer:
                fetched = await self._customer(id, lane)
            elif kind in SALE_KINDS:
                fetched = await self._sold.sale(kind, id, lane)
            else:
                raise TypeError(f"this connection does not read {kind.__name__}")
        except BadBody as error:
            raise Failure(Transient(reason=f"{kind.__name__} {id}: {error}")) from error
        if not isinstance(fetched, kind):
            raise TypeError(f"read a {type(fetched).__name__} for a {kind.__name__}")
        return fetched

    async def _order(self, id: str, lane: str) -> Order:
        if self._org.config.order_source != "opportunity":
            return await self._sold.order(id, lane)
        query = f"SELECT {self._order_columns} FROM Opportunity WHERE Id = {soql.quoted(id)}"
        rows = await self._client.rows(query, "order.fetch", lane=lane, deleted=True)
        if not rows:
            raise NotFound(f"opportunity {id}")
        return map_order(rows[0], await self._lines(rows[0], lane), self._org)

    async def _lines(self, row: wire.Row, lane: str) -> list[dict[str, Any]]:
        """All lines: a sub-select pages by itself. None at all is null, not an empty list."""
        child = row.get("OpportunityLineItems")
        if child is None:
            return []
        try:
            page = msgspec.convert(child, wire.Page)
        except msgspec.ValidationError as error:
            raise BadBody("OpportunityLineItems is no page of rows") from error
        lines = list(page.records)
        async for following in self._client.following(page, "order.fetch", lane=lane):
            lines += following.records
        if len(lines) != page.total_size:
            raise BadBody(f"{len(lines)} of {page.total_size} lines")
        return lines

    async def _customer(self, id: str, lane: str) -> Customer:
        query = f"SELECT {self._account_columns} FROM Account WHERE Id = {soql.quoted(id)}"
        rows = await self._client.rows(query, "customer.fetch", lane=lane, deleted=True)
        if not rows:
            raise NotFound(f"account {id}")
        return map_customer(rows[0], await self._ancestors(rows[0], lane), self._org)

    async def _ancestors(self, row: wire.Row, lane: str) -> list[str]:
        """Ids upwards; the account's own row shows the first six. Ends at the top, at an account that this user
        may not see, or where a cycle closes: the id that closes it stands last, for the preflight to see."""
        own = wire.text(row, "Id")
        passed, chain = {own}, list[str]()
        above = climb(row)
        while above:
            for id in above:
                chain.append(id)
                if id in passed:
                    return chain
                passed.add(id)
            if len(chain) > DEEPEST:
                message = f"account {own} has more than {DEEPEST} accounts above it"
                raise Failure(Rejected(code="HIERARCHY", message=message))
            if len(above) <= LEVELS:
                return chain
            query = f"SELECT {HIERARCHY} FROM Account WHERE Id = {soql.quoted(chain[-1])}"
            rows = await self._client.rows(query, "customer.fetch", lane=lane)
            above = climb(rows[0]) if rows else []
        return chain


def climb(row: wire.Row) -> list[str]:
    """The ids above one account, as far as its row shows them."""
    above: list[str] = []
    while id := wire.text(row, "ParentId"):
        above.append(id)
        row = wire.parent(row, "Parent")
    return above


def order_columns(org: Org) -> str:
    """What an order is made of; the lines as a sub-select."""
    lines = opportunity_line_columns(org)
    return f"{deal_columns(org)}, (SELECT {lines} FROM OpportunityLineItems ORDER BY SortOrder, Id)"


def deal_columns(org: Org) -> str:
    """What a deal's own record says."""
    names = org.names
    return soql.columns(
        "Id",
        "Name",
        "IsDeleted",
        "AccountId",
        "StageName",
        "IsWon",
        "IsClosed",
        "CloseDate",
        org.config.currency_field,
        org.approval,
        names.opportunity_legal_entity,
        names.opportunity_start,
        names.opportunity_end,
        names.opportunity_term_months,
        names.opportunity_frequency,
        names.opportunity_po_number,
        names.opportunity_status,
        names.opportunity_external_id,
        *soql.related("Account", names.account_payment_terms),
    )


def account_columns(org: Org) -> str:
    """What a customer is made of."""
    names, config = org.names, org.config
    suffix = "Code" if config.address_codes else ""
    address = [
        f"{kind}{part}"
        for kind in ("Billing", "Shipping")
        for part in ("Street", "City", f"State{suffix}", "PostalCode", f"Country{suffix}")
    ]
    return soql.columns(
        "Id",
        "Name",
        "IsDeleted",
        *HIERARCHY.split(", "),
        "MasterRecordId",
        config.currency_field,
        *address,
        names.account_tax_id,
        names.account_invoice_email,
        names.account_payment_terms,
        names.account_po_required,
    )
