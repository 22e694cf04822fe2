"""The command `tieout bench`."""

from __future__ import annotations

from typing import Annotated

import typer


def bench(
    events: Annotated[
        int, typer.Option(help="How many events the throughput measurements take; 6000, with --peers 5000.")
    ] = 0,
    database: Annotated[
        str,
        typer.Option(help="A PostgreSQL server: postgresql://user@host:port/database. Without it: SQLite."),
    ] = "",
    only: Annotated[
        str,
        typer.Option(
            help="These alone, by commas: stub, end_to_end, intake, vendor_limited, latency, ...; with --peers: dbos,"
            " restate, celery, procrastinate."
        ),
    ] = "",
    erp: Annotated[
        str, typer.Option(help="`tryton`: only the posting into a real ERP. Needs PostgreSQL.")
    ] = "",
    invoices: Annotated[int, typer.Option(min=2, help="How many invoices --erp posts each way.")] = 1000,
    peers: Annotated[
        bool, typer.Option("--peers", help="The same work on other engines, beside the hub's own.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure the hub, each figure beside its own raw limit in the same run.

    On PostgreSQL a database of the bench's own is made on that server and dropped. Exit code 1: a goal is missed.

    Examples:
      tieout bench

      tieout bench --database postgresql://postgres@127.0.0.1/postgres --json

      tieout bench --only end_to_end,latency --events 3000

      tieout bench --erp tryton --invoices 200

      tieout bench --peers --json
    """
    if erp:
        raise typer.Exit(_real(erp, invoices, database, as_json))
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if peers:
        raise typer.Exit(_peers(events or 5000, database, wanted, as_json))
    from tieout_lab.bench.main import run

    raise typer.Exit(run(events=events or 6000, database=database or None, json_output=as_json, only=wanted))


def _peers(events: int, database: str, only: list[str], as_json: bool) -> int:
    """The comparison; without a PostgreSQL, of what needs none."""
    from tieout_lab.bench.peers import compare
    from tieout_lab.environments import NotThere
    from tieout_lab.tryton.server import postgres_url

    try:
        postgres = postgres_url(database)
    except NotThere as error:
        if database:
            typer.echo(f"tieout bench: {error}", err=True)
            return 2
        postgres = ""
    return compare.run(events=events, postgres=postgres, json_output=as_json, only=only)


def _real(erp: str, invoices: int, database: str, as_json: bool) -> int:
    """The measurement of a real ERP. Exit code 2 where it cannot be had."""
    from tieout_lab.bench import real_erp
    from tieout_lab.environments import NotThere
    from tieout_lab.tryton.server import postgres_url, template

    if erp != "tryton":
        raise typer.BadParameter(f"{erp!r}: the only real one is tryton", param_hint="--erp")
    try:
        postgres = postgres_url(database)
        template(postgres)
    except NotThere as error:
        typer.echo(f"tieout bench: {error}", err=True)
        return 2
    return real_erp.run(invoices=invoices, postgres=postgres, json_output=as_json)
