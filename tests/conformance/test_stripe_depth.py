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
from tieout.canonical.payment import Payment
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
