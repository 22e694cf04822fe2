"""`up`, `serve` and `work`: the processes that stay."""

from __future__ import annotations

import asyncio
import faulthandler
import sys
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from tieout.app import App, compose, system_ports
from tieout.cli import logs, mark
from tieout.cli.lock import only_instance
from tieout.cli.session import FINDING, Json, Options, complain, options, print_json, say
from tieout.settings import ConfigurationError
from tieout.store.database import BadDatabase
from tieout.system import keep_still

# The console is a sibling of the command and neither imports the other: it is named, as an ASGI server names its
# application.
_SERVER = ("tieout.web.server", "serve")


def up(context: typer.Context, as_json: Json = False) -> None:
    """Run everything in one process: the worker, webhooks, API and pages. Ends in order on Ctrl-C or SIGTERM.

    Examples:
      tieout up

      tieout --config /etc/tieout/tieout.toml --log-level info up
    """
    _stay(context, as_json=as_json, work=True, web=True, group=None)


def serve(context: typer.Context, as_json: Json = False) -> None:
    """Take webhooks and show the pages, without working on anything: beside `work` processes, on PostgreSQL.

    Examples:
      tieout --database postgresql://tieout@db/tieout serve
    """
    _stay(context, as_json=as_json, work=False, web=True)


def work(
    context: typer.Context,
    group: Annotated[
        list[str],
        typer.Option(
            "--group",
            help="Run only what is pinned to this worker group (may be repeated). [default: the rest]",
        ),
    ] = [],  # noqa: B006 - typer only reads it
    as_json: Json = False,
) -> None:
    """Work, without taking webhooks or showing pages. As many as you like, on PostgreSQL.

    Examples:
      tieout --database postgresql://tieout@db/tieout work

      tieout work --group emea
    """
    _stay(context, as_json=as_json, work=True, web=False, group=group)


def _stay(
    context: typer.Context, *, as_json: bool, work: bool, web: bool, group: Sequence[str] | None = ()
) -> None:
    """`group`: the worker groups that are served; none named: what belongs to none; None: everything."""
    given = options(context)
    if given.log_level == "warning":
        # What stays is watched by its log; a command that ends speaks for itself.
        logs.configure("info")
    # A crash below Python says on standard error where it was.
    faulthandler.enable(file=sys.__stderr__ or sys.stderr)
    file = given.file()
    with only_instance(given.url(file)) as alone:
        clean = _loop()(_run(given, as_json=as_json, work=work, web=web, alone=alone, group=group))
    if not clean:
        complain(
            "the lease was lost: another worker has taken over, or the database did not answer; start again"
        )
        raise typer.Exit(FINDING)


async def _run(
    given: Options, *, as_json: bool, work: bool, web: bool, alone: bool, group: Sequence[str] | None
) -> bool:
    file = given.file()
    if alone and group:
        raise ConfigurationError(
            "worker groups are for many processes: they need PostgreSQL; leave out --group"
        )
    serves = ("", *file.settings.groups) if group is None else tuple(group) or ("",)
    app = await compose(file, system_ports(), database=given.database, alone=alone, serves=serves)
    module, name = _SERVER
    run: Callable[..., Awaitable[bool]] = getattr(import_module(module), name)

    def ready(url: str) -> None:
        keep_still()
        _announce(app, url, as_json=as_json, work=work)

    try:
        await mark.refuse_older(app.hub, mark.mark_file(file))
    except BadDatabase:
        await app.close()
        raise
    async with mark.kept(app.hub, mark.mark_file(file)):
        return await run(app, work=work, web=web, ready=ready)


def _announce(app: App, url: str, *, as_json: bool, work: bool) -> None:
    mode = "single operator, no segregation" if app.hub.single_operator else ""
    if as_json:
        print_json({"url": url, "worker": work, "connections": list(app.hub.connections), "mode": mode})
    else:
        doing = " and ".join(one for one in ("works" if work else "", f"serves {url}" if url else "") if one)
        say(f"tieout {doing}; {len(app.hub.connections)} connections" + (f" ({mode})" if mode else ""))
        if app.hub.restored is not None:
            say(
                "restored from a backup: every document is looked up before it is made (tieout check says how long)"
            )
    sys.stdout.flush()


def _loop() -> Callable[[Any], bool]:
    """Uvloop where there is one."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
