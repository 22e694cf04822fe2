"""The change feeds of the Salesforce connector against its twin: gRPC, the deletion log and SOAP over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.support import RealClock, RecordingTransport, Served, open_world, serve
from tests.conformance.test_salesforce_connector import account, config, deal, drain
from tieout.canonical.outcome import Failure
from tieout.connectors.contract import ChangeFeed, Inbound, World
from tieout.connectors.salesforce import CONNECTOR, pubsub, subscription
from tieout.connectors.salesforce.connection import SalesforceConnection
from tieout.system import SystemTransport
from tieout_lab.twins.calls import reserve_port
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin, sobjects


class ShiftedClock(SystemTwinClock):
    """The twin's clock, which a test can put on."""

    shift = timedelta()

    def technical(self) -> datetime:
        return super().technical() + self.shift


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def twin(clock: ShiftedClock) -> Iterator[Served]:
    kept = reserve_port()
    with serve(SalesforceTwin(clock, pubsub_port=kept.getsockname()[1])) as served:
        yield served
    kept.close()


class Streaming(RecordingTransport):
    """Records calls, streams included."""

    async def open(self, request: Any) -> Any:
        self.requests.append(request)
        self.responses.append(None)
        return await self._inner.open(request)


@pytest.fixture
async def transport() -> AsyncIterator[Streaming]:
    recording = Streaming(SystemTransport())
    yield recording
    await recording.close()


@pytest.fixture
async def world(transport: Streaming) -> AsyncIterator[World]:
    async with open_world(transport, RealClock()) as opened:
        yield opened


def opened(twin: Served, world: World, **more: Any) -> SalesforceConnection:
    given = {
        "feed": "pubsub",
        "pubsub_url": twin.describe()["pubsub_url"],
        "poll_seconds": 1,
        "timeout_seconds": 5,
    }
    return CONNECTOR.open("crm", config(twin, **given | more), world)


@pytest.fixture
def crm(twin: Served, world: World) -> SalesforceConnection:
    return opened(twin, world)


async def until(
    crm: ChangeFeed, cursor: str, type_: str, id: str, seconds: float = 5
) -> tuple[list[Any], str]:
    """Poll until a change of this record is told; every event on the way, and the cursor."""
    found: list[Any] = []
    for _ in range(int(seconds / 0.1)):
        page = await crm.poll(cursor)
        found += page.events
        cursor = page.cursor
        if any(each.type == type_ and each.subject.id == id for each in page.events):
            return found, cursor
        await RealClock().sleep(0.05)
    raise AssertionError(f"no {type_} of {id}: {[each.type for each in found]}")


async def established(twin: Served, crm: ChangeFeed) -> tuple[str, str]:
    """A cursor with a position in the stream, and an account of ours."""
    customer = account(twin)
    _, cursor = await drain(crm)
    made = deal(twin, customer)["id"]
    _, cursor = await until(crm, cursor, "Opportunity.changed", made)
    assert '"replay"' in cursor
    return cursor, customer


def put_on(clock: ShiftedClock, world: World, by: timedelta) -> None:
    """Let time pass on both sides."""
    clock.shift = by
    assert isinstance(world.clock, RealClock)
    world.clock.shift = by


def swept(transport: Streaming) -> int:
    return sum(request.operation == "changes.poll" for request in transport.requests)


def presets(twin: Served) -> list[str]:
    return [each["preset"] for each in twin.act("streams")["journal"]]


async def test_create_update_delete_undelete_gap_and_overflow(
    twin: Served, crm: SalesforceConnection, transport: Streaming
) -> None:
    assert isinstance(crm, ChangeFeed)
    assert {finding.level for finding in await crm.check()} == {"ok"}
    cursor, customer = await established(twin, crm)
    before = swept(transport)
    made = deal(twin, customer)["id"]
    _, cursor = await until(crm, cursor, "Opportunity.changed", made)
    twin.act("update", object="Opportunity", id=made, fields={"PO_Number__c": "PO-2"})
    events, cursor = await until(crm, cursor, "Opportunity.changed", made)
    assert {each.subject.kind for each in events} == {"opportunity"}
    twin.act("delete", object="Opportunity", id=made)
    _, cursor = await until(crm, cursor, "Opportunity.deleted", made)
    twin.act("undelete", object="Opportunity", id=made)
    _, cursor = await until(crm, cursor, "Opportunity.changed", made)
    assert swept(transport) == before
    for type_, ids in (("GAP_CREATE", True), ("GAP_OVERFLOW", False)):
        twin.act("lose_events", lose=True)
        lost = deal(twin, customer)["id"]
        twin.act("lose_events", lose=False)
        twin.act("publish_gap", object="Opportunity", type=type_, ids=[lost] if ids else [])
        _, cursor = await until(crm, cursor, "Opportunity.changed", lost)
    assert swept(transport) == before + 2
    assert presets(twin) == ["LATEST"]


