"""The connector against its twin, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tests.conformance.support import RealClock, Served, open_world, serve
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    Found,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.canonical.party import Address
from tieout.canonical.secret import Secret
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    RefundWrite,
    TaxDetail,
)
from tieout.connectors.contract import Keys, World
from tieout.connectors.netsuite import CONNECTOR
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.connection import NetSuite
from tieout.finance.expected import Expected
from tieout.finance.receivables import _pair
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite.twin import NetSuiteTwin

DAY = date(2026, 1, 20)
BILLING_DAY = datetime(2026, 1, 20, 12, tzinfo=UTC)
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def keys(number: int) -> Keys:
    document = "".join(ALPHABET[(number * 7 + place * 5) % 32] for place in range(15)) + ALPHABET[number % 32]
    return Keys(effect=f"co|netsuite-main|op|{number}", document=document, wire=f"w-{number}", trace="tr")


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(NetSuiteTwin(SystemTwinClock(business=BILLING_DAY))) as served:
        yield served


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world(clock=RealClock()) as opened:
        yield opened


def config_of(twin: Served, **changes: Any) -> NetSuiteConfig:
    said = twin.describe()
    given: dict[str, Any] = {
        "url": said["url"],
        "account": said["account"],
        "live": False,
        "client_id": said["client_id"],
        "certificate_id": said["certificate_id"],
        "private_key": Secret(said["private_key"]),
        "algorithm": said.get("algorithm", "ES256"),
        "timeout_seconds": 2,
        "approval": {"1": "off", "2": "person"},
        "currencies": {"1": "USD", "2": "JPY"},
        "entities": {"1": "us", "2": "jp"},
        "refund_payment_method": "4",
    }
    return NetSuiteConfig(**{**given, **changes})


@pytest.fixture
def connection(twin: Served, world: World) -> NetSuite:
    opened: NetSuite = CONNECTOR.open("netsuite-main", config_of(twin), world)
    return opened


def customer(subsidiary: str = "1", *currencies: str) -> CustomerWrite:
    return CustomerWrite(
        source=Ref(connection="crm", kind="account", id=f"0015g00000AbCd{subsidiary}"),
        name="Acme “Ünïcode” & Söhne, Ltd",
        email="ap@acme.test",
        currencies=currencies or ("USD", "EUR"),
        billing_address=Address(
            line1="1 Main St", city="Oakland", region="CA", postal_code="94601", country="US"
        ),
        shipping_address=Address(
            line1="2 Dock St", city="Reno", region="NV", postal_code="89501", country="US"
        ),
        subsidiary=subsidiary,
        terms="2",
    )


def document(customer_id: str, number: int = 1, **changes: Any) -> DocumentWrite:
    tax = TaxDetail(
        code="CA_725", jurisdiction="US-CA", rate_percent=Decimal("7.25"), basis_minor=120000, tax_minor=8700
    )
    given: dict[str, Any] = {
        "kind": "invoice",
        "reason": "finalised",
        "source": Ref(connection="billing", kind="invoice", id=f"in_{number}"),
        "number": f"INV-{number}",
        "entity": "us",
        "subsidiary": "1",
        "customer": customer_id,
        "currency": "USD",
        "day": DAY,
        "due": DAY + timedelta(days=30),
        "lines": (
            DocumentLine(
                item="PLATFORM-DEF",
                account="2400",
                description="Platform",
                quantity=Decimal(3),
                net_minor=100000,
                department="10",
                service_start=DAY,
                service_end=DAY + timedelta(days=30),
                taxes=(tax,),
                source_line="il_1",
            ),
            DocumentLine(
                item="ONBOARD-IMM",
                account="4000",
                description="Onboarding",
                quantity=Decimal(1),
                net_minor=20001,
            ),
        ),
        "net_minor": 120001,
        "tax_minor": 8700,
        "total_minor": 128701,
        "journal": (JournalLine(account="1100", amount_minor=128701, currency="USD", entity="us"),),
        "trace": "tr",
    }
    return DocumentWrite(**{**given, **changes})


def payment(customer_id: str, amount_minor: int, number: int = 1) -> PaymentWrite:
    return PaymentWrite(
        source=Ref(connection="billing", kind="payment", id=f"pi_{number}"),
        entity="us",
        subsidiary="1",
        customer=customer_id,
        account="1050",
        currency="USD",
        amount_minor=amount_minor,
        day=DAY,
        journal=(),
    )


def payout(number: int = 1, net: int = 9_700, fees: int = 300, **changes: Any) -> JournalWrite:
    amounts = {"1000": net, "6100": fees, "1050": -net - fees}
    given: dict[str, Any] = {
        "reason": "payout",
        "source": Ref(connection="billing", kind="payout", id=f"po_{number}"),
        "number": f"po_{number}",
        "entity": "us",
        "subsidiary": "1",
        "currency": "USD",
        "amount_minor": net + fees,
        "day": DAY,
        "trace": "tr",
    }
    currency = changes.get("currency", "USD")
    journal = tuple(
        JournalLine(account=account, amount_minor=amount, currency=currency, entity="us")
        for account, amount in amounts.items()
    )
    return JournalWrite(**{**given, "journal": journal, **changes})


async def new_customer(connection: NetSuite, subsidiary: str = "1", *currencies: str) -> str:
    made = await connection.send(
        "customer.create", customer(subsidiary, *currencies), keys(900 + int(subsidiary))
    )
    assert isinstance(made, Confirmed), made
    return made.receipt.external_id


async def confirmed(connection: NetSuite, operation: str, write: Any, number: int) -> str:
    outcome = await connection.send(operation, write, keys(number))
    assert isinstance(outcome, Confirmed), outcome
    return outcome.receipt.external_id


async def test_order_to_cash(connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    assert await new_customer(connection) == buyer  # an upsert: one customer
    assert (await connection.verify_document("customer.create", customer(), buyer)).differences == ()

    write = document(buyer)
    invoice = await confirmed(connection, "invoice.create", write, 1)
    verified = await connection.verify_document("invoice.create", write, invoice)
    assert verified.differences == ()
    assert verified.receipt.posted
    assert verified.receipt.number
    assert verified.receipt.total_minor == 128701

    paid = payment(buyer, 130000)
    receipt = await confirmed(connection, "payment.create", paid, 2)
    assert (await connection.verify_document("payment.create", paid, receipt)).differences == ()
    target = Ref(connection="netsuite-main", kind="payment", id=receipt)
    for amount_minor in (100, 100000):  # the second replaces the first
        fields: Any = {"applications": ((invoice, amount_minor),)}
        assert isinstance(await connection.assign(target, "applications", fields, keys(3)), Confirmed)
        assert await connection.read_back(target, "applications", fields) == fields

    memo = document(buyer, 2, kind="credit_memo", reason="credited", due=None, applies_to=((invoice, 28701),))
    credit = await confirmed(connection, "credit_memo.create", memo, 4)
    assert (await connection.verify_document("credit_memo.create", memo, credit)).differences == ()
    refund = RefundWrite(
        source=Ref(connection="billing", kind="refund", id="re_1"),
        entity="us",
        subsidiary="1",
        customer=buyer,
        account="1050",
        currency="USD",
        amount_minor=5000,
        day=DAY,
        settles=((credit, 5000),),
        journal=(),
    )
    back = await confirmed(connection, "refund.create", refund, 5)
    assert (await connection.verify_document("refund.create", refund, back)).differences == ()

    (listed,) = [one async for one in connection.documents("invoice")]
    assert (listed.id, listed.total_minor, listed.tax_minor, listed.open_minor) == (invoice, 128701, 8700, 0)
    assert (listed.source, listed.document_key, listed.entity) == ("in_1", keys(1).document, "us")
    assert (listed.period, listed.period_start) == ("Jan 2026", date(2026, 1, 1))
    (listed,) = [one async for one in connection.documents("payment")]
    assert (listed.open_minor, listed.settled) == (30000, ((invoice, 100000),))
    (listed,) = [one async for one in connection.documents("credit_memo")]
    assert (listed.total_minor, listed.tax_minor, listed.open_minor) == (128701, 8700, 95000)
    (listed,) = [one async for one in connection.documents("refund")]
    assert (listed.total_minor, listed.settled) == (5000, ((credit, 5000),))

    balances = await connection.balances()
    assert sum(one.balance_minor for one in balances) == 0
    (receivables,) = [one for one in balances if one.account == "1100"]
    assert receivables.subledger_minor == receivables.balance_minor == 128701 - 130000 - 128701 + 5000


async def test_yen_pending_then_approved(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection, "2", "JPY")
    tax = TaxDetail(
        code="JP_10", jurisdiction="JP", rate_percent=Decimal(10), basis_minor=100000, tax_minor=10000
    )
    line = DocumentLine(
        item="PLATFORM-IMM",
        account="4000",
        description="座席",
        quantity=Decimal(2),
        net_minor=100000,
        taxes=(tax,),
    )
    write = document(
        buyer,
        1,
        entity="jp",
        subsidiary="2",
        currency="JPY",
        lines=(line,),
        net_minor=100000,
        tax_minor=10000,
        total_minor=110000,
        journal=(),
    )
    outcome = await connection.send("invoice.create", write, keys(1))
    assert isinstance(outcome, Confirmed)
    assert not outcome.receipt.posted
    id = outcome.receipt.external_id
    verified = await connection.verify_document("invoice.create", write, id)
    assert verified.differences == ()
    assert not verified.receipt.posted
    assert await connection.statuses("invoice", (id, "99999999")) == {id: "created"}
    approve = ApproveWrite(document=id, kind="invoice")
    assert isinstance(await connection.find("invoice.post", approve, keys(2), BILLING_DAY), Absent)
    refused = await connection.send("invoice.post", approve, keys(2))
    assert isinstance(refused, Rejected), refused  # a person's, not the role's: the connection is sound
    twin.act("preferences", approval={"1": "off", "2": "hub"})
    for _ in range(2):
        assert isinstance(await connection.send("invoice.post", approve, keys(2)), Confirmed)
    assert isinstance(await connection.find("invoice.post", approve, keys(2), BILLING_DAY), Found)
    assert await connection.statuses("invoice", (id,)) == {id: "posted"}
    assert (await connection.verify_document("invoice.post", approve, id)).differences == ()


async def test_duplicate_write_makes_one_document(connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    first = await confirmed(connection, "invoice.create", document(buyer), 1)
    again = await connection.send("invoice.create", document(buyer), keys(1))
    assert isinstance(again, Confirmed)
    assert again.replayed
    assert again.receipt.external_id == first


async def test_un_keyed_account_shows_both_copies(twin: Served, world: World) -> None:
    connection = CONNECTOR.open("netsuite-main", config_of(twin, enforce_keys=False), world)
    buyer = await new_customer(connection)
    twin.faults(enforce_keys=False)
    first = await confirmed(connection, "invoice.create", document(buyer), 1)
    second = await confirmed(connection, "invoice.create", document(buyer), 1)
    found = await connection.find("invoice.create", document(buyer), keys(1), BILLING_DAY)
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others) == (first, (second,))


@pytest.mark.parametrize(
    ("fault", "kinds", "there"),
    [
        ("timeout_after_work", (OutcomeUnknown,), True),
        ("error_after", (OutcomeUnknown,), True),
        ("reset", (OutcomeUnknown,), True),
        ("html", (OutcomeUnknown,), True),
        ("error_before", (OutcomeUnknown,), False),
        ("refuse", (OutcomeUnknown,), False),
        ("rate_limited", (RateLimited,), False),
    ],
)
async def test_faults_of_a_write(
    twin: Served, connection: NetSuite, fault: str, kinds: tuple[type, ...], *, there: bool
) -> None:
    buyer = await new_customer(connection)
    await connection.codes("item")
    twin.fail_once(fault, "invoice.create" if _knows(twin, "invoice.create") else "*")
    write = document(buyer)
    for kind in ("item", "currency", "tax_code", "department", "terms"):
        await connection.code_tables.table(kind)
    outcome = await connection.send("invoice.create", write, keys(1))
    assert isinstance(outcome, kinds), outcome
    twin.faults()
    found = await connection.find("invoice.create", write, keys(1), datetime.now(UTC))
    assert isinstance(found, Found if there else Absent), found


def _knows(twin: Served, operation: str) -> bool:
    return any(route.operation == operation for route in twin.app.routes)


async def test_visibility_delay_hides_nothing_that_can_be_read_by_id(
    twin: Served, connection: NetSuite
) -> None:
    buyer = await new_customer(connection)
    twin.faults(visibility_delay_seconds=3600)
    id = await confirmed(connection, "invoice.create", document(buyer), 1)
    assert (await connection.verify_document("invoice.create", document(buyer), id)).differences == ()
    assert await connection.statuses("invoice", (id,)) == {id: "posted"}


async def test_closed_period_is_named_by_entity_and_month(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    periods = await connection.periods("1")
    assert next(one for one in periods if one.name == "Jan 2026").status == "open"
    twin.act("close_period", period="Jan 2026")
    assert next(one for one in await connection.periods("1") if one.name == "Jan 2026").status == "closed"
    outcome = await connection.send("invoice.create", document(buyer), keys(1))
    assert isinstance(outcome, Misconfigured), outcome
    assert (outcome.scope, outcome.key) == ("period", "us|2026-01")
    released = document(buyer, posting_period="Feb 2026")
    id = await confirmed(connection, "invoice.create", released, 1)
    verified = await connection.verify_document("invoice.create", released, id)
    assert (verified.differences, verified.receipt.period) == ((), "Feb 2026")


async def test_approval_into_a_closed_period_is_the_periods(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection, "2", "JPY")
    line = DocumentLine(item="PLATFORM-IMM", account="4000", description="", quantity=None, net_minor=5000)
    changes: dict[str, Any] = {
        "entity": "jp",
        "subsidiary": "2",
        "currency": "JPY",
        "lines": (line,),
        "journal": (),
    }
    write = document(buyer, 1, net_minor=5000, tax_minor=0, total_minor=5000, **changes)
    id = await confirmed(connection, "invoice.create", write, 1)
    twin.act("preferences", approval={"1": "off", "2": "hub"})
    twin.act("close_period", period="Jan 2026")
    outcome = await connection.send("invoice.post", ApproveWrite(document=id, kind="invoice"), keys(2))
    assert isinstance(outcome, Misconfigured), outcome
    assert (outcome.scope, outcome.key) == ("period", "jp|2026-01")


async def test_foreign_currency_ties_with_realised_differences(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    line = DocumentLine(item="PLATFORM-IMM", account="4000", description="", quantity=None, net_minor=33333)
    changes: dict[str, Any] = {"currency": "EUR", "lines": (line,), "journal": ()}
    write = document(buyer, 1, net_minor=33333, tax_minor=0, total_minor=33333, **changes)
    invoice = await confirmed(connection, "invoice.create", write, 1)
    assert (await connection.verify_document("invoice.create", write, invoice)).differences == ()
    later = msgspec.structs.replace(payment(buyer, 40000), currency="EUR", day=date(2026, 2, 20))
    twin.act("rate", currency="EUR", base="USD", rate="1.25", date="2026-02-01")
    receipt = await confirmed(connection, "payment.create", later, 2)
    target = Ref(connection="netsuite-main", kind="payment", id=receipt)
    fields: Any = {"applications": ((invoice, 33333),), "currency": "EUR"}
    assert isinstance(await connection.assign(target, "applications", fields, keys(3)), Confirmed)
    balances = await connection.balances()
    for period in ("Jan 2026", "Feb 2026"):
        assert sum(one.balance_minor for one in balances if one.period == period) == 0
    assert any(one.account == "7100" and one.balance_minor for one in balances)
    receivables = [one for one in balances if one.account == "1100"]
    assert [one.subledger_minor for one in receivables] == [one.balance_minor for one in receivables]


async def test_documents_show_their_ledger_lines_and_what_was_moved(
    twin: Served, connection: NetSuite
) -> None:
    buyer = await new_customer(connection)
    first = await confirmed(connection, "invoice.create", document(buyer), 1)
    await confirmed(connection, "invoice.create", document(buyer, 2), 2)
    billed = (
        ("1100", 128701, 128701),
        ("2200", -8700, -8700),
        ("2400", -100000, -100000),
        ("4000", -20001, -20001),
    )
    assert [one.accounts async for one in connection.documents("invoice")] == [billed, billed]
    twin.act("sabotage", kind="account", id=first)
    moved, other = [one.accounts async for one in connection.documents("invoice")]
    assert other == billed
    assert moved == (("1100", 128701, 128701), ("2200", -8700, -8700), ("4000", -120001, -120001))


async def test_ledger_lines_in_both_currencies_once_posted(twin: Served, connection: NetSuite) -> None:
    twin.act("rate", currency="EUR", base="USD", rate="1.25", date="2026-01-01")
    buyer = await new_customer(connection)
    line = DocumentLine(item="PLATFORM-IMM", account="4000", description="", quantity=None, net_minor=33333)
    changes: dict[str, Any] = {"lines": (line,), "journal": (), "net_minor": 33333, "tax_minor": 0}
    write = document(buyer, 1, currency="EUR", total_minor=33333, **changes)
    invoice = await confirmed(connection, "invoice.create", write, 1)
    (listed,) = [one async for one in connection.documents("invoice")]
    assert listed.accounts == (("1100", 33333, 41666), ("4000", -33333, -41666))
    # Settled at another rate: what is realised stands on the payment, in functional currency alone.
    twin.act("rate", currency="EUR", base="USD", rate="1.20", date="2026-02-01")
    later = msgspec.structs.replace(payment(buyer, 33333), currency="EUR", day=date(2026, 2, 20))
    receipt = await confirmed(connection, "payment.create", later, 2)
    target = Ref(connection="netsuite-main", kind="payment", id=receipt)
    fields: Any = {"applications": ((invoice, 33333),), "currency": "EUR"}
    assert isinstance(await connection.assign(target, "applications", fields, keys(3)), Confirmed)
    (paid,) = [one async for one in connection.documents("payment")]
    assert {account: amount for account, amount, _ in paid.accounts if amount} == {
        "1050": 33333,
        "1100": -33333,
    }
    assert sum(functional for _, _, functional in paid.accounts) == 0
    assert ("7100", 0, 1666) in paid.accounts

    japan = await new_customer(connection, "2", "JPY")
    yen = document(japan, 2, entity="jp", subsidiary="2", currency="JPY", total_minor=33333, **changes)
    pending = await confirmed(connection, "invoice.create", yen, 4)
    rows = {one.id: one async for one in connection.documents("invoice")}
    assert (rows[pending].posted, rows[pending].accounts) == (False, ())
    twin.act("approve", id=pending)
    rows = {one.id: one async for one in connection.documents("invoice")}
    assert rows[pending].accounts == (("1100", 33333, 33333), ("4000", -33333, -33333))


async def test_memos_say_what_they_stem_from(connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    await confirmed(connection, "invoice.create", document(buyer), 1)
    for number, reason in enumerate(("written_off", "voided"), start=2):
        memo = document(buyer, 1, kind="credit_memo", reason=reason, due=None)
        await confirmed(connection, "credit_memo.create", memo, number)
    assert [one.reason async for one in connection.documents("invoice")] == ["finalised"]
    memos = [one async for one in connection.documents("credit_memo")]
    assert [one.reason for one in memos] == ["written_off", "voided"]
    # Alike but for the reason: the pairing goes by it, not by their order.
    wanted = [
        Expected(kind="credit_memo", measure=measure, amount_minor=128701, tax_minor=8700)
        for measure in ("voids", "write-offs")
    ]
    paired = {one.measure: erp.reason for one, erp in _pair(wanted, memos) if erp}
    assert paired == {"voids": "voided", "write-offs": "written_off"}


async def test_applications_with_their_currency_are_one_call(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    invoice = await confirmed(connection, "invoice.create", document(buyer), 1)
    receipt = await confirmed(connection, "payment.create", payment(buyer, 100), 2)
    target = Ref(connection="netsuite-main", kind="payment", id=receipt)
    for fields, calls in (({}, ["GET", "PATCH"]), ({"currency": "USD"}, ["PATCH"])):
        before = len(twin.log())
        given: Any = {"applications": ((invoice, 100),), **fields}
        assert isinstance(await connection.assign(target, "applications", given, keys(3)), Confirmed)
        assert [entry["method"] for entry in twin.log()[before:]] == calls
        assert await connection.read_back(target, "applications", given) == given


async def test_what_the_vendor_refuses_is_kept_in_its_words(connection: NetSuite) -> None:
    outcome = await connection.send("invoice.create", document("99999"), keys(1))
    assert isinstance(outcome, Rejected)
    assert outcome.code
    assert outcome.message


async def test_wrong_key_stops_the_connection_and_shows_nothing(twin: Served, world: World) -> None:
    other = NetSuiteTwin(SystemTwinClock()).describe("http://other.test")["private_key"]
    connection = CONNECTOR.open("netsuite-main", config_of(twin, private_key=Secret(other)), world)
    outcome = await connection.send("customer.create", customer(), keys(1))
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "connection"
    assert other.splitlines()[1] not in repr(outcome)


async def test_another_account_than_the_pinned_one_processes_nothing(twin: Served, world: World) -> None:
    if not await CONNECTOR.open("netsuite-main", config_of(twin), world).client.account():
        pytest.skip("the twin's access token does not name its account")
    connection = CONNECTOR.open("netsuite-main", config_of(twin, account="TSTDRV7654321"), world)
    with pytest.raises(Failure) as failure:
        await connection.identity()
    assert isinstance(failure.value.outcome, Misconfigured)


async def test_reads_that_fail_are_read_again(twin: Served, connection: NetSuite) -> None:
    await connection.identity()
    for fault in ("malformed", "html", "error_before", "refuse"):
        twin.faults(rates={fault: 1.0})
        with pytest.raises(Failure) as failure:
            await connection.codes("item")
        assert isinstance(failure.value.outcome, Transient), fault
    twin.faults(rates={"rate_limited": 1.0})
    with pytest.raises(Failure) as failure:
        await connection.codes("item")
    assert isinstance(failure.value.outcome, RateLimited)


async def test_a_new_customer_is_on_no_credit_hold(connection: NetSuite) -> None:
    assert await connection.credit_hold(await new_customer(connection)) is False
    assert await connection.credit_hold("99999") is False


async def test_identity_codes_and_check(twin: Served, connection: NetSuite) -> None:
    identity = await connection.identity()
    assert (identity.organisation, identity.live) == ("Tieout Demo Inc", False)
    assert identity.account == twin.describe()["account"]
    assert "PLATFORM-DEF" in await connection.codes("item")
    assert "CA_725" in await connection.codes("tax_code")
    assert {"USD", "EUR", "JPY"} <= await connection.codes("currency")
    assert {"1100", "2400"} <= await connection.codes("account")
    findings = await connection.check()
    assert [one for one in findings if one.level != "ok"] == []


# -- journals ---------------------------------------------------------------------------------------------------------
async def test_a_journal_stands_as_it_was_decided(twin: Served, connection: NetSuite) -> None:
    write = payout()
    id = await confirmed(connection, "journal.create", write, 1)
    verified = await connection.verify_document("journal.create", write, id)
    assert verified.differences == ()
    assert (verified.receipt.posted, verified.receipt.total_minor, verified.receipt.day) == (
        True,
        10_000,
        DAY,
    )
    again = await connection.send("journal.create", write, keys(1))
    assert isinstance(again, Confirmed)
    assert (again.replayed, again.receipt.external_id) == (True, id)
    other = await connection.verify_document("journal.create", payout(net=9_600, fees=400), id)
    assert {field for field, _, _ in other.differences} == {"account:1000", "account:6100"}
    (listed,) = [one async for one in connection.documents("journal")]
    assert (listed.id, listed.kind, listed.total_minor, listed.source, listed.reason) == (
        id, "journal", 10_000, "po_1", "payout",
    )  # fmt: skip
    assert (listed.document_key, listed.entity, listed.currency, listed.posted) == (
        keys(1).document, "us", "USD", True,
    )  # fmt: skip
    assert (listed.period, listed.status) == ("Jan 2026", "posted")
    assert {account: amount for account, amount, _ in listed.accounts} == {
        "1000": 9_700, "6100": 300, "1050": -10_000,
    }  # fmt: skip
    assert {one.account: one.balance_minor for one in await connection.balances()} == {
        "1000": 9_700, "6100": 300, "1050": -10_000,
    }  # fmt: skip


async def test_a_journal_below_zero_and_in_another_currency(connection: NetSuite) -> None:
    write = payout(2, net=-3_000, fees=0, amount_minor=3_000, currency="EUR")
    write = msgspec.structs.replace(write, journal=tuple(line for line in write.journal if line.amount_minor))
    id = await confirmed(connection, "journal.create", write, 2)
    assert (await connection.verify_document("journal.create", write, id)).differences == ()
    (listed,) = [one async for one in connection.documents("journal")]
    assert (listed.total_minor, listed.currency) == (3_000, "EUR")
    assert sum(functional for _, _, functional in listed.accounts) == 0


async def test_a_journal_of_a_customer_names_it(twin: Served, connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    write = payout()
    lines = tuple(msgspec.structs.replace(line, customer=buyer, department="10") for line in write.journal)
    id = await confirmed(connection, "journal.create", msgspec.structs.replace(write, journal=lines), 1)
    document = twin.app.tenant.state.document(id)
    assert {(line.entity, line.department) for line in document.lines} == {(buyer, "10")}


async def test_journals_of_an_un_keyed_account(twin: Served, world: World) -> None:
    connection = CONNECTOR.open("netsuite-main", config_of(twin, enforce_keys=False), world)
    twin.faults(enforce_keys=False)
    write = payout()
    assert isinstance(await connection.find("journal.create", write, keys(1), BILLING_DAY), Absent)
    first = await confirmed(connection, "journal.create", write, 1)
    second = await confirmed(connection, "journal.create", write, 1)
    found = await connection.find("journal.create", write, keys(1), BILLING_DAY)
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others, found.receipt.total_minor) == (first, (second,), 10_000)
    twin.app.tenant.state.document(second).external_id = None  # a person's copy of it
    found = await connection.find("journal.create", write, keys(1), BILLING_DAY)
    assert isinstance(found, Found)
    assert [found.receipt.external_id, *found.others][:1] == [first]


async def test_a_journal_into_a_closed_period(twin: Served, connection: NetSuite) -> None:
    twin.act("close_period", period="Jan 2026")
    outcome = await connection.send("journal.create", payout(), keys(1))
    assert isinstance(outcome, Misconfigured), outcome
    assert (outcome.scope, outcome.key) == ("period", "us|2026-01")
    released = payout(posting_period="Feb 2026")
    id = await confirmed(connection, "journal.create", released, 1)
    verified = await connection.verify_document("journal.create", released, id)
    assert (verified.differences, verified.receipt.period) == ((), "Feb 2026")


async def test_a_journal_with_an_account_that_is_not_there(connection: NetSuite) -> None:
    write = payout()
    lines = tuple(msgspec.structs.replace(line, account=f"9{line.account}") for line in write.journal)
    outcome = await connection.send("journal.create", msgspec.structs.replace(write, journal=lines), keys(1))
    assert isinstance(outcome, Misconfigured)
    assert (outcome.scope, outcome.key) == ("mapping", "netsuite-main|account|91000")
    assert [one async for one in connection.documents("journal")] == []


@pytest.mark.parametrize("who", ["hub", "person"])
async def test_journals_that_are_held_for_approval(twin: Served, world: World, who: str) -> None:
    twin.act("preferences", approve_journals=True)
    connection = CONNECTOR.open("netsuite-main", config_of(twin, journal_approval=who), world)
    write = payout()
    outcome = await connection.send("journal.create", write, keys(1))
    assert isinstance(outcome, Confirmed)
    id = outcome.receipt.external_id
    verified = await connection.verify_document("journal.create", write, id)
    assert (verified.differences, verified.receipt.posted) == ((), False)
    assert await connection.statuses("journal", (id,)) == {id: "created"}
    assert await connection.balances() == ()
    assert connection.operations["journal.create"].two_phase
    assert connection.approves(write) is (who == "hub")
    if who == "hub":
        approve = ApproveWrite(document=id, kind="journal")
        for _ in range(2):
            assert isinstance(await connection.send("journal.post", approve, keys(2)), Confirmed)
    else:
        twin.act("approve", id=id)
    assert await connection.statuses("journal", (id,)) == {id: "posted"}


@pytest.mark.parametrize("fault", ["timeout_after_work", "error_after", "reset", "error_before"])
async def test_faults_of_a_journal(twin: Served, connection: NetSuite, fault: str) -> None:
    for kind in ("currency", "account", "department"):
        await connection.code_tables.table(kind)
    twin.fail_once(fault, "journalEntry.create")
    assert isinstance(await connection.send("journal.create", payout(), keys(1)), OutcomeUnknown)
    twin.faults()
    found = await connection.find("journal.create", payout(), keys(1), datetime.now(UTC))
    assert isinstance(found, Absent if fault == "error_before" else Found), found
