"""The calls to Stripe: one method for each shape of call, status -> outcome, form encoding, paging."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.connectors.contract import Keys, World
from tieout.connectors.http import Http
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.pace import Pace
from tieout.connectors.stripe.wire import Error, ErrorBody, Made, Thing
from tieout.ports import Response, TransportError

T = TypeVar("T")
W = TypeVar("W", bound=Thing)
Pairs = list[tuple[str, str]]

LIVE_KEYS = ("sk_live_", "rk_live_")
TEST_KEYS = ("sk_test_", "rk_test_")
PAGE = 100
# A page that does not end the list and brings nothing new would be asked for for ever.
MOST_PAGES = 10_000


class Page(msgspec.Struct, Generic[T]):
    """A list object as far as paging needs it."""

    data: list[T]
    has_more: bool = False


_errors = msgspec.json.Decoder(ErrorBody)
_made = msgspec.json.Decoder(Made)
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decoder(shape: Any) -> msgspec.json.Decoder[Any]:
    """The decoder of one shape, made once."""
    found = _decoders.get(shape)
    if found is None:
        found = _decoders[shape] = msgspec.json.Decoder(shape)
    return found


def path(*parts: str) -> str:
    """`/v1/...` with the ids made safe: an id that came from outside never leaves its own place in the path."""
    return "/v1/" + "/".join(quote(part, safe="") for part in parts)


def key_mode(api_key: str) -> bool | None:
    """Whether the key is a live one; None when it does not say."""
    if api_key.startswith(LIVE_KEYS):
        return True
    return False if api_key.startswith(TEST_KEYS) else None


class Client:
    """One account. Reads raise NotFound and Failure; writes answer an outcome and never raise for the vendor's."""

    def __init__(self, name: str, config: StripeConfig, world: World) -> None:
        self.name = name
        self.config = config
        self.http = Http(name, world)
        self._url = config.url.rstrip("/")
        key = config.api_key.reveal()
        self.key_is_live = key_mode(key)
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Stripe-Version": config.api_version,
            "Accept": "application/json",
        }
        # Where the whole budget is no more than one endpoint takes, there is nothing to spread.
        spread = not 0 < config.per_second <= config.per_endpoint_second
        self._pace = Pace(world.clock, config.per_endpoint_second if spread else 0)
        self._form = {**self._headers, "Content-Type": "application/x-www-form-urlencoded"}

    # ------------------------------------------------------------------------------------------------ reads

    async def answer(
        self, where: str, query: Pairs | None = None, *, operation: str, lane: str = ""
    ) -> Response:
        """A GET that was answered with 200. Raises NotFound, Failure."""
        self._check_mode()
        url = f"{self._url}{where}?{urlencode(query)}" if query else self._url + where
        await self._pace.turn("GET", where)
        try:
            response = await self.http.exchange(
                "GET",
                url,
                headers=self._headers,
                operation=operation,
                lane=lane,
                timeout_seconds=self.config.timeout_seconds,
            )
        except TransportError as error:
            self.http.read_failed(error)
        if response.status != 200:
            self._unanswered(where, response)
        return response

    def _unanswered(self, where: str, response: Response) -> NoReturn:
        """A read that was refused."""
        error = read_error(response)
        if response.status == 404:
            raise NotFound(f"{where}: {error.code or 'no such object'}")
        self.http.read_status(response, error.code or error.type, error.message)

    async def get(
        self, shape: type[T], where: str, query: Pairs | None = None, *, operation: str, lane: str = ""
    ) -> T:
        """One object or page of the given wire shape. Raises NotFound, Failure."""
        response = await self.answer(where, query, operation=operation, lane=lane)
        return self._read(shape, response, operation)

    def _read(self, shape: type[T], response: Response, operation: str) -> T:
        try:
            found: T = decoder(shape).decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Failure(Transient(reason=f"{operation}: the answer is not what is documented")) from error
        self.check_livemode(getattr(found, "livemode", None))
        return found

    async def pages(
        self, shape: type[W], where: str, query: Pairs, *, operation: str, lane: str = ""
    ) -> AsyncIterator[list[W]]:
        """Every page of a list, newest first. Raises Failure; a page that repeats is refused."""
        after = ""
        for _ in range(MOST_PAGES):
            asked = [*query, ("limit", str(PAGE))]
            if after:
                asked.append(("starting_after", after))
            whole: Any = Page[shape]  # type: ignore[valid-type]
            page: Page[W] = await self.get(whole, where, asked, operation=operation, lane=lane)
            for item in page.data:
                self.check_livemode(item.livemode)
            yield page.data
            if not page.has_more:
                return
            if not page.data or page.data[-1].id == after:
                break
            after = page.data[-1].id
        raise Failure(Transient(reason=f"{operation}: a page repeats, the list has no end"))

    async def every(
        self, shape: type[W], where: str, query: Pairs, *, operation: str, lane: str = ""
    ) -> list[W]:
        """The whole list. Raises Failure."""
        return [
            item
            async for page in self.pages(shape, where, query, operation=operation, lane=lane)
            for item in page
        ]

    # ----------------------------------------------------------------------------------------------- writes

    async def post(
        self, where: str, body: Iterable[tuple[str, str]], *, operation: str, keys: Keys, keyed: bool
    ) -> SendOutcome:
        """One POST. `keyed` sends the wire key as idempotency key: creates only, an assign sends the present value."""
        if self._wrong_mode():
            return self._mode_block()
        await self._pace.turn("POST", where)
        headers = {**self._form, "Idempotency-Key": wire_key(keys.wire)} if keyed else self._form
        try:
            response = await self.http.exchange(
                "POST",
                self._url + where,
                headers=headers,
                body=urlencode(list(body)).encode(),
                operation=operation,
                lane=keys.document,
                timeout_seconds=self.config.timeout_seconds,
            )
        except TransportError as error:
            return self.http.send_failed(error)
        if response.status == 200:
            return self._made(response)
        return self._refused(response)

    def _made(self, response: Response) -> SendOutcome:
        try:
            made = _made.decode(response.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            made = Made()
        if not made.name:
            return OutcomeUnknown(reason="answered 200 with a body that is not what is documented")
        if made.livemode is not None and made.livemode != self.config.live:
            return self._mode_block()
        return Confirmed(receipt=Receipt(external_id=made.name), replayed=replayed(response))

    def _refused(self, response: Response) -> SendOutcome:
        """The outcome of a refused write: certain that nothing was done, or not?"""
        outcome = self._by_status(response)
        if replayed(response) and not isinstance(outcome, Rejected):
            # Asked again under this key, Stripe only gives this answer again.
            return OutcomeUnknown(
                reason=f"{response.status}: a saved failure was replayed; what became of it is not known",
                saved=True,
            )
        return outcome

    def _by_status(self, response: Response) -> SendOutcome:
        status, error = response.status, read_error(response)
        code = error.code or error.type
        if status == 409:
            return OutcomeUnknown(reason=f"409 {code}: the same request is still running")
        if status == 424:
            return OutcomeUnknown(reason=f"424 {code} {error.message}".strip())
        if error.type == "idempotency_error":
            return OutcomeUnknown(
                reason=f"{status} {code}: the key was used with other parameters; look it up", saved=True
            )
        if status == 429:
            return self._throttled(response, error)
        if code and status in (400, 402, 404):
            return Rejected(code=code, message=error.message)
        return self.http.send_status(response, code, error.message)

    def _throttled(self, response: Response, error: Error) -> SendOutcome:
        if error.code == "lock_timeout":
            return Transient(reason="429 lock_timeout: the object is locked by another request")
        reason = response.headers.get("stripe-rate-limited-reason", "")
        outcome = self.http.send_status(response, error.code or "rate_limit", reason or error.message)
        return outcome if isinstance(outcome, RateLimited) else RateLimited(reason=reason)

    # ------------------------------------------------------------------------------------------- live or test

    def check_livemode(self, livemode: bool | None) -> None:  # noqa: FBT001 (as the vendor says it)
        """Nothing of the other mode is ever processed. Raises Failure(Misconfigured)."""
        if livemode is not None and livemode != self.config.live:
            raise Failure(self._mode_block())

    def _wrong_mode(self) -> bool:
        return self.key_is_live is not None and self.key_is_live != self.config.live

    def _check_mode(self) -> None:
        if self._wrong_mode():
            raise Failure(self._mode_block())

    def _mode_block(self) -> Misconfigured:
        wanted = "live" if self.config.live else "test"
        return self.http.blocked(
            f"the key or the answer is not of {wanted} mode, which this connection is pinned to"
        )


def read_error(response: Response) -> Error:
    """The vendor's error object, or an empty one when the body is something else (HTML from a proxy)."""
    try:
        return _errors.decode(response.body).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Error()


def replayed(response: Response) -> bool:
    """The answer came from the vendor's idempotency store."""
    return response.headers.get("idempotent-replayed") == "true"


def wire_key(key: str) -> str:
    """Our wire key as an idempotency key. ValueError over Stripe's 255 characters: cutting it could merge two."""
    if len(key) > 255:
        raise ValueError(f"an idempotency key of {len(key)} characters; at most 255 are allowed")
    return key