async def test_a_record_that_is_gone_for_good_before_it_is_read(
    twin: Served, crm: SalesforceConnection
) -> None:
    cursor, customer = await established(twin, crm)
    made = deal(twin, customer)["id"]
    _, cursor = await until(crm, cursor, "Opportunity.changed", made)
    twin.act("delete", object="Opportunity", id=made)
    twin.act("empty_recycle_bin")
    events, _ = await until(crm, cursor, "Opportunity.deleted", made)
    assert all(each.subject is not None or each.ignored for each in events)


async def test_the_same_change_has_the_same_event_whichever_feed_tells_it(
    twin: Served, crm: SalesforceConnection, world: World
) -> None:
    cursor, customer = await established(twin, crm)
    made = deal(twin, customer)["id"]
    streamed, _ = await until(crm, cursor, "Opportunity.changed", made)
    swept_, _ = await drain(CONNECTOR.open("crm", config(twin), world))

    def of(events: list[Any]) -> set[tuple[str, str]]:
        return {(each.id, each.content) for each in events if each.subject.id == made}

    assert of(streamed)
    assert of(streamed) <= of(swept_)


async def test_a_session_that_ends_in_the_middle(
    twin: Served, crm: SalesforceConnection, transport: Streaming
) -> None:
    cursor, customer = await established(twin, crm)
    twin.act("expire_sessions")
    twin.act("end_streams")
    signed_in = sum(request.operation == "sign_in" for request in transport.requests)
    made = deal(twin, customer)["id"]
    _, cursor = await until(crm, cursor, "Opportunity.changed", made)
    for _ in range(5):
        cursor = (await crm.poll(cursor)).cursor
    assert sum(request.operation == "sign_in" for request in transport.requests) == signed_in + 1
    assert presets(twin) == ["LATEST", "CUSTOM"]


async def test_seventy_two_hours_later_the_replay_id_is_refused(
    twin: Served, crm: SalesforceConnection, world: World, clock: ShiftedClock
) -> None:
    cursor, customer = await established(twin, crm)
    made = deal(twin, customer)["id"]
    put_on(clock, world, timedelta(hours=72, minutes=1))
    late = deal(twin, customer)["id"]
    # The hub was down; another process goes on from what was saved.
    crm = opened(twin, world)
    events, cursor = await until(crm, cursor, "Opportunity.changed", late, seconds=15)
    told = {each.subject.id for each in events}
    for _ in range(40):
        page = await crm.poll(cursor)
        told |= {each.subject.id for each in page.events}
        cursor = page.cursor
        if len(presets(twin)) == 3:
            break
        await RealClock().sleep(0.1)
    assert {made, late} <= told
    assert presets(twin) == ["LATEST", "CUSTOM", "LATEST"]


@pytest.mark.parametrize("cursor", ['{"v":1,"objects":{},"stream":{"replay":"!!"}}', "nonsense", '{"v":9}'])
async def test_a_damaged_cursor_starts_with_a_sweep(
    twin: Served, crm: SalesforceConnection, cursor: str
) -> None:
    made = deal(twin, account(twin))["id"]
    await until(crm, cursor, "Opportunity.changed", made)
    assert presets(twin)[-1] == "LATEST"


async def test_whoever_polls_with_another_cursor_gets_the_stream_from_there(
    twin: Served, crm: SalesforceConnection
) -> None:
    cursor, customer = await established(twin, crm)
    made = deal(twin, customer)["id"]
    first, moved = await until(crm, cursor, "Opportunity.changed", made)
    # The commit was lost: the same cursor again, and the same events.
    again, _ = await until(crm, cursor, "Opportunity.changed", made)
    assert {each.id for each in again} == {each.id for each in first}
    assert moved != cursor
    assert presets(twin) == ["LATEST", "CUSTOM"]


async def test_what_was_pulled_and_not_read_is_pulled_again(twin: Served, crm: SalesforceConnection) -> None:
    cursor, customer = await established(twin, crm)
    made = deal(twin, customer)["id"]
    twin.fail_once("error_before", "composite")
    with pytest.raises(Failure):
        await until(crm, cursor, "Opportunity.changed", made)
    await until(crm, cursor, "Opportunity.changed", made, seconds=8)


