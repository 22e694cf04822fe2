"""A parsed query bound to the schema: paths to fields, conditions to functions of a row, refusals by code."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from tieout_lab.twins.salesforce import errors, ids
from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.schema import NUMBERS, Field, SObject
from tieout_lab.twins.salesforce.soql_dates import PARTS, period
from tieout_lab.twins.salesforce.soql_groups import Grouper, Grouping, asks
from tieout_lab.twins.salesforce.soql_text import excerpt, like
from tieout_lab.twins.salesforce.soql_tree import (
    Aggregate,
    Compare,
    Condition,
    FieldSet,
    Join,
    Literal,
    Path,
    Query,
    SemiJoin,
)
from tieout_lab.twins.salesforce.store import Row

Predicate = Callable[[Row], bool]
_NEVER = (("DAY_ONLY", "date"), ("HOUR_IN_DAY", "date"))
_RANGED = ("<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Column:
    """A field reached through zero or more look-ups."""

    through: tuple[Field, ...]
    sobject: SObject
    field: Field
    function: str = ""

    def read(self, org: Org, row: Row) -> Any:
        """Its value for a row; None where a look-up leads nowhere."""
        value = self._stored(org, row)
        if not self.function or value is None:
            return value
        return PARTS[self.function](datetime.fromisoformat(value))

    def _stored(self, org: Org, row: Row) -> Any:
        for reference in self.through:
            parent = org.store.seen(reference.target or "", row.get(reference.name))
            if parent is None:
                return None
            row = parent
        return org.value(self.sobject, row, self.field)


@dataclass(slots=True)
class Selection:
    """What of an object is shown: fields in order, parents with their own selections, children with their plans."""

    sobject: SObject
    fields: dict[str, Field] = field(default_factory=dict)
    parents: dict[str, tuple[Field, Selection]] = field(default_factory=dict)
    children: dict[str, tuple[Field, Plan]] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """A query ready to run. `keys` are equalities that every hit must meet and an index can answer."""

    sobject: SObject
    selection: Selection
    where: Predicate
    keys: list[tuple[Field, list[Any]]]
    order: list[tuple[Column, bool, bool]]
    limit: int | None
    offset: int
    count: bool
    grouping: Grouping | None = None


class Binder:
    """Binds one query text."""

    def __init__(self, org: Org, text: str) -> None:
        self.org = org
        self.text = text

    def bind(self, query: Query, parent: SObject | None = None) -> Plan:
        """The plan of a query, or of a child sub-select of `parent`."""
        sobject = self._source(query, parent)
        plan = Plan(
            sobject, Selection(sobject), lambda _: True, [], [], query.limit, query.offset, query.count
        )
        if asks(query):
            if parent is not None:
                raise errors.malformed_query("Aggregates are not allowed in a child sub-select")
            plan.grouping = Grouper(self, sobject, query).bind()
        else:
            for item in query.select:
                self._select(plan, query, item, nested=parent is not None)
        if query.where is not None:
            plan.where = self._condition(sobject, query, query.where)
            plan.keys = list(self._keys(sobject, query, query.where))
        for order in query.order if plan.grouping is None else ():
            column = self.column(sobject, query, order.path)
            if not column.field.filterable:
                raise self.invalid(
                    order.path.at, f"field '{column.field.name}' can not be sorted in a query call"
                )
            plan.order.append((column, order.descending, order.nulls_last))
        return plan

    # -- names --------------------------------------------------------------------------------------------------
    def _source(self, query: Query, parent: SObject | None) -> SObject:
        where = excerpt(self.text, query.source_at)
        if parent is None:
            found = self.org.schema.get(query.source)
            if found is None:
                raise errors.unknown_type_in_query(query.source, where)
            return found
        if query.source.lower() not in parent.children:
            raise SalesforceTypeError(query.source, where)
        return self.org.schema.objects[parent.children[query.source.lower()][0]]

    def column(self, sobject: SObject, query: Query, path: Path | Aggregate) -> Column:
        """The column that a path means; INVALID_FIELD where there is none."""
        if isinstance(path, Aggregate):
            text = "an aggregate function needs a grouped query"
            raise self.invalid(path.at, text, "MALFORMED_QUERY")
        parts = list(path.parts)
        names = {sobject.name.lower(), (query.alias or sobject.name).lower()}
        if len(parts) > 1 and parts[0].lower() in names and parts[0].lower() not in sobject.parents:
            parts.pop(0)
        if len(parts) > 6:
            raise self.invalid(path.at, "Relationship paths of more than 5 levels are not supported")
        through: list[Field] = []
        at = sobject
        for part in parts[:-1]:
            reference = at.parents.get(part.lower())
            if reference is None:
                raise errors.unknown_relationship(part, excerpt(self.text, path.at))
            through.append(reference)
            at = self.org.schema.objects[reference.target or ""]
        found = at.get(parts[-1])
        if found is None:
            raise errors.unknown_column_in_query(parts[-1], at.name, excerpt(self.text, path.at))
        if not path.function:
            return Column(tuple(through), at, found)
        if found.type not in ("date", "datetime") or (path.function, found.type) in _NEVER:
            text = f"field {found.name} does not support {path.function}"
            raise self.invalid(path.at, text, "MALFORMED_QUERY")
        part = "date" if path.function == "DAY_ONLY" else "int"
        return Column(tuple(through), at, replace(found, type=part), path.function)

    def invalid(self, at: int, message: str, code: str = "INVALID_FIELD") -> errors.SalesforceError:
        """A refusal that points into the query."""
        return errors.SalesforceError(400, code, f"{excerpt(self.text, at)}{message}")

    # -- select -------------------------------------------------------------------------------------------------
    def _select(
        self, plan: Plan, query: Query, item: Path | Aggregate | FieldSet | Query, *, nested: bool
    ) -> None:
        if isinstance(item, Path) and item.function:
            text = f"{item.function} needs a grouped query"
            raise self.invalid(item.at, text, "MALFORMED_QUERY")
        if isinstance(item, Path) and item.alias is not None:
            text = f"only aggregate expressions use field aliasing: {item.alias}"
            raise self.invalid(item.at, text, "MALFORMED_QUERY")
        if isinstance(item, Query):
            if nested:
                raise errors.malformed_query(
                    "SOQL statements cannot query aggregate relationships more than 1 level away"
                )
            child = self.bind(item, plan.sobject)
            reference = plan.sobject.children[item.source.lower()][1]
            name = reference.children or item.source
            plan.selection.children[name] = (reference, child)
            plan.selection.shown.append(name)
        elif isinstance(item, FieldSet):
            if item.kind != "STANDARD" and (query.limit is None or query.limit > 200):
                text = "The SOQL FIELDS function must have a LIMIT of at most 200"
                raise self.invalid(item.at, text, "MALFORMED_QUERY")
            for each in plan.sobject.fields.values():
                if item.kind == "ALL" or each.custom == (item.kind == "CUSTOM"):
                    self._show(plan.selection, Column((), plan.sobject, each))
        else:
            self._show(plan.selection, self.column(plan.sobject, query, item))

    def _show(self, selection: Selection, column: Column) -> None:
        at = selection
        for reference in column.through:
            name = reference.relationship or reference.name
            if name not in at.parents:
                at.parents[name] = (reference, Selection(self.org.schema.objects[reference.target or ""]))
                at.shown.append(name)
            at = at.parents[name][1]
        if column.field.name in at.fields:
            raise errors.malformed_query(f"duplicate field selected: {column.field.name}")
        at.fields[column.field.name] = column.field
        at.shown.append(column.field.name)

    # -- conditions ---------------------------------------------------------------------------------------------
    def _condition(self, sobject: SObject, query: Query, condition: Condition) -> Predicate:
        if isinstance(condition, Join):
            parts = [self._condition(sobject, query, part) for part in condition.parts]
            if condition.word == "NOT":
                return lambda row: not parts[0](row)
            if condition.word == "AND":
                return lambda row: all(part(row) for part in parts)
            return lambda row: any(part(row) for part in parts)
        column = self.column(sobject, query, condition.path)
        if not column.field.filterable:
            raise self.invalid(
                condition.path.at, f"field '{column.field.name}' can not be filtered in a query call"
            )
        if isinstance(condition, SemiJoin):
            return self._semi_join(column, condition)
        tests = [self.test(column.field, condition.operator, each) for each in condition.operands]
        org = self.org
        every = condition.operator in ("NOT IN", "EXCLUDES")
        if len(tests) == 1 and not every:
            test = tests[0]
            return lambda row: test(column.read(org, row))
        if every:
            return lambda row: all(test(column.read(org, row)) for test in tests)
        return lambda row: any(test(column.read(org, row)) for test in tests)

    def _semi_join(self, column: Column, condition: SemiJoin) -> Predicate:
        from tieout_lab.twins.salesforce.soql_run import matching

        if column.field.type not in ("id", "reference"):
            raise self.invalid(condition.path.at, "semi join sub-selects need an id field on the left")
        plan = self.bind(condition.query)
        inner = [
            self.column(plan.sobject, condition.query, item)
            for item in condition.query.select
            if isinstance(item, Path)
        ]
        if len(inner) != 1 or inner[0].field.type not in ("id", "reference"):
            raise errors.malformed_query("semi join sub-selects must select exactly one id field")
        org, found = self.org, None

        def test(row: Row) -> bool:
            nonlocal found
            if found is None:
                found = {inner[0].read(org, each) for each in matching(org, plan, include_deleted=False)} - {
                    None
                }
            return (column.read(org, row) in found) != condition.negated

        return test

    def test(self, column: Field, operator: str, literal: Literal) -> Callable[[Any], bool]:
        """A function of the field's value. A null in the row is unequal to everything but null."""
        if literal.kind == "null" or (
            literal.kind == "string" and literal.value == "" and column.type not in ("id", "reference")
        ):
            if operator in ("!=", "NOT IN"):
                return lambda value: value is not None
            if operator in ("=", "IN"):
                return lambda value: value is None
            return lambda _: False
        if operator == "LIKE":
            return self._like(column, literal)
        if operator in ("INCLUDES", "EXCLUDES"):
            return self._includes(column, operator, literal)
        if column.type == "boolean" and operator in _RANGED:
            raise self.invalid(
                literal.at, "invalid operator on boolean field", "INVALID_QUERY_FILTER_OPERATOR"
            )
        first, last = self._bounds(column, literal)
        key = _key(column)
        if operator in ("=", "IN"):
            return lambda value: value is not None and first <= key(value) <= last
        if operator in ("!=", "NOT IN"):
            return lambda value: value is None or not first <= key(value) <= last
        if operator == "<":
            return lambda value: value is not None and bool(key(value) < first)
        if operator == "<=":
            return lambda value: value is not None and bool(key(value) <= last)
        if operator == ">":
            return lambda value: value is not None and bool(key(value) > last)
        return lambda value: value is not None and bool(key(value) >= first)

    def _like(self, column: Field, literal: Literal) -> Callable[[Any], bool]:
        if column.type in ("id", "reference", "boolean", "date", "datetime", "int", *NUMBERS):
            raise self.invalid(
                literal.at, f"invalid operator on {_spoken(column)} field", "INVALID_QUERY_FILTER_OPERATOR"
            )
        if literal.kind != "string":
            raise self._wrong_type(column, literal)
        pattern = like(literal.pattern)
        return lambda value: value is not None and pattern.fullmatch(value) is not None

    def _includes(self, column: Field, operator: str, literal: Literal) -> Callable[[Any], bool]:
        """Of a multi-select picklist: all of `a;b` are chosen."""
        if column.type != "multipicklist":
            text = f"{operator.lower()} operator is only valid on multi-select picklists"
            raise self.invalid(literal.at, text, "INVALID_QUERY_FILTER_OPERATOR")
        if literal.kind != "string":
            raise self._wrong_type(column, literal)
        wanted = {part.strip().lower() for part in str(literal.value).split(";")}

        def chosen(value: Any) -> bool:
            return value is not None and wanted <= {part.strip().lower() for part in value.split(";")}

        return chosen if operator == "INCLUDES" else lambda value: not chosen(value)

    def _bounds(self, column: Field, literal: Literal) -> tuple[Any, Any]:
        """The lowest and highest value a literal stands for; both are the same unless it is a date literal."""
        kind = column.type
        if literal.kind == "period":
            return self._period(column, literal)
        if kind in ("id", "reference"):
            complete = ids.full(literal.value) if literal.kind == "string" else None
            if complete is None:
                text = f"invalid ID field: {literal.value}"
                raise self.invalid(literal.at, text, "INVALID_QUERY_FILTER_OPERATOR")
            return complete, complete
        wanted = {"boolean": "boolean", "int": "number", "date": "date", "datetime": "datetime"}
        expected = "number" if kind in NUMBERS else wanted.get(kind, "string")
        if literal.kind != expected:
            raise self._wrong_type(column, literal)
        value = _key(column)(literal.value)
        return value, value

    def _period(self, column: Field, literal: Literal) -> tuple[str, str]:
        moment = self.org.clock.technical() if column.type == "datetime" else self.org.clock.business()
        found = period(literal.value, literal.n, moment.date())
        if found is None:
            raise errors.malformed_query(
                f"{excerpt(self.text, literal.at)}Bind variables only allowed in Apex code"
            )
        if column.type not in ("date", "datetime"):
            raise self._wrong_type(column, literal)
        first, after = found
        if column.type == "date":
            return first.isoformat(), date.fromordinal(after.toordinal() - 1).isoformat()
        last = date.fromordinal(after.toordinal() - 1)
        return f"{first}T00:00:00.000+0000", f"{last}T23:59:59.999+0000"

    def _wrong_type(self, column: Field, literal: Literal) -> errors.SalesforceError:
        spoken = _spoken(column)
        quotes = "should be enclosed in quotes" if spoken == "string" else "should not be enclosed in quotes"
        text = f"value of filter criterion for field '{column.name}' must be of type {spoken} and {quotes}"
        return self.invalid(literal.at, text)

    # -- indexes ------------------------------------------------------------------------------------------------
    def _keys(
        self, sobject: SObject, query: Query, condition: Condition
    ) -> Iterable[tuple[Field, list[Any]]]:
        """Equalities on ids, look-ups and external ids that every hit must meet."""
        if isinstance(condition, Join) and condition.word == "AND":
            for part in condition.parts:
                yield from self._keys(sobject, query, part)
        elif isinstance(condition, Compare) and condition.operator in ("=", "IN"):
            column = self.column(sobject, query, condition.path)
            plain = not column.through and (column.field.indexed or column.field.type == "id")
            if plain and all(each.kind == "string" and each.value for each in condition.operands):
                yield column.field, [self._bounds(column.field, each)[0] for each in condition.operands]


class SalesforceTypeError(errors.SalesforceError):
    """A child relationship that does not exist."""

    def __init__(self, name: str, where: str) -> None:
        text = (
            f"{where}Didn't understand relationship '{name}' in FROM part of query call. If you are attempting to use a"
            " custom relationship, be sure to append the '__r' after the custom relationship name. Please reference"
            " your WSDL or the describe call for the appropriate names."
        )
        super().__init__(400, "INVALID_TYPE", text)


def _spoken(column: Field) -> str:
    if column.type in NUMBERS:
        return "double"
    known = {
        "datetime": "dateTime",
        "date": "date",
        "boolean": "boolean",
        "int": "int",
        "id": "ID",
        "reference": "ID",
    }
    return known.get(column.type, "string")


def _key(column: Field) -> Callable[[Any], Any]:
    """How values of a field compare: texts without regard to case, unless the field minds it."""
    if (
        column.type in ("id", "reference", "date", "datetime", "boolean", "int", *NUMBERS)
        or column.case_sensitive
    ):
        return lambda value: value
    return lambda value: value.lower()
