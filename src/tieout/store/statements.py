"""Statements and units: what the hub writes, and what must be true for it to be written.

A unit is a few guarded statements that are committed together or not at all. Many units of many runs are committed
as one transaction (group commit); a unit whose guard fails is left out of it, exactly that unit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeAlias

Row: TypeAlias = tuple[Any, ...]
Params: TypeAlias = Mapping[str, Any]
_NAMED = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")


def _no_values(_: Params) -> Row:
    return ()


def _values(names: Sequence[str]) -> Callable[[Params], Row]:
    """What picks the named values out of the parameters, in this order (in C: it runs for every statement)."""
    if len(names) > 1:
        return itemgetter(*names)
    if not names:
        return _no_values
    (name,) = names
    return lambda params: (params[name],)


class Statement:
    """One SQL statement for both databases, with `:name` parameters.

    `rows`: how many rows it must affect (or return, for `returns`); anything else refuses the whole unit; None: any
    number. `postgres`: the text for PostgreSQL where the dialects differ.

    `sqlite` and `postgres` are the texts with positional parameters (`?` and `$1`); `sqlite_values` and
    `postgres_values` put the values of named parameters into their order, KeyError when one is missing."""

    __slots__ = ("name", "postgres", "postgres_values", "returns", "rows", "sqlite", "sqlite_values")

    def __init__(
        self,
        name: str,
        sql: str,
        *,
        rows: int | None = None,
        returns: bool = False,
        postgres: str | None = None,
    ) -> None:
        self.name = name
        self.rows = rows
        self.returns = returns
        self.sqlite = _NAMED.sub("?", " ".join(sql.split()))
        self.sqlite_values = _values(_NAMED.findall(sql))
        theirs = " ".join((postgres or sql).split())
        number = {of: f"${place}" for place, of in enumerate(dict.fromkeys(_NAMED.findall(theirs)), 1)}
        self.postgres = _NAMED.sub(lambda match: number[match[1]], theirs)
        self.postgres_values = _values(list(number))

    def __repr__(self) -> str:
        return f"Statement({self.name})"


Step: TypeAlias = tuple[Statement, Params]
Unit: TypeAlias = Sequence[Step]
Results: TypeAlias = list[list[Row]]


class Refused(Exception):
    """A guard of the unit did not hold (fenced out, already there, gone): nothing of the unit was written."""

    def __init__(self, statement: str, expected: int | None, found: int) -> None:
        super().__init__(f"{statement}: expected {expected} rows, found {found}")
        self.statement = statement
        self.expected = expected
        self.found = found


class Violated(Exception):
    """The database refused the unit, by a constraint or a value that it cannot take: nothing of it was written."""


class StoreUnavailable(Exception):
    """The database cannot commit now (disk full, connection lost, locked): nothing of the batch was written, unless
    the message says that its outcome is unknown."""


def check_rows(statement: Statement, found: int) -> None:
    """Raise Refused when a guarded statement touched another number of rows than it must."""
    if statement.rows is not None and found != statement.rows:
        raise Refused(statement.name, statement.rows, found)
