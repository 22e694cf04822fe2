"""The NetSuite twin: SuiteTalk REST record v1, SuiteQL, asynchronous jobs and OAuth 2.0 over the kit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.kit import Receive, Request, Response, Scope, Send, Twin
from tieout_lab.twins.netsuite import errors
from tieout_lab.twins.netsuite.actions import Actions
from tieout_lab.twins.netsuite.applications import Settlements
from tieout_lab.twins.netsuite.batches import Jobs, wants_async
from tieout_lab.twins.netsuite.credits import CreditMemos
from tieout_lab.twins.netsuite.customers import Customers, Relationships
from tieout_lab.twins.netsuite.deposits import DepositApplications, Deposits
from tieout_lab.twins.netsuite.errors import Refusal
from tieout_lab.twins.netsuite.invoices import Invoices
from tieout_lab.twins.netsuite.items import ServiceItems
from tieout_lab.twins.netsuite.journals import Journals
from tieout_lab.twins.netsuite.kinds import Kind, Listed
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.metadata import Metadata
from tieout_lab.twins.netsuite.oauth import TOKEN_PATH, TokenDesk, issue_credentials
from tieout_lab.twins.netsuite.payments import Payments, Refunds
from tieout_lab.twins.netsuite.records import COLLECTION, Records
from tieout_lab.twins.netsuite.seed import plant
from tieout_lab.twins.netsuite.suiteql import PATH as SUITEQL_PATH
from tieout_lab.twins.netsuite.suiteql import SuiteQL
from tieout_lab.twins.netsuite.tba import SignatureDesk
from tieout_lab.twins.netsuite.tenant import Tenant

Handle = Callable[[Request], Response]
ACCOUNT = "TSTDRV1234567"
LISTED = (
    "accountingPeriod",
    "subsidiary",
    "account",
    "department",
    "term",
    "currency",
    "salesTaxItem",
    "taxType",
    "paymentMethod",
)


class NetSuiteTwin(Twin):
    """One account with the demo company in it."""

    name = "netsuite"

    def __init__(self, clock: TwinClock, *, key_type: str = "EC", account: str = ACCOUNT) -> None:
        super().__init__(clock)
        self.credentials = issue_credentials(account, key_type)
        self.desk = TokenDesk(self.credentials, clock)
        self.signatures = SignatureDesk(account, clock)
        self.tenant = Tenant(clock, lambda: self.faults)
        self.active = 0
        self.most_active = 0
        plant(self.tenant)
        self.ledger = Ledger(self.tenant)
        settlements = Settlements(self.tenant, self.ledger)
        documents = (Invoices, CreditMemos, Payments, Refunds, Deposits, DepositApplications, Journals)
        everything: list[Kind] = [
            Customers(self.tenant),
            Relationships(self.tenant),
            ServiceItems(self.tenant),
        ]
        everything += [kind(self.tenant, self.ledger, settlements) for kind in documents]
        everything += [Listed(self.tenant, type_) for type_ in LISTED]
        self.kinds = {kind.type: kind for kind in everything}
        self.records = Records(self.tenant, self.kinds)
        self.suiteql = SuiteQL(self.tenant, self.ledger)
        self.jobs = Jobs(self.tenant, self.later)
        self.plain: list[tuple[str, re.Pattern[str], Handle]] = []
        self._declare()
        Actions(self, settlements).declare()

    def _declare(self) -> None:
        self.route("POST", TOKEN_PATH, "oauth.token", self.desk.token, writes=False)
        metadata = Metadata(self.tenant, {kind.type: kind.methods for kind in self.kinds.values()})
        for path, handler in metadata.handlers():
            self._serve_sync("GET", path, "metadata.get", handler)
        for kind in self.kinds.values():
            for method, path, operation, handler in self.records.handlers(kind):
                self._serve_sync(method, path, operation, handler)
                self.plain.append((method, re.compile(_pattern(path)), handler))
            for method in sorted(kind.methods - {"GET", "POST"}):
                path = f"/services/rest/record/v1/(?i:{kind.type})"
                self._serve_sync(method, path, f"{kind.type}.batch", _only_async)
        self._serve_sync("POST", SUITEQL_PATH, "suiteql", self.suiteql.run, writes=False)
        self._serve_sync("GET", "/services/rest/system/v1/governanceLimits", "governanceLimits", self._limits)
        for path, handler in self.jobs.handlers():
            self._serve_sync("GET", path, "job.get", handler)

    def _serve_sync(
        self,
        method: str,
        path: str,
        operation: str,
        handler: Handle,
        *,
        writes: bool | None = None,
    ) -> None:
        async def answer(request: Request) -> Response:
            try:
                if operation != "suiteql" and wants_async(request):
                    return self.jobs.accept(request, operation, handler, self.item_handler)
                if "type=collection" in request.headers.get("content-type", "").replace(" ", ""):
                    return _only_async(request)
                return handler(request)
            except Refusal as refusal:
                return refusal.response()

        self.route(method, path, operation, answer, writes=writes)

    def item_handler(self, method: str, path: str) -> tuple[Handle, dict[str, str]]:
        """The synchronous handler of one record of a batch, with its path parameters. Raises Refusal."""
        for known, pattern, handler in self.plain:
            matched = pattern.match(path)
            if known == method and matched:
                return handler, matched.groupdict()
        raise Refusal("NOT_FOUND", "The resource does not exist.", status=404, url=path)

    # -- what the kit asks for --------------------------------------------------------------------------------------
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve, and count the calls that are open: those an account-wide limit is about."""
        path = str(scope.get("path", ""))
        counted = scope["type"] == "http" and path != TOKEN_PATH and not path.startswith("/_control")
        self.active += counted
        self.most_active = max(self.most_active, self.active)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.active -= counted

    async def admit(self, request: Request, operation: str) -> Response | None:
        """Concurrency, then sign-in. The token endpoint needs neither."""
        if operation == "oauth.token":
            return None
        preferences = self.tenant.preferences
        if self.active > preferences.concurrency:
            if not preferences.disguise:
                return errors.too_many()
            if isinstance(preferences.disguise, str):
                return errors.problem(400, preferences.disguise, "Concurrent request limit exceeded.")
            if preferences.disguise_seconds:
                await self.clock.sleep(preferences.disguise_seconds)
            return errors.login()
        return self._stranger(request)

    def _stranger(self, request: Request) -> Response | None:
        """The 401 of a call that is not signed by somebody we know."""
        account = self.credentials.account
        if request.headers.get("authorization", "").lower().startswith("oauth "):
            if self.signatures.holds(request):
                return None
            error, scheme = self.signatures.refusals[-1], "OAuth"
        else:
            if self.desk.holds(request.headers.get("authorization")):
                return None
            error, scheme = "invalid_token", "Bearer"
        challenge = f'{scheme} realm="{account}", error="{error}", error_description="Invalid login attempt."'
        return errors.login(challenge)

    def rate_limited(self) -> Response:
        return errors.too_many()

    def server_error(self) -> Response:
        return errors.unexpected()

    def not_found(self, request: Request) -> Response:
        if stranger := self._stranger(request):
            return stranger
        parts = request.path.split("/")
        if request.path.startswith("/services/rest/record/v1/"):
            type_ = parts[5]
            if type_.lower() in {kind.lower() for kind in self.kinds}:
                detail = f"The HTTP method {request.method} is not supported for this resource."
                return errors.problem(405, "INVALID_REQUEST", detail, place={"url": request.path})
            return errors.problem(
                404, "NOT_FOUND", f"Record type '{type_}' does not exist.", place={"url": request.path}
            )
        return errors.problem(404, "NOT_FOUND", "The resource does not exist.", place={"url": request.path})

    def describe(self, url: str) -> dict[str, Any]:
        """What a client needs: address, account, integration, certificate id and private key (PEM)."""
        return {
            "url": url,
            "account": self.credentials.account,
            "client_id": self.credentials.client_id,
            "certificate_id": self.credentials.certificate_id,
            "algorithm": self.credentials.algorithm,
            "private_key": self.credentials.private_key,
            "token_url": url.rstrip("/") + TOKEN_PATH,
            "tba": asdict(self.signatures.tokens),
        }

    def _limits(self, request: Request) -> Response:  # noqa: ARG002 - a handler
        preferences = self.tenant.preferences
        if not preferences.administrator:
            raise errors.forbidden("You do not have permissions to view governance limits.")
        body = {
            "accountConcurrencyLimit": preferences.concurrency,
            "accountUnallocatedConcurrencyLimit": preferences.concurrency,
            "limitType": "accountSpecific",
        }
        return Response(200, body, {"content-type": "application/vnd.oracle.resource+json; type=singular"})


def _pattern(path: str) -> str:
    return "^" + re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path) + "$"


def _only_async(request: Request) -> Response:  # noqa: ARG001 - a handler
    raise Refusal(
        "INVALID_HEADER",
        "Batch operations are asynchronous. Provide the header 'Prefer: respond-async' and the content type "
        f"'{COLLECTION}'.",
        header="Prefer",
    )
