"""What becomes of money at the gateway: balance transactions with their fees, payouts to the bank, disputes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import conflict, invalid
from tieout_lab.twins.stripe.form import merged
from tieout_lab.twins.stripe.pages import chosen, page
from tieout_lab.twins.stripe.tax import rounded

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

DAY = 86_400
AVAILABLE_AFTER = 2 * DAY
ARRIVES_AFTER = 2 * DAY
RESPONSE_WITHIN = 14 * DAY
OF_PAYOUTS = ("payout", "payout_failure", "payout_cancel")
OPEN_DISPUTES = ("needs_response", "under_review")
CATEGORIES = {"payout_failure": "payout_reversal", "payout_cancel": "payout_reversal"}


# -- balance transactions -------------------------------------------------------------------------------------------
def move(
    account: Account, amount: int, currency: str, kind: str, source: str, fee: int = 0, category: str = ""
) -> Obj:
    """A balance transaction: what a charge, refund, dispute or payout did to the account's balance."""
    now = account.now()
    details = {
        "amount": fee,
        "application": None,
        "currency": currency,
        "description": "Stripe processing fees" if kind == "charge" else "Dispute fee",
        "type": "stripe_fee",
    }
    return account.put(
        "balance_transactions",
        {
            "id": account.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": now if kind in OF_PAYOUTS else now + AVAILABLE_AFTER,
            "balance_type": "payments",
            "created": now,
            "currency": currency,
            "description": None,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [details] if fee else [],
            "net": amount - fee,
            "reporting_category": category or CATEGORIES.get(kind, kind),
            "source": source,
            "status": "available" if kind in OF_PAYOUTS else "pending",
            "type": kind,
            "_payout": None,
        },
    )


def charge_fee(account: Account, amount: int, currency: str) -> int:
    """What the gateway keeps of a charge, by the settings."""
    settings = account.settings
    share = rounded(Decimal(amount) * Decimal(settings.fee_percent) / 100, currency)
    return share + settings.fee_fixed


def _settle(account: Account) -> None:
    """What has become available by now is shown as such."""
    for one in account.all("balance_transactions"):
        if one["status"] == "pending" and one["available_on"] <= account.now():
            one["status"] = "available"


def _moves(call: Call) -> Obj:
    account, given = call.account, call.given
    _settle(account)
    found = chosen(account.all("balance_transactions"), given, "currency", "source", "type")
    if "payout" in given:
        payout = account.get("payouts", given["payout"], "payout")
        found = [one for one in found if payout["id"] in (one["_payout"], one["source"])]
    return page(found, given, call.url, "balance_transactions")


def _one_move(call: Call) -> Obj:
    _settle(call.account)
    return call.account.get("balance_transactions", call.path["id"], status=404)


def _balance(call: Call) -> Obj:
    account = call.account
    _settle(account)
    sums: dict[str, dict[str, int]] = {"available": {}, "pending": {}}
    for one in account.all("balance_transactions"):
        place = sums[one["status"]]
        place[one["currency"]] = place.get(one["currency"], 0) + one["net"]
    shown = {
        status: [
            {"amount": amount, "currency": currency, "source_types": {"card": amount}}
            for currency, amount in sorted((place or {account.currency: 0}).items())
        ]
        for status, place in sums.items()
    }
    return {"object": "balance", "livemode": account.livemode, **shown}


