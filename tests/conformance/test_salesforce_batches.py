"""Write-back in bulk, against the twin and against exact answers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conformance.support import CannedTransport, RecordingTransport, Served, canned, open_world
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
from tieout.canonical.ids import Ref
from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    Misconfigured,
    OutcomeUnknown,
    RateLimited,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import Fields
from tieout.connectors.contract import Assignment, BulkAssigner, Keys, World
from tieout.connectors.salesforce import CONNECTOR, wire
from tieout.connectors.salesforce.batches import match_results
from tieout.connectors.salesforce.connection import SalesforceConnection

__all__ = ["crm", "transport", "twin", "world"]
MIRRORED = "Tieout_Invoice__c"


def mirror(number: int, /, **more: Any) -> Assignment:
    fields: Fields = {"number": f"INV-{number}", "amount_minor": 100 + number, "currency": "USD"} | more
    return assignment("invoice_mirror", f"in_{number:06}", "mirror", fields)


def assignment(kind: str, id: str, group: str, fields: Fields) -> Assignment:
    keys = Keys(effect=f"{kind}:{id}", document="0" * 16, wire=f"{kind}:{id}#1")
    return Assignment(target=Ref(connection="crm", kind=kind, id=id), group=group, fields=fields, keys=keys)


def mirrors(twin: Served) -> dict[str, dict[str, Any]]:
    rows = twin.act("snapshot", objects=[MIRRORED])[MIRRORED]
    return {row["Tieout_External_Id__c"]: row for row in rows}


async def test_ten_thousand_records_in_sixty_calls(
    twin: Served, world: World, transport: RecordingTransport
) -> None:
    # Two hundred records are work for a busy machine: longer than these tests wait elsewhere.
    crm = CONNECTOR.open("crm", config(twin, timeout_seconds=30), world)
    assert isinstance(crm, BulkAssigner)
    outcomes: dict[str, SendOutcome] = {}
    for start in range(0, 10_000, crm.most_assigns):
        outcomes |= await crm.assign_many([mirror(start + at) for at in range(crm.most_assigns)])
    assert len(transport.requests) <= 60
    assert len(outcomes) == 10_000
    rows = mirrors(twin)
    for number in range(10_000):
        outcome = outcomes[f"invoice_mirror:in_{number:06}"]
        assert isinstance(outcome, Confirmed)
        row = rows[f"in_{number:06}"]
        assert (row["Id"], row["Invoice_Number__c"]) == (outcome.receipt.external_id, f"INV-{number}")


async def test_all_kinds_in_one_call_each_answered_for_by_itself(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    customer = account(twin)
    deals = [deal(twin, customer)["id"] for _ in range(3)]
    twin.act("delete", object="Opportunity", id=deals[1])
    await crm.identity()
    transport.requests.clear()
    given = [
        mirror(1, account=customer, opportunity=deals[0]),
        assignment("opportunity", deals[0], "status", {"status": "active"}),
        assignment("opportunity", deals[1], "status", {"status": "active"}),
        assignment("opportunity", deals[2], "status", {"status": "x" * 100}),
        assignment("opportunity", "not an id", "status", {"status": "active"}),
        assignment("account", customer, "status", {"status": "synced", "detail": None}),
        mirror(2, account="001000000000001AAA"),
    ]
    outcomes = await crm.assign_many(given)
    assert len(transport.requests) == 1
    shown = [outcomes[each.keys.effect] for each in given]
    kinds = [type(each) for each in shown]
    assert kinds == [Confirmed, Confirmed, Rejected, Rejected, Rejected, Confirmed, Rejected]
    assert [each.code for each in shown if isinstance(each, Rejected)] == [
        "ENTITY_IS_DELETED",
        "STRING_TOO_LONG",
        "MALFORMED_ID",
        "INVALID_CROSS_REFERENCE_KEY",
    ]
    assert "Tieout_Status__c" in str(shown[3])
    assert list(mirrors(twin)) == ["in_000001"]
    rows = {row["Id"]: row for row in twin.act("snapshot", objects=["Opportunity"])["Opportunity"]}
    assert [rows[id]["Tieout_Status__c"] for id in deals] == ["active", None, None]


async def test_second_time_updates_and_makes_nothing(twin: Served, crm: SalesforceConnection) -> None:
    first = await crm.assign_many([mirror(number) for number in range(5)])
    second = await crm.assign_many([mirror(number, status="paid") for number in range(5)])
    assert [each.receipt for each in first.values() if isinstance(each, Confirmed)] == [
        each.receipt for each in second.values() if isinstance(each, Confirmed)
    ]
    assert [row["Status__c"] for row in mirrors(twin).values()] == ["paid"] * 5


@pytest.mark.parametrize("kind", ["reversed", "missing", "repeated"])
async def test_results_out_of_order_missing_or_repeated(
    twin: Served, crm: SalesforceConnection, kind: str
) -> None:
    given = [mirror(number) for number in range(4)]
    bad = mirror(9, number="x" * 100)
    await crm.identity()
    twin.act("answers", next=[kind])
    outcomes = await crm.assign_many([*given, bad])
    rows = mirrors(twin)
    confirmed = {key: each for key, each in outcomes.items() if isinstance(each, Confirmed)}
    for key, each in confirmed.items():  # whoever is confirmed is confirmed with its own record
        assert rows[key.removeprefix("invoice_mirror:")]["Id"] == each.receipt.external_id
    assert bad.keys.effect not in confirmed
    assert len(confirmed) == 4
    refused = outcomes.get(bad.keys.effect)
    # Reversed: one refusal is left and one record. Missing and repeated: nothing was said of it.
    assert isinstance(refused, Rejected) if kind == "reversed" else refused is None


async def test_two_refusals_out_of_order_are_of_nobody(twin: Served, crm: SalesforceConnection) -> None:
    given = [mirror(1), mirror(2, number="x" * 100), mirror(3, account="001000000000001AAA"), mirror(4)]
    twin.act("answers", next=["reversed"])
    outcomes = await crm.assign_many(given)
    assert set(outcomes) == {given[0].keys.effect, given[3].keys.effect}
    in_order = await crm.assign_many(given)
    codes = [each.code for each in in_order.values() if isinstance(each, Rejected)]
    assert codes == ["STRING_TOO_LONG", "INVALID_CROSS_REFERENCE_KEY"]


def test_matching_by_id_place_or_not_at_all() -> None:
    def ok(id: str) -> wire.SaveResult:
        return wire.SaveResult(success=True, id=id)

    def no(code: str) -> wire.SaveResult:
        return wire.SaveResult(success=False, errors=[wire.SaveError(code)])

    known = {"1": "a", "2": "b", "3": "c"}
    assert match_results("abc", [ok("3"), ok("1"), ok("2")], known) == {
        "a": ok("1"),
        "b": ok("2"),
        "c": ok("3"),
    }
    assert match_results("abc", [ok("1"), ok("1")], known) == {"a": ok("1")}
    assert match_results("abc", [ok("1"), no("X"), no("Y")], known) == {
        "a": ok("1"),
        "b": no("X"),
        "c": no("Y"),
    }
    assert match_results("abc", [no("X"), no("Y"), ok("1")], known) == {"a": ok("1")}
    assert match_results("abc", [no("X")] * 3, known) == dict.fromkeys("abc", no("X"))
    assert match_results("abc", [no("X"), no("Y"), no("X")], known) == {}
    assert match_results("abc", [ok("9"), ok("8"), ok("7")], known) == {}
    contrary = wire.SaveResult(success=False, id="1", errors=[wire.SaveError("X")])
    assert match_results("abc", [ok("1"), contrary, ok("2")], known) == {"b": ok("2")}


async def test_lock_limit_and_partial_batch(twin: Served, crm: SalesforceConnection) -> None:
    customer = account(twin)
    deals = [deal(twin, customer)["id"] for _ in range(2)]
    given = [assignment("opportunity", id, "status", {"status": "active"}) for id in deals]
    twin.act("lock_rows", count=1, ids=[deals[0]])
    outcomes = await crm.assign_many(given)
    assert isinstance(outcomes[given[0].keys.effect], Transient)
    assert isinstance(outcomes[given[1].keys.effect], Confirmed)
    twin.faults(partial_batch=1.0)
    assert {type(each) for each in (await crm.assign_many(given)).values()} == {Transient}
    twin.faults()
    twin.act("limits", used=100_000)
    limited = await crm.assign_many(given)
    assert len(limited) == 2
    for each in limited.values():
        assert isinstance(each, RateLimited)
        assert each.retry_at is not None


async def test_session_ends_between_batches(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    await crm.assign_many([mirror(1)])
    twin.act("expire_sessions")
    transport.requests.clear()
    outcomes = await crm.assign_many([mirror(number) for number in range(200)])
    assert {type(each) for each in outcomes.values()} == {Confirmed}
    assert [each.operation for each in transport.requests] == ["assign_many", "sign_in", "assign_many"]
    assert len(mirrors(twin)) == 200


@pytest.mark.parametrize(
    ("fault", "outcome", "made"),
    [
        ("error_before", OutcomeUnknown, 0),
        ("error_after", OutcomeUnknown, 3),
        ("timeout_after_work", OutcomeUnknown, 3),
        ("reset", OutcomeUnknown, 3),
        ("malformed", OutcomeUnknown, 3),
        ("html", OutcomeUnknown, 3),
        ("rate_limited", RateLimited, 0),
    ],
)
async def test_lost_answers(
    twin: Served, crm: SalesforceConnection, fault: str, outcome: type, made: int
) -> None:
    await crm.identity()
    twin.faults(script=[{"operation": "composite", "nth": 1, "kind": fault}])
    given = [mirror(number) for number in range(3)]
    outcomes = await crm.assign_many(given)
    assert {type(each) for each in outcomes.values()} == {outcome}
    assert len(outcomes) == 3
    assert len(mirrors(twin)) == made
    twin.faults()
    assert {type(each) for each in (await crm.assign_many(given)).values()} == {Confirmed}
    assert len(mirrors(twin)) == 3


async def test_text_that_looks_like_a_reference_goes_alone(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    given = [mirror(1), mirror(2, number="@{by_id[0].id}")]
    outcomes = await crm.assign_many(given)
    assert {type(each) for each in outcomes.values()} == {Confirmed}
    assert mirrors(twin)["in_000002"]["Invoice_Number__c"] == "@{by_id[0].id}"
    assert [each.operation for each in transport.requests][-2:] == ["invoice_mirror.assign", "assign_many"]


async def test_long_keys_are_asked_for_in_three_queries(
    twin: Served, crm: SalesforceConnection, transport: RecordingTransport
) -> None:
    given = [
        assignment("invoice_mirror", f"{n:04}".ljust(80, "'"), "mirror", {"number": "1"}) for n in range(200)
    ]
    outcomes = await crm.assign_many(given)
    assert {type(each) for each in outcomes.values()} == {Confirmed}
    parts = json.loads(transport.requests[-1].body)["compositeRequest"]
    assert [part["method"] for part in parts].count("GET") <= 3


async def test_what_is_no_batch(crm: SalesforceConnection, transport: RecordingTransport) -> None:
    assert await crm.assign_many([]) == {}
    with pytest.raises(ValueError, match="at most 200"):
        await crm.assign_many([mirror(number) for number in range(201)])
    with pytest.raises(ValueError, match="twice"):
        await crm.assign_many([mirror(1), mirror(1)])
    assert transport.requests == []


def composite(*parts: tuple[str | None, int, Any]) -> Any:
    return canned(
        {
            "compositeResponse": [
                {"referenceId": name, "httpStatusCode": status, "httpHeaders": {}, "body": body}
                for name, status, body in parts
            ]
        }
    )


LIMIT = [{"errorCode": "REQUEST_LIMIT_EXCEEDED", "message": "TotalRequests Limit exceeded."}]
FIELD = [{"errorCode": "INVALID_FIELD", "message": "No such column 'X' on sobject", "fields": ["X"]}]
DUPLICATE = {
    "success": False,
    "errors": [{"statusCode": "DUPLICATES_DETECTED", "message": "Use one?", "fields": []}],
}
RACE = {"success": False, "errors": [{"statusCode": "DUPLICATE_VALUE", "message": "found", "fields": []}]}
SEVERAL = {
    "success": False,
    "errors": [{"statusCode": "DUPLICATE_EXTERNAL_ID", "message": "2 found", "fields": []}],
}
NO_REASON = {"success": False, "errors": []}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (composite(("mirrors", 200, [DUPLICATE])), Rejected),
        (composite(("mirrors", 200, [RACE])), Transient),
        (composite(("mirrors", 200, [SEVERAL])), Rejected),
        (composite(("mirrors", 200, [NO_REASON])), OutcomeUnknown),
        (composite(("mirrors", 403, LIMIT)), RateLimited),
        (composite(("mirrors", 400, FIELD)), Misconfigured),
        (composite(("mirrors", 500, [])), OutcomeUnknown),
        (composite((None, 400, [{"errorCode": "LIMIT_EXCEEDED", "message": "m"}])), Rejected),
        (composite(("mirrors", 200, {"success": True})), None),
        (composite(("mirrors", 200, [{"success": True, "id": "a01"}])), None),  # of whom, nobody says
        (composite(("other", 200, [])), None),
        (composite(), None),
        (canned({"compositeResponse": 5}), OutcomeUnknown),
        (canned("", 204), OutcomeUnknown),
        (canned("", 302, location="https://elsewhere.example/"), Misconfigured),
        (canned([{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "m"}], 500), Transient),
        (canned({"exceptionCode": "InvalidSessionId", "exceptionMessage": "gone"}, 400), Misconfigured),
    ],
)
async def test_answers_to_a_batch(answer: Any, outcome: type | None) -> None:
    again = [canned(TOKEN), answer] if b"InvalidSessionId" in answer.body else []
    answers = CannedTransport(canned(TOKEN), canned(SANDBOX), answer, *again)
    async with open_world(answers) as world:
        crm = CONNECTOR.open("crm", offline_config(), world)
        outcomes = await crm.assign_many([mirror(1)])
    assert [type(each) for each in outcomes.values()] == ([] if outcome is None else [outcome])


async def test_polling_slows_down_and_listings_wait_as_the_allowance_goes(twin: Served, world: World) -> None:
    crm = CONNECTOR.open("crm", config(twin, poll_seconds=5), world)
    assert crm.poll_seconds == 5
    seen = []
    for used in (70_000, 85_000, 96_000):
        twin.act("limits", used=used)
        await crm.assign_many([mirror(used)])
        seen.append(crm.poll_seconds)
    assert seen == [5, 20, 60]
    with pytest.raises(Failure) as caught:
        _ = [line async for line in crm.contract_lines()]
    assert isinstance(caught.value.outcome, RateLimited)
    findings = [each for each in await crm.check() if each.level == "warning"]
    assert "listings wait" in findings[-1].message
