"""`tieout demo`, `twins`, `bench` and `sim`: commands that the proving ground adds to the hub's."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import structlog
import typer
import uvloop

T = TypeVar("T")
FINDING, USAGE, INTERRUPTED = 1, 2, 130


_BROUGHT = {
    "bench": ("tieout_lab.bench.command", "bench"),
    "lab": ("tieout_lab.tryton.command", "app"),
    "sim": ("tieout_lab.simulation.command", "sim"),
}


def __getattr__(name: str) -> Any:
    """`bench`, `lab` and `sim` are loaded only when they are called for."""
    if name not in _BROUGHT:
        raise AttributeError(name)
    module, member = _BROUGHT[name]
    return getattr(import_module(module), member)


def twins(
    only: Annotated[str, typer.Option(help="These alone, by commas: stripe, salesforce, netsuite.")] = "",
    factor: Annotated[float, typer.Option(help="Technical seconds that pass in a real second.")] = 1.0,
    business: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"], help="Where the business clock stands."),
    ] = None,
    epoch: Annotated[str, typer.Option(hidden=True)] = "",
    port_base: Annotated[int, typer.Option(help="The first port; the others follow. 0: any free ones.")] = 0,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    tryton: Annotated[
        str,
        typer.Option(help="Serve the real ERP as well, on this PostgreSQL: postgresql://user@host/database."),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="One line of JSON; that is what it prints anyway.")
    ] = False,
) -> None:
    """Serve the digital twins on loopback ports until stopped.

    Prints one line of JSON: where each is, with credentials, and where they are steered.

    Examples:
      tieout twins

      tieout twins --only stripe --business 2026-01-15 --port-base 9000
    """
    del as_json
    from tieout_lab import serve
    from tieout_lab.environments import NotThere

    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(serve.CREATE)):
        raise typer.BadParameter(
            f"{', '.join(unknown)}: known are {', '.join(serve.CREATE)}", param_hint="--only"
        )
    opening = serve.Opening(
        only=wanted,
        factor=factor,
        business=_aware(business),
        epoch=_aware(datetime.fromisoformat(epoch) if epoch else None),
        port_base=port_base,
        with_parent=with_parent,
        tryton=tryton,
    )
    try:
        serve.run(opening)
    except (OSError, NotThere) as error:
        typer.echo(f"tieout twins: {error}", err=True)
        raise typer.Exit(USAGE) from error


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def demo(
    customers: Annotated[int, typer.Option(min=1, help="How many customers buy.")] = 12,
    seed: Annotated[int, typer.Option(help="The same seed, the same business and the same faults.")] = 7,
    faults: Annotated[
        bool, typer.Option("--faults", help="Everything goes wrong that can; technical time runs at x60.")
    ] = False,
    no_echo_suppression: Annotated[
        bool, typer.Option("--no-echo-suppression", help="Do not drop the echoes of our own writes.")
    ] = False,
    resolve: Annotated[
        bool, typer.Option("--resolve", help="Mend both planned exceptions at the end.")
    ] = False,
    sabotage: Annotated[
        str,
        typer.Option(
            help="Alter one ERP document behind the hub's back: drop, double, cent, period, account."
        ),
    ] = "",
    erp: Annotated[
        str,
        typer.Option(help="`tryton`: the books of the second legal entity in a real ERP. Needs PostgreSQL."),
    ] = "",
    postgres: Annotated[
        str, typer.Option(help="The PostgreSQL of the real ERP; else TIEOUT_TRYTON_POSTGRES, else loopback.")
    ] = "",
    database: Annotated[
        str, typer.Option(help="An empty database; by default a file of the run's own.")
    ] = "",
    directory: Annotated[
        Path | None, typer.Option(help="Where to write the configuration, and leave it.")
    ] = None,
    headless: Annotated[bool, typer.Option("--headless", help="No progress bars; ends by itself.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """A business on digital twins, from the deal to the ledger; then the books.

    Exit code 0 when the books agree but for the planned exceptions, 1 when something is unexplained or stands twice.

    Examples:
      tieout demo

      tieout demo --headless --json --customers 50 --seed 7

      tieout demo --faults --seed 3

      tieout demo --sabotage cent

      tieout demo --erp tryton --headless --json --customers 20
    """
    from tieout_lab import demo as run
    from tieout_lab import demo_show
    from tieout_lab.environments import NotThere
    from tieout_lab.tryton.server import environment, postgres_url, template

    if sabotage and sabotage not in run.SABOTAGES:
        raise typer.BadParameter(f"{sabotage!r}: one of {', '.join(run.SABOTAGES)}", param_hint="--sabotage")
    if erp not in ("", "tryton"):
        raise typer.BadParameter(f"{erp!r}: the only real one is tryton", param_hint="--erp")
    try:
        real = postgres_url(postgres) if erp else ""
        if real:
            environment()
            template(real)
    except NotThere as error:
        typer.echo(f"tieout demo: {error}", err=True)
        raise typer.Exit(USAGE) from error
    if faults or not structlog.is_configured():
        # Warnings are what is asked for; errors would be ours. Nothing but the result goes to standard output.
        structlog.configure(
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
            logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        )
    wish = run.Wish(
        customers=customers,
        seed=seed,
        faults=faults,
        echo_suppression=not no_echo_suppression,
        resolve=resolve,
        sabotage=sabotage,
        database=database,
        directory=directory,
        tryton=real,
    )
    quiet = headless or as_json
    try:
        outcome = run_to_end(run.play(wish) if quiet else demo_show.watch(wish))
    except (KeyboardInterrupt, asyncio.CancelledError) as stopped:
        raise typer.Exit(INTERRUPTED) from stopped
    except demo_show.EXPECTED as error:
        typer.echo(f"tieout demo: {error}", err=True)
        raise typer.Exit(USAGE if isinstance(error, run.NotEmpty) else FINDING) from error
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcome.document()).decode() + "\n")
    elif headless:
        demo_show.show(outcome)
    for violation in outcome.violations:
        typer.echo(f"outside truth: {violation}", err=True)
    if not outcome.tied or outcome.violations:
        raise typer.Exit(FINDING)


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; SIGTERM ends it as Ctrl-C does, in order."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def whole() -> T:
            task = asyncio.current_task()
            if task is not None:
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
            return await work

        return runner.run(whole())
