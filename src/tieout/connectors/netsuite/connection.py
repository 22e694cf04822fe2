"""The connection: every capability of one NetSuite account, and what `check` finds about it."""

from __future__ import annotations

from tieout.canonical.outcome import Failure, Misconfigured, RateLimited, Transient
from tieout.canonical.write import Write
from tieout.connectors.contract import Finding, Identity, Limits, World
from tieout.connectors.http import BadBody
from tieout.connectors.netsuite.client import QueryRefused
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.listing import Listing
from tieout.connectors.netsuite.signin import canonical_account, is_live
from tieout.connectors.netsuite.wire import Structs, read

LIMITS = "/services/rest/system/v1/governanceLimits"
CUSTOM_FIELDS = {
    "transaction": ("custbody_tieout_source", "custbody_tieout_reason", "custbody_tieout_trace"),
    "transactionline": ("custcol_tieout_source_line", "custcol_service_start", "custcol_service_end"),
    "customer": ("custentity_crm_account",),
}


class NetSuite(Listing):
    """Writer, BulkWriter, Assigner, Approver, Verifier, StatusReader, Lister, LedgerReader, Catalogue, Checker of one
    account."""

    def approves(self, write: Write) -> bool:
        """Whether this connection's role may approve the document, by the configured routing of its subsidiary."""
        return self.config.approval_of(write) == "hub"

    async def identity(self) -> Identity:
        """Company name and account. Raises Failure, also when another account than the pinned one answers."""
        account = await self.client.account() or self._account_of_url()
        rows = await self.client.query("SELECT id, name, parent FROM subsidiary", operation="identity")
        root = next((row for row in rows if not row.get("parent")), rows[0] if rows else {})
        if account and canonical_account(account) != canonical_account(self.config.account):
            raise Failure(self.client.wrong_account(account))
        account = canonical_account(account or self.config.account)
        if is_live(account) != self.config.live:
            raise Failure(
                Misconfigured(
                    scope="connection",
                    key=self.name,
                    message=f"{account} is {'a production' if is_live(account) else 'no production'} account",
                    remedy=f"set live of {self.name}, or the url and account of the one that is meant",
                )
            )
        return Identity(organisation=str(root.get("name") or ""), account=account, live=is_live(account))

    def _account_of_url(self) -> str:
        """The account in the vendor's own host names; empty for any other host."""
        host = self.config.base.partition("//")[2].partition("/")[0]
        account, found, _ = host.partition(".suitetalk.api.netsuite.com")
        return account if found else ""

    async def check(self) -> tuple[Finding, ...]:
        """What is wrong with sign-in, permissions, custom fields and configuration, and how to mend it."""
        try:
            identity = await self.identity()
        except Failure as error:
            return (_failed("sign-in", error),)
        findings = [
            Finding(level="ok", subject="sign-in", message=f"{identity.organisation}, {identity.account}")
        ]
        for finding in (
            await self._check_subsidiaries(),
            await self._check_periods(),
            await self._check_limits(),
        ):
            findings += finding
        for table, fields in CUSTOM_FIELDS.items():
            for field in fields:
                findings += await self._check_field(table, field)
        if not self.config.enforce_keys:
            findings.append(
                Finding(
                    level="warning",
                    subject="enforce_keys",
                    message="external ids are not enforced: after an unknown outcome documents wait until absence is"
                    " certain",
                    remedy="create two invoices under one external id in a sandbox; if the second is refused, set it",
                )
            )
        return tuple(findings)

    async def _check_subsidiaries(self) -> list[Finding]:
        try:
            known = await self.codes("subsidiary")
        except Failure as error:
            return [_failed("subsidiaries", error)]
        findings = []
        for subsidiary in sorted({*self.config.currencies, *self.config.entities, *self.config.approval}):
            if subsidiary not in known:
                remedy = f"correct {subsidiary} under approval, currencies and entities of {self.name}"
                findings.append(
                    Finding(
                        level="error", subject=f"subsidiary {subsidiary}", message="unknown", remedy=remedy
                    )
                )
            elif subsidiary not in self.config.currencies:
                findings.append(
                    Finding(
                        level="error",
                        subject=f"subsidiary {subsidiary}",
                        message="its functional currency is not configured",
                        remedy=f'write {subsidiary} = "USD" (or what it is) under currencies of {self.name}',
                    )
                )
        return findings or [Finding(level="ok", subject="subsidiaries", message=f"{len(known)} known")]

    async def _check_periods(self) -> list[Finding]:
        try:
            periods = await self.known_periods(younger_than_seconds=0)
        except Failure as error:
            return [_failed("periods", error)]
        opened = sum(1 for period in periods if period.status == "open")
        if not opened:
            remedy = "open a period, or give the role Manage Accounting Periods (view)"
            return [Finding(level="error", subject="periods", message="none is open", remedy=remedy)]
        return [Finding(level="ok", subject="periods", message=f"{opened} of {len(periods)} open")]

    async def _check_limits(self) -> list[Finding]:
        """Whether the account has room for the calls we make at once. Only administrators may ask: nothing without."""
        try:
            response = await self.client.look(LIMITS, operation="check")
            told = read(Structs.limits, response.body) if response.status == 200 else None
        except (Failure, BadBody):
            told = None
        if told is None or not told.account_concurrency_limit:
            return []
        most = told.account_concurrency_limit
        if self.config.in_flight <= most:
            return [Finding(level="ok", subject="concurrency", message=f"{self.config.in_flight} of {most}")]
        return [
            Finding(
                level="error",
                subject="concurrency",
                message=f"in_flight is {self.config.in_flight}, the whole account may have {most}",
                remedy=f"set in_flight of {self.name} below {most}: others use the account too",
            )
        ]

    async def _check_field(self, table: str, field: str) -> list[Finding]:
        key = "transaction" if table == "transactionline" else "id"
        try:
            await self.client.query_page(
                f"SELECT {key}, {field} FROM {table} WHERE {key} = 0", operation="check"
            )
        except QueryRefused:
            remedy = f"create the custom field {field} and show it on the forms that the integration uses"
            return [Finding(level="error", subject=field, message=f"not a field of {table}", remedy=remedy)]
        except Failure as error:
            return [_failed(field, error)]
        return []


def _failed(subject: str, error: Failure) -> Finding:
    outcome = error.outcome
    if isinstance(outcome, Transient | RateLimited):
        return Finding(level="error", subject=subject, message=outcome.reason, remedy="try again")
    remedy = outcome.remedy if isinstance(outcome, Misconfigured) else ""
    return Finding(level="error", subject=subject, message=outcome.message, remedy=remedy)


def open_connection(name: str, config: NetSuiteConfig, world: World) -> NetSuite:
    """The connection object; opens no socket."""
    return NetSuite(name, config, world)


def limits(config: NetSuiteConfig) -> Limits:
    """Calls in flight, of the whole account's limit; the vendor publishes no rate."""
    return Limits(in_flight=config.in_flight)
