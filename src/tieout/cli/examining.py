"""`tieout invariants`: what must never be so, and how it stands."""

from __future__ import annotations

import typer

from tieout.cli.session import FINDING, Json, Options, complain, opened, options, print_json, run, table
from tieout.engine.invariants import Standing, examine


def invariants(context: typer.Context, as_json: Json = False) -> None:
    """Check every invariant on this hub. What only the simulation or the books can tell is listed as `not here`.

    Exit code 1 when one is broken.

    Examples:
      tieout invariants

      tieout invariants --json
    """
    found = run(_examine(options(context)))
    broken = [one for one in found if one.state == "broken"]
    if as_json:
        print_json(found)
    else:
        rows = [(one.id, one.state, one.text, ", ".join(one.forms)) for one in found]
        table("Invariants", ("id", "state", "what must be so", "forms"), rows)
        for one in broken:
            for row in one.rows:
                complain(f"{one.id} {row}")
    if broken:
        raise typer.Exit(FINDING)


async def _examine(given: Options) -> list[Standing]:
    async with opened(given) as hub_app:
        return await examine(hub_app.hub)
