"""Permits: never above the limit, look-ups first, halved by a 429, back one a minute."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tieout.canonical.outcome import RateLimited, Transient
from tieout.connectors.contract import Limits
from tieout.engine.budget import Budget, BudgetedTransport
from tieout.engine.sending import _heed
from tieout.ports import Request, Response, TransportError


class Clock:
    factor = 1

    def __init__(self):
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self):
        return self.moment

    def monotonic(self):
        return self.moment.timestamp()

    async def sleep_real(self, seconds):
        self.moment += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class Vendor:
    def __init__(self, status=200):
        self.status, self.now, self.most, self.order = status, 0, 0, []

    async def exchange(self, request):
        self.now += 1
        self.most = max(self.most, self.now)
        self.order.append(request.operation)
        await asyncio.sleep(0.001)
        self.now -= 1
        return Response(status=self.status, headers={}, body=b"")

    async def close(self):
        pass


def _request(operation="create"):
    return Request(method="POST", url="http://x", headers={}, connection="c", operation=operation)


async def test_never_more_than_the_limit_as_the_vendor_sees_it():
    vendor, budget = Vendor(), Budget(Limits(in_flight=4), Clock())
    transport = BudgetedTransport(vendor, {"c": budget})
    await asyncio.gather(*(transport.exchange(_request()) for _ in range(50)))
    assert (vendor.most, budget.most_out, budget.out) == (4, 4, 0)


async def test_look_ups_of_doubts_go_first():
    vendor = Vendor()
    transport = BudgetedTransport(vendor, {"c": Budget(Limits(in_flight=1), Clock())})
    calls = [transport.exchange(_request(f"create.{n}")) for n in range(3)] + [
        transport.exchange(_request("find.one"))
    ]
    await asyncio.gather(*calls)
    assert vendor.order[1] == "find.one"


async def test_a_429_halves_at_once_and_is_told_to_whoever_shares_the_budget():
    vendor, clock = Vendor(status=429), Clock()
    budget = Budget(Limits(in_flight=8), clock)
    transport = BudgetedTransport(vendor, {"c": budget})
    await transport.exchange(_request())
    assert budget.present == 4
    await transport.exchange(_request())
    assert budget.present == 4, "once a second of such answers"
    for expected in (2, 1, 1):
        clock.moment += timedelta(seconds=1)
        await transport.exchange(_request())
        assert budget.present == expected
    assert budget.refusals == 5


async def test_look_ups_have_a_tenth_while_others_wait_and_more_when_nobody_does():
    budget = Budget(Limits(in_flight=20), Clock())
    for _ in range(20):
        await budget.take()
    doubts = [asyncio.ensure_future(budget.take(urgent=True)) for _ in range(5)]
    others = [asyncio.ensure_future(budget.take()) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(7):
        budget.give()
        await asyncio.sleep(0)
        granted = sum(one.done() for one in doubts), sum(one.done() for one in others)
        assert granted[0] <= 2 or granted[1] == 2, "two of twenty, until nobody else waits"
    assert granted == (5, 2)


def _about(lane, operation="create"):
    return Request(method="POST", url="http://x", headers={}, connection="c", operation=operation, lane=lane)


async def test_an_operation_that_fails_for_many_documents_is_left_alone_then_probed_by_one_call():
    vendor, clock = Vendor(status=503), Clock()
    budget = Budget(Limits(in_flight=8), clock)
    transport = BudgetedTransport(vendor, {"c": budget})
    for number in range(8):
        await transport.exchange(_about(f"lane-{number}"))
    with pytest.raises(TransportError) as refused:
        await transport.exchange(_about("lane-9"))
    assert refused.value.sent is False
    assert len(vendor.order) == 8
    assert (await transport.exchange(_about("lane-1", "read"))).status == 503, "other operations go on"
    assert budget.circuits.open() == ("create",)
    clock.moment += timedelta(seconds=5)
    answers = await asyncio.gather(
        *(transport.exchange(_about(f"lane-{n}")) for n in range(4)), return_exceptions=True
    )
    assert sum(isinstance(one, Response) for one in answers) == 1, "one probe"
    clock.moment += timedelta(seconds=6)
    with pytest.raises(TransportError):
        await transport.exchange(_about("lane-1"))  # the pause has doubled
    clock.moment += timedelta(seconds=5)
    vendor.status = 200
    assert (await transport.exchange(_about("lane-1"))).status == 200
    assert budget.circuits.open() == ()
    assert (await transport.exchange(_about("lane-2"))).status == 200


async def test_one_document_that_always_fails_holds_up_no_other():
    vendor, budget = Vendor(status=500), Budget(Limits(in_flight=8), Clock())
    transport = BudgetedTransport(vendor, {"c": budget})
    for _ in range(50):
        await transport.exchange(_about("poison"))
    vendor.status = 200
    assert (await transport.exchange(_about("healthy"))).status == 200


async def test_a_cancelled_wait_gives_its_permit_back():
    budget = Budget(Limits(in_flight=1), Clock())
    await budget.take()
    waiting = asyncio.ensure_future(budget.take())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    granted = asyncio.ensure_future(budget.take())
    await asyncio.sleep(0)
    budget.give()
    granted.cancel()  # granted and cancelled at once
    await asyncio.gather(granted, return_exceptions=True)
    assert budget.out == 0


async def test_calls_a_second_are_paced():
    clock = Clock()
    budget = Budget(Limits(in_flight=100, per_second=10), clock)
    began = clock.moment
    for _ in range(21):
        await budget.take()
        budget.give()
    assert clock.moment - began >= timedelta(seconds=1.99)


async def test_nothing_is_sent_that_the_lease_does_not_outlive():
    vendor, budget = Vendor(), Budget(Limits(in_flight=1), Clock())
    transport = BudgetedTransport(vendor, {"c": budget})
    transport.may_send = lambda seconds: False
    with pytest.raises(TransportError) as refused:
        await transport.exchange(_request())
    assert refused.value.sent is False
    assert (vendor.order, budget.out) == ([], 0)


async def test_it_is_busy_while_every_permit_is_out_or_somebody_waits():
    budget = Budget(Limits(in_flight=2), Clock())
    await budget.take()
    assert not budget.busy
    await budget.take()
    assert budget.busy
    budget.give()
    assert not budget.busy


async def test_a_limit_that_was_not_said_by_a_429_shrinks_it_all_the_same():
    budget = Budget(Limits(in_flight=8), Clock())
    _heed(budget, Transient(reason="not now"))
    assert (budget.present, budget.refusals) == (8, 0)
    _heed(budget, RateLimited(reason="a 400 that means a limit"))
    assert (budget.present, budget.refusals) == (4, 1)
