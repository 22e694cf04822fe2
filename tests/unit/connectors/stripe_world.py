"""A Stripe connection over canned answers, and the shapes of its objects."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tests.conformance.support import CannedTransport, RealChance, canned
from tieout.canonical.secret import Secret
from tieout.connectors.contract import Keys, World
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.connection import StripeConnection

FIXTURES = Path(__file__).parent / "fixtures" / "stripe"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEYS = Keys(
    effect="co|stripe-us|subscription.create|006A|0", document="0123456789ABCDEF", wire="wire-0", trace="tr-1"
)


class StandingClock:
    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    async def sleep_real(self, seconds: float) -> None:
        return None


def config(**more: Any) -> StripeConfig:
    given = {
        "api_key": Secret("key_us"),
        "account": "acct_us",
        "entity": "us",
        "time_zone": "America/Los_Angeles",
        "webhook_secrets": [Secret("whsec_new"), Secret("whsec_old")],
        **more,
    }
    return StripeConfig(**given)


def connection(*answers: Any, **more: Any) -> tuple[StripeConnection, CannedTransport]:
    transport = CannedTransport(*answers)
    world = World(clock=StandingClock(), chance=RealChance(), transport=transport)
    return StripeConnection("stripe-us", config(**more), world), transport


def fixture(name: str) -> dict[str, Any]:
    return msgspec.json.decode((FIXTURES / f"{name}.json").read_bytes(), type=dict[str, Any])


def page(*items: Any, more: bool = False) -> Any:
    return canned({"object": "list", "data": list(items), "has_more": more, "url": "/v1/things"})


def error(status: int, type_: str, code: str = "", message: str = "no", **headers: str) -> Any:
    return canned({"error": {"type": type_, "code": code or None, "message": message}}, status, **headers)


def line(id: str, amount: int, tax: int | None = None, **more: Any) -> dict[str, Any]:
    taxes = [
        {
            "amount": tax,
            "tax_behavior": "exclusive",
            "tax_rate_details": {"tax_rate": "txr_ca"},
            "taxability_reason": "standard_rated",
            "taxable_amount": amount,
            "type": "tax_rate_details",
        }
    ]
    return {
        "id": id,
        "object": "line_item",
        "amount": amount,
        "currency": "usd",
        "description": f"line {id}",
        "discount_amounts": [],
        "period": {"start": 1767254400, "end": 1769932800},
        "quantity": 10,
        "pricing": {
            "price_details": {"price": "price_1", "product": "prod_PLATFORM"},
            "type": "price_details",
            "unit_amount_decimal": "1000",
        },
        "parent": {
            "type": "subscription_item_details",
            "subscription_item_details": {
                "subscription": "sub_1",
                "subscription_item": "si_1",
                "proration": False,
            },
        },
        "metadata": {},
        "taxes": taxes if tax is not None else [],
        **more,
    }


def invoice(*lines: dict[str, Any], total: int, **more: Any) -> dict[str, Any]:
    return {
        "id": "in_1",
        "object": "invoice",
        "livemode": False,
        "number": "US-0001",
        "customer": "cus_1",
        "currency": "usd",
        "status": "open",
        "created": 1767254400,
        "due_date": 1769846400,
        "effective_at": 1767254400,
        "subtotal": total,
        "total": total,
        "amount_remaining": total,
        "lines": {"object": "list", "data": list(lines), "has_more": False},
        "status_transitions": {
            "finalized_at": 1767254400,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "parent": {
            "type": "subscription_details",
            "subscription_details": {
                "subscription": "sub_1",
                "metadata": {
                    "crm_opportunity": "006A",
                    "crm_account": "001A",
                    "trace": "tr-1",
                    "po_number": "PO-7",
                    "crm_lines": '[["prod_PLATFORM","1000","00kA"]]',
                },
            },
        },
        "customer_address": {"country": "US", "state": "CA"},
        "metadata": {},
        **more,
    }


RATE = {
    "id": "txr_ca",
    "object": "tax_rate",
    "percentage": 7.25,
    "country": "US",
    "state": "CA",
    "livemode": False,
}
