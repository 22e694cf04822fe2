"""One subscription of the Pub/Sub API: sign-in metadata, flow control, schemas by id."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import structlog

from tieout.connectors.contract import World
from tieout.connectors.http import BadBody, Token
from tieout.connectors.salesforce import pubsub_wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.pubsub_wire import CUSTOM, LATEST, SERVICE, Change, Schema
from tieout.ports import Request, Stream, StreamEnded

log = structlog.get_logger("tieout.feeds")
# The most that may be outstanding; the vendor takes more for this many.
BATCH = 100
# The vendor sends an empty answer within 270 seconds where there is nothing to tell.
SILENCE_SECONDS = 330
FIRST_WAIT_SECONDS = 0.2
NEXT_WAIT_SECONDS = 0.02


class Subscription:
    """The kept call, if there is one. All methods raise StreamEnded and TransportError."""

    def __init__(self, client: Client, config: SalesforceConfig, world: World) -> None:
        self._client = client
        self._config = config
        self._world = world
        self._stream: Stream | None = None
        self._outstanding = 0
        self._heard_at: datetime | None = None
        self._schemas: dict[str, Schema] = {}
        self.token: Token | None = None

    @property
    def is_open(self) -> bool:
        return self._stream is not None

    async def open(self, replay_id: bytes) -> None:
        """Subscribe after a replay id; without one at the tip, which is only safe with a sweep. Raises Failure too."""
        self.token = await self._client.token()
        self._stream = await self._call("Subscribe", self.token, timeout_seconds=0)
        self._outstanding = BATCH
        self._heard_at = self._world.clock.now()
        await self._stream.send(
            pubsub_wire.encode(
                "FetchRequest",
                topic_name=self._config.pubsub_channel,
                replay_preset=CUSTOM if replay_id else LATEST,
                replay_id=replay_id,
                num_requested=BATCH,
            )
        )

    @property
    def credit(self) -> int:
        """How many events may be asked for: as many as have come."""
        return BATCH - self._outstanding

    async def ask(self, count: int) -> None:
        """Ask for so many more events."""
        if self._stream is None or count <= 0:
            return
        self._outstanding += count
        await self._stream.send(
            pubsub_wire.encode("FetchRequest", topic_name=self._config.pubsub_channel, num_requested=count)
        )

    async def responses(self) -> AsyncIterator[tuple[Any, list[Change | None]]]:
        """What has come: each answer with its changes decoded; None for an event that cannot be read."""
        wait_seconds = FIRST_WAIT_SECONDS
        now = self._world.clock.now()
        while self._stream is not None and (raw := await self._stream.receive(wait_seconds)) is not None:
            wait_seconds = NEXT_WAIT_SECONDS
            self._heard_at = now
            response = pubsub_wire.decode("FetchResponse", raw)
            changes = [await self._change(each.event) for each in response.events]
            # Counted here: what the vendor says is pending may be older than our last request.
            self._outstanding -= len(response.events)
            yield response, changes
        if self._heard_at is not None and now - self._heard_at > timedelta(seconds=SILENCE_SECONDS):
            raise StreamEnded("UNAVAILABLE", f"not a word for {SILENCE_SECONDS} s")

    async def leave(self) -> None:
        """End the call, if there is one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    async def topic(self) -> Any:
        """What the vendor says of the channel. Raises Failure, BadBody too."""
        token = await self._client.token()
        request = pubsub_wire.encode("TopicRequest", topic_name=self._config.pubsub_channel)
        return pubsub_wire.decode("TopicInfo", await self._one("GetTopic", token, request))

    async def _change(self, event: Any) -> Change | None:
        try:
            return (await self._schema(event.schema_id)).change(event.payload)
        except BadBody as error:
            log.warning("event_unreadable", connection=self._client.http.name, reason=str(error))
            return None

    async def _schema(self, id: str) -> Schema:
        """By its id, never by topic: one answer can hold events of several schemas of one object."""
        known = self._schemas.get(id)
        if known is None:
            token = self.token or await self._client.token()
            raw = await self._one("GetSchema", token, pubsub_wire.encode("SchemaRequest", schema_id=id))
            known = self._schemas[id] = Schema(pubsub_wire.decode("SchemaInfo", raw).schema_json)
        return known

    async def _one(self, method: str, token: Token, request: bytes) -> bytes:
        """A call of one request and one answer."""
        timeout_seconds = self._config.timeout_seconds
        stream = await self._call(method, token, timeout_seconds=timeout_seconds)
        try:
            await stream.send(request)
            await stream.finish()
            answer = await stream.receive(timeout_seconds)
        finally:
            await stream.close()
        if answer is None:
            raise StreamEnded("DEADLINE_EXCEEDED", f"{method}: no answer in {timeout_seconds} s")
        return answer

    async def _call(self, method: str, token: Token, *, timeout_seconds: float) -> Stream:
        return await self._world.transport.open(
            Request(
                method="POST",
                url=f"{self._config.pubsub_url.rstrip('/')}/{SERVICE}/{method}",
                headers={
                    "accesstoken": token.value,
                    "instanceurl": token.base_url,
                    "tenantid": token.organisation,
                },
                timeout_seconds=timeout_seconds,
                connection=self._client.http.name,
                operation=f"pubsub.{method}",
            )
        )
