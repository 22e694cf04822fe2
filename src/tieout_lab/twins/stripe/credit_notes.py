"""Credit notes: first against what remains of the invoice, then as refund, balance credit or credit outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import intents, invoices, tax
from tieout_lab.twins.stripe.accounts import Account, Obj, listed
from tieout_lab.twins.stripe.credit_lines import lines_of
from tieout_lab.twins.stripe.customers import move_balance
from tieout_lab.twins.stripe.errors import conflict, invalid, left_out, required
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import chosen, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

CREDITABLE = ("open", "paid", "uncollectible")


def credited(account: Account, invoice: Obj) -> int:
    """What credit notes have taken off an invoice so far."""
    return sum(
        n["total"]
        for n in account.all("credit_notes")
        if n["invoice"] == invoice["id"] and n["status"] != "void"
    )


def total_of(account: Account, given: Obj) -> int:
    """What a credit note with these parameters would come to, tax included."""
    own = lines_of(account, account.get("invoices", given["invoice"], "invoice"), given)
    exclusive, _ = tax.amounts([entry for line in own for entry in line["taxes"]])
    return sum(int(line["amount"]) - int(line["discount_amount"]) for line in own) + exclusive


def build(account: Account, given: Obj) -> Obj:
    """A credit note as it would be, kept nowhere. Checks everything."""
    invoice = account.get("invoices", given["invoice"], "invoice")
    if invoice["status"] not in CREDITABLE:
        raise conflict(
            f"You can only credit finalized invoices; this one is {invoice['status']}.", param="invoice"
        )
    if "shipping_cost" in given:
        raise left_out("shipping_cost", "shipping_cost")
    if "amount" in given and given.get("lines"):
        raise invalid("Only one of amount and lines.", "amount", "parameters_exclusive")
    own = lines_of(account, invoice, given)
    entries = [entry for line in own for entry in line["taxes"]]
    exclusive, inclusive = tax.amounts(entries)
    parts = [part for line in own for part in line["discount_amounts"]]
    reduced = _summed(parts)
    of_invoice = sum(part["amount"] for part in reduced if part["discount"] in invoice["discounts"])
    discount = sum(part["amount"] for part in reduced)
    subtotal = sum(line["amount"] for line in own) - (discount - of_invoice)
    total = subtotal - of_invoice + exclusive
    if total <= 0:
        raise invalid("The credit note's total must be positive.", "amount", "amount_too_small")
    links = [_linked(account, invoice, one, place) for place, one in enumerate(given.get("refunds") or [])]
    by_card = sum(int(link["amount_refunded"]) for link in links if link["type"] == "refund")
    most = invoice["total"] - credited(account, invoice) - _refunded_outside(account, invoice) + by_card
    if total > most:
        param = "amount" if "amount" in given else "lines"
        text = f"The credit amount ({total}) is more than what is left to credit on the invoice ({most})."
        raise conflict(text, "amount_too_large", param)
    pre = min(total, invoice["amount_remaining"]) if invoice["status"] != "paid" else 0
    note = _new(account, invoice, given, own)
    note |= {
        "amount": total,
        "total": total,
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - inclusive,
        "total_excluding_tax": subtotal - of_invoice - inclusive,
        "discount_amount": discount,
        "discount_amounts": reduced,
        "pretax_credit_amounts": [{**part, "type": "discount"} for part in reduced],
        "total_taxes": tax.summed(entries),
        "pre_payment_amount": pre,
        "post_payment_amount": total - pre,
        "type": "post_payment" if pre == 0 else "pre_payment" if pre == total else "mixed",
    }
    note["refunds"] = links
    _split(account, invoice, given, note)
    return note


def _summed(parts: list[Obj]) -> list[Obj]:
    """Discounts of several lines, added up by discount."""
    sums: dict[str, int] = {}
    for part in parts:
        sums[part["discount"]] = sums.get(part["discount"], 0) + part["amount"]
    return [{"amount": amount, "discount": identifier} for identifier, amount in sums.items()]


def _split(account: Account, invoice: Obj, given: Obj, note: Obj) -> None:
    """What is beyond the open amount must go somewhere, exactly."""
    refund, credit = given.get("refund_amount", 0), given.get("credit_amount", 0)
    outside = given.get("out_of_band_amount", 0)
    linked = sum(link["amount_refunded"] for link in note["refunds"])
    for name in ("refund_amount", "credit_amount", "out_of_band_amount"):
        if given.get(name, 0) < 0:
            raise invalid("Invalid non-negative integer", name, "parameter_invalid_integer")
    if refund + credit + outside + linked != note["post_payment_amount"]:
        raise conflict(
            f"The sum of refund, credit and out of band amounts ({refund + credit + outside + linked}) must equal the "
            f"post payment amount ({note['post_payment_amount']}).",
            param="credit_amount",
        )
    if refund:
        charge = _charge(account, invoice)
        if charge is None or charge["amount_captured"] - charge["amount_refunded"] < refund:
            raise conflict(
                "There is no charge of this invoice with that much left to refund.", param="refund_amount"
            )
    note["out_of_band_amount"] = outside or None


def _linked(account: Account, invoice: Obj, given: Obj, place: int) -> Obj:
    """A refund that was made already, as a part of the credit note."""
    where = f"refunds[{place}]"
    own = {p["payment"].get(p["payment"]["type"]) for p in account.payments_of(invoice)}
    if given.get("type") == "payment_record_refund" or "payment_record_refund" in given:
        details = given.get("payment_record_refund")
        if not details:
            raise required(f"{where}[payment_record_refund]")
        record = account.get(
            "payment_records", details["payment_record"], f"{where}[payment_record_refund][payment_record]"
        )
        known = record.get("_refunds", {}).get(details["refund_group"])
        if record["id"] not in own or known is None:
            raise conflict("No such refund of a payment record of this invoice.", "resource_missing", where)
        left = known - _linked_so_far(account, "payment_record_refund", details)
        return _link(int(given.get("amount_refunded", left)), left, where, payment_record_refund=details)
    if "refund" not in given:
        raise required(f"{where}[refund]")
    refund = account.get("refunds", given["refund"], f"{where}[refund]")
    if refund["payment_intent"] not in own:
        raise conflict("The refund is of no payment of this invoice.", param=f"{where}[refund]")
    left = refund["amount"] - _linked_so_far(account, "refund", refund["id"])
    return _link(int(given.get("amount_refunded", left)), left, where, refund=refund["id"])


def _link(amount: int, left: int, where: str, **of: Any) -> Obj:
    if not 0 < amount <= left:
        raise conflict(f"The refund has {left} left to link.", param=f"{where}[amount_refunded]")
    kind = "refund" if "refund" in of else "payment_record_refund"
    return {"amount_refunded": amount, "payment_record_refund": None, "type": kind, **of}


def _linked_so_far(account: Account, name: str, value: Any) -> int:
    """What credit notes have linked of one refund."""
    links = [one for note in account.all("credit_notes") for one in note["refunds"]]
    return sum(int(one["amount_refunded"]) for one in links if one.get(name) == value)


def _refunded_outside(account: Account, invoice: Obj) -> int:
    """Refunds of the invoice's payments that no credit note knows: they lessen what can be credited."""
    own = {
        p["payment"].get("payment_intent") for p in account.payments_of(invoice) if p["status"] == "paid"
    } - {None}
    notes = [n for n in account.all("credit_notes") if n["invoice"] == invoice["id"]]
    linked = sum(int(one["amount_refunded"]) for n in notes for one in n["refunds"] if one.get("refund"))
    return sum(int(r["amount"]) for r in account.all("refunds") if r["payment_intent"] in own) - linked


