"""The REST surface's frame: versions, sessions, the daily budget, headers on every data answer, refusals as answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

from typing_extensions import override

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Request, Response, Twin
from tieout_lab.twins.salesforce import errors
from tieout_lab.twins.salesforce.custom import schema
from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.sessions import Sessions
from tieout_lab.twins.salesforce.values import Answer

OLDEST, NEWEST = 31, 68
_SEASONS = ("Winter", "Spring", "Summer")
_DATA = "/services/data/v"
_BASE = _DATA + r"{version}"

DataHandler = Callable[[Request], Answer]


@dataclass(frozen=True, slots=True)
class DataRoute:
    """A data resource, kept beside the kit's route so that Composite can call it."""

    method: str
    pattern: re.Pattern[str]
    handler: DataHandler


class Budget:
    """API calls of the last 24 technical hours, counted by the hour."""

    def __init__(self, clock: TwinClock, daily: int) -> None:
        self._clock = clock
        self._hours: Counter[datetime] = Counter()
        self.daily = daily

    def used(self) -> int:
        edge = self._clock.technical() - timedelta(hours=24)
        for hour in [hour for hour in self._hours if hour + timedelta(hours=1) <= edge]:
            del self._hours[hour]
        return self._hours.total()

    def spend(self, calls: int = 1) -> bool:
        """Count calls; False, and nothing counted, once the day's are spent."""
        if self.used() + calls > self.daily:
            return False
        self._hours[self._clock.technical().replace(minute=0, second=0, microsecond=0)] += calls
        return True

    def set_used(self, calls: int) -> None:
        self._hours.clear()
        if calls:
            self._hours[self._clock.technical().replace(minute=0, second=0, microsecond=0)] = calls


