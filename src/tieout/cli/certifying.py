"""`certify`: does the vendor do what we rely on? Asked in a sandbox, shown before it is done, cleaned up afterwards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from tieout.app import Subject, open_subject, system_ports
from tieout.canonical.outcome import Failure, Misconfigured
from tieout.cli.session import FINDING, USAGE, Json, complain, options, print_json, run, say, table
from tieout.connectors.contract import Checker, Identity
from tieout.engine.certifying import Certificate, Planned, is_loopback, plan, save
from tieout.engine.certifying import certify as run_probes
from tieout.settings import ConfigurationError

_MARK = {"true": "true", "false": "FALSE", "untestable": "untestable"}


class Plan(msgspec.Struct, kw_only=True):
    """What a run would do."""

    connection: str
    twin: bool
    behaviours: tuple[Planned, ...]


def certify(
    context: typer.Context,
    connection: Annotated[
        str, typer.Argument(help="A connection of the configuration: a sandbox, or a twin.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be made; send nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the probes are sent.")] = False,
    allow_live: Annotated[
        bool,
        typer.Option("--allow-live", help="Also on a live connection: it makes and deletes real documents."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Probe a sandbox for each vendor behaviour that tieout relies on: true, false or untestable, with what was seen.

    Shows first what it would make, makes it, and deletes it again where the vendor allows; what is left is told. The
    result is kept as certified/CONNECTION.json beside the configuration, and `tieout check` shows it. Exit code 1 when
    the vendor does otherwise than we rely on, and for a live connection without --allow-live.

    Examples:
      tieout certify erp-sandbox --dry-run

      tieout certify erp-sandbox --yes --json
    """
    file = options(context).file()
    ports = system_ports()
    subject = open_subject(file, connection, ports)
    probes = subject.certification
    if probes is None:
        raise ConfigurationError(
            f"{connection}: the connector {subject.descriptor.vendor} brings no probes of what it relies on"
        )
    planned = plan(subject.descriptor.behaviours, probes)
    if dry_run:
        _show_plan(Plan(connection=connection, twin=is_loopback(subject.config), behaviours=planned), as_json)
        return
    if getattr(subject.config, "live", False) and not allow_live:
        _refuse_live(connection)
    if not yes:
        if as_json or not sys.stdin.isatty():
            complain("nothing was sent: see `--dry-run`, then say `--yes`")
            raise typer.Exit(USAGE)
        _show_plan(Plan(connection=connection, twin=is_loopback(subject.config), behaviours=planned), as_json)
        typer.confirm("Send the probes?", abort=True)

    async def whole() -> Certificate:
        try:
            identity = await _who(subject, connection)
            if identity.live and not allow_live:
                _refuse_live(connection)
            return await run_probes(
                subject.descriptor,
                probes,
                connection=connection,
                identity=identity,
                at=ports.clock.now(),
                twin=is_loopback(subject.config),
            )
        finally:
            await ports.transport.close()

    certificate = run(whole())
    path = save(file.directory, certificate)
    if as_json:
        print_json(certificate)
    else:
        _show(certificate, str(path))
    if certificate.contradicted:
        names = ", ".join(line.behaviour for line in certificate.contradicted)
        complain(f"{connection} does otherwise than we rely on: {names}")
        raise typer.Exit(FINDING)


def _refuse_live(connection: str) -> None:
    complain(
        f"{connection} is live: the probes would make real documents. Use a connection to a sandbox, "
        "or say --allow-live"
    )
    raise typer.Exit(FINDING)


async def _who(subject: Subject, connection: str) -> Identity:
    """Who answers. Raises Failure, also when nobody can say."""
    if not isinstance(subject.api, Checker):
        message = "the connector cannot say who answers, so nothing can be certified"
        raise Failure(Misconfigured(scope="connection", key=connection, message=message))
    return await subject.api.identity()


def _show_plan(given: Plan, as_json: bool) -> None:
    if as_json:
        print_json(given)
        return
    rows = [
        (
            one.behaviour,
            one.text,
            ", ".join(one.makes) or ("only reads" if one.probed else f"not probed: {one.why_not}"),
        )
        for one in given.behaviours
    ]
    table(f"What certifying {given.connection} would make", ("behaviour", "what we rely on", "makes"), rows)
    made = list(dict.fromkeys(what for one in given.behaviours for what in one.makes))
    say(f"{sum(one.probed for one in given.behaviours)} of {len(rows)} behaviours would be probed")
    say("In all it would make " + (", ".join(made) if made else "nothing") + ". Nothing was sent.")


def _show(certificate: Certificate, path: str) -> None:
    rows = [(_MARK[line.answer], line.behaviour, line.seen) for line in certificate.lines]
    table(f"{certificate.connection}: {certificate.account}", ("", "behaviour", "what was seen"), rows)
    answers = [line.answer for line in certificate.lines]
    say(", ".join(f"{answers.count(answer)} {answer}" for answer in _MARK))
    if certificate.twin:
        say("The other side is on this machine: a twin certifies no vendor, and `check` goes on saying so.")
    _list("Left there:", certificate.left)
    say(f"kept in {path}")


def _list(title: str, what: Sequence[str]) -> None:
    if what:
        say(title)
        for one in what:
            say(f"  {one}")
