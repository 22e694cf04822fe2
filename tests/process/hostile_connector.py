"""A connector of the hostile twin, as small as the contract allows: for the engine's own tests.

`paper.create` is search-only and two-phase; a paper is posted by an approval of its own where `approves` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    FindOutcome,
    Found,
    Inconclusive,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import ApproveWrite, Write
from tieout.connectors.contract import Keys, OperationTraits, World, conclusive_at
from tieout.ports import Request, Response, TransportError
from tieout_lab.twins.hostile import DELAY_SECONDS, LATE_SECONDS, TOKEN

TRAITS = OperationTraits(
    uniqueness="search_only",
    longest_seconds=int(LATE_SECONDS[1]),
    visibility_seconds=int(DELAY_SECONDS),
    two_phase=True,
    timeout_seconds=5,
)


class HostileConnection:
    """What the hub asks of it: make, find, post, and how far papers have come."""

    operations: Mapping[str, OperationTraits] = {"invoice.create": TRAITS, "invoice.post": TRAITS}

    def __init__(self, name: str, url: str, world: World, *, approves: bool = True) -> None:
        self._name, self._url, self._world, self._approves = name, url, world, approves

    async def _call(self, method: str, path: str, operation: str, body: object = None) -> Response:
        raw = b"" if body is None else msgspec.json.encode(body)
        request = Request(
            method=method,
            url=self._url + path,
            headers={"authorization": f"Bearer {TOKEN}"},
            body=raw,
            timeout_seconds=5,
            connection=self._name,
            operation=operation,
        )
        return await self._world.transport.exchange(request)

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        try:
            if isinstance(write, ApproveWrite):
                answer = await self._call("POST", f"/documents/{write.document}/post", operation, {})
            else:
                body = {"key": keys.document, "total": getattr(write, "total_minor", 0)}
                answer = await self._call("POST", "/documents", operation, body)
        except TransportError as error:
            return OutcomeUnknown(reason=error.reason) if error.sent else Transient(reason=error.reason)
        if answer.status >= 500:
            return OutcomeUnknown(reason=f"{answer.status}")
        if answer.status >= 400:
            return Rejected(code=str(answer.status), message=answer.body.decode())
        try:
            return Confirmed(receipt=_receipt(msgspec.json.decode(answer.body)))
        except (msgspec.DecodeError, KeyError):
            return OutcomeUnknown(reason="no JSON")

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        posting = isinstance(write, ApproveWrite)
        path = f"/documents/{write.document}" if posting else f"/documents?key={keys.document}"
        try:
            answer = await self._call("GET", path, f"find.{operation}")
            papers = msgspec.json.decode(answer.body)
        except (TransportError, msgspec.DecodeError) as error:
            return Inconclusive(reason=str(error))
        if answer.status != 200:
            return Inconclusive(reason=str(answer.status))
        found = [papers] if posting else papers["documents"]
        if posting:
            found = [one for one in found if one["status"] == "posted"]
        if not found:
            return Absent(conclusive_at=conclusive_at(sent_at, TRAITS))
        return Found(receipt=_receipt(found[0]), others=tuple(one["id"] for one in found[1:]))

    def approves(self, write: Write) -> bool:
        return self._approves

    async def statuses(self, kind: str, ids: tuple[str, ...]) -> dict[str, str]:
        known = {}
        for id_ in ids:
            try:
                answer = await self._call("GET", f"/documents/{id_}", "statuses")
            except TransportError as error:
                raise Failure(Transient(reason=error.reason)) from error
            if answer.status not in (200, 404):
                raise Failure(Transient(reason=str(answer.status)))
            if answer.status == 200:
                known[id_] = msgspec.json.decode(answer.body)["status"]
        return known


class BulkHostileConnection(HostileConnection):
    """The same ERP, which also takes many papers in one call, and answers for them as it likes."""

    batch_sizes: Mapping[str, int] = {"invoice.create": 10}

    async def send_many(self, operation, items, batch):
        assert len({keys.document for _, keys in items}) == len(items) <= 10
        assert batch
        body = {"documents": [{"key": keys.document, "total": 100} for _, keys in items]}
        try:
            answer = await self._call("POST", "/documents/batch", operation, body)
            results = msgspec.json.decode(answer.body)["results"] if answer.status == 200 else []
        except (TransportError, msgspec.DecodeError) as error:
            unsent = isinstance(error, TransportError) and not error.sent
            outcome = Transient(reason=str(error)) if unsent else OutcomeUnknown(reason=str(error))
            return {keys.document: outcome for _, keys in items}
        return {one["key"]: _outcome(one) for one in results}

    async def find_many(self, operation, items):
        query = "&".join(f"key={keys.document}" for _, keys, _ in items)
        try:
            answer = await self._call("GET", f"/documents?{query}", f"find.{operation}")
            papers = msgspec.json.decode(answer.body)["documents"]
        except (TransportError, msgspec.DecodeError, KeyError) as error:
            return {keys.document: Inconclusive(reason=str(error)) for _, keys, _ in items}
        found = {}
        for _, keys, sent_at in items:
            mine = [one for one in papers if one["key"] == keys.document]
            found[keys.document] = (
                Found(receipt=_receipt(mine[0]), others=tuple(one["id"] for one in mine[1:]))
                if mine
                else Absent(conclusive_at=conclusive_at(sent_at, TRAITS))
            )
        return found


def _outcome(result) -> SendOutcome:
    if "error" in result:
        return Transient(reason=result["error"])
    return Confirmed(receipt=_receipt(result))


def _receipt(paper: dict[str, str]) -> Receipt:
    return Receipt(external_id=paper["id"], number=paper["number"] or "", posted=paper["status"] == "posted")
