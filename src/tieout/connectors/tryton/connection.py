"""The connection: every capability of one Tryton user, and what `check` finds about it."""

from __future__ import annotations

from tieout.canonical.outcome import Failure, Misconfigured, RateLimited, Transient
from tieout.connectors.contract import Finding, Identity, Limits, World
from tieout.connectors.tryton.codes import UnknownCode
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.listing import Listing


class Tryton(Listing):
    """Writer, Approver, Assigner, Verifier, StatusReader, Lister, LedgerReader, Catalogue and Checker of one user."""

    async def identity(self) -> Identity:
        """The companies' names and the database. Raises Failure."""
        companies = await self.companies()
        names = []
        for company in companies:
            row = await self.code_tables.row("subsidiary", company, "")
            names.append(str(row.get("rec_name") or company))
        return Identity(organisation=", ".join(names), account=self.config.database, live=self.config.live)

    async def check(self) -> tuple[Finding, ...]:
        """What is wrong with sign-in, companies, journals, accounts and periods, and how to mend it."""
        try:
            identity = await self.identity()
        except (Failure, UnknownCode) as error:
            return (_failed("sign-in", error),)
        findings = [
            Finding(level="ok", subject="sign-in", message=f"{identity.organisation} ({identity.account})")
        ]
        companies = await self.companies()
        preferences = await self.client.preferences()
        if len(companies) > 1 and preferences.get("company_filter") != "all":
            findings.append(
                Finding(
                    level="error",
                    subject="company filter",
                    message="the user sees one of its companies at a time",
                    remedy=f"set Company Filter to All in the preferences of {self.config.username}",
                )
            )
        for company in sorted(set(self.config.entities) - set(companies)):
            remedy = f"add it to the user's companies, or correct entities of {self.name}"
            findings.append(
                Finding(level="error", subject=f"company {company}", message="not the user's", remedy=remedy)
            )
        for company in companies:
            findings += await self._check_company(company)
        return tuple(findings)

    async def _check_company(self, company: str) -> list[Finding]:
        subject = f"company {company}"
        try:
            config = self.config
            for code in (
                config.revenue_journal,
                config.cash_journal,
                config.settling_journal,
                config.general_journal,
            ):
                await self.code_tables.id("journal", code, company)
            if not await self.code_tables.receivables(company):
                remedy = "give the company a chart of accounts with a receivables account"
                return [
                    Finding(level="error", subject=subject, message="no receivables account", remedy=remedy)
                ]
            periods = await self.known_periods(company, younger_than_seconds=0)
        except (Failure, UnknownCode) as error:
            return [_failed(subject, error)]
        opened = sum(1 for period in periods if period.status == "open")
        if not opened:
            remedy = "create a fiscal year with periods and sequences"
            return [Finding(level="error", subject=subject, message="no period is open", remedy=remedy)]
        return [Finding(level="ok", subject=subject, message=f"{opened} of {len(periods)} periods open")]


def _failed(subject: str, error: Failure | UnknownCode) -> Finding:
    outcome = error.outcome
    if isinstance(outcome, Transient | RateLimited):
        return Finding(level="error", subject=subject, message=outcome.reason, remedy="try again")
    remedy = outcome.remedy if isinstance(outcome, Misconfigured) else ""
    return Finding(level="error", subject=subject, message=outcome.message, remedy=remedy)


def open_connection(name: str, config: TrytonConfig, world: World) -> Tryton:
    """The connection object; opens no socket."""
    return Tryton(name, config, world)


def limits(config: TrytonConfig) -> Limits:
    """Calls in flight; what makes or posts goes one at a time per company besides."""
    return Limits(in_flight=config.in_flight)
