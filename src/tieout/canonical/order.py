"""What was sold: the order as the CRM's declared order source holds it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class OrderLine(Value, frozen=True):
    """One sold line. `unit_price` is the net price per unit and billing period (recurring) or per unit (one-time),
    before discount; `net_minor` is quantity x unit price less discount, as the CRM states it; `charge` is
    `recurring` or `one_time`; `currency` only where the CRM keeps one per line."""

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
