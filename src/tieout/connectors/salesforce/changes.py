"""What of the org concerns us, and a row of it as a change event: the same whichever feed brought it.

A sweep, a change data capture event and the deletion log all end here, so that one change of one record has one event
id, and a change that two feeds tell is taken in once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.wire import Row

# Lines and accounts before opportunities: the last event of an opportunity's lane then carries the content of the
# opportunity itself, and the echo of our own write to it is recognised.
OBJECTS = ("Account", "OpportunityLineItem", "Opportunity")
# The kind of document that a record's own id names; a line is about the opportunity that holds it.
KINDS = {"Account": "account", "Opportunity": "opportunity"}
# Ids of one query, and queries of one composite call.
IDS_AT_ONCE = 150
QUERIES_AT_ONCE = 5


def interest(name: str, org: Org) -> str:
    """The condition that a row concerns us: won deals, and whatever carries our status (a deal that is reopened,
    edited, lost or deleted after acceptance must be seen)."""
    names, since = org.names, org.config.deals_from
    closed = f" AND {{}}CloseDate >= {soql.day(since)}" if since else ""
    if name == "Account":
        known = [field for field in (names.account_status, names.account_external_id) if field]
        return "(" + " OR ".join(f"{field} != null" for field in known) + ")"
    path = "Opportunity." if name == "OpportunityLineItem" else ""
    won = f"{path}IsWon = true{closed.format(path)}"
    won = f"({won})" if closed else won
    return f"({won} OR {path}{names.opportunity_status} != null)"


def feed_columns(org: Org) -> dict[str, str]:
    """The columns of each object that are read by the sweep: what a process reads, and what we write."""
    names, config = org.names, org.config
    always = ("Id", "IsDeleted", "SystemModstamp")
    address = [
        f"{kind}{part}"
        for kind in ("Billing", "Shipping")
        for part in ("Street", "City", "State", "PostalCode", "Country")
    ]
    return {
        "Account": soql.columns(
            *always,
            "Name",
            "ParentId",
            "MasterRecordId",
            config.currency_field,
            *address,
            names.account_tax_id,
            names.account_invoice_email,
            names.account_payment_terms,
            names.account_po_required,
            names.account_status,
            names.account_last_error,
            names.account_external_id,
        ),
        "OpportunityLineItem": soql.columns(
            *always,
            "OpportunityId",
            "Product2Id",
            "Quantity",
            "UnitPrice",
            "Discount",
            "TotalPrice",
            "ServiceDate",
            "Description",
        ),
        "Opportunity": soql.columns(
            *always,
            "Name",
            "AccountId",
            "StageName",
            "IsWon",
            "IsClosed",
            "CloseDate",
            "Amount",
            config.currency_field,
            org.approval,
            names.opportunity_legal_entity,
            names.opportunity_start,
            names.opportunity_end,
            names.opportunity_term_months,
            names.opportunity_frequency,
            names.opportunity_po_number,
            names.opportunity_status,
            names.opportunity_last_error,
            names.opportunity_subscription,
            names.opportunity_synced_at,
            names.opportunity_external_id,
        ),
    }


def our_columns(org: Org) -> dict[str, frozenset[str]]:
    """The columns that we write ourselves, which say nothing new; and those that change with every write."""
    names = org.names
    always = ("attributes", "SystemModstamp")
    return {
        "Account": frozenset(
            (*always, names.account_status, names.account_last_error, names.account_external_id)
        ),
        "OpportunityLineItem": frozenset(always),
        "Opportunity": frozenset(
            (
                *always,
                names.opportunity_status,
                names.opportunity_last_error,
                names.opportunity_subscription,
                names.opportunity_synced_at,
                names.opportunity_external_id,
            )
        ),
    }


def watched_fields(org: Org) -> dict[str, frozenset[str]]:
    """The fields of each object of which a change tells something new: what is read and not written by us."""
    ours = our_columns(org)
    return {name: frozenset(columns.split(", ")) - ours[name] for name, columns in feed_columns(org).items()}


def touches(fields: Iterable[str], watched: frozenset[str]) -> bool:
    """Whether one of these fields is watched. A change event names a part of an address `BillingAddress.City`, a query
    `BillingCity`; a part of a person's name is `Name.LastName` there and `Name` here."""
    for field in fields:
        parent, _, part = field.partition(".")
        if parent in watched or (part and parent.removesuffix("Address") + part in watched):
            return True
    return False


