"""Is a deal fit to be billed? Every fault at once, in words that the seller can act on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

from tieout.canonical.decision import MissingRule, Rules
from tieout.canonical.model import Value
from tieout.canonical.money import exponent, to_major, to_minor
from tieout.canonical.order import Order, OrderLine
from tieout.canonical.party import Customer, LegalEntity
from tieout.masterdata.acceptance import acceptance_faults
from tieout.masterdata.fault import Fault
from tieout.masterdata.hierarchy import by_ref, decide_payer, lineage

FREQUENCIES = ("month", "quarter", "year")
RECOGNITION = {"recurring": "deferred", "one_time": "immediate", "metered": "immediate"}


class CreditStanding(Value, frozen=True):
    """The hub's last swept copy of the ERP's credit hold. None: the ERP does not know the customer, so there is no
    hold. `age` is how old the copy is."""

    hold: bool | None = None
    age: timedelta | None = None


def preflight(
    order: Order,
    customer: Customer | None,
    ancestors: tuple[Customer, ...],
    entity: LegalEntity | None,
    rules: Rules,
    *,
    as_of: date,
    credit: CreditStanding | None = None,
    accepted: Order | None = None,
    siblings: tuple[Order, ...] = (),
) -> tuple[Fault, ...]:
    """All faults of a deal; empty when it may be accepted.

    `customer` is the deal's account (None: not found), `ancestors` every other account that its hierarchy and payer
    name, `entity` the deal's legal entity (None: not configured), `as_of` the business day of the check, `accepted` the
    order as it was accepted before, `siblings` the accepted orders of the same account. Pure: no outside call."""
    on = order.start or as_of
    faults = [
        *acceptance_faults(order, accepted, siblings),
        *_hierarchy(order, customer, ancestors),
        *_entity(order, entity),
        *_dates(order),
        *_lines(order),
        *_terms(order, customer, rules, on),
    ]
    if entity is not None:
        faults += _registration(customer, entity, on)
        faults += _mapping(order, entity, rules, on)
    faults += _credit(credit or CreditStanding())
    return tuple(faults)


def _hierarchy(order: Order, customer: Customer | None, ancestors: tuple[Customer, ...]) -> Iterator[Fault]:
    if customer is None:
        yield Fault(
            code="account_missing",
            message=f"The account {order.account.id} of the deal does not exist or is not readable.",
            remedy="Put the deal on an account that exists, or give the integration user access to it.",
            field="account",
        )
        return
    remedies = {
        "missing": "Correct the parent account, or give the integration user access to it.",
        "cyclic": "Take the parent off one of the accounts of the circle.",
        "deleted": "Restore the account, or put the deal on another one.",
        "merged": "Put the deal on the account that remained.",
    }
    known = by_ref((*ancestors, customer))
    for fault in lineage(customer, known).faults:
        yield Fault(
            code=f"account_{fault.code}", message=fault.message, remedy=remedies[fault.code], field="account"
        )
    try:
        decide_payer(customer, known)
    except ValueError as error:
        yield Fault(
            code="payer",
            message=f"Who pays cannot be told: {error}.",
            remedy="Correct the payer of the account.",
            field="payer",
        )


def _entity(order: Order, entity: LegalEntity | None) -> Iterator[Fault]:
    if entity is None:
        yield Fault(
            code="legal_entity",
            message=f"The legal entity {order.legal_entity or '(empty)'} of the deal is not configured.",
            remedy="Write a configured legal entity on the deal.",
            field="legal_entity",
        )
    elif order.currency not in entity.currencies:
        yield Fault(
            code="currency",
            message=f"{entity.name} does not sell in {order.currency or '(no currency)'}.",
            remedy=f"Sell in {' or '.join(entity.currencies)}, or through another legal entity.",
            field="currency",
        )
    others = sorted({line.currency for line in order.lines if line.currency} | {order.currency})
    if len(others) > 1:
        yield Fault(
            code="two_currencies",
            message=f"The lines of the deal are in several currencies: {', '.join(others)}.",
            remedy="Split the deal: one currency each.",
            field="currency",
        )


def _dates(order: Order) -> Iterator[Fault]:
    recurring = any(line.charge == "recurring" for line in order.lines)
    if order.start is None:
        yield Fault(
            code="start_missing",
            message="The contract has no start date.",
            remedy="Write the contract start on the deal.",
            field="start",
        )
    if recurring and order.end is None and order.term_months is None:
        yield Fault(
            code="term_missing",
            message="The contract has neither an end date nor a term in months.",
            remedy="Write the contract end or the term on the deal.",
            field="term_months",
        )
    if order.start is not None and order.end is not None and order.end <= order.start:
        # The end is kept exclusive; people wrote, and read, the last day.
        yield Fault(
            code="end_before_start",
            message=f"The contract ends on {order.end - timedelta(days=1)}, before it starts on {order.start}.",
            remedy="Correct the contract start or end on the deal.",
            field="end",
        )
    if order.term_months is not None and order.term_months <= 0:
        yield Fault(
            code="term",
            message=f"A term of {order.term_months} months is none.",
            remedy="Write a term of at least one month.",
            field="term_months",
        )
    if order.frequency not in FREQUENCIES and (recurring or order.frequency):
        yield Fault(
            code="frequency",
            message=f"The billing frequency {order.frequency or '(empty)'} is unknown.",
            remedy=f"Bill by {', '.join(FREQUENCIES)}.",
            field="frequency",
        )


def _lines(order: Order) -> Iterator[Fault]:
    if not order.lines:
        yield Fault(
            code="no_lines",
            message="The deal has no lines: there is nothing to bill.",
            remedy="Add the products that were sold.",
            field="lines",
        )
    for number, line in enumerate(order.lines, start=1):
        where = f"Line {number} ({line.product or line.description or line.id})"
        if line.quantity <= 0:
            yield Fault(
                code="quantity",
                message=f"{where} has a quantity of {line.quantity}.",
                remedy="Write a quantity above zero, or remove the line.",
                field="quantity",
                line=line.id,
            )
        if line.charge not in RECOGNITION:
            yield Fault(
                code="charge",
                message=f"{where}: how it is charged (recurring, once, by use) is not said ({line.charge or 'empty'}).",
                remedy="Set the charge type of the product.",
                field="charge",
                line=line.id,
            )
        yield from _net(order.currency, where, line)


def _net(currency: str, where: str, line: OrderLine) -> Iterator[Fault]:
    try:
        exponent(currency)
    except ValueError:
        return  # the currency's own fault says it
    exact = line.quantity * line.unit_price * (1 - line.discount_percent / Decimal(100))
    expected = to_minor(exact, currency, rounding="half_up")
    if expected != line.net_minor:
        yield Fault(
            code="net",
            message=(
                f"{where} says {to_major(line.net_minor, currency)} {currency}, but quantity {line.quantity} x price"
                f" {line.unit_price} less {line.discount_percent} % is {to_major(expected, currency)}:"
                f" {to_major(line.net_minor - expected, currency)} {currency} too much."
            ),
            remedy="Correct quantity, price, discount or total of the line.",
            field="net",
            line=line.id,
        )


def _terms(order: Order, customer: Customer | None, rules: Rules, on: date) -> Iterator[Fault]:
    if customer is not None and customer.po_required and not order.po_number.strip():
        yield Fault(
            code="po_number",
            message=f"{customer.name} requires a purchase order number, and the deal has none.",
            remedy="Write the purchase order number on the deal.",
            field="po_number",
        )
    terms = order.payment_terms or (customer.payment_terms if customer is not None else "")
    try:
        rules.terms(terms, on)
    except MissingRule as hole:
        yield Fault(
            code="payment_terms",
            message=f"The payment terms {terms or '(empty)'} are unknown. {hole.outcome.message}",
            remedy=f"Write known payment terms on the account. {hole.outcome.remedy}",
            field="payment_terms",
        )


def _registration(customer: Customer | None, entity: LegalEntity, on: date) -> Iterator[Fault]:
    if customer is None:
        return
    address = customer.shipping_address if customer.shipping_address.country else customer.billing_address
    place = address.jurisdiction
    if not place:
        yield Fault(
            code="address",
            message=f"{customer.name} has no country in its shipping or billing address.",
            remedy="Write the address on the account: the tax depends on it.",
            field="shipping_address",
        )
        return
    if any(one.jurisdiction == place and one.in_force(on) for one in entity.registrations):
        return
    if {place, address.country, "*"} & set(entity.unregistered_jurisdictions):
        return
    yield Fault(
        code="registration",
        message=f"{entity.name} has no tax registration in force on {on} for {place}, where it would deliver to.",
        remedy=f"Add the registration for {place} to the legal entity, or declare that it needs none there.",
        field="shipping_address",
    )


def _mapping(order: Order, entity: LegalEntity, rules: Rules, on: date) -> Iterator[Fault]:
    for number, line in enumerate(order.lines, start=1):
        try:
            product = rules.billing_product(line.product, entity.billing, on).value
            rules.item(product, entity.code, RECOGNITION.get(line.charge, "immediate"), on)
        except MissingRule as hole:
            yield Fault(
                code="product_mapping",
                message=f"Line {number} ({line.product or 'no product'}): {hole.outcome.message}",
                remedy=hole.outcome.remedy,
                field="product",
                line=line.id,
                blocker=hole.outcome.key,
            )


def _credit(credit: CreditStanding) -> Iterator[Fault]:
    if credit.hold:
        yield Fault(
            code="credit_hold",
            message=f"The customer is on credit hold in the ERP ({_age(credit.age)}).",
            remedy="Have finance lift the credit hold; the deal goes on when the hub sees it.",
            field="account",
        )


def _age(age: timedelta | None) -> str:
    if age is None:
        return "age of this knowledge unknown"
    minutes = max(0, int(age.total_seconds()) // 60)
    if minutes < 120:
        return f"as of {minutes} min ago"
    hours = minutes // 60
    return f"as of {hours} h ago" if hours < 48 else f"as of {hours // 24} days ago"
