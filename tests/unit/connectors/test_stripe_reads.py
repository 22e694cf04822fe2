"""Aggregates, feed and listings from canned answers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.conformance.support import canned
from tests.unit.connectors.stripe_world import NOW, RATE, connection, error, fixture, invoice, line, page
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.order import Subscription
from tieout.canonical.outcome import Failure, Misconfigured, NotFound, RateLimited, Rejected, Transient
from tieout.canonical.payment import Payment, Refund
from tieout.ports import TransportError

CA = ("US-CA", Decimal("7.25"), 10000, 725)


async def test_a_normal_invoice_is_one_call_once_its_tax_rate_is_known() -> None:
    found = invoice(line("il_1", 10000, 725), total=10725)
    api, transport = connection(canned(found), canned(RATE), canned(found))
    first = await api.fetch(Invoice, "in_1")
    again = await api.fetch(Invoice, "in_1")
    assert first == again
    assert [urlsplit(request.url).path for request in transport.requests] == [
        "/v1/invoices/in_1",
        "/v1/tax_rates/txr_ca",
        "/v1/invoices/in_1",
    ]
    assert (first.net_minor, first.tax_minor, first.total_minor) == (10000, 725, 10725)
    tax = first.lines[0].taxes[0]
    assert (tax.jurisdiction, tax.rate_percent, tax.basis_minor, tax.tax_minor) == CA
    assert (first.opportunity, first.account, first.trace, first.po_number) == (
        "006A",
        "001A",
        "tr-1",
        "PO-7",
    )
    assert first.lines[0].contract_line == "00kA"
    assert first.subscription is not None
    assert [obligation.kind for obligation in first.obligations()] == ["finalised"]
    assert transport.requests[0].headers["Stripe-Version"] == "2026-10-28.endive"


async def test_all_lines_beyond_the_first_page() -> None:
    lines = [line(f"il_{place}", 100) for place in range(230)]
    found = invoice(*lines[:10], total=23000)
    found["lines"]["has_more"] = True
    api, transport = connection(canned(found), page(*lines[10:110], more=True), page(*lines[110:]))
    whole = await api.fetch(Invoice, "in_1")
    assert len(whole.lines) == 230
    assert parse_qs(urlsplit(transport.requests[1].url).query)["starting_after"] == ["il_9"]


async def test_a_page_that_repeats_is_refused() -> None:
    found = invoice(line("il_1", 100), total=200)
    found["lines"]["has_more"] = True
    api, _ = connection(canned(found), page(line("il_1", 100), more=True))
    with pytest.raises(Failure, match="repeats"):
        await api.fetch(Invoice, "in_1")


async def test_net_is_after_discounts_and_without_inclusive_tax() -> None:
    inclusive = line("il_2", 11000, 1000, discount_amounts=[])
    inclusive["taxes"][0]["tax_behavior"] = "inclusive"
    discounted = line("il_1", 10000, discount_amounts=[{"amount": 1500, "discount": "di_1"}])
    api, _ = connection(canned(invoice(discounted, inclusive, total=19500)), canned(RATE))
    whole = await api.fetch(Invoice, "in_1")
    assert [part.net_minor for part in whole.lines] == [8500, 10000]
    assert whole.lines[0].discount_minor == 1500
    assert whole.tax_minor == 1000


async def test_lines_that_do_not_sum_to_the_total_are_refused_with_the_difference() -> None:
    api, _ = connection(canned(invoice(line("il_1", 10000), total=10001)))
    with pytest.raises(Failure) as caught:
        await api.fetch(Invoice, "in_1")
    assert isinstance(caught.value.outcome, Rejected)
    assert caught.value.outcome.code == "totals"
    assert "a difference of -1 USD" in caught.value.outcome.message


async def test_history_is_in_order_of_time_and_an_unknown_status_is_pending() -> None:
    found = invoice(line("il_1", 100), total=100, status="reborn")
    found["status_transitions"] |= {"marked_uncollectible_at": 1769932800, "voided_at": 1770000000}
    api, _ = connection(canned(found))
    whole = await api.fetch(Invoice, "in_1")
    assert [kind for kind, _ in whole.transitions] == ["finalised", "written_off", "voided"]
    assert whole.status == "pending"


async def test_a_tax_of_nothing_without_a_rate_has_the_customers_jurisdiction() -> None:
    taxed = line("il_1", 100, 0)
    taxed["taxes"][0] |= {"tax_rate_details": None, "taxability_reason": "not_collecting"}
    shipped = {"address": {"country": "US", "state": "TX"}}
    api, _ = connection(canned(invoice(taxed, total=100, customer_shipping=shipped)))
    (tax,) = (await api.fetch(Invoice, "in_1")).lines[0].taxes
    assert (tax.jurisdiction, tax.tax_minor, tax.reason) == ("US-TX", 0, "not_collecting")


async def test_iceland_has_no_decimals_though_stripe_shows_two() -> None:
    api, _ = connection(canned(invoice(line("il_1", 150000), total=150000, currency="isk")))
    assert (await api.fetch(Invoice, "in_1")).total_minor == 1500


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (error(429, "invalid_request_error", "rate_limit"), RateLimited),
        (error(500, "api_error"), Transient),
        (error(401, "invalid_request_error"), Misconfigured),
        (error(403, "invalid_request_error"), Misconfigured),
        (error(400, "invalid_request_error", "parameter_invalid"), Rejected),
        (canned("<html>", 200), Transient),
        (canned(b'{"id":"in_', 200), Transient),
        (canned("", 302, location="https://elsewhere"), Misconfigured),
        (canned(invoice(total=0, livemode=True)), Misconfigured),
        (TransportError("reset", sent=True), Transient),
    ],
)
async def test_a_read_that_fails_says_what_happens_next(answer: Any, outcome: type) -> None:
    api, _ = connection(answer)
    with pytest.raises(Failure) as caught:
        await api.fetch(Invoice, "in_1")
    assert isinstance(caught.value.outcome, outcome)
    assert "key_us" not in str(caught.value) + repr(caught.value)


async def test_an_invoice_tells_what_settled_it() -> None:
    told = invoice(line("il_1", 10000), total=10000, amount_paid=2500)
    api, _ = connection(canned({**told, "pre_payment_credit_notes_amount": 1000}))
    found = await api.fetch(Invoice, "in_1")
    assert (found.paid_minor, found.credited_minor) == (2500, 1000)


async def test_a_credit_note_is_listed_with_what_it_took_off_the_invoice() -> None:
    note = fixture("credit_note__partial")
    mixed = {**note, "id": "cn_2", "pre_payment_amount": 1145, "invoice": "in_1"}
    api, _ = connection(page(note, mixed), page())
    rows = {row.id: row.settled async for row in api.documents("credit_memo")}
    assert rows == {"cn_1": (("re_1", 1000),), "cn_2": (("in_1", 1145), ("re_1", 1000))}


async def test_what_does_not_exist_is_not_found() -> None:
    api, _ = connection(error(404, "invalid_request_error", "resource_missing"))
    with pytest.raises(NotFound):
        await api.fetch(Invoice, "in_../../account")


async def test_a_live_key_on_a_test_connection_sends_nothing() -> None:
    from tieout.canonical.secret import Secret

    api, transport = connection(api_key=Secret("sk_live_x"))
    with pytest.raises(Failure, match="test mode"):
        await api.fetch(Invoice, "in_1")
    assert transport.requests == []


async def test_a_payment_intent_is_received_when_its_balance_was_booked() -> None:
    api, transport = connection(
        canned(fixture("payment_intent__ach")), page(*fixture("invoice_payments__two")["data"])
    )
    found = await api.fetch(Payment, "pi_1")
    assert found.received_at == datetime(2026, 2, 4, tzinfo=UTC)
    assert [(part.invoice.id, part.amount_minor) for part in found.applications] == [
        ("in_1", 700),
        ("in_2", 300),
    ]
    assert (found.channel, found.status, found.amount_minor, found.unapplied_minor) == (
        "gateway",
        "succeeded",
        1200,
        200,
    )
    assert parse_qs(urlsplit(transport.requests[1].url).query)["payment[payment_intent]"] == ["pi_1"]


async def test_a_charge_behind_an_intent_is_the_intent() -> None:
    charge = {"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "livemode": False}
    api, _ = connection(canned(charge), canned(fixture("payment_intent__ach")), page())
    assert (await api.fetch(Payment, "ch_1")).ref.id == "pi_1"


async def test_a_wire_is_a_bank_payment_with_its_reference() -> None:
    api, _ = connection(canned(fixture("payment_record__wire")), page())
    found = await api.fetch(Payment, "pr_1")
    assert (found.channel, found.amount_minor, found.currency) == ("bank", 50000, "USD")
    assert (found.reference, found.customer.id, found.status) == ("WIRE-1", "cus_1", "succeeded")


@pytest.mark.parametrize(
    ("status", "ours"), [("succeeded", "succeeded"), ("requires_capture", "pending"), ("odd", "pending")]
)
async def test_an_unknown_payment_status_is_never_a_success(status: str, ours: str) -> None:
    api, _ = connection(canned({**fixture("payment_intent__ach"), "status": status}), page())
    assert (await api.fetch(Payment, "pi_1")).status == ours


async def test_a_refund_finds_the_credit_notes_it_settles() -> None:
    refund = {"id": "re_1", "amount": 300, "currency": "usd", "status": "succeeded", "created": 1770163200}
    refund |= {"payment_intent": {"id": "pi_1", "customer": "cus_1"}, "charge": "ch_1"}
    notes = [
        {
            "id": "cn_1",
            "currency": "usd",
            "refunds": [{"amount_refunded": 300, "refund": "re_1", "type": "refund"}],
        },
        {"id": "cn_2", "currency": "usd", "refunds": []},
    ]
    parts = fixture("invoice_payments__two")["data"][:1]
    api, _ = connection(canned(refund), page(*parts), page(*notes))
    found = await api.fetch(Refund, "re_1")
    assert [(memo.id, amount) for memo, amount in found.credit_memos] == [("cn_1", 300)]
    assert (found.payment.id, found.customer.id, found.channel) == ("pi_1", "cus_1", "gateway")


async def test_a_credit_note_has_products_and_periods_of_the_lines_it_corrects() -> None:
    corrected = invoice(line("il_1", 10000, 725), total=10725)
    api, _ = connection(canned({**fixture("credit_note__partial"), "invoice": corrected}), canned(RATE))
    memo = await api.fetch(CreditMemo, "cn_1")
    assert (memo.net_minor, memo.tax_minor, memo.total_minor) == (2000, 145, 2145)
    assert (memo.lines[0].product, memo.lines[0].invoice_line) == ("prod_PLATFORM", "il_1")
    assert memo.lines[0].service_end == datetime(2026, 2, 1, 8, tzinfo=UTC)
    assert (memo.refunds, memo.to_balance_minor) == ((("re_1", 1000),), 1145)


async def test_a_schedule_is_future_until_it_has_a_subscription() -> None:
    api, _ = connection(canned(fixture("schedule__future")))
    found = await api.fetch(Subscription, "sub_sched_1")
    assert (found.status, found.start, found.end) == ("future", date(2026, 4, 1), date(2027, 4, 1))
    assert [(part.contract_line, part.charge) for part in found.lines] == [
        ("00kA", "recurring"),
        ("00kB", "one_time"),
    ]


async def test_a_schedule_that_began_has_its_subscriptions_state_under_its_own_id() -> None:
    begun = {**fixture("schedule__future"), "status": "active", "subscription": "sub_1"}
    api, _ = connection(canned(begun), canned(fixture("subscription__active")))
    found = await api.fetch(Subscription, "sub_sched_1")
    assert (found.ref.id, found.status, found.document_key) == ("sub_sched_1", "active", "0123456789ABCDEF")


async def test_contract_lines_come_from_subscriptions_invoices_and_schedules() -> None:
    setup = line("il_9", 50000, metadata={"crm_line": "00kB"}, quantity=1)
    setup["pricing"] = {"price_details": {"product": "prod_ONBOARD"}, "unit_amount_decimal": "50000"}
    setup["parent"] = {
        "type": "invoice_item_details",
        "invoice_item_details": {"subscription": "sub_1", "proration": False},
    }
    api, _ = connection(
        page(invoice(line("il_1", 10000), setup, total=60000)),
        page(fixture("schedule__future")),
        page(fixture("subscription__active")),
        product_prefix="prod_",
    )
    lines = [row async for row in api.contract_lines()]
    assert [(row.line, row.product, row.frequency, row.contracted_minor, row.status) for row in lines] == [
        ("00kA", "PLATFORM", "month", 120000, "active"),
        ("00kB", "ONBOARD", "once", 50000, "active"),
        ("00kA", "PLATFORM", "quarter", 40000, "future"),
        ("00kB", "ONBOARD", "once", 5000, "future"),
    ]


async def test_invoices_are_listed_by_their_day_at_home_and_voids_beside_the_credits() -> None:
    voided = invoice(line("il_1", 100), total=100, id="in_2", status="void", amount_remaining=100)
    voided["status_transitions"] = {"finalized_at": 1769932799, "voided_at": 1770019200}
    voided["effective_at"] = None
    draft = invoice(total=0, id="in_3", status="draft", status_transitions={}, effective_at=None)
    api, _ = connection(page(voided, draft))
    (row,) = [row async for row in api.documents("invoice")]
    assert (row.id, row.day, row.status, row.open_minor) == ("in_2", date(2026, 1, 31), "voided", 0)
    api, _ = connection(page(), page(voided, draft))
    (void,) = [row async for row in api.documents("credit_memo")]
    assert (void.reason, void.source, void.day, void.total_minor) == ("voided", "in_2", date(2026, 2, 2), 100)


# ---------------------------------------------------------------------------------------------------------- feed


def told(second: int, id: str, type_: str = "invoice.paid") -> dict[str, Any]:
    found = {"id": "in_1", "object": "invoice"}
    return {
        "id": id,
        "object": "event",
        "type": type_,
        "created": second,
        "livemode": False,
        "data": {"object": found},
    }


async def test_the_feed_reads_oldest_first_and_starts_an_overlap_back() -> None:
    now = int(NOW.timestamp())
    payout = {**told(now - 7, "evt_p"), "type": "payout.paid", "data": {"object": {"id": "po_1"}}}
    api, transport = connection(page(told(now - 5, "evt_2"), told(now - 9, "evt_1")), page(payout))
    found = await api.poll(f"{now - 600}:86400")
    assert [event.id for event in found.events] == ["evt_1", "evt_p", "evt_2"]
    assert (found.cursor, found.more) == (f"{now - 125}:86400", False)
    queries = [parse_qs(urlsplit(request.url).query) for request in transport.requests]
    assert [query["created[gte]"] for query in queries] == [[str(now - 600)]] * 2
    assert not any("created[lt]" in query for query in queries)
    assert all(len(query["types[]"]) <= 20 for query in queries), "Stripe takes no more in one query"
    types = [name for query in queries for name in query["types[]"]]
    assert len(types) == len(set(types)) == 26


async def test_the_feed_narrows_its_window_until_a_page_holds_it() -> None:
    now = int(NOW.timestamp())
    full = [told(now - 300, f"evt_{place}") for place in range(100)]
    api, transport = connection(page(*full, more=True), page(), page(told(now - 390, "evt_a")), page())
    found = await api.poll(f"{now - 400}:86400")
    assert [event.id for event in found.events] == ["evt_a"]
    assert (found.cursor, found.more) == (f"{now - 300}:200", True)
    assert parse_qs(urlsplit(transport.requests[2].url).query)["created[lt]"] == [str(now - 300)]


async def test_the_feed_reads_a_second_with_more_than_a_page_whole() -> None:
    now = int(NOW.timestamp())
    full = [told(now - 300, f"evt_{place}") for place in range(100)]
    whole = page(*full, more=True), page(told(now - 300, "evt_last")), page()
    api, _ = connection(page(*full, more=True), page(), *whole)
    found = await api.poll(f"{now - 300}:1")
    assert (len(found.events), found.events[0].id, found.cursor) == (101, "evt_last", f"{now - 299}:2")


async def test_the_feed_of_another_mode_blocks_the_connection() -> None:
    api, _ = connection(page({**told(1, "evt_1"), "livemode": True}), page())
    with pytest.raises(Failure) as caught:
        await api.poll("")
    assert isinstance(caught.value.outcome, Misconfigured)
