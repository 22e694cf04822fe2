"""`exceptions`: what waits for a person."""

from __future__ import annotations

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
from tieout.engine.registers import OpenItem, open_item, open_items

app = typer.Typer(
    help="What waits for a person: the document, its amount, the cause, what mends it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(help="The exception's id, as `tieout exceptions list` shows it.")]


@app.command("list")
def list_(
    context: typer.Context,
    resolved: Annotated[bool, typer.Option("--resolved", help="The resolved ones too.")] = False,
    as_json: Json = False,
) -> None:
    """List the exceptions, the oldest first.

    Examples:
      tieout exceptions list

      tieout exceptions list --resolved --json
    """
    found = run(_items(options(context), resolved=resolved))
    if as_json:
        print_json([_full(one) for one in found])
        return
    if not found:
        say("Nothing waits for a person.")
        return
    rows = [
        (one.title, one.amount, one.cause, one.remedy, one.age, one.state, one.exception_id) for one in found
    ]
    columns = ("document", "amount", "cause", "remedy", "age", "state", "id")
    table(f"{len(found)} exceptions", columns, rows, right=("amount",))


async def _items(given: Options, *, resolved: bool) -> list[OpenItem]:
    async with opened(given) as hub_app:
        return await open_items(hub_app.hub, resolved=resolved)


def _full(one: OpenItem) -> dict[str, object]:
    """With the amount as a person writes it, beside the minor units."""
    return {name: getattr(one, name) for name in OpenItem.__struct_fields__} | {"amount": one.amount}


@app.command("show")
def show(context: typer.Context, exception_id: Id, as_json: Json = False) -> None:
    """Show one exception, whole.

    Examples:
      tieout exceptions show 0192f0c4-...
    """
    found = run(_item(options(context), exception_id))
    if found is None:
        complain(f"no exception {exception_id}; see `tieout exceptions list`")
        raise typer.Exit(FINDING)
    if as_json:
        print_json(_full(found))
        return
    say(f"{found.title}  {found.amount}".rstrip())
    for name, value in (
        ("cause", found.cause),
        ("remedy", found.remedy),
        ("document", found.document),
        ("legal entity", found.entity),
        ("state", found.state),
        ("holds back", str(found.held)),
        ("since", f"{found.opened_at:%Y-%m-%d %H:%M} UTC ({found.age})"),
        (
            "deferred until",
            f"{found.deferred_until:%Y-%m-%d}: {found.reason}" if found.deferred_until else "",
        ),
        ("resolution", found.resolution),
        ("detail", found.detail),
    ):
        if value:
            say(f"  {name}: {value}")


async def _item(given: Options, exception_id: str) -> OpenItem | None:
    async with opened(given) as hub_app:
        return await open_item(hub_app.hub, exception_id)


@app.command("retry")
def retry(context: typer.Context, exception_id: Id, as_json: Json = False) -> None:
    """Run the document again; of what a blocker holds back one canary first, then the rest.

    Examples:
      tieout exceptions retry 0192f0c4-...
    """
    carry_out(context, "exceptions.retry", {"exception_id": exception_id}, as_json=as_json, done="released")


@app.command("resolve")
def resolve(
    context: typer.Context,
    exception_id: Id,
    period: Annotated[
        str, typer.Option(help="YYYY-MM: ask to post what a closed period holds into this one.")
    ] = "",
    accept: Annotated[
        bool, typer.Option("--accept", help="Ask to accept the difference as it stands.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    as_json: Json = False,
) -> None:
    """Test the cause again; succeeds only when it is gone. With --period or --accept asks for the approval it takes.

    Examples:
      tieout exceptions resolve 0192f0c4-...

      tieout exceptions resolve 0192f0c4-... --period 2026-02

      tieout exceptions resolve 0192f0c4-... --accept --reason "rounding, agreed with the customer"
    """
    if accept and not reason:
        complain("--accept needs a --reason")
        raise typer.Exit(USAGE)
    arguments = {"exception_id": exception_id, "period": period, "accept": accept, "reason": reason}
    asked = period or accept
    done = "asked for an approval: `tieout approvals list`" if asked else "resolved: the cause is gone"
    carry_out(context, "exceptions.resolve", arguments, as_json=as_json, done=done)


@app.command("defer")
def defer(
    context: typer.Context,
    exception_id: Id,
    until: Annotated[str, typer.Option(help="A day such as 2026-12-31.")],
    reason: Annotated[str, typer.Option(help="Why, for the audit.")],
    as_json: Json = False,
) -> None:
    """Put an exception off until a day. It stays in the books, and reopens by itself.

    Examples:
      tieout exceptions defer 0192f0c4-... --until 2026-12-31 --reason "customer disputes it"
    """
    arguments = {"exception_id": exception_id, "until": until, "reason": reason}
    carry_out(context, "exceptions.defer", arguments, as_json=as_json, done="deferred")
