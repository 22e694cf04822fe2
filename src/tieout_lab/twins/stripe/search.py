"""Search: the vendor's query language over what has become visible."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe.accounts import Obj
from tieout_lab.twins.stripe.errors import invalid
from tieout_lab.twins.stripe.pages import checked_limit, in_range

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call

MAX_CLAUSES = 10
SHORTEST_PART = 3
# What each resource can be searched by, beside metadata: s text (whole or part of it), t token (whole), n number.
FIELDS: dict[str, dict[str, str]] = {
    "charges": {"amount": "n", "created": "n", "currency": "t", "customer": "t", "disputed": "t", "refunded": "t",
                "status": "t"},
    "customers": {"created": "n", "email": "s", "name": "s", "phone": "s"},
    "invoices": {"created": "n", "currency": "t", "customer": "t", "number": "s", "receipt_number": "s", "status": "s",
                 "subscription": "t", "total": "n"},
    "payment_intents": {"amount": "n", "created": "n", "currency": "t", "customer": "t", "status": "t"},
    "prices": {"active": "t", "currency": "t", "lookup_key": "s", "product": "s", "type": "s"},
    "products": {"active": "t", "description": "s", "name": "s", "shippable": "t", "url": "s"},
    "subscriptions": {"canceled_at": "n", "created": "n", "status": "t"},
}  # fmt: skip
# Where a searchable name is kept otherwise than it is called.
_KEPT = {("invoices", "subscription"): "_subscription"}

_CLAUSE = re.compile(
    r"""\s*(?P<not>-)?(?P<field>[a-z_0-9.]+)(\[(?P<q>['"])(?P<key>.*?)(?P=q)\])?\s*(?P<op>:|~|>=|<=|>|<)\s*
        (?P<value>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|-?\d+|null)\s*(?P<join>AND|OR|and|or)?""",
    re.VERBOSE,
)
Clause = dict[str, str | None]


def search(call: Call, kind: str) -> Obj:
    """A search result. What changed less than the visibility delay ago is found as it was, or not at all."""
    account, given = call.account, call.given
    clauses, together = _clauses(given["query"], kind)
    limit, start = checked_limit(given), _start(given.get("page"))
    horizon = account.technical() - account.visibility_delay()
    found = []
    for item in reversed(account.all(kind)):
        seen: Obj = item
        if item["_since"] > horizon:
            if item["_before"] is None:
                continue
            seen = {**item, **item["_before"]}
        results = [_fits(seen, clause, kind) for clause in clauses]
        if all(results) if together else any(results):
            found.append(item)
    more = len(found) > start + limit
    return {
        "object": "search_result",
        "data": found[start : start + limit],
        "has_more": more,
        "next_page": f"p{start + limit}" if more else None,
        "url": call.url,
    }


def _start(page: str | None) -> int:
    if page is None:
        return 0
    if not re.fullmatch(r"p\d{1,9}", page):
        raise invalid(f"Invalid page: {page}", "page")
    return int(page[1:])


def _clauses(query: str, kind: str) -> tuple[list[Clause], bool]:
    clauses, joins, place = [], set(), 0
    while place < len(query):
        match = _CLAUSE.match(query, place)
        if match is None or match.end() == place:
            raise invalid(f"We were unable to parse your search query: {query}", "query")
        clauses.append(match.groupdict())
        _allowed(clauses[-1], kind)
        if match["join"]:
            joins.add(match["join"].upper())
        elif match.end() < len(query):
            joins.add("AND")
        place = match.end()
    if not clauses or len(joins) > 1 or len(clauses) > MAX_CLAUSES:
        raise invalid(f"We were unable to parse your search query: {query}", "query")
    return clauses, joins != {"OR"}


def _allowed(clause: Clause, kind: str) -> None:
    """Refuse a field that the resource cannot be searched by, and an operator that the field does not take."""
    field, operator, value = str(clause["field"]), clause["op"], str(clause["value"])
    by_key = field == "metadata" and clause["key"] is not None
    known = "t" if by_key else FIELDS[kind].get(field)
    if known is None or (clause["key"] is not None and not by_key):
        raise invalid(f"Field `{field}` is an unsupported search field for resource `{kind}`.", "query")
    numeric = operator in (">", ">=", "<", "<=")
    if (numeric and known != "n") or (operator == "~" and known != "s"):
        raise invalid(f"Field `{field}` does not support the operator `{operator}`.", "query")
    if operator == "~" and len(value) - 2 < SHORTEST_PART:
        raise invalid(f"A substring has at least {SHORTEST_PART} characters: {value}", "query")


def _fits(item: Obj, clause: Clause, kind: str) -> bool:
    field, key, operator = str(clause["field"]), clause["key"], clause["op"]
    kept = _KEPT.get((kind, field), field)
    actual: Any = (item.get("metadata") or {}).get(key) if key is not None else item.get(kept)
    wanted = str(clause["value"])
    if wanted == "null":
        fits = actual is None
    else:
        text = re.sub(r"\\(.)", r"\1", wanted[1:-1]) if wanted[0] in "'\"" else wanted
        fits = _compare(actual, str(operator), text)
    return not fits if clause["not"] else fits


def _compare(actual: Any, operator: str, wanted: str) -> bool:
    """Text is compared whatever its case."""
    if actual is None:
        return False
    text = {True: "true", False: "false"}.get(actual) if isinstance(actual, bool) else str(actual)
    if operator == "~":
        return wanted.casefold() in str(text).casefold()
    if operator == ":":
        return str(text).casefold() == wanted.casefold()
    if not isinstance(actual, int) or not wanted.lstrip("-").isdigit():
        return False
    return in_range(actual, {{">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}[operator]: int(wanted)})
