"""What the CRM holds around a deal: quotes, sales orders, contracts with the ledger of their lines, change orders.

`Order` (order.py) is what billing is asked for. These are the papers behind it, whole: bundles, segments, deltas.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value


class SaleLine(Value, frozen=True):
    """One line of a quote, a sales order or a contract.

    `net_minor` is what the CRM states for the line's whole quantity and, where the price counts by time, its whole
    term; `unit_price` the net price of one unit on the same terms. `quantity` is a delta on the paper of a change
    (negative takes away). `end` is exclusive. `bundle` is the line that requires this one, `segment` what the lines
    of one ramp share, `revises` the line that a delta changes, `source` the quote line it stems from."""

    id: str
    product: str
    description: str
    quantity: Decimal
    unit_price: Decimal
    net_minor: int
    charge: str
    frequency: str = ""
    start: date | None = None
    end: date | None = None
    bundle: str = ""
    segment: str = ""
    segment_label: str = ""
    revises: str = ""
    source: str = ""
    terminated: date | None = None


class Quote(Value, frozen=True, tag_field="type", tag="quote.v1"):
    """An offer. `kind` is `new`, `renewal` or `amendment`; `status` is `draft`, `in_review`, `approved`, `presented`,
    `accepted` or `rejected`; an unknown word of either is `pending: <word>`. `contract` is the one that it amends or
    renews."""

    ref: Ref
    opportunity: Ref | None
    account: Ref | None
    kind: str
    status: str
    primary: bool
    currency: str
    lines: tuple[SaleLine, ...]
    net_minor: int
    contract: Ref | None = None
    start: date | None = None
    end: date | None = None
    term_months: int | None = None
    payment_terms: str = ""
    deleted: bool = False


class SalesOrder(Value, frozen=True, tag_field="type", tag="sales_order.v1"):
    """An order of the CRM. `status` is `draft`, `activated`, `cancelled`, `expired` or `pending: <word>`; a
    `reduction` takes back lines of `original`."""

    ref: Ref
    account: Ref | None
    opportunity: Ref | None
    contract: Ref | None
    quote: Ref | None
    original: Ref | None
    status: str
    reduction: bool
    currency: str
    lines: tuple[SaleLine, ...]
    net_minor: int
    start: date | None = None
    end: date | None = None
    po_number: str = ""
    deleted: bool = False


class ContractLine(Value, frozen=True):
    """What one contract line has come to: `first` is the line it began as, `quantity` the sum of it and all its
    deltas, `rows` the ledger behind the sum, oldest first."""

    first: SaleLine
    quantity: Decimal
    rows: tuple[SaleLine, ...]


class Contract(Value, frozen=True, tag_field="type", tag="contract.v1"):
    """A contract. `status` is `draft`, `in_approval`, `activated`, `terminated`, `expired` or `pending: <word>`.
    `amendment_start` is the day from which an amendment under way counts, `co_term` whether added lines end with the
    contract, `renewal_months` the term that a renewal gets."""

    ref: Ref
    account: Ref | None
    opportunity: Ref | None
    quote: Ref | None
    order: Ref | None
    master: Ref | None
    renewal: Ref | None
    status: str
    start: date | None
    end: date | None
    term_months: int | None
    renewal_months: int | None
    evergreen: bool
    co_term: bool
    amendment_start: date | None
    amendment_renewal: str
    renewal_forecast: bool
    renewal_quoted: bool
    lines: tuple[ContractLine, ...]
    deleted: bool = False


class ChangeLine(Value, frozen=True):
    """What a change does to one contract line. `line` is the ledger row that the line began as, empty for a line that
    is new; `net_minor` the price of the delta over its term."""

    line: str
    quote_line: str
    product: str
    description: str
    before: Decimal
    after: Decimal
    net_minor: int
    charge: str
    frequency: str
    start: date | None
    end: date | None
    bundle: str = ""
    segment: str = ""

    @property
    def delta(self) -> Decimal:
        return self.after - self.before


class ChangeOrder(Value, frozen=True, tag_field="type", tag="change_order.v1"):
    """A sold change of a contract, the same whichever of its papers told of it. `ref` is the change's opportunity;
    `kind` is `amendment`, `renewal` or `cancellation` (every line to nothing). `start` is the day from which it
    counts."""

    ref: Ref
    contract: Ref
    account: Ref
    quote: Ref
    kind: str
    currency: str
    legal_entity: str
    start: date | None
    lines: tuple[ChangeLine, ...]
    net_minor: int
    won: bool
    closed: bool
    approved: bool
    deleted: bool = False
    close_date: date | None = None
    accepted_status: str = ""
