"""A SOQL query as a tree: what was written, names not resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Path:
    """A field as written: `Account.Name` is ("Account", "Name")."""

    parts: tuple[str, ...]
    at: int
    alias: str | None = None
    function: str = ""  # of a date: CALENDAR_YEAR and the like


@dataclass(frozen=True, slots=True)
class Aggregate:
    """`SUM(Amount) total`: an aggregate function of a field, under a name where it is given one."""

    function: str
    path: Path
    at: int
    alias: str | None = None


@dataclass(frozen=True, slots=True)
class FieldSet:
    """FIELDS(ALL), FIELDS(STANDARD) or FIELDS(CUSTOM)."""

    kind: str
    at: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A value: kind is string, number, boolean, null, date, datetime or period (a date literal, with its n)."""

    kind: str
    value: Any
    at: int
    pattern: str = ""
    n: int = 0


@dataclass(frozen=True, slots=True)
class Compare:
    path: Path | Aggregate
    operator: str
    operands: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class SemiJoin:
    path: Path
    negated: bool
    query: Query


@dataclass(frozen=True, slots=True)
class Join:
    """AND or OR over parts; NOT over one."""

    word: str
    parts: tuple[Condition, ...]


Condition = Compare | SemiJoin | Join


@dataclass(frozen=True, slots=True)
class Order:
    path: Path | Aggregate
    descending: bool
    nulls_last: bool


@dataclass(slots=True)
class Query:
    """A SELECT. `source` is the object's name, or in a sub-select the child relationship's."""

    source: str
    source_at: int
    select: list[Path | Aggregate | FieldSet | Query] = field(default_factory=list)
    count: bool = False
    alias: str | None = None
    where: Condition | None = None
    groups: list[Path] = field(default_factory=list)
    having: Condition | None = None
    order: list[Order] = field(default_factory=list)
    limit: int | None = None
    offset: int = 0
