"""Write-back of many records to the CRM, whose calls of a day are counted: on the virtual clock, where every lane that
waits for a permit is on board of the next call.

Each of `records` lanes sets the fields of its own invoice mirror, `LANES` of them running, with `SLOTS` calls at once
that take `SECONDS` each. Counted is every call that the org sees meanwhile, the polls of its feed among them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tieout.canonical.ids import Ref
from tieout.canonical.write import Fields
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.store import lanes
from tieout_lab.bench.company import alter
from tieout_lab.simulation.loop import run_virtual
from tieout_lab.simulation.world import SimulatedWorld
from tieout_lab.twins.kit import Request, Response

SECONDS, SLOTS = 1.5, 2
# As many as are on board of the calls that are out, and of the one that gathers meanwhile.
LANES = (SLOTS + 1) * 200
_CRM = "salesforce-main"
_STARTED_AT_ONCE = 100


@process("mirror")
async def mirror(run: Run, ref: Ref) -> None:
    """Show one invoice in the CRM."""
    fields: Fields = {"number": ref.id, "amount_minor": 10_000, "currency": "USD", "status": "posted"}
    await run.assign(Ref(connection=_CRM, kind="invoice_mirror", id=ref.id), "mirror", fields)


def write_back(records: int) -> dict[str, Any]:
    """Calls that writing so many records took, how many of them the org holds, and the most calls at once it saw."""
    return run_virtual(_measure(records))


async def _measure(records: int) -> dict[str, Any]:
    world = SimulatedWorld(1, poll_seconds=3600)
    try:
        alter(
            world.file,
            ('feed = "sweep"', f'feed = "sweep"\nin_flight = {SLOTS}'),
            ("timeout_seconds = 2", "timeout_seconds = 30"),
            ("lease_seconds = 10", f"lease_seconds = 60\nruns_at_once = {LANES}"),
        )
        await world.live()
        app = world.app
        if app is None:
            raise AssertionError("the hub did not start")
        app.hub.processes = {**app.hub.processes, "mirror": mirror}
        await world.rest()  # signed in
        _slow(world)
        since = len(world.crm.log)
        for first in range(0, records, _STARTED_AT_ONCE):
            some = range(first, min(first + _STARTED_AT_ONCE, records))
            await app.hub.store.commit([(lanes.START, _lane(number, app.hub.now())) for number in some])
        app.worker.wake()
        await world.rest(within_seconds=100_000.0)
        log = world.crm.log[since:]
        moments = [datetime.fromisoformat(entry["at"]) for entry in log]
        rows = (await world.act("salesforce", "snapshot", objects=["Tieout_Invoice__c"]))["Tieout_Invoice__c"]
        return {
            "records": len({row["Tieout_External_Id__c"] for row in rows}),
            "calls": len(log),
            "records_per_call": records / len(log),
            "seconds": (max(moments) - min(moments)).total_seconds() + SECONDS,
            "most_in_flight": world.crm.max_in_flight,
            "refused": sum(1 for entry in log if (entry["status"] or 0) >= 400),
        }
    finally:
        await world.close()


def _lane(number: int, now: int) -> dict[str, Any]:
    ref = Ref(connection="stripe-us", kind="mirror", id=f"in_{number:06}")
    return {
        "lane_id": str(ref),
        "connection": ref.connection,
        "kind": ref.kind,
        "subject_id": ref.id,
        "now": now,
    }


def _slow(world: SimulatedWorld) -> None:
    """From now on every call takes its time."""
    admit = world.crm.admit

    async def slowly(request: Request, operation: str) -> Response | None:
        refused = await admit(request, operation)
        await world.clock.sleep(SECONDS)
        return refused

    world.crm.admit = slowly  # type: ignore[method-assign]
    world.crm.max_in_flight = 0
