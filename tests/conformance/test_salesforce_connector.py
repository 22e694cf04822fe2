"""The Salesforce connector against its twin, over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.support import (
    AiohttpTransport,
    CannedTransport,
    RealClock,
    RecordingTransport,
    Served,
    canned,
    open_world,
    refused_url,
    serve,
)
from tieout.canonical.ids import Ref
from tieout.canonical.order import Order
from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.canonical.party import Customer
from tieout.canonical.secret import Secret
from tieout.canonical.write import Fields
from tieout.connectors.contract import (
    Assigner,
    ChangeFeed,
    Checker,
    FeedPage,
    Keys,
    LineLister,
    Lister,
    Reader,
    World,
    Writer,
)
from tieout.connectors.salesforce import CONNECTOR
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.connection import SalesforceConnection
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin

KEYS = Keys(effect="e", document="0123456789ABCDEF", wire="e#1")
HOSTILE = "O'Brien \\ \"x\" 🎉 =SUM(A1), \u202eRTL, ' OR Name != '"


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(SalesforceTwin(SystemTwinClock())) as served:
        yield served


@pytest.fixture
async def transport() -> AsyncIterator[RecordingTransport]:
    recording = RecordingTransport(AiohttpTransport())
    yield recording
    await recording.close()


def config(twin: Served, **changes: Any) -> SalesforceConfig:
    told = twin.describe()
    given: dict[str, Any] = {
        "login_url": told["login_url"],
        "org_id": told["org_id"],
        "consumer_key": told["consumer_key"],
        "username": told["username"],
        "private_key": Secret(told["private_key"]),
        "client_secret": Secret(told["client_secret"]),
        "start_date": (datetime.now(UTC) - timedelta(days=1)).date(),
        "timeout_seconds": 2,
    }
    return SalesforceConfig(**given | changes)


@pytest.fixture
async def world(transport: RecordingTransport) -> AsyncIterator[World]:
    async with open_world(transport) as opened:
        yield opened


@pytest.fixture
def crm(twin: Served, world: World) -> SalesforceConnection:
    return CONNECTOR.open("crm", config(twin), world)


def account(twin: Served, **more: Any) -> str:
    given: dict[str, Any] = {
        "name": HOSTILE,
        "currency": "USD",
        "tax_id": "12-3456789",
        "invoice_email": "ap@acme.example",
        "payment_terms": "NET30",
        "po_required": True,
        "billing": {
            "street": "1 Market St",
            "city": "San Francisco",
            "state": "CA",
            "postal_code": "94105",
            "country": "US",
        },
    }
    return str(twin.act("create_account", **given | more)["id"])


def deal(twin: Served, of: str, *, lines: int = 2, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "account": of,
        "name": HOSTILE,
        "currency": "USD",
        "legal_entity": "us",
        "contract_start": "2026-02-01",
        "contract_end": "2027-01-31",
        "term_months": 12,
        "billing_frequency": "Monthly",
        "po_number": "PO-1",
        "lines": [
            {"product": "PLATFORM", "quantity": 10 + at, "unit_price": 19.99, "discount": 10}
            for at in range(lines)
        ],
    }
    found: dict[str, Any] = twin.act("create_deal", **given | more)
    return found


async def drain(feed: ChangeFeed, cursor: str = "") -> tuple[list[Any], str]:
    events: list[Any] = []
    while True:
        page: FeedPage = await feed.poll(cursor)
        events += page.events
        cursor = page.cursor
        if not page.more:
            return events, cursor


# ---------------------------------------------------------------------------------------------------------- sign-in


def test_capabilities(crm: SalesforceConnection) -> None:
    assert isinstance(crm, ChangeFeed)
    assert isinstance(crm, Reader)
    assert isinstance(crm, Assigner)
    assert isinstance(crm, LineLister)
    assert isinstance(crm, Lister)
    assert isinstance(crm, Checker)
    assert not isinstance(crm, Writer)
    assert CONNECTOR.roles == ("crm",)
    assert len({behaviour.id for behaviour in CONNECTOR.behaviours}) == len(CONNECTOR.behaviours)


@pytest.mark.parametrize("auth", ["jwt", "client_credentials"])
async def test_both_sign_ins(twin: Served, world: World, auth: str) -> None:
    crm = CONNECTOR.open("crm", config(twin, auth=auth), world)
    identity = await crm.identity()
    assert (identity.organisation, identity.live) == (twin.describe()["org_id"], False)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"org_id": "00DRM000000abcd2AA"}, "pinned"),
        ({"live": True}, "sandbox"),
        ({"username": "nobody@acme.example"}, "sign-in was refused"),
        ({"private_key": Secret("-----BEGIN PRIVATE KEY-----\nTOPSECRET\n")}, "private_key"),
        ({"auth": "client_credentials", "client_secret": Secret("TOPSECRET")}, "sign-in was refused"),
        ({"api_version": "99.0"}, "API version 99.0"),
    ],
)
async def test_wrong_org_mode_or_credentials_process_nothing(
    twin: Served, world: World, changes: dict[str, Any], words: str
) -> None:
    crm = CONNECTOR.open("crm", config(twin, **changes), world)
    deal_id = deal(twin, account(twin))["id"]
    with pytest.raises(Failure) as caught:
        await crm.fetch(Order, deal_id)
    outcome = caught.value.outcome
    assert isinstance(outcome, Misconfigured)
    assert outcome.scope == "connection"
    assert words in outcome.message
    assert "TOPSECRET" not in repr(outcome) + str(caught.value)
    assert "TOPSECRET" not in repr(caught.value.__cause__) + repr(caught.value.__context__)
    answer = await crm.assign(
        Ref(connection="crm", kind="opportunity", id=deal_id), "status", {"status": "x"}, KEYS
    )
    assert not isinstance(answer, Confirmed)
    shown = twin.act("snapshot", objects=["Opportunity"])["Opportunity"]
    assert shown[0]["Tieout_Status__c"] is None


async def test_expired_session_is_renewed_once_for_all(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    import asyncio

    ids = [deal(twin, account(twin))["id"] for _ in range(5)]
    await crm.fetch(Order, ids[0])
    twin.act("expire_sessions")
    transport.requests.clear()
    await asyncio.gather(*(crm.fetch(Order, id) for id in ids))
    assert [request.operation for request in transport.requests].count("sign_in") == 1


async def test_session_that_never_holds_is_misconfigured() -> None:
    token = {
        "access_token": "t",
        "instance_url": "https://acme.my.salesforce.com",
        "id": "https://login.salesforce.com/id/00DRM000000abcdEAA/005RM000001vI54YAE",
    }
    expired = canned([{"errorCode": "INVALID_SESSION_ID", "message": "Session expired or invalid"}], 401)
    sandbox = {"totalSize": 1, "done": True, "records": [{"Id": "00DRM000000abcdEAA", "IsSandbox": True}]}
    answers = CannedTransport(canned(token), canned(sandbox), expired, canned(token), expired)
    async with open_world(answers) as world:
        crm = CONNECTOR.open("crm", offline_config(), world)
        target = Ref(connection="crm", kind="opportunity", id="006RM00000A1b2cYAB")
        assert isinstance(await crm.assign(target, "status", {"status": "x"}, KEYS), Misconfigured)
    assert [request.operation for request in answers.requests].count("sign_in") == 2


# ------------------------------------------------------------------------------------------------------- aggregates


async def test_order_in_one_call_with_all_lines(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    customer = account(twin)
    made = deal(twin, customer)
    await crm.identity()
    transport.requests.clear()
    order = await crm.fetch(Order, made["id"], lane="crm|opportunity|x")
    assert len(transport.requests) == 1
    assert transport.requests[0].headers["sforce-call-options"] == "client=tieout"
    assert (order.name, order.ref.id, order.account.id) == (HOSTILE, made["id"], customer)
    assert [line.id for line in order.lines] == made["lines"]
    assert [line.net_minor for line in order.lines] == [17991, 19790]
    assert (order.start, order.end, order.term_months) == (date(2026, 2, 1), date(2027, 2, 1), 12)
    assert (order.frequency, order.payment_terms, order.approved, order.won) == ("month", "NET30", True, True)
    assert order.lines[0].quantity == Decimal(10)
    assert crm.usage is not None
    assert crm.usage.used > 0


async def test_lines_beyond_the_first_page(twin: Served, crm: SalesforceConnection) -> None:
    twin.act("limits", page_size=3)
    made = deal(twin, account(twin), lines=11)
    order = await crm.fetch(Order, made["id"])
    assert [line.id for line in order.lines] == made["lines"]


async def test_deal_without_lines_and_deleted_deal(twin: Served, crm: SalesforceConnection) -> None:
    made = deal(twin, account(twin), lines=0)
    assert (await crm.fetch(Order, made["id"])).lines == ()
    twin.act("delete", object="Opportunity", id=made["id"])
    assert (await crm.fetch(Order, made["id"])).deleted
    twin.act("empty_recycle_bin")
    with pytest.raises(NotFound):
        await crm.fetch(Order, made["id"])


async def test_deleted_line_does_not_count(twin: Served, crm: SalesforceConnection) -> None:
    made = deal(twin, account(twin), lines=3)
    twin.act("delete", object="OpportunityLineItem", id=made["lines"][1])
    order = await crm.fetch(Order, made["id"])
    assert [line.id for line in order.lines] == [made["lines"][0], made["lines"][2]]


async def test_hostile_id_is_not_asked(crm: SalesforceConnection, transport: RecordingTransport) -> None:
    with pytest.raises(NotFound):
        await crm.fetch(Order, "006' OR Id != '")
    assert transport.requests == []


async def test_customer_with_ancestors(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    chain = [account(twin)]
    for _ in range(9):
        chain.append(account(twin, parent=chain[-1]))
    await crm.identity()
    transport.requests.clear()
    customer = await crm.fetch(Customer, chain[-1])
    assert [ref.id for ref in customer.ancestors] == chain[-2::-1]
    assert len(transport.requests) == 2
    assert (customer.name, customer.invoice_email, customer.po_required) == (HOSTILE, "ap@acme.example", True)
    assert customer.billing_address.jurisdiction == "US-CA"
    assert customer.tax_ids[0].number == "12-3456789"


async def test_cycle_of_accounts_ends(twin: Served, crm: SalesforceConnection) -> None:
    first = account(twin)
    second = account(twin, parent=first)
    twin.act("alter", object="Account", id=first, fields={"ParentId": second})
    customer = await crm.fetch(Customer, first)
    assert [ref.id for ref in customer.ancestors] == [second, first]


async def test_merged_account_names_its_winner(twin: Served, crm: SalesforceConnection) -> None:
    winner, loser = account(twin), account(twin)
    twin.act("merge_accounts", winner=winner, loser=loser)
    customer = await crm.fetch(Customer, loser)
    assert customer.deleted
    assert customer.merged_into is not None
    assert customer.merged_into.id == winner


async def test_kind_that_is_not_read(crm: SalesforceConnection) -> None:
    with pytest.raises(TypeError):
        await crm.fetch(FeedPage, "006RM00000A1b2cYAB")


# ------------------------------------------------------------------------------------------------------ change feed


async def test_sweep_tells_won_deals_and_their_lines(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    open_deal = deal(twin, customer, won=False)
    made = deal(twin, customer)
    events, cursor = await drain(crm)
    assert {event.subject.id for event in events} == {made["id"]}
    assert {event.subject.kind for event in events} == {"opportunity"}
    assert [event.type for event in events] == [*["OpportunityLineItem.changed"] * 2, "Opportunity.changed"]
    assert b"example" not in b"".join(event.data for event in events)
    again, unchanged = await drain(crm, cursor)
    assert again == []
    assert (
        json.loads(unchanged)["objects"]["Opportunity"]["seen"]
        == json.loads(cursor)["objects"]["Opportunity"]["seen"]
    )
    twin.act("update", object="Opportunity", id=open_deal["id"], fields={"StageName": "Closed Won"})
    later, _ = await drain(crm, cursor)
    assert {event.subject.id for event in later} == {open_deal["id"]}


async def test_one_call_when_nothing_changed(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    deal(twin, account(twin))
    _, cursor = await drain(crm)
    await crm.poll(cursor)
    transport.requests.clear()
    page = await crm.poll(cursor)
    assert (page.events, page.more, len(transport.requests)) == ((), False, 1)
    # The one call is a POST of GETs: whoever counts the writes does not count it.
    assert not [entry for entry in twin.log() if entry["operation"] == "composite" and entry["writes"]]


async def test_event_ids_are_the_same_after_a_restart(
    twin: Served, crm: SalesforceConnection, world: World
) -> None:
    deal(twin, account(twin))
    first, _ = await drain(crm)
    second, _ = await drain(CONNECTOR.open("crm", config(twin), world))
    assert [event.id for event in first] == [event.id for event in second]


async def test_what_happens_after_acceptance_is_told(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    made = deal(twin, customer)
    target = Ref(connection="crm", kind="opportunity", id=made["id"])
    _, cursor = await drain(crm)
    content = {}
    assert isinstance(
        await crm.assign(target, "status", {"status": "operationally accepted"}, KEYS), Confirmed
    )
    for step, act in {
        "echo": None,
        "lost": {"StageName": "Closed Lost"},
        "edited": {"Contract_End__c": "2027-06-30"},
    }.items():
        if act:
            twin.act("update", object="Opportunity", id=made["id"], fields=act)
        events, cursor = await drain(crm, cursor)
        mine = [event for event in events if event.type == "Opportunity.changed"]
        assert [event.subject.id for event in mine] == [made["id"]], step
        content[step] = mine[-1].content
    assert len(set(content.values())) == 3
    twin.act("delete", object="Opportunity", id=made["id"])
    events, _ = await drain(crm, cursor)
    assert "Opportunity.deleted" in {event.type for event in events}


async def test_echo_of_our_write_has_the_same_content(twin: Served, crm: SalesforceConnection) -> None:
    made = deal(twin, account(twin))
    before, cursor = await drain(crm)
    target = Ref(connection="crm", kind="opportunity", id=made["id"])
    fields: Fields = {
        "status": "active",
        "detail": None,
        "subscription": "sub_1",
        "synced_at": "2026-02-01T00:00:00Z",
    }
    await crm.assign(target, "status", fields, KEYS)
    after, _ = await drain(crm, cursor)
    assert before[-1].subject == after[-1].subject
    assert before[-1].id != after[-1].id
    assert before[-1].content == after[-1].content


async def test_account_is_told_once_known_and_when_merged(twin: Served, crm: SalesforceConnection) -> None:
    winner, loser = account(twin), account(twin)
    _, cursor = await drain(crm)
    for id in (winner, loser):
        target = Ref(connection="crm", kind="account", id=id)
        assert isinstance(await crm.assign(target, "status", {"status": "bound"}, KEYS), Confirmed)
    events, cursor = await drain(crm, cursor)
    assert {event.subject.id for event in events} == {winner, loser}
    twin.act("merge_accounts", winner=winner, loser=loser)
    events, _ = await drain(crm, cursor)
    assert ("Account.deleted", loser) in {(event.type, event.subject.id) for event in events}


async def test_sweep_over_many_pages_and_polls(
    twin: Served, crm: SalesforceConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tieout.connectors.salesforce import sweep

    monkeypatch.setattr(sweep, "MOST_ROWS", 7)
    twin.act("limits", page_size=3)
    customer = account(twin)
    made = [deal(twin, customer, lines=1)["id"] for _ in range(20)]
    for at, id in enumerate(made):
        stamp = (datetime.now(UTC) - timedelta(seconds=4000 - at // 3)).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
        twin.act("alter", object="Opportunity", id=id, fields={"SystemModstamp": stamp})
    events, cursor = await drain(crm)
    told = [event.subject.id for event in events if event.type == "Opportunity.changed"]
    assert sorted(told) == sorted(made)
    assert (await drain(crm, cursor))[0] == []


async def test_row_that_appears_behind_the_cursor_is_told(twin: Served, world: World) -> None:
    crm = CONNECTOR.open("crm", config(twin, poll_seconds=60), world)
    customer = account(twin)
    late = deal(twin, customer, won=False)
    twin.act("delayed_commit", seconds=0.7, do="update", **{"with": {
        "object": "Opportunity", "id": late["id"], "fields": {"StageName": "Closed Won"}}})  # fmt: skip
    seen = deal(twin, customer)
    events, cursor = await drain(crm)
    assert {event.subject.id for event in events} == {seen["id"]}
    await RealClock().sleep(0.8)
    events, _ = await drain(crm, cursor)
    assert late["id"] in {event.subject.id for event in events}


async def test_feed_failure_keeps_the_cursor(twin: Served, crm: SalesforceConnection) -> None:
    deal(twin, account(twin))
    await crm.identity()
    for kind in ("error_before", "malformed", "html", "hang"):
        twin.fail_once(kind, "composite")
        with pytest.raises(Failure) as caught:
            await crm.poll("")
        assert isinstance(caught.value.outcome, Transient), kind
    assert (await drain(crm))[0]


async def test_unreadable_cursor_starts_over(twin: Served, crm: SalesforceConnection) -> None:
    made = deal(twin, account(twin))
    events, _ = await drain(crm, '{"v":9}')
    assert made["id"] in {event.subject.id for event in events}


# ---------------------------------------------------------------------------------------------------------- writing

MIRROR: Fields = {
    "number": "INV-1",
    "amount_minor": 12345,
    "currency": "USD",
    "status": "open",
    "erp_document": "77",
    "erp_number": "1001",
    "billing": "stripe-us",
}


def mirror(id: str = "in_1/ä'&") -> Ref:
    return Ref(connection="crm", kind="invoice_mirror", id=id)


async def test_upsert_makes_one_record(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    fields = MIRROR | {"account": customer, "opportunity": deal(twin, customer)["id"]}
    first = await crm.assign(mirror(), "mirror", fields, KEYS)
    second = await crm.assign(mirror(), "mirror", fields | {"amount_minor": 12346}, KEYS)
    assert isinstance(first, Confirmed)
    assert isinstance(second, Confirmed)
    assert first.receipt.external_id == second.receipt.external_id
    rows = twin.act("snapshot", objects=["Tieout_Invoice__c"])["Tieout_Invoice__c"]
    assert [(row["Tieout_External_Id__c"], row["Amount__c"]) for row in rows] == [(mirror().id, "123.46")]
    assert await crm.read_back(mirror(), "mirror", fields) == fields | {"amount_minor": 12346}
    listed = [document async for document in crm.documents("invoice")]
    assert [(doc.source, doc.total_minor, doc.number) for doc in listed] == [(mirror().id, 12346, "INV-1")]
    assert [document async for document in crm.documents("payment")] == []


async def test_status_is_set_read_back_and_cleared(twin: Served, crm: SalesforceConnection) -> None:
    target = Ref(connection="crm", kind="opportunity", id=deal(twin, account(twin))["id"])
    fields: Fields = {
        "status": "parked",
        "detail": HOSTILE + " ",
        "subscription": "sub_1",
        "synced_at": "2026-02-01T00:00:00.5+00:00",
    }
    assert isinstance(await crm.assign(target, "status", fields, KEYS), Confirmed)
    assert await crm.read_back(target, "status", fields) == fields
    assert isinstance(await crm.assign(target, "status", {"detail": None}, KEYS), Confirmed)
    assert await crm.read_back(target, "status", {"detail": None, "status": ""}) == {
        "detail": None,
        "status": "parked",
    }
    long = "x" * 40_000
    assert isinstance(await crm.assign(target, "status", {"detail": long}, KEYS), Confirmed)
    assert await crm.read_back(target, "status", {"detail": long}) == {"detail": long}


async def test_refusals_of_writes(twin: Served, crm: SalesforceConnection) -> None:
    made = deal(twin, account(twin))
    target = Ref(connection="crm", kind="opportunity", id=made["id"])
    twin.act("lock_rows", count=1, status=500)
    assert isinstance(await crm.assign(target, "status", {"status": "x"}, KEYS), Transient)
    twin.act("lock_rows", count=1)
    assert isinstance(await crm.assign(target, "status", {"status": "x"}, KEYS), Transient)
    too_long = await crm.assign(target, "status", {"status": "x" * 100}, KEYS)
    assert isinstance(too_long, Rejected)
    assert "Tieout_Status__c" in too_long.message
    dangling = await crm.assign(mirror(), "mirror", {"account": "001000000000001AAA", "number": "1"}, KEYS)
    assert isinstance(dangling, Rejected)
    twin.act("delete", object="Opportunity", id=made["id"])
    gone = await crm.assign(target, "status", {"status": "x"}, KEYS)
    assert isinstance(gone, Rejected)
    twin.act("limits", used=100_000)
    assert isinstance(await crm.assign(target, "status", {"status": "x"}, KEYS), RateLimited)
    with pytest.raises(Failure) as caught:
        await crm.fetch(Order, made["id"])
    assert isinstance(caught.value.outcome, RateLimited)


async def test_programming_errors_are_no_outcomes(crm: SalesforceConnection) -> None:
    for group, fields in (("nonsense", {}), ("mirror", {"colour": "red"}), ("mirror", {"amount_minor": 5})):
        with pytest.raises(ValueError, match=r"no field|needs currency"):
            await crm.assign(mirror(), group, fields, KEYS)


@pytest.mark.parametrize(
    ("kind", "outcome", "done"),
    [
        ("error_before", OutcomeUnknown, False),
        ("error_after", OutcomeUnknown, True),
        ("timeout_after_work", OutcomeUnknown, True),
        ("reset", OutcomeUnknown, True),
        ("malformed", OutcomeUnknown, True),
        ("html", OutcomeUnknown, True),
        ("rate_limited", RateLimited, False),
    ],
)
async def test_lost_answers_of_an_upsert(
    twin: Served, crm: SalesforceConnection, kind: str, outcome: type, done: bool
) -> None:
    await crm.identity()
    twin.fail_once(kind, "upsert")
    assert isinstance(await crm.assign(mirror(), "mirror", MIRROR, KEYS), outcome)
    rows = twin.act("snapshot", objects=["Tieout_Invoice__c"])["Tieout_Invoice__c"]
    assert len(rows) == int(done)
    assert isinstance(await crm.assign(mirror(), "mirror", MIRROR, KEYS), Confirmed)
    assert len(twin.act("snapshot", objects=["Tieout_Invoice__c"])["Tieout_Invoice__c"]) == 1


def offline_config(**changes: Any) -> SalesforceConfig:
    given: dict[str, Any] = {
        "login_url": "https://acme.my.salesforce.com",
        "consumer_key": "3MVG9",
        "auth": "client_credentials",
        "client_secret": Secret("TOPSECRET"),
        "start_date": date(2026, 1, 1),
    }
    return SalesforceConfig(**given | changes)


TOKEN = {
    "access_token": "TOPSECRET",
    "instance_url": "https://acme.my.salesforce.com",
    "id": "https://login.salesforce.com/id/00DRM000000abcdEAA/005RM000001vI54YAE",
}
SANDBOX = {"totalSize": 1, "done": True, "records": [{"Id": "00DRM000000abcdEAA", "IsSandbox": True}]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            canned({"id": "a01RM0000000001AAA", "success": True, "created": True, "errors": []}, 201),
            Confirmed,
        ),
        (
            canned({"id": "a01RM0000000001AAA", "success": True, "created": False, "errors": []}, 200),
            Confirmed,
        ),
        (canned(b"", 204), Confirmed),
        (
            canned(["/services/data/v68.0/sobjects/T/a01", "/services/data/v68.0/sobjects/T/a02"], 300),
            Rejected,
        ),
        (canned({"id": "a01", "success": False, "errors": []}, 200), OutcomeUnknown),
        (canned({"success": "yes"}, 200), OutcomeUnknown),
        (canned("<html>", 200), OutcomeUnknown),
        (canned(b"", 202), OutcomeUnknown),
        (canned([{"errorCode": "DUPLICATE_VALUE", "message": "duplicate value found"}], 400), Transient),
        (canned([{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "m", "fields": []}], 500), Transient),
        (
            canned({"errorCode": "NOT_FOUND", "message": "The requested resource does not exist"}, 404),
            Rejected,
        ),
        (
            canned(
                [{"errorCode": "FIELD_CUSTOM_VALIDATION_EXCEPTION", "message": "Ask Ann", "fields": ["A"]}],
                400,
            ),
            Rejected,
        ),
        (
            canned([{"errorCode": "INVALID_FIELD", "message": "No such column 'X' on sobject"}], 400),
            Misconfigured,
        ),
        (canned([{"errorCode": "INSUFFICIENT_ACCESS_OR_READONLY", "message": "m"}], 403), Rejected),
        (canned([{"errorCode": "API_DISABLED_FOR_ORG", "message": "m"}], 403), Misconfigured),
        (canned("<html>503</html>", 503), OutcomeUnknown),
        (canned("", 503, retry_after="5"), Transient),
        (canned("", 302, location="https://elsewhere.example/"), Misconfigured),
        (canned([], 400), Transient),
    ],
)
async def test_answers_to_an_upsert(answer: Any, outcome: type) -> None:
    answers = CannedTransport(canned(TOKEN), canned(SANDBOX), answer)
    async with open_world(answers) as world:
        crm = CONNECTOR.open("crm", offline_config(), world)
        result = await crm.assign(mirror("in_1"), "mirror", {"status": "open"}, KEYS)
    assert isinstance(result, outcome)
    assert "TOPSECRET" not in repr(result)
    assert answers.requests[-1].method == "PATCH"
    assert answers.requests[-1].url.endswith("/sobjects/Tieout_Invoice__c/Tieout_External_Id__c/in_1")
    assert answers.requests[-1].body == b'{"Status__c":"open"}'


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (
            canned({"totalSize": 1, "done": False, "records": [], "nextRecordsUrl": "//evil.example/x"}),
            Transient,
        ),
        (canned({"totalSize": 1, "done": "no", "records": []}), Transient),
        (canned({"totalSize": 1, "done": True, "records": [{"Id": 5}]}), Transient),
        (
            canned({"totalSize": 1, "done": True, "records": [{"Id": "x", "OpportunityLineItems": 5}]}),
            Transient,
        ),
        (canned("", 200), Transient),
        (canned("", 204), Transient),
        (canned("<html>", 502), Transient),
        (canned("", 301), Misconfigured),
        (canned([{"errorCode": "INVALID_QUERY_LOCATOR", "message": "m"}], 400), Transient),
        (canned([{"errorCode": "QUERY_TIMEOUT", "message": "m"}], 400), Transient),
        (canned([{"errorCode": "MALFORMED_QUERY", "message": "m"}], 400), Rejected),
        (canned([{"errorCode": "INVALID_FIELD", "message": "m"}], 400), Misconfigured),
        (canned([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "m"}], 403), RateLimited),
    ],
)
async def test_answers_to_a_read(answer: Any, outcome: type) -> None:
    answers = CannedTransport(canned(TOKEN), canned(SANDBOX), answer)
    async with open_world(answers) as world:
        crm = CONNECTOR.open("crm", offline_config(), world)
        with pytest.raises(Failure) as caught:
            await crm.fetch(Order, "006RM00000A1b2cYAB")
    assert isinstance(caught.value.outcome, outcome)
    assert "TOPSECRET" not in str(caught.value)


async def test_page_that_repeats_is_refused() -> None:
    again = canned(
        {"totalSize": 9, "done": False, "records": [], "nextRecordsUrl": "/services/data/v68.0/query/01g-2"}
    )
    async with open_world(CannedTransport(canned(TOKEN), canned(SANDBOX), again, again)) as world:
        crm = CONNECTOR.open("crm", offline_config(), world)
        with pytest.raises(Failure, match="repeats"):
            await crm.fetch(Order, "006RM00000A1b2cYAB")


async def test_refused_connection_sends_nothing() -> None:
    async with open_world() as world:
        crm = CONNECTOR.open("crm", offline_config(login_url=refused_url()), world)
        assert isinstance(await crm.assign(mirror(), "mirror", MIRROR, KEYS), Transient)


# ------------------------------------------------------------------------------------------------- listing, check


async def test_contract_lines(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    made = deal(twin, customer, lines=2)
    deal(twin, customer, won=False)
    deal(twin, customer, finance_approved=False)
    twin.act("limits", page_size=1)
    lines = [line async for line in crm.contract_lines()]
    assert sorted(line.line for line in lines) == sorted(made["lines"])
    assert {line.contract for line in lines} == {made["id"]}
    first = next(line for line in lines if line.line == made["lines"][0])
    assert (first.unit_minor, first.contracted_minor) == (Decimal("1799.1"), 17991 * 12)


async def test_check(twin: Served, world: World) -> None:
    crm = CONNECTOR.open("crm", config(twin), world)
    findings = await crm.check()
    assert [finding for finding in findings if finding.level == "error"] == []
    assert any("API calls" in finding.message for finding in findings)


async def test_check_names_what_is_missing(twin: Served, world: World) -> None:
    from tieout.connectors.salesforce.config import FieldNames

    names = FieldNames(opportunity_frequency="Rhythm__c", mirror_object="Nowhere__c")
    crm = CONNECTOR.open("crm", config(twin, org_id="", fields=names), world)
    twin.act("limits", used=90_000)
    findings = {finding.subject: finding for finding in await crm.check() if finding.level != "ok"}
    assert findings["crm Opportunity.Rhythm__c"].remedy
    assert "Nowhere__c" in findings["crm Nowhere__c"].remedy
    assert twin.describe()["org_id"] in findings["crm"].remedy or "API calls" in findings["crm"].message


async def test_check_says_why_sign_in_fails(twin: Served, world: World) -> None:
    twin.act("approve_app", approved=False)
    (finding,) = await CONNECTOR.open("crm", config(twin), world).check()
    assert finding.level == "error"
    assert "approved this consumer" in finding.message
    assert finding.remedy


async def test_deals_closed_before_the_start_are_left_out(twin: Served, world: World) -> None:
    customer = account(twin)
    old = deal(twin, customer, close_date="2025-12-31")
    made = deal(twin, customer, close_date="2026-01-01")
    crm = CONNECTOR.open("crm", config(twin, deals_from=date(2026, 1, 1)), world)
    events, cursor = await drain(crm)
    assert {event.subject.id for event in events} == {made["id"]}
    assert {line.contract async for line in crm.contract_lines()} == {made["id"]}
    target = Ref(connection="crm", kind="opportunity", id=old["id"])
    assert isinstance(await crm.assign(target, "status", {"status": "parked"}, KEYS), Confirmed)
    events, _ = await drain(crm, cursor)
    assert old["id"] in {event.subject.id for event in events}
