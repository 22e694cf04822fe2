"""The books: differences name their document, sum to the totals, and are explained by its exception alone."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from datetime import date
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout.connectors.contract import LedgerBalance, ListedDocument, ListedLine
from tieout.finance.books import Books, compare_books
from tieout.finance.breaks import BooksInput, OpenException, RecordedPosting

JANUARY, FEBRUARY = "Jan 2026", "Feb 2026"


def line(contract: str, **changed: object) -> ListedLine:
    values: dict[str, object] = {
        "contract": contract,
        "line": f"{contract}-1",
        "entity": "us",
        "currency": "USD",
        "product": "PLATFORM",
        "quantity": Decimal(10),
        "unit_minor": Decimal(9000),
        "frequency": "month",
        "start": date(2026, 1, 15),
        "end": date(2027, 1, 15),
        "contracted_minor": 1080000,
        **changed,
    }
    return ListedLine(**values)  # type: ignore[arg-type]


def listed(id: str, kind: str, total: int, tax: int = 0, **changed: object) -> ListedDocument:
    values: dict[str, object] = {
        "id": id,
        "number": f"N-{id}",
        "kind": kind,
        "entity": "us",
        "currency": "USD",
        "total_minor": total,
        "tax_minor": tax,
        "day": date(2026, 1, 20),
        "status": {"invoice": "open", "credit_memo": "issued"}.get(kind, "succeeded"),
        **changed,
    }
    return ListedDocument(**values)  # type: ignore[arg-type]


def erp(id: str, kind: str, total: int, source: str, tax: int = 0, **changed: object) -> ListedDocument:
    """An ERP document with its general-ledger lines: receivables against revenue, tax or clearing."""
    sign = 1 if kind in ("invoice", "refund") else -1
    other = {"payment": "1050", "refund": "1050"}.get(kind, "2400")
    lines = ((("1100"), sign * total), (other, -sign * (total - tax)), ("2200", -sign * tax))
    accounts = tuple((account, amount, amount) for account, amount in lines if amount)
    values: dict[str, object] = {
        "source": source,
        "document_key": f"KEY{id}",
        "period": JANUARY,
        "accounts": accounts,
        "status": "posted",
        **changed,
    }
    return listed(id, kind, total, tax, **values)


BILLING = (
    listed("in_1", "invoice", 10725, 725, status="paid", open_minor=0),
    listed("in_2", "invoice", 20000, open_minor=20000),
    listed("in_3", "invoice", 5000, status="voided", open_minor=5000),
    listed("in_4", "invoice", 7000, status="written_off", open_minor=7000),
    listed("in_5", "invoice", -300, status="paid"),
    listed("in_6", "invoice", 0, status="paid"),
    listed("in_7", "invoice", 99, status="draft"),
    listed("cn_1", "credit_memo", 1073, 73, source="in_1", settled=(("in_1", 0),)),
    listed("pay_1", "payment", 10725, settled=(("in_1", 10725),)),
    listed("pay_2", "payment", 55, status="failed"),
    listed("re_1", "refund", 1073),
)
ERP = (
    erp("1", "invoice", 10725, "in_1", 725),
    erp("2", "invoice", 20000, "in_2", open_minor=20000),
    erp("3", "invoice", 5000, "in_3"),
    erp("4", "credit_memo", 5000, "in_3", period=FEBRUARY),
    erp("5", "invoice", 7000, "in_4"),
    erp("6", "credit_memo", 7000, "in_4"),
    erp("7", "credit_memo", 300, "in_5"),
    erp("8", "credit_memo", 1073, "cn_1", 73),
    erp("9", "payment", 10725, "pay_1"),
    erp("10", "refund", 1073, "re_1"),
)


def balances(documents: tuple[ListedDocument, ...], subledger: bool = True) -> tuple[LedgerBalance, ...]:
    """What an ERP's ledger shows for its documents."""
    moved: Counter[tuple[str, str]] = Counter()
    owed: Counter[str] = Counter()
    for one in documents:
        owed[one.period] += one.total_minor if one.kind in ("invoice", "refund") else -one.total_minor
        for account, _, amount in one.accounts:
            moved[one.period, account] += amount
    return tuple(
        LedgerBalance(
            entity="us",
            period=period,
            account=account,
            currency="USD",
            balance_minor=amount,
            subledger_minor=owed[period] if account == "1100" and subledger else None,
        )
        for (period, account), amount in sorted(moved.items())
    )


def recorded() -> dict[str, RecordedPosting]:
    return {
        one.document_key: RecordedPosting(
            period=one.period, accounts=tuple((account, amount) for account, amount, _ in one.accounts)
        )
        for one in ERP
    }


