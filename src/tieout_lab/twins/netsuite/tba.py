"""Token-based authentication: OAuth 1.0a with HMAC-SHA256, checked signature by signature.

Documented: a nonce is used once, a timestamp holds for some minutes, the realm is the account. ASSUMED: five minutes
either way, and the `error` values of the WWW-Authenticate header (of the OAuth problem reporting extension).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, unquote

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request

LEEWAY = timedelta(minutes=5)
_FIELD = re.compile(r'(\w+)="([^"]*)"')
_PATH = "/:!@$&'()*+,;=~-._"  # what a path may hold unescaped


class Denied(Exception):
    """A call that is signed wrongly; the text is the error of the WWW-Authenticate header."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Consumer key and secret of the integration, id and secret of one token of it."""

    consumer_key: str
    consumer_secret: str
    token_id: str
    token_secret: str


def issue_tokens(account: str) -> Tokens:
    """Four texts of the account, as the vendor makes them: 64 hexadecimal digits."""
    made = [hashlib.sha256(f"{account}/tba/{name}".encode()).hexdigest() for name in ("k", "s", "i", "t")]
    return Tokens(*made)


class SignatureDesk:
    """Verifies signed calls; every nonce counts once."""

    def __init__(self, account: str, clock: TwinClock) -> None:
        self.account = account
        self.clock = clock
        self.tokens = issue_tokens(account)
        self.revoked = False
        self.refusals: list[str] = []
        self._nonces: dict[str, datetime] = {}

    def holds(self, request: Request) -> bool:
        """Whether a call is signed by the token, now, for the first time."""
        try:
            self._check(request)
        except Denied as denied:
            self.refusals.append(str(denied))
            return False
        return True

    def _check(self, request: Request) -> None:
        given = fields(request.headers.get("authorization", ""))
        if given.pop("realm", None) != self.account:
            raise Denied("realm_rejected")
        if given.get("oauth_consumer_key") != self.tokens.consumer_key:
            raise Denied("consumer_key_unknown")
        if given.get("oauth_token") != self.tokens.token_id or self.revoked:
            raise Denied("token_rejected")
        if given.get("oauth_signature_method") != "HMAC-SHA256" or given.get("oauth_version", "1.0") != "1.0":
            raise Denied("signature_method_rejected")
        self._check_time(given.get("oauth_timestamp", ""))
        signature = given.pop("oauth_signature", "")
        if not hmac.compare_digest(signature, self._signature(request, given)):
            raise Denied("signature_invalid")
        self._use(given.get("oauth_nonce", ""))

    def _check_time(self, stamp: str) -> None:
        seconds = int(self.clock.technical().timestamp())
        if not stamp.isdigit() or abs(seconds - int(stamp)) > LEEWAY.total_seconds():
            raise Denied("timestamp_refused")

    def _use(self, nonce: str) -> None:
        now = self.clock.technical()
        self._nonces = {known: at for known, at in self._nonces.items() if now - at <= 2 * LEEWAY}
        if not nonce.isalnum() or nonce in self._nonces:
            raise Denied("nonce_used")
        self._nonces[nonce] = now

    def _signature(self, request: Request, given: dict[str, str]) -> str:
        scheme = request.headers.get("x-forwarded-proto", "http")
        address = f"{scheme}://{request.headers.get('host', '')}{quote(request.path, safe=_PATH)}"
        pairs = sorted((_escape(name), _escape(value)) for name, value in [*given.items(), *request.query])
        query = "&".join("=".join(pair) for pair in pairs)
        text = f"{request.method}&{_escape(address)}&{_escape(query)}"
        key = f"{_escape(self.tokens.consumer_secret)}&{_escape(self.tokens.token_secret)}"
        return base64.b64encode(hmac.digest(key.encode(), text.encode(), "sha256")).decode()


def fields(authorization: str) -> dict[str, str]:
    """The fields of an OAuth header, unescaped; empty for another scheme."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "oauth":
        return {}
    return {name: unquote(value) for name, value in _FIELD.findall(rest)}


def _escape(text: str) -> str:
    return quote(text, safe="~")
