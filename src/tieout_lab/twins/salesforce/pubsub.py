"""The Pub/Sub API: GetTopic, GetSchema and Subscribe over the event bus, with the vendor's error codes.

Source: pubsub_api.proto and the guide's "Handle Errors" and "Event Allocations"; what is only assumed is in README.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.calls import Handler, Refused
from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce.event_bus import Entry, EventBus, Lost
from tieout_lab.twins.salesforce.pubsub_messages import PRESETS, messages
from tieout_lab.twins.salesforce.web import Budget

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

SERVICE = "/eventbus.v1.PubSub/"
CODE = "sfdc.platform.eventbus.grpc."
MOST_OUTSTANDING = 100
MOST_IN_ONE_ANSWER = 20
KEEPALIVE_SECONDS = 270
UNASKED_SECONDS = 70
DAILY_EVENTS = 25_000


@dataclass(slots=True, eq=False)
class Subscriber:
    """One open Subscribe call."""

    topic: str
    objects: frozenset[str]
    position: int
    spoke_at: datetime
    pending: int = 0
    asked: int = 0
    unasked_at: datetime | None = None
    refusal: Refused | None = None
    half_closed: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class PubSub:
    """The service; `calls` are its handlers by path."""

    def __init__(self, twin: RestTwin, bus: EventBus) -> None:
        self._twin = twin
        self._clock = twin.clock
        self.bus = bus
        self.delivered = Budget(twin.clock, DAILY_EVENTS)
        self.open: set[Subscriber] = set()
        self.refusals: list[Refused] = []
        self.garble = 0
        self.subscribed = 0
        self.journal: list[dict[str, Any]] = []
        self._calls = 0
        self.calls: dict[str, Handler] = {
            f"{SERVICE}GetTopic": self._unary("TopicRequest", self._topic),
            f"{SERVICE}GetSchema": self._unary("SchemaRequest", self._schema),
            f"{SERVICE}Subscribe": self._subscribe,
        }

    # -- one request, one answer ------------------------------------------------------------------------------------
    def _unary(self, message: str, answer: Callable[[Any], Any]) -> Handler:
        async def run(metadata: Mapping[str, str], requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
            async for raw in requests:
                self._admit(metadata)
                yield answer(messages()[message].FromString(raw)).SerializeToString()
                return

        return run

    def _topic(self, request: Any) -> Any:
        self._objects(request.topic_name)
        return messages()["TopicInfo"](
            topic_name=request.topic_name,
            tenant_guid=self._twin.org.org_id,
            can_publish=False,
            can_subscribe=True,
            rpc_id=self._rpc(),
        )

    def _schema(self, request: Any) -> Any:
        self.bus.catch_up()
        schema = self.bus.capture.schemas.get(request.schema_id)
        if schema is None:
            raise self.refused("NOT_FOUND", "schema.not.found", f"no schema {request.schema_id}")
        return messages()["SchemaInfo"](schema_json=schema.text, schema_id=schema.id, rpc_id=self._rpc())

    # -- the stream -------------------------------------------------------------------------------------------------
    async def _subscribe(
        self, metadata: Mapping[str, str], requests: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        self.subscribed += 1
        first = None
        async for raw in requests:
            first = messages()["FetchRequest"].FromString(raw)
            break
        if first is None:
            return
        self._admit(metadata)
        if self.refusals:
            raise self.refusals.pop(0)
        subscriber = self._begin(first)
        self.open.add(subscriber)
        self.bus.readers.add(subscriber.changed)
        reading = asyncio.ensure_future(self._read(subscriber, metadata, requests))
        try:
            while True:
                subscriber.changed.clear()
                if subscriber.refusal is not None:
                    raise subscriber.refusal
                answer = self._next(subscriber)
                if answer is not None:
                    yield answer
                    continue
                if subscriber.half_closed or self._unasked(subscriber):
                    return
                await self._wait(subscriber)
        finally:
            self.open.discard(subscriber)
            self.bus.readers.discard(subscriber.changed)
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    def _begin(self, first: Any) -> Subscriber:
        self.bus.catch_up()
        objects = self._objects(first.topic_name)
        preset = PRESETS[first.replay_preset]
        self.journal.append({"topic": first.topic_name, "preset": preset, "asked": first.num_requested})
        if preset == "CUSTOM":
            if not first.replay_id:
                text = "Replay ID validation failed: CUSTOM needs a replay ID"
                raise self._fetch_refused("replayid.validation.failed", text)
            try:
                position = self.bus.position(first.replay_id)
            except Lost:
                text = (
                    "The Replay ID validation failed. Ensure that the Replay ID is valid and not older than "
                    "the retention window"
                )
                raise self._fetch_refused("replayid.corrupted", text) from None
        else:
            position = self.bus.earliest() if preset == "EARLIEST" else self.bus.latest()
        subscriber = Subscriber(first.topic_name, objects, position, self._clock.technical())
        self._ask(subscriber, first.num_requested)
        return subscriber

    def _ask(self, subscriber: Subscriber, count: int) -> None:
        if count <= 0:
            raise self._fetch_refused("requested.events.invalid", "num_requested must be greater than 0")
        subscriber.asked += count
        subscriber.pending = min(subscriber.pending + count, MOST_OUTSTANDING)
        subscriber.unasked_at = None

    async def _read(
        self, subscriber: Subscriber, metadata: Mapping[str, str], requests: AsyncIterator[bytes]
    ) -> None:
        """More requests of an open call: more events, of the same topic, while the session lives."""
        try:
            async for raw in requests:
                request = messages()["FetchRequest"].FromString(raw)
                if not self._session_is_good(metadata):
                    raise self.refused("UNAUTHENTICATED", "service.auth.refresh.invalid", "session expired")
                if request.topic_name not in ("", subscriber.topic):
                    raise self._fetch_refused("topic.changed", "the topic of a subscription cannot change")
                self._ask(subscriber, request.num_requested)
                subscriber.changed.set()
        except Refused as refused:
            subscriber.refusal = refused
        subscriber.half_closed = True
        subscriber.changed.set()

    def _next(self, subscriber: Subscriber) -> bytes | None:
        """Events that may be delivered now, or the keepalive that is due."""
        self.bus.catch_up()
        batch: list[Entry] = []
        for position, entry in self.bus.after(subscriber.position):
            if len(batch) >= min(subscriber.pending, MOST_IN_ONE_ANSWER):
                break
            if entry.event is not None and entry.event.sobject in subscriber.objects:
                if not self.delivered.spend():
                    if batch:
                        break
                    text = "You have exceeded the event delivery limit for your org."
                    raise self.refused("RESOURCE_EXHAUSTED", "subscription.limit.exceeded", text)
                batch.append(entry)
            subscriber.position = position
        now = self._clock.technical()
        if batch:
            latest = batch[-1].replay_id
        elif now - subscriber.spoke_at >= timedelta(seconds=KEEPALIVE_SECONDS):
            subscriber.position, latest = self.bus.mark()
        else:
            return None
        subscriber.spoke_at = now
        subscriber.pending -= len(batch)
        if subscriber.pending == 0:
            subscriber.unasked_at = now
        response: bytes = messages()["FetchResponse"](
            events=[self._consumed(entry) for entry in batch],
            latest_replay_id=latest,
            rpc_id=self._rpc(),
            pending_num_requested=subscriber.pending,
        ).SerializeToString()
        return response

    def _consumed(self, entry: Entry) -> Any:
        event = entry.event
        if event is None:
            raise ValueError("a position is no event")
        payload = event.payload
        if self.garble:
            self.garble -= 1
            payload = payload[:9]
        produced = messages()["ProducerEvent"](id=entry.id, schema_id=event.schema_id, payload=payload)
        return messages()["ConsumerEvent"](event=produced, replay_id=entry.replay_id)

    def _unasked(self, subscriber: Subscriber) -> bool:
        """Whether all that was asked for is delivered and nothing more was asked for in time."""
        since = subscriber.unasked_at
        return since is not None and self._clock.technical() - since >= timedelta(seconds=UNASKED_SECONDS)

    async def _wait(self, subscriber: Subscriber) -> None:
        """Until something changes for this call, or until the next thing that is due by the clock."""
        due = [subscriber.spoke_at + timedelta(seconds=KEEPALIVE_SECONDS)]
        if subscriber.unasked_at is not None:
            due.append(subscriber.unasked_at + timedelta(seconds=UNASKED_SECONDS))
        if (settling := self._twin.org.store.next_settling()) is not None:
            due.append(settling)
        seconds = (min(due) - self._clock.technical()).total_seconds()
        pause = asyncio.ensure_future(self._clock.sleep(max(seconds, 0.001)))
        changed = asyncio.ensure_future(subscriber.changed.wait())
        try:
            await asyncio.wait({pause, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            changed.cancel()

    # -- refusals ---------------------------------------------------------------------------------------------------
    def end_all(self, refusal: Refused) -> int:
        """End every open subscription; how many there were."""
        for subscriber in self.open:
            subscriber.refusal = refusal
            subscriber.changed.set()
        return len(self.open)

    def refused(self, status: str, code: str, text: str) -> Refused:
        rpc_id = self._rpc()
        return Refused(status, CODE + code, f"{text} rpcId: {rpc_id}", rpc_id)

    def _fetch_refused(self, code: str, text: str) -> Refused:
        return self.refused("INVALID_ARGUMENT", f"subscription.fetch.{code}", text)

    def _objects(self, topic: str) -> frozenset[str]:
        objects = self.bus.objects_of(topic)
        if objects is None:
            raise self.refused("NOT_FOUND", "topic.not.found", f"The topic {topic} does not exist.")
        return objects

    def _admit(self, metadata: Mapping[str, str]) -> None:
        known = metadata.get("instanceurl", "").startswith(("http://", "https://"))
        if not (
            known and metadata.get("tenantid") == self._twin.org.org_id and self._session_is_good(metadata)
        ):
            text = "Authentication exception occurred"
            raise self.refused("UNAUTHENTICATED", "service.auth.error", text)

    def _session_is_good(self, metadata: Mapping[str, str]) -> bool:
        bearer = {"authorization": f"Bearer {metadata.get('accesstoken', '')}"}
        return self._twin.sessions.valid(Request("POST", SERVICE, [], bearer, b""))

    def _rpc(self) -> str:
        self._calls += 1
        return f"twin-rpc-{self._calls:06d}"
