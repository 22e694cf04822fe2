"""Permits: never above the limit, look-ups first, halved by a 429, back one a minute."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tieout.connectors.contract import Limits
from tieout.engine.budget import Budget, BudgetedTransport
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


async def test_a_429_halves_and_a_minute_gives_one_back():
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
    vendor.status = 200
    for expected in (2, 3, 4, 5, 6, 7, 8, 8):
        clock.moment += timedelta(seconds=60)
        await transport.exchange(_request())
        assert budget.present == expected


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
