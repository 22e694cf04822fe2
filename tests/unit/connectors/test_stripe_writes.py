"""Bodies of writes, outcomes of answers, look-ups by our key."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest

from tests.conformance.support import canned
from tests.unit.connectors.stripe_world import KEYS, NOW, config, connection, error, page
from tieout.canonical.ids import Ref
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
from tieout.canonical.party import Address, TaxId
from tieout.canonical.write import CustomerWrite, SubscriptionWrite, SubscriptionWriteLine
from tieout.connectors.contract import (
    Assigner,
    Catalogue,
    ChangeFeed,
    Checker,
    Inbound,
    LineLister,
    Lister,
    Reader,
    Writer,
)
from tieout.connectors.stripe.bodies import customer_body, schedule_body, subscription_body
from tieout.connectors.stripe.pace import endpoint
from tieout.ports import TransportError

CUSTOMER = CustomerWrite(
    source=Ref(connection="salesforce-main", kind="account", id="001A"),
    name='Ümlaut & "Söhne" 🎉 =1+1',
    email="ap@example.com",
    currencies=("USD",),
    billing_address=Address(line1="1 Main", city="LA", region="CA", country="US"),
    shipping_address=Address(country="US", region="NY"),
    tax_ids=(TaxId(scheme="us_ein", number="12-3456789"), TaxId(scheme="other", number="X1")),
    trace="tr-1",
)


def sold(**more: Any) -> SubscriptionWrite:
    lines = (
        SubscriptionWriteLine(
            contract_line="00kA",
            product="PLATFORM",
            description="",
            quantity=Decimal("10.00"),
            unit_minor=Decimal("4500.50"),
            charge="recurring",
        ),
        SubscriptionWriteLine(
            contract_line="00kB", product="ONBOARD", description="", quantity=Decimal(1), unit_minor=Decimal(50000),
            charge="one_time",
        ),
    )  # fmt: skip
    given: dict[str, Any] = {
        "source": Ref(connection="salesforce-main", kind="opportunity", id="006A"),
        "account": "001A",
        "customer": "cus_1",
        "currency": "USD",
        "lines": lines,
        "starts_at": datetime(2026, 1, 1, 8, tzinfo=UTC),
        "ends_at": datetime(2026, 7, 1, 7, tzinfo=UTC),
        "future": False,
        "frequency": "month",
        "days_until_due": 30,
        "po_number": "PO-7",
        "trace": "tr-1",
        **more,
    }
    return SubscriptionWrite(**given)


def many(count: int, charge: str = "recurring") -> tuple[SubscriptionWriteLine, ...]:
    one = sold().lines[0]
    return tuple(
        SubscriptionWriteLine(
            contract_line=f"00k{place:015}", product="PLATFORM", description="", quantity=one.quantity,
            unit_minor=one.unit_minor, charge=charge,
        )
        for place in range(count)
    )  # fmt: skip


def test_the_connection_has_every_capability() -> None:
    api, _ = connection()
    for protocol in (Inbound, ChangeFeed, Reader, Writer, Assigner, Lister, LineLister, Catalogue, Checker):
        assert isinstance(api, protocol)


def test_a_customer() -> None:
    body = dict(customer_body(CUSTOMER, KEYS, config()))
    assert body["metadata[tieout_key]"] == KEYS.document
    assert (body["metadata[crm_account]"], body["metadata[tax_id_1]"]) == ("001A", "other X1")
    assert (body["tax_id_data[0][type]"], body["shipping[address][state]"]) == ("us_ein", "NY")
    assert "address[line2]" not in body


def test_a_subscription_that_started() -> None:
    body = dict(subscription_body(sold(), KEYS, config(product_prefix="prod_")))
    assert body["items[0][price_data][unit_amount_decimal]"] == "4500.5"
    assert (body["items[0][quantity]"], body["items[0][price_data][product]"]) == ("10", "prod_PLATFORM")
    assert body["items[0][metadata][crm_line]"] == "00kA"
    assert body["add_invoice_items[0][metadata][crm_line]"] == "00kB"
    assert "add_invoice_items[0][price_data][recurring][interval]" not in body
    assert body["backdate_start_date"] == str(int(datetime(2026, 1, 1, 8, tzinfo=UTC).timestamp()))
    # Summer time moves the last midnight by an hour; Stripe's period does not end an hour early for that.
    assert body["cancel_at"] == str(int(datetime(2026, 7, 1, 8, tzinfo=UTC).timestamp()))
    assert body["metadata[crm_lines]"] == '[["prod_PLATFORM","4500.5","00kA"]]'
    assert (body["collection_method"], body["days_until_due"], body["automatic_tax[enabled]"]) == (
        "send_invoice",
        "30",
        "true",
    )


@pytest.mark.parametrize(
    ("begins", "waits"), [(NOW + timedelta(hours=7), True), (NOW - timedelta(hours=7), False)]
)
async def test_a_day_that_has_not_come_at_home_yet_is_waited_for(begins: datetime, waits: bool) -> None:
    """A deal that somebody in Tokyo closes today begins, for the entity in Los Angeles, tomorrow."""
    refused = error(400, "invalid_request_error", message="`backdate_start_date` must be in the past.")
    api, _ = connection(refused)
    outcome = await api.send("subscription.create", sold(starts_at=begins), KEYS)
    if waits:
        assert isinstance(outcome, Transient)
        assert outcome.retry_at == begins + timedelta(minutes=1)
    else:
        assert isinstance(outcome, Rejected)


def anchor_of(body: dict[str, str]) -> dict[str, str]:
    name = "billing_cycle_anchor_config["
    return {key.removeprefix(name)[:-1]: value for key, value in body.items() if key.startswith(name)}


@pytest.mark.parametrize("as_of", [date(2026, 1, 1), date(2026, 9, 30), None])
def test_billing_stays_on_the_day_of_the_start_however_late_it_is_asked_for(as_of: date | None) -> None:
    """A deal that reached billing after its first period was refused: its anchor lay in the past. The vendor is told
    the day, and takes the next such day itself: the same words on every send."""
    monthly = dict(subscription_body(sold(as_of=as_of), KEYS, config()))
    assert anchor_of(monthly) == {"day_of_month": "1", "hour": "8", "minute": "0", "second": "0"}
    yearly = dict(subscription_body(sold(frequency="year", as_of=as_of), KEYS, config()))
    assert anchor_of(yearly)["month"] == "1"
    assert "billing_cycle_anchor" not in monthly
    assert anchor_of(dict(subscription_body(sold(), KEYS, config(align_billing_cycle=False)))) == {}


def test_the_first_of_a_month_in_tokyo_is_the_last_of_one_in_utc() -> None:
    march = {
        "starts_at": datetime(2026, 2, 28, 15, tzinfo=UTC),
        "ends_at": datetime(2027, 2, 28, 15, tzinfo=UTC),
    }
    tokyo = config(time_zone="Asia/Tokyo")
    begun = dict(subscription_body(sold(**march), KEYS, tokyo))
    assert (anchor_of(begun)["day_of_month"], anchor_of(begun)["hour"]) == ("31", "15")
    # A schedule bills on the day that its start has in UTC: it starts with 1 March there, 09:00 in Tokyo.
    future = dict(schedule_body(sold(future=True, **march), KEYS, tokyo))
    assert future["start_date"] == str(int(datetime(2026, 3, 1, tzinfo=UTC).timestamp()))
    assert future["phases[0][end_date]"] == str(int(datetime(2027, 3, 1, tzinfo=UTC).timestamp()))
    # Where the connection's zone is not that of the start, the start is taken as it is.
    elsewhere = dict(schedule_body(sold(future=True, **march), KEYS, config(time_zone="Europe/Berlin")))
    assert elsewhere["start_date"] == str(int(datetime(2026, 2, 28, 15, tzinfo=UTC).timestamp()))


@pytest.mark.parametrize(
    ("more", "zone", "schedule"),
    [
        ({"frequency": "month"}, "Asia/Tokyo", False),
        ({"frequency": "year"}, "Asia/Tokyo", False),
        ({"frequency": "quarter"}, "Asia/Tokyo", True),
        ({"frequency": "quarter"}, "America/Los_Angeles", True),
        ({"starts_at": datetime(2026, 1, 30, 15, tzinfo=UTC)}, "Asia/Tokyo", True),  # the 31st there
        ({"starts_at": datetime(2026, 1, 31, 8, tzinfo=UTC)}, "America/Los_Angeles", False),
        ({"future": True}, "America/Los_Angeles", True),
    ],
)
async def test_a_cycle_that_no_subscription_can_be_told_is_begun_by_a_schedule(
    more: dict[str, Any], zone: str, *, schedule: bool
) -> None:
    api, transport = connection(canned({"id": "x_1", "object": "x", "livemode": False}), time_zone=zone)
    assert isinstance(await api.send("subscription.create", sold(**more), KEYS), Confirmed)
    place = "subscription_schedules" if schedule else "subscriptions"
    assert transport.requests[0].url == f"https://api.stripe.com/v1/{place}"


def test_a_future_start_is_a_schedule_of_one_phase() -> None:
    body = dict(schedule_body(sold(frequency="quarter"), KEYS, config()))
    assert body["metadata[tieout_key]"] == KEYS.document
    assert "phases[0][metadata][tieout_key]" not in body
    assert body["phases[0][metadata][tieout_origin]"] == KEYS.document
    assert body["phases[0][items][0][price_data][recurring][interval_count]"] == "3"
    assert (body["end_behavior"], body["phases[0][automatic_tax][enabled]"]) == ("cancel", "true")
    assert body["phases[0][invoice_settings][days_until_due]"] == "30"
    open_end = dict(schedule_body(sold(ends_at=None), KEYS, config()))
    assert (open_end["end_behavior"], open_end["phases[0][duration][interval]"]) == ("release", "month")


def test_many_contract_lines_are_kept_in_pieces_of_500() -> None:
    body = dict(subscription_body(sold(lines=many(20)), KEYS, config()))
    pieces = [value for name, value in body.items() if name.startswith("metadata[crm_lines")]
    assert len(pieces) == 2
    assert all(len(piece) <= 500 for piece in pieces)


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (sold(lines=many(21)), "too_many_lines"),
        (sold(lines=(*many(1), *many(21, "one_time"))), "too_many_lines"),
        (sold(lines=many(1, "one_time")), "no_recurring_line"),
        (sold(frequency="week"), "frequency"),
    ],
)
async def test_what_stripe_cannot_hold_is_rejected_before_it_is_sent(
    write: SubscriptionWrite, code: str
) -> None:
    api, transport = connection()
    outcome = await api.send("subscription.create", write, KEYS)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    # The same, known before there is anything to send.
    assert api.precheck("subscription.create", write) == (outcome,)
    assert api.precheck("subscription.create", sold()) == ()
    assert transport.requests == []


async def test_a_create_is_keyed_and_confirmed() -> None:
    api, transport = connection(canned({"id": "cus_9", "object": "customer", "livemode": False}))
    outcome = await api.send("customer.create", CUSTOMER, KEYS)
    assert isinstance(outcome, Confirmed)
    assert (outcome.receipt.external_id, outcome.replayed) == ("cus_9", False)
    (request,) = transport.requests
    assert (request.headers["Idempotency-Key"], request.url) == (
        "wire-0",
        "https://api.stripe.com/v1/customers",
    )
    assert dict(parse_qsl(request.body.decode()))["name"] == CUSTOMER.name


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (error(400, "invalid_request_error", "resource_missing", "No such customer"), Rejected),
        (error(402, "card_error", "card_declined"), Rejected),
        (error(400, "idempotency_error", message="other parameters"), OutcomeUnknown),
        (error(409, "idempotency_error", "idempotency_key_in_use"), OutcomeUnknown),
        (error(429, "invalid_request_error", "rate_limit"), RateLimited),
        (error(429, "invalid_request_error", "lock_timeout"), Transient),
        (error(424, "api_error"), OutcomeUnknown),
        (error(500, "api_error"), OutcomeUnknown),
        (error(500, "api_error", idempotent_replayed="true"), OutcomeUnknown),
        (error(401, "invalid_request_error"), Misconfigured),
        (error(403, "invalid_request_error"), Misconfigured),
        (canned("", 307, location="https://elsewhere"), Misconfigured),
        (canned("<html>oops</html>"), OutcomeUnknown),
        (canned(b'{"id":"sub'), OutcomeUnknown),
        (canned({"id": "sub_1", "livemode": True}), Misconfigured),
        (TransportError("refused", sent=False), Transient),
        (TransportError("timed out", sent=True), OutcomeUnknown),
    ],
)
async def test_every_answer_to_a_create_has_its_outcome(answer: Any, expected: type) -> None:
    api, _ = connection(answer)
    assert isinstance(await api.send("subscription.create", sold(), KEYS), expected)


@pytest.mark.parametrize(
    ("answer", "saved"),
    [
        (error(400, "idempotency_error", message="other parameters"), True),
        (error(500, "api_error", idempotent_replayed="true"), True),
        (error(503, "api_error", idempotent_replayed="true", retry_after="3"), True),
        (error(424, "api_error", idempotent_replayed="true"), True),
        (error(500, "api_error"), False),
        (error(409, "idempotency_error", "idempotency_key_in_use"), False),
        (TransportError("timed out", sent=True), False),
    ],
)
async def test_a_kept_failure_says_that_asking_again_brings_nothing(answer: Any, *, saved: bool) -> None:
    api, _ = connection(answer)
    outcome = await api.send("subscription.create", sold(), KEYS)
    assert isinstance(outcome, OutcomeUnknown)
    assert outcome.saved is saved


async def test_a_kept_refusal_is_still_a_refusal() -> None:
    api, _ = connection(error(402, "card_error", "card_declined", idempotent_replayed="true"))
    assert isinstance(await api.send("subscription.create", sold(), KEYS), Rejected)


MINE = {"tieout_key": KEYS.document}


async def test_a_subscription_is_found_among_its_customers_only() -> None:
    api, transport = connection(
        page({"id": "sub_0", "created": 1, "metadata": {}}, {"id": "sub_1", "created": 2, "metadata": MINE}),
        page({"id": "sub_sched_1", "created": 3, "metadata": MINE}),
    )
    found = await api.find("subscription.create", sold(), KEYS, NOW)
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others) == ("sub_1", ("sub_sched_1",))
    assert "customer=cus_1&status=all" in transport.requests[0].url


async def test_absence_is_conclusive_only_after_longest_execution_and_visibility() -> None:
    api, _ = connection(page(), page())
    found = await api.find("customer.create", CUSTOMER, KEYS, NOW)
    assert isinstance(found, Absent)
    assert (found.conclusive_at - NOW).total_seconds() == 180


async def test_a_look_up_that_fails_says_so() -> None:
    api, _ = connection(error(500, "api_error"))
    assert isinstance(await api.find("customer.create", CUSTOMER, KEYS, NOW), Inconclusive)


@pytest.mark.parametrize(
    ("kind", "id", "path"),
    [
        ("invoice", "in_1", "/v1/invoices/in_1"),
        ("credit_memo", "cn_1", "/v1/credit_notes/cn_1"),
        ("payment", "pi_1", "/v1/payment_intents/pi_1"),
        ("payment", "pr_1", "/v1/payment_records/pr_1/report_payment_attempt_informational"),
        ("subscription", "sub_sched_1", "/v1/subscription_schedules/sub_sched_1"),
        ("customer", "cus_1", "/v1/customers/cus_1"),
    ],
)
async def test_an_assign_sets_metadata_without_a_key(kind: str, id: str, path: str) -> None:
    api, transport = connection(canned({"id": id, "livemode": False}))
    target = Ref(connection="stripe-us", kind=kind, id=id)
    fields = {"erp_document": 17, "erp_number": "INV-1", "erp_status": None}
    assert isinstance(await api.assign(target, "erp", fields, KEYS), Confirmed)
    (request,) = transport.requests
    assert request.url.endswith(path)
    assert "Idempotency-Key" not in request.headers
    assert parse_qsl(request.body.decode(), keep_blank_values=True) == [
        ("metadata[erp_document]", "17"),
        ("metadata[erp_number]", "INV-1"),
        ("metadata[erp_status]", ""),
    ]


async def test_what_the_crm_leads_of_a_customer_is_set_on_the_customer_itself() -> None:
    there = canned({"id": "cus_1", "livemode": False, "name": "Acme Ltd", "email": None})
    api, transport = connection(there, there)
    target = Ref(connection="stripe-us", kind="customer", id="cus_1")
    fields = {"name": "Acme Ltd", "email": "ap@acme.example"}
    assert isinstance(await api.assign(target, "customer", fields, KEYS), Confirmed)
    assert parse_qsl(transport.requests[0].body.decode()) == list(fields.items())
    assert await api.read_back(target, "customer", fields) == {"name": "Acme Ltd", "email": None}


async def test_read_back_answers_in_the_form_that_was_given() -> None:
    target = Ref(connection="stripe-us", kind="invoice", id="in_1")
    fields = {"erp_document": 17, "erp_number": "INV-1", "erp_status": None}
    answer = {"id": "in_1", "livemode": False, "metadata": {"erp_document": "17", "erp_number": "INV-0"}}
    api, _ = connection(canned(answer))
    assert await api.read_back(target, "erp", fields) == {
        "erp_document": 17,
        "erp_number": "INV-0",
        "erp_status": None,
    }


@pytest.mark.parametrize(("group", "fields"), [("erp", {"colour": "red"}), ("crm", {"erp_number": "1"})])
async def test_an_unknown_field_is_rejected(group: str, fields: Any) -> None:
    api, transport = connection()
    target = Ref(connection="stripe-us", kind="invoice", id="in_1")
    assert isinstance(await api.assign(target, group, fields, KEYS), Rejected)
    assert transport.requests == []


async def test_calls_of_one_endpoint_are_spread_where_the_budget_is_larger() -> None:
    answers = [canned({"id": "in_1", "livemode": False}) for _ in range(3)]
    api, transport = connection(*answers, per_second=100, per_endpoint_second=2)
    target = Ref(connection="stripe-us", kind="invoice", id="in_1")
    for _ in range(3):
        await api.assign(target, "erp", {"erp_number": "1"}, KEYS)
    assert len(transport.requests) == 3
    clock = api._outbox._client._pace._clock
    assert (clock.now() - NOW).total_seconds() == 1.0
    assert endpoint("GET", "/v1/invoices/in_1/lines?limit=1") == endpoint("GET", "/v1/invoices/in_2/lines")
    assert endpoint("GET", "/v1/invoices/in_1") != endpoint("GET", "/v1/invoices")
    assert endpoint("POST", "/v1/invoices/in_1/void") != endpoint("POST", "/v1/invoices/in_1/pay")
