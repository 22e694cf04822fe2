"""The loader: signed webhooks over plain sockets, as fast as they are taken or at a fixed rate; or one request over and
over, to measure what stands at the other end."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from typing import Any

import uvloop

from tieout_lab.bench import bodies
from tieout_lab.bench.children import answer, given, heard


class Line(asyncio.Protocol):
    """One connection; `depth` requests under way on it at once."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.transport: Any = None
        self.out = 0
        self.number = 0
        self.got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        # Each answer begins with its status line; no body of the other end holds one.
        if self.got:
            data = self.got + data
        seen = data.count(b"HTTP/1.1 ")
        if seen == 0 or not complete(data):
            self.got = data
            return
        self.got = b""
        self.out -= seen
        if self.load.open_loop:
            self.load.waits.append(time.monotonic() - self.load.due(self.number))
        if seen != data.count(b"HTTP/1.1 2"):
            self.load.refused += 1
            if self.load.refused == 1:
                self.load.refusal = data[:300].decode("latin-1")
        self.load.answered(self, seen)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the loop's own signature
        if not self.load.done.is_set():
            self.load.refused += 1
            self.load.answered(self, self.out)


def complete(data: bytes) -> bool:
    """Whether the last answer in the data is whole."""
    start = data.rfind(b"HTTP/1.1 ")
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        return False
    at = data.lower().find(b"content-length: ", start, end)
    length = int(data[at + 16 : data.find(b"\r", at)]) if at > 0 else 0
    return len(data) >= end + 4 + length


class Load:
    """A number of requests, and when each was due."""

    def __init__(self, requests: list[bytes], depth: int) -> None:
        self.requests = requests
        self.depth = depth
        self.next = 0
        self.finished = 0
        self.refused = 0
        self.refusal = ""
        self.done = asyncio.Event()
        self.lines: list[Line] = []
        self.idle: list[Line] = []
        self.open_loop = False
        self.backlog = 0
        self.started = 0.0
        self.per_second = 0.0
        # Of an open loop: seconds from the moment that each request was due until it was answered.
        self.waits: list[float] = []

    async def connect(self, port: int, connections: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            _, line = await loop.create_connection(lambda: Line(self), "127.0.0.1", port)
            self.lines.append(line)

    def send(self, line: Line, count: int) -> None:
        count = min(count, len(self.requests) - self.next)
        if count <= 0:
            return
        line.number = self.next
        some = self.requests[self.next : self.next + count]
        self.next += count
        line.out += count
        line.transport.write(some[0] if count == 1 else b"".join(some))

    def answered(self, line: Line, count: int) -> None:
        self.finished += count
        if self.finished >= len(self.requests):
            self.done.set()
        elif not self.open_loop:
            if line.out == 0:
                self.send(line, self.depth)
        elif self.backlog:
            self.backlog -= 1
            self.send(line, 1)
        else:
            self.idle.append(line)

    async def closed(self) -> tuple[float, float]:
        """As fast as they are taken."""
        started = time.monotonic()
        for line in self.lines:
            self.send(line, self.depth)
        await self.done.wait()
        return started, time.monotonic()

    async def at_rate(self, per_second: float) -> tuple[float, float]:
        """Request i is due at i / per_second, whatever became of those before."""
        self.open_loop, self.per_second = True, per_second
        self.idle = list(self.lines)
        started, total, launched = time.monotonic() + 0.05, len(self.requests), 0
        self.started = started
        while launched < total:
            due = min(total, int((time.monotonic() - started) * per_second) + 1)
            while launched < due:
                launched += 1
                if self.idle:
                    self.send(self.idle.pop(0), 1)
                else:
                    self.backlog += 1
            await asyncio.sleep(max(0.001, started + launched / per_second - time.monotonic()))
        await self.done.wait()
        return started, time.monotonic()

    def due(self, number: int) -> float:
        """When a request of the open loop was due."""
        return self.started + number / self.per_second

    def answered_ms(self) -> dict[str, float]:
        """How long answers took in an open loop."""
        waits = sorted(self.waits)
        shares = {"p50": 0.5, "p99": 0.99, "max": 1.0} if waits else {}
        return {
            name: waits[min(len(waits) - 1, int(len(waits) * share))] * 1000 for name, share in shares.items()
        }


def webhook(port: int, number: int, at: int) -> bytes:
    """One signed webhook as bytes."""
    body = bodies.event(number, at)
    head = (
        f"POST /hooks/stripe-us HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json; charset=utf-8\r\n"
        f"User-Agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\nAccept: */*; q=0.5, application/xml\r\n"
        f"Stripe-Signature: {bodies.signed(body, at)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def main() -> None:
    options = given()
    port, at = options["port"], int(time.time())
    if "requests" in options:
        requests = [
            one.encode() for one in itertools.islice(itertools.cycle(options["requests"]), options["count"])
        ]
    else:
        first, step = options["first"], options.get("step", 1)
        numbers = range(first, first + options["count"] * step, step)
        requests = [webhook(port, number, at) for number in numbers]
    gc.freeze()
    load = Load(requests, options.get("depth", 1))
    await load.connect(port, options.get("connections", 32))
    answer({"ready": True})
    await heard()
    started, ended = await (load.at_rate(options["rate"]) if options.get("rate") else load.closed())
    said = {"refused": load.refused, "refusal": load.refusal, "answered_ms": load.answered_ms()}
    answer({"started": started, "ended": ended, **said})
    await heard()


if __name__ == "__main__":
    uvloop.run(main())