def map_change(name: str, row: Row, org: Org, ours: frozenset[str]) -> ChangeEvent:
    """One row as a change event. A change of a line is about its opportunity. The body names the record alone:
    a hint needs no more, and the row holds personal data."""
    id = wire.text(row, "Id")
    stamp = wire.text(row, "SystemModstamp")
    deleted = wire.flag(row, "IsDeleted")
    if name == "Account":
        subject = org.ref("account", id)
    else:
        subject = org.ref("opportunity", wire.text(row, "OpportunityId") if name != "Opportunity" else id)
    if not id or not subject.id:
        raise BadBody("a row without its id")
    whole = _digest({key: value for key, value in row.items() if key != "attributes"})
    return ChangeEvent(
        id=f"{name}|{id}|{stamp}|{whole}",
        source=org.connection,
        type=f"{name}.{'deleted' if deleted else 'changed'}",
        subject=subject,
        time=wire.moment(row, "SystemModstamp"),
        data=msgspec.json.encode({"object": name, "id": id, "stamp": stamp, "deleted": deleted}),
        content=f"{name}:{_digest({key: value for key, value in row.items() if key not in ours})}",
    )


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(fields, order="deterministic")).hexdigest()[:16]


def map_gone(name: str, id: str, at: datetime, org: Org) -> ChangeEvent:
    """A record that the recycle bin does not hold (any more): nothing is left to read but that it was deleted."""
    kind = KINDS.get(name)
    stamp = soql.instant(at)
    return ChangeEvent(
        id=f"{name}|{id}|{stamp}|gone",
        source=org.connection,
        type=f"{name}.deleted",
        subject=org.ref(kind, id) if kind else None,
        time=at,
        data=msgspec.json.encode({"object": name, "id": id, "stamp": stamp, "deleted": True}),
        ignored="" if kind else "a line that is gone for good: its opportunity tells the new total",
    )


class Present:
    """Reads records by id as a sweep would, deleted ones included."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self.columns = feed_columns(org)
        self.ours = our_columns(org)

    async def events(self, wanted: Mapping[str, Iterable[str]]) -> list[ChangeEvent]:
        """The present state of records (object -> ids) as events, those that concern us. Raises Failure, BadBody."""
        found: list[ChangeEvent] = []
        for name, rows in (
            await self._rows(
                wanted, lambda name: (self.columns[name], f" AND {interest(name, self._org)}"), "changes.read"
            )
        ).items():
            found += [map_change(name, row, self._org, self.ours[name]) for row in rows]
        return found

    async def gone(self, deleted: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
        """Of deleted records (object -> ids) those that even `queryAll` does not show any more. Raises Failure."""
        left = {name: set(ids) for name, ids in deleted.items()}
        rows = await self._rows(left, lambda _: ("Id", ""), "changes.find_deleted")
        for name, shown in rows.items():
            left[name] -= {wire.text(row, "Id") for row in shown}
        return {name: ids for name, ids in left.items() if ids}

    async def _rows(
        self, wanted: Mapping[str, Iterable[str]], query: Callable[[str], tuple[str, str]], operation: str
    ) -> dict[str, list[dict[str, Any]]]:
        queries: dict[str, str] = {}
        for name in OBJECTS:
            ids = sorted(set(wanted.get(name, ())))
            columns, condition = query(name)
            for start in range(0, len(ids), IDS_AT_ONCE):
                listed = ", ".join(soql.quoted(id) for id in ids[start : start + IDS_AT_ONCE])
                key = f"{name}_{start // IDS_AT_ONCE}"
                queries[key] = f"SELECT {columns} FROM {name} WHERE Id IN ({listed}){condition}"
        rows: dict[str, list[dict[str, Any]]] = {}
        keys = list(queries)
        for start in range(0, len(keys), QUERIES_AT_ONCE):
            part = {key: queries[key] for key in keys[start : start + QUERIES_AT_ONCE]}
            pages, _ = await self._client.first_pages(part, operation)
            for key, page in pages.items():
                name = key.rpartition("_")[0]
                rows.setdefault(name, []).extend(page.records)
                async for following in self._client.following(page, operation):
                    rows[name] += following.records
        return rows
