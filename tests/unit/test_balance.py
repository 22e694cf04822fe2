"""Which credit settled which invoice, and where an amount without a line belongs: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from msgspec.structs import replace

from tieout.canonical.balance import BalanceMove, CustomerBalance
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice, InvoiceLine, LineTax
from tieout.finance.balance import settle_balance
from tieout.finance.credit import attributed

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def ref(kind: str, id: str) -> Ref:
    return Ref(connection="stripe-us", kind=kind, id=id)


def move(reason: str, amount: int, document: str = "", currency: str = "USD") -> BalanceMove:
    kind = "credit_memo" if document.startswith("cn") else "invoice"
    return BalanceMove(
        id=f"{reason}{amount}", reason=reason, currency=currency, amount_minor=amount, occurred_at=NOW,
        document=ref(kind, document) if document else None,
    )  # fmt: skip


def uses(*moves: BalanceMove) -> list[tuple[str, str, int]]:
    found = settle_balance(CustomerBalance(customer=ref("customer", "cus"), moves=moves), "USD")
    return [
        (
            use.made.document.id if use.made and use.made.document else "",
            use.invoice.id if use.invoice else "",
            use.amount_minor,
        )
        for use in found
    ]


def test_the_oldest_credit_is_used_first_and_only_of_its_own_currency() -> None:
    assert uses(
        move("credited", 100, "cn_1"),
        move("credited", 900, "cn_eur", "EUR"),
        move("negative_invoice", 50, "in_1"),
        move("used", -120, "in_2"),
        move("used", -30, "in_3"),
    ) == [("cn_1", "in_2", 100), ("in_1", "in_2", 20), ("in_1", "in_3", 30)]


def test_what_a_void_gives_back_is_new_credit() -> None:
    before = [move("credited", 100, "cn_1"), move("used", -100, "in_2")]
    after = [*before, move("given_back", 100, "in_2"), move("used", -60, "in_3")]
    assert uses(*before) == uses(*after)[:1]
    assert uses(*after)[1:] == [("in_2", "in_3", 60)]


def test_credit_by_hand_and_credit_that_never_was_have_no_document() -> None:
    assert uses(move("other", 40), move("used", -50, "in_1")) == [("", "in_1", 40), ("", "in_1", 10)]


def test_what_the_customer_owed_is_paid_off_before_credit_is_left() -> None:
    moves = [move("other", -30), move("credited", 100, "cn_1"), move("used", -100, "in_1")]
    assert uses(*moves) == [("cn_1", "", 30), ("cn_1", "in_1", 70), ("", "in_1", 30)]


def line(id: str, net: int, tax: int = 0, **more: object) -> InvoiceLine:
    taxes = (
        LineTax(jurisdiction="US-CA", rate_percent=Decimal("7.25"), basis_minor=net, tax_minor=tax),
    ) if tax else ()  # fmt: skip
    return InvoiceLine(
        id=id, description=id, product=id.upper(), quantity=Decimal(1), net_minor=net, taxes=taxes, **more
    )  # type: ignore[arg-type]


def test_an_amount_without_a_line_is_spread_by_largest_remainder() -> None:
    lines = (line("a", 1_000, 73), line("b", 1_000), line("c", 1_000, 73), line("d", -500))
    invoice = Invoice(
        ref=ref("invoice", "in_1"), number="1", customer=ref("customer", "cus"), subscription=None, currency="USD",
        status="open", issued_at=NOW, due_at=None, lines=lines, net_minor=2_500, tax_minor=146, total_minor=2_646,
    )  # fmt: skip
    loose = replace(line("x", 100, 7), product="", description="Credit")
    memo = CreditMemo(
        ref=ref("credit_memo", "cn_1"), number="1-CN", invoice=invoice.ref, customer=invoice.customer,
        currency="USD", status="issued", issued_at=NOW, voided_at=None, lines=(loose,), net_minor=100,
        tax_minor=7, total_minor=107,
    )  # fmt: skip
    spread = attributed(memo, invoice).lines
    assert [(one.invoice_line, one.product, one.net_minor, one.tax_minor) for one in spread] == [
        ("a", "A", 34, 4),
        ("b", "B", 33, 0),
        ("c", "C", 33, 3),
    ]
    named = replace(memo, lines=(replace(loose, invoice_line="a"),))
    assert attributed(named, invoice) == named