# -- payouts --------------------------------------------------------------------------------------------------------
def pay_out(account: Account, currency: str, **given: Any) -> Obj:
    """Everything that is available and was not paid out before goes to the bank."""
    _settle(account)
    parts = [
        one
        for one in account.all("balance_transactions")
        if one["status"] == "available" and one["currency"] == currency and one["type"] != "payout"
        if one["_payout"] is None
    ]
    amount = sum(one["net"] for one in parts)
    wanted = given.get("amount")
    # What is below zero is taken from the bank, by an automatic payout alone.
    if (
        amount == 0
        or (amount < 0 and not given.get("automatic", True))
        or (wanted is not None and wanted > amount)
    ):
        raise conflict("You have insufficient funds in your Stripe account.", "balance_insufficient")
    if wanted is not None and wanted != amount:
        raise invalid(f"This twin pays out all that is available: {amount}.", "amount")
    now = account.now()
    payout = account.put(
        "payouts",
        {
            "id": account.new_id("po"),
            "object": "payout",
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": (now + ARRIVES_AFTER) // DAY * DAY,
            "automatic": given.get("automatic", True),
            "balance_transaction": None,
            "created": now,
            "currency": currency,
            "description": given.get("description", "STRIPE PAYOUT"),
            "destination": None,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "livemode": account.livemode,
            "metadata": given.get("metadata", {}),
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "completed" if given.get("automatic", True) else "not_applicable",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": given.get("statement_descriptor"),
            "status": "in_transit",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        },
    )
    payout["balance_transaction"] = move(account, -amount, currency, "payout", payout["id"])["id"]
    for one in parts:
        one["_payout"] = payout["id"]
    account.emit("payout.created", payout)
    account.await_time(payout["arrival_date"], "payout", payout["id"])
    return payout


def arrive(account: Account, identifier: str) -> None:
    """A step of the billing run: the money of a payout is at the bank."""
    payout = account.find("payouts", identifier)
    if payout is None or payout["status"] != "in_transit":
        return
    with account.changing(payout, "payout.updated"):
        payout["status"] = "paid"
    account.emit("payout.paid", payout)


def give_back(account: Account, payout: Obj) -> Obj:
    """The bank could not credit it, be it days after it was shown as paid; or it is cancelled before it left. The money
    is at the gateway again, and goes out with a later payout."""
    cancelled = payout["status"] == "pending"
    if payout["status"] not in ("pending", "in_transit", "paid"):
        raise conflict(f"This payout is {payout['status']}.")
    kind = "payout_cancel" if cancelled else "payout_failure"
    with account.changing(payout, None):
        payout["status"] = "canceled" if cancelled else "failed"
        payout["failure_code"] = None if cancelled else "account_closed"
        moved = move(account, payout["amount"], payout["currency"], kind, payout["id"])
        payout["failure_balance_transaction"] = moved["id"]
    account.emit("payout.canceled" if cancelled else "payout.failed", payout)
    return payout


def _cancel_payout(call: Call) -> Obj:
    payout = _payout(call)
    if payout["status"] != "pending":
        raise conflict(f"Payouts that are {payout['status']} cannot be canceled.")
    return give_back(call.account, payout)


def _payout(call: Call) -> Obj:
    return call.account.get("payouts", call.path["payout"], "payout", status=404)


def _payouts(call: Call) -> Obj:
    found = chosen(call.account.all("payouts"), call.given, "status", times=("created", "arrival_date"))
    return page(found, call.given, call.url, "payouts")


def _create_payout(call: Call) -> Obj:
    given = dict(call.given)
    metadata = merged({}, given.pop("metadata", None))
    return pay_out(call.account, given.pop("currency"), automatic=False, metadata=metadata, **given)


def _update_payout(call: Call) -> Obj:
    payout = _payout(call)
    with call.account.changing(payout, "payout.updated"):
        payout["metadata"] = merged(payout["metadata"], call.given.get("metadata"))
    return payout


