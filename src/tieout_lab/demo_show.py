"""The demo for people: progress while it runs, the books as tables, and the pages to look at."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from tieout_lab.child import NoTwins
from tieout_lab.demo import NotEmpty, Outcome, Stage, Wish, play
from tieout_lab.mending import NotMended
from tieout_lab.scenario.play import NeverQuiet
from tieout_lab.scenario.steering import Refused

EXPECTED = (NoTwins, NotEmpty, NotMended, NeverQuiet, Refused)
_EXPONENTS = {"JPY": 0}


async def watch(wish: Wish) -> Outcome:
    """Run with progress bars, show the books, and leave the pages up for as long as somebody looks."""
    console = Console()
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with progress:
        task = progress.add_task("opening the twins", total=None)

        def tell(done: int, whole: int, what: str) -> None:
            progress.update(task, completed=done, total=whole, description=f"business day {what}")

        async def after(stage: Stage, outcome: Outcome) -> None:
            progress.stop()
            show(outcome, console)
            if sys.stdin.isatty() and sys.stdout.isatty():
                console.print(f"\nThe pages are at [bold]{stage.url}[/bold]. Ctrl-C ends the demo.")
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()

        return await play(wish, tell=tell, after=after)


def show(outcome: Outcome, console: Console | None = None) -> None:
    """The books as tables, then what differs, and what happened on the way."""
    to = console or Console()
    books = outcome.books["books"]
    _table(
        to,
        "Billing and ERP",
        ("entity", "measure", "billing", "sum", "ERP", "sum in the ERP", "difference"),
        [
            (
                row["entity"],
                row["measure"],
                str(row["billing_count"]),
                _money(row["billing_minor"], row["currency"]),
                str(row["erp_count"]),
                _money(row["erp_minor"], row["currency"]),
                _money(row["delta_minor"], row["currency"]) if row["delta_minor"] else "",
            )
            for row in books["billing_erp"]
        ],
    )
    differing = [row for row in books["crm_billing"] if row["delta_minor"] or row["differs_in"]]
    to.print(f"CRM and billing: {len(books['crm_billing'])} contract lines, {len(differing)} of them differ")
    ledger = [row for row in books["subledger_gl"] if row["delta_minor"]]
    to.print(
        f"Subledger and general ledger: {len(books['subledger_gl'])} balances, {len(ledger)} of them differ"
    )
    for name, title in (
        ("differences", "Differences, each owned by an open exception"),
        ("unexplained", "UNEXPLAINED"),
        ("duplicates", "DUPLICATES"),
    ):
        rows = [
            (
                one["pair"],
                one["entity"],
                one["document"],
                _money(one["amount_minor"], one["currency"]),
                one["cause"],
            )
            for one in outcome.books[name]
        ]
        if rows:
            _table(to, title, ("pair", "entity", "document", "amount", "cause"), rows)
    _story(outcome, to)


def _story(outcome: Outcome, to: Console) -> None:
    if outcome.sabotaged is not None:
        to.print(f"Sabotaged: {outcome.sabotaged['kind']} of {outcome.sabotaged['number']}")
    if outcome.faults:
        to.print("Faults: " + ", ".join(f"{kind} {count}" for kind, count in outcome.faults.items()))
    if outcome.in_doubt:
        to.print("Out of doubt by: " + ", ".join(f"{way} {count}" for way, count in outcome.in_doubt.items()))
    to.print("Writes: " + ", ".join(f"{name} {count}" for name, count in sorted(outcome.writes.items())))
    if outcome.violations:
        verdict = f"The judge from outside disagrees: {len(outcome.violations)} violations."
    elif outcome.tied:
        verdict = (
            "The books agree."
            if not outcome.books["differences"]
            else ("The books agree but for what open exceptions explain.")
        )
    else:
        verdict = "The books do not agree."
    to.print(f"[bold]{verdict}[/bold] ({outcome.seconds} s, hash {outcome.books['books_hash'][:12]})")


def _table(to: Console, title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        right = column in ("billing", "sum", "ERP", "sum in the ERP", "difference", "amount")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    to.print(table)


def _money(amount_minor: int, currency: str) -> str:
    """Minor units as people write them."""
    exponent = _EXPONENTS.get(currency, 2)
    sign, digits = "-" if amount_minor < 0 else "", f"{abs(amount_minor):0{exponent + 1}d}"
    whole = f"{int(digits[:-exponent] if exponent else digits):,}"
    return f"{sign}{whole}{'.' + digits[-exponent:] if exponent else ''} {currency}"
