"""Control actions on what the org sends: change events, their streams, and Outbound Messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.calls import Refused
from tieout_lab.twins.salesforce import ids
from tieout_lab.twins.salesforce.change_events import GAPS
from tieout_lab.twins.salesforce.event_bus import MOST_SELECTED
from tieout_lab.twins.salesforce.schema import extend

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce import SalesforceTwin

Given = dict[str, Any]


class FeedActions:
    """POST /_control/act/<name> with a JSON object."""

    def __init__(self, twin: SalesforceTwin) -> None:
        self._twin = twin
        self._pubsub = twin.pubsub
        self._bus = twin.pubsub.bus
        actions: dict[str, Callable[[Given], Any]] = {
            "select_events": self.select_events,
            "lose_events": self.lose_events,
            "publish_gap": self.publish_gap,
            "garble_events": self.garble_events,
            "expire_events": lambda _: {"expired": self._bus.forget_all()},
            "reset_event_bus": self.reset_event_bus,
            "end_streams": self.end_streams,
            "refuse_streams": self.refuse_streams,
            "event_limits": self.event_limits,
            "add_field": self.add_field,
            "streams": self.streams,
            "register_outbound_message": self.register_outbound_message,
            "outbound_messages": self.outbound_messages,
        }
        for name, run in actions.items():
            twin.action(name, run)

    def select_events(self, given: Given) -> Given:
        """{objects: [...], channel?}: the objects whose changes are captured (at most five), or a custom channel's."""
        names = frozenset(self._twin.org.sobject(name).name for name in given["objects"])
        self._bus.catch_up()
        channel = given.get("channel")
        if channel:
            if not channel.endswith("__chn"):
                raise ValueError("the name of a custom channel ends in __chn")
            self._bus.channels[f"/data/{channel}"] = names
            names |= self._bus.selected
        if len(names) > MOST_SELECTED:
            raise ValueError(f"{len(names)} objects selected: at most {MOST_SELECTED} without an add-on")
        self._bus.selected = names
        return {"selected": sorted(names)}

    def lose_events(self, given: Given) -> Given:
        """{lose}: while it is true, changes are made but no event of them is published."""
        self._bus.losing = bool(given["lose"])
        return {"losing": self._bus.losing}

    def publish_gap(self, given: Given) -> Given:
        """{object, ids?, type?}: a gap event (GAP_UPDATE), or GAP_OVERFLOW, which has no ids; ids may be `001*`."""
        kind = given.get("type", "GAP_UPDATE")
        if kind not in GAPS:
            raise ValueError(f"unknown gap {kind!r}; known: {', '.join(GAPS)}")
        name = self._twin.org.sobject(given["object"]).name
        records = [ids.full(each) or each for each in given.get("ids") or []]
        self._bus.publish(self._bus.capture.gap(name, records, kind, self._twin.clock.technical()))
        return {"type": kind}

    def garble_events(self, given: Given) -> Given:
        """{count}: the payloads of the next so many events are cut off."""
        self._pubsub.garble = int(given.get("count", 1))
        return {"count": self._pubsub.garble}

    def reset_event_bus(self, given: Given) -> Given:
        """The org moves to another instance: every replay id is unknown from now on, and open streams end."""
        del given
        self._bus.reset()
        return {
            "ended": self._pubsub.end_all(self._pubsub.refused("UNAVAILABLE", "service.unavailable", "moved"))
        }

    def end_streams(self, given: Given) -> Given:
        """{status?, code?}: every open stream ends with this gRPC status and error code (an expired session)."""
        return {"ended": self._pubsub.end_all(self._refusal(given))}

    def refuse_streams(self, given: Given) -> Given:
        """{count?, status?, code?}: the next so many subscriptions are refused."""
        self._pubsub.refusals = [self._refusal(given) for _ in range(int(given.get("count", 1)))]
        return {"count": len(self._pubsub.refusals)}

    def _refusal(self, given: Given) -> Refused:
        status = given.get("status", "UNAUTHENTICATED")
        code = given.get("code", "service.auth.refresh.invalid")
        return self._pubsub.refused(status, code, given.get("message", "ended by the control API"))

    def event_limits(self, given: Given) -> Given:
        """{daily?, used?}: how many events may be delivered in 24 hours, and how many have been."""
        budget = self._pubsub.delivered
        if "daily" in given:
            budget.daily = int(given["daily"])
        if "used" in given:
            budget.set_used(int(given["used"]))
        return {"daily": budget.daily, "used": budget.used()}

    def add_field(self, given: Given) -> Given:
        """{object, line}: one more field, declared as in `custom.py`; the event schema gets another id."""
        self._bus.catch_up()
        extend(self._twin.org.sobject(given["object"]), given["line"])
        return {"schema_id": self._bus.capture.schema(self._twin.org.sobject(given["object"]).name).id}

    def streams(self, given: Given) -> Given:
        """What was subscribed: {"open", "subscribed", "delivered", "journal"}."""
        del given
        return {
            "open": len(self._pubsub.open),
            "asked": [each.asked for each in self._pubsub.open],
            "subscribed": self._pubsub.subscribed,
            "delivered": self._pubsub.delivered.used(),
            "journal": self._pubsub.journal,
        }

    def register_outbound_message(self, given: Given) -> Given:
        """{object, url, fields?}: post every change of an object to an address: {"id"}."""
        rule = self._twin.outbound_messages.add(given["object"], given.get("fields") or [], given["url"])
        return {"id": rule.id}

    def outbound_messages(self, given: Given) -> Given:
        """What was sent: {"pending", "dropped", "journal"}."""
        del given
        sender = self._twin.outbound_messages
        return {"pending": sender.pending(), "dropped": sender.dropped, "journal": sender.journal}
