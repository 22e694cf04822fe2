"""Bulk API 2.0: query jobs behind long listings, ingest jobs behind a backfill, against the twin and exact answers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.support import CannedTransport, RecordingTransport, Served, canned, open_world
from tests.conformance.test_salesforce_batches import assignment, mirror, mirrors
from tests.conformance.test_salesforce_connector import (  # fixtures among them
    SANDBOX,
    TOKEN,
    account,
    config,
    crm,
    deal,
    offline_config,
    transport,
    twin,
    world,
)
from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.connectors.contract import World
from tieout.connectors.salesforce import CONNECTOR, bulk
from tieout.connectors.salesforce.bulk import Bulk
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.connection import SalesforceConnection

__all__ = ["crm", "transport", "twin", "world"]


@pytest.fixture
def long_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every listing is long, and a page of a job's results short."""
    monkeypatch.setattr(bulk, "PAGE_ROWS", 4)
    monkeypatch.setattr(bulk, "FIRST_WAIT_SECONDS", 0.02)


def always_bulk(twin: Served, world: World, **changes: Any) -> SalesforceConnection:
    return CONNECTOR.open("crm", config(twin, bulk_threshold=1, **changes), world)


async def test_long_listing_by_a_job_is_the_short_one(
    twin: Served, crm: SalesforceConnection, world: World, transport: RecordingTransport, long_listing: None
) -> None:
    customer = account(twin, billing=None)
    for number in range(3):
        deal(twin, customer, lines=3, name=f'Deal "{number}",\nline two')
    short = [line async for line in crm.contract_lines()]
    twin.act("bulk", seconds=0.05)
    by_job = always_bulk(twin, world)
    transport.requests.clear()
    long = [line async for line in by_job.contract_lines()]
    assert sorted(long, key=lambda line: line.line) == sorted(short, key=lambda line: line.line)
    assert len(long) == 9
    pages = [each for each in transport.requests if "/results?" in each.url]
    assert len(pages) == 3
    assert transport.requests[-1].method == "DELETE"
    assert twin.act("bulk")["jobs"] == []


@pytest.mark.parametrize("old_refusal", [False, True])
async def test_session_that_ends_in_a_download_is_renewed(
    twin: Served, world: World, transport: RecordingTransport, long_listing: None, old_refusal: bool
) -> None:
    for _ in range(3):
        deal(twin, account(twin), lines=3)
    twin.act("bulk", old_refusal=old_refusal)
    by_job = always_bulk(twin, world)
    seen = 0
    async for _ in by_job.contract_lines():
        seen += 1
        if seen == 1:
            twin.act("expire_sessions")
    assert seen == 9
    statuses = [answer.status for answer in transport.responses if answer is not None]
    assert statuses.count(400 if old_refusal else 401) == 1
    assert [each.operation for each in transport.requests].count("sign_in") == 2


def ended(**more: Any) -> Any:
    return canned({"id": "750Hk0000000001AAA", "state": "JobComplete", "numberRecordsProcessed": 2} | more)


MADE = canned({"id": "750Hk0000000001AAA", "state": "UploadComplete"})
DELETED = canned(b"", 204)


def results(text: str, locator: str = "null", count: str = "2") -> Any:
    return canned(text, sforce_locator=locator, sforce_numberofrecords=count)


TWO = '"Id"\n"1"\n"2"\n'


