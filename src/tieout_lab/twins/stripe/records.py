"""Payment records: money reported to have come by another way, and the invoices it is attached to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import catalogue, invoices
from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.customers import address
from tieout_lab.twins.stripe.errors import conflict, invalid, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import in_range, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk


def money(value: int, currency: str) -> Obj:
    """An amount of a payment record."""
    return {"currency": currency, "value": value}


def new_record(account: Account, value: int, currency: str, **given: Any) -> Obj:
    """A payment record: money reported to have come by another way. `given`: guaranteed, customer, reference, ..."""
    guaranteed = value if given.get("outcome", "guaranteed") == "guaranteed" else 0
    failed = value if given.get("outcome") == "failed" else 0
    canceled = value if given.get("outcome") == "canceled" else 0
    reference = given.get("reference")
    return account.put(
        "payment_records",
        {
            "id": account.new_id("pr"),
            "object": "payment_record",
            "amount": money(value, currency),
            "amount_authorized": money(guaranteed, currency),
            "amount_canceled": money(canceled, currency),
            "amount_failed": money(failed, currency),
            "amount_guaranteed": money(guaranteed, currency),
            "amount_refunded": money(0, currency),
            "amount_requested": money(value, currency),
            "application": None,
            "created": account.now(),
            "customer_details": given.get("customer_details"),
            "customer_presence": given.get("customer_presence"),
            "description": given.get("description"),
            "latest_payment_attempt_record": account.new_id("par"),
            "livemode": account.livemode,
            "metadata": given.get("metadata", {}),
            "payment_method_details": given.get("method") or _custom_method({}),
            "processor_details": {"custom": {"payment_reference": reference}, "type": "custom"},
            "reported_by": "self",
            "shipping_details": given.get("shipping"),
            "_attached": 0,
        },
    )


def _custom_method(given: Obj) -> Obj:
    billing = given.get("billing_details") or {}
    return {
        "billing_details": {
            "address": address(billing.get("address") or {}),
            "email": billing.get("email"),
            "name": billing.get("name"),
            "phone": billing.get("phone"),
        },
        "custom": {
            "display_name": (given.get("custom") or {}).get("display_name", "Bank transfer"),
            "type": (given.get("custom") or {}).get("type"),
        },
        "payment_method": given.get("payment_method"),
        "type": given.get("type", "custom"),
    }


def attach_record(account: Account, invoice: Obj, record: Obj, amount: int | None = None) -> Obj:
    """Attach a record to an invoice: what of it is free, but no more than remains. Answers the invoice payment.

    The vendor's page does not say how one record splits over several invoices; this split is assumed.
    """
    if record["amount"]["currency"] != invoice["currency"]:
        raise conflict(
            "The payment record and the invoice have different currencies.", param="payment_record"
        )
    free = record["amount"]["value"] - record["_attached"]
    wanted = min(free, invoice["amount_remaining"]) if amount is None else amount
    if not 0 < wanted <= min(free, invoice["amount_remaining"]):
        raise conflict(
            f"The payment record has {free} left that is attached to no invoice.", param="payment_record"
        )
    record["_attached"] += wanted
    reference = {"type": "payment_record", "payment_record": record["id"]}
    payment = invoices.new_payment(account, invoice, reference, wanted)
    if record["amount_guaranteed"]["value"] >= record["_attached"]:
        invoices.credit_payment(account, invoice, payment, wanted)
    return payment


def pay_out_of_band(account: Account, invoice: Obj) -> None:
    """The whole rest was paid outside; the vendor keeps a payment record of it."""
    customer = account.objects["customers"][invoice["customer"]]
    details = {
        "customer": customer["id"],
        "email": customer["email"],
        "name": customer["name"],
        "phone": None,
    }
    record = new_record(account, invoice["amount_remaining"], invoice["currency"], customer_details=details)
    attach_record(account, invoice, record)


# -- endpoints -----------------------------------------------------------------------------------------------------
def _report(call: Call) -> Obj:
    account, given = call.account, call.given
    requested = given["amount_requested"]
    code = catalogue.currency(requested["currency"], "amount_requested[currency]")
    if requested["value"] <= 0:
        raise invalid("Invalid positive integer", "amount_requested[value]", "parameter_invalid_integer")
    outcome = given.get("outcome")
    if outcome and outcome not in given:
        raise required(f"{outcome}[{outcome}_at]")
    details = given.get("customer_details")
    if details and "customer" in details:
        account.get("customers", details["customer"], "customer_details[customer]")
    metadata = merged({}, given.get("metadata"))
    return new_record(
        account,
        requested["value"],
        code,
        outcome=outcome or "pending",
        customer_details=details and {k: details.get(k) for k in ("customer", "email", "name", "phone")},
        customer_presence=given.get("customer_presence"),
        description=given.get("description"),
        metadata=metadata,
        method=_custom_method(given["payment_method_details"]),
        reference=((given.get("processor_details") or {}).get("custom") or {}).get("payment_reference"),
        shipping=given.get("shipping_details"),
    )


def _record(call: Call) -> Obj:
    return call.account.get("payment_records", call.path["id"], status=404)


def _guaranteed(call: Call) -> Obj:
    account, record = call.account, _record(call)
    metadata = merged(record["metadata"], call.given.get("metadata"))
    if (
        record["amount_failed"]["value"]
        or record["amount_canceled"]["value"]
        or record["amount_guaranteed"]["value"]
    ):
        raise conflict("The latest payment attempt already has an outcome.")
    record["amount_guaranteed"] = dict(record["amount"])
    record["amount_authorized"] = dict(record["amount"])
    record["metadata"] = metadata
    for payment in account.all("invoice_payments"):
        if payment["payment"].get("payment_record") == record["id"] and payment["status"] == "open":
            invoice = account.objects["invoices"][payment["invoice"]]
            invoices.credit_payment(account, invoice, payment, payment["amount_requested"])
    return record


def _informed(call: Call) -> Obj:
    """More about a payment: description, customer, metadata; nothing of its amounts."""
    record, given = _record(call), call.given
    metadata = merged(record["metadata"], given.get("metadata"))
    if "customer_details" in given:
        details = given["customer_details"]
        record["customer_details"] = {k: details.get(k) for k in ("customer", "email", "name", "phone")}
    if "description" in given:
        record["description"] = given["description"] or None
    if "shipping_details" in given:
        record["shipping_details"] = given["shipping_details"] or None
    record["metadata"] = metadata
    return record


def _unsuccessful(call: Call, how: str) -> Obj:
    record = _record(call)
    metadata = merged(record["metadata"], call.given.get("metadata"))
    if any(record[f"amount_{name}"]["value"] for name in ("guaranteed", "failed", "canceled")):
        raise conflict("The latest payment attempt already has an outcome.")
    record[f"amount_{how}"] = dict(record["amount"])
    record["metadata"] = metadata
    return record


def _refunded(call: Call) -> Obj:
    record, given = _record(call), call.given
    left = record["amount_guaranteed"]["value"] - record["amount_refunded"]["value"]
    amount = given.get("amount") or money(left, record["amount"]["currency"])
    if amount["currency"].lower() != record["amount"]["currency"]:
        raise invalid("The refund has another currency than the payment.", "amount[currency]")
    if not 0 < amount["value"] <= left:
        raise conflict(
            f"Refund amount ({amount['value']}) is greater than what is left ({left})", param="amount"
        )
    record["metadata"] = merged(record["metadata"], given.get("metadata"))
    record["amount_refunded"]["value"] += amount["value"]
    reference = (given["processor_details"].get("custom") or {}).get("refund_reference")
    record.setdefault("_refunds", {})[reference or call.account.new_id("rg")] = amount["value"]
    return record


def _list_records(call: Call) -> Obj:
    given = call.given
    times = {"gt": given.get("created_after"), "lt": given.get("created_before")}
    wanted = {name: value for name, value in times.items() if value is not None}
    found = [r for r in reversed(call.account.all("payment_records")) if in_range(r["created"], wanted)]
    return page(found, given, call.url, "payment_records")


def routes(desk: Desk) -> None:
    """Declare the endpoints of payment records."""
    attempt = "/v1/payment_records/{id}/report_payment_attempt"
    desk.v1("GET", "/v1/payment_records", "payment_records.list", _list_records)
    desk.v1("POST", "/v1/payment_records/report_payment", "payment_records.report_payment", _report)
    desk.v1("GET", "/v1/payment_records/{id}", "payment_records.retrieve", _record)
    desk.v1("POST", "/v1/payment_records/{id}/report_refund", "payment_records.report_refund", _refunded)
    desk.v1("POST", attempt + "_guaranteed", "payment_records.report_guaranteed", _guaranteed)
    desk.v1("POST", attempt + "_informational", "payment_records.report_informational", _informed)
    desk.v1(
        "POST", attempt + "_failed", "payment_records.report_failed", lambda c: _unsuccessful(c, "failed")
    )
    desk.v1(
        "POST",
        attempt + "_canceled",
        "payment_records.report_canceled",
        lambda c: _unsuccessful(c, "canceled"),
    )
