"""Accounting periods: which one a document falls into, and where it may go when that one is closed."""

from __future__ import annotations

from datetime import date, timedelta

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.party import LegalEntity
from tieout.canonical.write import Postable
from tieout.connectors.contract import Catalogue
from tieout.engine.keys import lane_of
from tieout.engine.ledger import EffectRow
from tieout.engine.releasing import Release
from tieout.engine.run import Run
from tieout.engine.stops import Blocked

# How old the hub's copy of the periods may be; a period closed in between is refused by the ERP itself.
_FRESH = timedelta(minutes=5)


async def in_period(run: Run, entity: LegalEntity, write: Postable, standing: EffectRow | None) -> Postable:
    """The write with its posting period: the day's own (empty), or an approved one when the day's own is closed.

    Ends the run as blocked, entity x period, when it is closed and nothing was approved. What was sent before keeps
    the period that was frozen with it."""
    if standing is not None:
        frozen = run.frozen_write(standing)
        return msgspec.structs.replace(write, posting_period=getattr(frozen, "posting_period", ""))
    held = f"{entity.code}|{write.day:%Y-%m}"
    # A lane that runs for the first time cannot have been released yet. A release holds even where the period reads as
    # open: some ERPs close it for one subsidiary, and only their refusal says so.
    again = run.lane.fence > 1
    release = await run.record("release", lane_of(run.lane.subject), Release) if again else None
    if release is None or release.held not in ("", held):
        own = await _period_of(run, entity, write.day)
        if own is None or own.status == "open":
            return write
        raise Blocked(
            "period",
            held,
            f"period {own.name} of {entity.name} is {own.status}",
            "`tieout exceptions resolve ID --period YYYY-MM` lists the documents and asks for the approval",
        )
    target = await _period_of(run, entity, date.fromisoformat(f"{release.period}-01"))
    if target is None or target.status != "open":
        raise Blocked(
            "period",
            f"{entity.code}|{release.period}",
            f"the approved target period {release.period} of {entity.name} is not open",
            "ask for the approval of another period",
        )
    return msgspec.structs.replace(write, posting_period=target.id)


async def _period_of(run: Run, entity: LegalEntity, day: date) -> AccountingPeriod | None:
    for period in await _periods(run, entity):
        if period.start <= day <= period.end:
            return period
    return None


async def _periods(run: Run, entity: LegalEntity) -> tuple[AccountingPeriod, ...]:
    api = run.connection(entity.erp).api
    if not isinstance(api, Catalogue):
        return ()
    key, now = (entity.erp, entity.subsidiary), run.hub.clock.now()
    known = run.hub.periods.get(key)
    if known is not None and now - known[0] < _FRESH:
        return known[1]
    periods = await run.asked_of(api.periods(entity.subsidiary))
    run.hub.periods[key] = (now, periods)
    return periods
