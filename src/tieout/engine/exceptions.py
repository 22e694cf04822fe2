"""Exceptions and blockers: what waits for a person, the document first, then amount, plain cause and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tieout.engine.hub import Hub
from tieout.engine.stops import Blocked, Parked
from tieout.store import people
from tieout.store.statements import Step

if TYPE_CHECKING:
    from tieout.engine.run import Run


def opened(hub: Hub, run: Run, parked: Parked) -> Step:
    """The step that opens the exception of a parked document; one that is open already is left as it is."""
    return (
        people.OPEN,
        {
            "exception_id": hub.ids.new(),
            "code": parked.code,
            "lane_id": run.lane.lane_id,
            "blocker": "",
            "document": str(run.lane.subject),
            "number": parked.facts.number,
            "entity": parked.facts.entity or run.entity_code,
            "currency": parked.facts.currency,
            "amount_minor": parked.facts.amount_minor,
            "cause": parked.cause,
            "remedy": parked.remedy,
            "owner": "",
            "effect_key": parked.effect_key,
            "trace": run.trace,
            "detail": parked.detail,
            "now": hub.now(),
        },
    )


def blocked(hub: Hub, run: Run, stop: Blocked) -> list[Step]:
    """One exception for the whole scope, however many documents it holds back."""
    return [
        (
            people.OPEN,
            {
                "exception_id": hub.ids.new(),
                "code": f"blocked_{stop.scope}",
                "lane_id": "",
                "blocker": stop.blocker,
                "document": stop.key,
                "number": "",
                "entity": run.entity_code,
                "currency": "",
                "amount_minor": None,
                "cause": stop.message,
                "remedy": stop.remedy,
                "owner": "",
                "effect_key": "",
                "trace": "",
                "detail": "",
                "now": hub.now(),
            },
        )
    ]
