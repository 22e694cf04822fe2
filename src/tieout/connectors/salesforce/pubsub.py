"""What changed, by change data capture: one kept subscription of the Pub/Sub API, a sweep beside it.

An event says only which record changed and in which fields, so it is read as a hint: the records that concern us are
read by their ids, in one call a page, exactly as a sweep would read them. The two feeds therefore tell the same events.

The sweep is what makes the stream safe to lose. While there is no position in the stream (the first time, or the replay
id has expired) the sweep alone is the feed; once the vendor has named a position, one more whole sweep is owed, so that
nothing falls between. Gaps and overflows owe one too, from before them. It runs every few minutes in any case, and at
the connection's own pace while the stream is down.

More events are asked for only when the cursor of the last ones comes back, that is, when they are committed: at most
BATCH are ever under way, and whoever polls with another cursor starts the stream anew from there.
"""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from datetime import datetime, timedelta

import msgspec
import structlog

from tieout.canonical.change import ChangeEvent
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import FeedPage, Finding, World
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import pubsub_wire, wire
from tieout.connectors.salesforce.changes import KINDS, Present, map_gone, touches, watched_fields
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org
from tieout.connectors.salesforce.pubsub_wire import Change
from tieout.connectors.salesforce.soql import id18, is_record_id
from tieout.connectors.salesforce.subscription import BATCH, Subscription
from tieout.connectors.salesforce.sweep import Cursor, StreamPlace, Sweep
from tieout.ports import StreamEnded, TransportError

log = structlog.get_logger("tieout.feeds")
# A transaction of more than 100,000 changes takes its time: its rows can be stamped long before it commits.
OVERFLOW_SECONDS = 3600
ALLOWANCE_AGAIN_SECONDS = 600
LONGEST_PAUSE_SECONDS = 60
WARN_USED_PERCENT = 80


class Allowance(msgspec.Struct, frozen=True, rename="pascal"):
    """Events that the org may still have delivered in its 24 hours, to all subscribers together."""

    max: int
    remaining: int

    @property
    def scarce(self) -> bool:
        return (self.max - self.remaining) * 100 >= self.max * WARN_USED_PERCENT


class OrgLimits(msgspec.Struct, frozen=True, rename="pascal"):
    """The part of `/limits` that the stream needs."""

    daily_delivered_platform_events: Allowance


_limits = msgspec.json.Decoder(OrgLimits)


