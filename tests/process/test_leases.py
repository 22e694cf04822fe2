"""Leases of processes: by clocks that differ by minutes, on one PostgreSQL; and what becomes of who loses his."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.process.web_world import write_company
from tieout.app import App, compose, read_settings, system_ports
from tieout.engine.moments import micros
from tieout.store import lanes
from tieout.store.statements import Statement
from tieout.system import SystemClock

TEN_MINUTES = 600
LEASE_SECONDS = 2


class Wrong(SystemClock):
    """A machine's clock that goes wrong by some seconds."""

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self._wrong = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._wrong)

    def real_now_micros(self) -> int:
        return super().real_now_micros() + self._wrong * 1_000_000


async def _process(settings: Path, url: str, seconds: int) -> App:
    app = await compose(read_settings(settings), system_ports(Wrong(seconds)), database=url)
    app.hub.policy = msgspec.structs.replace(app.hub.policy, lease_seconds_real=LEASE_SECONDS)
    await app.lease.join("here", 1)
    return app


async def _leased(app: App) -> list[tuple[Any, ...]]:
    held = Statement("test", "SELECT state, worker_id, fence FROM lanes", returns=True)
    return await app.hub.store.fetch(held, {})


@pytest.mark.parametrize(
    ("holder", "other"), [(0, TEN_MINUTES), (-TEN_MINUTES, 0), (TEN_MINUTES, -TEN_MINUTES)]
)
async def test_a_living_worker_keeps_its_lane_and_a_dead_one_does_not(
    holder: int, other: int, empty_postgres_url: str, tmp_path: Path
) -> None:
    settings = write_company(tmp_path)
    one = await _process(settings, empty_postgres_url, holder)
    two = await _process(settings, empty_postgres_url, other)
    try:
        lane = {"lane_id": "a", "connection": "billing-us", "kind": "invoice", "subject_id": "a"}
        await one.hub.store.commit([(lanes.START, {**lane, "now": one.hub.now()})])
        claim = {"worker": one.lease.worker, "now": one.hub.now(), "limit": 1, "group": ""}
        await one.hub.store.commit([(lanes.CLAIM, claim)])
        # Neither lease nor horizon nor due moment means another thing to the other.
        assert abs(one.hub.now() - two.hub.now()) < 1_000_000
        assert abs(one.hub.now() - micros(SystemClock().now())) < 1_000_000
        for _ in range(3):
            await two.housekeeping.reap()
            assert await _leased(two) == [("leased", one.lease.worker, 1)]
            assert await one.lease.renew()
            assert one.lease.outlives(LEASE_SECONDS - 1)
            await asyncio.sleep(0.5)
        await asyncio.sleep(LEASE_SECONDS)
        assert not one.lease.outlives(0)
        await two.housekeeping.reap()
        assert await _leased(two) == [("ready", "", 2)]
        assert await one.lease.renew() is False
    finally:
        await one.close()
        await two.close()


async def test_a_process_that_lost_its_lease_ends(tmp_path: Path) -> None:
    """Not when its slowest loop looks again: for an hour it took webhooks, and nobody worked."""
    app = await compose(read_settings(write_company(tmp_path)), system_ports(), alone=True)
    app.hub.policy = msgspec.structs.replace(app.hub.policy, lease_seconds_real=LEASE_SECONDS)
    await app.start()
    working = asyncio.create_task(app.wait())
    await app.hub.store.commit([(Statement("test", "UPDATE workers SET lease_until = 0"), {})])
    try:
        async with asyncio.timeout(20):
            await asyncio.shield(working)
        assert app.lease.lost
    finally:
        await app.stop()
