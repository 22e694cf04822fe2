"""HTTP of one NetSuite account.

A write answers its `Response` or raises `Failure` when it is certain that nothing was done; reads raise `Failure`,
`NotFound`. The access token, and when a call was last let in, are all that is remembered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NoReturn, TypeVar
from urllib.parse import quote

import msgspec

from tieout.canonical.outcome import (
    Failure,
    Misconfigured,
    NotFound,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.connectors.contract import World
from tieout.connectors.http import BadBody, Http
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import CONCURRENCY, Refusal, login_error, refusal
from tieout.connectors.netsuite.signin import signer, wrong_account
from tieout.connectors.netsuite.wire import Row, RowPage, Structs, read
from tieout.ports import Response, TransportError, retry_after

W = TypeVar("W")

RECORDS = "/services/rest/record/v1/"
SUITEQL = "/services/rest/query/v1/suiteql"
READING = {"accept": "application/json"}
QUERYING = {**READING, "content-type": "application/json", "prefer": "transient"}
# Without it a mistyped field name is dropped in silence, and the document is posted without it.
STRICT = {"x-netsuite-propertynamevalidation": "Error"}
WRITING = {**READING, "content-type": "application/json", **STRICT}
BATCHING = {
    **READING,
    "content-type": "application/vnd.oracle.resource+json; type=collection",
    "prefer": "respond-async",
    **STRICT,
}
KEY = "x-netsuite-idempotency-key"
MOST_ROWS = 100_000  # that the vendor shows of one query
LOWEST_ID = -1_000_000_000  # what an account is set up with may have negative internal ids
# How long a call that was let in speaks for the credentials: after that, a refused login is what it says.
PROOF_SECONDS = 120
SKEW_SECONDS = 120
_encoder = msgspec.json.Encoder(decimal_format="number")


class QueryRefused(Exception):
    """The account does not answer this query (a table or a column that it has not)."""


class NetSuiteClient:
    """The calls of one connection."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self.http = Http(name, world)
        self.config = config
        self._signer = signer(self.http, config)
        self._in_flight = 0
        self._let_in: datetime | None = None

    @property
    def name(self) -> str:
        return self.http.name

    def wrong_account(self, account: str) -> Misconfigured:
        return wrong_account(self.name, self.config, account)

    async def account(self) -> str:
        """The account that the sign-in says it is for (empty where it does not tell)."""
        return await self._signer.account()

    # -- calls ----------------------------------------------------------------------------------------------------
    async def call(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        operation: str,
        lane: str = "",
        timeout_seconds: float | None = None,
    ) -> Response:
        """One call, signed; a 401 is tried once more, signed afresh, which is safe: nothing was done.

        Raises TransportError, and Failure when it was not let in."""
        url = self.config.base + path
        self._in_flight += 1
        try:
            again = True
            while True:
                authorization = await self._signer.authorization(method, url)
                response = await self.http.exchange(
                    method,
                    url,
                    headers={**headers, "authorization": authorization},
                    body=body,
                    operation=operation,
                    lane=lane,
                    timeout_seconds=timeout_seconds or self.config.timeout_seconds,
                )
                if response.status != 401:
                    self._let_in = self.http.now()
                    return response
                self._signer.refused(authorization)
                if not again:
                    raise Failure(self._login_refused(response))
                again = False
        finally:
            self._in_flight -= 1

    def _login_refused(self, response: Response) -> RateLimited | Misconfigured:
        """Overload shows as a refused login too. What tells them apart: others under way, and a call that was let in
        by the same credentials a moment ago. A revoked token leaves neither standing for long."""
        said, now = refusal(response), self.http.now()
        proven = self._let_in is not None and now - self._let_in < timedelta(seconds=PROOF_SECONDS)
        if said.code == "INVALID_LOGIN" and self._in_flight > 1 and proven:
            return RateLimited(reason="INVALID_LOGIN, freshly signed, while others are let in")
        words = f"401 {said.code} {login_error(response)}".strip() + ", freshly signed"
        if self.config.sign_in == "tba" and (skew := _skew_seconds(response, now)):
            words += f"; our clock and theirs differ by {skew} s"
        return self.http.blocked(words)

    async def write(
        self, method: str, path: str, document: Mapping[str, object], *, operation: str, lane: str = ""
    ) -> Response:
        """Send a record. Raises TransportError, Failure."""
        return await self.call(
            method,
            RECORDS + path,
            headers=WRITING,
            body=_encoder.encode(document),
            operation=operation,
            lane=lane,
        )

    async def submit(
        self, method: str, record: str, items: list[Mapping[str, object]], key: str, *, operation: str
    ) -> Response:
        """Submit a batch of records of one type; `key` is its idempotency key (a UUID). Raises TransportError,
        Failure."""
        body = _encoder.encode({"items": items})
        headers = {**BATCHING, KEY: key}
        return await self.call(method, RECORDS + record, headers=headers, body=body, operation=operation)

    async def fetch(
        self, decoder: msgspec.json.Decoder[W], path: str, *, operation: str, lane: str = ""
    ) -> W:
        """Read one record. Raises NotFound, Failure."""
        try:
            response = await self.call("GET", RECORDS + path, headers=READING, operation=operation, lane=lane)
        except TransportError as error:
            self.http.read_failed(error)
        if response.status == 404:
            raise NotFound(path)
        if response.status != 200:
            self._read_refused(response, refusal(response))
        return _body(decoder, response)

    async def look(self, path: str, *, operation: str) -> Response:
        """The raw answer at an address of the account. Raises Failure."""
        try:
            return await self.call("GET", path, headers=READING, operation=operation)
        except TransportError as error:
            self.http.read_failed(error)

    def _read_refused(self, response: Response, said: Refusal) -> NoReturn:
        if said.code in CONCURRENCY:
            raise Failure(RateLimited(reason=said.code, retry_at=retry_after(response, self.http.now())))
        if 200 <= response.status < 300:
            raise Failure(Transient(reason=f"{response.status} where 200 is documented"))
        self.http.read_status(response, said.code, said.message)

    async def query_page(
        self, query: str, offset: int = 0, *, operation: str = "query", lane: str = ""
    ) -> RowPage:
        """One page of SuiteQL. Raises QueryRefused, Failure."""
        path = f"{SUITEQL}?limit={self.config.page_size}&offset={offset}"
        body = _encoder.encode({"q": query})
        try:
            response = await self.call(
                "POST", path, headers=QUERYING, body=body, operation=operation, lane=lane
            )
        except TransportError as error:
            self.http.read_failed(error)
        if response.status != 200:
            said = refusal(response)
            if response.status == 400 and said.documented and said.code not in CONCURRENCY:
                raise QueryRefused(f"{said.code} {said.message}".strip())
            self._read_refused(response, said)
        return _body(Structs.rows, response)

    async def query(self, query: str, *, operation: str = "query", lane: str = "") -> list[Row]:
        """All rows of a query. Raises Failure, also for a page that repeats."""
        rows: list[Row] = []
        try:
            while True:
                page = await self.query_page(query, len(rows), operation=operation, lane=lane)
                if rows and page.items and page.items == rows[-len(page.items) :]:
                    raise Failure(Transient(reason="a page of the query repeats"))
                rows += page.items
                if not page.has_more:
                    return rows
                if not page.items:
                    raise Failure(Transient(reason="an empty page that says there is more"))
                if len(rows) >= MOST_ROWS:
                    raise Failure(too_many_rows(query))
        except QueryRefused as error:
            raise Failure(self.http.blocked(f"query refused: {error}")) from None

    async def query_by_id(
        self, query: str, column: str, *, operation: str, after: int = 0
    ) -> AsyncIterator[list[Row]]:
        """Pages of a query over a growing id (`{after}` in it): no limit of 100,000 rows, nothing shifts between
        pages. Rows come in order of `column`. Raises QueryRefused, Failure, also for a page that repeats."""
        while True:
            page = await self.query_page(query.format(after=after), operation=operation)
            if page.items:
                ids = [int(row[column]) for row in page.items]
                if ids[0] <= after or ids != sorted(ids):
                    raise Failure(Transient(reason="a page of the listing repeats, or is out of order"))
                yield page.items
                after = ids[-1]
            if not page.has_more:
                return
            if not page.items:
                raise Failure(Transient(reason="an empty page that says there is more"))

    async def listing(self, query: str, column: str, *, operation: str) -> AsyncIterator[list[Row]]:
        """As `query_by_id`; a query that the account does not answer blocks the connection. Raises Failure."""
        try:
            async for rows in self.query_by_id(query, column, operation=operation):
                yield rows
        except QueryRefused as error:
            raise Failure(self.http.blocked(f"query refused: {error}")) from None


def too_many_rows(query: str) -> Rejected:
    """More rows than the vendor shows of one query: what came is not all there is."""
    return Rejected(
        code="TOO_MANY_ROWS", message=f"more than {MOST_ROWS} rows, which is not all of them: {query}"
    )


def _skew_seconds(response: Response, now: datetime) -> int:
    """By how much our clock differs from the one that dated the answer; 0 when it hardly does or says nothing."""
    try:
        theirs = parsedate_to_datetime(response.headers.get("date", ""))
        skew = round((now - theirs).total_seconds())
    except (TypeError, ValueError):
        return 0
    return skew if abs(skew) > SKEW_SECONDS else 0


def _body(decoder: msgspec.json.Decoder[W], response: Response) -> W:
    """The body of a read; one that is not what is documented is read again later."""
    try:
        return read(decoder, response.body)
    except BadBody as error:
        raise Failure(Transient(reason=str(error))) from None


def eid(key: str) -> str:
    """The path segment that names a record by its external id."""
    return "eid:" + quote(key, safe="")


def text(value: str) -> str:
    """A text as a literal of the vendor's query language."""
    return "'" + value.replace("'", "''") + "'"