def books(
    documents: tuple[ListedDocument, ...] = ERP,
    ledger: tuple[LedgerBalance, ...] | None = None,
    **changed: object,
) -> Books:
    lines = (line("006A"), line("006B"))
    values: dict[str, object] = {
        "crm_lines": lines,
        "billing_lines": lines,
        "billing_documents": BILLING,
        "erp_documents": documents,
        "balances": balances(documents) if ledger is None else ledger,
        "recorded": recorded(),
        "cut_off": date(2026, 2, 28),
        **changed,
    }
    return compare_books(BooksInput(**values))  # type: ignore[arg-type]


def altered(id: str, **changed: object) -> tuple[ListedDocument, ...]:
    return tuple(msgspec.structs.replace(one, **changed) if one.id == id else one for one in ERP)


def named(result: Books) -> list[tuple[str, str, int]]:
    return [(one.pair, one.document, one.amount_minor) for one in result.unexplained]


def test_books_that_agree() -> None:
    result = books()
    assert result.tied
    assert result.differences == ()
    rows = {row.measure: row for row in result.books.billing_erp}
    assert all(row.delta_minor == 0 for row in rows.values())
    assert (rows["invoices"].billing_count, rows["invoices"].erp_count, rows["invoices"].billing_minor) == (
        4,
        4,
        42725,
    )
    assert (rows["voids"].billing_minor, rows["write-offs"].billing_minor) == (5000, 7000)
    assert (rows["credits"].billing_count, rows["credits"].billing_minor) == (2, 1373)
    assert (rows["open receivables"].billing_minor, rows["open receivables"].cut_off) == (
        20000,
        date(2026, 2, 28),
    )
    assert rows["tax"].billing_minor == 652
    assert rows["documents in their recorded period"].erp_count == 10


def test_the_printed_document_has_the_promised_fields() -> None:
    printed = msgspec.json.decode(books().to_json(), type=dict[str, object])
    assert set(printed) == {"books", "differences", "unexplained", "duplicates", "books_hash"}
    broken = books(altered("2", total_minor=20001))
    shown = msgspec.to_builtins(broken.unexplained[0])
    assert set(shown) == {"pair", "entity", "currency", "document", "amount_minor", "cause", "exception_id"}


@pytest.mark.parametrize("id", [one.id for one in ERP])
@pytest.mark.parametrize("ledger_follows", [True, False])
def test_drop_is_found_and_named_alone(id: str, ledger_follows: bool) -> None:
    (gone,) = [one for one in ERP if one.id == id]
    left = tuple(one for one in ERP if one.id != id)
    ledger = balances(left)
    if not ledger_follows:
        whole, part = balances(ERP), {(one.period, one.account): one for one in balances(left)}
        ledger = tuple(
            msgspec.structs.replace(
                one,
                subledger_minor=part[one.period, one.account].subledger_minor
                if (one.period, one.account) in part
                else 0,
            )
            if one.subledger_minor is not None
            else one
            for one in whole
        )
    result = books(left, ledger)
    assert [(one.pair, one.document, abs(one.amount_minor)) for one in result.unexplained] == [
        ("billing_erp", gone.source, gone.total_minor)
    ]
    assert result.duplicates == ()


@pytest.mark.parametrize("id", [one.id for one in ERP])
@pytest.mark.parametrize("keyed", [True, False])
def test_double_is_a_duplicate_alone(id: str, keyed: bool) -> None:
    (twice,) = [one for one in ERP if one.id == id]
    copy = msgspec.structs.replace(
        twice, id="99", number="N-99", document_key=twice.document_key if keyed else ""
    )
    result = books((*ERP, copy))
    assert result.unexplained == ()
    assert [(one.document, abs(one.amount_minor)) for one in result.duplicates] == [
        (twice.source, twice.total_minor)
    ]
    assert "N-99" in result.duplicates[0].cause


@pytest.mark.parametrize("id", [one.id for one in ERP])
@pytest.mark.parametrize("ledger_follows", [True, False])
def test_cent_is_found_and_named_alone(id: str, ledger_follows: bool) -> None:
    (one,) = [one for one in ERP if one.id == id]
    sign = 1 if one.accounts[0][1] > 0 else -1
    accounts = one.accounts
    if ledger_follows:
        (first, amount, _), (second, other, _), *rest = one.accounts
        accounts = ((first, amount + sign, amount + sign), (second, other - sign, other - sign), *rest)
    result = books(altered(id, total_minor=one.total_minor + 1, accounts=accounts))
    assert [(one.document, abs(one.amount_minor)) for one in result.unexplained] == [(one.source, 1)]
    assert result.duplicates == ()


