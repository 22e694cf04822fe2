"""Writing: once, and never called done or refused while that is not certain."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Found,
    Inconclusive,
    OutcomeUnknown,
    RateLimited,
    Transient,
)
from tieout.connectors.contract import OperationTraits, World, Writer, conclusive_at
from tieout.ports import Request, Response
from tieout_lab.conformance.case import KEYS, Case, Ground
from tieout_lab.conformance.reads import PAUSE_SECONDS, later
from tieout_lab.conformance.world import RealClock, RecordingTransport, Served, open_world, serve
from tieout_lab.twins.clock import SystemTwinClock

# Technical seconds in a real one where the vendor's longest execution is waited for.
FACTOR = 600
GATEWAY = b"<html><body><h1>Bad Gateway</h1></body></html>"


def longest(connection: Any, case: Case) -> OperationTraits:
    """What the connector says of the plainest write's longest execution."""
    if case.look_up is not None and isinstance(connection, Writer):
        return connection.operations[case.look_up[0]]
    traits: OperationTraits = connection.assign_traits
    return traits


class Writes(Ground):
    """One write, and all that can become of it."""

    @pytest.mark.asyncio
    async def test_write_over_the_limit(
        self, case: Case, served: Served, connection: Any, transport: RecordingTransport
    ) -> None:
        now = datetime.now(UTC)
        served.fail("rate_limited", case.write_operation)
        transport.change = later(None)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, RateLimited), outcome
        assert outcome.retry_at is None
        transport.change = later(str(PAUSE_SECONDS))
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, RateLimited), outcome
        assert outcome.retry_at is not None
        assert timedelta(seconds=PAUSE_SECONDS) <= outcome.retry_at - now < timedelta(seconds=60)
        transport.change = None
        served.faults()
        assert await case.made(connection) == 0

    @pytest.mark.parametrize(
        ("kind", "made"),
        [
            ("error_before", 0),
            ("error_after", 1),
            ("hang", 0),
            ("timeout_after_work", 1),
            ("reset", 1),
            ("cut", 1),
            ("refuse", 0),
        ],
    )
    @pytest.mark.asyncio
    async def test_write_without_an_answer_is_unknown(
        self, case: Case, served: Served, connection: Any, kind: str, made: int
    ) -> None:
        served.fail(kind, case.write_operation)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, OutcomeUnknown), outcome
        served.faults()
        assert await case.made(connection) == made

    @pytest.mark.parametrize("status", [500, 502, 503, 504])
    @pytest.mark.asyncio
    async def test_gateway_that_fails_leaves_doubt(
        self, case: Case, connection: Any, transport: RecordingTransport, status: int
    ) -> None:
        """A page of something in between says nothing about the work behind it."""
        assert isinstance(await case.write(connection, KEYS), Confirmed)

        def answered(request: Request, answer: Response) -> Response:
            if request.method == "GET" or answer.status >= 300 or request.operation.startswith("codes"):
                return answer
            return Response(status=status, headers={"content-type": "text/html"}, body=GATEWAY)

        transport.change = answered
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, OutcomeUnknown), outcome

    @pytest.mark.parametrize("kind", ["malformed", "html"])
    @pytest.mark.asyncio
    async def test_write_with_an_unreadable_answer_is_no_refusal(
        self, case: Case, served: Served, connection: Any, kind: str
    ) -> None:
        """Where the vendor answers a write without a body nothing can be unreadable: then it is confirmed."""
        served.fail(kind, case.write_operation)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, OutcomeUnknown | Confirmed), outcome
        served.faults()
        assert await case.made(connection) == 1

    @pytest.mark.asyncio
    async def test_write_whose_answer_is_too_large_is_no_refusal(
        self, case: Case, connection: Any, transport: RecordingTransport
    ) -> None:
        assert isinstance(await case.write(connection, KEYS), Confirmed)
        transport.most_bytes = 8
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, OutcomeUnknown | Confirmed), outcome
        transport.most_bytes = None
        assert await case.made(connection) == 1

    @pytest.mark.asyncio
    async def test_same_write_twice_makes_one_document(
        self, case: Case, served: Served, connection: Any
    ) -> None:
        first = await case.write(connection, KEYS)
        second = await case.write(connection, KEYS)
        assert isinstance(first, Confirmed), first
        assert isinstance(second, Confirmed), second
        assert first.receipt.external_id == second.receipt.external_id
        assert await case.made(connection) == 1

    @pytest.mark.asyncio
    async def test_two_writes_at_once_make_one_document(
        self, case: Case, served: Served, connection: Any
    ) -> None:
        both = await asyncio.gather(case.write(connection, KEYS), case.write(connection, KEYS))
        assert any(isinstance(outcome, Confirmed) for outcome in both), both
        assert all(isinstance(outcome, Confirmed | Transient | OutcomeUnknown) for outcome in both), both
        assert await case.made(connection) == 1

    @pytest.mark.asyncio
    async def test_late_success_is_found(self, case: Case, served: Served, connection: Any) -> None:
        served.fail_once("late", case.write_operation, seconds=case.timeout_seconds + 0.7)
        assert isinstance(await case.write(connection, KEYS), OutcomeUnknown)
        assert await case.made(connection) == 0
        for _ in range(40):
            await asyncio.sleep(0.1)
            if await case.made(connection):
                break
        assert await case.made(connection) == 1

    @pytest.mark.asyncio
    async def test_success_as_late_as_the_vendor_can_be_is_waited_for(self, case: Case) -> None:
        """The work ends at the last moment of the longest execution: until then no look-up may have proved absence."""
        if case.real:
            pytest.skip(f"{case.name}: the clock of a real system cannot be turned")
        epoch = datetime.now(UTC)
        clock = RealClock(FACTOR, epoch)
        with serve(case.twin(SystemTwinClock(factor=FACTOR, epoch=epoch))) as served:
            async with open_world(clock=clock) as world:
                connection = case.open(served, world)
                await connection.identity()
                traits = longest(connection, case)
                sent_at = clock.now()
                served.fail_once("late", case.write_operation, seconds=traits.longest_seconds)
                assert isinstance(await case.write(connection, KEYS), OutcomeUnknown)
                served.faults()
                while not await self._found(case, connection, sent_at):
                    assert clock.now() < sent_at + timedelta(seconds=2 * traits.longest_seconds + FACTOR * 10)
                    await clock.sleep_real(0.1)

    async def _found(self, case: Case, connection: Any, sent_at: datetime) -> bool:
        """Whether the document stands; where there is a look-up, that it did not prove absence too soon."""
        if case.look_up is None:
            return await case.made(connection) == 1
        operation, write = case.look_up
        found = await connection.find(operation, write, KEYS, sent_at)
        if isinstance(found, Found):
            assert not found.others
            return True
        assert isinstance(found, Absent), found
        traits = connection.operations[operation]
        assert found.conclusive_at == conclusive_at(sent_at, traits)
        return False

    @pytest.mark.asyncio
    async def test_look_up_never_raises(self, case: Case, served: Served, connection: Any) -> None:
        if not case.find_by_key:
            assert not isinstance(connection, Writer)
            pytest.skip(f"{case.name}: makes no documents, so there is nothing to look up by key")
        assert isinstance(connection, Writer)
        assert all(
            traits.uniqueness in ("atomic", "search_only") for traits in connection.operations.values()
        )
        operation, write = case.given("look_up")
        for kind in ("error_before", "rate_limited", "html", "hang"):
            served.faults(rates={kind: 1.0})
            found = await connection.find(operation, write, KEYS, datetime.now(UTC))
            assert isinstance(found, Inconclusive), (kind, found)
            assert found.reason

    @pytest.mark.asyncio
    async def test_absence_is_not_believed_too_soon(self, case: Case, connection: Any, world: World) -> None:
        if not case.find_by_key:
            pytest.skip(f"{case.name}: makes no documents, so there is nothing to look up by key")
        operation, write = case.given("look_up")
        sent_at = world.clock.now()
        found = await connection.find(operation, write, KEYS, sent_at)
        assert isinstance(found, Absent), found
        assert found.conclusive_at == conclusive_at(sent_at, connection.operations[operation])
        assert found.conclusive_at > world.clock.now()
