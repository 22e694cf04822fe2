"""The `tieout` command.

Exit codes: 0 all is well; 1 a finding, a difference, or a refusal; 2 wrong usage or configuration.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tieout import __version__
from tieout.cli import (
    approving,
    auditing,
    booking,
    certifying,
    checking,
    connecting,
    examining,
    logs,
    metering,
    preparing,
    reading,
    replaying,
    resolving,
    restoring,
    running,
    telling,
)
from tieout.cli.session import Options, guarded, system_user
from tieout.settings import ConfigurationError

_EPILOG = (
    "Exit codes: 0 all is well; 1 a finding, a difference or a refusal; 2 wrong usage or configuration. "
    "Begin with `tieout init`, then `tieout check`, then `tieout up`."
)


class Commands(TyperGroup):
    """Our commands, and those that other packages bring by the entry-point group `tieout.commands`."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [
            *super().list_commands(ctx),
            *(name for name in sorted(_brought()) if name not in self.commands),
        ]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        entry = _brought().get(cmd_name)
        return own if own is not None or entry is None else _as_command(cmd_name, entry)


def _brought() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group="tieout.commands")}


def _as_command(name: str, entry: EntryPoint) -> Any:
    """Loaded only when it is called for: the hub starts without what others bring."""
    try:
        given = entry.load()
    except ImportError as error:
        given = _unloadable(name, entry.value, str(error))
    if not isinstance(given, typer.Typer):
        wrapped = typer.Typer(add_completion=False)
        wrapped.command(name)(given)
        given = wrapped
    command = typer.main.get_command(given)
    command.name = name
    return command


def _unloadable(name: str, value: str, reason: str) -> Callable[[], None]:
    """In place of a command whose package is broken: the others still work, and it says what is wrong with it."""

    def unloadable() -> None:
        raise ConfigurationError(f"the command {name} comes from {value}, which cannot be loaded: {reason}")

    unloadable.__doc__ = f"Cannot be loaded: {reason}"
    return unloadable


app = typer.Typer(
    name="tieout",
    cls=Commands,
    help="Keeps CRM, billing and ERP in step, does every outside write once, and proves that the books agree.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tieout {__version__}")
        raise typer.Exit


@app.callback()
def _globals(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="TIEOUT_CONFIG", help="The configuration file.")
    ] = Path("tieout.toml"),
    database: Annotated[
        str,
        typer.Option(
            "--database", envvar="TIEOUT_DATABASE", help="A database other than the configured one."
        ),
    ] = "",
    actor: Annotated[
        str,
        typer.Option(
            "--actor", envvar="TIEOUT_ACTOR", help="Who acts, for the audit; by default the user's name."
        ),
    ] = "",
    log_level: Annotated[
        str, typer.Option("--log-level", help=f"{', '.join(logs.LEVELS)}; logs are JSON on standard error.")
    ] = "warning",
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which release this is."),
    ] = False,
) -> None:
    if log_level not in logs.LEVELS:
        raise typer.BadParameter(f"{log_level!r}: one of {', '.join(logs.LEVELS)}", param_hint="--log-level")
    logs.configure(log_level)
    context.obj = Options(
        config=config, database=database or None, actor=actor or system_user(), log_level=log_level
    )


app.command("init")(preparing.init)
app.command("check")(checking.check)
app.command("certify")(certifying.certify)
app.add_typer(connecting.app, name="connectors")
app.command("migrate")(preparing.migrate)
app.command("restored")(restoring.restored)
app.command("up")(running.up)
app.command("serve")(running.serve)
app.command("work")(running.work)
app.command("trace")(reading.trace)
app.command("events")(reading.events)
app.command("status")(reading.status)
app.add_typer(resolving.app, name="exceptions")
app.add_typer(approving.app, name="approvals")
app.command("replay")(replaying.replay)
app.add_typer(metering.app, name="usage")
app.add_typer(telling.app, name="outbox")
app.add_typer(auditing.app, name="audit")
app.command("books")(booking.books)
app.command("invariants")(examining.invariants)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script. Ends the process with one of the exit codes."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(lambda: app(args=given, prog_name="tieout")))


if __name__ == "__main__":
    main()
