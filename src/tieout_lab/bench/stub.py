"""The stub: every vendor endpoint of the invoice flow with canned answers, written by hand for speed.

It counts requests by operation, the most that were in flight at once per vendor, and the calls over a ceiling. It is no
twin: it keeps nothing and checks nothing. `POST /_stub/set` and `GET /_stub/report` steer it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from typing import Any

import uvloop

from tieout_lab.bench import bodies
from tieout_lab.bench.children import answer, heard
from tieout_lab.bench.peers import work

_MEMO = re.compile(rb'"memo":"in_(\d{8})')
_REFERENCE = re.compile(rb'"referenceId":\s*"(\w+)"')
_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_EVENT = work.PATH.encode()
_RECORD = b"/services/rest/record/v1/invoice"
_MIRROR = b"/services/data/v68.0/sobjects/Tieout_Invoice__c/Tieout_External_Id__c/"
# The operations that one event makes, in order.
FLOW = ("invoice.get", "document.post", "document.get", "invoice.post", "mirror.upsert")
_UNSIGNED = "e30.e30.x"


class Events:
    """Calls of the comparison with other engines, one an event: which came twice, and which after a later one of their
    lane."""

    def __init__(self) -> None:
        self.calls = 0
        self.seen: set[int] = set()
        self.twice = 0
        self.late = 0
        self.latest: dict[int, int] = {}
        self.lanes_out_of_order: set[int] = set()

    def take(self, number: int) -> None:
        """A call for an event. Events are numbered in the order of their lane."""
        self.calls += 1
        if number in self.seen:
            self.twice += 1
            return
        self.seen.add(number)
        lane = work.lane(number)
        if number < self.latest.get(lane, -1):
            self.late += 1
            self.lanes_out_of_order.add(lane)
        else:
            self.latest[lane] = number

    def report(self) -> dict[str, int]:
        return {
            "calls": self.calls,
            "twice": self.twice,
            "late": self.late,
            "lanes": len(self.latest),
            "lanes_out_of_order": len(self.lanes_out_of_order),
        }


class State:
    """What the stub was told, and what it saw."""

    def __init__(self) -> None:
        self.port = 0
        self.set({})

    def set(self, given: dict[str, Any]) -> None:
        """Begin anew: `delay_seconds` by vendor, `ceiling` of calls in flight by vendor, `stamps`."""
        self.delays: dict[str, float] = given.get("delay_seconds", {})
        self.ceilings: dict[str, int] = given.get("ceiling", {})
        self.stamping = bool(given.get("stamps"))
        self.counts: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most: dict[str, int] = {}
        self.over = 0
        self.stamps: list[tuple[int, float]] = []
        self.samples: dict[str, dict[str, Any]] = {}
        self.first: dict[str, float] = {}
        self.last: dict[str, float] = {}
        self.events = Events()

    def report(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "most_in_flight": self.most,
            "over_ceiling": self.over,
            "stamps": self.stamps,
            "samples": self.samples,
            "first": self.first,
            "last": self.last,
            "events": self.events.report(),
        }


class Stub(asyncio.Protocol):
    """One connection."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.buffer = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self.buffer + data if self.buffer else data
        written: list[bytes] = []
        while buffer:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                break
            end += 4
            length = 0
            if buffer[:3] != b"GET":
                at = buffer.find(b"ontent-Length: ", 0, end)
                if at < 0:
                    at = buffer.lower().find(b"ontent-length: ", 0, end)
                if at > 0:
                    length = int(buffer[at + 15 : buffer.find(b"\r", at)])
            if len(buffer) < end + length:
                break
            said = self.take(buffer[:end], buffer[end : end + length])
            if said:
                written.append(said)
            buffer = buffer[end + length :]
        self.buffer = buffer
        if written:
            self.transport.write(written[0] if len(written) == 1 else b"".join(written))

    def take(self, head: bytes, body: bytes) -> bytes:
        """The answer, or nothing when it comes later."""
        method, path, _ = head.split(b" ", 2)
        if path[:6] == b"/_stub":
            return self.steer(path, body)
        vendor, operation, said, number = route(self.state, method, path, body)
        state = self.state
        state.counts[operation] += 1
        if state.stamping and operation == "document.get":
            state.stamps.append((number, time.monotonic()))
        if operation not in state.samples:
            self.sample(operation, head, body, number)
        if vendor in state.delays:
            return self.later(vendor, said)
        return said

    def sample(self, operation: str, head: bytes, body: bytes, number: int) -> None:
        """Keep the first request of each operation: the raw loop sends the same bodies."""
        line, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, path, _ = line.split(" ")
        headers = dict(text.split(": ", 1) for text in lines)
        kept = {"method": method, "path": path, "headers": headers, "body": body.decode(), "number": number}
        self.state.samples[operation] = kept

    def later(self, vendor: str, said: bytes) -> bytes:
        """A vendor that takes its time, and has a ceiling."""
        state = self.state
        now = time.monotonic()
        state.first.setdefault(vendor, now)
        state.in_flight[vendor] += 1
        flying = state.in_flight[vendor]
        state.most[vendor] = max(state.most.get(vendor, 0), flying)
        if flying > state.ceilings.get(vendor, 1 << 30):
            state.over += 1

        def leave() -> None:
            state.in_flight[vendor] -= 1
            state.last[vendor] = time.monotonic()
            if not self.transport.is_closing():
                self.transport.write(said)

        asyncio.get_running_loop().call_later(state.delays[vendor], leave)
        return b""

    def steer(self, path: bytes, body: bytes) -> bytes:
        if path.endswith(b"/set"):
            self.state.set(json.loads(body))
            return ok(b"{}")
        return ok(json.dumps(self.state.report()).encode())


