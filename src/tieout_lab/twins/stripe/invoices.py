"""Invoices: drafted, finalised, settled, voided, written off."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.stripe import currencies, intents, lines, tax, tax_ids
from tieout_lab.twins.stripe.accounts import Account, Obj, listed
from tieout_lab.twins.stripe.customers import move_balance, owes
from tieout_lab.twins.stripe.errors import conflict

DAY = 86400


def draft(account: Account, customer: Obj, currency: str, reason: str, **given: Any) -> Obj:
    """A draft invoice without lines. `given`: subscription, start, end, method, days, automatic_tax, metadata, ..."""
    now = account.now()
    identifier = account.new_id("in")
    subscription: Obj | None = given.get("subscription")
    invoice: Obj = {
        "id": identifier,
        "object": "invoice",
        "account_country": account.country,
        "account_name": account.name,
        "account_tax_ids": None,
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": given.get("auto_advance", True),
        "automatic_tax": automatic_tax(given.get("automatic_tax", False)),
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": given.get("method", "charge_automatically"),
        "created": now,
        "currency": currency,
        "custom_fields": given.get("custom_fields"),
        "customer": customer["id"],
        **_party(account, customer),
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": list(given.get("rates") or []),
        "description": given.get("description"),
        "discounts": list(given.get("discounts") or []),
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": given.get("footer"),
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": listed([], f"/v1/invoices/{identifier}/lines"),
        "livemode": account.livemode,
        "metadata": given.get("metadata", {}),
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": _parent(subscription),
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": given.get("end", now),
        "period_start": given.get("start", now),
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "subtotal_excluding_tax": 0,
        "test_clock": None,
        "total": 0,
        "total_discount_amounts": [],
        "total_excluding_tax": 0,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": now,
        "_days": given.get("days"),
        "_rates": [rate["id"] for rate in given.get("rates") or []],
        "_subscription": subscription["id"] if subscription else None,
        "_payments": [],
    }
    if invoice["collection_method"] == "send_invoice":
        invoice["due_date"] = given.get("due_date") or now + (given.get("days") or 0) * DAY
    return account.put("invoices", invoice)


def automatic_tax(enabled: bool) -> Obj:
    """The automatic tax part of a new invoice."""
    return {
        "disabled_reason": None,
        "enabled": enabled,
        "liability": {"type": "self"} if enabled else None,
        "provider": "stripe" if enabled else None,
        "status": None,
    }


def _party(account: Account, customer: Obj) -> Obj:
    return {
        "customer_account": None,
        "customer_address": customer["address"],
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": customer["shipping"],
        "customer_tax_exempt": customer["tax_exempt"],
        "customer_tax_ids": [
            {"type": tax_id["type"], "value": tax_id["value"]}
            for tax_id in tax_ids.of_customer(account, customer["id"])
        ],
    }


def _parent(subscription: Obj | None) -> Obj | None:
    if subscription is None:
        return None
    return {
        "quote_details": None,
        "subscription_details": {
            "metadata": dict(subscription["metadata"]),
            "subscription": subscription["id"],
            "subscription_proration_date": None,
        },
        "type": "subscription_details",
    }


def add_lines(account: Account, invoice: Obj, new: list[Obj]) -> None:
    """Put lines on a draft and add it up."""
    most = account.settings.max_lines
    if len(invoice["lines"]["data"]) + len(new) > most:
        raise conflict(f"An invoice can have up to {most} items.")
    for line in new:
        line["invoice"] = invoice["id"]
        invoice["lines"]["data"].append(line)
    lines.add_up(account, invoice)


def take_items(account: Account, invoice: Obj, subscription: str | None) -> list[Obj]:
    """The customer's waiting invoice items that belong on this invoice, newest first, as lines."""
    found = []
    for item in reversed(account.all("invoiceitems")):
        if item["customer"] != invoice["customer"] or item["invoice"] is not None:
            continue
        if item["currency"] != invoice["currency"] or item["_subscription"] not in (None, subscription):
            continue
        item["invoice"] = invoice["id"]
        found.append(lines.of_invoice_item(account, item))
    return found


