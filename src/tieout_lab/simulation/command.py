"""`tieout sim`: companies that live through everything that can go wrong, each from one seed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from tieout_lab.simulation import campaign, profiles
from tieout_lab.simulation.seeds import Outcome, Plan

FINDING = 1


def sim(
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from --seed on.")] = 20,
    days: Annotated[
        int, typer.Option(min=0, max=400, help="Days of about 500 business events; 0: one short life.")
    ] = 1,
    faults: Annotated[str, typer.Option(help=f"What goes wrong: {', '.join(profiles.PROFILES)}.")] = "all",
    seed: Annotated[
        str, typer.Option(help="The first seed, or a file with one seed a line (then --seeds is not asked).")
    ] = "0",
    workers: Annotated[
        int, typer.Option(min=0, max=4, help="Hub processes on the one store; 0: 1 to 4, drawn.")
    ] = 0,
    without: Annotated[str, typer.Option(help="Parts left out, by commas: what a replay line says.")] = "",
    jobs: Annotated[int, typer.Option(min=0, help="Seeds played at once; 0: one for each core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Play simulated companies under seeded faults and judge the hub and the twins' books.

    Exit code 0 when nothing is wrong, 1 when an invariant is broken: with the line that plays it again.

    Examples:
      tieout sim --seeds 100 --days 1 --faults all

      tieout sim --seed 17 --seeds 1 --days 1 --faults calls --json
    """
    try:
        profiles.profile(faults)
    except profiles.UnknownProfile as error:
        raise typer.BadParameter(str(error), param_hint="--faults") from error
    left_out = frozenset(name.strip() for name in without.split(",") if name.strip())
    plans = [Plan(one, days, faults, workers, left_out) for one in _seeds(seed, seeds)]
    report = campaign.run(plans, jobs, progress=_nothing if as_json else _tell)
    if as_json:
        sys.stdout.write(json.dumps(report.document()) + "\n")
    else:
        rate = report.events / report.seconds if report.seconds else 0
        typer.echo(f"{len(plans)} seeds, {report.events} events, {sum(report.faults.values())} faults")
        typer.echo(f"{report.seconds:.0f} s, {rate:.0f} events/s; hash {report.hash}")
    for found in [] if as_json else report.violations:
        typer.echo(f"seed {found.seed}: {found.violation}\n  replay: {found.replay}", err=True)
    if report.violations:
        raise typer.Exit(FINDING)


def _seeds(given: str, count: int) -> list[int]:
    if given.lstrip("-").isdigit():
        return list(range(int(given), int(given) + count))
    path = Path(given)
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(
            f"{given!r} is neither a number nor a file that can be read: give a number, or a file with one seed a line",
            param_hint="--seed",
        ) from error
    wrong = [(place, one) for place, one in enumerate(lines, 1) if not one.isdigit()]
    if wrong or not lines:
        said = f"{path}: seed {wrong[0][0]} is {wrong[0][1]!r}" if wrong else f"{path}: no seed in it"
        raise typer.BadParameter(f"{said}; write one whole number a line", param_hint="--seed")
    return [int(one) for one in lines]


def _tell(outcome: Outcome) -> None:
    wrong = f"  {len(outcome.violations)} WRONG" if outcome.violations else ""
    typer.echo(
        f"seed {outcome.seed}: {outcome.events} events, {sum(outcome.faults.values())} faults, "
        f"{outcome.lives} lives, {outcome.documents} documents{wrong}",
        err=True,
    )


def _nothing(_: Outcome) -> None:
    """Standard output holds the document alone, and standard error nothing."""
