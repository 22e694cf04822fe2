"""Every field that the specification marks as expandable can be asked for whole, and the answer is still its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.twins.stripe_shapes import FILE, Shapes, shapes
from tests.conformance.twins.stripe_world import World, customer, monthly, world

KINDS = {
    "Charge": "charges",
    "Coupon": "coupons",
    "CreditNote": "credit_notes",
    "Customer": "customers",
    "Invoice": "invoices",
    "InvoiceItem": "invoiceitems",
    "InvoicePayment": "invoice_payments",
    "PaymentIntent": "payment_intents",
    "PaymentMethod": "payment_methods",
    "Price": "prices",
    "Product": "products",
    "Refund": "refunds",
    "Subscription": "subscriptions",
    "SubscriptionItem": "subscription_items",
    "SubscriptionSchedule": "subscription_schedules",
}


@pytest.fixture(scope="module")
def shape(spec_path: Callable[[str], Path]) -> Shapes:
    return shapes(spec_path(FILE))


@pytest.fixture(scope="module")
def billing() -> Iterator[World]:
    """One object of each kind, at least."""
    with world() as made:
        client = made.client()
        owner = customer(client).id
        client.v1.coupons.create({"id": "TEN", "percent_off": 10, "duration": "forever"})
        card = client.v1.payment_methods.attach("pm_card_visa", {"customer": owner})
        client.v1.customers.update(owner, {"invoice_settings": {"default_payment_method": card.id}})
        subscription = client.v1.subscriptions.create(
            {
                "customer": owner,
                "items": [monthly("prod_PLATFORM", 100_00)],
                "discounts": [{"coupon": "TEN"}],
                "expand": ["latest_invoice"],
            }
        )
        client.v1.subscription_schedules.create({"from_subscription": subscription.id})
        client.v1.invoice_items.create({"customer": owner, "amount": 5_00, "currency": "usd"})
        credit: Any = {"invoice": subscription.latest_invoice.id, "amount": 5_00, "refund_amount": 5_00}
        client.v1.credit_notes.create(credit)
        yield made


def expandable(schema: dict[str, Any], path: str = "", depth: int = 0) -> Iterator[str]:
    """The paths of a schema's own expandable fields, three levels deep."""
    for name, inner in schema.get("properties", {}).items():
        items = inner.get("items", {}) if inner.get("type") == "array" else inner
        if inner.get("x-expandable") or items.get("x-expandable"):
            yield path + name
        elif depth < 2:
            yield from expandable(items, f"{path}{name}.", depth + 1)


@pytest.mark.parametrize("kind", KINDS)
def test_what_can_be_expanded(billing: World, shape: Shapes, kind: str) -> None:
    every = billing.twin.accounts["acct_us"].objects[KINDS[kind]]
    assert every, f"no {kind} was made"
    address = f"/v1/{KINDS[kind]}/{next(reversed(every))}"
    template = shape.template("GET", address)
    assert template is not None
    for path in dict.fromkeys(expandable(shape.schemas[kind])):
        status, _, body = billing.http("GET", f"{address}?expand[]={path}")
        assert (status, shape.check("GET", template, body)) == (200, []), (path, body)
    status, _, _ = billing.http("GET", f"{address}?expand[]=object")
    assert status == 400
