"""A document waits for another one: as long as is configured, and not for ever."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from msgspec.structs import replace

from tests.process.flows import clean, exceptions, paid_unapproved, simulated, sql

HOUR_SECONDS = 3600
PAYMENT = "SELECT since, deadline_at FROM waiters WHERE lane_id LIKE '%|payment|%'"


def _impatient(app):
    app.hub.policy = replace(app.hub.policy, wait_deadline=timedelta(hours=2))


@simulated(poll_seconds=600, lease_seconds=600)
async def test_after_the_time_that_is_configured_a_person_hears_of_it_and_not_before(world, people):
    await world.bury()
    world.change = _impatient
    await world.live()
    await paid_unapproved(world, people)
    ((since, deadline),) = await sql(world, PAYMENT)
    assert deadline - since == 2 * HOUR_SECONDS * 1_000_000
    await asyncio.sleep(1.5 * HOUR_SECONDS)
    assert await exceptions(world) == []
    await asyncio.sleep(HOUR_SECONDS)
    found = {one["lane_id"].split("|")[1]: one for one in await exceptions(world)}
    assert set(found) == {"invoice", "payment"}
    assert {one["code"] for one in found.values()} == {"waited_too_long"}
    assert found["payment"]["cause"].startswith("waited 0 days for invoice")
    # Approved after all, it goes on by itself.
    await people.approve_all()
    await asyncio.sleep(HOUR_SECONDS)
    await world.rest()
    assert await exceptions(world) == []
    await clean(world)
