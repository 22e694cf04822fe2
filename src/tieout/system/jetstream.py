"""NATS JetStream behind the port of the buffer. Needs the package nats-py (`tieout[nats]`)."""

from __future__ import annotations

import asyncio
from typing import Any

from tieout.ports import Buffered, BufferFacts, BufferUnavailable
from tieout.system.nats_client import MISSING, connected

_DURABLE = "intake"
_PUT_SECONDS = 5.0
_ASK_SECONDS = 5.0
# A message that nobody has settled by then is handed out again; longer than a batch takes to be committed.
_ACK_WAIT_SECONDS = 60.0
_MOST_OUT = 4096


class JetStreamBuffer:
    """One stream, to put in and to take from, over one connection that reconnects by itself."""

    def __init__(self, url: str, stream: str, copies: int, *, user: str = "", password: str = "") -> None:
        self._url = url
        self._stream = stream
        self._copies = copies
        self._credentials: dict[str, Any] = {"user": user, "password": password} if user else {}
        self._client: Any = None
        self._subscription: Any = None
        self._opening = asyncio.Lock()

    async def facts(self) -> BufferFacts:
        """What the stream is; it is made where there is none. Raises BufferUnavailable."""

        async def ask(client: Any) -> BufferFacts:
            from nats.js.errors import NotFoundError

            stream = client.jetstream(timeout=_ASK_SECONDS)
            try:
                info = await stream.stream_info(self._stream)
            except NotFoundError:
                info = await stream.add_stream(self._wanted())
            config = info.config
            server = client._server_info  # noqa: SLF001 - the client has no public name for it
            return BufferFacts(
                stream=self._stream,
                copies=config.num_replicas or 1,
                storage=str(config.storage),
                discard=str(config.discard),
                retention=str(config.retention),
                most_age_seconds=float(config.max_age or 0),
                most_bytes=int(client.max_payload),
                leader=(info.cluster.leader or "") if info.cluster is not None else "",
                server_id=str(server.get("server_id", "")),
            )

        found: BufferFacts = await self._ask(ask)
        return found

    def _wanted(self) -> Any:
        from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

        return StreamConfig(
            name=self._stream,
            subjects=[f"{self._stream}.>"],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            # A stream that is full refuses what is new: the sender keeps it. It never drops what was acknowledged.
            discard=DiscardPolicy.NEW,
            num_replicas=self._copies,
        )

    async def put(self, body: bytes) -> None:
        async def send(client: Any) -> None:
            stream = client.jetstream()
            await stream.publish(f"{self._stream}.events", body, timeout=_PUT_SECONDS, stream=self._stream)

        await self._ask(send)

    async def take(self, most: int, wait_seconds: float) -> list[Buffered]:
        async def fetch(_: Any) -> list[Buffered]:
            from nats.errors import TimeoutError as NothingThere

            try:
                found = await self._subscription.fetch(most, timeout=wait_seconds)
            except NothingThere:
                return []
            return [Buffered(body=one.data, handle=one) for one in found]

        taken: list[Buffered] = await self._ask(fetch, subscribe=True)
        return taken

    async def done(self, message: Buffered) -> None:
        await self._ask(lambda _: message.handle.ack())

    async def again(self, message: Buffered, seconds: float) -> None:
        await self._ask(lambda _: message.handle.nak(delay=seconds))

    async def _ask(self, what: Any, *, subscribe: bool = False) -> Any:
        try:
            import nats.errors
        except ImportError as error:
            raise BufferUnavailable(MISSING) from error
        try:
            client = await self._open(subscribe=subscribe)
            return await what(client)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise BufferUnavailable(f"NATS {self._stream}: {str(error) or type(error).__name__}") from error

    async def _open(self, *, subscribe: bool) -> Any:
        from nats.js.api import ConsumerConfig

        async with self._opening:
            if self._client is None or self._client.is_closed:
                self._subscription = None
                # Once connected it reconnects for ever; the first time somebody wants to be told.
                async with asyncio.timeout(_ASK_SECONDS):
                    self._client = await connected(
                        self._url,
                        "tieout intake",
                        max_reconnect_attempts=-1,
                        connect_timeout=int(_ASK_SECONDS),
                        **self._credentials,
                    )
            if subscribe and self._subscription is None:
                wanted = ConsumerConfig(ack_wait=_ACK_WAIT_SECONDS, max_deliver=-1, max_ack_pending=_MOST_OUT)
                self._subscription = await self._client.jetstream(timeout=_ASK_SECONDS).pull_subscribe(
                    f"{self._stream}.>", durable=_DURABLE, stream=self._stream, config=wanted
                )
            return self._client

    async def close(self) -> None:
        client, self._client, self._subscription = self._client, None, None
        if client is not None:
            await client.close()
