"""The connector against its twin where documents are large or amounts unusual: 300 lines, ten currencies."""

from __future__ import annotations

import urllib.request
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.conformance.support import Served
from tests.conformance.test_stripe_connector import bench, confirmed, invoices_of, keys, sold, twin
from tieout.canonical.balance import CustomerBalance
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.money import exponent
from tieout.canonical.order import Subscription
from tieout.canonical.outcome import Failure
from tieout.canonical.payment import Payment
from tieout.canonical.settlement import Dispute, Payout
from tieout.canonical.write import SubscriptionWriteLine

__all__ = ["bench", "twin"]

# Two, no and three decimals; ISK and UGX are kept with two that are always zero, MGA is taken without any.
CURRENCIES = ("USD", "EUR", "GBP", "JPY", "KRW", "CLP", "KWD", "BHD", "ISK", "MGA")
STRIPE_UNITS = {"ISK": 100, "UGX": 100}


def post(served: Served, where: str, **fields: Any) -> dict[str, Any]:
    """One form, as anyone may send it."""
    request = urllib.request.Request(
        served.url + where, data=urlencode(fields).encode(), headers={"Authorization": "Bearer sk_test_us"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = msgspec.json.decode(answer.read())
    return found


async def test_an_invoice_of_300_lines_is_read_to_its_last_page(bench: Any) -> None:
    bench.twin.act("settings", max_lines=300)
    customer = await bench.customer()
    made = post(bench.twin, "/v1/invoices", customer=customer, collection_method="send_invoice", days_until_due=30,
                **{"automatic_tax[enabled]": "true", "currency": "usd"})  # fmt: skip
    for number in range(300):
        post(bench.twin, "/v1/invoiceitems", customer=customer, invoice=made["id"], quantity=1,
             **{"price_data[currency]": "usd", "price_data[product]": "prod_PLATFORM",
                "price_data[unit_amount]": 100 + number, "metadata[crm_line]": f"00k{number}"})  # fmt: skip
    shown = post(bench.twin, f"/v1/invoices/{made['id']}/finalize")
    assert (len(shown["lines"]["data"]), shown["lines"]["has_more"]) == (10, True)
    api = bench.connection()
    invoice = await api.fetch(Invoice, made["id"])
    assert len({line.id for line in invoice.lines}) == 300
    assert invoice.net_minor == sum(100 + number for number in range(300))
    assert invoice.net_minor + invoice.tax_minor == invoice.total_minor == shown["total"]
    assert {line.contract_line for line in invoice.lines} == {f"00k{number}" for number in range(300)}
    # A credit of a line beyond the first page knows what it corrects.
    last = invoice.lines[-1]
    part = {"type": "invoice_line_item", "invoice_line_item": last.id, "amount": last.net_minor}
    note = bench.twin.act("credit", account="acct_us", invoice=made["id"], lines=[part])
    memo = await api.fetch(CreditMemo, note["id"])
    assert [(line.invoice_line, line.product) for line in memo.lines] == [(last.id, "PLATFORM")]
    (row,) = [row async for row in api.documents("invoice")]
    assert (row.total_minor, row.tax_minor) == (invoice.total_minor, invoice.tax_minor)


@pytest.mark.parametrize("currency", CURRENCIES)
async def test_ten_currencies_with_no_two_and_three_decimals(bench: Any, currency: str) -> None:
    """Amounts are minor units of ISO 4217 from the write to the listing: invoice, payment, memo, balance."""
    api, customer = bench.connection(), await bench.customer()
    whole = 10 ** exponent(currency)  # one unit of the currency
    line = SubscriptionWriteLine(
        contract_line="00kA", product="PLATFORM", description="", quantity=Decimal(3),
        unit_minor=Decimal(1_230 * whole), charge="recurring",
    )  # fmt: skip
    await confirmed(
        api.send("subscription.create", sold(customer, currency=currency, lines=(line,)), keys(2))
    )
    (raw,) = invoices_of(bench.twin)
    invoice = await api.fetch(Invoice, raw["id"])
    assert (invoice.currency, invoice.net_minor) == (currency, 3_690 * whole)
    assert raw["subtotal"] == 3_690 * STRIPE_UNITS.get(currency, 1 if currency == "MGA" else whole)
    bench.twin.act("pay_invoice", account="acct_us", invoice=raw["id"])
    (row,) = [row async for row in api.documents("payment")]
    payment = await api.fetch(Payment, row.id)
    assert row.total_minor == payment.amount_minor == invoice.total_minor
    assert [part.amount_minor for part in payment.applications] == [invoice.total_minor]
    unit = raw["subtotal"] // 3
    part = {"type": "invoice_line_item", "invoice_line_item": raw["lines"]["data"][0]["id"], "amount": unit}
    note = bench.twin.act("credit", account="acct_us", invoice=raw["id"], lines=[part], refund="balance")
    memo = await api.fetch(CreditMemo, note["id"])
    assert memo.net_minor == 1_230 * whole
    balance = await api.fetch(CustomerBalance, customer)
    assert [(move.reason, move.currency, move.amount_minor) for move in balance.moves] == [
        ("credited", currency, memo.total_minor)
    ]
    listed = {row.reason: row.total_minor async for row in api.documents("credit_memo")}
    assert listed == {"credited": memo.total_minor}
    (terms,) = [row async for row in api.contract_lines()]
    assert terms.unit_minor == 1_230 * whole


async def paid(bench: Any) -> str:
    """An invoice that was paid by card; answers the charge."""
    bench.twin.act("settings", fee_percent="2.9", fee_fixed=30, dispute_fee=1_500)
    customer = await bench.customer()
    await confirmed(bench.connection().send("subscription.create", sold(customer), keys(2)))
    (invoice,) = invoices_of(bench.twin)
    bench.twin.act("pay_invoice", account="acct_us", invoice=invoice["id"])
    (charge,) = bench.twin.act("snapshot", account="acct_us", kinds=["charges"])["acct_us"]["charges"]
    return str(charge["id"])


async def test_a_payout_is_its_charges_less_refunds_and_fees(bench: Any) -> None:
    charge = await paid(bench)
    bench.twin.act("refund", account="acct_us", charge=charge, amount=10_000)
    bench.twin.act("advance", business="2026-01-18T18:00:00+00:00")
    made = bench.twin.act("pay_out", account="acct_us", currency="usd")
    api = bench.connection()
    payout = await api.fetch(Payout, made["id"])
    assert (payout.status, payout.currency, payout.amount_minor) == ("pending", "USD", made["amount"])
    assert {move.kind: move.source for move in payout.moves}["charge"] == charge
    assert payout.gross_minor == 115_005 + 8_338 - 10_000
    assert payout.gross_minor - payout.fee_minor == payout.amount_minor
    bench.twin.act("advance", business="2026-01-21T00:00:00+00:00")
    assert (await api.fetch(Payout, made["id"])).status == "paid"
    bench.twin.act("alter", account="acct_us", kind="payouts", id=made["id"], path="amount", value=1)
    with pytest.raises(Failure) as refused:
        await api.fetch(Payout, made["id"])
    assert refused.value.outcome.code == "totals"


async def test_a_dispute_and_what_it_moved(bench: Any) -> None:
    charge = await paid(bench)
    made = bench.twin.act("dispute", account="acct_us", charge=charge, amount=50_000, reason="fraudulent")
    api = bench.connection()
    dispute = await api.fetch(Dispute, made["id"])
    assert (dispute.status, dispute.amount_minor, dispute.reason) == ("open", 50_000, "fraudulent")
    assert [(move.amount_minor, move.fee_minor) for move in dispute.moves] == [(-50_000, 1_500)]
    assert (await api.fetch(Payment, dispute.payment.id)).amount_minor == 123_343
    bench.twin.act("close_dispute", account="acct_us", dispute=made["id"], won=True)
    closed = await api.fetch(Dispute, made["id"])
    assert (closed.status, sum(move.amount_minor for move in closed.moves)) == ("won", 0)


@pytest.mark.parametrize(
    ("mode", "minor"), [("graduated", 10 * 1_000 + 15 * 800), ("volume", 25 * 800 + 500)]
)
async def test_tiers_price_a_contract_line(bench: Any, mode: str, minor: int) -> None:
    tiers = {"tiers[0][up_to]": 10, "tiers[0][unit_amount]": 1_000, "tiers[1][up_to]": "inf",
             "tiers[1][unit_amount]": 800}  # fmt: skip
    if mode == "volume":
        tiers["tiers[1][flat_amount]"] = 500
    price = post(bench.twin, "/v1/prices", currency="usd", product="prod_PLATFORM", billing_scheme="tiered",
                 tiers_mode=mode, **{"recurring[interval]": "month"}, **tiers)  # fmt: skip
    customer = await bench.customer()
    made = post(bench.twin, "/v1/subscriptions", customer=customer, collection_method="send_invoice", days_until_due=30,
                **{"items[0][price]": price["id"], "items[0][quantity]": 25})  # fmt: skip
    api = bench.connection()
    (line,) = (await api.fetch(Subscription, made["id"])).lines
    assert line.quantity * line.unit_minor == minor
    (invoice,) = invoices_of(bench.twin)
    assert (await api.fetch(Invoice, invoice["id"])).net_minor == minor
    (listed,) = [row async for row in api.contract_lines()]
    assert listed.contracted_minor == minor