def _charge(account: Account, invoice: Obj) -> Obj | None:
    """The charge from which a refund of this invoice would come: the one with most left."""
    found = []
    for payment in account.payments_of(invoice):
        if payment["status"] == "paid":
            intent = account.find("payment_intents", payment["payment"].get("payment_intent") or "")
            if intent is not None and intent["latest_charge"]:
                found.append(account.objects["charges"][intent["latest_charge"]])
    return max(found, key=lambda charge: charge["amount_captured"] - charge["amount_refunded"], default=None)


def _new(account: Account, invoice: Obj, given: Obj, own: list[Obj]) -> Obj:
    identifier = account.new_id("cn")
    count = sum(1 for note in account.all("credit_notes") if note["invoice"] == invoice["id"]) + 1
    now = account.now()
    return {
        "id": identifier,
        "object": "credit_note",
        "amount": 0,
        "amount_shipping": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": given.get("effective_at", now),
        "invoice": invoice["id"],
        "lines": listed(own, f"/v1/credit_notes/{identifier}/lines"),
        "livemode": account.livemode,
        "memo": given.get("memo"),
        "metadata": merged({}, given.get("metadata")),
        "number": f"{invoice['number']}-CN-{count:02d}",
        "out_of_band_amount": None,
        "pdf": f"https://pay.stripe.com/credit_notes/{account.id}/test_{identifier}/pdf",
        "post_payment_amount": 0,
        "pre_payment_amount": 0,
        "pretax_credit_amounts": [],
        "reason": given.get("reason"),
        "refunds": [],
        "shipping_cost": None,
        "status": "issued",
        "voided_at": None,
    }


