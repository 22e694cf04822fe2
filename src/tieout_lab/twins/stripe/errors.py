"""Refusals in the vendor's own form: an HTTP status and an error object of type, code, message and param."""

from __future__ import annotations

from typing import Any

KIND_NAMES = {
    "balance_transactions": "balance transaction",
    "charges": "charge",
    "coupons": "coupon",
    "credit_notes": "credit note",
    "customers": "customer",
    "events": "event",
    "invoice_payments": "invoice payment",
    "invoiceitems": "invoiceitem",
    "invoices": "invoice",
    "line_items": "invoice line item",
    "payment_intents": "payment_intent",
    "payment_methods": "PaymentMethod",
    "payment_records": "payment record",
    "prices": "price",
    "products": "product",
    "refunds": "refund",
    "subscription_items": "subscription item",
    "subscription_schedules": "subscription schedule",
    "subscriptions": "subscription",
    "tax_ids": "tax_id",
    "tax_rates": "tax rate",
    "webhook_endpoints": "webhook endpoint",
}


class Refusal(Exception):
    """The vendor says no. `executed` tells whether the work had begun, and so whether a key keeps the answer."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        executed: bool = True,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.kind = kind
        self.executed = executed
        self.headers = headers or {}
        self.more = more

    def body(self, request_id: str) -> dict[str, Any]:
        """The JSON document of this refusal."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        if self.code:
            error["code"] = self.code
            error["doc_url"] = f"https://docs.stripe.com/error-codes/{self.code.replace('_', '-')}"
        if self.param:
            error["param"] = self.param
        error["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": error | self.more}


def invalid(message: str, param: str | None = None, code: str | None = None) -> Refusal:
    """A parameter the endpoint cannot take: refused before any work."""
    return Refusal(400, message, code=code, param=param, executed=False)


def conflict(message: str, code: str | None = None, param: str | None = None) -> Refusal:
    """What the state of the object forbids: refused in the course of the work."""
    return Refusal(400, message, code=code, param=param)


def required(param: str) -> Refusal:
    """A parameter that must be there."""
    return invalid(f"Missing required param: {param}.", param, "parameter_missing")


def missing(kind: str, identifier: str, param: str = "id", *, status: int = 400) -> Refusal:
    """No such object: 404 for the one in the path, 400 for one that a parameter names."""
    name = KIND_NAMES.get(kind, kind)
    return Refusal(status, f"No such {name}: '{identifier}'", code="resource_missing", param=param)


def left_out(what: str, param: str) -> Refusal:
    """Something the vendor can do and this twin cannot: said aloud, never quietly ignored."""
    return invalid(f"This twin does not do {what}.", param)
