"""What is sent, and what the answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tests.conformance.support import canned
from tests.unit.connectors.netsuite_world import (
    KEYS,
    NOW,
    Account,
    connect,
    invoice,
    made,
    on,
    on_query,
    period,
    refused,
)
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Found,
    Inconclusive,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.canonical.party import Address
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    RefundWrite,
    Write,
)
from tieout.connectors.http import decode_json
from tieout.ports import TransportError

FIXTURES = Path(__file__).parent / "fixtures" / "netsuite"
READ_BACK = (FIXTURES / "invoice__read_back.json").read_bytes()
PAYMENT = PaymentWrite(
    source=Ref(connection="billing", kind="payment", id="pi_1"),
    entity="us",
    subsidiary="1",
    customer="901",
    account="1050",
    currency="JPY",
    amount_minor=100000,
    day=date(2026, 1, 31),
    journal=(),
)


async def test_invoice_body_is_the_golden_one() -> None:
    account = Account(on("POST", "/invoice", made(647)))
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Confirmed)
    assert outcome.receipt.external_id == "647"
    assert outcome.receipt.posted
    (request,) = account.sent("POST")
    assert decode_json(request.body) == decode_json((FIXTURES / "invoice__us_two_lines.json").read_bytes())
    assert b'"quantity":10,' in request.body  # plain, not 1E+1
    assert b'"amount":1200.50' in request.body  # a number, exactly
    assert request.headers["x-netsuite-propertynamevalidation"] == "Error"


async def test_codes_are_looked_up_once() -> None:
    account = Account(on("POST", "/invoice", made(647)))
    connection = connect(account)
    for _ in range(3):
        await connection.send("invoice.create", invoice(), KEYS)
    assert len(account.sent("POST")) == 3
    assert len([one for one in account.requests if "suiteql" in one.url]) == 6


async def test_unknown_item_is_asked_for_again_once_it_exists() -> None:
    account = Account(on("POST", "/invoice", made(647)))
    everything = account.tables["item"]
    account.tables["item"] = everything[:1]
    connection = connect(account)
    outcome = await connection.send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Misconfigured)
    assert (outcome.scope, outcome.key) == ("mapping", "netsuite-main|item|ONBOARD-IMM")
    assert account.sent("POST") == []
    account.tables["item"] = everything
    await connection.client.http.world.clock.sleep(31)
    assert isinstance(await connection.send("invoice.create", invoice(), KEYS), Confirmed)


async def test_subsidiary_with_approval_is_created_not_posted() -> None:
    account = Account(on("POST", "/invoice", made(1)))
    outcome = await connect(account).send("invoice.create", invoice(subsidiary="2"), KEYS)
    assert isinstance(outcome, Confirmed)
    assert not outcome.receipt.posted


async def test_yen_have_no_decimals() -> None:
    account = Account(on("POST", "/customerPayment", made(5, "customerPayment")))
    assert isinstance(await connect(account).send("payment.create", PAYMENT, KEYS), Confirmed)
    (request,) = account.sent("POST")
    body = decode_json(request.body)
    assert b'"payment":100000,' in request.body
    assert body["autoApply"] is False
    assert body["account"] == {"id": "105"}
    assert "apply" not in body


async def test_refund_settles_a_credit_memo() -> None:
    account = Account(on("POST", "/customerRefund", made(6, "customerRefund")))
    write = RefundWrite(
        source=Ref(connection="billing", kind="refund", id="re_1"),
        entity="us",
        subsidiary="1",
        customer="901",
        account="1050",
        currency="USD",
        amount_minor=1999,
        day=date(2026, 1, 31),
        settles=(("650", 1999),),
        journal=(),
    )
    assert isinstance(
        await connect(account, refund_payment_method="3").send("refund.create", write, KEYS), Confirmed
    )
    body = decode_json(account.sent("POST")[0].body)
    assert body["apply"] == {"items": [{"doc": {"id": "650"}, "apply": True, "amount": Decimal("19.99")}]}
    assert body["paymentMethod"] == {"id": "3"}


async def test_customer_is_upserted_by_our_key() -> None:
    account = Account(on("PUT", "/customer/eid:K7Q2M0V9ZT3HC4XA", made(901, "customer")))
    write = CustomerWrite(
        source=Ref(connection="crm", kind="account", id="0015g00000AbCdEAAV"),
        name="Ünïcode & Söhne “GmbH” " + "x" * 90,
        email="ap@example.test",
        currencies=("USD", "JPY"),
        billing_address=Address(
            line1="1 Main St", city="Oakland", region="CA", postal_code="94601", country="US"
        ),
        shipping_address=Address(country="JP"),
        subsidiary="1",
        terms="NET30",
    )
    outcome = await connect(account).send("customer.create", write, KEYS)
    assert isinstance(outcome, Confirmed)
    assert outcome.receipt.external_id == "901"
    (request,) = account.sent("PUT")
    assert request.url.endswith("?replace=addressBook,currencyList")  # a second PUT must not append
    body = decode_json(request.body)
    assert len(body["entityId"]) <= 83
    assert body["entityId"].endswith(" 0015g00000AbCdEAAV")
    assert body["currencyList"] == {"items": [{"currency": {"id": "1"}}, {"currency": {"id": "2"}}]}
    assert [one["defaultBilling"] for one in body["addressBook"]["items"]] == [True, False]


CASES = [
    (refused(429, "CONCURRENCY_LIMIT_EXCEEDED", retry_after="5"), RateLimited),
    (refused(400, "SSS_REQUEST_LIMIT_EXCEEDED"), RateLimited),
    (refused(400, "RCRD_HAS_BEEN_CHANGED"), Transient),
    (refused(503, "SERVICE_UNAVAILABLE"), Transient),
    (canned("<html>gateway</html>", 503), OutcomeUnknown),
    (refused(500, "UNEXPECTED_ERROR"), OutcomeUnknown),
    (canned("<html>maintenance</html>", 200), OutcomeUnknown),
    (canned(b"", 204), OutcomeUnknown),
    (canned(b"", 202, location="/services/rest/async/v1/job/7"), OutcomeUnknown),
    (TransportError("no answer", sent=True), OutcomeUnknown),
    (TransportError("refused", sent=False), Transient),
    (refused(400, "INVALID_CONTENT", "Invalid Field Value 9999", "item.items[0].item"), Rejected),
    (refused(403, "INSUFFICIENT_PERMISSION"), Misconfigured),
    (canned(b"", 302, location="https://elsewhere.test/"), Misconfigured),
]


@pytest.mark.parametrize(("answer", "kind"), CASES, ids=[str(number) for number in range(len(CASES))])
async def test_what_an_answer_means(answer: object, kind: type) -> None:
    account = Account(on("POST", "/invoice", answer))  # type: ignore[arg-type]
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, kind), outcome
    assert len(account.sent("POST")) == 1  # never a second time by itself


async def test_rejection_keeps_the_vendors_words_and_path() -> None:
    account = Account(
        on("POST", "/invoice", refused(400, "INVALID_CONTENT", "Invalid 9999", "item.items[0].item"))
    )
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert outcome == Rejected(code="INVALID_CONTENT", message="Invalid 9999 (item.items[0].item)")


@pytest.mark.parametrize(
    ("code", "words", "flags"),
    [
        ("TRAN_PRD_CLOSED", "nicht möglich", {}),
        ("USER_ERROR", "irgend ein Text", {"closed": "T"}),
        ("USER_ERROR", "irgend ein Text", {"arlocked": "T"}),
        ("USER_ERROR", "You cannot post: the posting period is closed.", {}),
    ],
)
async def test_closed_period_by_code_then_by_itself_then_by_words(
    code: str, words: str, flags: dict[str, str]
) -> None:
    account = Account(on("POST", "/invoice", refused(400, code, words)))
    account.tables["accountingperiod"] = [period("201", 1, **flags), period("202", 2)]
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Misconfigured)
    assert (outcome.scope, outcome.key) == ("period", "us|2026-01")


async def test_other_business_rule_with_an_open_period_is_a_rejection() -> None:
    account = Account(
        on("POST", "/invoice", refused(400, "USER_ERROR", "This record has been locked by a workflow"))
    )
    assert isinstance(await connect(account).send("invoice.create", invoice(), KEYS), Rejected)


async def test_duplicate_that_is_ours_is_confirmed_as_a_replay() -> None:
    account = Account(
        on("POST", "/record/v1/invoice", refused(400, "DUP_RCRD")),
        on("GET", "/invoice/eid:K7Q2M0V9ZT3HC4XA", canned(READ_BACK)),
    )
    outcome = await connect(account).send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Confirmed)
    assert outcome.replayed
    assert (outcome.receipt.external_id, outcome.receipt.total_minor) == ("647", 128747)


async def test_duplicate_that_is_not_there_yet_is_unknown() -> None:
    account = Account(
        on("POST", "/record/v1/invoice", refused(400, "DUP_RCRD")),
        on("GET", "/invoice/eid:", refused(404, "NONEXISTENT_ID")),
    )
    assert isinstance(await connect(account).send("invoice.create", invoice(), KEYS), OutcomeUnknown)


async def test_find_by_key_absent_and_inconclusive() -> None:
    there = Account(on("GET", "/invoice/eid:", canned(READ_BACK)))
    found = await connect(there).find("invoice.create", invoice(), KEYS, NOW)
    assert isinstance(found, Found)
    assert found.receipt.number == "INV1001"
    nowhere = Account(
        on("GET", "/invoice/eid:", refused(404, "NONEXISTENT_ID")), on_query("FROM transaction", [])
    )
    absent = await connect(nowhere).find("invoice.create", invoice(), KEYS, NOW)
    assert absent == Absent(conclusive_at=NOW + timedelta(seconds=960))
    down = Account(on("GET", "/invoice/eid:", TransportError("no answer", sent=True)))
    assert isinstance(await connect(down).find("invoice.create", invoice(), KEYS, NOW), Inconclusive)


async def test_search_only_finds_both_copies_and_the_one_that_lost_its_key() -> None:
    row = {"status": "A", "approvalstatus": "2", "posting": "T", "voided": "F", "symbol": "USD"}
    rows = [
        {**row, "id": "12", "tranid": "INV12", "externalid": KEYS.document, "foreigntotal": "1287.47"},
        {**row, "id": "9", "tranid": "INV9", "externalid": KEYS.document, "foreigntotal": "1287.47"},
        {**row, "id": "14", "tranid": "INV14", "foreigntotal": "1287.47", "custbody_tieout_source": "in_1"},
        {**row, "id": "16", "tranid": "INV16", "foreigntotal": "1287.47", "custbody_tieout_source": "in_2"},
        {**row, "id": "15", "tranid": "INV15", "foreigntotal": "5.00", "custbody_tieout_source": "in_1"},
    ]
    account = Account(on_query("FROM transaction", rows))
    connection = connect(account, enforce_keys=False)
    assert connection.operations["invoice.create"].uniqueness == "search_only"
    found = await connection.find("invoice.create", invoice(), KEYS, NOW)
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others) == ("9", ("12", "14"))
    assert not [one for one in account.requests if "eid:" in one.url]


async def test_approval_is_idempotent_and_found_by_its_state() -> None:
    pending = READ_BACK.replace(
        b'"id": "A", "refName": "Open"', b'"id": "D", "refName": "Pending Approval"'
    ).replace(b'"id": "2", "refName": "Approved"', b'"id": "1", "refName": "Pending Approval"')
    account = Account(
        on("PATCH", "/invoice/647", canned(b"", 204)), on("GET", "/invoice/647", canned(pending))
    )
    write = ApproveWrite(document="647", kind="invoice")
    connection = connect(account)
    assert isinstance(await connection.send("invoice.post", write, KEYS), Confirmed)
    assert decode_json(account.sent("PATCH")[0].body) == {"approvalStatus": {"id": "2"}}
    assert isinstance(await connection.find("invoice.post", write, KEYS, NOW), Absent)
    account.answers = [on("GET", "/invoice/647", canned(READ_BACK))]
    assert isinstance(await connection.find("invoice.post", write, KEYS, NOW), Found)


async def test_read_back_that_stands_as_asked_is_one_call() -> None:
    account = Account(on("GET", "/invoice/647", canned(READ_BACK)))
    connection = connect(account)
    first = await connection.verify_document("invoice.create", invoice(), "647")
    assert first.differences == ()
    assert first.receipt.posted
    before = len(account.requests)
    await connection.verify_document("invoice.create", invoice(), "647")
    assert len(account.requests) == before + 1


async def test_read_back_names_every_difference() -> None:
    wrong = (
        READ_BACK.replace(b"1287.47", b"1287.48")
        .replace(b'"taxAmount": 87.04', b'"taxAmount": 87.05')
        .replace(b'"taxTotal": 87.04', b'"taxTotal": 87.05')
        .replace(b'"id": "201", "refName": "Jan 2026"', b'"id": "202", "refName": "Feb 2026"')
        .replace(b'"item": {"id": "52"', b'"item": {"id": "51"')
    )
    account = Account(on("GET", "/invoice/647", canned(wrong)))
    verified = await connect(account).verify_document("invoice.create", invoice(), "647")
    assert set(verified.differences) == {
        ("account:2400", "120050", "120043"),
        ("account:4000", "-7", "0"),
        ("tax:CA_725", "8704", "8705"),
        ("period", "Jan 2026", "Feb 2026"),
        ("total", "128747", "128748"),
        ("tax", "8704", "8705"),
    }


async def test_applications_replace_the_whole_list_and_are_read_back_in_order() -> None:
    target = Ref(connection="netsuite-main", kind="payment", id="700")
    lines = [
        {"doc": {"id": "3"}, "apply": True, "amount": 1.5},
        {"doc": {"id": "1"}, "apply": True, "amount": 2},
        {"doc": {"id": "8"}, "apply": False, "amount": None, "due": 4},
    ]
    record = {"id": "700", "currency": {"id": "1"}, "apply": {"items": lines}}
    account = Account(
        on("PATCH", "/customerPayment/700?replace=apply", canned(b"", 204)),
        on("GET", "/customerPayment/700", canned(record)),
    )
    connection = connect(account)
    fields = {"applications": (("3", 150), ("1", 200))}
    assert isinstance(await connection.assign(target, "applications", fields, KEYS), Confirmed)  # type: ignore[arg-type]
    body = msgspec.json.decode(
        account.sent("PATCH")[0].body, type=dict[str, dict[str, list[dict[str, object]]]]
    )
    assert [one["doc"] for one in body["apply"]["items"]] == [{"id": "3"}, {"id": "1"}]
    assert await connection.read_back(target, "applications", fields) == fields  # type: ignore[arg-type]


DINAR = {"id": "9", "symbol": "KWD", "currencyprecision": "2"}
_WRITES = [
    ("invoice.create", lambda fils: dinars(fils)),
    ("payment.create", lambda fils: msgspec.structs.replace(PAYMENT, currency="KWD", amount_minor=fils)),
    ("refund.create", lambda fils: RefundWrite(
        source=Ref(connection="billing", kind="refund", id="re_1"), entity="us", subsidiary="1", customer="901",
        account="1050", currency="KWD", amount_minor=fils, day=date(2026, 1, 31), settles=(("3", fils),), journal=(),
    )),
    ("journal.create", lambda fils: JournalWrite(
        reason="payout", source=Ref(connection="billing", kind="payout", id="po_1"), number="po_1", entity="us",
        subsidiary="1", currency="KWD", amount_minor=fils, day=date(2026, 1, 31),
        journal=tuple(
            JournalLine(account="1050", amount_minor=amount, currency="KWD", entity="us") for amount in (fils, -fils)
        ),
    )),
]  # fmt: skip


def dinars(fils: int) -> DocumentWrite:
    lines = tuple(msgspec.structs.replace(line, net_minor=fils, taxes=()) for line in invoice().lines)
    return invoice(currency="KWD", lines=lines, net_minor=2 * fils, tax_minor=0, total_minor=2 * fils)


@pytest.mark.parametrize(("operation", "write"), _WRITES, ids=[operation for operation, _ in _WRITES])
async def test_an_amount_that_the_account_would_round_is_refused_before_it_is_sent(
    operation: str, write: Callable[[int], Write]
) -> None:
    account = Account(on("POST", "/record/v1/", made(1)))
    account.tables["currency"].append(DINAR)
    outcome = await connect(account).send(operation, write(1_235), KEYS)
    assert isinstance(outcome, Rejected)
    assert (outcome.code, "1.235 KWD" in outcome.message) == ("AMOUNT_PRECISION", True)
    assert account.sent("POST") == []
    assert isinstance(await connect(account).send(operation, write(1_230), KEYS), Confirmed)
    assert b"1.23" in account.sent("POST")[0].body
    # What queries do not show is not checked.
    account.tables["currency"] = [*account.tables["currency"][:-1], {"id": "9", "symbol": "KWD"}]
    assert isinstance(await connect(account).send(operation, write(1_235), KEYS), Confirmed)


async def test_an_application_that_the_account_would_round_is_refused_before_it_is_sent() -> None:
    account = Account(on("PATCH", "/customerPayment/700?replace=apply", canned(b"", 204)))
    account.tables["currency"].append(DINAR)
    target = Ref(connection="netsuite-main", kind="payment", id="700")
    for fils, outcome in ((1_235, Rejected), (1_230, Confirmed)):
        fields = {"applications": (("3", fils),), "currency": "KWD"}
        assert isinstance(await connect(account).assign(target, "applications", fields, KEYS), outcome)  # type: ignore[arg-type]
    assert len(account.sent("PATCH")) == 1


async def test_unknown_field_is_refused_before_anything_is_sent() -> None:
    account = Account()
    target = Ref(connection="netsuite-main", kind="customer", id="901")
    outcome = await connect(account).assign(target, "customer", {"creditLimit": 5}, KEYS)
    assert isinstance(outcome, Rejected)
    assert account.requests == []


async def test_expired_token_is_renewed_once_and_the_request_repeated() -> None:
    answers = [refused(401, "INVALID_LOGIN"), made(647)]
    account = Account(lambda request: answers.pop(0) if "/record/v1/invoice" in request.url else None)
    assert isinstance(await connect(account).send("invoice.create", invoice(), KEYS), Confirmed)
    assert account.signed_in == 2


async def test_refused_fresh_token_is_the_connections_fault_unless_others_are_under_way() -> None:
    account = Account(on("POST", "/record/v1/invoice", refused(401, "INVALID_LOGIN")))
    connection = connect(account)
    outcome = await connection.send("invoice.create", invoice(), KEYS)
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "connection"

    waiting = asyncio.Event()
    inner = account.exchange

    async def exchange(request: object) -> object:
        if "customerPayment" in request.url:  # type: ignore[attr-defined]
            await waiting.wait()
            return made(5, "customerPayment")
        return await inner(request)  # type: ignore[arg-type]

    account.exchange = exchange  # type: ignore[method-assign,assignment]
    other = asyncio.create_task(connection.send("payment.create", PAYMENT, KEYS))
    await asyncio.sleep(0.01)
    assert isinstance(await connection.send("invoice.create", invoice(), KEYS), RateLimited)
    waiting.set()
    assert isinstance(await other, Confirmed)


async def test_fifty_at_once_sign_in_once() -> None:
    account = Account(on("POST", "/record/v1/invoice", made(1)))
    connection = connect(account)
    await asyncio.gather(*(connection.send("invoice.create", invoice(), KEYS) for _ in range(50)))
    assert account.signed_in == 1
