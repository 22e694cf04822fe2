"""The connector against its twin, over real sockets: a whole order-to-cash, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from tests.conformance.support import RealClock, Served, open_world, refused_url, serve
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.order import Subscription
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
from tieout.canonical.payment import Payment, Refund
from tieout.canonical.secret import Secret
from tieout.canonical.write import CustomerWrite, SubscriptionWrite, SubscriptionWriteLine
from tieout.connectors.contract import Keys, World
from tieout.connectors.stripe import CONNECTOR
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.connection import StripeConnection
from tieout.finance.expected import expected_documents, fold_endings, settled_at_billing
from tieout.ports import Request
from tieout_lab.twins import stripe as twins
from tieout_lab.twins.clock import SystemTwinClock

BUSINESS = datetime(2026, 1, 15, 18, tzinfo=UTC)


def keys(number: int, epoch: int = 0) -> Keys:
    return Keys(
        effect=f"effect-{number}", document=f"KEY{number:013}", wire=f"wire-{number}-{epoch}", trace="tr-1"
    )


@dataclass
class Bench:
    twin: Served
    world: World
    clock: RealClock

    def connection(self, **more: Any) -> StripeConnection:
        given: dict[str, Any] = {
            "api_key": Secret("sk_test_us"),
            "account": "acct_us",
            "url": self.twin.url,
            "entity": "us",
            "time_zone": "America/Los_Angeles",
            "product_prefix": "prod_",
            "webhook_secrets": [Secret("whsec_us")],
            "timeout_seconds": 1,
            **more,
        }
        opened = CONNECTOR.open("stripe-us", StripeConfig(**given), self.world)
        assert isinstance(opened, StripeConnection)
        return opened

    async def customer(self, number: int = 1, email: str = "ap@example.com") -> str:
        return await confirmed(self.connection().send("customer.create", buyer(email), keys(number)))


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(twins.create(SystemTwinClock(business=BUSINESS))) as served:
        served.act("seed_catalogue")
        yield served


@pytest.fixture
async def bench(twin: Served) -> AsyncIterator[Bench]:
    clock = RealClock()
    async with open_world(clock=clock) as world:
        yield Bench(twin, world, clock)


async def confirmed(sending: Any) -> str:
    outcome = await sending
    assert isinstance(outcome, Confirmed), outcome
    return outcome.receipt.external_id


def buyer(email: str = "ap@example.com") -> CustomerWrite:
    return CustomerWrite(
        source=Ref(connection="salesforce-main", kind="account", id="001A"),
        name='Ümlaut & "Söhne" 🎉',
        email=email,
        currencies=("USD",),
        billing_address=Address(
            line1="1 Main St", city="Los Angeles", region="CA", postal_code="90001", country="US"
        ),
        shipping_address=Address(),
        trace="tr-1",
    )


def sold(customer: str, **more: Any) -> SubscriptionWrite:
    def line(
        id: str, product: str, quantity: int, unit: str, charge: str = "recurring"
    ) -> SubscriptionWriteLine:
        return SubscriptionWriteLine(
            contract_line=id, product=product, description="", quantity=Decimal(quantity), unit_minor=Decimal(unit),
            charge=charge,
        )  # fmt: skip

    given: dict[str, Any] = {
        "source": Ref(connection="salesforce-main", kind="opportunity", id="006A"),
        "account": "001A",
        "customer": customer,
        "currency": "USD",
        "lines": (
            line("00kA", "PLATFORM", 10, "4500.5"),
            line("00kB", "SUPPORT", 1, "20000"),
            line("00kC", "ONBOARD", 1, "50000", "one_time"),
        ),
        "starts_at": datetime(2026, 1, 15, 8, tzinfo=UTC),
        "ends_at": datetime(2027, 1, 15, 8, tzinfo=UTC),
        "future": False,
        "frequency": "month",
        "days_until_due": 30,
        "po_number": "PO-7",
        "as_of": date(2026, 1, 15),
        "trace": "tr-1",
        **more,
    }
    return SubscriptionWrite(**given)


def invoices_of(twin: Served) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = twin.act("snapshot", account="acct_us")["acct_us"].get("invoices", [])
    return found


async def first_invoice(bench: Bench) -> Invoice:
    customer = await bench.customer()
    await confirmed(bench.connection().send("subscription.create", sold(customer), keys(2)))
    (found,) = invoices_of(bench.twin)
    return await bench.connection().fetch(Invoice, found["id"])


async def test_a_subscription_bills_what_was_sold_with_tax_and_our_references(bench: Bench) -> None:
    invoice = await first_invoice(bench)
    assert invoice.net_minor == 45005 + 20000 + 50000
    # California: 7.25 %, rounded half up on each line.
    assert invoice.tax_minor == 3263 + 1450 + 3625
    assert {tax.jurisdiction for line in invoice.lines for tax in line.taxes} == {"US-CA"}
    assert {tax.rate_percent for line in invoice.lines for tax in line.taxes} == {Decimal("7.25")}
    assert sorted(line.contract_line for line in invoice.lines) == ["00kA", "00kB", "00kC"]
    assert {line.product for line in invoice.lines} == {"PLATFORM", "SUPPORT", "ONBOARD"}
    recurring = next(line for line in invoice.lines if line.contract_line == "00kA")
    assert recurring.service_start == datetime(2026, 1, 15, 8, tzinfo=UTC)
    assert recurring.service_end == datetime(2026, 2, 15, 8, tzinfo=UTC)
    assert (invoice.opportunity, invoice.account, invoice.trace, invoice.po_number) == (
        "006A",
        "001A",
        "tr-1",
        "PO-7",
    )
    assert invoice.issued_at == BUSINESS


async def test_a_year_of_billing_comes_to_the_contracted_value(bench: Bench) -> None:
    await first_invoice(bench)
    bench.twin.act("advance", business="2027-02-01T00:00:00+00:00")
    # A year of it is listed at once: longer than the second after which these tests give up.
    api = bench.connection(timeout_seconds=30)
    listed = [row async for row in api.documents("invoice")]
    assert len(listed) == 12
    assert sum(row.total_minor - row.tax_minor for row in listed) == 12 * 65005 + 50000
    lines = {row.line: row async for row in api.contract_lines()}
    assert {id: row.contracted_minor for id, row in lines.items()} == {
        "00kA": 540060,
        "00kB": 240000,
        "00kC": 50000,
    }
    assert (lines["00kA"].contract, lines["00kA"].frequency, lines["00kC"].frequency) == (
        "006A",
        "month",
        "once",
    )
    assert (lines["00kA"].start, lines["00kA"].end) == (date(2026, 1, 15), date(2027, 1, 15))


async def test_a_future_start_is_a_schedule_and_becomes_its_subscription(bench: Bench) -> None:
    api, customer = bench.connection(), await bench.customer()
    later = sold(customer, future=True, starts_at=datetime(2026, 2, 1, 8, tzinfo=UTC), ends_at=None)
    id = await confirmed(api.send("subscription.create", later, keys(2)))
    assert id.startswith("sub_sched_")
    before = await api.fetch(Subscription, id)
    assert (before.status, before.start, len(before.lines)) == ("future", date(2026, 2, 1), 3)
    assert {row.line async for row in api.contract_lines()} == {"00kA", "00kB", "00kC"}
    bench.twin.act("advance", business="2026-02-03T00:00:00+00:00")
    after = await api.fetch(Subscription, id)
    assert (after.ref.id, after.status, after.document_key) == (id, "active", keys(2).document)
    found = await api.find("subscription.create", later, keys(2), bench.clock.now())
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others) == (id, ())
    assert {row.line async for row in api.contract_lines()} == {"00kA", "00kB", "00kC"}


async def test_payments_credits_and_refunds(bench: Bench) -> None:
    api, invoice = bench.connection(), await first_invoice(bench)
    customer = invoice.customer.id
    id = invoice.ref.id
    bench.twin.act("wire", account="acct_us", customer=customer, amount=60000, currency="usd",
                   invoices=[{"invoice": id, "amount": 50000}], reference="WIRE-1")  # fmt: skip
    bench.twin.act("pay_invoice", account="acct_us", invoice=id)
    settled = await api.fetch(Invoice, id)
    assert (settled.paid_minor, settled.credited_minor) == (invoice.total_minor, 0)
    rows = {row.reason: row async for row in api.documents("payment")}
    wire, card = rows["bank"], rows["gateway"]
    assert (wire.total_minor, wire.open_minor, wire.settled) == (60000, 10000, ((id, 50000),))
    payment = await api.fetch(Payment, card.id)
    assert payment.amount_minor == invoice.total_minor - 50000
    assert [part.invoice.id for part in payment.applications] == [id]
    record = await api.fetch(Payment, wire.id)
    assert (record.channel, record.unapplied_minor, record.reference) == ("bank", 10000, "WIRE-1")

    line = next(line for line in invoice.lines if line.contract_line == "00kA")
    part = {"type": "invoice_line_item", "invoice_line_item": line.id, "quantity": 2}
    note = bench.twin.act("credit", account="acct_us", invoice=id, refund=True, lines=[part])
    memo = await api.fetch(CreditMemo, note["id"])
    assert memo.net_minor == 9001
    assert (memo.lines[0].product, memo.lines[0].service_end) == ("PLATFORM", line.service_end)
    ((refund_id, amount),) = memo.refunds
    refund = await api.fetch(Refund, refund_id)
    assert (refund.amount_minor, refund.credit_memos) == (amount, ((memo.ref, amount),))
    assert refund.payment.id == card.id
    assert [row.id async for row in api.documents("refund")] == [refund_id]
    assert [row.reason async for row in api.documents("credit_memo")] == ["credited"]


async def test_a_void_is_history_with_a_day_of_its_own(bench: Bench) -> None:
    api, invoice = bench.connection(), await first_invoice(bench)
    bench.twin.act("advance", business="2026-02-02T00:00:00+00:00")
    bench.twin.act("void_invoice", account="acct_us", invoice=invoice.ref.id)
    again = await api.fetch(Invoice, invoice.ref.id)
    assert [kind for kind, _ in again.transitions] == ["finalised", "voided"]
    (row,) = [row async for row in api.documents("credit_memo")]
    assert (row.reason, row.day, row.source) == ("voided", date(2026, 2, 1), invoice.ref.id)


async def test_a_void_after_a_partial_credit_memo_owes_the_erp_the_rest(bench: Bench) -> None:
    api, invoice = bench.connection(), await first_invoice(bench)
    id = invoice.ref.id
    note = bench.twin.act("credit", account="acct_us", invoice=id, amount=10000)
    assert (await api.fetch(Invoice, id)).credited_minor == 10000
    bench.twin.act("void_invoice", account="acct_us", invoice=id)
    rows = [row async for row in api.documents("invoice")] + [
        row async for row in api.documents("credit_memo")
    ]
    (memo,) = [row for row in rows if row.reason == "credited"]
    assert (memo.id, memo.settled) == (note["id"], ((id, 10000),))
    folded = fold_endings(rows)
    (voided,) = [row for row in folded if row.kind == "invoice"]
    owed = expected_documents(voided, settled_at_billing(folded), zero_total_posted=True, tax_relief=True)
    assert [(one.kind, one.measure, one.amount_minor) for one in owed] == [
        ("invoice", "invoices", invoice.total_minor),
        ("credit_memo", "voids", invoice.total_minor - 10000),
    ]
    assert sum(one.tax_minor for one in owed[1:]) + memo.tax_minor == invoice.tax_minor


async def test_a_reported_payment_shows_no_value_date(bench: Bench) -> None:
    """The vendor takes `initiated_at` and `guaranteed_at` and shows neither: the day of the report stands."""
    url = f"{bench.twin.url}/v1/payment_records/report_payment"
    early = int(datetime(2026, 1, 2, tzinfo=UTC).timestamp())
    form = {
        "amount_requested[value]": "700",
        "amount_requested[currency]": "usd",
        "initiated_at": str(early),
        "outcome": "guaranteed",
        "guaranteed[guaranteed_at]": str(early),
        "payment_method_details[type]": "custom",
    }
    headers = {
        "authorization": "Bearer sk_test_us",
        "content-type": "application/x-www-form-urlencoded",
        "stripe-version": "2026-10-28.endive",
    }
    request = Request(method="POST", url=url, headers=headers, body=urlencode(form).encode())
    answer = await bench.world.transport.exchange(request)
    assert answer.status == 200, answer.body
    record = msgspec.json.decode(answer.body)
    assert str(early) not in answer.body.decode()
    payment = await bench.connection().fetch(Payment, record["id"])
    assert payment.received_at == BUSINESS


async def test_the_erp_reference_is_written_and_read_back_and_its_echo_known(bench: Bench) -> None:
    api, invoice = bench.connection(), await first_invoice(bench)
    fields = {"erp_document": "17", "erp_number": "INV-1", "erp_status": "posted"}
    assert isinstance(await api.assign(invoice.ref, "erp", fields, keys(9)), Confirmed)
    assert await api.read_back(invoice.ref, "erp", fields) == fields
    events = bench.twin.act("snapshot", account="acct_us")["acct_us"]["events"]
    (update,) = [
        event
        for event in events
        if event["type"] == "invoice.updated" and event["data"].get("previous_attributes")
    ][-1:]
    (change,) = api.parse(msgspec.json.encode(update), bench.clock.now())
    assert change.echo
    assert change.subject == invoice.ref


async def test_the_feed_brings_every_event_once_and_then_waits(bench: Bench) -> None:
    await first_invoice(bench)
    api, cursor, seen = bench.connection(), "", []
    for _ in range(50):
        page = await api.poll(cursor)
        cursor = page.cursor
        seen += [event.type for event in page.events]
        if not page.more:
            break
    assert "invoice.finalized" in seen
    assert "customer.subscription.created" in seen


async def test_a_repeated_create_is_replayed_and_makes_one(bench: Bench) -> None:
    api = bench.connection()
    first = await api.send("customer.create", buyer(), keys(1))
    again = await api.send("customer.create", buyer(), keys(1))
    assert isinstance(first, Confirmed)
    assert isinstance(again, Confirmed)
    assert (again.replayed, again.receipt.external_id) == (True, first.receipt.external_id)
    other = await api.send("customer.create", buyer("x@example.com"), keys(1))
    assert isinstance(other, OutcomeUnknown)
    assert other.saved
    assert len(bench.twin.act("snapshot", account="acct_us")["acct_us"]["customers"]) == 1


@pytest.mark.parametrize("kind", ["timeout_after_work", "error_after", "reset", "malformed", "html"])
async def test_work_that_was_done_and_not_answered_is_found(bench: Bench, kind: str) -> None:
    api = bench.connection()
    sent_at = bench.clock.now()
    bench.twin.fail(kind)
    assert isinstance(await api.send("customer.create", buyer(), keys(1)), OutcomeUnknown)
    bench.twin.faults()
    found = await api.find("customer.create", buyer(), keys(1), sent_at)
    assert isinstance(found, Found)
    assert found.others == ()
    if kind == "error_after":  # the 500 was saved under the key: asking again tells nothing new
        again = await api.send("customer.create", buyer(), keys(1))
        assert isinstance(again, OutcomeUnknown)
        assert again.saved


async def test_work_that_was_not_done_is_absent(bench: Bench) -> None:
    api = bench.connection()
    sent_at = bench.clock.now()
    bench.twin.fail("error_before")
    assert isinstance(await api.send("customer.create", buyer(), keys(1)), OutcomeUnknown)
    bench.twin.faults()
    assert isinstance(await api.find("customer.create", buyer(), keys(1), sent_at), Absent)


async def test_a_limit_is_a_limit_for_writes_and_reads(bench: Bench) -> None:
    api = bench.connection()
    bench.twin.fail("rate_limited")
    assert isinstance(await api.send("customer.create", buyer(), keys(1)), RateLimited)
    with pytest.raises(Failure) as caught:
        await api.fetch(Invoice, "in_1")
    assert isinstance(caught.value.outcome, RateLimited)


@pytest.mark.parametrize("kind", ["error_before", "refuse", "malformed", "html", "hang"])
async def test_a_read_that_goes_wrong_may_be_asked_again(bench: Bench, kind: str) -> None:
    invoice = await first_invoice(bench)
    bench.twin.fail(kind)
    with pytest.raises(Failure) as caught:
        await bench.connection().fetch(Invoice, invoice.ref.id)
    assert isinstance(caught.value.outcome, Transient)


async def test_a_wrong_key_an_other_account_and_nobody_there(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = bench.connection(api_key=Secret("sk_test_wrong"))
    outcome = await wrong.send("customer.create", buyer(), keys(1))
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "connection"
    assert "sk_test_wrong" not in repr(outcome) + caplog.text
    with pytest.raises(Failure, match="pinned to acct_jp"):
        await bench.connection(account="acct_jp").identity()
    nobody = bench.connection(url=refused_url())
    assert isinstance(await nobody.send("customer.create", buyer(), keys(1)), Transient)


async def test_an_unknown_customer_is_rejected_in_the_vendors_words(bench: Bench) -> None:
    outcome = await bench.connection().send("subscription.create", sold("cus_none"), keys(2))
    assert isinstance(outcome, Rejected)
    assert outcome.code == "resource_missing"
    assert "cus_none" in outcome.message


async def test_products_identity_and_check(bench: Bench) -> None:
    api = bench.connection()
    assert await api.codes("product") == {"PLATFORM", "SUPPORT", "ONBOARD", "ANALYTICS"}
    assert (await api.identity()).account == "acct_us"
    bench.twin.act("register_webhook", account="acct_us", url="http://127.0.0.1:9/hook")
    assert [finding for finding in await api.check() if finding.level != "ok"] == []
    wrong = await bench.connection(api_key=Secret("sk_test_wrong")).check()
    assert [finding.level for finding in wrong] == ["error"]
