"""What Stripe says, as far as we read it. Fields we do not use are skipped; amounts are integers in the currency's
smallest unit, moments are whole seconds since 1970, `number` fields are Decimal."""

# ruff: noqa: D101 (the names are the vendor's, and documented there)

from __future__ import annotations

from decimal import Decimal

import msgspec

Metadata = dict[str, str]


class Thing(msgspec.Struct):
    """Any object: enough to know which one it is, and whose mode it is of."""

    id: str
    object: str = ""
    livemode: bool | None = None
    metadata: Metadata | None = None
    created: int = 0


class Customer(Thing):
    """A customer; any other object has neither of these."""

    name: str | None = None
    email: str | None = None


class Made(msgspec.Struct):
    """What a POST made: a meter event has an identifier, everything else an id."""

    id: str = ""
    identifier: str = ""
    livemode: bool | None = None

    @property
    def name(self) -> str:
        return self.id or self.identifier


class Address(msgspec.Struct, gc=False):
    country: str | None = None
    state: str | None = None


class Shipping(msgspec.Struct):
    address: Address | None = None


class TaxRate(msgspec.Struct, gc=False):
    id: str
    percentage: Decimal = Decimal(0)
    effective_percentage: Decimal | None = None
    country: str | None = None
    state: str | None = None


class TaxRateDetails(msgspec.Struct, gc=False):
    tax_rate: str | None = None


class Tax(msgspec.Struct):
    amount: int
    tax_behavior: str = "exclusive"
    taxability_reason: str | None = None
    taxable_amount: int | None = None
    tax_rate_details: TaxRateDetails | None = None


class DiscountAmount(msgspec.Struct, gc=False):
    amount: int


class PretaxCredit(msgspec.Struct, gc=False):
    amount: int
    type: str = ""


class Period(msgspec.Struct, gc=False):
    start: int
    end: int


class PriceDetails(msgspec.Struct, gc=False):
    product: str | None = None
    price: str | None = None


class LinePricing(msgspec.Struct):
    price_details: PriceDetails | None = None
    unit_amount_decimal: str | None = None


class ItemDetails(msgspec.Struct, gc=False):
    """Either kind of `parent` details of an invoice line."""

    proration: bool = False
    subscription: str | None = None
    subscription_item: str | None = None


class LineParent(msgspec.Struct):
    type: str = ""
    invoice_item_details: ItemDetails | None = None
    subscription_item_details: ItemDetails | None = None


class Line(msgspec.Struct):
    """A line of an invoice; `amount` is before discounts and without exclusive tax."""

    id: str
    amount: int
    description: str | None = None
    period: Period | None = None
    quantity: int | None = None
    quantity_decimal: Decimal | None = None
    discount_amounts: list[DiscountAmount] | None = None
    pretax_credit_amounts: list[PretaxCredit] | None = None
    taxes: list[Tax] | None = None
    pricing: LinePricing | None = None
    parent: LineParent | None = None
    metadata: Metadata | None = None


class LinePage(msgspec.Struct):
    data: list[Line]
    has_more: bool = False


class ShippingCost(msgspec.Struct):
    """`rate` of its taxes is a whole tax rate, unlike on lines."""

    amount_subtotal: int = 0
    amount_tax: int = 0
    amount_total: int = 0


class SubscriptionSnapshot(msgspec.Struct):
    subscription: str | None = None
    metadata: Metadata | None = None


class InvoiceParent(msgspec.Struct):
    subscription_details: SubscriptionSnapshot | None = None


class Transitions(msgspec.Struct, gc=False):
    finalized_at: int | None = None
    marked_uncollectible_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None


class Invoice(Thing):
    number: str | None = None
    customer: str | None = None
    currency: str = ""
    status: str | None = None
    due_date: int | None = None
    effective_at: int | None = None
    subtotal: int = 0
    total: int = 0
    amount_paid: int = 0
    amount_remaining: int = 0
    starting_balance: int = 0
    ending_balance: int | None = None
    pre_payment_credit_notes_amount: int = 0
    lines: LinePage = msgspec.field(default_factory=lambda: LinePage([]))
    total_taxes: list[Tax] | None = None
    shipping_cost: ShippingCost | None = None
    status_transitions: Transitions = msgspec.field(default_factory=Transitions)
    parent: InvoiceParent | None = None
    customer_address: Address | None = None
    customer_shipping: Shipping | None = None


class CreditLine(msgspec.Struct):
    id: str
    amount: int
    description: str | None = None
    quantity: int | None = None
    invoice_line_item: str | None = None
    discount_amounts: list[DiscountAmount] | None = None
    pretax_credit_amounts: list[PretaxCredit] | None = None
    taxes: list[Tax] | None = None


class CreditLinePage(msgspec.Struct):
    data: list[CreditLine]
    has_more: bool = False


class RecordRefund(msgspec.Struct, gc=False):
    payment_record: str = ""
    refund_group: str = ""


class CreditRefund(msgspec.Struct):
    """Money that went back with a credit note: by a refund, or outside Stripe by one reported on a payment record."""

    amount_refunded: int = 0
    refund: str | None = None
    payment_record_refund: RecordRefund | None = None


class CreditNote(Thing):
    number: str = ""
    invoice: str | Invoice = ""
    customer: str = ""
    currency: str = ""
    status: str = ""
    effective_at: int | None = None
    voided_at: int | None = None
    total: int = 0
    reason: str | None = None
    lines: CreditLinePage = msgspec.field(default_factory=lambda: CreditLinePage([]))
    total_taxes: list[Tax] | None = None
    shipping_cost: ShippingCost | None = None
    refunds: list[CreditRefund] | None = None
    pre_payment_amount: int = 0
    post_payment_amount: int = 0
    out_of_band_amount: int | None = None


