"""`tieout lab tryton up|down|reset`: the real ERP for whoever wants to look at it, kept until it is taken down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tieout_lab import environments
from tieout_lab.tryton import server as lab

DATABASE = "tieout_tryton_lab"
FINDING, USAGE = 1, 2


class What(StrEnum):
    """What to do with it."""

    up = "up"
    down = "down"
    reset = "reset"


app = typer.Typer(help="The real systems of the proving ground.", no_args_is_help=True)


@app.callback()
def _lab() -> None:
    """The real systems of the proving ground."""


@app.command("tryton")
def tryton(
    what: Annotated[What, typer.Argument(help="up, down, or reset: its books as they were planted.")],
    postgres: Annotated[
        str, typer.Option(help="The PostgreSQL to use; else TIEOUT_TRYTON_POSTGRES, else loopback.")
    ] = "",
) -> None:
    """Install, start, stop or empty a real Tryton with two companies, on a PostgreSQL of yours.

    `up` prints one line of JSON: address, database, user, password. The first time takes minutes, then seconds.

    Examples:
      tieout lab tryton up

      tieout lab tryton reset --postgres postgresql://postgres@127.0.0.1/postgres
    """
    try:
        url = lab.postgres_url(postgres)
        found = {What.up: up, What.down: down, What.reset: reset}[what](url)
    except environments.NotThere as error:
        typer.echo(f"tieout lab: {error}", err=True)
        raise typer.Exit(USAGE) from error
    typer.echo(json.dumps(found))


def _folder() -> Path:
    folder = environments.cache("tryton") / "lab"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def _remembered() -> dict[str, Any]:
    """What `up` wrote down of the server that runs; empty when none does."""
    with contextlib.suppress(OSError, ValueError):
        known: dict[str, Any] = json.loads((_folder() / "state.json").read_text())
        if b"trytond" in Path(f"/proc/{known['pid']}/cmdline").read_bytes():
            return known
    return {}


def up(postgres: str) -> dict[str, Any]:
    """Start it over the database that is there, or a fresh one. What runs already stays. Raises NotThere."""
    known = _remembered()
    if known:
        return {name: known[name] for name in ("url", "database", "username", "password")}
    if not lab.exists(postgres, DATABASE):
        lab.copy(postgres, DATABASE)
    return _start(postgres)


def _start(postgres: str) -> dict[str, Any]:
    server = lab.Server(postgres, DATABASE, _folder(), lasting=True)
    server.start()
    told: dict[str, Any] = dict(server.describe())
    pid = server.process.pid if server.process is not None else 0
    state = _folder() / "state.json"
    state.write_text(json.dumps({**told, "pid": pid}))
    state.chmod(0o600)
    return told


def down(postgres: str) -> dict[str, Any]:
    """Stop it, remove its database, and those that killed runs left behind."""
    stopped = _stop()
    return {"stopped": stopped, "removed": lab.sweep(postgres, DATABASE)}


def _stop() -> bool:
    known = _remembered()
    if not known:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(known["pid"], signal.SIGTERM)
    deadline = time.monotonic() + 5
    while _remembered() and time.monotonic() < deadline:
        time.sleep(0.05)
    if _remembered():
        os.killpg(known["pid"], signal.SIGKILL)
    (_folder() / "state.json").unlink(missing_ok=True)
    return True


def reset(postgres: str) -> dict[str, Any]:
    """Start it over a fresh copy of what was planted. Raises NotThere."""
    _stop()
    lab.copy(postgres, DATABASE)
    return _start(postgres)
