"""Sign-in and HTTP of one NetSuite account.

A write answers its `Response` or raises `Failure` when it is certain that nothing was done; reads raise `Failure`,
`NotFound`. The access token is the only thing remembered.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import NoReturn, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from tieout.canonical.outcome import Failure, Misconfigured, NotFound, RateLimited, Transient
from tieout.connectors.contract import World
from tieout.connectors.http import BadBody, Http, SignIn, Token, retry_after
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import CONCURRENCY, Refusal, refusal
from tieout.connectors.netsuite.wire import Row, RowPage, Structs, read
from tieout.ports import Response, TransportError

W = TypeVar("W")

RECORDS = "/services/rest/record/v1/"
SUITEQL = "/services/rest/query/v1/suiteql"
TOKEN = "/services/rest/auth/oauth2/v1/token"  # noqa: S105
ASSERTION_SECONDS = 300
_encoder = msgspec.json.Encoder(decimal_format="number")


class QueryRefused(Exception):
    """The account does not answer this query (a table or a column that it has not)."""


class NetSuiteClient:
    """The calls of one connection."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self.http = Http(name, world)
        self.config = config
        self._sign_in = SignIn(self._fetch_token, world)
        self._signed: tuple[Token, dict[str, str], dict[str, str], dict[str, str]] | None = None
        self._in_flight = 0

    @property
    def name(self) -> str:
        return self.http.name

    # -- sign-in --------------------------------------------------------------------------------------------------
    def _assertion(self, audience: str) -> str:
        issued = int(self.http.now().timestamp())
        config = self.config
        kind = ECKey if config.algorithm.startswith("ES") else RSAKey
        try:
            return jwt.encode(
                {"typ": "JWT", "alg": config.algorithm, "kid": config.certificate_id},
                {
                    "iss": config.client_id,
                    "scope": "restlets,rest_webservices",
                    "aud": audience,
                    "iat": issued,
                    "exp": issued + ASSERTION_SECONDS,
                },
                kind.import_key(config.private_key.reveal()),
                algorithms=[config.algorithm],
            )
        except (JoseError, ValueError, TypeError, binascii.Error) as error:
            # Without the cause: a parser may quote the key.
            blocked = self.http.blocked(
                f"the private key cannot sign {config.algorithm}: {type(error).__name__}"
            )
        raise Failure(blocked)

    async def _fetch_token(self) -> Token:
        """A fresh access token. Raises Failure: signing in does nothing to the books."""
        url = self.config.base + TOKEN
        form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(url),
            }
        )
        try:
            response = await self.http.exchange(
                "POST",
                url,
                headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
                body=form.encode(),
                operation="sign_in",
                timeout_seconds=self.config.timeout_seconds,
            )
        except TransportError as error:
            raise Failure(Transient(reason=f"sign-in: {error.reason}")) from None
        if response.status != 200:
            self._sign_in_refused(response)
        try:
            answer = read(Structs.token, response.body)
            seconds = int(answer.expires_in)
        except (BadBody, ValueError):
            raise Failure(Transient(reason="sign-in: an answer that is no token")) from None
        self._check_account(answer.access_token)
        expires_at = self.http.now() + timedelta(seconds=seconds)
        return Token(value=answer.access_token, expires_at=expires_at, base_url=self.config.base)

    def _sign_in_refused(self, response: Response) -> NoReturn:
        said = refusal(response)
        if 400 <= response.status < 404 and said.code not in CONCURRENCY:
            raise Failure(self.http.blocked(f"sign-in refused: {response.status} {said.code}".strip()))
        if 300 <= response.status < 400:
            raise Failure(self.http.blocked(f"sign-in: {response.status}: a redirect was refused"))
        if response.status == 429 or said.code in CONCURRENCY:
            raise Failure(RateLimited(reason="sign-in", retry_at=retry_after(response, self.http.now())))
        raise Failure(
            Transient(reason=f"sign-in: {response.status}", retry_at=retry_after(response, self.http.now()))
        )

    def _check_account(self, access_token: str) -> None:
        """The access token names the account it is for; one of another account stops the connection."""
        account = token_account(access_token)
        if account and canonical_account(account) != canonical_account(self.config.account):
            raise Failure(self.wrong_account(account))

    def wrong_account(self, account: str) -> Misconfigured:
        return Misconfigured(
            scope="connection",
            key=self.name,
            message=f"the account that answers is {account}, pinned is {self.config.account}",
            remedy=f"set url, account and credentials of {self.name} to one and the same account",
        )

    async def account(self) -> str:
        """The account that the sign-in says it is for (empty where the token does not tell)."""
        return token_account((await self._sign_in.token()).value)

    # -- calls ----------------------------------------------------------------------------------------------------
    def _headers(self, token: Token, path: str, *, body: bool) -> dict[str, str]:
        signed = self._signed
        if signed is None or signed[0] is not token:
            reading = {"authorization": f"Bearer {token.value}", "accept": "application/json"}
            query = {**reading, "content-type": "application/json", "prefer": "transient"}
            # Without it a mistyped field name is dropped in silence, and the document is posted without it.
            writing = {
                **reading,
                "content-type": "application/json",
                "x-netsuite-propertynamevalidation": "Error",
            }
            signed = self._signed = (token, reading, query, writing)
        if path.startswith(SUITEQL):
            return signed[2]
        return signed[3] if body else signed[1]

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        operation: str,
        lane: str = "",
        timeout_seconds: float | None = None,
    ) -> Response:
        """One call, signed in; a 401 is tried once more with a fresh token, which is safe: nothing was done.

        Raises TransportError, and Failure when it was not let in."""
        self._in_flight += 1
        try:
            token = await self._sign_in.token()
            response = await self._once(token, method, path, body, operation, lane, timeout_seconds)
            if response.status != 401:
                return response
            self._sign_in.discard(token)
            token = await self._sign_in.token()
            response = await self._once(token, method, path, body, operation, lane, timeout_seconds)
            if response.status == 401:
                said = refusal(response)
                if said.code == "INVALID_LOGIN" and self._in_flight > 1:
                    # Overload shows as a refused login too: with others under way the limit is the likelier cause.
                    raise Failure(RateLimited(reason="INVALID_LOGIN with a fresh token under load"))
                raise Failure(self.http.blocked(f"401 {said.code} with a fresh token".strip()))
            return response
        finally:
            self._in_flight -= 1

    async def _once(
        self,
        token: Token,
        method: str,
        path: str,
        body: bytes,
        operation: str,
        lane: str,
        timeout_seconds: float | None,
    ) -> Response:
        return await self.http.exchange(
            method,
            self.config.base + path,
            headers=self._headers(token, path, body=bool(body)),
            body=body,
            operation=operation,
            lane=lane,
            timeout_seconds=timeout_seconds or self.config.timeout_seconds,
        )

    async def write(
        self, method: str, path: str, document: Mapping[str, object], *, operation: str, lane: str = ""
    ) -> Response:
        """Send a record. Raises TransportError, Failure."""
        body = _encoder.encode(document)
        return await self.call(method, RECORDS + path, body=body, operation=operation, lane=lane)

    async def fetch(
        self, decoder: msgspec.json.Decoder[W], path: str, *, operation: str, lane: str = ""
    ) -> W:
        """Read one record. Raises NotFound, Failure."""
        try:
            response = await self.call("GET", RECORDS + path, operation=operation, lane=lane)
        except TransportError as error:
            self.http.read_failed(error)
        if response.status == 404:
            raise NotFound(path)
        if response.status != 200:
            self._read_refused(response, refusal(response))
        return _body(decoder, response)

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
            response = await self.call("POST", path, body=body, operation=operation, lane=lane)
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
        except QueryRefused as error:
            raise Failure(self.http.blocked(f"query refused: {error}")) from None

    async def query_by_id(self, query: str, column: str, *, operation: str) -> AsyncIterator[list[Row]]:
        """Pages of a query over a growing id (`{after}` in it): no limit of 100,000 rows, nothing shifts between
        pages. Rows come in order of `column`."""
        after = 0
        while True:
            try:
                page = await self.query_page(query.format(after=after), operation=operation)
            except QueryRefused as error:
                raise Failure(self.http.blocked(f"query refused: {error}")) from None
            if page.items:
                yield page.items
                last = int(page.items[-1][column])
                if last <= after:
                    raise Failure(Transient(reason="a page of the listing repeats"))
                after = last
            if not page.has_more or not page.items:
                return


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


def canonical_account(account: str) -> str:
    """Account ids are written `1234567_SB1` and, in host names, `1234567-sb1`."""
    return account.strip().upper().replace("-", "_")


def is_live(account: str) -> bool:
    """Whether an account id is of a production account: sandboxes end in `_SBn`, release previews in `_RPn`, demo
    accounts begin with `TSTDRV` or `TD`."""
    name = canonical_account(account)
    stem, _, suffix = name.partition("_")
    return not (suffix.startswith(("SB", "RP")) or stem.startswith(("TSTDRV", "TD")))


def token_account(access_token: str) -> str:
    """The account in an access token's payload: `aud` is `<application>;<account>`, then the client id. Empty when
    the token is opaque."""
    parts = access_token.split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = read(Structs.claims, base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (BadBody, ValueError):
        return ""
    audience = claims.aud.split(",") if isinstance(claims.aud, str) else claims.aud
    return next((one.partition(";")[2].strip() for one in audience if ";" in one), "")
