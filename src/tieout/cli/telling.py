"""`outbox`: who is told what the hub has made good, and how far it is."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from tieout.app import App, system_ports
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
from tieout.connectors.contract import Finding
from tieout.engine import redelivering
from tieout.engine.outbox import Taken, Verdict
from tieout.engine.receivers import STREAM, NatsConfig, Stream, WebhookConfig, new_secret
from tieout.engine.redelivering import Delivery, ReceiverStanding
from tieout.ports import TransportError
from tieout.system.addresses import addresses_refused

app = typer.Typer(help="Who is told what the hub has made good, and how far it is.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A receiver, as it is named in the configuration.")]


class State(StrEnum):
    """How a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@app.command("list")
def list_(
    context: typer.Context,
    receiver: Annotated[str, typer.Option(help="Only of this receiver.")] = "",
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, help="How many.")] = 50,
    as_json: Json = False,
) -> None:
    """Deliveries, the newest event first: what waits and why, what arrived, what was given up.

    Examples:
      tieout outbox list

      tieout outbox list --state dead --json
    """
    found = run(_deliveries(options(context), receiver, state.value if state else "", limit))
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nothing here. Receivers stand under [outbox] in the configuration; docs/events.md says how.")
        return
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.type, one.subject, one.receiver, _stands(one), one.event_id)
        for one in found
    ]
    table("Deliveries, the newest event first (UTC)", ("event", "type", "about", "to", "state", "id"), rows)


def _stands(one: Delivery) -> str:
    words = f"{one.state} after {one.attempts}" if one.attempts else one.state
    if one.due_at is not None and one.attempts:
        words += f", again {one.due_at:%Y-%m-%d %H:%M:%S}"
    return words + (f": {one.error}" if one.error else "")


async def _deliveries(given: Options, receiver: str, state: str, limit: int) -> list[Delivery]:
    async with opened(given) as composed:
        return await redelivering.deliveries(composed.hub, receiver=receiver, state=state, limit=limit)


@app.command("receivers")
def receivers(context: typer.Context, as_json: Json = False) -> None:
    """Who is told, and how far each one is.

    Examples:
      tieout outbox receivers --json
    """
    found = run(_receivers(options(context)))
    if as_json:
        print_json(found)
        return
    if not found:
        say("Nobody is told. Receivers stand under [outbox] in the configuration; docs/events.md says how.")
        return
    rows = [
        (
            one.receiver,
            f"{one.state}: {one.reason}" if one.reason else one.state,
            str(one.pending),
            f"{one.oldest_pending_at:%Y-%m-%d %H:%M:%S}" if one.oldest_pending_at else "",
            str(one.delivered),
            str(one.dead),
        )
        for one in found
    ]
    columns = ("receiver", "state", "pending", "since (UTC)", "delivered", "dead")
    table("Receivers", columns, rows, right=("pending", "delivered", "dead"))


async def _receivers(given: Options) -> list[ReceiverStanding]:
    async with opened(given) as composed:
        return await redelivering.standings(composed.hub)


