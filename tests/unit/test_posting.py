"""Posting: what is debited and credited, on which day, by which rule, balanced to the minor unit."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.company import JP, US, at, invoice, invoice_line, master_data
from tieout.canonical.decision import MissingRule
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice, InvoiceLine, Obligation
from tieout.canonical.model import encode
from tieout.canonical.party import LegalEntity
from tieout.canonical.payment import Application, Payment, Refund
from tieout.canonical.posting import Posting
from tieout.canonical.write import DocumentWrite, PaymentWrite, RefundWrite, decode_write, encode_write
from tieout.finance.cash import post_payment, post_refund
from tieout.finance.credit import post_credit_memo
from tieout.finance.journal import Unbalanced, Unpostable
from tieout.finance.posting import post_invoice

RULES = master_data()


def obligation(bill: Invoice, kind: str = "finalised") -> Obligation:
    return next(one for one in bill.obligations() if one.kind == kind)


def post(bill: Invoice, kind: str = "finalised", entity: LegalEntity = US, **given: object) -> Posting:
    return post_invoice(bill, obligation(bill, kind), entity, "77", RULES, **given)  # type: ignore[arg-type]


def document(posting: Posting) -> DocumentWrite:
    assert isinstance(posting.write, DocumentWrite)
    return posting.write


def nets(posting: Posting) -> dict[str, int]:
    """Net per account; every journal balances."""
    assert posting.write is not None
    journal = getattr(posting.write, "journal")  # noqa: B009
    assert sum(line.amount_minor for line in journal) == 0
    found: Counter[str] = Counter()
    for line in journal:
        found[line.account] += line.amount_minor
    return {account: amount for account, amount in found.items() if amount}


def memo_of(
    bill: Invoice, *lines: InvoiceLine, issued: tuple[int, ...] = (2026, 3, 2, 9), id: str = "cn_1"
) -> CreditMemo:
    net, tax = sum(line.net_minor for line in lines), sum(line.tax_minor for line in lines)
    return CreditMemo(
        ref=Ref(connection=bill.ref.connection, kind="credit_memo", id=id),
        number="CN-1",
        invoice=bill.ref,
        customer=bill.customer,
        currency=bill.currency,
        status="issued",
        issued_at=at(US, *issued),
        voided_at=None,
        lines=lines,
        net_minor=net,
        tax_minor=tax,
        total_minor=net + tax,
    )


def test_finalised_with_deferred_immediate_and_tax() -> None:
    bill = invoice(
        invoice_line(10000, tax=725),
        invoice_line(5000, id="il_2", product="prod_ONBOARD", service=None, tax=363),
    )
    posting = post(bill, payment_terms="NET30")
    write = document(posting)
    assert nets(posting) == {"1100": 16088, "2400": -10000, "4100": -5000, "2200": -1088}
    assert (write.kind, write.reason, write.day, write.total_minor) == (
        "invoice",
        "finalised",
        date(2026, 1, 15),
        16088,
    )
    assert [line.item for line in write.lines] == ["PLATFORM-DEF", "ONBOARD-IMM"]
    assert write.lines[0].service_start == date(2026, 1, 15)
    assert write.lines[0].service_end == date(2026, 2, 14)
    assert write.lines[0].taxes[0].code == "CA_725"
    assert write.terms == "2"
    assert write.trace == "trace-1"
    assert {decision.rule_id for decision in posting.decisions} == {"I1", "I5", "T1", "A1", "A5", "N30"}
    assert all(line.rule for line in write.journal)
    assert {line.source_line for line in write.journal} == {"", "il_1", "il_2"}
    assert decode_write(encode_write(write)) == write
    assert encode(posting)


@pytest.mark.parametrize(("end", "item"), [((2026, 1, 16), "PLATFORM-IMM"), ((2026, 1, 17), "PLATFORM-DEF")])
def test_deferred_only_when_service_is_owed_after_the_accounting_date(
    end: tuple[int, ...], item: str
) -> None:
    """The period is half-open: service until midnight of the 16th ends on the 15th."""
    bill = invoice(invoice_line(100, service=((2026, 1, 1), end)))
    assert document(post(bill)).lines[0].item == item


def test_los_angeles_31_january_2330_is_january() -> None:
    bill = invoice(invoice_line(100, service=((2026, 1, 31), (2026, 2, 28))), issued=(2026, 1, 31, 23, 30))
    assert bill.issued_at is not None
    assert bill.issued_at.date() == date(2026, 2, 1)  # in UTC
    posting = post(bill)
    assert document(posting).day == date(2026, 1, 31)
    assert posting.accounting.rule == "issue date of the invoice"
    assert document(posting).lines[0].service_start == date(2026, 1, 31)
    assert document(posting).lines[0].rule == "I1"


def test_tokyo_1_february_0830_is_february() -> None:
    line = invoice_line(
        1000, entity=JP, service=((2026, 2, 1), (2026, 3, 1)), tax=100, rate="10", jurisdiction="JP"
    )
    bill = invoice(line, entity=JP, currency="JPY", issued=(2026, 2, 1, 8, 30))
    assert bill.issued_at is not None
    assert bill.issued_at.date() == date(2026, 1, 31)  # in UTC
    posting = post(bill, entity=JP)
    assert document(posting).day == date(2026, 2, 1)
    assert (document(posting).lines[0].service_start, document(posting).lines[0].service_end) == (
        date(2026, 2, 1),
        date(2026, 2, 28),
    )
    assert nets(posting) == {"1100": 1100, "2400": -1000, "2200": -100}


@pytest.mark.parametrize(("currency", "shown"), [("JPY", "1 JPY"), ("KWD", "0.001 KWD")])
def test_one_minor_unit_off_is_refused_and_named(currency: str, shown: str) -> None:
    bill = invoice(invoice_line(1000, entity=JP), entity=JP, currency=currency, off_by=-1)
    with pytest.raises(Unbalanced, match=shown) as refused:
        post(bill, entity=JP)
    assert refused.value.difference_minor == 1


def test_net_and_tax_that_hide_each_other_are_refused() -> None:
    bill = msgspec.structs.replace(invoice(invoice_line(10000, tax=725)), net_minor=10001, tax_minor=724)
    with pytest.raises(Unbalanced, match=r"lines differ from the net amount by -0\.01 USD"):
        post(bill)


def test_a_negative_total_is_a_credit_memo_of_its_absolute_amount() -> None:
    bill = invoice(invoice_line(-10000, tax=-725), invoice_line(2000, id="il_2", tax=145))
    posting = post(bill)
    assert (document(posting).kind, document(posting).reason) == ("credit_memo", "negative_invoice")
    assert document(posting).total_minor == 8580
    assert [line.net_minor for line in document(posting).lines] == [10000, -2000]
    assert nets(posting) == {"1100": -8580, "2400": 8000, "2200": 580}


def test_a_zero_total_is_the_entitys_rule() -> None:
    bill = invoice(invoice_line(100), invoice_line(-100, id="il_2"))
    posting = post(bill)
    assert posting.write is None
    assert "declared rule" in posting.explanation[0]
    assert document(post(bill, entity=msgspec.structs.replace(US, zero_total="post"))).total_minor == 0


def voided(*lines: InvoiceLine, written_off: bool = False) -> Invoice:
    transitions = [("written_off", at(US, 2026, 2, 10, 12))] if written_off else []
    return invoice(*lines, transitions=(*transitions, ("voided", at(US, 2026, 3, 2, 12))))


def test_a_void_reverses_on_its_own_date_what_was_posted_by_the_old_rules() -> None:
    bill = voided(invoice_line(10000, tax=725))
    posting = post(bill, "voided", applies_to=(("4711", 10725),))
    assert (document(posting).kind, document(posting).day) == ("credit_memo", date(2026, 3, 2))
    # The rule of January, not that of March: the memo must meet the account of the invoice.
    assert document(posting).lines[0].item == "PLATFORM-DEF"
    assert document(posting).applies_to == (("4711", 10725),)
    assert nets(posting) == {account: -amount for account, amount in nets(post(bill)).items()}


def test_a_void_leaves_out_what_credit_memos_took_back() -> None:
    bill = voided(invoice_line(10000, tax=725), invoice_line(5000, id="il_2"))
    taken = memo_of(bill, invoice_line(4000, id="cnl", tax=290, invoice_line="il_1"))
    assert nets(post(bill, "voided", memos=(taken,))) == {"1100": -11435, "2400": 11000, "2200": 435}
    all_of_it = memo_of(
        bill,
        invoice_line(10000, id="a", tax=725, invoice_line="il_1"),
        invoice_line(5000, id="b", invoice_line="il_2"),
    )
    assert post(bill, "voided", memos=(all_of_it,)).write is None


@pytest.mark.parametrize("relief", [False, True])
def test_a_write_off_is_bad_debt_with_tax_relief_where_declared(relief: bool) -> None:
    entity = msgspec.structs.replace(US, write_off_tax_relief=relief)
    bill = voided(invoice_line(10000, tax=725), written_off=True)
    posting = post(bill, "written_off", entity=entity)
    assert (document(posting).lines[0].item, document(posting).day) == ("BADDEBT", date(2026, 2, 10))
    expected = {"6500": 10000, "2200": 725} if relief else {"6500": 10725}
    assert nets(posting) == {"1100": -10725, **expected}
    # And a later void takes the bad debt back: together they are the reversal of the invoice.
    together = Counter(nets(posting))
    together.update(nets(post(bill, "voided", entity=entity)))
    reversal = {account: -amount for account, amount in nets(post(bill)).items()}
    assert {account: amount for account, amount in together.items() if amount} == reversal


def test_a_write_off_of_what_was_left_unpaid() -> None:
    entity = msgspec.structs.replace(US, write_off_tax_relief=True)
    bill = invoice(invoice_line(10000, tax=725), transitions=(("written_off", at(US, 2026, 2, 10, 12)),))
    assert nets(post(bill, "written_off", entity=entity, open_minor=1000)) == {
        "1100": -1000,
        "6500": 932,
        "2200": 68,
    }
    assert post(bill, "written_off", open_minor=0).write is None


def test_a_credit_memo_leads_where_its_invoice_led_on_its_own_date() -> None:
    bill = invoice(invoice_line(10000, tax=725))
    line = invoice_line(1000, id="cnl", tax=73, service=None, product="", invoice_line="il_1")
    posting = post_credit_memo(memo_of(bill, line), bill, US, "77", RULES)
    assert document(posting).day == date(2026, 3, 2)
    assert (document(posting).lines[0].item, document(posting).lines[0].rule) == ("PLATFORM-DEF", "I1")
    assert nets(posting) == {"1100": -1073, "2400": 1000, "2200": 73}
    back = msgspec.structs.replace(memo_of(bill, line), voided_at=at(US, 2026, 4, 1, 9))
    taken_back = post_credit_memo(back, bill, US, "77", RULES, voided=True)
    assert (document(taken_back).kind, document(taken_back).day) == ("invoice", date(2026, 4, 1))
    with pytest.raises(Unpostable, match="not voided"):
        post_credit_memo(memo_of(bill, line), bill, US, "77", RULES, voided=True)


def test_more_applied_than_the_total_is_refused() -> None:
    with pytest.raises(Unbalanced, match=r"applied more than its total by 0\.01 USD"):
        post(voided(invoice_line(100)), "voided", applies_to=(("1", 101),))


def test_a_missing_rule_blocks_by_product_and_entity() -> None:
    with pytest.raises(MissingRule) as missing:
        post(invoice(invoice_line(100, product="prod_GHOST")))
    assert missing.value.outcome.key == "prod_GHOST x us"


def payment(channel: str = "gateway", **changed: object) -> Payment:
    values: dict[str, object] = {
        "ref": Ref(connection="billing-us", kind="payment", id="pay_1"),
        "customer": Ref(connection="billing-us", kind="customer", id="cus_1"),
        "channel": channel,
        "currency": "USD",
        "amount_minor": 10725,
        "status": "succeeded",
        "received_at": at(US, 2026, 1, 31, 23, 30),
        **changed,
    }
    return Payment(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(("channel", "account"), [("gateway", "1050"), ("bank", "1000")])
def test_money_received(channel: str, account: str) -> None:
    posting = post_payment(payment(channel), US, "77", RULES)
    assert isinstance(posting.write, PaymentWrite)
    assert (posting.write.account, posting.write.day) == (account, date(2026, 1, 31))
    assert nets(posting) == {account: 10725, "1100": -10725}


def test_money_by_an_unknown_channel_and_over_applied_money() -> None:
    with pytest.raises(Unpostable):
        post_payment(payment("barter"), US, "77", RULES)
    bill = invoice(invoice_line(1))
    part = Application(id="a", invoice=bill.ref, amount_minor=10726, applied_at=at(US, 2026, 2, 1))
    with pytest.raises(Unbalanced, match=r"0\.01 USD"):
        post_payment(payment(applications=(part,)), US, "77", RULES)


def test_money_returned() -> None:
    refund = Refund(
        ref=Ref(connection="billing-us", kind="refund", id="re_1"),
        payment=payment().ref,
        customer=payment().customer,
        channel="gateway",
        currency="USD",
        amount_minor=1073,
        status="succeeded",
        refunded_at=at(US, 2026, 3, 3, 9),
    )
    posting = post_refund(refund, US, "77", RULES, settles=(("88", 1000), ("89", 73)))
    assert isinstance(posting.write, RefundWrite)
    assert nets(posting) == {"1050": -1073, "1100": 1073}
    with pytest.raises(Unbalanced):
        post_refund(refund, US, "77", RULES, settles=(("88", 1000),))
    with pytest.raises(Unpostable, match="no credit memo"):
        post_refund(refund, US, "77", RULES, settles=())


amounts = st.integers(-(10**9), 10**9)


@given(st.lists(st.tuples(amounts, st.integers(0, 10**7)), min_size=1, max_size=8), st.booleans())
def test_every_journal_balances_and_says_the_documents_total(
    rows: list[tuple[int, int]], relief: bool
) -> None:
    lines = [
        invoice_line(net, id=f"il_{number}", tax=tax if net >= 0 else -tax)
        for number, (net, tax) in enumerate(rows)
    ]
    entity = msgspec.structs.replace(US, zero_total="post", write_off_tax_relief=relief)
    bill = voided(*lines, written_off=True)
    posting = post(bill, entity=entity)
    assert nets(posting).get("1100", 0) == bill.total_minor
    assert document(posting).total_minor == abs(bill.total_minor)
    if bill.total_minor > 0:
        lost = post(bill, "written_off", entity=entity)
        assert nets(lost).get("1100", 0) == -bill.total_minor
        if (gone := post(bill, "voided", entity=entity)).write is not None:
            assert nets(gone).get("1100", 0) == 0


def test_quantity_is_the_bills() -> None:
    assert document(post(invoice(invoice_line(100)))).lines[0].quantity == Decimal(10)
