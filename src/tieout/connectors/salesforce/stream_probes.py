"""Probes of what Salesforce tells of changes: the deletion log, and change events of the Pub/Sub API where they are the
connection's feed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from tieout.canonical.outcome import Failure, Rejected, Transient
from tieout.connectors.contract import Probe, Verdict, seen, untestable
from tieout.connectors.salesforce import deletions, pubsub_wire, soql, wire
from tieout.connectors.salesforce.probing import Records, probe_of
from tieout.connectors.salesforce.pubsub_wire import Change
from tieout.connectors.salesforce.soql import id18
from tieout.connectors.salesforce.subscription import Subscription
from tieout.ports import StreamEnded

EVENT_SECONDS = 30
LOG_SECONDS = 120
UNKNOWN_REPLAY_ID = b"tieout certify: no position"


class Event(msgspec.Struct, frozen=True):
    """One change event: its position, and what a query showed when it had arrived."""

    replay_id: bytes
    change: Change
    name: str


class StreamProbes:
    """Probes over an account of one run, made, renamed and deleted."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._client = records.calls.client
        self._events: list[Event] = []
        renamed = ("an account, renamed",)
        self.probes: tuple[Probe, ...] = (
            probe_of("deletion_log", self._deletion_log, ("an account, deleted",)),
            probe_of("events_after_commit", self._after_commit, renamed),
            probe_of("change_bitmaps", self._bitmaps, renamed),
            probe_of("replay_position", self._replayed, renamed),
            probe_of("replay_id_refused", self._replay_refused),
        )

    # -- the deletion log -------------------------------------------------------------------------------------------
    async def _deletion_log(self) -> Verdict:
        clock = self._records.world.clock
        id = await self._records.create("Account", {"Name": f"tieout certify {self._records.run} gone"})
        if refused := await self._records.delete("Account", id):
            return untestable(f"the account cannot be deleted: {refused}")
        gone_at = began = clock.now()
        while True:
            now = clock.now()
            # Seconds are cut off: only a span that ends in a later minute holds what was deleted in this one.
            start, end = soql.instant(began - timedelta(minutes=10)), soql.instant(now + timedelta(minutes=2))
            path = f"{self._client.data}/sobjects/Account/deleted/?start={start}&end={end}"
            page = deletions.read_page(await self._client.read(path, "certify"))
            waited_seconds = (now - began).total_seconds()
            if id in {id18(each.id) for each in page.deleted_records}:
                told = f"a deleted account is in the log after {waited_seconds:.0f} s"
                return seen(True, f"{told}; whether it stays when the recycle bin is emptied: not tried")
            covered = wire.parse_moment(page.latest_date_covered)
            told = f"a deleted account is not in the log after {waited_seconds:.0f} s, which covers {covered:%H:%M:%S}"
            if covered > gone_at + timedelta(minutes=1):
                return seen(False, told)
            if waited_seconds > LOG_SECONDS:
                return untestable(told)
            await clock.sleep(5)

    # -- change events ----------------------------------------------------------------------------------------------
    def _subscription(self) -> Subscription:
        """Raises Failure where change events are not this connection's feed."""
        if self._records.config.feed != "pubsub":
            message = 'feed is "sweep": no change events are read'
            raise Failure(Rejected(code="no_events", message=message))
        return Subscription(self._client, self._records.config, self._records.world)

    async def _next(self, subscription: Subscription, id: str, kinds: frozenset[str]) -> Event:
        """The next event of an account, with the account's name in a query after it came. Raises Failure."""
        clock = self._records.world.clock
        until_seconds = clock.monotonic() + EVENT_SECONDS
        while clock.monotonic() < until_seconds:
            async for response, changes in subscription.responses():
                for event, change in zip(response.events, changes, strict=True):
                    if change is None or id not in {id18(each) for each in change.ids}:
                        continue
                    if change.kind in kinds:
                        query = f"SELECT Name FROM Account WHERE Id = {soql.quoted(id)}"
                        rows = await self._records.rows(query)
                        name = str(rows[0]["Name"]) if rows else ""
                        return Event(replay_id=event.replay_id, change=change, name=name)
        channel = self._records.config.pubsub_channel
        reason = f"no {' or '.join(sorted(kinds))} of an account in {EVENT_SECONDS} s: is it on {channel}?"
        raise Failure(Transient(reason=reason))

    async def _told(self) -> list[Event]:
        """The events of one account: made, then renamed. Raises Failure."""
        if not self._events:
            subscription = self._subscription()
            name = f"tieout certify {self._records.run} event"
            try:
                await subscription.open(b"")
                # The subscription begins when the vendor has it, which nothing tells.
                await self._records.world.clock.sleep(1)
                id = await self._records.create("Account", {"Name": name})
                made = await self._next(subscription, id, frozenset({"CREATE"}))
                if refused := await self._records.patch("Account", id, {"Name": f"{name}, renamed"}):
                    raise Failure(Rejected(code="not_renamed", message=refused))
                renamed = await self._next(subscription, id, frozenset({"UPDATE"}))
            except StreamEnded as ended:
                raise Failure(Transient(reason=f"the stream ended: {ended}")) from ended
            finally:
                await subscription.leave()
            self._events = [made, renamed]
        return self._events

    async def _after_commit(self) -> Verdict:
        made, renamed = await self._told()
        names = [made.name, renamed.name]
        held = bool(made.name) and renamed.name.endswith(", renamed")
        return seen(held, f"queried once its event had come, the account is named {names}")

    async def _bitmaps(self) -> Verdict:
        _, renamed = await self._told()
        fields = sorted(renamed.change.fields or ())
        return seen("Name" in fields, f"an account was renamed: changed fields {', '.join(fields) or 'none'}")

    async def _replayed(self) -> Verdict:
        made, renamed = await self._told()
        subscription = self._subscription()
        try:
            await subscription.open(made.replay_id)
            kinds = frozenset({made.change.kind, renamed.change.kind})
            first = await self._next(subscription, id18(made.change.ids[0]), kinds)
        except StreamEnded as ended:
            return seen(False, f"subscribed after the first of two events: {ended}")
        finally:
            await subscription.leave()
        held = first.replay_id == renamed.replay_id and first.change.kind == "UPDATE"
        told = f"subscribed after CREATE, the account's first event is {first.change.kind}"
        return seen(held, f"{told}; an empty answer within 270 s: not waited for")

    async def _replay_refused(self) -> Verdict:
        subscription = self._subscription()
        clock = self._records.world.clock
        until_seconds = clock.monotonic() + EVENT_SECONDS
        answers: list[Any] = []
        try:
            await subscription.open(UNKNOWN_REPLAY_ID)
            while clock.monotonic() < until_seconds and not answers:
                answers += [response async for response, _ in subscription.responses()]
        except StreamEnded as ended:
            code = ended.details.get("error-code", "")
            told = f"a replay id that never was: {ended.status} {code}".strip()
            return seen(pubsub_wire.replay_code(ended), told)
        finally:
            await subscription.leave()
        if answers:
            return seen(False, "a replay id that never was is taken, and events come")
        return untestable(f"neither refused nor answered in {EVENT_SECONDS} s")
