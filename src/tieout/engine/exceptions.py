"""Exceptions and blockers: what waits for a person, the document first, then amount, plain cause and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout.engine import announcing
from tieout.engine.hub import Hub
from tieout.engine.stops import NO_FACTS, Blocked, Facts, Parked
from tieout.store import people
from tieout.store.statements import Step

if TYPE_CHECKING:
    from tieout.engine.run import Run


def exception(
    hub: Hub,
    code: str,
    document: str,
    cause: str,
    remedy: str,
    facts: Facts = NO_FACTS,
    *,
    lane_id: str = "",
    blocker: str = "",
    effect_key: str = "",
    trace: str = "",
    detail: str = "",
) -> list[Step]:
    """The steps that open an exception and tell of it; one that is open already for the same cause is left as it is."""
    row = {
        "exception_id": hub.ids.new(),
        "code": code,
        "lane_id": lane_id,
        "blocker": blocker,
        "document": document,
        "number": facts.number,
        "entity": facts.entity,
        "currency": facts.currency,
        "amount_minor": facts.amount_minor,
        "cause": cause,
        "remedy": remedy,
        "owner": "",
        "effect_key": effect_key,
        "trace": trace,
        "detail": detail,
        "now": hub.now(),
    }
    return [(people.OPEN, row), *announcing.opened(hub, row)]


def opened(hub: Hub, run: Run, parked: Parked) -> list[Step]:
    """The exception of a parked document."""
    facts = parked.facts
    if not facts.entity:
        facts = Facts(
            amount_minor=facts.amount_minor,
            currency=facts.currency,
            entity=run.entity_code,
            number=facts.number,
        )
    return exception(
        hub,
        parked.code,
        str(run.lane.subject),
        parked.cause,
        parked.remedy,
        facts,
        lane_id=run.lane.lane_id,
        effect_key=parked.effect_key,
        trace=run.trace,
        detail=parked.detail,
    )


def blocked(hub: Hub, run: Run, stop: Blocked) -> list[Step]:
    """One exception for the whole scope, however many documents it holds back."""
    facts = Facts(entity=run.entity_code)
    return exception(
        hub, f"blocked_{stop.scope}", stop.key, stop.message, stop.remedy, facts, blocker=stop.blocker
    )