def ok(body: bytes) -> bytes:
    """200 with a JSON body."""
    return _OK % (len(body), body)


def route(state: State, method: bytes, path: bytes, body: bytes) -> tuple[str, str, bytes, int]:
    """(vendor, operation, answer, invoice number)."""
    if path[: len(_EVENT)] == _EVENT:
        return event(state, method, int(path[len(_EVENT) :]))
    if path[:13] == b"/v1/invoices/":
        number = int(path[16:24])
        if method == b"GET":
            return "stripe", "invoice.get", ok(bodies.invoice(number)), number
        return (
            "stripe",
            "invoice.post",
            ok(b'{"id":"in_%08d","object":"invoice","livemode":false}' % number),
            number,
        )
    if path[:32] == _RECORD:
        if method == b"POST":
            found = _MEMO.search(body)
            number = int(found[1]) if found else 0
            where = b"http://127.0.0.1:%d%b/%d" % (state.port, _RECORD, 10_000_000 + number)
            made = b"HTTP/1.1 204 No Content\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where
            return "netsuite", "document.post", made, number
        number = bodies.number_of_document(path[33:].partition(b"?")[0])
        return "netsuite", "document.get", ok(bodies.document(number)), number
    if path[: len(_MIRROR)] == _MIRROR:
        number = int(path[-8:])
        saved = b'{"id":"a00%012dAAA","success":true,"created":true,"errors":[]}' % number
        made = b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        return "salesforce", "mirror.upsert", made % (len(saved), saved), number
    return rare(state, path, body)


def event(state: State, method: bytes, number: int) -> tuple[str, str, bytes, int]:
    """What the engines under comparison call, once for each event; and the look-up of one."""
    made = ok(b'{"id":"D%08d"}' % number)
    if method == b"GET":
        return "events", "event.find", made if number in state.events.seen else _NOT_FOUND, number
    state.events.take(number)
    return "events", "event.post", made, number


def rare(state: State, path: bytes, body: bytes) -> tuple[str, str, bytes, int]:
    """Sign-in, tables, polls: once in a while."""
    if path.startswith(b"/services/rest/auth"):
        return "-", "sign_in", ok(b'{"access_token":"opaque","expires_in":"3600","token_type":"bearer"}'), 0
    if path.startswith(b"/services/oauth2/token"):
        said = {
            "access_token": "opaque",
            "instance_url": f"http://127.0.0.1:{state.port}",
            "id": f"http://127.0.0.1:{state.port}/id/{bodies.ORG}/005000000000001AAA",
            "token_type": "Bearer",
        }
        return "-", "sign_in", ok(json.dumps(said).encode()), 0
    if path.startswith(b"/services/rest/query"):
        rows = next((rows for name, rows in bodies.TABLES.items() if name in body + b" "), [])
        page = {"items": rows, "hasMore": False, "count": len(rows), "offset": 0, "totalResults": len(rows)}
        return "-", "query", ok(json.dumps(page).encode()), 0
    if b"/composite" in path:
        parts = [
            {
                "body": {"totalSize": 0, "done": True, "records": []},
                "httpStatusCode": 200,
                "referenceId": name.decode(),
            }
            for name in _REFERENCE.findall(body)
        ]
        return "-", "poll", ok(json.dumps({"compositeResponse": parts}).encode()), 0
    if b"/query" in path:
        records: list[Any] = [{"Id": bodies.ORG, "IsSandbox": True}] if b"Organization" in path else []
        found = {"totalSize": len(records), "done": True, "records": records}
        return "-", "query", ok(json.dumps(found).encode()), 0
    if path.startswith(b"/v1/account"):
        return "-", "account", ok(b'{"id":"%b","object":"account"}' % bodies.ACCOUNT.encode()), 0
    if path.startswith(b"/v1/tax_rates"):
        return "-", "tax_rate", ok(bodies.TAX_RATE), 0
    return "-", "other", ok(b'{"object":"list","data":[],"has_more":false}'), 0


async def serve() -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    state = State()
    server = await loop.create_server(lambda: Stub(state), "127.0.0.1", 0, backlog=1024)
    state.port = server.sockets[0].getsockname()[1]
    answer({"port": state.port})
    while await heard() is not None:
        pass


if __name__ == "__main__":
    uvloop.run(serve())