class ChangeStream:
    """`ChangeFeed` of one connection by the Pub/Sub API."""

    def __init__(self, client: Client, org: Org, world: World, sweep: Sweep) -> None:
        self._client = client
        self._org = org
        self._clock = world.clock
        self._sweep = sweep
        self._present = Present(client, org)
        self._watched = watched_fields(org)
        self.subscription = Subscription(client, org.config, world)
        # Looking at a kept stream costs no call.
        self.poll_seconds = 1
        self.allowance: Allowance | None = None
        self._given = ""
        self._open_at: datetime | None = None
        self._failures = 0
        self._signed_in_again = False
        self._swept_at: datetime | None = None
        self._sweep_failed_at: datetime | None = None

    async def poll(self, cursor: str) -> FeedPage:
        """What changed since the cursor. Raises Failure."""
        if cursor != self._given:
            await self.subscription.leave()
        place = self._sweep.load(cursor)
        position = place.stream = place.stream or StreamPlace(owed=True)
        try:
            events = await self._read(place, await self._pull(position))
            swept, more = await self._sweep_if_due(place, position)
        except BaseException as error:
            # What was pulled is not taken in: the stream starts again at what is saved, after a pause.
            await self.subscription.leave()
            self._pause()
            if isinstance(error, BadBody):
                raise Failure(Transient(reason=f"changes.read: {error}")) from error
            raise
        self._given = msgspec.json.encode(place).decode()
        once = {event.id: event for event in (*events, *swept)}
        full = self.subscription.is_open and self.subscription.credit >= BATCH
        return FeedPage(events=tuple(once.values()), cursor=self._given, more=more or full)

    # -- the stream -------------------------------------------------------------------------------------------------

    async def _pull(self, position: StreamPlace) -> list[Change | None]:
        """The changes that the stream has brought; `position` moves past them. None: an event that cannot be read."""
        changes: list[Change | None] = []
        try:
            if not self.subscription.is_open:
                if self._open_at is not None and self._clock.now() < self._open_at:
                    return changes
                await self.subscription.open(_replay_id(position))
            # What has come by now is committed, and as much may be asked for. To listen first shows how a stream has
            # ended, which a request into it would not; but where all has come there is nothing to listen for.
            credit = self.subscription.credit
            if credit >= BATCH:
                await self.subscription.ask(credit)
            async for response, found in self.subscription.responses():
                changes += found
                self._failures, self._signed_in_again = 0, False
                if not position.replay:
                    # The first position. What happened before it is owed by a sweep that begins only now.
                    position.owed = True
                latest = response.events[-1].replay_id if response.events else response.latest_replay_id
                position.replay = base64.b64encode(latest).decode()
            if credit < BATCH:
                await self.subscription.ask(credit)
        except StreamEnded as ended:
            await self._ended(position, ended)
        except TransportError as error:
            await self._ended(position, StreamEnded("UNAVAILABLE", error.reason))
        return changes

    async def _ended(self, position: StreamPlace, ended: StreamEnded) -> None:
        """Leave the stream, and decide from where and when it is opened again. Never at its tip without a sweep."""
        token = self.subscription.token
        await self.subscription.leave()
        code = ended.details.get("error-code", "")
        log.warning(
            "stream_ended",
            connection=self._org.connection,
            status=ended.status,
            code=code,
            reason=ended.message,
        )
        if pubsub_wire.replay_code(ended) and position.replay:
            position.replay, position.owed = "", True
            self._open_at = None
        elif pubsub_wire.sign_in_code(ended) and token is not None and not self._signed_in_again:
            self._client.discard(token)
            self._signed_in_again = True
            self._open_at = None
        elif pubsub_wire.allowance_code(ended):
            self._open_at = self._clock.now() + timedelta(seconds=ALLOWANCE_AGAIN_SECONDS)
        else:
            if not code and token is not None and ended.status in ("INTERNAL", "UNKNOWN"):
                # The vendor's words were lost in a race with our own request. A dead session may be behind it.
                self._client.discard(token)
            self._pause()

    def _pause(self) -> None:
        self._failures += 1
        seconds = min(2**self._failures, LONGEST_PAUSE_SECONDS)
        self._open_at = self._clock.now() + timedelta(seconds=seconds)

    # -- what it tells ----------------------------------------------------------------------------------------------

    async def _read(self, place: Cursor, changes: list[Change | None]) -> list[ChangeEvent]:
        """The records that changes are about, as they are now. Raises Failure, BadBody."""
        wanted: dict[str, set[str]] = defaultdict(set)
        deleted: dict[str, dict[str, datetime]] = defaultdict(dict)
        for change in changes:
            if change is None:
                self._owe(place)
                continue
            name = change.sobject
            if name not in self._watched:
                continue
            if change.tells_too_little:
                self._owe(place, change)
            ids = {id18(id) for id in change.ids if is_record_id(id)}
            if change.fields is not None and not touches(change.fields, self._watched[name]):
                continue  # an echo of our own fields, or fields that nobody here reads
            wanted[name] |= ids
            if change.kind.endswith("DELETE") and change.kind != "UNDELETE" and name in KINDS:
                deleted[name] |= dict.fromkeys(ids, change.at)
        events = await self._present.events(wanted) if wanted else []
        if deleted:
            for name, ids in (await self._present.gone(deleted)).items():
                events += [map_gone(name, id, deleted[name][id], self._org) for id in sorted(ids)]
        return events

    def _owe(self, place: Cursor, change: Change | None = None) -> None:
        """A sweep is owed: of the object of a gap, from before it; of everything since the last one where even the
        object is unknown."""
        if place.stream is not None:
            place.stream.owed = True
        if change is None:
            return
        overflow = change.kind == "GAP_OVERFLOW" or not change.ids
        margin = self._org.config.overlap_seconds
        seconds = max(margin, OVERFLOW_SECONDS) if overflow else margin
        self._sweep.rewind(place, change.sobject, change.at - timedelta(seconds=seconds))

    # -- the sweep beside it ----------------------------------------------------------------------------------------

    async def _sweep_if_due(self, place: Cursor, position: StreamPlace) -> tuple[list[ChangeEvent], bool]:
        now, config = self._clock.now(), self._org.config
        streaming = bool(position.replay) and self.subscription.is_open
        seconds = config.safety_sweep_seconds if streaming else config.poll_seconds
        due = self._swept_at is None or now - self._swept_at >= timedelta(seconds=seconds)
        failed = self._sweep_failed_at
        if failed is not None and now - failed < timedelta(seconds=config.poll_seconds):
            return [], False
        if not due and not (position.owed and position.replay):
            return [], False
        if streaming and not position.owed:
            await self._watch_allowance()
        self._sweep_failed_at = now
        events, more = await self._sweep.advance(place, wide=True)
        self._sweep_failed_at = None
        if not more:
            self._swept_at = now
            if position.replay:
                position.owed = False
        return events, more

    async def read_allowance(self) -> Allowance:
        """How many events may still be delivered. Raises Failure, BadBody."""
        response = await self._client.read(f"{self._client.data}/limits", "limits.fetch")
        self.allowance = wire.decode(_limits, response.body).daily_delivered_platform_events
        return self.allowance

    async def _watch_allowance(self) -> None:
        try:
            allowance = await self.read_allowance()
        except (Failure, BadBody) as error:
            # The resource asks for a permission of its own; the feed does not depend on it.
            log.info("event_allowance_unknown", connection=self._org.connection, reason=str(error)[:200])
            return
        if allowance.scarce:
            log.warning(
                "event_allowance_scarce",
                connection=self._org.connection,
                allowed=allowance.max,
                remaining=allowance.remaining,
            )


