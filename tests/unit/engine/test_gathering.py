"""Items that wait for a permit leave together, and each learns what came of it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from tieout.connectors.contract import Limits
from tieout.engine.budget import Budget, BudgetedTransport
from tieout.engine.gathering import Gathering
from tieout.ports import Request, Response


class Clock:
    factor = 1

    def now(self):
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self):
        return 0.0

    async def sleep_real(self, seconds):
        await asyncio.sleep(seconds / 20)


class Vendor:
    """Counts calls in flight."""

    def __init__(self):
        self.now = self.most = 0

    async def exchange(self, request):
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.001)
        self.now -= 1
        return Response(status=200, headers={}, body=b"")

    async def close(self):
        pass


def _world(leave, most=10, in_flight=1):
    budget = Budget(Limits(in_flight=in_flight), Clock())
    transport = BudgetedTransport(Vendor(), {"c": budget})
    request = Request(method="POST", url="http://x", headers={}, connection="c", operation="many")

    async def carried(items):
        await transport.exchange(request)
        return leave(items)

    return budget, Gathering(budget, most, carried)


async def test_what_waits_for_one_permit_leaves_in_as_few_calls_as_fit():
    loads = []

    def leave(items):
        loads.append(len(items))
        return {key: item * 2 for key, item in items.items()}

    budget, waiting = _world(leave)
    await budget.take()
    adding = [asyncio.ensure_future(waiting.add(str(n), n)) for n in range(25)]
    await asyncio.sleep(0)
    budget.give()
    assert await asyncio.gather(*adding) == [2 * n for n in range(25)]
    assert loads == [10, 10, 5]
    assert (budget.out, budget.most_out) == (0, 1), "the permit that was waited for is the one that is used"


async def test_each_item_has_its_own_end():
    def leave(items):
        return {"said": "done", "raised": ValueError("mine alone")}

    _, waiting = _world(leave)
    results = await asyncio.gather(
        *(waiting.add(key, None) for key in ("said", "raised", "silent")), return_exceptions=True
    )
    assert results[0] == "done"
    assert isinstance(results[1], ValueError)
    assert results[2] is None


async def test_a_call_that_fails_fails_for_all_on_board_and_the_next_one_goes():
    calls = []

    def leave(items):
        calls.append(set(items))
        if len(calls) == 1:
            raise RuntimeError("vendor said no")
        return dict.fromkeys(items, "done")

    budget, waiting = _world(leave, most=2)
    await budget.take()
    adding = [asyncio.ensure_future(waiting.add(str(n), n)) for n in range(3)]
    await asyncio.sleep(0)
    budget.give()
    first, second, third = await asyncio.gather(*adding, return_exceptions=True)
    assert isinstance(first, RuntimeError)
    assert isinstance(second, RuntimeError)
    assert str(first) == str(second) == "vendor said no"
    assert third == "done"
    assert budget.out == 0


async def test_who_is_cancelled_before_it_left_is_not_carried():
    carried = []

    def leave(items):
        carried.extend(items)
        return dict.fromkeys(items, "done")

    budget, waiting = _world(leave)
    await budget.take()
    stays, goes = (asyncio.ensure_future(waiting.add(key, None)) for key in ("stays", "goes"))
    await asyncio.sleep(0)
    goes.cancel()
    await asyncio.sleep(0)
    budget.give()
    assert await stays == "done"
    assert carried == ["stays"]
    with pytest.raises(asyncio.CancelledError):
        await goes
    assert budget.out == 0


async def test_a_permit_that_no_call_used_is_given_back():
    budget = Budget(Limits(in_flight=1), Clock())

    async def leave(items):
        return dict.fromkeys(items, "answered without a call")

    assert await Gathering(budget, 5, leave).add("a", None)
    assert budget.out == 0


async def test_a_permit_that_waits_for_a_lock_is_lent_to_whoever_holds_it():
    """The permit is taken for a batch, which must sign in first; a read that found the token stale holds the sign-in's
    lock, and waits for a permit."""
    budget = Budget(Limits(in_flight=1), Clock())
    transport = BudgetedTransport(Vendor(), {"c": budget})
    request = Request(method="POST", url="http://x", headers={}, connection="c", operation="any")
    signing = asyncio.Lock()

    async def call():
        async with signing:
            await transport.exchange(request)

    async def leave(items):
        await call()
        return dict.fromkeys(items, "done")

    await budget.take()
    batch = asyncio.ensure_future(Gathering(budget, 5, leave).add("a", None))
    await asyncio.sleep(0)
    read = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    budget.give()
    assert await asyncio.wait_for(batch, 5) == "done"
    await read
    assert budget.out == 0


async def test_two_items_of_one_key_leave_one_after_the_other():
    loads = []

    def leave(items):
        loads.append(dict(items))
        return dict(items)

    budget, waiting = _world(leave)
    await budget.take()
    older = asyncio.ensure_future(waiting.add("record", 1))
    await asyncio.sleep(0)
    newer = asyncio.ensure_future(waiting.add("record", 2))
    await asyncio.sleep(0)
    budget.give()
    assert (await older, await newer) == (1, 2)
    assert loads == [{"record": 1}, {"record": 2}]
