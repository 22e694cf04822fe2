"""What the account knows, who it is, and what is wrong with how it is connected."""

from __future__ import annotations

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Misconfigured, NotFound
from tieout.connectors.contract import Finding, Identity
from tieout.connectors.stripe import metering
from tieout.connectors.stripe.client import Client
from tieout.connectors.stripe.feed import TYPES
from tieout.connectors.stripe.inbound import Inbound
from tieout.connectors.stripe.mapping import ours
from tieout.connectors.stripe.wire import Endpoint, Thing

# What a restricted key must be allowed to read; each is asked for one object.
READS = (
    "customers",
    "products",
    "subscriptions",
    "subscription_schedules",
    "invoices",
    "invoice_payments",
    "credit_notes",
    "payment_intents",
    "payment_records",
    "charges",
    "refunds",
    "tax_rates",
    "events",
)


class Mode(msgspec.Struct):
    """A page of anything, for the mode its objects are of."""

    data: list[Thing]


class Directory:
    """Catalogue and Checker of one account."""

    def __init__(self, client: Client, inbound: Inbound) -> None:
        self._client = client
        self._inbound = inbound
        self._config = client.config

    async def periods(self, subsidiary: str) -> tuple[AccountingPeriod, ...]:
        """Billing keeps no accounting periods."""
        del subsidiary
        return ()

    async def credit_hold(self, customer: str) -> bool:
        """Billing keeps no credit holds."""
        del customer
        return False

    async def codes(self, kind: str) -> frozenset[str]:
        """Our codes of the active products, event names of the active meters that take the usual payload; nothing of
        other kinds. Raises Failure."""
        if kind == "meter":
            return await metering.meters(self._client)
        if kind != "product":
            return frozenset()
        found = await self._client.every(
            Thing, "/v1/products", [("active", "true")], operation="product.list"
        )
        return frozenset(ours(self._config.product_prefix, product.id) for product in found)

    async def identity(self) -> Identity:
        """The account that the key belongs to, and its mode. Raises Failure; of another account than the pinned
        one too, because nothing of it may be processed."""
        account = await self._client.get(Thing, "/v1/account", operation="account.get")
        if account.id != self._config.account:
            raise Failure(
                Misconfigured(
                    scope="connection",
                    key=self._client.name,
                    message=f"the key is of account {account.id}, the connection is pinned to {self._config.account}",
                    remedy="give the key of the pinned account, or correct `account`",
                )
            )
        return Identity(organisation=account.id, account=account.id, live=await self._mode())

    async def _mode(self) -> bool:
        """Live or test: by the key's prefix, else by an object of the account. Raises Failure when it is not ours."""
        if self._client.key_is_live is not None:
            return self._client.key_is_live
        page = await self._client.get(Mode, "/v1/events", [("limit", "1")], operation="event.list")
        for event in page.data:
            self._client.check_livemode(event.livemode)
        return self._config.live

    async def check(self) -> tuple[Finding, ...]:
        """Sign-in, account, mode, version, scopes, webhooks: everything that is wrong, and how to mend it."""
        try:
            identity = await self.identity()
        except NotFound as missing:
            return (Finding(level="error", subject="url", message=str(missing), remedy="correct `url`"),)
        except Failure as failure:
            return (self._finding("sign-in", failure, "check `api_key`, `account`, `live` and `url`"),)
        mode = "live" if identity.live else "test"
        signed_in = Finding(level="ok", subject="sign-in", message=f"account {identity.account}, {mode} mode")
        return (signed_in, await self._version(), *await self._scopes(), *await self._webhooks())

    def _finding(self, subject: str, failure: Failure, remedy: str) -> Finding:
        return Finding(level="error", subject=subject, message=str(failure), remedy=remedy)

    async def _version(self) -> Finding:
        wanted = self._config.api_version
        try:
            response = await self._client.answer("/v1/account", operation="account.get")
        except (Failure, NotFound) as error:
            return Finding(level="warning", subject="api_version", message=str(error))
        given = response.headers.get("stripe-version", "")
        if given == wanted:
            return Finding(level="ok", subject="api_version", message=given)
        return Finding(
            level="error" if given else "warning",
            subject="api_version",
            message=f"answered in version {given or '(not said)'}, asked for {wanted}",
            remedy="set `api_version` to one that the account may use",
        )

    async def _scopes(self) -> list[Finding]:
        """Reads that the key may not do. What it may write shows only in writing: no probe changes anything."""
        found = []
        for name in READS:
            try:
                await self._client.answer(f"/v1/{name}", [("limit", "1")], operation=f"{name}.probe")
            except NotFound:
                found.append(
                    Finding(level="error", subject=f"scope {name}", message=f"/v1/{name} does not exist")
                )
            except Failure as failure:
                found.append(self._finding(f"scope {name}", failure, f"let the restricted key read {name}"))
        return found or [
            Finding(level="ok", subject="scopes", message=f"the key reads all of: {', '.join(READS)}")
        ]

    async def _webhooks(self) -> list[Finding]:
        if not self._inbound.accepts_webhooks:
            return [
                Finding(
                    level="warning",
                    subject="webhooks",
                    message="no signing secret: webhooks are refused, changes come by the event list only",
                    remedy="register an endpoint and put its secret into `webhook_secrets`",
                )
            ]
        try:
            endpoints = await self._client.every(
                Endpoint, "/v1/webhook_endpoints", [], operation="endpoint.list"
            )
        except (Failure, NotFound) as error:
            return [
                Finding(level="warning", subject="webhooks", message=f"endpoints cannot be listed: {error}")
            ]
        return [judge_endpoints(endpoints, self._config.api_version)]


def judge_endpoints(endpoints: list[Endpoint], api_version: str) -> Finding:
    """Whether an enabled endpoint sends everything that we handle, in our version."""
    enabled = [endpoint for endpoint in endpoints if endpoint.status == "enabled"]
    if not enabled:
        return Finding(
            level="error",
            subject="webhooks",
            message="no webhook endpoint is enabled",
            remedy="register one at this hub's address for this connection",
        )
    missing = min(
        (
            sorted(set(TYPES) - set(endpoint.enabled_events))
            for endpoint in enabled
            if "*" not in endpoint.enabled_events
        ),
        key=len,
        default=[],
    )
    if missing and all("*" not in endpoint.enabled_events for endpoint in enabled):
        return Finding(
            level="warning",
            subject="webhooks",
            message=f"no endpoint sends {', '.join(missing)}",
            remedy="add these events to the endpoint; until then the event list brings them",
        )
    versions = {endpoint.api_version for endpoint in enabled if endpoint.api_version} - {api_version}
    if versions:
        return Finding(
            level="warning",
            subject="webhooks",
            message=f"an endpoint speaks {', '.join(sorted(versions))}, this connection {api_version}",
            remedy="harmless, because events are hints; register an endpoint of the same version to be tidy",
        )
    return Finding(level="ok", subject="webhooks", message=f"{len(enabled)} endpoint(s) enabled")
