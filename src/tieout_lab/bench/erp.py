"""Documents an hour through the ERP connection, where its slots are the bottleneck: on the virtual clock, so that
neither the machine nor its load is in the figure.

Every call takes the account `SECONDS`, `SLOTS` at a time, and it works on as many records of a batch at a time
(assumed). A customer base is billed for months at once; what is timed is from the first call to the last answer. Each
document is made and read back: two calls, of which a batch saves the first.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from tieout_lab.bench.company import alter
from tieout_lab.simulation.business import Business
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.world import SimulatedWorld
from tieout_lab.twins.kit import Request, Response

SECONDS, SLOTS = 1.5, 15
_LATENCY = 0.11  # that the simulated wire adds to a call, on average
_JANUARY = datetime(2026, 1, 10, 20, tzinfo=UTC)
_LANES = 500


def documents_per_hour(*, deals: int, months: int, batch_size: int) -> dict[str, Any]:
    """`deals` x `months` invoices: documents an hour, beside the limit that the calls made leave (slots / call time /
    calls a document), and the most calls at once that the account saw."""
    return run_virtual(_measure(deals, months, batch_size))


async def _measure(deals: int, months: int, batch_size: int) -> dict[str, Any]:
    world = SimulatedWorld(1)
    try:
        alter(
            world.file,
            ("in_flight = 10", f"in_flight = {SLOTS}\nbatch_size = {batch_size}"),
            ("timeout_seconds = 2", "timeout_seconds = 30"),
            ("lease_seconds = 10", f"lease_seconds = 60\nruns_at_once = {_LANES}"),
        )
        people = Business(world, _JANUARY)
        await people.open()
        await world.live()
        for number in range(deals):
            await people.sell(await people.customer(f"Customer {number}"))
        await world.rest()
        _slow(world)
        since, made = len(world.erp.log), len(people.invoices())
        later = _JANUARY.replace(month=1 + months) + timedelta(days=1)
        await people.move_to(later)
        await world.rest(within_seconds=100_000.0)
        return _figures(world.erp.log[since:], len(people.invoices()) - made, world.erp.most_active)
    finally:
        await world.close()


def _figures(log: list[dict[str, Any]], documents: int, most: int) -> dict[str, Any]:
    moments = [datetime.fromisoformat(entry["at"]) for entry in log]
    seconds = (max(moments) - min(moments)).total_seconds() + SECONDS
    calls = len(log) / documents
    per_hour = documents / seconds * 3600
    limit = SLOTS / SECONDS / calls * 3600
    return {
        "documents": documents,
        "per_hour": per_hour,
        "limit_per_hour": limit,
        "ratio": per_hour / limit,
        "calls_per_document": calls,
        "most_in_flight": most,
        "refused": sum(1 for entry in log if (entry["status"] or 0) >= 400),
    }


def _slow(world: SimulatedWorld) -> None:
    """From now on every call takes its time, and there is no slot to spare."""
    tenant, admit = world.erp.tenant, world.erp.admit
    work = {"batch_seconds": SECONDS, "record_seconds": SECONDS, "processors": SLOTS}
    tenant.preferences = tenant.preferences.change({"concurrency": SLOTS, **work})

    async def slowly(request: Request, operation: str) -> Response | None:
        refused = await admit(request, operation)
        await world.clock.sleep(SECONDS - _LATENCY)
        return refused

    world.erp.admit = slowly  # type: ignore[method-assign]
    world.erp.most_active = 0
