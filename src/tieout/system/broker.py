"""NATS JetStream behind the port of a broker's stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tieout.ports import StreamFacts, TransportError
from tieout.system.nats_client import MISSING, connected


class NatsPublisher:
    """A stream of NATS JetStream, over one connection that is opened when it is needed; needs the package nats-py."""

    def __init__(self, url: str, stream: str, *, user: str = "", password: str = "", token: str = "") -> None:
        self._url = url
        self._stream = stream
        given = {"user": user, "password": password, "token": token}
        self._credentials: dict[str, Any] = {name: value for name, value in given.items() if value}
        self._client: Any = None
        self._opening = asyncio.Lock()

    async def publish(
        self, subject: str, body: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> None:
        async def send(client: Any) -> None:
            stream = client.jetstream()
            await stream.publish(
                subject, body, timeout=timeout_seconds, stream=self._stream, headers=dict(headers)
            )

        await self._ask(send, timeout_seconds)

    async def facts(self, timeout_seconds: float) -> StreamFacts:
        found: list[Any] = []

        async def ask(client: Any) -> None:
            found.append((await client.jetstream(timeout=timeout_seconds).stream_info(self._stream)).config)

        await self._ask(ask, timeout_seconds)
        (config,) = found
        return StreamFacts(
            subjects=tuple(config.subjects or ()),
            copies=config.num_replicas or 1,
            dedupe_seconds=int(config.duplicate_window or 0),
        )

    async def _ask(self, what: Callable[[Any], Awaitable[None]], timeout_seconds: float) -> None:
        try:
            import nats.errors
            import nats.js.errors
        except ImportError as error:
            raise TransportError(MISSING, sent=False) from error
        try:
            async with asyncio.timeout(timeout_seconds):
                client = await self._open(timeout_seconds)
                await what(client)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            words = str(error) or type(error).__name__
            if not isinstance(error, nats.js.errors.Error):
                # What it still holds back would be sent later, behind what is sent meanwhile.
                await self._drop()
            raise TransportError(f"NATS {self._stream}: {words}", sent=True) from error

    async def _open(self, timeout_seconds: float) -> Any:
        async with self._opening:
            if self._client is not None and self._client.is_connected:
                return self._client
            await self._drop()
            self._client = await connected(
                self._url,
                "tieout",
                # When to try again is whoever asks's to decide.
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=max(1, int(timeout_seconds)),
                **self._credentials,
            )
            return self._client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def close(self) -> None:
        await self._drop()
