"""`check`: what is wrong, and how to mend it, before a deal or an invoice finds out."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import msgspec
import typer

from tieout.app import App, compose, configuration_errors, descriptors, system_ports
from tieout.canonical.outcome import Failure
from tieout.cli import telling
from tieout.cli.mark import mark_file, went_back
from tieout.cli.session import EXPECTED, FINDING, Json, Options, options, print_json, run, say, table
from tieout.connectors.contract import Catalogue, Checker, Finding, Inbound
from tieout.engine import pinning, restoring
from tieout.engine.certifying import Standing, load, standings
from tieout.engine.hub import Connection
from tieout.engine.unserved import cause, remedy, unserved
from tieout.masterdata.coverage import coverage, unknown_codes
from tieout.settings import SettingsFile
from tieout.store import people
from tieout.store.database import BadDatabase
from tieout.store.revision import NEWER, bring_up_to_date, known, newest, present, usable

_MARK = {"ok": "ok", "warning": "WARNING", "error": "ERROR"}


class Report(msgspec.Struct, kw_only=True):
    """What `check` found. `behaviours`: per connector how much of what we rely on is documented, assumed, verified,
    contradicted; `relied_on`: each of them, with its source, and where and when `certify` saw it."""

    findings: list[Finding]
    behaviours: dict[str, dict[str, int]]
    relied_on: list[Standing] = msgspec.field(default_factory=list)

    @property
    def errors(self) -> int:
        """How many must be mended."""
        return sum(one.level == "error" for one in self.findings)


def check(context: typer.Context, as_json: Json = False) -> None:
    """Say what is wrong and how to mend it: configuration, database, keys, sign-in, scopes, periods, mapping coverage.

    Changes nothing: neither here nor outside. Exit code 1 when something must be mended.

    Examples:
      tieout check

      tieout check --json
    """
    report = run(_report(options(context)))
    if as_json:
        print_json(report)
    else:
        rows = [
            (_MARK[one.level], one.subject, one.message + (f"\nmend: {one.remedy}" if one.remedy else ""))
            for one in report.findings
        ]
        table("What was checked", ("", "subject", "finding"), rows)
        for vendor, counts in report.behaviours.items():
            say(f"{vendor} behaviours relied on: {counted(counts)} (each of them: tieout check --json)")
        say("nothing must be mended" if not report.errors else f"{report.errors} to mend")
    if report.errors:
        raise typer.Exit(FINDING)


async def _report(given: Options) -> Report:
    findings: list[Finding] = []
    report = Report(findings=findings, behaviours={})
    try:
        file = given.file()
    except EXPECTED as error:
        findings.append(_wrong("configuration", error))
        return report
    findings.append(Finding(level="ok", subject="configuration", message=f"{file.path} is read"))
    findings.append(_database(given, file))
    findings.append(_key_file(file))
    _behaviours(report, file)
    if errors := configuration_errors(file, system_ports()):
        findings += [_wrong("configuration", error) for error in errors]
        return report
    try:
        async with _composed(given, file) as app:
            findings += [Finding(level="ok", subject="rules", message=_rules_read(app))]
            findings += await _memory(app, file)
            for connection in app.hub.connections.values():
                findings += await _connection(app, connection)
            findings += await _periods(app)
            findings += await _coverage(app)
            findings += await telling.findings(app)
            findings += await _workers(app)
    except EXPECTED as error:
        findings.append(_wrong("configuration", error))
    return report


def _wrong(subject: str, error: object) -> Finding:
    return Finding(
        level="error", subject=subject, message=str(error), remedy="correct the line that is named"
    )


def _behaviours(report: Report, file: SettingsFile) -> None:
    """What we rely on of each configured connector, and how sure we are of it by now."""
    used = {section.get("vendor") for section in file.settings.connections.values()}
    try:
        certificates = load(file.directory)
    except ValueError as error:
        remedy = "run `tieout certify` for this connection again, or remove the file"
        report.findings.append(
            Finding(level="warning", subject="certificates", message=str(error), remedy=remedy)
        )
        certificates = ()
    for one in descriptors():
        if one.vendor not in used:
            continue
        found = standings(one, certificates)
        report.behaviours[one.vendor] = count(found)
        report.relied_on += found
        report.findings += [
            Finding(
                level="error",
                subject=f"behaviour {standing.behaviour}",
                message=f"{standing.account} did otherwise on {standing.on}: {standing.seen}",
                remedy="see MAPPING.md for what rests on it; once it is settled, `tieout certify` again",
            )
            for standing in found
            if standing.state == "contradicted"
        ]


STATES = ("documented", "assumed", "verified", "contradicted")


def count(found: Iterable[Standing]) -> dict[str, int]:
    """How many behaviours are in each state; contradicted only where one is."""
    states = [one.state for one in found]
    return {state: states.count(state) for state in STATES if state != "contradicted" or state in states}


def counted(counts: Mapping[str, int]) -> str:
    """The counts in words."""
    return ", ".join(f"{number} {state}" for state, number in counts.items())


def _database(given: Options, file: SettingsFile) -> Finding:
    try:
        there, wanted = present(given.url(file)), newest()
    except BadDatabase as error:
        return Finding(
            level="error", subject="database", message=str(error), remedy="correct url under [database]"
        )
    if there == wanted:
        return Finding(level="ok", subject="database", message=f"at revision {there}")
    if there and not known(there) and usable(given.url(file)):
        message = f"at revision {there}, of a newer release, which this one may work beside"
        return Finding(level="ok", subject="database", message=message)
    if there and not known(there):
        message, remedy = NEWER.format(there=there).split("; ")
        return Finding(level="error", subject="database", message=message, remedy=remedy)
    message = f"at revision {there}, this release works with {wanted}" if there else "it has no tables yet"
    return Finding(
        level="warning", subject="database", message=message, remedy="tieout migrate (tieout up does it too)"
    )


def _key_file(file: SettingsFile) -> Finding:
    path = file.directory / file.settings.keys.master
    if not path.exists():
        return Finding(
            level="ok",
            subject="key file",
            message=f"{path} will be made on first use; then keep a copy elsewhere",
        )
    if path.stat().st_mode & 0o077:
        return Finding(
            level="error", subject="key file", message=f"others may read {path}", remedy=f"chmod 600 {path}"
        )
    return Finding(level="ok", subject="key file", message=f"{path}, readable by its owner alone")


async def _memory(app: App, file: SettingsFile) -> list[Finding]:
    """Whether the database remembers all that was written outside: it may have been put back from a backup."""
    subject = "restore"
    tell = "stop every process, then `tieout restored --backup-taken-at ...`"
    findings = []
    if why := await went_back(app.hub, mark_file(file)):
        findings.append(Finding(level="error", subject=subject, message=why, remedy=tell))
    for row in await app.hub.store.fetch(people.LIST, {}):
        found = dict(zip(people.COLUMNS.split(", "), row, strict=True))
        if found["code"] == restoring.OLDER:
            findings.append(
                Finding(level="error", subject=subject, message=found["cause"], remedy=found["remedy"])
            )
    progress = await restoring.progress(app.hub)
    if progress is None:
        return findings
    taken_at = f"{progress.backup_taken_at:%Y-%m-%d %H:%M} UTC"
    since = f"restored from a backup of {taken_at}; every document is looked up first"
    if progress.unlisted:
        rest = f"until these were listed again: {', '.join(progress.unlisted)}"
    else:
        rest = f"while these are not settled: {', '.join(progress.unsettled) or 'none any more'}"
    remedy = "let it run; settle what waits for a person"
    return [*findings, Finding(level="warning", subject=subject, message=f"{since}, {rest}", remedy=remedy)]


async def _workers(app: App) -> list[Finding]:
    """Whether somebody runs what is due."""
    if app.hub.store.dialect == "sqlite" and app.settings.groups:
        message = "worker groups are without effect on SQLite: one process runs everything"
        return [Finding(level="warning", subject="groups", message=message, remedy="use PostgreSQL")]
    return [
        Finding(
            level="error",
            subject="workers",
            message=cause(group),
            remedy=remedy(group),
        )
        for group in await unserved(app.hub)
    ]


def _rules_read(app: App) -> str:
    return ", ".join(f"{name} {len(one.rows)}" for name, one in app.hub.masterdata.tables.items())


@asynccontextmanager
async def _composed(given: Options, file: SettingsFile) -> AsyncIterator[App]:
    """The hub on its own database; on a passing one while that has no tables, so that a check leaves nothing behind."""
    ports = system_ports()
    with tempfile.TemporaryDirectory() as folder:
        database = given.database
        try:
            ready = usable(given.url(file))
        except BadDatabase:
            ready = False
        key = file.directory / file.settings.keys.master
        made = not key.exists()
        if not ready:
            database = f"sqlite:///{Path(folder) / 'check.db'}"
            bring_up_to_date(database)
        app = await compose(file, ports, database=database, migrate=False)
        if made and not ready:
            key.unlink(missing_ok=True)
        try:
            yield app
        finally:
            await app.close()


async def _connection(app: App, connection: Connection) -> list[Finding]:
    findings = [await pinning.finding(app.hub, connection)]
    api = pinning.inner(connection)
    if not isinstance(api, Checker) or findings[0].level == "error":
        return findings
    try:
        checked = await api.check()
    except Failure as failure:
        return [*findings, _unread(connection.name, failure)]
    named = [
        one
        if one.subject.startswith(connection.name)
        else msgspec.structs.replace(one, subject=f"{connection.name} {one.subject}")
        for one in checked
    ]
    if "billing" in connection.roles and not (isinstance(api, Inbound) and api.accepts_webhooks):
        named.append(
            Finding(
                level="warning",
                subject=f"{connection.name} webhooks",
                message="no webhook secret: webhooks are answered with 404, changes are seen only when polled",
                remedy=f"add an endpoint for /hooks/{connection.name} there and write its signing secret",
            )
        )
    return [*findings, *named]


async def _periods(app: App) -> list[Finding]:
    """Whether each legal entity can post today."""
    findings = []
    today = app.hub.clock.now().date()
    for entity in app.hub.masterdata.entities.values():
        api = pinning.inner(app.hub.connection(entity.erp))
        if not isinstance(api, Catalogue):
            continue
        subject = f"periods of {entity.code}"
        try:
            periods = await api.periods(entity.subsidiary)
        except Failure as failure:
            findings.append(_unread(subject, failure))
            continue
        now = next((period for period in periods if period.start <= today <= period.end), None)
        if now is None or now.status != "open":
            state = "there is none for today" if now is None else f"{now.name} is {now.status}"
            remedy = f"open the period of {today:%Y-%m} in {entity.erp}, or documents of today wait for an approval"
            findings.append(Finding(level="warning", subject=subject, message=state, remedy=remedy))
        else:
            opened = sum(period.status == "open" for period in periods)
            findings.append(
                Finding(level="ok", subject=subject, message=f"{now.name} is open; {opened} open in all")
            )
    return findings


async def _coverage(app: App) -> list[Finding]:
    """What is sold or billed and has no rule, and rules that name what the ERP does not have."""
    hub = app.hub
    data, today = hub.masterdata, hub.clock.now().date()
    findings = [*coverage(data, on=today, sold=_sold(app, today), money=_money(app))]
    for connection in hub.role("erp"):
        api = pinning.inner(connection)
        if not isinstance(api, Catalogue):
            continue
        try:
            items, accounts = await api.codes("item"), await api.codes("account")
        except Failure as failure:
            findings.append(_unread(f"{connection.name} codes", failure))
            continue
        findings += unknown_codes(data, items=items, accounts=accounts)
    for entity in data.entities.values():
        api = pinning.inner(hub.connection(entity.billing))
        if not isinstance(api, Catalogue):
            continue
        try:
            products = await api.codes("product")
        except Failure as failure:
            findings.append(_unread(f"{entity.billing} products", failure))
            continue
        findings += coverage(data, on=today, billed=[(product, entity.code) for product in products])
    unique = {(one.subject, one.message): one for one in findings}
    return list(unique.values()) or [
        Finding(level="ok", subject="mapping", message="everything sold and billed has its rules")
    ]


def _sold(app: App, today: date) -> list[tuple[str, str, str]]:
    """What the product table says is sold, by every legal entity that bills through the connection."""
    data = app.hub.masterdata
    found = []
    for row in data.tables["products"].rows:
        if row.in_force(today):
            product, billing = row.cells["crm_product"], row.cells["billing_connection"]
            found += [
                (product, "one_time", entity.code)
                for entity in data.entities.values()
                if entity.billing == billing
            ]
    return found


def _money(app: App) -> list[tuple[str, str]]:
    return [
        (one.code, currency) for one in app.hub.masterdata.entities.values() for currency in one.currencies
    ]


def _unread(subject: str, failure: Failure) -> Finding:
    remedy = getattr(failure.outcome, "remedy", "") or "try again"
    return Finding(level="error", subject=subject, message=str(failure), remedy=remedy)