async def test_hundreds_of_changes_under_flow_control(
    twin: Served, crm: SalesforceConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "BATCH", 7)
    monkeypatch.setattr(pubsub, "BATCH", 7)
    customer = account(twin)
    _, cursor = await drain(crm)
    made = [deal(twin, customer, lines=1)["id"] for _ in range(25)]
    told: set[str] = set()
    for _ in range(100):
        page = await crm.poll(cursor)
        told |= {each.subject.id for each in page.events}
        cursor = page.cursor
        seen = twin.act("streams")
        assert all(asked - seen["delivered"] <= 7 for asked in seen["asked"])
        if seen["delivered"] >= 50:
            break
    assert set(made) <= told
    assert seen["delivered"] >= 50


async def test_no_channel_and_a_scarce_allowance_are_found_by_check(twin: Served, world: World) -> None:
    lost = opened(twin, world, pubsub_channel="/data/Nothing__chn")
    errors = [each for each in await lost.check() if each.level == "error"]
    assert [("NOT_FOUND" in each.message, bool(each.remedy)) for each in errors] == [(True, True)]
    # Without the stream the sweep is the feed.
    made = deal(twin, account(twin))["id"]
    events, _ = await drain(lost)
    assert made in {each.subject.id for each in events}
    twin.act("event_limits", daily=1000, used=900)
    (scarce,) = [each for each in await opened(twin, world).check() if each.level == "warning"]
    assert "900 of 1000 events" in scarce.message


async def test_nobody_at_the_address_of_the_stream(twin: Served, world: World) -> None:
    crm = opened(twin, world, pubsub_url="http://127.0.0.1:9")
    made = deal(twin, account(twin))["id"]
    events, _ = await drain(crm)
    assert made in {each.subject.id for each in events}


# ----------------------------------------------------------------------------------- the deletion log, and messages


async def test_the_deletion_log_names_what_left_the_recycle_bin_unseen(
    twin: Served, world: World, clock: ShiftedClock
) -> None:
    feed = CONNECTOR.open("crm", config(twin, poll_seconds=60), world)
    customer = account(twin)
    gone, kept = deal(twin, customer)["id"], deal(twin, customer)["id"]
    _, cursor = await drain(feed)
    twin.act("delete", object="Opportunity", id=gone)
    twin.act("empty_recycle_bin", keep_log=True)
    twin.act("delete", object="Opportunity", id=kept)
    put_on(clock, world, timedelta(seconds=1700))
    events, cursor = await drain(feed, cursor)
    told = [(each.type, each.subject.id) for each in events if each.subject.kind == "opportunity"]
    assert ("Opportunity.deleted", gone) in told
    assert ("Opportunity.deleted", kept) in told
    assert any(each.id.endswith("|gone") for each in events)
    twin.act("undelete", object="Opportunity", id=kept)
    events, _ = await drain(feed, cursor)
    assert ("Opportunity.changed", kept) in {(each.type, each.subject.id) for each in events}


async def test_an_org_that_refuses_its_deletion_log_does_not_stop_the_sweep(
    twin: Served, world: World, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = CONNECTOR.open("crm", config(twin, poll_seconds=60), world)
    _, cursor = await drain(feed)
    # Thirty days were asked for; this org keeps five.
    monkeypatch.setattr(sobjects, "REPLICATION_DAYS", 5)
    put_on(clock, world, timedelta(days=20))
    made = deal(twin, account(twin))["id"]
    events, _ = await drain(feed, cursor)
    assert made in {each.subject.id for each in events}


async def test_a_message_of_the_twin_is_read(twin: Served, world: World) -> None:
    from tieout.canonical.secret import Secret

    crm = CONNECTOR.open("crm", config(twin, webhook_secrets=(Secret("s" * 32),)), world)
    assert isinstance(crm, Inbound)
    made = deal(twin, account(twin, name="A & B <C>"), name="A & B <C>")["id"]
    sender = twin.app.outbound_messages
    rule = sender.add("Opportunity", ["Name", "Amount", "IsWon"], "http://127.0.0.1:9/")
    from tieout_lab.twins.salesforce.outbound_messages import Notification

    given = sender.body(rule, [Notification("04lHk0000000001AAA", made, datetime.now(UTC))])
    (change,) = crm.parse(given, datetime.now(UTC))
    assert change.subject.id == made
