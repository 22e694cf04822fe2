"""The billing twin: the vendor's order-to-cash API over HTTP, stateful, several accounts in one server.

    twin = create(SystemTwinClock(business=datetime(2026, 1, 15, tzinfo=UTC)))
    # serve `twin` with uvicorn; talk to it with the vendor's own SDK

README.md in this folder says what there is, what is left out and why, and how to steer it.
"""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.stripe import (
    catalogue,
    credit_notes,
    customers,
    discounts,
    events,
    intent_desk,
    intents,
    invoice_desk,
    invoice_items,
    meters,
    methods,
    payments,
    previews,
    records,
    schedules,
    settlements,
    subscription_desk,
    subscription_items,
    tax,
    tax_ids,
)
from tieout_lab.twins.stripe.accounts import API_VERSION
from tieout_lab.twins.stripe.actions import Actions
from tieout_lab.twins.stripe.desk import Desk

__all__ = ["StripeTwin", "create"]


class StripeTwin(Desk):
    """All endpoints and all control actions."""

    def __init__(self, clock: TwinClock) -> None:
        super().__init__(clock)
        for module in (
            catalogue, credit_notes, customers, discounts, events, intent_desk, intents, meters, methods,
            previews, invoice_desk, invoice_items, payments, records, schedules, settlements,
            subscription_desk, subscription_items, tax, tax_ids,
        ):  # fmt: skip
            module.routes(self)
        self.control = Actions(self)

    def describe(self, url: str) -> dict[str, Any]:
        """What a client needs; the first account stands at the top, too."""
        accounts = {
            account.id: {
                "api_key": account.api_key,
                "webhook_secret": account.webhook_secret,
                "country": account.country,
                "default_currency": account.currency,
            }
            for account in self.accounts.values()
        }
        first = next(iter(self.accounts.values()))
        return {
            "url": url,
            "api_key": first.api_key,
            "webhook_secret": first.webhook_secret,
            "account": first.id,
            "accounts": accounts,
            "api_version": API_VERSION,
        }


def create(clock: TwinClock) -> StripeTwin:
    """A fresh twin with its two accounts and nothing in them."""
    return StripeTwin(clock)