@pytest.mark.parametrize(
    ("answers", "outcome", "words"),
    [
        ([ended(state="Failed", errorMessage="too big")], Rejected, "too big"),
        ([ended(state="Aborted")], Rejected, "Aborted"),
        ([ended(state="Resting")], Transient, "not known"),
        ([ended(), results(TWO, count="3")], Transient, "2 rows where 3"),
        ([ended(), results(TWO, count="")], Transient, "none are announced"),
        ([ended(numberRecordsProcessed=5), results(TWO)], Transient, "2 of 5"),
        ([ended(), results('"Id"\n"1', count="1")], Transient, "CSV"),
        ([ended(), results('"Id","Name"\n"1","a"\n"2"\n')], Transient, "cut off"),
        ([ended(), results(TWO, locator="MT2"), results(TWO, locator="MT2")], Transient, "repeats"),
        ([ended(), results(TWO, locator="")], Transient, "no next one"),
        ([ended(), canned("", 302, location="https://elsewhere.example/")], Misconfigured, "redirect"),
        ([ended(), canned([{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "m"}], 403)], RateLimited, "m"),
        ([canned("<html>", 200)], Transient, "not the documented"),
        ([canned("<html>", 503)], Transient, "503"),
    ],
)
async def test_answers_of_a_query_job(answers: list[Any], outcome: type, words: str) -> None:
    told = CannedTransport(canned(TOKEN), canned(SANDBOX), MADE, *answers, DELETED)
    async with open_world(told) as opened:
        settings = offline_config(bulk_deadline_seconds=1)
        reading = Bulk(Client("crm", settings, opened))
        reading._deadline_seconds = 0
        with pytest.raises(Failure) as caught:
            _ = [row async for row in reading.rows("SELECT Id FROM Account", "list")]
    assert isinstance(caught.value.outcome, outcome)
    assert words in str(caught.value)
    assert told.requests[-1].method == "DELETE"


async def test_answer_larger_than_the_limit_is_refused_with_the_reason(
    twin: Served, world: World, long_listing: None
) -> None:
    from tieout.ports import Request, Response, Transport

    class Narrow:
        """A transport that takes 100 bytes of a result file."""

        def __init__(self, inner: Transport) -> None:
            self.inner = inner

        async def exchange(self, request: Request) -> Response:
            if "/results" in request.url:
                import msgspec

                request = msgspec.structs.replace(request, max_bytes=100)
            return await self.inner.exchange(request)

    deal(twin, account(twin), lines=3)
    narrow = World(clock=world.clock, chance=world.chance, transport=Narrow(world.transport))  # type: ignore[arg-type]
    with pytest.raises(Failure, match="larger than 100 bytes"):
        _ = [line async for line in always_bulk(twin, narrow).contract_lines()]


# ---------------------------------------------------------------------------------------------------------- backfill


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "FIRST_WAIT_SECONDS", 0.02)


async def test_backfill_answers_for_every_row(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport, quick: None
) -> None:
    customer = account(twin)
    deals = [deal(twin, customer)["id"] for _ in range(2)]
    twin.act("delete", object="Opportunity", id=deals[1])
    twin.act("bulk", seconds=0.05)
    await crm.identity()
    transport.requests.clear()
    given = [
        *(mirror(number, account=customer) for number in range(1000)),
        mirror(5000, account="001000000000001AAA"),
        assignment("opportunity", deals[0], "status", {"status": "active", "detail": 'a "b",\nc'}),
        assignment("opportunity", deals[1], "status", {"status": "active", "detail": None}),
        assignment("opportunity", "no id", "status", {"status": "active"}),
        mirror(6000, status="#N/A"),
    ]
    outcomes = await crm.assign_all(given)
    assert len(transport.requests) <= 20
    kinds = [type(outcomes[each.keys.effect]) for each in given]
    assert kinds == [Confirmed] * 1000 + [Rejected, Confirmed, Rejected, Rejected, Confirmed]
    rows = mirrors(twin)
    assert len(rows) == 1001
    assert rows["in_000007"]["Amount__c"] == "1.07"
    assert rows["in_006000"]["Status__c"] == "#N/A"
    for number in range(1000):
        outcome = outcomes[f"invoice_mirror:in_{number:06}"]
        assert isinstance(outcome, Confirmed)
        assert outcome.receipt.external_id == rows[f"in_{number:06}"]["Id"]
    refused = outcomes["invoice_mirror:in_005000"]
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.message) == ("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id")
    shown = twin.act("snapshot", objects=["Opportunity"])["Opportunity"][0]
    assert (shown["Tieout_Status__c"], shown["Tieout_Last_Error__c"]) == ("active", 'a "b",\nc')
    assert twin.act("bulk")["jobs"] == []


