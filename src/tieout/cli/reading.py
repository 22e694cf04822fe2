"""`trace`, `events` and `status`: what happened, and how it stands."""

from __future__ import annotations

from typing import Annotated

import typer

from tieout.cli.session import FINDING, Json, Options, complain, opened, options, print_json, run, say, table
from tieout.engine import registers
from tieout.engine.standing import Standing, standing
from tieout.processes.trace import Moment, Story, tell_trace


def trace(
    context: typer.Context,
    id: Annotated[str, typer.Argument(help="Any id or number of any system, or connection|kind|id.")],
    as_json: Json = False,
) -> None:
    """Tell the whole story behind any id: amounts, times, attempts, rules, references, in the order of time.

    Works from every end: an opportunity shows its invoices in the ERP, an ERP invoice number its opportunity.

    Examples:
      tieout trace 006D000000IqhSL

      tieout trace INV1001

      tieout trace evt_1PqL2Z --json
    """
    story = run(_story(options(context), id))
    if as_json:
        print_json(story)
    elif not story.found:
        complain(f"nothing is known of {id!r}; `tieout events` shows what came in last")
    elif story.candidates:
        say(f"{id} means several things; ask for one of them:")
        for match in story.candidates:
            say(f"  tieout trace '{match.lane or match.ask}'    {match.what}")
    else:
        _tell(story)
    if not story.found or story.candidates:
        raise typer.Exit(FINDING)


async def _story(given: Options, term: str) -> Story:
    async with opened(given) as app:
        return await tell_trace(app.hub, term)


def _tell(story: Story) -> None:
    if story.trace:
        say(f"trace {story.trace}")
    rows = [
        (one.connection, one.kind.replace("_", " "), one.number, one.id, one.amount, one.state)
        for one in story.subjects
    ]
    table("Documents", ("system", "document", "number", "id", "amount", "state"), rows, right=("amount",))
    table(
        "What happened (UTC)",
        ("time", "system", "what", "amount", "came of it"),
        [
            (f"{one.at:%Y-%m-%d %H:%M:%S}", one.connection, _what(one), one.amount, one.state)
            for one in story.moments
        ],
        right=("amount",),
    )


def _what(one: Moment) -> str:
    lines = [f"{one.kind}: {one.what}", *(f"  {line}" for line in one.detail)]
    return "\n".join(lines + ([f"  ids {', '.join(one.ids)}"] if one.ids else []))


def events(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """What came in last, and what became of it.

    Examples:
      tieout events

      tieout events --limit 500 --json
    """
    found = run(_events(options(context), limit))
    if as_json:
        print_json(found)
        return
    if not found:
        say("No event yet. Webhooks come to /hooks/<connection>; feeds are read once `tieout up` runs.")
        return
    rows = [
        (
            f"{one.received_at:%Y-%m-%d %H:%M:%S}",
            one.connection,
            one.type,
            one.event_id,
            one.lane.partition("|")[2],
            f"{one.state}: {one.detail}" if one.detail and one.state in ("ignored", "parked") else one.state,
        )
        for one in found
    ]
    table("Events, the newest first (UTC)", ("received", "system", "type", "event", "about", "state"), rows)


async def _events(given: Options, limit: int) -> list[registers.TakenEvent]:
    async with opened(given) as app:
        return await registers.events(app.hub, limit)


def status(context: typer.Context, as_json: Json = False) -> None:
    """How the hub stands: what is due, waits, is parked or in doubt.

    Examples:
      tieout status --json
    """
    found = run(_status(options(context)))
    if as_json:
        print_json(found)
        return
    rows = [
        (name.replace("_", " "), _counted(getattr(found, name)))
        for name in Standing.__struct_fields__
        if name != "events"
    ]
    table("The hub", ("", "now"), rows, right=("now",))
    for connection, states in sorted(found.events.items()):
        say(f"{connection}: " + ", ".join(f"{count} {state}" for state, count in sorted(states.items())))


def _counted(found: object) -> str:
    return (", ".join(found) or "none") if isinstance(found, tuple) else str(found)


async def _status(given: Options) -> Standing:
    async with opened(given) as app:
        return await standing(app.hub)
