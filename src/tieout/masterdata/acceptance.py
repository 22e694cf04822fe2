"""A deal that was accepted before, or claims to have been: what changed behind our back."""

from __future__ import annotations

from collections.abc import Iterator

from tieout.canonical.order import Order, OrderLine
from tieout.masterdata.fault import Fault

HEADER = ("legal_entity", "currency", "start", "end", "term_months", "frequency")
LINE = ("product", "quantity", "unit_price", "discount_percent", "net_minor", "charge")
WORDS = {
    "legal_entity": "legal entity",
    "term_months": "term in months",
    "frequency": "billing frequency",
    "unit_price": "price",
    "discount_percent": "discount",
    "net_minor": "net amount (minor units)",
    "end": "end (exclusive)",
}
# What the hub writes into a deal before it accepts it; copied by a clone, it claims nothing.
BEFORE_ACCEPTANCE = frozenset({"", "parked"})
UNDO = "Set it back as it was accepted, or amend the contract by a change order."


def acceptance_faults(order: Order, accepted: Order | None, siblings: tuple[Order, ...]) -> Iterator[Fault]:
    """Reopened, lost, deleted, edited after acceptance; or a clone that carries another deal's acceptance.

    Never a second subscription, never a silent cancel: each of them is for a person to decide."""
    if accepted is None:
        yield from _cloned(order, siblings)
        return
    if order.deleted:
        yield _gone("deleted", "The deal was deleted after it was accepted.")
    elif order.closed and not order.won:
        yield _gone("lost", "The deal was set to lost after it was accepted.")
    elif not (order.closed and order.won):
        yield _gone("reopened", "The deal was reopened after it was accepted.")
    if order.deleted and not order.lines:
        return  # a deleted deal is often read without its lines: that they are gone is no further news
    yield from _edited(order, accepted)


def _gone(code: str, message: str) -> Fault:
    return Fault(
        code=code,
        message=message,
        remedy="Set the deal back to won, or cancel the subscription by a cancellation order; until then it is billed.",
        field="stage",
    )


def _edited(order: Order, accepted: Order) -> Iterator[Fault]:
    if order.account != accepted.account:
        yield _edit("account", f"account was {accepted.account.id}, is {order.account.id}")
    for field in HEADER:
        before, now = getattr(accepted, field), getattr(order, field)
        if before != now:
            yield _edit(field, f"{WORDS.get(field, field)} was {_shown(before)}, is {_shown(now)}")
    lines = {line.id: line for line in order.lines}
    old = {line.id: line for line in accepted.lines}
    for number, line in enumerate(accepted.lines, start=1):
        if line.id not in lines:
            yield _edit("lines", f"line {number} ({line.product}) was removed", line.id)
            continue
        for field in LINE:
            before, now = getattr(line, field), getattr(lines[line.id], field)
            if before != now:
                said = f"{WORDS.get(field, field)} was {_shown(before)}, is {_shown(now)}"
                yield _edit(field, f"line {number} ({line.product}): {said}", line.id)
    for line in order.lines:
        if line.id not in old:
            yield _edit("lines", f"a line was added ({line.product}, quantity {line.quantity})", line.id)


def _edit(field: str, said: str, line: str = "") -> Fault:
    return Fault(
        code="edited", message=f"Edited after acceptance: {said}.", remedy=UNDO, field=field, line=line
    )


def _shown(value: object) -> str:
    return "empty" if value in (None, "") else str(value)


def _content(line: OrderLine) -> tuple[str, ...]:
    """What was sold, without the line's own id; numbers that are equal look equal (1.0 is 1)."""
    numbers = (line.quantity, line.unit_price, line.discount_percent)
    shown = (f"{number.normalize():f}" for number in numbers)
    return (line.product, line.charge, *shown, str(line.net_minor))


def _cloned(order: Order, siblings: tuple[Order, ...]) -> Iterator[Fault]:
    """Two like deals of one account are business. A copy betrays itself by fields that only the hub writes: the
    external id of the other deal, or a status that this deal was never given."""
    content = sorted(map(_content, order.lines))
    for other in siblings:
        if other.ref == order.ref or other.account != order.account:
            continue
        same_key = bool(order.external_id) and order.external_id == other.external_id
        claims = order.accepted_status.strip().lower() not in BEFORE_ACCEPTANCE
        if same_key or (claims and sorted(map(_content, other.lines)) == content):
            sign = (
                f"its external id {order.external_id}"
                if same_key
                else f"its status {order.accepted_status!r}"
            )
            yield Fault(
                code="cloned",
                message=f"The deal is a copy of {other.name} ({other.ref.id}), accepted before: it carries {sign}.",
                remedy="If it is a deal of its own, empty external id, status and subscription on it; else delete it.",
                field="external_id",
            )
            return
