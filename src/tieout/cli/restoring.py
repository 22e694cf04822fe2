"""`restored`: the operator says that the database was put back from a backup."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from tieout.app import compose, system_ports
from tieout.cli import mark
from tieout.cli.lock import only_instance
from tieout.cli.session import Json, Options, options, print_json, run, say
from tieout.engine import restoring
from tieout.engine.asking import worker_alive
from tieout.engine.commands import CommandRefused


def restored(
    context: typer.Context,
    backup_taken_at: Annotated[
        str,
        typer.Option(
            help="When the backup was begun, with its offset: 2026-01-31T04:00:00Z. Rather too early than too late."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Say that the database was put back from a backup, before anything is started on it.

    Everything outside is then listed again from before the backup; until that is done, every document is looked up
    before it is made, and none is made before the longest time that a write of the lost hours could still take to show.
    Stop every other process first: those of the old database may write no more.

    Examples:
      tieout restored --backup-taken-at 2026-01-31T04:00:00Z
    """
    begun = run(_begin(options(context), _moment(backup_taken_at)))
    if as_json:
        print_json(begun)
        return
    say(f"noted: the database is of {begun.backup_taken_at.isoformat()}")
    say(f"  no document is made before {begun.horizon_seconds} s from now, and each is looked up first")
    if begun.worked_until is not None:
        say(
            f"  the database holds what was written at {begun.worked_until.isoformat()}, after that moment: the hub has"
            " worked on it since, without looking up; `tieout books` shows whether anything stands twice"
        )
    say("Start it now; `tieout check` says how far it has come.")


def _moment(text: str) -> datetime:
    """Raises CommandRefused."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandRefused(
            f"--backup-taken-at {text!r} is no moment; write one such as 2026-01-31T04:00:00Z"
        ) from error
    if found.tzinfo is None:
        raise CommandRefused(f"--backup-taken-at {text} has no offset; write {text}Z if it is in UTC")
    return found


async def _begin(given: Options, backup_taken_at: datetime) -> restoring.Begun:
    """Raises CommandRefused, ConfigurationError."""
    file = given.file()
    with only_instance(given.url(file)) as alone:
        app = await compose(file, system_ports(), database=given.database, alone=alone)
        try:
            if not alone and await worker_alive(app.hub):
                raise CommandRefused(
                    "a worker holds a lease in this database: stop every process of it; one that is in the backup alone"
                    f" is over {app.settings.engine.lease_seconds} s after it was taken"
                )
            try:
                begun = await restoring.begin(app.hub, backup_taken_at, given.actor)
            except ValueError as error:
                raise CommandRefused(f"--backup-taken-at: {error}") from error
            mark.mark_file(file).unlink(missing_ok=True)
            await mark.write(app.hub, mark.mark_file(file))
            return begun
        finally:
            await app.close()
