"""Invoice lines and invoice items: what they say, and how they add up."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.stripe import discounts, tax
from tieout_lab.twins.stripe.accounts import Account, Obj


def period(start: int, end: int) -> Obj:
    """A line's period: start included, end not, in whole seconds."""
    return {"start": start, "end": end}


def pricing(price: Obj | None, amount: int, quantity: int | None) -> Obj | None:
    """Where a line's amount comes from."""
    if price is None:
        return None
    each = price["unit_amount_decimal"]
    if each is None:
        each = str(amount // quantity) if quantity else None
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": each,
    }


def of_subscription_item(account: Account, subscription: Obj, item: Obj, **given: Any) -> Obj:
    """A line for a period of a subscription item. `given`: amount, start, end, proration, quantity."""
    price = item["price"]
    product = account.find("products", price["product"]) or {"name": price["product"]}
    quantity = given["quantity"] if "quantity" in given else item["quantity"]
    return _line(
        account,
        amount=given["amount"],
        currency=subscription["currency"],
        description=f"{quantity} × {product['name']}",
        period=period(given["start"], given["end"]),
        quantity=quantity,
        pricing=pricing(price, given["amount"], quantity),
        parent={
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": given.get("proration", False),
                "proration_details": {"credited_items": None} if given.get("proration") else None,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        metadata=line_metadata(account, subscription, item),
        subscription=subscription["id"],
        discounts=discounts.running(account, item["discounts"]),
        _rates=[rate["id"] for rate in item["tax_rates"] or subscription["default_tax_rates"] or []],
        _item=item["id"],
    )


def line_metadata(account: Account, subscription: Obj, item: Obj) -> dict[str, str]:
    """A subscription line shows the subscription's metadata (and its item's where the settings say so)."""
    own = item["metadata"] if account.settings.item_metadata_on_lines else {}
    return {**subscription["metadata"], **own}


def of_invoice_item(account: Account, item: Obj) -> Obj:
    """The line of an invoice item that lands on an invoice."""
    parent = item["_parent"] or {
        "invoice_item_details": {
            "invoice_item": item["id"],
            "proration": item["proration"],
            "proration_details": {"credited_items": None} if item["proration"] else None,
            "subscription": item["_subscription"],
        },
        "subscription_item_details": None,
        "type": "invoice_item_details",
    }
    return _line(
        account,
        amount=item["amount"],
        currency=item["currency"],
        description=item["description"],
        period=dict(item["period"]),
        quantity=item["quantity"],
        pricing=item["pricing"],
        parent=parent,
        metadata=dict(item["metadata"]),
        subscription=item["_subscription"],
        discountable=item["discountable"],
        discounts=item["discounts"],
        _rates=[rate["id"] for rate in item["tax_rates"] or []],
        _item=None,
    )


def _line(account: Account, **given: Any) -> Obj:
    quantity = given["quantity"]
    return {
        "id": account.new_id("il"),
        "object": "line_item",
        "amount": given["amount"],
        "currency": given["currency"],
        "description": given["description"],
        "discount_amounts": [],
        "discountable": given.get("discountable", True),
        "discounts": list(given.get("discounts") or []),
        "invoice": None,
        "livemode": account.livemode,
        "metadata": given["metadata"],
        "parent": given["parent"],
        "period": given["period"],
        "pretax_credit_amounts": [],
        "pricing": given["pricing"],
        "quantity": quantity,
        "quantity_decimal": None if quantity is None else str(quantity),
        "subscription": given["subscription"],
        "subtotal": given["amount"],
        "taxes": [],
        "_rates": given["_rates"],
        "_item": given["_item"],
    }


def new_item(account: Account, customer: str, **given: Any) -> Obj:
    """An invoice item that waits for the customer's next invoice, or the one it names."""
    quantity = given.get("quantity", 1)
    discountable = given.get("discountable", not given.get("proration", False))
    item = account.put(
        "invoiceitems",
        {
            "id": account.new_id("ii"),
            "object": "invoiceitem",
            "amount": given["amount"],
            "currency": given["currency"],
            "customer": customer,
            "customer_account": None,
            "date": account.now(),
            "description": given.get("description"),
            "discountable": discountable,
            "discounts": list(given.get("discounts") or []),
            "invoice": given.get("invoice"),
            "livemode": account.livemode,
            "metadata": given.get("metadata", {}),
            "net_amount": None if discountable else given["amount"],
            "parent": _item_parent(given.get("subscription"), given.get("subscription_item")),
            "period": given["period"],
            "pricing": pricing(given.get("price"), given["amount"], quantity),
            "proration": given.get("proration", False),
            "quantity": quantity,
            "quantity_decimal": str(quantity),
            "tax_rates": given.get("tax_rates", []),
            "test_clock": None,
            "_subscription": given.get("subscription"),
            "_parent": given.get("line_parent"),
        },
    )
    account.emit("invoiceitem.created", item)
    return item


def _item_parent(subscription: str | None, item: str | None) -> Obj | None:
    if subscription is None:
        return None
    details = {"subscription": subscription, "subscription_item": item}
    return {"subscription_details": details, "type": "subscription_details"}


def add_up(account: Account, invoice: Obj) -> None:
    """Tax every line and write the invoice's sums. Allowed while the invoice is a draft."""
    customer = account.objects["customers"][invoice["customer"]]
    entries: list[Obj] = []
    own = discounts.take(account, invoice)
    taken = sum(int(part["amount"]) for part in invoice["total_discount_amounts"])
    subtotal = -own  # the lines' own discounts are in it, the invoice's are not
    for line in invoice["lines"]["data"]:
        rates = [account.objects["tax_rates"][rate] for rate in line["_rates"] or invoice["_rates"]]
        line["taxes"] = tax.line_taxes(account, invoice, customer, discounts.net(line), rates)
        entries += line["taxes"]
        subtotal += line["amount"]
    exclusive, inclusive = tax.amounts(entries)
    invoice["total_taxes"] = tax.summed(entries)
    invoice["subtotal"] = subtotal
    invoice["subtotal_excluding_tax"] = subtotal - inclusive
    total = subtotal - (taken - own)
    invoice["total"] = total + exclusive
    invoice["total_excluding_tax"] = total - inclusive
    if invoice["automatic_tax"]["enabled"]:
        invoice["automatic_tax"]["status"] = (
            "complete" if tax.place_of(customer) else "requires_location_inputs"
        )
    balance = customer["_balances"].get(invoice["currency"], 0)
    invoice["starting_balance"] = balance
    due = invoice["total"] + balance
    invoice["amount_due"] = invoice["amount_remaining"] = max(due, 0) if invoice["total"] > 0 else 0