@app.command("replay")
def replay(
    context: typer.Context,
    receiver: Name,
    since: Annotated[str, typer.Option(help="Events committed from here on: 2026-05-01T00:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="Events committed before: 2026-05-02T00:00:00Z.")] = "",
    id: Annotated[str, typer.Option("--id", help="One event.")] = "",
    dead: Annotated[bool, typer.Option("--dead", help="Only what was given up.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    as_json: Json = False,
) -> None:
    """Have events delivered once more, under the ids that they have: a receiver that keeps ids knows them.

    Examples:
      tieout outbox replay data-team --since 2026-05-01T00:00:00Z --until 2026-05-02T00:00:00Z

      tieout outbox replay data-team --dead --reason "their certificate was renewed"
    """
    asked: dict[str, Any] = {"receiver": receiver, "event_id": id, "dead": dead, "reason": reason}
    for name, text in (("since", since), ("until", until)):
        if text:
            try:
                datetime.fromisoformat(text)
            except ValueError as error:
                complain(f"--{name} {text!r} is no moment: write 2026-05-01T00:00:00Z")
                raise typer.Exit(USAGE) from error
            asked[name] = text
    carry_out(context, "outbox.replay", asked, as_json=as_json, done="queued again")


@app.command("enable")
def enable(context: typer.Context, receiver: Name, as_json: Json = False) -> None:
    """Deliver again to a receiver that had answered 410 Gone; what waits for it is due at once.

    Examples:
      tieout outbox enable data-team
    """
    carry_out(context, "outbox.enable", {"receiver": receiver}, as_json=as_json, done="on again")


@app.command("test")
def send_test(context: typer.Context, receiver: Name, as_json: Json = False) -> None:
    """Send one event of the type io.tieout.test.v1, signed like any other, and say what came of it. Nothing is kept.

    Examples:
      tieout outbox test data-team --json
    """
    try:
        event_id, verdict = run(_test(options(context), receiver))
    except ValueError as error:
        complain(str(error))
        raise typer.Exit(USAGE) from error
    taken = isinstance(verdict, Taken)
    reason = getattr(verdict, "reason", "")
    if as_json:
        print_json({"receiver": receiver, "event_id": event_id, "taken": taken, "reason": reason})
    elif taken:
        say(f"{receiver} took {event_id}")
    else:
        complain(f"{receiver} did not take {event_id}: {reason}")
    if not taken:
        raise typer.Exit(FINDING)


async def _test(given: Options, receiver: str) -> tuple[str, Verdict]:
    async with opened(given) as composed:
        return await redelivering.test(composed.hub, receiver)


@app.command("secret")
def secret(as_json: Json = False) -> None:
    """Make a fresh signing secret. To rotate: put it first, leave the old one second until the receiver knows both.

    Examples:
      tieout outbox secret
    """
    made = new_secret(system_ports().chance.token)
    if as_json:
        print_json({"secret": made})
    else:
        say(made)


# -- what `check` says of it ----------------------------------------------------------------------------------------
async def findings(composed: App) -> list[Finding]:
    """What is wrong with the receivers, and how to mend it. Sends nothing."""
    config = composed.settings.outbox
    found = [await _webhook(one) for one in config.webhooks]
    outbox = composed.hub.outbox
    stream = outbox.receivers.get(STREAM) if outbox is not None else None
    if config.nats is not None and isinstance(stream, Stream):
        found += await _stream(config.nats, stream)
    if outbox is not None:
        found += [
            Finding(
                level="error",
                subject=f"outbox {one.receiver}",
                message=f"it is off: {one.reason}",
                remedy=f"settle it with who runs it, then `tieout outbox enable {one.receiver}`",
            )
            for one in await redelivering.standings(composed.hub)
            if one.state == "off"
        ]
    return found


async def _webhook(config: WebhookConfig) -> Finding:
    subject = f"outbox {config.name}"
    try:
        refused = "" if config.private else await addresses_refused(config.url)
    except OSError as error:
        remedy = f"correct url of {config.name}, or see why its host has no address"
        return Finding(level="error", subject=subject, message=f"{config.url}: {error}", remedy=remedy)
    if refused:
        remedy = "name a public address; or, where it is yours and within your network, write private = true"
        return Finding(level="error", subject=subject, message=refused, remedy=remedy)
    told = "signed by two secrets: being rotated" if len(config.secrets) > 1 else "signed"
    remedy = f"`tieout outbox test {config.name}` sends an event"
    return Finding(level="ok", subject=subject, message=f"{config.url}, {told}", remedy=remedy)


async def _stream(config: NatsConfig, stream: Stream) -> list[Finding]:
    subject = f"outbox {STREAM}"
    try:
        facts = await stream.publisher.facts(config.timeout_seconds)
    except TransportError as error:
        remedy = f"start the server, make the stream {config.stream}, or correct [outbox.nats]"
        return [Finding(level="error", subject=subject, message=error.reason, remedy=remedy)]
    found = []
    missing = sorted(
        name
        for name in (f"{config.subject}.{type_}" for type_ in stream.types)
        if not any(covers(pattern, name) for pattern in facts.subjects)
    )
    if missing:
        message = f"the stream {config.stream} does not keep {', '.join(missing)}"
        remedy = f'add the subject "{config.subject}.>" to it'
        found.append(Finding(level="error", subject=subject, message=message, remedy=remedy))
    if facts.copies < 2:
        message = f"the stream {config.stream} has one copy: with its server's disk what it keeps is gone"
        remedy = "give it three replicas; the outbox itself can deliver again for keep_days"
        found.append(Finding(level="warning", subject=subject, message=message, remedy=remedy))
    if facts.dedupe_seconds < 1:
        message = f"the stream {config.stream} drops no message that it has already"
        remedy = "give it a duplicate window of some minutes"
        found.append(Finding(level="warning", subject=subject, message=message, remedy=remedy))
    told = f"{config.stream} at {config.url}, {facts.copies} copies, knows an id for {facts.dedupe_seconds} s"
    return found or [Finding(level="ok", subject=subject, message=told)]


def covers(pattern: str, subject: str) -> bool:
    """Whether a stream that keeps `pattern` keeps this subject: `*` is any one name, `>` all that follow."""
    theirs, ours = pattern.split("."), subject.split(".")
    for place, name in enumerate(theirs):
        if name == ">":
            return len(ours) > place
        if place >= len(ours) or name not in ("*", ours[place]):
            return False
    return len(theirs) == len(ours)