async def check_stream(stream: ChangeStream, subject: str) -> tuple[Finding, ...]:
    """Whether the channel is there and how many events may still be delivered."""
    remedy = "give the channel its members, and the integration user View All Data or View All on its objects"
    try:
        topic = await stream.subscription.topic()
    except (StreamEnded, TransportError, Failure, BadBody) as error:
        found = Finding(level="error", subject=subject, message=f"change events: {error}", remedy=remedy)
        return (found,)
    if not topic.can_subscribe:
        message = f"{topic.topic_name}: this user may not subscribe"
        return (Finding(level="error", subject=subject, message=message, remedy=remedy),)
    found = Finding(level="ok", subject=subject, message=f"change events come by {topic.topic_name}")
    try:
        allowance = await stream.read_allowance()
    except (Failure, BadBody) as error:
        unknown = Finding(
            level="warning",
            subject=subject,
            message=f"the allowance of delivered events cannot be read: {error}",
            remedy="give the integration user View Setup and Configuration",
        )
        return (found, unknown)
    used = allowance.max - allowance.remaining
    message = f"{used} of {allowance.max} events of the last 24 hours delivered, {allowance.remaining} left"
    if allowance.scarce:
        remedy = "see which other subscribers use it; without events the sweep goes on, at poll_seconds"
        return (found, Finding(level="warning", subject=subject, message=message, remedy=remedy))
    return (found, Finding(level="ok", subject=subject, message=message))


def _replay_id(position: StreamPlace) -> bytes:
    try:
        return base64.b64decode(position.replay, validate=True)
    except (binascii.Error, ValueError):
        # Damaged where it was saved: as good as none. A sweep is owed as soon as there is a new one.
        position.replay, position.owed = "", True
        return b""
