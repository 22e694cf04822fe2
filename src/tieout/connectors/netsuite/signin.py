"""Signing in to one account: OAuth 2.0 client credentials, or token-based authentication (OAuth 1.0a).

Signing in does nothing to the books: whatever goes wrong here is a `Failure`, never an unknown outcome.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from datetime import timedelta
from typing import NoReturn, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from tieout.canonical.outcome import Failure, Misconfigured, RateLimited, Transient
from tieout.connectors.http import BadBody, Http, SignIn, Token
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import CONCURRENCY, refusal
from tieout.connectors.netsuite.wire import Structs, read
from tieout.connectors.signing import signing_key
from tieout.ports import Response, TransportError, retry_after

TOKEN = "/services/rest/auth/oauth2/v1/token"  # noqa: S105
ASSERTION_SECONDS = 300
UNRESERVED = "-._~"  # beside letters and digits: RFC 5849, 3.6


class Signer(Protocol):
    """How the calls of one connection are signed."""

    async def authorization(self, method: str, url: str) -> str:
        """The Authorization header of one call. Raises Failure."""

    def refused(self, authorization: str) -> None:
        """The vendor refused a call that was signed so: do not sign the next one by the same token."""

    async def account(self) -> str:
        """The account that the sign-in says it is for; empty where it does not tell. Raises Failure."""


def signer(http: Http, config: NetSuiteConfig) -> Signer:
    """The signer that the configuration asks for."""
    return TokenBased(http, config) if config.sign_in == "tba" else ClientCredentials(http, config)


class ClientCredentials:
    """OAuth 2.0: a signed assertion for an access token of an hour, fetched once for all calls that want one."""

    def __init__(self, http: Http, config: NetSuiteConfig) -> None:
        self._http = http
        self._config = config
        self._sign_in = SignIn(self._fetch_token, http.world)
        self._held: Token | None = None

    async def authorization(self, method: str, url: str) -> str:
        del method, url  # a bearer token is good for every call
        self._held = await self._sign_in.token()
        return f"Bearer {self._held.value}"

    def refused(self, authorization: str) -> None:
        held = self._held
        if held is not None and authorization == f"Bearer {held.value}":
            self._sign_in.discard(held)

    async def account(self) -> str:
        return token_account((await self._sign_in.token()).value)

    def _assertion(self, audience: str) -> str:
        issued = int(self._http.now().timestamp())
        config = self._config
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
                signing_key(kind, config.private_key.reveal()),
                algorithms=[config.algorithm],
            )
        except (JoseError, ValueError, TypeError, binascii.Error) as error:
            # Without the cause: a parser may quote the key.
            blocked = self._http.blocked(
                f"the private key cannot sign {config.algorithm}: {type(error).__name__}"
            )
        raise Failure(blocked)

    async def _fetch_token(self) -> Token:
        url = self._config.base + TOKEN
        form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self._assertion(url),
            }
        )
        try:
            response = await self._http.exchange(
                "POST",
                url,
                headers={"content-type": "application/x-www-form-urlencoded", "accept": "application/json"},
                body=form.encode(),
                operation="sign_in",
                timeout_seconds=self._config.timeout_seconds,
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
        expires_at = self._http.now() + timedelta(seconds=seconds)
        return Token(value=answer.access_token, expires_at=expires_at, base_url=self._config.base)

    def _sign_in_refused(self, response: Response) -> NoReturn:
        said = refusal(response)
        if 400 <= response.status < 404 and said.code not in CONCURRENCY:
            raise Failure(self._http.blocked(f"sign-in refused: {response.status} {said.code}".strip()))
        if 300 <= response.status < 400:
            raise Failure(self._http.blocked(f"sign-in: {response.status}: a redirect was refused"))
        at = retry_after(response, self._http.now())
        if response.status == 429 or said.code in CONCURRENCY:
            raise Failure(RateLimited(reason="sign-in", retry_at=at))
        raise Failure(Transient(reason=f"sign-in: {response.status}", retry_at=at))

    def _check_account(self, access_token: str) -> None:
        """The access token names the account it is for; one of another account stops the connection."""
        account = token_account(access_token)
        if account and canonical_account(account) != canonical_account(self._config.account):
            raise Failure(wrong_account(self._http.name, self._config, account))


class TokenBased:
    """OAuth 1.0a, HMAC-SHA256: each call is signed anew, with a nonce and the time. There is nothing to renew; the
    account is part of what is signed (`realm`), so that no other one can answer."""

    def __init__(self, http: Http, config: NetSuiteConfig) -> None:
        self._http = http
        self._config = config

    async def authorization(self, method: str, url: str) -> str:
        config = self._config
        given = {
            "oauth_consumer_key": config.consumer_key,
            "oauth_token": config.token_id,
            "oauth_nonce": self._http.world.chance.token(16).hex(),
            "oauth_timestamp": str(int(self._http.now().timestamp())),
            "oauth_signature_method": "HMAC-SHA256",
            "oauth_version": "1.0",
        }
        secret = f"{escaped(config.consumer_secret.reveal())}&{escaped(config.token_secret.reveal())}"
        signed = hmac.new(secret.encode(), base_string(method, url, given).encode(), hashlib.sha256)
        given["oauth_signature"] = base64.b64encode(signed.digest()).decode()
        fields = ", ".join(f'{name}="{escaped(value)}"' for name, value in given.items())
        return f'OAuth realm="{canonical_account(config.account)}", {fields}'

    def refused(self, authorization: str) -> None:
        """The next call has a nonce and a time of its own anyway."""

    async def account(self) -> str:
        return canonical_account(self._config.account)


def escaped(text: str) -> str:
    """Percent-encoding as RFC 5849, 3.6 wants it."""
    return quote(text, safe=UNRESERVED)


def base_string(method: str, url: str, oauth: dict[str, str]) -> str:
    """What is signed (RFC 5849, 3.4.1): method, address without query, and all parameters in order. A JSON body is
    no part of it."""
    parts = urlsplit(url)
    pairs = [(escaped(name), escaped(value)) for name, value in oauth.items()]
    pairs += [
        (escaped(name), escaped(value)) for name, value in parse_qsl(parts.query, keep_blank_values=True)
    ]
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs))
    address = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}"
    return "&".join((method.upper(), escaped(address), escaped(query)))


def wrong_account(name: str, config: NetSuiteConfig, account: str) -> Misconfigured:
    """Another account than the pinned one answers."""
    return Misconfigured(
        scope="connection",
        key=name,
        message=f"the account that answers is {account}, pinned is {config.account}",
        remedy=f"set url, account and credentials of {name} to one and the same account",
    )


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
