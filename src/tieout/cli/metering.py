"""`usage`: report by file what customers used; every row once, whatever is given twice."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated, Any

import typer

from tieout.canonical.model import Value
from tieout.canonical.outcome import NotFound
from tieout.cli.session import (
    FINDING,
    USAGE,
    Json,
    Options,
    command,
    complain,
    opened,
    options,
    print_json,
    run,
    say,
    table,
)
from tieout.engine.usage import MOST_AT_ONCE, Judged, Unfit, UsageRow, Used, judge, of_invoice

COLUMNS = ("identifier", "customer", "meter", "quantity", "at")
app = typer.Typer(help="What customers used, told to billing's meters.", no_args_is_help=True)


class Report(Value, frozen=True):
    """How many rows stand how; `rows` are those that are not simply new or reported. `taken`: whether new ones were."""

    file: str
    connection: str
    taken: bool
    counts: dict[str, int]
    rows: tuple[Judged, ...]


@app.command("report")
def report(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help=f"CSV with the columns {', '.join(COLUMNS)}.", exists=True, dir_okay=False)
    ],
    connection: Annotated[str, typer.Option(help="The billing connection.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show how every row stands; take nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Report usage, each identifier once and for good: give the same file again after any interruption.

    The file is judged whole, and one row that cannot be taken keeps all of it out. `customer` is billing's id or the
    CRM account's, `at` a moment with its time zone (2026-01-31T12:00:00Z). What was taken is sent by the worker; a
    later dry run shows what was reported, waits, or was refused.

    Examples:
      tieout usage report january.csv --connection billing-us --dry-run

      tieout usage report january.csv --connection billing-us
    """
    try:
        rows = read(file)
        found = run(_report(options(context), file, connection, rows, dry_run=dry_run))
    except Unfit as error:
        complain(str(error))
        raise typer.Exit(USAGE) from error
    if as_json:
        print_json(found)
    else:
        _show(found)
    if any(one.state in ("refused", "conflict") for one in found.rows):
        raise typer.Exit(FINDING)


@app.command("of")
def of(
    context: typer.Context,
    invoice: Annotated[str, typer.Argument(help="Billing's id of an invoice.")],
    connection: Annotated[str, typer.Option(help="The billing connection.")],
    as_json: Json = False,
) -> None:
    """Show what usage an invoice was made of: billed, at the meter, and reported by tieout.

    Exit code 1 when what was billed and what the meter holds now differ by a unit or more.

    Examples:
      tieout usage of in_1PqL2Z --connection billing-us
    """
    try:
        found = run(_of(options(context), connection, invoice))
    except (Unfit, NotFound) as error:
        complain(str(error))
        raise typer.Exit(USAGE) from error
    if as_json:
        print_json(found)
    else:
        rows = [
            (
                one.line.meter,
                f"{one.line.start:%Y-%m-%d %H:%M}",
                f"{one.line.end:%Y-%m-%d %H:%M}",
                str(one.line.billed),
                str(one.line.metered),
                f"{one.reported} in {one.reports}",
            )
            for one in found
        ]
        names = ("meter", "from", "to (UTC)", "billed", "at the meter", "reported here")
        table(f"Usage of {invoice}", names, rows, right=names[3:])
    if not all(one.agrees for one in found):
        raise typer.Exit(FINDING)


async def _of(given: Options, connection: str, invoice: str) -> tuple[Used, ...]:
    async with opened(given) as hub_app:
        return await of_invoice(hub_app.hub, connection, invoice)


def read(file: Path) -> list[UsageRow]:
    """The rows of a file. Raises Unfit, with every line that is wrong."""
    with file.open(newline="", encoding="utf-8-sig") as opened_file:
        lines = csv.DictReader(opened_file)
        if tuple(lines.fieldnames or ()) != COLUMNS:
            raise Unfit(f"{file}: the first line must be {','.join(COLUMNS)}")
        rows, wrong = [], []
        for line in lines:
            try:
                rows.append(_row(line))
            except (ValueError, InvalidOperation, TypeError) as error:
                wrong.append(f"{file}:{lines.line_num}: {error}")
    if wrong:
        raise Unfit("\n".join(wrong[:20]))
    return rows


def _row(line: dict[str, str]) -> UsageRow:
    if None in line or None in line.values():
        raise ValueError(f"{len(COLUMNS)} columns are wanted")
    try:
        quantity = Decimal(line["quantity"])
    except InvalidOperation:
        quantity = Decimal("NaN")
    if not quantity.is_finite():
        raise ValueError(f"quantity {line['quantity']!r} is no number")
    at = datetime.fromisoformat(line["at"])
    return UsageRow(
        identifier=line["identifier"],
        customer=line["customer"],
        meter=line["meter"],
        quantity=quantity,
        at=at,
    )


async def _report(
    given: Options, file: Path, connection: str, rows: Sequence[UsageRow], *, dry_run: bool
) -> Report:
    async with opened(given) as hub_app:
        judged = await judge(hub_app.hub, connection, rows)
    counts = dict(Counter(one.state for one in judged))
    told = tuple(one for one in judged if one.state not in ("new", "reported"))
    unfit = any(one.state in ("refused", "conflict") for one in told)
    new = {one.identifier for one in judged if one.state == "new"}
    taken = bool(new) and not dry_run and not unfit
    if taken:
        fresh = [row for row in rows if row.identifier in new]
        for start in range(0, len(fresh), MOST_AT_ONCE):
            await _take(given, file, connection, fresh[start : start + MOST_AT_ONCE])
    return Report(file=str(file), connection=connection, taken=taken, counts=counts, rows=told)


async def _take(given: Options, file: Path, connection: str, rows: Sequence[UsageRow]) -> None:
    arguments: dict[str, Any] = {"connection": connection, "file": file.name, "rows": list(rows)}
    answer = await command(given, "usage.report", arguments)
    if answer.refused:
        raise Unfit(str(answer.result.get("error", "it was not taken")))


def _show(found: Report) -> None:
    if found.rows:
        rows = [(one.identifier, one.state, one.why) for one in found.rows]
        table("Rows that are not new or reported", ("identifier", "state", "why"), rows)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(found.counts.items()))
    say(f"{found.file}: {counts or 'no rows'}")
    say(
        "taken: the worker reports them; `--dry-run` shows how they stand"
        if found.taken
        else "nothing was taken"
    )
