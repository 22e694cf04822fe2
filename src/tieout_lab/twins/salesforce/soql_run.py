"""A bound query run on the org: which rows, in which order, and how they are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tieout_lab.twins.salesforce import errors
from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.schema import Field, SObject
from tieout_lab.twins.salesforce.soql_bind import Binder, Column, Plan, Selection
from tieout_lab.twins.salesforce.soql_groups import MOST_GROUPS, groups, of_group
from tieout_lab.twins.salesforce.soql_parse import parse
from tieout_lab.twins.salesforce.store import Row

Paged = Callable[[Plan, list[Row], str], dict[str, Any]]


def prepare(org: Org, text: str) -> Plan:
    """The plan of a query text; INVALID_FIELD, INVALID_TYPE, MALFORMED_QUERY otherwise."""
    return Binder(org, text).bind(parse(text))


def matching(org: Org, plan: Plan, *, include_deleted: bool) -> list[Row]:
    """The rows of a query, ordered and cut."""
    found = [
        row
        for row in _candidates(org, plan)
        if (include_deleted or not row.get("IsDeleted")) and plan.where(row)
    ]
    return found if plan.grouping is not None else _cut(org, plan, found)


def aggregates(org: Org, plan: Plan, rows: list[Row]) -> list[dict[str, Any]]:
    """The records of a query with aggregates; EXCEEDED_ID_LIMIT for more groups than one answer holds."""
    grouping = plan.grouping
    if grouping is None:
        raise ValueError("no aggregates in this plan")
    found = [each for each in groups(org, grouping, rows) if grouping.having(each)]
    for value, descending, nulls_last in reversed(grouping.order):
        high = nulls_last != descending
        found.sort(
            key=lambda each, value=value, high=high: _place(  # type: ignore[misc]  # bound at once
                of_group(org, value, each), value.field, nulls_high=high
            ),
            reverse=descending,
        )
    end = None if plan.limit is None else plan.offset + plan.limit
    found = found[plan.offset : end]
    if len(found) > MOST_GROUPS:
        raise errors.SalesforceError(400, "EXCEEDED_ID_LIMIT", "Aggregate query does not support queryMore()")
    return [
        {"attributes": {"type": "AggregateResult"}}
        | {name: of_group(org, value, each) for name, value in grouping.shown}
        for each in found
    ]


def children(org: Org, reference: Field, plan: Plan, parent_id: str, *, include_deleted: bool) -> list[Row]:
    """The rows of a child sub-select under one parent."""
    if org.store.all_visible:
        offered: Iterable[Row] = org.store.by_key(plan.sobject.name, reference, parent_id)
    else:
        offered = (
            row for row in org.store.seen_rows(plan.sobject.name) if row.get(reference.name) == parent_id
        )
    found = [row for row in offered if (include_deleted or not row.get("IsDeleted")) and plan.where(row)]
    return _cut(org, plan, found)


def show(
    org: Org, selection: Selection, row: Row, version: str, paged: Paged, *, include_deleted: bool
) -> dict[str, Any]:
    """A record of an answer: attributes, fields, parents, child results."""
    shown: dict[str, Any] = {"attributes": attributes(selection.sobject, row, version)}
    for name in selection.shown:
        if name in selection.fields:
            shown[name] = org.value(selection.sobject, row, selection.fields[name])
        elif name in selection.parents:
            reference, inner = selection.parents[name]
            parent = org.store.seen(reference.target or "", row.get(reference.name))
            shown[name] = None
            if parent is not None:
                shown[name] = show(org, inner, parent, version, paged, include_deleted=include_deleted)
        else:
            reference, plan = selection.children[name]
            found = children(org, reference, plan, row["Id"], include_deleted=include_deleted)
            shown[name] = paged(plan, found, version) if found else None
    return shown


def attributes(sobject: SObject, row: Row, version: str) -> dict[str, str]:
    """The type and address of a record."""
    return {"type": sobject.name, "url": f"/services/data/v{version}/sobjects/{sobject.name}/{row['Id']}"}


def _candidates(org: Org, plan: Plan) -> Iterable[Row]:
    name = plan.sobject.name
    for field, wanted in plan.keys:
        if field.type == "id":
            rows = (org.store.seen(name, value) for value in dict.fromkeys(wanted))
            return [row for row in rows if row is not None]
        if org.store.all_visible:
            return [row for value in dict.fromkeys(wanted) for row in org.store.by_key(name, field, value)]
    return org.store.seen_rows(name)


def _cut(org: Org, plan: Plan, found: list[Row]) -> list[Row]:
    for column, descending, nulls_last in reversed(plan.order):
        found.sort(key=_sorting(org, column, nulls_high=nulls_last != descending), reverse=descending)
    end = None if plan.limit is None else plan.offset + plan.limit
    return found[plan.offset : end]


def _sorting(org: Org, column: Column, *, nulls_high: bool) -> Callable[[Row], tuple[int, Any]]:
    return lambda row: _place(column.read(org, row), column.field, nulls_high=nulls_high)


def _place(value: Any, field: Field, *, nulls_high: bool) -> tuple[int, Any]:
    """Where a value stands in an order."""
    if value is None:
        return (2 if nulls_high else 0), 0
    folds = isinstance(value, str) and field.type not in ("id", "reference", "date", "datetime")
    return 1, value.lower() if folds else value