@pytest.mark.parametrize("id", [one.id for one in ERP])
@pytest.mark.parametrize("ledger_follows", [True, False])
def test_period_is_found_and_named_alone(id: str, ledger_follows: bool) -> None:
    (one,) = [one for one in ERP if one.id == id]
    moved = altered(id, period="Mar 2026")
    result = books(moved, balances(moved if ledger_follows else ERP))
    assert named(result) == [("billing_erp", one.source, 0)]
    assert "Mar 2026" in result.unexplained[0].cause


@pytest.mark.parametrize("id", [one.id for one in ERP])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("with_record", [True, False])
def test_account_is_found_and_named_alone(id: str, which: int, with_record: bool) -> None:
    (one,) = [one for one in ERP if one.id == id]
    accounts = list(one.accounts)
    accounts[which] = ("6999", *accounts[which][1:])
    moved = altered(id, accounts=tuple(accounts))
    result = books(moved, **({} if with_record else {"recorded": {}}))
    if with_record or which == 0:
        assert [(one.pair, one.document) for one in result.unexplained] == [("subledger_gl", one.source)]
        assert abs(result.unexplained[0].amount_minor) == abs(accounts[which][1])
    if with_record:
        assert "6999" in result.unexplained[0].cause


def test_endings_that_billing_lists_as_rows_of_their_own() -> None:
    """Under the id of the invoice they end, with their own day."""
    endings = (
        listed("in_3", "credit_memo", 5000, reason="voided", day=date(2026, 2, 3)),
        listed("in_4", "credit_memo", 7000, reason="written_off", day=date(2026, 2, 4)),
    )
    result = books(billing_documents=(*BILLING, *endings))
    assert result.tied
    assert result.books_hash == books().books_hash


def test_voided_after_it_was_written_off() -> None:
    """The void takes the bad debt back: one document more, of nothing due."""
    billing = tuple(
        msgspec.structs.replace(one, status="voided", transitions=("finalised", "written_off", "voided"))
        if one.id == "in_4"
        else one
        for one in BILLING
    )
    assert books((*ERP, erp("11", "credit_memo", 0, "in_4")), billing_documents=billing).tied
    assert named(books(billing_documents=billing)) == [("billing_erp", "in_4", 0)]


def test_a_swap_of_net_and_tax_is_found() -> None:
    result = books(altered("1", tax_minor=724))
    assert named(result) == [("billing_erp", "in_1", 1)]


def test_without_a_billing_source() -> None:
    result = books((*ERP, erp("77", "invoice", 100, "", open_minor=100)))
    assert named(result) == [("billing_erp", "77", -100)]
    result = books((*ERP, erp("77", "invoice", 100, "in_unknown")))
    assert named(result) == [("billing_erp", "in_unknown", -100)]


def test_only_an_exception_of_that_very_document_explains() -> None:
    left = tuple(one for one in ERP if one.id != "2")
    mine = OpenException(exception_id="e1", document="in_2", cause="period January 2026 is closed")
    other = OpenException(exception_id="e2", document="in_9", cause="?", amount_minor=20000)
    result = books(left, exceptions=(mine, other))
    assert result.tied
    (difference,) = result.differences
    assert (difference.exception_id, difference.amount_minor) == ("e1", 20000)
    assert difference.cause == "period January 2026 is closed"
    assert not books(left, exceptions=(other,)).tied


def test_a_parked_payment_explains_what_it_leaves_open() -> None:
    left = tuple(
        msgspec.structs.replace(one, open_minor=10725) if one.id == "1" else one
        for one in ERP
        if one.id != "9"
    )
    mine = OpenException(exception_id="e1", document="pay_1", cause="parked")
    result = books(left, exceptions=(mine,))
    assert result.tied
    assert [one.document for one in result.differences] == ["pay_1"]


def test_an_open_amount_that_differs_by_itself_is_told() -> None:
    result = books(altered("2", open_minor=15000))
    assert named(result) == [("billing_erp", "in_2", 5000)]


def test_created_is_not_posted() -> None:
    result = books(altered("2", posted=False))
    assert named(result) == [("billing_erp", "in_2", 20000)]
    assert "not posted" in result.unexplained[0].cause
    pending = msgspec.structs.replace(ERP[1], id="99", number="N-99", posted=False)
    assert [one.document for one in books((*ERP, pending)).duplicates] == ["in_2"]


def test_in_the_wrong_entity() -> None:
    result = books(altered("2", entity="jp"), balances(ERP))
    assert {(one.entity, one.document, one.amount_minor) for one in result.unexplained} == {
        ("us", "in_2", 20000),
        ("jp", "in_2", -20000),
    }


