"""`books`: do CRM, billing and ERP agree, by account and to the cent."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

import typer

from tieout.canonical.money import to_major
from tieout.cli.session import FINDING, Json, Options, opened, options, print_json, run, say, table
from tieout.engine import pinning
from tieout.finance.books import Books
from tieout.finance.breaks import Difference
from tieout.processes.books import read_books


def books(
    context: typer.Context,
    cut_off: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="The day of the open receivables; by default today."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare the books as each system lists them: CRM with billing, billing with ERP, subledger with ledger.

    Exit code 0 when all agrees or an open exception explains it, 1 when something is unexplained or stands twice.

    Examples:
      tieout books

      tieout books --cut-off 2026-01-31 --json
    """
    found = run(_books(options(context), cut_off.date() if cut_off else None))
    if as_json:
        print_json(found)
    else:
        show(found)
    if not found.tied:
        raise typer.Exit(FINDING)


async def _books(given: Options, cut_off: date | None) -> Books:
    async with opened(given) as app:
        await pinning.begin(app.hub)
        return await read_books(app.hub, cut_off=cut_off)


def show(found: Books) -> None:
    """The three comparisons, then what differs."""
    table(
        "CRM and billing: contract lines that differ",
        ("entity", "contract", "product", "CRM", "billing", "delta", "differs in"),
        [
            (
                row.entity,
                row.contract,
                row.product,
                _money(row.crm.contracted_minor, row.currency) if row.crm else "-",
                _money(row.billing.contracted_minor, row.currency) if row.billing else "-",
                _money(row.delta_minor, row.currency),
                ", ".join(row.differs_in),
            )
            for row in found.books.crm_billing
            if row.delta_minor or row.differs_in
        ],
        right=("CRM", "billing", "delta"),
    )
    say(f"{len(found.books.crm_billing)} contract lines compared")
    table(
        "Billing and ERP",
        ("entity", "measure", "billing", "sum", "ERP", "sum in the ERP", "delta"),
        [
            (
                row.entity,
                row.measure + (f" at {row.cut_off}" if row.cut_off else ""),
                str(row.billing_count),
                _money(row.billing_minor, row.currency),
                str(row.erp_count),
                _money(row.erp_minor, row.currency),
                _money(row.delta_minor, row.currency),
            )
            for row in found.books.billing_erp
        ],
        right=("billing", "sum", "ERP", "sum in the ERP", "delta"),
    )
    table(
        "Subledger and general ledger",
        ("entity", "period", "account", "subledger", "ledger", "delta"),
        [
            (
                row.entity,
                row.period,
                row.account,
                _money(row.subledger_minor, row.currency) if row.subledger_minor is not None else "",
                _money(row.ledger_minor, row.currency),
                _money(row.delta_minor, row.currency),
            )
            for row in found.books.subledger_gl
        ],
        right=("subledger", "ledger", "delta"),
    )
    _differences("Differences, each with its open exception", found.differences)
    _differences("UNEXPLAINED", found.unexplained)
    _differences("DUPLICATES", found.duplicates)
    if found.tied:
        say(
            "The books agree."
            if not found.differences
            else "The books agree but for what open exceptions explain."
        )
    else:
        say(f"The books do not agree: {len(found.unexplained)} unexplained, {len(found.duplicates)} twice.")


def _differences(title: str, rows: tuple[Difference, ...]) -> None:
    if rows:
        table(
            title,
            ("pair", "entity", "document", "amount", "cause", "exception"),
            [
                (
                    one.pair,
                    one.entity,
                    one.document,
                    _money(one.amount_minor, one.currency),
                    one.cause,
                    one.exception_id or "",
                )
                for one in rows
            ],
            right=("amount",),
        )


def _money(amount_minor: int, currency: str) -> str:
    return f"{to_major(amount_minor, currency):,} {currency}" if currency else str(amount_minor)
