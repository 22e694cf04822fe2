"""`audit`: the proof that nobody altered what was recorded."""

from __future__ import annotations

import typer

from tieout.cli.session import FINDING, Json, Options, complain, opened, options, print_json, run, say
from tieout.engine.sealing import Verdict, verify

app = typer.Typer(
    help="The sealed record of what was done, and by whom.", no_args_is_help=True, rich_markup_mode=None
)


@app.callback()
def _audit() -> None:
    """The sealed record of what was done, and by whom."""


@app.command("verify")
def verify_(context: typer.Context, as_json: Json = False) -> None:
    """Walk the whole chain and check every signed head; names the first entry that does not hold.

    Examples:
      tieout audit verify

      tieout audit verify --json
    """
    found = run(_verify(options(context)))
    if as_json:
        print_json(found)
    elif found.first_bad:
        complain(f"the audit does not hold: {found.message}")
    else:
        say(
            f"{found.rows} entries hold under {found.heads} signed heads; {found.unsealed} are not sealed yet"
        )
    if found.first_bad:
        raise typer.Exit(FINDING)


async def _verify(given: Options) -> Verdict:
    async with opened(given) as hub_app:
        return await verify(hub_app.hub)
