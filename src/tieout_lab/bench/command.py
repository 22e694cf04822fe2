"""The command `tieout bench`."""

from __future__ import annotations

from typing import Annotated

import typer


def bench(
    events: Annotated[int, typer.Option(help="How many webhooks the throughput measurements take.")] = 6000,
    database: Annotated[
        str,
        typer.Option(help="A PostgreSQL server: postgresql://user@host:port/database. Without it: SQLite."),
    ] = "",
    only: Annotated[
        str,
        typer.Option(help="These alone, by commas: stub, end_to_end, intake, vendor_limited, latency, ..."),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Measure the hub, each figure beside its own raw limit in the same run.

    On PostgreSQL a database of the bench's own is made on that server and dropped. Exit code 1: a goal is missed.

    Examples:
      tieout bench

      tieout bench --database postgresql://postgres@127.0.0.1/postgres --json

      tieout bench --only end_to_end,latency --events 3000
    """
    from tieout_lab.bench.main import run

    wanted = [name.strip() for name in only.split(",") if name.strip()]
    raise typer.Exit(run(events=events, database=database or None, json_output=as_json, only=wanted))
