"""Every word of the vendor's specification that says how something stands, as the connector understands it.

A word that it does not know is `pending`; none is a success but those that are named here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tieout.connectors.stripe import cash, contracts, mapping, settlements

FILE = "stripe/stripe-2026-10-28.endive.derived-openapi.json"


@cache
def words(path: Path, schema: str, field: str) -> tuple[str, ...]:
    found: dict[str, Any] = json.loads(path.read_text())["components"]["schemas"][schema]
    return tuple(found["properties"][field]["enum"])


@pytest.mark.parametrize(
    ("schema", "table", "successes", "pending"),
    [
        ("Invoice", mapping.INVOICE_STATUS, {"paid": "paid"}, set()),
        ("CreditNote", mapping.CREDIT_STATUS, {"issued": "issued"}, set()),
        (
            "PaymentIntent",
            cash.INTENT_STATUS,
            {"succeeded": "succeeded"},
            {
                "processing",
                "requires_action",
                "requires_capture",
                "requires_confirmation",
                "requires_payment_method",
            },
        ),
        ("Charge", cash.CHARGE_STATUS, {"succeeded": "succeeded"}, {"pending"}),
        ("Dispute", settlements.DISPUTE_STATUS, {"won": "won"}, set()),
        (
            "Subscription",
            contracts.SUBSCRIPTION_STATUS,
            {"active": "active", "trialing": "active", "past_due": "active", "unpaid": "active"},
            {"incomplete"},
        ),
        ("SubscriptionSchedule", contracts.SCHEDULE_STATUS, {}, {"active", "released"}),
    ],
)
def test_every_word_is_understood_or_pending(
    spec_path: Callable[[str], Path],
    schema: str,
    table: Mapping[str, str],
    successes: Mapping[str, str],
    pending: set[str],
) -> None:
    known = words(spec_path(FILE), schema, "status")
    read = {word: table.get(word, "pending") for word in known}
    assert {word for word, ours in read.items() if ours == "pending"} == pending
    good = {"active", "issued", "paid", "succeeded", "won"}
    assert {word: ours for word, ours in read.items() if ours in good} == successes
    assert set(table) <= set(known)  # no word of ours that the vendor does not have


@pytest.mark.parametrize("table", [cash.REFUND_STATUS, settlements.PAYOUT_STATUS])
def test_open_words_that_are_success(table: Mapping[str, str]) -> None:
    """The specification lists no words of refunds and payouts."""
    assert {word for word, ours in table.items() if ours in ("succeeded", "paid")} <= {"succeeded", "paid"}
    assert table.get("a new word", "pending") == "pending"


def test_only_words_that_are_certain_are_credit(spec_path: Callable[[str], Path]) -> None:
    """A change of the customer's balance is credit by its word and sign alone; every other one is `other`."""
    from tieout.connectors.stripe.wire import BalanceChange

    found = set()
    for word in words(spec_path(FILE), "CustomerBalanceTransaction", "type"):
        for amount in (-500, 500):
            change = BalanceChange(
                id="cbtxn_1",
                type=word,
                amount=amount,
                ending_balance=amount,
                currency="usd",
                created=1,
                invoice="in_1",
                credit_note="cn_1" if word == "credit_note" else None,
            )
            reason = cash.map_balance_change("stripe-us", change).reason
            if reason != "other":
                found.add((word, amount > 0, reason))
    assert found == {
        ("applied_to_invoice", True, "used"),
        ("applied_to_invoice", False, "negative_invoice"),
        ("credit_note", False, "credited"),
        ("invoice_too_small", False, "negative_invoice"),
        ("unapplied_from_invoice", False, "given_back"),
    }
