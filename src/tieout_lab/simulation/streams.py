"""gRPC calls in the simulation: the twin's handlers in process, each message a port operation of the hub's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from tieout.ports import StreamEnded
from tieout_lab.twins.calls import Handler, Refused

if TYPE_CHECKING:
    from tieout_lab.simulation.ports import Process


class SimulatedStream:
    """`Stream` over a handler of a twin."""

    def __init__(self, handler: Handler, metadata: Mapping[str, str], process: Process, name: str) -> None:
        self._process = process
        self._name = name
        self._requests: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._answers: asyncio.Queue[bytes | StreamEnded] = asyncio.Queue()
        self._ended: StreamEnded | None = None
        self._serving = asyncio.ensure_future(self._serve(handler, metadata))

    async def _serve(self, handler: Handler, metadata: Mapping[str, str]) -> None:
        try:
            async for answer in handler(metadata, self._asked()):
                await self._answers.put(answer)
        except Refused as refused:
            await self._answers.put(StreamEnded(refused.status, refused.message, refused.trailers))
        else:
            await self._answers.put(StreamEnded("OK"))

    async def _asked(self) -> AsyncIterator[bytes]:
        while (request := await self._requests.get()) is not None:
            yield request

    async def send(self, message: bytes) -> None:
        number = await self._process.before(f"send {self._name}", "")
        if self._ended is not None:
            raise self._ended
        await self._requests.put(message)
        await self._process.done(number)

    async def finish(self) -> None:
        await self._requests.put(None)

    async def receive(self, timeout_seconds: float) -> bytes | None:
        if self._ended is not None:
            raise self._ended
        try:
            answer = await asyncio.wait_for(self._answers.get(), timeout_seconds)
        except TimeoutError:
            return None
        number = await self._process.before(f"receive {self._name}", "")
        if isinstance(answer, StreamEnded):
            self._ended = answer
            raise answer
        await self._process.done(number)
        return answer

    async def close(self) -> None:
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
