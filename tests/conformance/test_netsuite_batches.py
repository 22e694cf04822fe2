"""Asynchronous batches of the connector against its twin, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.support import (
    RealClock,
    RecordingTransport,
    Served,
    SystemTransport,
    open_world,
    serve,
)
from tests.conformance.test_netsuite_connector import (
    BILLING_DAY,
    config_of,
    confirmed,
    customer,
    document,
    new_customer,
    payment,
)
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Found,
    Inconclusive,
    Misconfigured,
    RateLimited,
    Receipt,
    Rejected,
    SendOutcome,
)
from tieout.connectors.contract import BulkWriter, Keys, World
from tieout.connectors.netsuite import CONNECTOR
from tieout.connectors.netsuite.connection import NetSuite
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite.twin import NetSuiteTwin

NOW = datetime.now(UTC)
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def keys(number: int) -> Keys:
    text = "".join(DIGITS[number >> 5 * place & 31] for place in range(16))
    return Keys(effect=f"co|netsuite-main|op|{number}", document=text, wire=f"w-{number}", trace="tr")


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(NetSuiteTwin(SystemTwinClock(business=BILLING_DAY))) as served:
        served.act("preferences", batch_seconds=0.05, shuffle_tasks=True)
        yield served


@pytest.fixture
def wire() -> RecordingTransport:
    return RecordingTransport(SystemTransport())


@pytest.fixture
async def world(wire: RecordingTransport) -> AsyncIterator[World]:
    async with open_world(transport=wire, clock=RealClock()) as opened:
        yield opened


def receipt_of(answer: Mapping[str, SendOutcome], one: Keys) -> Receipt:
    outcome = answer[one.document]
    assert isinstance(outcome, Confirmed), outcome
    return outcome.receipt


def connect(twin: Served, world: World, **changes: Any) -> NetSuite:
    given = {"job_poll_seconds": 1, "batch_seconds": 8, "timeout_seconds": 5, **changes}
    opened: NetSuite = CONNECTOR.open("netsuite-main", config_of(twin, **given), world)
    return opened


def invoices(buyer: str, count: int, first: int = 1) -> list[Any]:
    return [(document(buyer, number), keys(number)) for number in range(first, first + count)]


def made(twin: Served, type_: str = "invoice") -> list[str]:
    return [one["external_id"] for one in twin.act("snapshot")["documents"] if one["type"] == type_]


async def test_a_hundred_documents_in_a_handful_of_calls(
    twin: Served, world: World, wire: RecordingTransport
) -> None:
    connection = connect(twin, world)
    assert isinstance(connection, BulkWriter)
    assert connection.batch_sizes["invoice.create"] == 100
    buyer = await new_customer(connection)
    items = invoices(buyer, 100)
    await connection.send("invoice.create", document(buyer, 999), keys(999))  # codes are known by now
    wire.requests.clear()
    answer = await connection.send_many("invoice.create", items, "batch-1")
    assert set(answer) == {one.document for _, one in items}
    assert all(isinstance(one, Confirmed) for one in answer.values())
    assert len(wire.requests) <= 5
    assert wire.requests[0].headers["x-netsuite-propertynamevalidation"] == "Error"
    # Every outcome is the one of its own document, in whatever order the job worked.
    sources = {one["external_id"]: one["id"] for one in twin.act("snapshot")["documents"]}
    for _, one in items:
        assert receipt_of(answer, one).external_id == sources[one.document]
        assert receipt_of(answer, one).posted


async def test_the_same_batch_again_is_the_same_job(
    twin: Served, world: World, wire: RecordingTransport
) -> None:
    connection = connect(twin, world)
    items = invoices(await new_customer(connection), 3)
    first = await connection.send_many("invoice.create", items, "batch-1")
    again = await connection.send_many("invoice.create", items, "batch-1")
    assert first == again
    assert len(made(twin)) == 3
    submitted = [one for one in wire.requests if "respond-async" in one.headers.get("prefer", "")]
    assert len({one.headers["x-netsuite-idempotency-key"] for one in submitted}) == 1
    assert len({one.url for one in wire.requests if one.operation == "batch.job"}) == 1


async def test_killed_between_submit_and_result_the_look_up_tells(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    items = invoices(await new_customer(connection), 5)
    twin.act("preferences", batch_seconds=1.5)
    sending = asyncio.create_task(connection.send_many("invoice.create", items, "batch-1"))
    while not twin.app.jobs.jobs:
        await asyncio.sleep(0.02)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    asked = [(write, one, NOW) for write, one in items]
    other = connect(twin, world)  # the hub's next life
    found = await other.find_many("invoice.create", asked)
    assert all(isinstance(one, Absent) for one in found.values())
    await asyncio.sleep(1.8)
    found = await other.find_many("invoice.create", asked)
    assert all(isinstance(one, Found) and not one.others for one in found.values())
    # ... and the batch sent again under its key finds that job.
    again = await other.send_many("invoice.create", items, "batch-1")
    assert {key: one.receipt for key, one in again.items() if isinstance(one, Confirmed)} == {
        key: one.receipt for key, one in found.items() if isinstance(one, Found)
    }
    assert len(made(twin)) == 5


async def test_look_ups_of_many_are_one_query(twin: Served, world: World, wire: RecordingTransport) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    for number in (1, 2, 3):
        await connection.send("invoice.create", document(buyer, number), keys(number))
    asked = [(document(buyer, number), keys(number), NOW) for number in range(1, 6)]
    wire.requests.clear()
    found = await connection.find_many("invoice.create", asked)
    assert [one.operation for one in wire.requests] == ["find.invoice"]
    assert [type(found[one.document]) for _, one, _ in asked] == [Found, Found, Found, Absent, Absent]
    twin.fail("error_before", "suiteql")
    found = await connection.find_many("invoice.create", asked)
    assert all(isinstance(one, Inconclusive) for one in found.values())


async def test_a_refused_document_keeps_its_own_words(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    items = invoices(buyer, 4)
    items[1] = (document("99998", 2), keys(2))
    items[3] = (document(buyer, 4, currency="JPY", total_minor=129), keys(4))
    answer = await connection.send_many("invoice.create", items, "batch-1")
    kinds = [type(answer[one.document]) for _, one in items]
    assert kinds == [Confirmed, Rejected, Confirmed, Rejected]
    assert "99998" in str(answer[keys(2).document])
    assert "currency" in str(answer[keys(4).document])
    assert len(made(twin)) == 2


async def test_one_refusal_for_all_is_told_without_sending_again(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    twin.act("close_period", period="Jan 2026")
    items = invoices(buyer, 6)
    answer = await connection.send_many("invoice.create", items, "batch-1")
    assert {type(one) for one in answer.values()} == {Misconfigured}
    assert {one.key for one in answer.values() if isinstance(one, Misconfigured)} == {"us|2026-01"}
    assert [one for one in twin.log() if one["operation"] == "invoice.create"][1:] == []


async def test_what_a_job_does_not_account_for_is_unknown(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    # The vendor fell over some records: what came of those nobody knows.
    twin.faults(partial_batch=0.5, seed=3)
    items = invoices(buyer, 8)
    answer = await connection.send_many("invoice.create", items, "batch-1")
    stands = set(made(twin))
    assert 0 < len(stands) < 8
    assert set(answer) == stands
    # A result that is missing: the document that was refused is not known to be.
    twin.faults()
    twin.act("preferences", lost_results=3)
    items = [(document("99998", 21), keys(21)), *invoices(buyer, 2, first=22)]
    answer = await connection.send_many("invoice.create", items, "batch-2")
    assert set(answer) == {keys(22).document, keys(23).document}


async def test_a_document_that_cannot_be_seen_yet_is_unknown(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    twin.faults(visibility_delay_seconds=3600)
    items = invoices(buyer, 3)
    assert await connection.send_many("invoice.create", items, "batch-1") == {}
    twin.faults()
    found = await connection.find_many("invoice.create", [(write, one, NOW) for write, one in items])
    assert all(isinstance(one, Found) for one in found.values())


async def test_a_job_that_takes_too_long_is_unknown_and_no_one_waits_for_ever(
    twin: Served, world: World
) -> None:
    connection = connect(twin, world, batch_seconds=1)
    items = invoices(await new_customer(connection), 2)
    twin.act("preferences", batch_seconds=3)
    assert await connection.send_many("invoice.create", items, "batch-1") == {}
    await asyncio.sleep(3.5)
    assert len(await connection.send_many("invoice.create", items, "batch-1")) == 2
    assert len(made(twin)) == 2


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("timeout_after_work", None), ("error_after", None), ("reset", None), ("rate_limited", RateLimited)],
)
async def test_faults_of_a_submission(twin: Served, world: World, fault: str, kind: type | None) -> None:
    connection = connect(twin, world, timeout_seconds=1)
    buyer = await new_customer(connection)
    await connection.send("invoice.create", document(buyer, 99), keys(99))
    items = invoices(buyer, 3)
    twin.fail_once(fault, "invoice.create")
    answer = await connection.send_many("invoice.create", items, "batch-1")
    if kind is None:
        assert answer == {}
    else:
        assert {type(one) for one in answer.values()} == {kind}
    answer = await connection.send_many("invoice.create", items, "batch-1")
    assert all(isinstance(one, Confirmed) for one in answer.values())
    assert len(answer) == 3
    assert len(made(twin)) == 4


async def test_a_token_that_expires_in_mid_batch_is_renewed(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    items = invoices(await new_customer(connection), 3)
    twin.act("preferences", batch_seconds=1.2)
    sending = asyncio.create_task(connection.send_many("invoice.create", items, "batch-1"))
    while not twin.app.jobs.jobs:
        await asyncio.sleep(0.02)
    twin.act("revoke_tokens")
    answer = await sending
    assert len(answer) == 3
    assert all(isinstance(one, Confirmed) for one in answer.values())


async def test_an_unknown_code_stops_its_own_document_alone(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyer = await new_customer(connection)
    items = invoices(buyer, 2)
    write = items[0][0]
    line = write.lines[0]
    wrong = type(line)(
        **{**{name: getattr(line, name) for name in line.__struct_fields__}, "item": "NO-SUCH"}
    )
    items[0] = (document(buyer, 1, lines=(wrong,)), keys(1))
    answer = await connection.send_many("invoice.create", items, "batch-1")
    assert isinstance(answer[keys(1).document], Misconfigured)
    assert isinstance(answer[keys(2).document], Confirmed)


async def test_every_kind_of_document_in_batches(twin: Served, world: World) -> None:
    connection = connect(twin, world)
    buyers = [(customer("1"), keys(901)), (customer("2", "JPY"), keys(902))]
    answer = await connection.send_many("customer.create", buyers, "customers")
    assert all(isinstance(one, Confirmed) for one in answer.values())
    buyer = receipt_of(answer, keys(901)).external_id
    again = await connection.send_many("customer.create", buyers, "customers, with another key")
    assert again == answer  # an upsert: one customer each
    invoice = await confirmed(connection, "invoice.create", document(buyer), 1)
    memos = [
        (
            document(
                buyer, number, kind="credit_memo", reason="credited", due=None, applies_to=((invoice, 1),)
            ),
            keys(number),
        )
        for number in (2, 3)
    ]
    answer = await connection.send_many("credit_memo.create", memos, "memos")
    assert all(isinstance(one, Confirmed) for one in answer.values())
    payments = [(payment(buyer, 100 * number, number), keys(number)) for number in (4, 5)]
    answer = await connection.send_many("payment.create", payments, "payments")
    assert [receipt_of(answer, one).total_minor for _, one in payments] == [400, 500]


async def test_no_bulk_without_enforced_keys_nor_beyond_its_size(twin: Served, world: World) -> None:
    assert connect(twin, world, enforce_keys=False).batch_sizes == {}
    assert connect(twin, world, batch_size=0).batch_sizes == {}
    assert "credit_memo.create" not in connect(twin, world, transform_credits=True).batch_sizes
    connection = connect(twin, world, batch_size=2)
    with pytest.raises(ValueError, match="3 in a batch"):
        await connection.send_many("invoice.create", invoices("1", 3), "batch-1")
    assert made(twin) == []
