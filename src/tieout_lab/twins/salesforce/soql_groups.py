"""Aggregates: GROUP BY and HAVING bound to the schema, and the records that they come to.

Source: SOQL and SOSL Reference, "Aggregate Functions", "GROUP BY", "HAVING".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.salesforce import errors, values
from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.schema import NUMBERS, Field, SObject
from tieout_lab.twins.salesforce.soql_tree import Aggregate, Compare, Condition, Join, Path, Query
from tieout_lab.twins.salesforce.store import Row

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.soql_bind import Binder, Column

MOST_GROUPS = 2000
_COUNTED = ("COUNT", "COUNT_DISTINCT")
_SUMMED = ("SUM", "AVG")
_NEVER = ("address", "boolean")
_NUMBER = Field("expr", "double", "expr")


@dataclass(frozen=True, slots=True)
class Measure:
    """An aggregate of a column; `field` says how its value compares."""

    function: str
    column: Column
    field: Field

    def read(self, org: Org, rows: list[Row]) -> Any:
        """What it comes to over a group; None over nothing, but for a count."""
        found = [value for row in rows if (value := self.column.read(org, row)) is not None]
        if self.function == "COUNT":
            return len(found)
        if self.function == "COUNT_DISTINCT":
            return len({value.lower() if isinstance(value, str) else value for value in found})
        if not found:
            return None
        if self.function in ("MIN", "MAX"):
            return min(found) if self.function == "MIN" else max(found)
        total = sum((Decimal(value) for value in found), Decimal(0))
        return values.double(total if self.function == "SUM" else total / len(found), 14)


@dataclass(slots=True)
class Grouping:
    """What a query with aggregates shows: by which columns, under which names, of which groups, in which order."""

    keys: list[Column]
    shown: list[tuple[str, Column | Measure]] = field(default_factory=list)
    having: Callable[[list[Row]], bool] = lambda _: True
    order: list[tuple[Column | Measure, bool, bool]] = field(default_factory=list)


def asks(query: Query) -> bool:
    """Whether a query is one of aggregates (`COUNT()` alone is not)."""
    return bool(query.groups) or any(isinstance(item, Aggregate) for item in query.select)


class Grouper:
    """Binds the aggregate parts of one query."""

    def __init__(self, binder: Binder, sobject: SObject, query: Query) -> None:
        self.binder, self.sobject, self.query = binder, sobject, query
        self.grouping = Grouping([self._groupable(path) for path in query.groups])

    def bind(self) -> Grouping:
        """The grouping; MALFORMED_QUERY or INVALID_FIELD where the vendor refuses."""
        query, grouping = self.query, self.grouping
        if not query.groups and query.limit is not None:
            text = "Non-grouped query that uses overall aggregate functions cannot also use LIMIT"
            raise errors.malformed_query(text)
        unnamed = 0
        for item in query.select:
            if isinstance(item, Aggregate):
                name = item.alias or f"expr{unnamed}"
                unnamed += item.alias is None
                grouping.shown.append((name, self._measure(item)))
            elif isinstance(item, Path):
                plain = item.parts[-1] if not item.function else f"expr{unnamed}"
                unnamed += bool(item.function) and item.alias is None
                grouping.shown.append((item.alias or plain, self._grouped(item)))
            else:
                raise errors.malformed_query("Grouped query cannot use child relationships or FIELDS()")
        names = [name.lower() for name, _ in grouping.shown]
        if len(set(names)) < len(names):
            raise errors.malformed_query(f"duplicate alias: {max(names, key=names.count)}")
        if query.having is not None:
            grouping.having = self._having(query.having)
        for order in query.order:
            grouping.order.append((self._value(order.path), order.descending, order.nulls_last))
        return grouping

    def _groupable(self, path: Path) -> Column:
        column = self.binder.column(self.sobject, self.query, path)
        if not column.field.filterable or column.field.type in (*NUMBERS, "datetime"):
            text = f"field '{column.field.name}' can not be grouped in a query call"
            raise self.binder.invalid(path.at, text, "MALFORMED_QUERY")
        return column

    def _grouped(self, path: Path) -> Column:
        column = self.binder.column(self.sobject, self.query, path)
        if column not in self.grouping.keys:
            text = f"Field must be grouped or aggregated: {'.'.join(path.parts)}"
            raise self.binder.invalid(path.at, text, "MALFORMED_QUERY")
        return column

    def _measure(self, item: Aggregate) -> Measure:
        column = self.binder.column(self.sobject, self.query, item.path)
        kind = column.field.type
        number = kind in NUMBERS or kind == "int"
        wrong = not column.field.filterable or kind in _NEVER
        if wrong or (item.function in _SUMMED and not number):
            text = f"field {column.field.name} does not support aggregate operator {item.function}"
            raise self.binder.invalid(item.at, text, "MALFORMED_QUERY")
        counted = item.function in (*_COUNTED, *_SUMMED)
        return Measure(item.function, column, _NUMBER if counted else column.field)

    def _value(self, path: Path | Aggregate) -> Column | Measure:
        return self._measure(path) if isinstance(path, Aggregate) else self._grouped(path)

    def _having(self, condition: Condition) -> Callable[[list[Row]], bool]:
        if isinstance(condition, Join):
            parts = [self._having(part) for part in condition.parts]
            if condition.word == "NOT":
                return lambda rows: not parts[0](rows)
            if condition.word == "AND":
                return lambda rows: all(part(rows) for part in parts)
            return lambda rows: any(part(rows) for part in parts)
        if not isinstance(condition, Compare):
            raise errors.malformed_query("semi join sub-selects are not allowed in HAVING")
        value, org = self._value(condition.path), self.binder.org
        tests = [self.binder.test(value.field, condition.operator, each) for each in condition.operands]
        every = condition.operator == "NOT IN"

        def holds(rows: list[Row]) -> bool:
            actual = of_group(org, value, rows)
            results = (test(actual) for test in tests)
            return all(results) if every else any(results)

        return holds


def of_group(org: Org, value: Column | Measure, rows: list[Row]) -> Any:
    """A column or measure of a group."""
    if isinstance(value, Measure):
        return value.read(org, rows)
    return value.read(org, rows[0]) if rows else None


def groups(org: Org, grouping: Grouping, rows: list[Row]) -> list[list[Row]]:
    """The rows by their keys, in order of first appearance; all of them as one where there is no key."""
    if not grouping.keys:
        return [rows]
    found: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        read = (column.read(org, row) for column in grouping.keys)
        key = tuple(value.lower() if isinstance(value, str) else value for value in read)
        found.setdefault(key, []).append(row)
    return list(found.values())