# -- issuing ------------------------------------------------------------------------------------------------------
def issue(account: Account, given: Obj) -> Obj:
    """A credit note, with its refund and its balance credit, taken off the invoice."""
    note = build(account, given)
    invoice = account.objects["invoices"][note["invoice"]]
    account.put("credit_notes", note)
    if given.get("refund_amount"):
        charge = _charge(account, invoice)
        assert charge is not None  # noqa: S101  build has made sure
        refund = intents.refund_charge(account, charge, given["refund_amount"], None, {})
        note["refunds"].append(
            _link(refund["amount"], refund["amount"], "refund_amount", refund=refund["id"])
        )
    if given.get("credit_amount"):
        customer = account.objects["customers"][invoice["customer"]]
        moved = move_balance(
            account,
            customer,
            -given["credit_amount"],
            note["currency"],
            "credit_note",
            credit_note=note["id"],
        )
        note["customer_balance_transaction"] = moved["id"]
    pre = note["pre_payment_amount"]
    with account.changing(invoice, "invoice.updated"):
        invoice["pre_payment_credit_notes_amount"] += pre
        invoice["post_payment_credit_notes_amount"] += note["post_payment_amount"]
        invoice["amount_due"] -= pre
        invoice["amount_remaining"] -= pre
    account.emit("credit_note.created", note)
    if invoice["status"] in {"open", "uncollectible"}:
        if invoice["amount_remaining"] == 0:
            invoices.become_paid(account, invoice)
        else:
            invoices.follow(account, invoice)
    return note


def void(account: Account, note: Obj) -> Obj:
    """A credit note is void: its amount is owed again. Only one against what was open, on an open invoice."""
    invoice = account.objects["invoices"][note["invoice"]]
    if note["status"] == "void" or note["type"] != "pre_payment" or invoice["status"] != "open":
        raise conflict(
            "You can only void a credit note that is of an open invoice.", "status_transition_invalid"
        )
    note["status"] = "void"
    note["voided_at"] = account.now()
    amount = note["pre_payment_amount"]
    with account.changing(invoice, "invoice.updated"):
        invoice["pre_payment_credit_notes_amount"] -= amount
        invoice["amount_due"] += amount
        invoice["amount_remaining"] += amount
    invoices.follow(account, invoice)
    account.emit("credit_note.voided", note)
    return note


# -- endpoints ----------------------------------------------------------------------------------------------------
def _note(call: Call) -> Obj:
    return call.account.get("credit_notes", call.path["id"], status=404)


def _list(call: Call) -> Obj:
    return page(
        chosen(call.account.all("credit_notes"), call.given, "customer", "invoice"),
        call.given,
        call.url,
        "credit_notes",
    )


def _lines_of(call: Call) -> Obj:
    note = call.account.get("credit_notes", call.path["credit_note"], "credit_note", status=404)
    return page(note["lines"]["data"], call.given, call.url, "line_items")


def _preview_lines(call: Call) -> Obj:
    return page(build(call.account, call.given)["lines"]["data"], call.given, call.url, "line_items")


def routes(desk: Desk) -> None:
    """Declare the endpoints of credit notes."""
    one = "/v1/credit_notes/{id}"
    desk.v1("GET", "/v1/credit_notes", "credit_notes.list", _list)
    desk.v1("POST", "/v1/credit_notes", "credit_notes.create", lambda c: issue(c.account, c.given))
    desk.v1("GET", "/v1/credit_notes/preview", "credit_notes.preview", lambda c: build(c.account, c.given))
    desk.v1("GET", "/v1/credit_notes/preview/lines", "credit_notes.preview_lines", _preview_lines)
    desk.v1("GET", "/v1/credit_notes/{credit_note}/lines", "credit_notes.lines", _lines_of)
    desk.v1("GET", one, "credit_notes.retrieve", _note)
    desk.v1(
        "POST",
        one,
        "credit_notes.update",
        lambda c: intents.update_metadata(c, _note(c), "credit_note.updated", "memo"),
    )
    desk.v1("POST", one + "/void", "credit_notes.void", lambda c: void(c.account, _note(c)))
