"""`approvals`: what was asked for and takes a second look."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tieout.cli.session import (
    FINDING,
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
from tieout.engine import registers

app = typer.Typer(
    help="What was asked for and takes a second look before it is done.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="The approval's id, as `tieout approvals list` shows it.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit.")]


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List everything that was asked for.

    Examples:
      tieout approvals list
    """
    found = run(_approvals(options(context)))
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing was asked for. `tieout exceptions resolve ID --period YYYY-MM` is one thing that does.")
        return
    rows = [
        (one.state, one.action.replace("_", " "), one.summary, one.maker, one.checker, one.approval_id)
        for one in found
    ]
    table("Approvals", ("state", "action", "what", "asked by", "decided by", "id"), rows)


async def _approvals(given: Options) -> list[registers.Approval]:
    async with opened(given) as hub_app:
        return await registers.approvals(hub_app.hub)


@app.command("show")
def show(context: typer.Context, approval_id: Id, as_json: Json = False) -> None:
    """Show one approval with the whole payload that would be executed.

    Examples:
      tieout approvals show 0192f0c4-...
    """
    found = run(_approval(options(context), approval_id))
    if found is None:
        complain(f"no approval {approval_id}; see `tieout approvals list`")
        raise typer.Exit(FINDING)
    if as_json:
        print_json(found)
        return
    say(found.summary)
    say(f"  {found.state}; asked by {found.maker} at {found.asked_at:%Y-%m-%d %H:%M} UTC")
    if found.checker:
        say(f"  decided by {found.checker}: {found.reason}")
    say(msgspec.json.format(bytes(found.payload), indent=2).decode())


async def _approval(given: Options, approval_id: str) -> registers.Approval | None:
    async with opened(given) as hub_app:
        return await registers.approval(hub_app.hub, approval_id)


@app.command("approve")
def approve(context: typer.Context, approval_id: Id, reason: Reason = "", as_json: Json = False) -> None:
    """Approve: what was listed is executed, and nothing else.

    Examples:
      tieout approvals approve 0192f0c4-... --reason "checked against the list"
    """
    arguments = {"approval_id": approval_id, "approve": True, "reason": reason}
    carry_out(context, "approvals.decide", arguments, as_json=as_json, done="approved")


@app.command("reject")
def reject(context: typer.Context, approval_id: Id, reason: Reason = "", as_json: Json = False) -> None:
    """Reject: nothing is done.

    Examples:
      tieout approvals reject 0192f0c4-... --reason "wrong period"
    """
    arguments = {"approval_id": approval_id, "approve": False, "reason": reason}
    carry_out(context, "approvals.decide", arguments, as_json=as_json, done="rejected")