def finalize(account: Account, invoice: Obj) -> Obj:
    """A draft becomes a document: numbered, dated, its balance applied, open or paid."""
    if invoice["status"] != "draft":
        raise conflict(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
            "invoice_not_editable",
        )
    customer = account.objects["customers"][invoice["customer"]]
    if invoice["automatic_tax"]["enabled"]:
        tax.require_place(customer)
    refresh(account, invoice)
    lines.add_up(account, invoice)
    now = account.now()
    if invoice["number"] is None:
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    invoice["status"] = "open"
    invoice["automatically_finalizes_at"] = None
    invoice["status_transitions"]["finalized_at"] = now
    invoice["effective_at"] = invoice["effective_at"] or now
    if invoice["collection_method"] == "send_invoice" and invoice["_days"] is not None:
        invoice["due_date"] = now + invoice["_days"] * DAY
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/{account.id}/test_{invoice['id']}"
    invoice["invoice_pdf"] = f"https://pay.stripe.com/invoice/{account.id}/test_{invoice['id']}/pdf"
    _apply_balance(account, invoice, customer)
    if invoice["amount_due"] > 0:
        default_payment(account, invoice)
    account.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        become_paid(account, invoice)
    elif invoice["collection_method"] == "send_invoice":
        account.emit("invoice.sent", invoice)
        account.await_time(invoice["due_date"], "overdue", invoice["id"])
    return invoice


def refresh(account: Account, invoice: Obj) -> None:
    """What a draft takes from customer and subscription until it is finalised."""
    customer = account.objects["customers"][invoice["customer"]]
    invoice.update(_party(account, customer))
    subscription = account.find("subscriptions", invoice["_subscription"] or "")
    if subscription is None:
        return
    invoice["parent"]["subscription_details"]["metadata"] = dict(subscription["metadata"])
    by_id = {item["id"]: item for item in subscription["items"]["data"]}
    for line in invoice["lines"]["data"]:
        if line["_item"] in by_id and not line.get("_own_metadata"):
            line["metadata"] = lines.line_metadata(account, subscription, by_id[line["_item"]])


def _apply_balance(account: Account, invoice: Obj, customer: Obj) -> None:
    """Use the customer's credit, or owe, or turn a negative invoice into credit."""
    currency, total = invoice["currency"], invoice["total"]
    balance = customer["_balances"].get(currency, 0)
    invoice["starting_balance"] = balance
    moved = 0
    if total < 0:
        moved = total
        invoice["amount_due"] = 0
    else:
        due = max(total + balance, 0)
        moved = -balance if total + balance >= 0 else total
        invoice["amount_due"] = due
    if moved:
        kind = "invoice_too_small" if total < 0 else "applied_to_invoice"
        move_balance(account, customer, moved, currency, kind, invoice=invoice["id"])
    due = invoice["amount_due"]
    if account.settings.small_invoices == "owed" and 0 < due < currencies.LEAST.get(currency, 0):
        # too small to be charged: paid by what the customer owes from now on
        move_balance(account, customer, due, currency, "invoice_too_small", invoice=invoice["id"])
        invoice["amount_due"] = 0
    invoice["amount_remaining"] = invoice["amount_due"]
    invoice["ending_balance"] = customer["_balances"].get(currency, 0)


def default_payment(account: Account, invoice: Obj) -> Obj:
    """The payment that waits for the invoice's open amount, with its payment intent."""
    amount = invoice["amount_remaining"]
    intent = intents.new_intent(
        account, amount, invoice["currency"], invoice["customer"], f"Invoice {invoice['number']}"
    )
    return new_payment(
        account, invoice, {"type": "payment_intent", "payment_intent": intent["id"]}, amount, default=True
    )