def test_a_trial_balance_that_is_not_zero() -> None:
    ledger = tuple(
        msgspec.structs.replace(one, balance_minor=one.balance_minor + 1) if one.account == "2200" else one
        for one in balances(ERP)
    )
    assert named(books(ledger=ledger)) == [("subledger_gl", "trial balance us Jan 2026", -1)]


def test_contract_lines() -> None:
    crm = (line("006A"), line("006B"), line("006G"), line("006G", line="006G-2"))
    billing = (line("006A", quantity=Decimal(11), contracted_minor=1188000), line("006B"), line("006X"))
    parked = OpenException(exception_id="e1", document="006G", cause="GHOST has no ERP rule")
    result = books(crm_lines=crm, billing_lines=billing, exceptions=(parked,))
    assert named(result) == [("crm_billing", "006A", -108000), ("crm_billing", "006X", -1080000)]
    assert [(one.document, one.amount_minor) for one in result.differences] == [("006G", 2160000)]
    assert "quantity 10 is 11 at billing" in result.unexplained[0].cause


def test_a_second_subscription_is_a_duplicate() -> None:
    result = books(billing_lines=(line("006A"), line("006A"), line("006B")))
    assert named(result) == []
    assert [(one.document, one.amount_minor) for one in result.duplicates] == [("006A", -1080000)]


def test_equal_value_with_another_term_is_told() -> None:
    result = books(billing_lines=(line("006A", end=date(2027, 1, 14)), line("006B")))
    assert named(result) == [("crm_billing", "006A", 0)]


def test_the_hash_is_of_the_business_not_of_its_ids() -> None:
    """Ids, numbers, keys and the order of arrival differ from run to run."""
    ids = {one.id: f"x{number}" for number, one in enumerate(BILLING)}
    billing = tuple(
        msgspec.structs.replace(
            one,
            id=ids[one.id],
            number="?",
            source="",
            settled=tuple((ids[target], amount) for target, amount in one.settled),
        )
        for one in reversed(BILLING)
    )
    documents = tuple(
        msgspec.structs.replace(
            one, id=f"y{one.id}", number="!", source=ids[one.source], document_key=f"Z{one.id}"
        )
        for one in reversed(ERP)
    )
    renamed = books(
        documents,
        billing_documents=billing,
        recorded={},
        crm_lines=(line("B", quantity=Decimal("10.0")), line("A")),
        billing_lines=(line("A"), line("B")),
    )
    assert renamed.tied
    assert renamed.books_hash == books().books_hash
    assert books(altered("2", day=date(2026, 1, 21))).books_hash != books().books_hash


changes = st.lists(
    st.tuples(
        st.sampled_from([one.id for one in ERP]), st.sampled_from(["drop", "double", "cent", "tax", "open"])
    ),
    max_size=6,
)


def contents(documents: Iterable[ListedDocument]) -> list[str]:
    return sorted(str(msgspec.structs.replace(one, id="")) for one in documents)


@given(changes, st.randoms(use_true_random=False))
def test_listed_differences_sum_to_the_delta_of_the_totals(
    todo: list[tuple[str, str]], shuffle: random.Random
) -> None:
    documents = list(ERP)
    for number, (id, what) in enumerate(todo):
        at = next((index for index, one in enumerate(documents) if one.id == id), None)
        if at is None:
            continue
        one = documents[at]
        match what:
            case "drop":
                documents.pop(at)
            case "double":
                documents.append(msgspec.structs.replace(one, id=f"d{number}"))
            case "cent":
                documents[at] = msgspec.structs.replace(one, total_minor=one.total_minor + 1)
            case "tax":
                more = int(one.kind in ("invoice", "credit_memo"))
                documents[at] = msgspec.structs.replace(one, tax_minor=one.tax_minor + more)
            case _:
                # An open credit memo is no open receivable.
                more = int(one.kind == "invoice")
                documents[at] = msgspec.structs.replace(one, open_minor=one.open_minor + more)
    shuffle.shuffle(documents)
    result = books(tuple(documents))
    told = [*result.differences, *result.unexplained, *result.duplicates]
    assert not any(one.document.startswith("total of") for one in told)
    main = {"invoices", "credits", "voids", "write-offs", "payments", "refunds"}
    # By content: a copy that stands in the place of the original is as good as it.
    assert result.tied == (contents(documents) == contents(ERP))
    delta = sum(row.delta_minor for row in result.books.billing_erp if row.measure in main)
    # A difference of tax or of the open amount alone is no difference of the sums of documents.
    sums = [one for one in told if "has tax of" not in one.cause and "is open at" not in one.cause]
    assert delta == sum(one.amount_minor for one in sums if one.pair == "billing_erp")