class RestTwin(Twin):
    """An org behind `/services`."""

    name = "salesforce"

    def __init__(
        self, clock: TwinClock, *, prefix: str, namespace: str, seed: str, session_seconds: float, daily: int
    ) -> None:
        super().__init__(clock)
        self.prefix = prefix
        self.org = Org(clock, schema(prefix, namespace))
        self.sessions = Sessions(self.org, seed=seed, life_seconds=session_seconds)
        self.budget = Budget(clock, daily)
        self.data_routes: list[DataRoute] = []
        self.old_bulk_refusal = False
        self._open: set[str] = set()

    # -- declaring ----------------------------------------------------------------------------------------------
    def data(
        self, method: str, path: str, operation: str, handler: DataHandler, *, writes: bool | None = None
    ) -> None:
        """Declare a resource below `/services/data/vNN.N`; a trailing slash is taken too."""
        whole = f"{_BASE}{path}/?"
        self.route(method, whole, operation, self._answering(handler), writes=writes)
        self.data_routes.append(DataRoute(method, self.routes[-1].pattern, handler))

    def public(
        self, method: str, path: str, operation: str, handler: DataHandler, *, writes: bool = False
    ) -> None:
        """Declare a resource that needs no session of the data API."""
        self._open.add(operation)

        async def run(request: Request) -> Response:
            return self._guarded(handler, request).response(self._date())

        self.route(method, f"{path}/?", operation, run, writes=writes)

    def _answering(self, handler: DataHandler) -> Callable[[Request], Awaitable[Response]]:
        async def run(request: Request) -> Response:
            return self._guarded(handler, request).response(self._data_headers())

        return run

    def _guarded(self, handler: DataHandler, request: Request) -> Answer:
        self.org.store.settle(self.clock.technical())
        told = request.headers.get("sforce-duplicate-rule-header", "")
        self.org.allow_duplicates = "allowsave=true" in told.replace(" ", "").lower()
        before = self.org.origin
        self.org.origin = before or _origin(request)
        try:
            with self.org.acting(self.org.integration_id):
                return handler(request)
        except errors.SalesforceError as error:
            return Answer(error.status, error.body())
        finally:
            self.org.origin = before

    def dispatch(self, request: Request) -> Answer:
        """Serve a subrequest of Composite: no session, no budget, the same handlers."""
        for route in self.data_routes:
            matched = route.pattern.match(request.path) if route.method == request.method else None
            if matched:
                request.params = matched.groupdict()
                return self._guarded(route.handler, request)
        return Answer(404, errors.not_found().body())

    # -- the kit's questions ------------------------------------------------------------------------------------
    @override
    async def admit(self, request: Request, operation: str) -> Response | None:
        if operation in self._open:
            return None
        refusal = self._refusal(request)
        if refusal is None:
            return None
        if refusal.code == "INVALID_SESSION_ID" and self.old_bulk_refusal and operation.startswith("bulk_"):
            # As Bulk resources have been seen to say it: 400, and other names.
            old = {"exceptionCode": "InvalidSessionId", "exceptionMessage": "Invalid session id"}
            return Answer(400, old).response(self._data_headers())
        return Answer(refusal.status, refusal.body()).response(self._data_headers())

    def _refusal(self, request: Request) -> errors.SalesforceError | None:
        if not self.sessions.valid(request):
            return errors.session_invalid()
        wrong = _version_refusal(request.params.get("version", ""))
        if wrong is not None:
            return wrong
        return None if self.budget.spend() else errors.limit_exceeded()

    @override
    def not_found(self, request: Request) -> Response:
        if request.path.startswith(_DATA) and not self.sessions.valid(request):
            return Answer(401, errors.session_invalid().body()).response(self._data_headers())
        allowed = sorted({route.method for route in self.routes if route.pattern.match(request.path)})
        if allowed:
            text = f"HTTP Method '{request.method}' not allowed. Allowed are {','.join(allowed)}"
            refusal = errors.SalesforceError(405, "METHOD_NOT_ALLOWED", text)
            return Answer(405, refusal.body(), {"allow": ",".join(allowed)}).response(self._data_headers())
        return Answer(404, errors.not_found().body()).response(self._data_headers())

    @override
    def rate_limited(self) -> Response:
        refusal = errors.limit_exceeded("ConcurrentRequests (Concurrent API Requests) Limit exceeded.")
        return Answer(403, refusal.body()).response(self._data_headers())

    @override
    def server_error(self) -> Response:
        text = "An unexpected error occurred. Please include this ErrorId if you contact support: 1234567890-12345"
        return Answer(500, [{"message": text, "errorCode": "UNKNOWN_EXCEPTION"}]).response(
            self._data_headers()
        )

    # -- headers ------------------------------------------------------------------------------------------------
    def _date(self) -> dict[str, str]:
        moment = self.clock.technical().replace(microsecond=0)
        return {"date": format_datetime(moment, usegmt=True)}

    def _data_headers(self) -> dict[str, str]:
        usage = f"api-usage={self.budget.used()}/{self.budget.daily}"
        return {
            "sforce-limit-info": usage,
            "cache-control": "no-cache,must-revalidate,max-age=0,no-store,private",
            **self._date(),
        }


def base_url(request: Request) -> str:
    """The address the client used, without a path."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def _origin(request: Request) -> str:
    """`changeOrigin` of what an API call changes: interface, version, and the client that the caller names."""
    options = request.headers.get("sforce-call-options", "")
    client = next((part for part in options.replace(",", ";").split(";") if "client=" in part), "client=")
    return f"com/salesforce/api/rest/{request.params.get('version', '')};{client.strip()}"


def versions() -> list[dict[str, str]]:
    """Every supported version with its release name."""
    found = []
    for number in range(OLDEST, NEWEST + 1):
        years, season = divmod(number - 32, 3)
        label = f"{_SEASONS[season]} '{15 + years}"
        found.append({"label": label, "url": f"{_DATA}{number}.0", "version": f"{number}.0"})
    return found


def version_number(request: Request) -> int:
    return int(float(request.params["version"]))


def _version_refusal(version: str) -> errors.SalesforceError | None:
    if re.fullmatch(r"\d{1,3}\.0", version) is None:
        return errors.not_found()
    number = int(version.partition(".")[0])
    if OLDEST <= number <= NEWEST:
        return None
    if 7 <= number < OLDEST:  # retired: "API End-of-Life Policy" of the REST guide
        text = f"API version {version} is no longer available. Use version {OLDEST}.0 or later."
        return errors.SalesforceError(410, "GONE", text)
    return errors.not_found()


def flag(value: Any) -> bool:
    """A boolean of a query string or body."""
    return value is True or (isinstance(value, str) and value.lower() == "true")