def new_payment(account: Account, invoice: Obj, payment: Obj, amount: int, *, default: bool = False) -> Obj:
    """A payment attached to an invoice, open."""
    identifier = account.new_id("inpay")
    invoice["_payments"].append(identifier)
    return account.put(
        "invoice_payments",
        {
            "id": identifier,
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": amount,
            "created": account.now(),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": default,
            "livemode": account.livemode,
            "payment": payment,
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
    )


def open_default(account: Account, invoice: Obj) -> Obj | None:
    """The invoice's default payment, if it still waits."""
    for payment in account.payments_of(invoice):
        if payment["is_default"] and payment["status"] == "open":
            return payment
    return None


def follow(account: Account, invoice: Obj, reason: str | None = None) -> None:
    """Keep the default payment in step with what remains; nothing left, or no document left: cancel it."""
    waiting = open_default(account, invoice)
    if waiting is None:
        return
    intent = account.objects["payment_intents"][waiting["payment"]["payment_intent"]]
    if invoice["status"] in {"open", "uncollectible"} and invoice["amount_remaining"] > 0:
        waiting["amount_requested"] = intent["amount"] = invoice["amount_remaining"]
        return
    waiting["status"] = "canceled"
    waiting["status_transitions"]["canceled_at"] = account.now()
    intents.cancel(account, intent, reason)


def credit_payment(account: Account, invoice: Obj, payment: Obj, amount: int) -> None:
    """An attached payment has succeeded with `amount`: pay the invoice with it; too much becomes credit."""
    used = min(amount, invoice["amount_remaining"])
    with account.changing(invoice, "invoice.updated"):
        payment["amount_paid"] = amount
        payment["status"] = "paid"
        payment["status_transitions"]["paid_at"] = account.now()
        invoice["amount_paid"] += amount
        invoice["amount_remaining"] -= used
        invoice["amount_overpaid"] += amount - used
        invoice["attempted"] = True
        if invoice["amount_remaining"] == 0:
            _mark_paid(account, invoice)
    account.emit("invoice_payment.paid", payment)
    if amount > used:
        customer = account.objects["customers"][invoice["customer"]]
        currency = invoice["currency"]
        move_balance(account, customer, used - amount, currency, "invoice_overpaid", invoice=invoice["id"])
        account.emit("invoice.overpaid", invoice)
    if invoice["status"] == "paid":
        _tell_paid(account, invoice)
    else:
        follow(account, invoice)


def become_paid(account: Account, invoice: Obj) -> None:
    """Nothing remains, and no payment brought that about: the invoice is paid."""
    with account.changing(invoice, "invoice.updated"):
        _mark_paid(account, invoice)
    _tell_paid(account, invoice)


def _mark_paid(account: Account, invoice: Obj) -> None:
    invoice["status"] = "paid"
    invoice["attempted"] = True
    invoice["auto_advance"] = False
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"]["paid_at"] = account.now()


def _tell_paid(account: Account, invoice: Obj) -> None:
    follow(account, invoice, "automatic")
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)
    owes(account, invoice["customer"], late=False)
    subscription = account.find("subscriptions", invoice["_subscription"] or "")
    if subscription and subscription["status"] in {"past_due", "incomplete"}:
        with account.changing(subscription, "customer.subscription.updated"):
            subscription["status"] = "active"


def void(account: Account, invoice: Obj) -> Obj:
    """An open or uncollectible invoice is void: nothing of it is owed."""
    if invoice["status"] not in {"open", "uncollectible"}:
        raise conflict(
            f"You can only pass in open or uncollectible invoices. This invoice isn't: {invoice['status']}.",
            "status_transition_invalid",
        )
    if invoice["amount_paid"] > 0:
        raise conflict(
            "This invoice has payments; credit it instead of voiding it.", "status_transition_invalid"
        )
    with account.changing(invoice, "invoice.updated"):
        invoice["status"] = "void"
        invoice["auto_advance"] = False
        invoice["status_transitions"]["voided_at"] = account.now()
        _give_balance_back(account, invoice)
    follow(account, invoice, "void_invoice")
    account.emit("invoice.voided", invoice)
    return invoice


def _give_balance_back(account: Account, invoice: Obj) -> None:
    used = (invoice["ending_balance"] or 0) - invoice["starting_balance"]
    if used:
        customer = account.objects["customers"][invoice["customer"]]
        move_balance(
            account, customer, -used, invoice["currency"], "unapplied_from_invoice", invoice=invoice["id"]
        )


def write_off(account: Account, invoice: Obj) -> Obj:
    """An open invoice is given up; it can still be paid or voided."""
    if invoice["status"] != "open":
        raise conflict(
            f"You can only mark open invoices as uncollectible. This invoice is {invoice['status']}.",
            "status_transition_invalid",
        )
    with account.changing(invoice, "invoice.updated"):
        invoice["status"] = "uncollectible"
        invoice["auto_advance"] = False
        invoice["status_transitions"]["marked_uncollectible_at"] = account.now()
        invoice["status_details"] = {"uncollectible": {"reason": "user_forgiven"}}
    account.emit("invoice.marked_uncollectible", invoice)
    owes(account, invoice["customer"], late=False)
    return invoice
