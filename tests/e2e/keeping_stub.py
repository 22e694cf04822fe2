"""The bench's stub with a memory: its ERP keeps the documents that it is sent, under their keys, and finds them again.

`python -m tests.e2e.keeping_stub OPTIONS` (JSON: `enforce`, whether the ERP refuses a second document under one key,
and `seconds`, how long a call takes by vendor) prints `{"port"}` and serves until its standard input ends. A document
is made when the call's time is over, whether or not anybody waits for the answer. `GET /_stub/report` tells what there
is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter, defaultdict
from typing import Any

import uvloop

from tieout_lab.bench import bodies
from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.stub import State, Stub, ok, route

FIRST, COPY = 10_000_000, 1_000_000
# Every so many-th document takes this long: a process that is killed leaves its call at work for some time.
SLOW_EVERY, SLOW_SECONDS = 25, 1.2
_KEYS = re.compile(r"t\.externalid IN \(([^)]*)\)")
_REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
VENDORS = {b"/v1/": "stripe", b"/services/rest/": "netsuite", b"/services/": "salesforce"}


class Books:
    """What the ERP holds, and what every vendor saw."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.enforce: bool = options["enforce"]
        self.seconds: dict[str, float] = options["seconds"]
        self.canned = State()
        self.documents: dict[int, list[str]] = defaultdict(list)
        self.keys: dict[str, list[tuple[str, int]]] = defaultdict(list)
        self.refused = 0
        self.calls: Counter[str] = Counter()
        self.in_flight: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def report(self) -> dict[str, Any]:
        return {
            "documents": {f"in_{number:08d}": ids for number, ids in self.documents.items()},
            "keys": len(self.keys),
            "refused": self.refused,
            "calls": self.calls,
            "most_in_flight": self.most,
        }

    def make(self, number: int, key: str) -> bytes:
        """A document; the answer to whoever sent it."""
        if self.enforce and self.keys[key]:
            self.refused += 1
            said = {"o:errorCode": "DUP_RCRD", "detail": "This record already exists"}
            body = json.dumps({"title": "Bad Request", "status": 400, "o:errorDetails": [said]}).encode()
            return _REFUSED % (len(body), body)
        id_ = str(FIRST + number + COPY * len(self.documents[number]))
        self.documents[number].append(id_)
        self.keys[key].append((id_, number))
        where = f"http://127.0.0.1:{self.canned.port}/services/rest/record/v1/invoice/{id_}".encode()
        return b"HTTP/1.1 204 No Content\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % where

    def found(self, keys: str) -> bytes:
        """The rows of a look-up by keys."""
        rows = [
            {"id": id_, "tranid": f"INV{id_}", "externalid": key, "custbody_tieout_source": f"in_{number:08d}",
             "status": "A", "approvalstatus": "2", "posting": "T", "voided": "F", "foreigntotal": "1560.49",
             "symbol": "USD"}
            for key in re.findall(r"'(\w+)'", keys) for id_, number in self.keys.get(key, ())
        ]  # fmt: skip
        page = {"items": rows, "hasMore": False, "count": len(rows), "offset": 0, "totalResults": len(rows)}
        return ok(json.dumps(page).encode())

    def by_key(self, key: str) -> bytes:
        """A document by its external id."""
        standing = self.keys.get(key)
        if not standing:
            return _MISSING
        return ok(bodies.document(standing[0][1]).replace(b'"BENCH"', b'"%b"' % key.encode()))


class Keeping(Stub):
    """One connection."""

    def __init__(self, books: Books) -> None:
        super().__init__(books.canned)
        self.books = books

    def take(self, head: bytes, body: bytes) -> bytes:
        method, target, _ = head.split(b" ", 2)
        path = target.partition(b"?")[0]
        if path.startswith(b"/_stub"):
            return ok(json.dumps(self.books.report()).encode())
        vendor = next((name for start, name in VENDORS.items() if path.startswith(start)), "-")
        books, seconds = self.books, self.books.seconds.get(vendor, 0.0)
        posted = method == b"POST" and path.endswith(b"/record/v1/invoice")
        number, key = 0, ""
        if posted:
            document = json.loads(body)
            number, key = int(document["memo"][3:11]), document["externalId"]
            seconds = SLOW_SECONDS if number % SLOW_EVERY == 0 else seconds
        books.calls["document.post" if posted else vendor] += 1
        books.in_flight[vendor] += 1
        books.most[vendor] = max(books.most[vendor], books.in_flight[vendor])

        def leave() -> None:
            books.in_flight[vendor] -= 1
            said = books.make(number, key) if posted else self.read(method, target, body)
            if not self.transport.is_closing():
                self.transport.write(said)

        asyncio.get_running_loop().call_later(seconds, leave)
        return b""

    def read(self, method: bytes, target: bytes, body: bytes) -> bytes:
        """The answer to everything that makes no document."""
        path = target.partition(b"?")[0]
        keys = _KEYS.search(json.loads(body)["q"]) if path.endswith(b"/suiteql") else None
        if keys is not None:
            return self.books.found(keys[1])
        last = path.rpartition(b"/")[2].decode()
        if last.startswith("eid"):
            return self.books.by_key(re.split("%3A|:", last)[1])
        if b"/record/v1/invoice/" in path:
            target = path[: -len(last)] + b"%d" % (FIRST + int(last) % COPY)
        return route(self.books.canned, method, target, body)[2]


async def serve() -> None:
    """Serve until standard input ends."""
    books = Books(given())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Keeping(books), "127.0.0.1", 0, backlog=1024)
    books.canned.port = server.sockets[0].getsockname()[1]
    answer({"port": books.canned.port})
    while await heard() is not None:
        pass


if __name__ == "__main__":
    uvloop.run(serve())
