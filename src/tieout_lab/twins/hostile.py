"""An imaginary ERP with every bad habit at once, for the engine's own tests.

It has no key: two POSTs of one `key` make two documents. Creating is not posting: a second call posts, and before it
nothing counts. A document is found by `key` only some time after it was made. It answers slowly, and some of its work
is done long after the client has given up. Everything is JSON:

    POST   /documents            {"key", ...}  -> 201 {"id", "key", "status": "created", ...}
    POST   /documents/batch      {"documents": [...]} -> 200 {"results": [{"key", ...}]}, last first, some left out
                                 (done or not), some refused: {"key", "error"}
    GET    /documents?key=K&key=L              -> 200 {"documents": [...]}, oldest first, those that can be seen
    GET    /documents/{id}                     -> 200, always up to date; 404
    POST   /documents/{id}/post                -> 200 {"status": "posted", ...}; 409 when withdrawn
    DELETE /documents/{id}                     -> 204; 409 when posted
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.faults import FaultPlan
from tieout_lab.twins.kit import Request, Response, Twin, visible

TOKEN = "hostile-token"  # noqa: S105 - a twin's
DELAY_SECONDS = 20.0
LATE_SECONDS = (20.0, 600.0)


@dataclass(slots=True)
class Paper:
    """One document: what was sent, and how far it has come (created, posted, withdrawn)."""

    id: str
    key: str
    body: dict[str, Any]
    created: datetime
    status: str = "created"
    number: str | None = None
    posts: int = 0

    def shown(self) -> dict[str, Any]:
        return {**self.body, "id": self.id, "key": self.key, "status": self.status, "number": self.number}


class HostileTwin(Twin):
    """The imaginary ERP. `gentle=True` starts it without faults; a test can set its own."""

    name = "hostile"

    def __init__(self, clock: TwinClock, *, gentle: bool = False, slow_seconds: float = 1.0) -> None:
        super().__init__(clock)
        self.papers: dict[str, Paper] = {}
        self.slow_seconds = 0.0 if gentle else slow_seconds
        if not gentle:
            rates = {"late": 0.1, "timeout_after_work": 0.1, "error_after": 0.1, "error_before": 0.1}
            self.faults = FaultPlan(
                rates=rates,
                late_seconds=LATE_SECONDS,
                visibility_delay_seconds=DELAY_SECONDS,
                enforce_keys=False,
            )
        self.route("POST", "/documents", "document.create", self._create)
        self.route("POST", "/documents/batch", "document.batch", self._batch)
        self.route("GET", "/documents", "document.find", self._find)
        self.route("GET", "/documents/{id}", "document.get", self._get)
        self.route("POST", "/documents/{id}/post", "document.post", self._post)
        self.route("DELETE", "/documents/{id}", "document.withdraw", self._withdraw)
        self.action("snapshot", lambda _: {"documents": [self._whole(p) for p in self.papers.values()]})
        self.action("slow", self._slow)

    async def admit(self, request: Request, operation: str) -> Response | None:  # noqa: ARG002 - the kit's
        """Sign-in, after it has taken its time."""
        if self.slow_seconds:
            await self.clock.sleep(self.slow_seconds)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Response(401, {"error": "unauthorized"})
        return None

    def describe(self, url: str) -> dict[str, Any]:
        return {"url": url, "token": TOKEN}

    async def _create(self, request: Request) -> Response:
        try:
            given = request.json()
        except msgspec.DecodeError:
            return Response(400, {"error": "no JSON"})
        return self._make(given)

    async def _batch(self, request: Request) -> Response:
        try:
            given = request.json()["documents"]
        except (msgspec.DecodeError, TypeError, KeyError):
            return Response(400, {"error": "documents are missing"})
        results = []
        for one in reversed(given):
            if self.faults.chance("batch_item_left_undone", self.faults.partial_batch / 2):
                continue
            if self.faults.chance("batch_item_refused", self.faults.partial_batch / 2):
                results.append({"key": one["key"], "error": "not now"})
                continue
            answer = self._make(one)
            if not self.faults.chance("batch_item_unanswered", self.faults.partial_batch):
                results.append({"key": one["key"], **answer.body})
        return Response(200, {"results": results})

    def _make(self, given: Any) -> Response:
        if not isinstance(given, dict) or not isinstance(given.get("key"), str) or not given["key"]:
            return Response(400, {"error": "key is missing"})
        body = {name: value for name, value in given.items() if name not in ("id", "status", "number")}
        if self.faults.enforce_keys and any(paper.key == given["key"] for paper in self.papers.values()):
            return Response(409, {"error": "key is taken"})
        paper = Paper(f"d{len(self.papers) + 1}", given["key"], body, self.clock.technical())
        self.papers[paper.id] = paper
        return Response(201, paper.shown())

    async def _find(self, request: Request) -> Response:
        keys = {value for name, value in request.query if name == "key"}
        if not keys:
            return Response(400, {"error": "key is missing"})
        delay = self.faults.visibility_delay_seconds
        found = [p for p in self.papers.values() if p.key in keys and visible(p.created, self.clock, delay)]
        return Response(200, {"documents": [paper.shown() for paper in found]})

    async def _get(self, request: Request) -> Response:
        paper = self.papers.get(request.params["id"])
        return Response(200, paper.shown()) if paper else Response(404, {"error": "no such document"})

    async def _post(self, request: Request) -> Response:
        paper = self.papers.get(request.params["id"])
        if paper is None:
            return Response(404, {"error": "no such document"})
        if paper.status == "withdrawn":
            return Response(409, {"error": "withdrawn"})
        paper.posts += 1
        if paper.status == "created":
            paper.status = "posted"
            paper.number = f"H-{sum(1 for p in self.papers.values() if p.number) + 1}"
        return Response(200, paper.shown())

    async def _withdraw(self, request: Request) -> Response:
        paper = self.papers.get(request.params["id"])
        if paper is None:
            return Response(404, {"error": "no such document"})
        if paper.status == "posted":
            return Response(409, {"error": "posted"})
        paper.status = "withdrawn"
        return Response(204)

    def _slow(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"seconds"}: how long (technical) every answer takes."""
        self.slow_seconds = float(given["seconds"])
        return {"seconds": self.slow_seconds}

    def _whole(self, paper: Paper) -> dict[str, Any]:
        return {**paper.shown(), "posts": paper.posts, "created": paper.created.isoformat()}


def create(clock: TwinClock) -> HostileTwin:
    """The twin with its bad habits on."""
    return HostileTwin(clock)