# -- disputes -------------------------------------------------------------------------------------------------------
def open_dispute(account: Account, charge: Obj, amount: int | None = None, reason: str = "general") -> Obj:
    """The cardholder's bank takes the money of a charge back, and the gateway its fee."""
    if not charge["paid"] or charge["disputed"]:
        raise conflict("Only a charge that was paid, and is not disputed, can be.", param="charge")
    wanted = charge["amount_captured"] if amount is None else amount
    now = account.now()
    dispute = account.put(
        "disputes",
        {
            "id": account.new_id("dp"),
            "object": "dispute",
            "amount": wanted,
            "balance_transactions": [],
            "charge": charge["id"],
            "created": now,
            "currency": charge["currency"],
            "enhanced_eligibility_types": [],
            "evidence": {},
            "evidence_details": {
                "due_by": now + RESPONSE_WITHIN,
                "enhanced_eligibility": {},
                "has_evidence": False,
                "past_due": False,
                "submission_count": 0,
            },
            "is_charge_refundable": False,
            "livemode": account.livemode,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "reason": reason,
            "status": "needs_response",
        },
    )
    charge["disputed"] = True
    account.emit("charge.dispute.created", dispute)
    _funds(account, dispute, -wanted, account.settings.dispute_fee, "charge.dispute.funds_withdrawn")
    return dispute


def close_dispute(account: Account, dispute: Obj, *, won: bool) -> Obj:
    """The end of a dispute; one that was won brings the money back, not the fee."""
    if dispute["status"] not in OPEN_DISPUTES:
        raise conflict(f"This dispute is {dispute['status']}.")
    with account.changing(dispute, None):
        dispute["status"] = "won" if won else "lost"
    account.emit("charge.dispute.closed", dispute)
    if won:
        _funds(account, dispute, dispute["amount"], 0, "charge.dispute.funds_reinstated")
    return dispute


def _funds(account: Account, dispute: Obj, amount: int, fee: int, kind: str) -> None:
    category = "dispute" if amount < 0 else "dispute_reversal"
    moved = move(account, amount, dispute["currency"], "adjustment", dispute["id"], fee, category)
    dispute["balance_transactions"].append(moved)
    account.emit(kind, dispute)


def _dispute(call: Call) -> Obj:
    return call.account.get("disputes", call.path["dispute"], "dispute", status=404)


def _disputes(call: Call) -> Obj:
    found = chosen(call.account.all("disputes"), call.given, "charge", "payment_intent")
    return page(found, call.given, call.url, "disputes")


def _update_dispute(call: Call) -> Obj:
    dispute = _dispute(call)
    metadata = merged(dispute["metadata"], call.given.get("metadata"))
    with call.account.changing(dispute, "charge.dispute.updated"):
        dispute["metadata"] = metadata
        if "evidence" in call.given:
            dispute["evidence"] = {**dispute["evidence"], **call.given["evidence"]}
            dispute["evidence_details"]["has_evidence"] = True
        if call.given.get("submit", "evidence" in call.given):
            dispute["evidence_details"]["submission_count"] += 1
            dispute["status"] = "under_review"
    return dispute


def routes(desk: Desk) -> None:
    """Declare the endpoints of the balance, its transactions, payouts and disputes."""
    desk.v1("GET", "/v1/balance", "balance.retrieve", _balance)
    desk.v1("GET", "/v1/balance_transactions", "balance_transactions.list", _moves)
    desk.v1("GET", "/v1/balance_transactions/{id}", "balance_transactions.retrieve", _one_move)
    desk.v1("GET", "/v1/payouts", "payouts.list", _payouts)
    desk.v1("POST", "/v1/payouts", "payouts.create", _create_payout)
    desk.v1("GET", "/v1/payouts/{payout}", "payouts.retrieve", _payout)
    desk.v1("POST", "/v1/payouts/{payout}", "payouts.update", _update_payout)
    desk.v1("POST", "/v1/payouts/{payout}/cancel", "payouts.cancel", _cancel_payout)
    desk.v1("GET", "/v1/disputes", "disputes.list", _disputes)
    desk.v1("GET", "/v1/disputes/{dispute}", "disputes.retrieve", _dispute)
    desk.v1("POST", "/v1/disputes/{dispute}", "disputes.update", _update_dispute)
    desk.v1(
        "POST",
        "/v1/disputes/{dispute}/close",
        "disputes.close",
        lambda c: close_dispute(c.account, _dispute(c), won=False),
    )
