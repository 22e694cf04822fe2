"""What every command shares: the options, an opened hub, how results are shown, and which errors are expected."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tieout.app import App, compose, database_url, read_settings, system_ports
from tieout.canonical.outcome import Failure, Misconfigured
from tieout.cli.lock import only_instance
from tieout.cli.mark import mark_file, refuse_older
from tieout.engine.asking import Answer, ask_and_wait, worker_alive
from tieout.engine.commands import CommandRefused
from tieout.masterdata.rules import RuleErrors
from tieout.security.keyring import Unreadable
from tieout.settings import ConfigurationError, SettingsFile
from tieout.store.database import BadDatabase
from tieout.store.revision import NEWER, known, newest, present, usable
from tieout.store.statements import StoreUnavailable

T = TypeVar("T")
OK, FINDING, USAGE = 0, 1, 2
# Told in one line, without a traceback: they are somebody's to mend, and say how.
EXPECTED = (
    ConfigurationError,
    BadDatabase,
    RuleErrors,
    Unreadable,
    StoreUnavailable,
    CommandRefused,
    Failure,
)
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]


class Options(msgspec.Struct, kw_only=True):
    """The global options."""

    config: Path
    database: str | None
    actor: str
    log_level: str

    def file(self) -> SettingsFile:
        """The configuration. Raises ConfigurationError."""
        return read_settings(self.config)

    def url(self, file: SettingsFile) -> str:
        """The database that is meant."""
        return database_url(file, self.database)


def options(context: typer.Context) -> Options:
    """The global options of this call."""
    found: Options = context.obj
    return found


def system_user() -> str:
    """Who sits at the keyboard, as the operating system has it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def run(work: Awaitable[T]) -> T:
    """Run one command's work to its end."""

    async def whole() -> T:
        return await work

    return asyncio.run(whole())


def need_tables(url: str) -> None:
    """Raises BadDatabase when the database is not there or this release cannot work with it."""
    if usable(url):
        return
    there, wanted = present(url), newest()
    shown = url.rpartition("@")[2].removeprefix("sqlite:///")
    if there and not known(there):
        raise BadDatabase(f"{shown}: {NEWER.format(there=there)}")
    if not there:
        raise BadDatabase(f"{shown}: no database here yet; `tieout migrate` makes it, `tieout up` too")
    raise BadDatabase(f"{shown} is at revision {there}, this release works with {wanted}: `tieout migrate`")


@asynccontextmanager
async def opened(given: Options) -> AsyncIterator[App]:
    """The hub without its worker, to read from. Raises what EXPECTED names."""
    file = given.file()
    url = given.url(file)
    need_tables(url)
    app = await compose(file, system_ports(), database=given.database, migrate=False)
    try:
        yield app
    finally:
        await app.close()


async def command(given: Options, name: str, arguments: Mapping[str, Any]) -> Answer:
    """Ask the hub to do something and wait for it: by the worker that runs, else by one for the time being."""
    async with opened(given) as app:
        if await worker_alive(app.hub):
            return await ask_and_wait(app.hub, name, arguments, given.actor)
    file = given.file()
    with only_instance(given.url(file)) as alone:
        app = await compose(file, system_ports(), database=given.database, migrate=False, alone=alone)
        try:
            await refuse_older(app.hub, mark_file(file))
            await app.start()
            return await ask_and_wait(app.hub, name, arguments, given.actor)
        finally:
            await app.stop()


def carry_out(
    context: typer.Context, name: str, arguments: Mapping[str, Any], *, as_json: bool, done: str
) -> None:
    """A command that changes something: shown, and refused with exit code 1."""
    answer = run(command(options(context), name, arguments))
    if as_json:
        print_json(answer)
    elif answer.refused:
        complain(str(answer.result.get("error", "it was not done")))
    else:
        say(done)
        for key, value in answer.result.items():
            say(f"  {key}: {_shown(value)}")
        if answer.mode:
            say(f"  ({answer.mode}: the audit says so)")
    if answer.refused:
        raise typer.Exit(FINDING)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)}" + (
            f": {', '.join(map(_shown, value[:5]))}" if value and len(value) <= 5 else ""
        )
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
    return str(value)


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    raw = msgspec.json.encode(value)
    sys.stdout.write(msgspec.json.format(raw, indent=2).decode() + "\n")


def say(text: str) -> None:
    """A line on standard output; what came from outside is never read as markup."""
    Console(soft_wrap=True, highlight=False).print(Text(plain(text)))


def complain(text: str) -> None:
    """A line on standard error."""
    Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"tieout: {plain(text)}"))


def plain(text: str) -> str:
    """Without control characters: a customer's name must not drive somebody's terminal."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """A table on standard output; amounts stand to the right."""
    shown = Table(title=title, title_justify="left", header_style="bold", expand=False)
    for column in columns:
        shown.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(plain(cell)) for cell in row))
    Console(highlight=False).print(shown)


def guarded(main: Callable[[], None]) -> int:
    """Run the whole program; expected errors are told in one line, with exit code 2."""
    try:
        main()
    except Failure as failure:
        outcome = failure.outcome
        complain(str(failure) + (f"; {outcome.remedy}" if isinstance(outcome, Misconfigured) else ""))
        return FINDING
    except EXPECTED as error:
        complain(str(error))
        return USAGE
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (`| head`): not our trouble, and nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    return OK
