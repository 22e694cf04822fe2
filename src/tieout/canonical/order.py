"""What was sold: the order as the CRM's declared order source holds it."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value

# Months of one billing period.
PERIOD_MONTHS = {"month": 1, "quarter": 3, "year": 12}


class OrderLine(Value, frozen=True):
    """One sold line. `unit_price` is the net price per unit and billing period (recurring) or per unit (one-time),
    before discount; `net_minor` is quantity x unit price less discount, as the CRM states it; `charge` is
    `recurring`, `one_time` or `metered` (what will be used, at billing's own price: nothing of it is contracted);
    `currency` only where the CRM keeps one per line."""

    id: str
    product: str
    description: str
    quantity: Decimal
    unit_price: Decimal
    discount_percent: Decimal
    net_minor: int
    charge: str
    currency: str = ""


class Order(Value, frozen=True, tag_field="type", tag="order.v1"):
    """A deal with its lines. `end` is exclusive (the CRM's inclusive last day + 1); `frequency` is `month`,
    `quarter` or `year`; `approved` is the CRM connection's declared approval condition."""

    ref: Ref
    name: str
    account: Ref
    legal_entity: str
    currency: str
    lines: tuple[OrderLine, ...]
    start: date | None
    end: date | None
    term_months: int | None
    frequency: str
    payment_terms: str
    po_number: str
    won: bool
    closed: bool
    approved: bool
    deleted: bool = False
    close_date: date | None = None
    accepted_status: str = ""
    external_id: str = ""


class SubscriptionLine(Value, frozen=True):
    """One line of a subscription as billing holds it; amounts per billing period, without tax."""

    id: str
    contract_line: str
    product: str
    quantity: Decimal
    unit_minor: Decimal
    charge: str


class Subscription(Value, frozen=True, tag_field="type", tag="subscription.v1"):
    """A subscription (or future schedule) at billing. `status` is `future`, `active`, `paused`, `cancelled` or
    `pending` (anything the vendor says that we do not know)."""

    ref: Ref
    customer: Ref
    currency: str
    status: str
    start: date
    end: date | None
    frequency: str
    lines: tuple[SubscriptionLine, ...]
    document_key: str = ""
    opportunity: str = ""


def add_months(start: date, months: int) -> date:
    """The same day some months on; the last of the month where that has no such day, and of the
    calendar where it ends before."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    if year > date.max.year:
        return date.max
    return date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))


def months_between(start: date, end: date) -> Fraction:
    """Months from start to the exclusive end, the last one in part: a year is 12, 15 January to 1 February 17/31."""
    whole = (end.year - start.year) * 12 + end.month - start.month
    if add_months(start, whole) > end:
        whole -= 1
    reached, following = add_months(start, whole), add_months(start, whole + 1)
    if reached == end:
        return Fraction(whole)
    return whole + Fraction((end - reached).days, (following - reached).days)


def period_minor(quantity: Decimal, unit_minor: Decimal) -> int:
    """Net of one billing period in minor units: quantity x unit price, rounded half up as an invoice line is."""
    return int((quantity * unit_minor).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def contracted_minor(
    net_minor: int,
    frequency: str,
    *,
    start: date | None = None,
    end: date | None = None,
    term_months: int | None = None,
    charge: str = "recurring",
) -> int:
    """The contracted value of a line in minor units: what CRM, billing and the hub all mean by it.

    `net_minor` is the net of one billing period. It counts for the term's billing periods (a part of one in part,
    rounded half up once, at the end); the term is start to the exclusive `end`, else `term_months`. One period counts
    where the contract has no end, where the frequency is not one of `PERIOD_MONTHS`, and of a one-time charge; what
    will be used counts for nothing, because nobody knows it."""
    if charge == "metered":
        return 0
    months = PERIOD_MONTHS.get(frequency)
    if charge != "recurring" or months is None:
        return net_minor
    if start is not None and end is not None and end > start:
        term = months_between(start, end)
    elif (start is None or end is None) and term_months is not None and term_months > 0:
        term = Fraction(term_months)
    else:
        return net_minor
    exact = term / months * net_minor
    value = Decimal(exact.numerator) / exact.denominator
    return int(value.quantize(Decimal(1), rounding=ROUND_HALF_UP))