class BalanceTransaction(Thing):
    """What moved on the account's balance; `net` = `amount` - `fee`. `source` is the id of what moved it."""

    amount: int = 0
    fee: int = 0
    net: int = 0
    currency: str = ""
    type: str = ""
    reporting_category: str = ""
    exchange_rate: Decimal | None = None
    source: str | Thing | None = None


class BalanceChange(Thing):
    """A transaction of a customer's balance; negative amounts favour the customer."""

    amount: int = 0
    currency: str = ""
    type: str = ""
    ending_balance: int = 0
    credit_note: str | None = None
    invoice: str | None = None


class Charge(Thing):
    amount: int = 0
    amount_captured: int | None = None
    currency: str = ""
    customer: str | None = None
    status: str = ""
    paid: bool = False
    payment_intent: str | None = None
    balance_transaction: str | BalanceTransaction | None = None


class PaymentIntent(Thing):
    amount_received: int = 0
    amount: int = 0
    currency: str = ""
    customer: str | None = None
    status: str = ""
    description: str | None = None
    latest_charge: str | Charge | None = None


class Amount(msgspec.Struct, gc=False):
    currency: str = ""
    value: int = 0


class CustomerDetails(msgspec.Struct, gc=False):
    customer: str | None = None


class CustomProcessor(msgspec.Struct, gc=False):
    payment_reference: str | None = None


class ProcessorDetails(msgspec.Struct, gc=False):
    custom: CustomProcessor | None = None


class PaymentRecord(Thing):
    amount_guaranteed: Amount = msgspec.field(default_factory=Amount)
    amount_requested: Amount = msgspec.field(default_factory=Amount)
    amount_canceled: Amount = msgspec.field(default_factory=Amount)
    amount_failed: Amount = msgspec.field(default_factory=Amount)
    customer_details: CustomerDetails | None = None
    processor_details: ProcessorDetails | None = None
    reported_by: str = "self"


class PaidBy(msgspec.Struct, gc=False):
    type: str = ""
    payment_intent: str | None = None
    charge: str | None = None
    payment_record: str | None = None

    @property
    def id(self) -> str:
        """The one id of this payment: the intent before its charge."""
        return self.payment_intent or self.charge or self.payment_record or ""


class PaymentTransitions(msgspec.Struct, gc=False):
    paid_at: int | None = None


class InvoicePayment(Thing):
    amount_paid: int | None = None
    currency: str = ""
    invoice: str | Invoice = ""
    status: str = ""
    payment: PaidBy = msgspec.field(default_factory=PaidBy)
    status_transitions: PaymentTransitions | None = None


class Refund(Thing):
    amount: int = 0
    currency: str = ""
    status: str | None = None
    charge: str | None = None
    payment_intent: str | PaymentIntent | None = None
    customer: str | None = None


class Dispute(Thing):
    amount: int = 0
    currency: str = ""
    status: str = ""
    reason: str = ""
    charge: str = ""
    payment_intent: str | None = None
    balance_transactions: list[BalanceTransaction] = []


class Payout(Thing):
    amount: int = 0
    currency: str = ""
    status: str = ""
    arrival_date: int = 0
    reconciliation_status: str = ""
    failure_balance_transaction: BalanceTransaction | str | None = None


class Recurring(msgspec.Struct, gc=False):
    interval: str = ""
    interval_count: int = 1
    usage_type: str = "licensed"


class Tier(msgspec.Struct):
    """`up_to` None: without end."""

    up_to: int | None = None
    flat_amount_decimal: Decimal | None = None
    unit_amount_decimal: Decimal | None = None


class Price(msgspec.Struct):
    id: str = ""
    billing_scheme: str = "per_unit"
    tiers: list[Tier] | None = None
    tiers_mode: str | None = None
    product: str = ""
    currency: str = ""
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None
    recurring: Recurring | None = None


class SubscriptionItem(msgspec.Struct):
    id: str
    price: Price
    quantity: int | None = None
    metadata: Metadata | None = None


class ItemPage(msgspec.Struct):
    data: list[SubscriptionItem]
    has_more: bool = False


class Subscription(Thing):
    customer: str = ""
    currency: str = ""
    status: str = ""
    start_date: int = 0
    cancel_at: int | None = None
    ended_at: int | None = None
    schedule: str | None = None
    items: ItemPage = msgspec.field(default_factory=lambda: ItemPage([]))


class PhaseItem(msgspec.Struct):
    """An item of a phase, recurring or (among `add_invoice_items`) one-time."""

    price: str | Price = ""
    quantity: int | None = None
    metadata: Metadata | None = None


class Phase(msgspec.Struct):
    start_date: int
    end_date: int | None = None
    currency: str = ""
    items: list[PhaseItem] = []
    add_invoice_items: list[PhaseItem] = []
    metadata: Metadata | None = None


class Schedule(Thing):
    customer: str = ""
    status: str = ""
    end_behavior: str = ""
    phases: list[Phase] = []
    subscription: str | None = None
    released_subscription: str | None = None


class Endpoint(Thing):
    status: str = ""
    enabled_events: list[str] = []
    api_version: str | None = None


class Error(msgspec.Struct, gc=False):
    type: str = ""
    code: str | None = None
    message: str = ""
    param: str | None = None


class ErrorBody(msgspec.Struct):
    error: Error
