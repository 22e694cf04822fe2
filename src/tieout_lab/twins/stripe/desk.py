"""The twin's front desk: signs callers in, checks version and parameters, keeps idempotency, words answers."""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request, Response, Twin
from tieout_lab.twins.stripe import cycles
from tieout_lab.twins.stripe.accounts import API_VERSION, Account, Obj, Settings
from tieout_lab.twins.stripe.delivery import Webhooks
from tieout_lab.twins.stripe.errors import Refusal, invalid, missing
from tieout_lab.twins.stripe.form import checked
from tieout_lab.twins.stripe.idempotency import Keys
from tieout_lab.twins.stripe.pages import present

ACCOUNTS = (
    ("acct_us", "sk_test_us", "whsec_us", "Tieout Demo Inc", "US", "usd", "America/Los_Angeles"),
    ("acct_jp", "sk_test_jp", "whsec_jp", "Tieout Demo KK", "JP", "jpy", "Asia/Tokyo"),
)


@dataclass(slots=True)
class Call:
    """One call as the endpoint sees it: whose, with which typed parameters, on which path."""

    account: Account
    given: dict[str, Any]
    path: dict[str, str]
    url: str


Endpoint = Callable[[Call], Obj]


class Desk(Twin):
    """The transport of the vendor's API; the endpoints are added by the modules of this folder."""

    name = "stripe"

    def __init__(self, clock: TwinClock) -> None:
        super().__init__(clock)
        self.settings = Settings()
        self.webhooks = Webhooks(self)
        self.keys = Keys(self.settings.key_life_seconds)
        self.per_second: int | None = None
        self.per_endpoint: int | None = None
        self._recent: dict[str, deque[float]] = defaultdict(deque)
        self._requests = 0
        self.accounts: dict[str, Account] = {
            row[0]: Account(*row, clock, self.settings, self.webhooks.announce, self._visibility_delay)
            for row in ACCOUNTS
        }

    def _visibility_delay(self) -> float:
        return self.faults.visibility_delay_seconds

    # -- declaring ----------------------------------------------------------------------------------------------
    def v1(self, method: str, path: str, operation: str, endpoint: Endpoint) -> None:
        """Declare an endpoint. `operation` is what a fault plan names; `path` is spelled as in the specification."""
        shape = f"{method} {path}"

        async def run(request: Request) -> Response:
            return self._run(request, shape, endpoint)

        self.route(method, path, operation, run)

    # -- who calls ----------------------------------------------------------------------------------------------
    def account_of(self, request: Request) -> Account:
        """The account whose key the request carries; refuses with 401."""
        key = _key(request.headers.get("authorization", ""))
        if key is None:
            raise Refusal(
                401, "You did not provide an API key: send it as Authorization: Bearer KEY.", executed=False
            )
        for account in self.accounts.values():
            if account.api_key == key:
                return account
        stars = f"{key[:8]}{'*' * max(len(key) - 12, 3)}{key[-4:]}" if len(key) > 12 else "*" * len(key)
        raise Refusal(401, f"Invalid API Key provided: {stars}", executed=False)

    def _own_account(self, account: Account, request: Request) -> None:
        """A caller may name its own account; it is connected to no other."""
        named = request.headers.get("stripe-account", account.id)
        if named != account.id:
            raise Refusal(
                403,
                f"The provided key '{account.api_key[:8]}***' does not have access to account '{named}' (or that "
                "account does not exist). Application access may have been revoked.",
                code="account_invalid",
                executed=False,
            )

    async def admit(self, request: Request, operation: str) -> Response | None:
        """Refuse strangers, other API versions and too many calls, before anything else."""
        try:
            self._own_account(self.account_of(request), request)
            version = request.headers.get("stripe-version", API_VERSION)
            if version != API_VERSION:
                raise invalid(f"Invalid Stripe API version: {version} (this twin speaks {API_VERSION})")
        except Refusal as refusal:
            return self._refused(refusal)
        return self._throttle(operation)

    def _throttle(self, operation: str) -> Response | None:
        now = self.clock.technical().timestamp()
        limits = (("global-rate", "", self.per_second), ("endpoint-rate", operation, self.per_endpoint))
        for reason, place, most in limits:
            recent = self._recent[place]
            while recent and recent[0] <= now - 1:
                recent.popleft()
            if most is not None and len(recent) >= most:
                return self._too_many(reason)
        for _, place, most in limits:
            if most is not None:
                self._recent[place].append(now)
        return None

    # -- one call -----------------------------------------------------------------------------------------------
    def _run(self, request: Request, shape: str, endpoint: Endpoint) -> Response:
        account = self.account_of(request)
        request_id = self._request_id()
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        account.request = (None, None)
        self.bill()
        known = {kind: len(objects) for kind, objects in account.objects.items()}
        try:
            pairs = _pairs(request)
            if key is not None:
                kept = self.keys.begin(account.id, key, request, pairs, account.technical())
                if kept is not None:
                    kept.headers["Request-Id"] = request_id
                    return kept
            given = checked(shape, pairs)
            if request.method == "GET":
                _filters_exist(account, given)
            account.request, account.held = (request_id, key), []
            result = endpoint(Call(account, given, request.params, request.path))
            body = present(account, result, given.get("expand", []))
            answer = Response(200, body, self._headers(request_id, key))
        except Refusal as refusal:
            answer = self._refused(refusal, request_id, key)
            if refusal.status != 402:
                _forget_new(account, known)
                account.held = None
            if key is not None and not refusal.executed:
                self.keys.release(account.id, key, request)
        finally:
            account.request, held = (None, None), account.held
            account.held = None
        for event in held or ():
            account.announce(account, event)
        if key is not None:
            self.keys.keep(account.id, key, request, answer)
        return answer

    def bill(self) -> None:
        """Do what the business clock has made due, in every account."""
        for account in self.accounts.values():
            cycles.run(account)

    # -- answers ------------------------------------------------------------------------------------------------
    def _request_id(self) -> str:
        self._requests += 1
        return f"req_{self._requests:014d}"

    def _headers(self, request_id: str, key: str | None = None) -> dict[str, str]:
        headers = {"Request-Id": request_id, "Stripe-Version": API_VERSION}
        if key is not None and key.isascii() and key.isprintable():
            headers["Idempotency-Key"] = key
            headers["Original-Request"] = request_id
        return headers

    def _refused(self, refusal: Refusal, request_id: str | None = None, key: str | None = None) -> Response:
        identifier = request_id or self._request_id()
        headers = self._headers(identifier, key) | refusal.headers
        return Response(refusal.status, refusal.body(identifier), headers)

    def rate_limited(self) -> Response:
        """429 as the vendor words it; no Retry-After."""
        return self._too_many("endpoint-rate")

    def _too_many(self, reason: str) -> Response:
        headers = {"Stripe-Rate-Limited-Reason": reason}
        return self._refused(
            Refusal(429, "Request rate limit exceeded.", code="rate_limit", executed=False, headers=headers)
        )

    def server_error(self) -> Response:
        """500 as the vendor words it."""
        return self._refused(Refusal(500, "An unexpected error occurred.", kind="api_error"))

    def not_found(self, request: Request) -> Response:
        """404: no such URL."""
        return self._refused(Refusal(404, f"Unrecognized request URL ({request.method}: {request.path})."))

    # -- faults -------------------------------------------------------------------------------------------------
    def failed_after_work(self, request: Request) -> Response:
        """A 500 after the work: the key, if there is one, keeps the 500."""
        answer = self.server_error()
        key = request.headers.get("idempotency-key")
        if request.method == "POST" and key is not None:
            self.keys.replace(self.account_of(request).id, key, request, answer)
        return answer

    def accepted_late(self, request: Request) -> None:
        """Work that will be done later holds its key from now on."""
        key = request.headers.get("idempotency-key")
        if request.method == "POST" and key is not None:
            account = self.account_of(request)
            try:
                self.keys.begin(account.id, key, request, _pairs(request), account.technical())
            except Refusal:
                return  # the later call will be told so itself

    async def clock_moved(self) -> None:
        """The business clock was set: do what has become due."""
        self.bill()

    async def close(self) -> None:
        """Stop deliveries and give the connections back."""
        await super().close()
        await self.webhooks.close()


