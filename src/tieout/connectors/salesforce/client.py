"""The calls of one org: sign-in, queries with all their pages, one write; status and errorCode -> outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from typing import NoReturn
from urllib.parse import quote, urlencode, urlsplit

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from tieout.canonical.outcome import (
    Failure,
    Misconfigured,
    RateLimited,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.connectors.contract import World, connection_blocked
from tieout.connectors.http import BadBody, Http, SignIn, Token
from tieout.connectors.salesforce import budget, wire
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.soql import id18
from tieout.connectors.signing import signing_key
from tieout.ports import Response, TransportError, retry_after

FORM = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
ASSERTION_SECONDS = 180
# The whole request was refused because of something that concerns every record of the connection.
SETUP_CODES = frozenset(
    {
        "INVALID_SESSION_ID",
        "InvalidSessionId",
        "INVALID_AUTH_HEADER",
        "INVALID_FIELD",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "INVALID_TYPE",
        "API_DISABLED_FOR_ORG",
        "API_CURRENTLY_DISABLED",
        "UNSUPPORTED_API_VERSION",
        "FUNCTIONALITY_NOT_ENABLED",
    }
)
FIELD_CODES = frozenset({"INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE", "INVALID_TYPE"})
# Definitely not done, whatever the status (a row lock is 400 in the documentation and 500 in the field).
LATER_CODES = frozenset({"UNABLE_TO_LOCK_ROW", "INVALID_QUERY_LOCATOR", "QUERY_TIMEOUT"})
LIMIT_CODES = frozenset({"REQUEST_LIMIT_EXCEEDED", "TOO_MANY_REQUESTS"})
# 403 for one record, not for the connection.
RECORD_CODES = frozenset(
    {
        "INSUFFICIENT_ACCESS_OR_READONLY",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "INSUFFICIENT_ACCESS",
        "ENTITY_IS_LOCKED",
    }
)
BUSY_SIGN_IN = frozenset({"server_error", "temporarily_unavailable", "unknown_error"})


class Client:
    """Signed-in calls. Reads raise Failure; `write` answers a Response below 300 (or 300), else an outcome."""

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        self.http = Http(name, world)
        self.config = config
        self.usage: wire.Usage | None = None
        self.data = f"/services/data/v{config.api_version}"
        self._login = config.login_url.rstrip("/")
        self._sign_in = SignIn(self._fetch_token, world)
        self._token: Token | None = None
        self._headers: dict[str, str] = {}
        self._confirmed = False

    # -- sign-in ------------------------------------------------------------------------------------------------

    async def token(self) -> Token:
        """The present access token. Raises Failure: nothing was sent."""
        return await self._sign_in.token()

    def discard(self, token: Token) -> None:
        """Forget a token that was refused, so that the next call signs in anew."""
        self._sign_in.discard(token)

    async def _fetch_token(self) -> Token:
        try:
            response = await self.http.exchange(
                "POST",
                f"{self._login}/services/oauth2/token",
                headers=FORM,
                body=self._grant(),
                operation="sign_in",
                timeout_seconds=self.config.timeout_seconds,
            )
        except TransportError as error:
            raise Failure(Transient(reason=f"sign-in: {error.reason}")) from error
        if response.status != 200:
            raise Failure(self._sign_in_refused(response))
        try:
            answer = wire.decode(wire.TOKEN, response.body)
        except BadBody as error:
            raise Failure(Transient(reason=f"sign-in: {error}")) from error
        token = self._pinned(answer)
        if not self._confirmed:
            await self._confirm(token)
            self._confirmed = True
        return token

    def _grant(self) -> bytes:
        config = self.config
        if config.auth == "client_credentials":
            return urlencode(
                {
                    "grant_type": "client_credentials",
                    "client_id": config.consumer_key,
                    "client_secret": config.client_secret.reveal(),
                }
            ).encode()
        try:
            key = signing_key(RSAKey, config.private_key.reveal())
            expires_at = self.http.now() + timedelta(seconds=ASSERTION_SECONDS)
            claims = {
                "iss": config.consumer_key,
                "sub": config.username,
                "aud": (config.audience or config.login_url).rstrip("/"),
                "exp": int(expires_at.timestamp()),
            }
            assertion = jwt.encode({"alg": "RS256"}, claims, key, algorithms=["RS256"])
        except (JoseError, ValueError, TypeError):
            # The library's words may hold the key: they are left out, and so is the chain.
            raise Failure(self._setup("private_key is no RSA key in PEM form", "mend private_key")) from None
        return urlencode(
            {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        ).encode()

    def _sign_in_refused(self, response: Response) -> Transient | RateLimited | Misconfigured:
        status = response.status
        code, words = wire.read_error(response)
        if status == 429 or "rate exceeded" in words.lower() or code in LIMIT_CODES:
            return RateLimited(reason=f"sign-in: {code}", retry_at=retry_after(response, self.http.now()))
        if status >= 500 or status == 408 or code in BUSY_SIGN_IN:
            return Transient(
                reason=f"sign-in: {status} {code}", retry_at=retry_after(response, self.http.now())
            )
        if 300 <= status < 400:
            return self.http.blocked("sign-in: a redirect to another address was refused")
        remedy = "check login_url, consumer_key, username and key, and that the app is approved for this user"
        return self._setup(f"sign-in was refused: {status} {code} {self._redacted(words)}".rstrip(), remedy)

    def _redacted(self, words: str) -> str:
        config = self.config
        for hidden in (config.client_secret.reveal(), config.private_key.reveal(), config.username):
            if hidden:
                words = words.replace(hidden, "***")
        return words[:200]

    def _pinned(self, answer: wire.TokenAnswer) -> Token:
        """The token, when it is of the org that the connection is pinned to."""
        parts = answer.id.rstrip("/").split("/")
        organisation = id18(parts[-2]) if len(parts) > 2 else ""
        if not organisation.startswith("00D"):
            raise Failure(Transient(reason="sign-in: the answer does not name the org"))
        if self.config.org_id and organisation != self.config.org_id:
            raise Failure(
                self._setup(
                    f"signed in to org {organisation}, but the connection is pinned to {self.config.org_id}",
                    "mend login_url and credentials, or org_id if the org is meant to be another one",
                )
            )
        instance, login = urlsplit(answer.instance_url), urlsplit(self._login)
        if not instance.hostname or (login.scheme == "https" and instance.scheme != "https"):
            raise Failure(self._setup("sign-in named an instance without https", "check login_url"))
        base_url = f"{instance.scheme}://{instance.netloc}"
        return Token(value=answer.access_token, expires_at=None, base_url=base_url, organisation=organisation)

    async def _confirm(self, token: Token) -> None:
        """Once per process: live or sandbox, before anything is read or written."""
        path = self._query_path("SELECT Id, IsSandbox FROM Organization", deleted=False)
        try:
            response = await self._exchange(token, "GET", path, b"", "organization.fetch", "")
        except TransportError as error:
            raise Failure(Transient(reason=f"sign-in: {error.reason}")) from error
        if response.status in (404, 410):
            version = self.config.api_version
            remedy = "write the api_version that `tieout check` or GET /services/data/ names"
            raise Failure(self._setup(f"the org does not offer API version {version}", remedy))
        if response.status != 200:
            self._read_refused(response)
        rows = self._page(response).records
        live = bool(rows) and not wire.flag(rows[0], "IsSandbox")
        if not rows or live != self.config.live:
            found = "no Organization record" if not rows else "production" if live else "a sandbox"
            raise Failure(
                self._setup(
                    f"the org is {found}, but the connection says live = {str(self.config.live).lower()}",
                    "mend login_url, or set live as the org is",
                )
            )

    def _setup(self, message: str, remedy: str) -> Misconfigured:
        return connection_blocked(self.http.name, message, remedy)

    # -- calls --------------------------------------------------------------------------------------------------

    async def _exchange(
        self, token: Token, method: str, path: str, body: bytes, operation: str, lane: str, mime: str = ""
    ) -> Response:
        # Built from the token of this very call: a download that kept an old one would die in its middle.
        if self._token is not token:
            self._headers = {
                "authorization": f"Bearer {token.value}",
                "accept": "application/json",
                "content-type": "application/json",
                "sforce-call-options": "client=tieout",
                "sforce-query-options": f"batchSize={self.config.query_page_size}",
            }
            self._token = token
        response = await self.http.exchange(
            method,
            token.base_url + path,
            headers=self._headers | {"content-type": mime, "accept": mime} if mime else self._headers,
            body=body,
            operation=operation,
            lane=lane,
            timeout_seconds=self.config.timeout_seconds,
        )
        limit = response.headers.get("sforce-limit-info")
        if limit:
            self.usage = wire.read_usage(limit) or self.usage
        return response

    async def call(
        self, method: str, path: str, body: bytes, operation: str, lane: str = "", *, mime: str = ""
    ) -> Response:
        """One call; a session that has ended is renewed once and the call repeated, which is safe: nothing was done.
        Raises TransportError, and Failure where signing in fails. `mime`: other than JSON, both ways."""
        token = await self._sign_in.token()
        response = await self._exchange(token, method, path, body, operation, lane, mime)
        if wire.session_ended(response):
            self._sign_in.discard(token)
            token = await self._sign_in.token()
            response = await self._exchange(token, method, path, body, operation, lane, mime)
            if wire.session_ended(response):
                self._sign_in.discard(token)
        return response

    def spare(self) -> None:
        """Raises Failure where what is left of the day's calls is kept for writes."""
        wait = budget.reserved(self.usage, self.http.now())
        if wait is not None:
            raise Failure(wait)

    async def read(
        self,
        path: str,
        operation: str,
        *,
        lane: str = "",
        method: str = "GET",
        body: bytes = b"",
        mime: str = "",
        expected: tuple[int, ...] = (200,),
    ) -> Response:
        """One read, or a call that is safe to repeat. Raises Failure."""
        try:
            response = await self.call(method, path, body, operation, lane, mime=mime)
        except TransportError as error:
            self.http.read_failed(error)
        if response.status not in expected:
            self._read_refused(response)
        return response

    def _read_refused(self, response: Response) -> NoReturn:
        code, words = wire.read_error(response)
        outcome = self.by_code(code, words, retry_after(response, self.http.now()))
        if outcome is not None:
            raise Failure(outcome)
        if response.status < 300:
            raise Failure(Transient(reason=f"{response.status} where 200 is documented"))
        self.http.read_status(response, code, words)

    def by_code(
        self, code: str, words: str, retry_at: datetime | None = None
    ) -> Transient | RateLimited | Misconfigured | Rejected | None:
        """What an errorCode says, where it says more than the status."""
        if code in LIMIT_CODES:
            # Concurrent calls free themselves in seconds; the day's allowance comes back by the hour.
            spent = "totalrequests" in words.lower()
            return RateLimited(
                reason=f"{code} {words}",
                retry_at=retry_at or (budget.later(self.http.now()) if spent else None),
            )
        if code in LATER_CODES:
            return Transient(reason=f"{code} {words}", retry_at=retry_at)
        if code in FIELD_CODES:
            return self._setup(
                f"{code} {words}",
                "give the integration user the permission set with this field, or name another in `fields`",
            )
        if code in SETUP_CODES:
            return self.http.blocked(f"{code} {words}")
        if code in RECORD_CODES:
            return Rejected(code=code, message=words)
        return None

    def refused(self, response: Response) -> SendOutcome:
        """What became of a write that was not answered as success."""
        code, words = wire.read_error(response)
        at = retry_after(response, self.http.now())
        return self.by_code(code, words, at) or self.http.send_status(response, code, words)

    async def write(
        self, method: str, path: str, body: bytes, operation: str, lane: str
    ) -> Response | SendOutcome:
        """One write: the answer below 400 that is no redirect, else what became of it."""
        try:
            response = await self.call(method, path, body, operation, lane)
        except TransportError as error:
            return self.http.send_failed(error)
        except Failure as error:  # sign-in: nothing was sent
            return error.outcome
        if response.status < 300 or response.status == 300:
            return response
        return self.refused(response)

    # -- queries ------------------------------------------------------------------------------------------------

    def _query_path(self, soql: str, *, deleted: bool) -> str:
        resource = "queryAll" if deleted else "query"
        return f"{self.data}/{resource}?q={quote(soql, safe='')}"

    def _page(self, response: Response) -> wire.Page:
        try:
            return wire.decode(wire.PAGE, response.body)
        except BadBody as error:
            raise Failure(Transient(reason=f"query: {error}")) from error

    async def pages(
        self, soql: str, operation: str, *, lane: str = "", deleted: bool = False
    ) -> AsyncIterator[wire.Page]:
        """Every page of a query. Raises Failure."""
        first = self._page(await self.read(self._query_path(soql, deleted=deleted), operation, lane=lane))
        yield first
        async for page in self.following(first, operation, lane=lane):
            yield page

    async def following(self, page: wire.Page, operation: str, *, lane: str = "") -> AsyncIterator[wire.Page]:
        """The pages after one, to the end. A page that names itself or an earlier one again is refused."""
        passed: set[str] = set()
        while not page.done:
            path = page.next_records_url
            if not path.startswith("/services/data/") or path in passed:
                fault = "a page that repeats" if path in passed else "a next page outside the API"
                raise Failure(Transient(reason=f"{operation}: {fault} was refused"))
            passed.add(path)
            page = self._page(await self.read(path, operation, lane=lane))
            yield page

    async def rows(
        self, soql: str, operation: str, *, lane: str = "", deleted: bool = False
    ) -> list[dict[str, object]]:
        """Every row of a query."""
        found: list[dict[str, object]] = []
        async for page in self.pages(soql, operation, lane=lane, deleted=deleted):
            found += page.records
        return found

    async def first_pages(
        self, queries: Mapping[str, str], operation: str, *, lane: str = ""
    ) -> tuple[dict[str, wire.Page], datetime | None]:
        """The first page of up to five queries (deleted records included) in one call, which counts as one, and
        the vendor's time. Keys are reference ids. Raises Failure: then there is no page of any."""
        headers = {"Sforce-Query-Options": f"batchSize={self.config.query_page_size}"}
        parts = [
            {
                "method": "GET",
                "url": self._query_path(soql, deleted=True),
                "referenceId": name,
                "httpHeaders": headers,
            }
            for name, soql in queries.items()
        ]
        body = msgspec.json.encode({"allOrNone": False, "compositeRequest": parts})
        response = await self.read(f"{self.data}/composite", operation, lane=lane, method="POST", body=body)
        try:
            answers = wire.decode(wire.COMPOSITE, response.body).composite_response
        except BadBody as error:
            raise Failure(Transient(reason=f"{operation}: {error}")) from error
        pages: dict[str, wire.Page] = {}
        for answer in answers:
            inner = Response(status=answer.http_status_code, headers={}, body=bytes(answer.body))
            if inner.status != 200:
                self._read_refused(inner)
            pages[answer.reference_id or ""] = self._page(inner)
        if pages.keys() != queries.keys():
            raise Failure(Transient(reason=f"{operation}: an answer is missing"))
        return pages, wire.server_time(response)