async def test_rows_after_the_job_stopped_are_not_done(
    twin: Served, crm: SalesforceConnection, quick: None
) -> None:
    twin.act("bulk", stop_after=3)
    outcomes = await crm.assign_all([mirror(number) for number in range(5)])
    assert [type(each) for each in outcomes.values()] == [Confirmed] * 3 + [Transient] * 2
    assert len(mirrors(twin)) == 3


@pytest.mark.parametrize(
    ("operation", "outcome", "made"),
    [
        ("bulk_ingest_create", Transient, 0),
        ("bulk_ingest_upload", Transient, 0),
        ("bulk_ingest_state", OutcomeUnknown, 2),
        ("bulk_ingest_successful", OutcomeUnknown, 2),
    ],
)
async def test_backfill_with_a_lost_answer(
    twin: Served, crm: SalesforceConnection, quick: None, operation: str, outcome: type, made: int
) -> None:
    await crm.identity()
    twin.faults(script=[{"operation": operation, "nth": 1, "kind": "error_after"}])
    given = [mirror(number) for number in range(2)]
    outcomes = await crm.assign_all(given)
    assert {type(each) for each in outcomes.values()} == {outcome}
    for job in twin.act("bulk")["jobs"]:  # a job is worked on when somebody asks for it
        twin.app.bulk._work(twin.app.bulk.jobs[job]) if made and not mirrors(twin) else None
    assert len(mirrors(twin)) == made
    assert {type(each) for each in (await crm.assign_all(given)).values()} == {Confirmed}
    assert len(mirrors(twin)) == 2


@pytest.mark.parametrize(
    ("successful", "failed", "known"),
    [
        ("", "", 0),
        ('"sf__Id","Tieout_External_Id__c"\n"a01","in_000001"\n', "", 1),
        ('"sf__Id","Tieout_External_Id__c"\n"a01","in_000009"\n', "", 0),
        (
            '"sf__Id","Tieout_External_Id__c"\n"a01","in_000001"\n',
            '"sf__Id","sf__Error","Tieout_External_Id__c"\n"","X:y:","in_000001"\n',
            0,
        ),
    ],
)
async def test_rows_missing_foreign_or_contradicted_are_unknown(
    successful: str, failed: str, known: int
) -> None:
    job = "/services/data/v68.0/jobs/ingest/750Hk0000000001AAA"
    made = {"id": "750Hk0000000001AAA", "state": "Open", "contentUrl": f"{job[1:]}/batches"}
    done = made | {"state": "JobComplete"}
    told = CannedTransport(
        *map(canned, (TOKEN, SANDBOX, made)),
        canned(b"", 201),
        *map(canned, (made | {"state": "UploadComplete"}, done, successful, failed, "")),
        DELETED,
    )
    async with open_world(told) as opened:
        crm = CONNECTOR.open("crm", offline_config(), opened)
        outcomes = await crm.assign_all([mirror(1)])
    assert len(outcomes) == known
    assert told.requests[3].url.endswith(f"{job}/batches")


async def test_upload_outside_the_job_is_refused() -> None:
    made = {"id": "750Hk0000000001AAA", "state": "Open", "contentUrl": "services/data/v68.0/sobjects/Account"}
    told = CannedTransport(canned(TOKEN), canned(SANDBOX), canned(made))
    async with open_world(told) as opened:
        crm = CONNECTOR.open("crm", offline_config(), opened)
        outcomes = await crm.assign_all([mirror(1)])
    assert [type(each) for each in outcomes.values()] == [Transient]
    assert [each.method for each in told.requests] == ["POST", "GET", "POST"]