# Filters of lists that name an object. A deleted customer can still be asked about.
_FILTERS = {
    "charge": "charges",
    "customer": "customers",
    "invoice": "invoices",
    "payment_intent": "payment_intents",
    "price": "prices",
    "subscription": "subscriptions",
}


def _filters_exist(account: Account, given: dict[str, Any]) -> None:
    """A list by something that there is not is refused, not empty."""
    for name, kind in _FILTERS.items():
        value = given.get(name)
        if isinstance(value, str) and account.find(kind, value) is None:
            raise missing(kind, value, name)


def _forget_new(account: Account, known: dict[str, int]) -> None:
    """What a refused call had made before it was refused was never made."""
    for kind, objects in account.objects.items():
        for identifier in list(objects)[known.get(kind, 0) :] if len(objects) > known.get(kind, 0) else ():
            made = objects.pop(identifier)
            if kind == "discounts":
                account.objects["coupons"][made["source"]["coupon"]]["times_redeemed"] -= 1


def _key(authorization: str) -> str | None:
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[0] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


_SPACES = re.compile(rb"^\s*$")


def _pairs(request: Request) -> list[tuple[str, str]]:
    """The parameters of query and body, in order."""
    if _SPACES.match(request.body):
        return list(request.query)
    try:
        body = request.body.decode()
        return [*request.query, *parse_qsl(body, keep_blank_values=True, strict_parsing=True)]
    except (UnicodeDecodeError, ValueError) as error:
        raise invalid("Invalid request: the body is not application/x-www-form-urlencoded.") from error
