"""`/query` and `/queryAll`: pages of at most 2,000 records and the cursors that lead on.

A cursor keeps ids; fields are read when a page is fetched. It lives two days; of a user's cursors the ten newest live.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import errors, ids
from tieout_lab.twins.salesforce.soql_bind import Plan
from tieout_lab.twins.salesforce.soql_run import aggregates, matching, prepare, show
from tieout_lab.twins.salesforce.store import Row
from tieout_lab.twins.salesforce.values import Answer

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

LARGEST, SMALLEST = 2000, 200
LIFE = timedelta(days=2)


@dataclass(slots=True)
class Cursor:
    """The rest of an answer."""

    plan: Plan
    ids: list[str]
    include_deleted: bool
    page: int
    opened: datetime
    nested: bool


class Queries:
    """The query resources."""

    def __init__(self, twin: RestTwin) -> None:
        self.twin = twin
        self.org = twin.org
        self.page_size: int | None = None
        self.most_cursors = 10
        self._cursors: OrderedDict[str, Cursor] = OrderedDict()
        self._opened = 0
        twin.data("GET", "/query", "query", lambda request: self.query(request, include_deleted=False))
        twin.data("GET", "/queryAll", "query_all", lambda request: self.query(request, include_deleted=True))
        twin.data("GET", "/query/{locator}", "query_more", self.more)
        twin.data("GET", "/queryAll/{locator}", "query_more", self.more)

    def query(self, request: Request, *, include_deleted: bool) -> Answer:
        text = request.q("q")
        if not text:
            raise errors.malformed_query("A query string has to be specified")
        return self.run(request, text, include_deleted=include_deleted)

    def run(self, request: Request, text: str, *, include_deleted: bool) -> Answer:
        """The first page of a query."""
        plan = prepare(self.org, text)
        found = matching(self.org, plan, include_deleted=include_deleted)
        if plan.count:
            return Answer(200, {"totalSize": len(found), "done": True, "records": []})
        if plan.grouping is not None:
            shown = aggregates(self.org, plan, found)
            return Answer(200, {"totalSize": len(shown), "done": True, "records": shown})
        page = self._page_size(request)
        return Answer(
            200, self._first(plan, found, request.params["version"], page, include_deleted, nested=False)
        )

    def more(self, request: Request) -> Answer:
        """The page a `nextRecordsUrl` leads to."""
        match = re.fullmatch(r"(01g\w{15})-(\d+)", request.params["locator"])
        cursor = self._cursors.get(match[1]) if match else None
        if match is None or cursor is None or self.org.clock.technical() - cursor.opened > LIFE:
            raise errors.SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        start = int(match[2])
        if start >= len(cursor.ids):
            raise errors.SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        name = cursor.plan.sobject.name
        rows = [self.org.store.seen(name, each) for each in cursor.ids[start : start + cursor.page]]
        version = request.params["version"]
        shown = [
            self._shown(cursor.plan, row, version, cursor.page, cursor.include_deleted) for row in rows if row
        ]
        return Answer(200, self._result(cursor, match[1], start + cursor.page, shown, version))

    def close_all(self) -> int:
        """Forget every cursor; how many there were."""
        count = len(self._cursors)
        self._cursors.clear()
        return count

    # -- inside -------------------------------------------------------------------------------------------------
    def _first(
        self, plan: Plan, found: list[Row], version: str, page: int, include_deleted: bool, *, nested: bool
    ) -> dict[str, Any]:
        shown = [self._shown(plan, row, version, page, include_deleted) for row in found[:page]]
        if len(found) <= page:
            return {"totalSize": len(found), "done": True, "records": shown}
        self._opened += 1
        locator = ids.mint("01g", self._opened)
        every = [row["Id"] for row in found]
        cursor = Cursor(plan, every, include_deleted, page, self.org.clock.technical(), nested)
        self._cursors[locator] = cursor
        own = [each for each, other in self._cursors.items() if not other.nested]
        for oldest in own[: max(0, len(own) - self.most_cursors)]:
            del self._cursors[oldest]
        return self._result(cursor, locator, page, shown, version)

    def _result(
        self, cursor: Cursor, locator: str, reached: int, shown: list[Any], version: str
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"totalSize": len(cursor.ids), "done": reached >= len(cursor.ids)}
        if not body["done"]:
            body["nextRecordsUrl"] = f"/services/data/v{version}/query/{locator}-{reached}"
        return {**body, "records": shown}

    def _shown(self, plan: Plan, row: Row, version: str, page: int, include_deleted: bool) -> dict[str, Any]:
        def paged(inner: Plan, found: list[Row], at: str) -> dict[str, Any]:
            return self._first(inner, found, at, page, include_deleted, nested=True)

        return show(self.org, plan.selection, row, version, paged, include_deleted=include_deleted)

    def _page_size(self, request: Request) -> int:
        if self.page_size is not None:
            return self.page_size
        match = re.search(
            r"batchSize\s*=\s*(\d{1,9})", request.headers.get("sforce-query-options", ""), re.IGNORECASE
        )
        return min(max(int(match[1]), SMALLEST), LARGEST) if match else LARGEST
