"""`replay`: run a document again, or first see what that would do."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from tieout.cli.session import (
    FINDING,
    USAGE,
    Json,
    Options,
    carry_out,
    complain,
    opened,
    options,
    print_json,
    run,
    say,
    table,
)
from tieout.engine.dry_run import Forecast, forecast
from tieout.processes.finding import find


class Begin(StrEnum):
    """Where a replay begins."""

    START = "start"
    FAILED = "failed"


def replay(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(help="connection|kind|id as `tieout trace` shows it, or any id of one document.")
    ],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    repost: Annotated[
        bool,
        typer.Option("--repost", help="Make its documents anew: those outside are gone. Takes an approval."),
    ] = False,
    begin: Annotated[
        Begin,
        typer.Option("--from", help="start: all is decided anew. failed: what stands is taken as it stands."),
    ] = Begin.START,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only show what would be posted, is there already, or would fail."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a document again, as a linked attempt with actor and reason. What stands outside is never made twice.

    Examples:
      tieout replay 'billing-us|invoice|in_1PqL2Z' --dry-run

      tieout replay 'billing-us|invoice|in_1PqL2Z' --reason "tax code was corrected"

      tieout replay 'billing-us|invoice|in_1PqL2Z' --from failed --reason "the new rule is for later documents"

      tieout replay 'billing-us|invoice|in_1PqL2Z' --repost --reason "deleted in the ERP by mistake"
    """
    if not dry_run and not reason:
        complain("a replay needs a reason: --reason; or look first: --dry-run")
        raise typer.Exit(USAGE)
    lane = run(_lane(options(context), subject))
    if dry_run:
        resumes = begin is Begin.FAILED
        _show(run(_forecast(options(context), lane, repost=repost, resumes=resumes)), as_json=as_json)
        return
    arguments = {"subject": lane, "reason": reason, "repost": repost, "from": begin.value}
    done = "asked for an approval: `tieout approvals list`" if repost else "replayed"
    carry_out(context, "replay", arguments, as_json=as_json, done=done)


async def _lane(given: Options, subject: str) -> str:
    """The one lane that is meant; what is not found is left for the command to refuse."""
    async with opened(given) as app:
        matches = await find(app.hub, subject)
    lanes = {match.lane for match in matches}
    if len(lanes) > 1 and subject not in lanes:
        complain(f"{subject} means several documents; name one:")
        for match in matches:
            say(f"  '{match.lane}'    {match.what}")
        raise typer.Exit(FINDING)
    return subject if subject in lanes or not lanes else lanes.pop()


async def _forecast(given: Options, lane: str, *, repost: bool, resumes: bool) -> Forecast:
    async with opened(given) as app:
        found = await forecast(app.hub, lane, repost=repost, resumes=resumes)
    if found is None:
        complain(f"the hub knows nothing of {lane}; `tieout trace` shows what it knows")
        raise typer.Exit(FINDING)
    return found


def _show(found: Forecast, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    elif not found.steps:
        say(f"{found.process} would find nothing to do")
    else:
        rows = [
            (one.verdict, one.connection, one.what, one.amount, one.external_id, one.detail)
            for one in found.steps
        ]
        columns = ("verdict", "system", "what", "amount", "stands as", "detail")
        table(f"Dry run of {found.process}: nothing was written", columns, rows, right=("amount",))
    if found.fails:
        raise typer.Exit(FINDING)
