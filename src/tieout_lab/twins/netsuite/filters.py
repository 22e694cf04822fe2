"""The `q` parameter of a record collection: conditions joined by AND and OR, with parentheses.

A condition is field, operator, value: `companyName START_WITH "Ac"`, `entity ANY_OF [5,6]`, `tranDate ON_OR_AFTER
"1/31/2026"`, `email EMPTY`. Every operator has a `_NOT` form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from tieout_lab.twins.netsuite.errors import Refusal
from tieout_lab.twins.netsuite.values import Choice, Ref, Sublist

View = dict[str, Any]
Test = Callable[[View], bool]

_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<mark>[()\[\],])|(?P<word>[^\s()\[\],"']+))"""
)
_NONE = {"EMPTY"}
_TEXTS: dict[str, Callable[[str, str], bool]] = {
    "IS": lambda value, wanted: value == wanted,
    "CONTAIN": lambda value, wanted: wanted in value,
    "START_WITH": lambda value, wanted: value.startswith(wanted),
    "END_WITH": lambda value, wanted: value.endswith(wanted),
    "ENDWITH": lambda value, wanted: value.endswith(wanted),
}
_NUMBERS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "EQUAL": lambda value, wanted: value == wanted,
    "GREATER": lambda value, wanted: value > wanted,
    "GREATER_OR_EQUAL": lambda value, wanted: value >= wanted,
    "LESS": lambda value, wanted: value < wanted,
    "LESS_OR_EQUAL": lambda value, wanted: value <= wanted,
}
_DATES: dict[str, Callable[[date, date], bool]] = {
    "ON": lambda value, wanted: value == wanted,
    "AFTER": lambda value, wanted: value > wanted,
    "BEFORE": lambda value, wanted: value < wanted,
    "ON_OR_AFTER": lambda value, wanted: value >= wanted,
    "ON_OR_BEFORE": lambda value, wanted: value <= wanted,
}
_LISTS = {"ANY_OF", "BETWEEN", "WITHIN"}
_OPERATORS = {*_NONE, *_TEXTS, *_NUMBERS, *_DATES, *_LISTS}


def _wrong(what: str) -> Refusal:
    return Refusal("INVALID_PARAMETER", f"Invalid query parameter 'q'. {what}", query="q")


def parse(query: str, known: set[str]) -> Test:
    """A test over views from a filter. `known` are the fields of the record type. Raises Refusal."""
    tokens = _tokens(query)
    test, rest = _either(tokens, known)
    if rest:
        raise _wrong(f"Unexpected '{rest[0]}'.")
    return test


def _tokens(query: str) -> list[str]:
    found, position = [], 0
    while position < len(query.rstrip()):
        match = _TOKEN.match(query, position)
        if match is None or match.end() == position:
            raise _wrong(f"Unexpected character at {position}.")
        found.append(match["text"] or match["mark"] or match["word"])
        position = match.end()
    if not found:
        raise _wrong("It is empty.")
    return found


def _either(tokens: list[str], known: set[str]) -> tuple[Test, list[str]]:
    first, rest = _both(tokens, known)
    tests = [first]
    while rest and rest[0].upper() == "OR":
        more, rest = _both(rest[1:], known)
        tests.append(more)
    return (tests[0] if len(tests) == 1 else lambda view: any(test(view) for test in tests)), rest


def _both(tokens: list[str], known: set[str]) -> tuple[Test, list[str]]:
    first, rest = _single(tokens, known)
    tests = [first]
    while rest and rest[0].upper() == "AND":
        more, rest = _single(rest[1:], known)
        tests.append(more)
    return (tests[0] if len(tests) == 1 else lambda view: all(test(view) for test in tests)), rest


def _single(tokens: list[str], known: set[str]) -> tuple[Test, list[str]]:
    if not tokens:
        raise _wrong("A condition is missing.")
    if tokens[0] == "(":
        test, rest = _either(tokens[1:], known)
        if not rest or rest[0] != ")":
            raise _wrong("A closing parenthesis is missing.")
        return test, rest[1:]
    name = tokens[0]
    if name not in known and not name.startswith("cust"):
        raise _wrong(f"The field '{name}' does not exist.")
    if len(tokens) < 2:
        raise _wrong(f"An operator is missing after '{name}'.")
    operator = tokens[1].upper()
    negated = operator.endswith("_NOT")
    operator = operator.removesuffix("_NOT")
    if operator not in _OPERATORS:
        raise _wrong(f"The operator '{tokens[1]}' does not exist.")
    values, rest = _values(tokens[2:], operator)
    if negated:
        return (lambda view: not _matches(view.get(name), operator, values)), rest
    return (lambda view: _matches(view.get(name), operator, values)), rest


def _values(tokens: list[str], operator: str) -> tuple[list[str], list[str]]:
    if operator in _NONE:
        return [], tokens
    if not tokens:
        raise _wrong(f"A value is missing after '{operator}'.")
    if tokens[0] != "[":
        return [_bare(tokens[0])], tokens[1:]
    values, rest = [], tokens[1:]
    while rest and rest[0] != "]":
        if rest[0] != ",":
            values.append(_bare(rest[0]))
        rest = rest[1:]
    if not rest:
        raise _wrong("A closing bracket is missing.")
    return values, rest[1:]


def _bare(token: str) -> str:
    if token[0] in "\"'":
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    return token


def _matches(value: Any, operator: str, wanted: list[str]) -> bool:
    if isinstance(value, Ref | Choice):
        value = value.id
    if isinstance(value, Sublist):
        raise _wrong("Sublists cannot be searched.")
    if operator == "EMPTY":
        return value in (None, "")
    if value is None or not wanted:
        return False
    if isinstance(value, bool):
        return value == (wanted[0].lower() in ("true", "t"))
    written = str(value)
    if operator in _TEXTS:
        return _TEXTS[operator](written.casefold(), wanted[0].casefold())
    if operator in _DATES:
        return _DATES[operator](_date(written), _date(wanted[0]))
    if operator == "ANY_OF":
        return any(written == each or _number(written) == _number(each) for each in wanted)
    if operator in ("BETWEEN", "WITHIN"):
        if len(wanted) != 2:
            raise _wrong(f"{operator} needs two values.")
        return _number(wanted[0]) <= _number(written) <= _number(wanted[1])
    return _NUMBERS[operator](_number(written), _number(wanted[0]))


def _number(written: str) -> Decimal:
    try:
        return Decimal(written)
    except InvalidOperation as error:
        raise _wrong(f"'{written}' is no number.") from error


def _date(written: str) -> date:
    """ISO, or the account's M/D/YYYY."""
    try:
        if "/" in written:
            return datetime.strptime(written.split(" ", maxsplit=1)[0], "%m/%d/%Y").date()  # noqa: DTZ007 - a date
        return date.fromisoformat(written[:10])
    except ValueError as error:
        raise _wrong(f"'{written}' is no date.") from error
