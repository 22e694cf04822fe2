"""Hunts every planted bug and writes `docs/planted-bugs.md`: `python -m tests.simulation.planted_bugs [--seeds N]`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.bugs import BUGS, plant
from tieout_lab.simulation.campaign import attempt, quietly
from tieout_lab.simulation.seeds import Plan

SEEDS = 200
_SAID = (
    "Written by `make planted-bugs`; what each bug is, is in `tests/simulation/bugs.py`. One bug at a time is switched "
    f"on, and seeds are played until one finds it, {SEEDS} at most; the same seed must be clean without it."
)
_REPORT = Path(__file__).parents[2] / "docs" / "planted-bugs.md"


@dataclass
class Catch:
    """The first seed that finds a bug, and what it says; seed -1 when none does."""

    name: str
    seed: int
    said: str

    @property
    def invariant(self) -> str:
        first = self.said.split()[0].rstrip(":") if self.said else ""
        return (
            first
            if first[:1] == "I" and first[1:].isdigit()
            else f"the world breaks: {first}"
            if first
            else ""
        )


def hunt(name: str, seeds: int = SEEDS) -> Catch:
    """Look for a bug, seed by seed. The seed that finds it must be clean without it."""
    for seed in range(seeds):
        with plant(name) as change:
            found = attempt(Plan(seed), change).violations
        if found:
            clean = attempt(Plan(seed)).violations
            if clean:
                raise AssertionError(f"seed {seed} is not clean without {name}: {clean}")
            return Catch(name, seed, found[0])
    return Catch(name, -1, "")


def report(catches: list[Catch]) -> str:
    """The page."""
    caught = [one for one in catches if one.seed >= 0]
    lines = [
        "# The tester tested: planted bugs",
        "",
        _SAID,
        "",
        f"{len(caught)} of {len(catches)} are caught.",
        "",
        "| bug | first seed that finds it | by | what it says |",
        "| --- | --- | --- | --- |",
    ]
    for one in catches:
        said = one.said[:110].replace("|", "\\|").replace("\n", " ")
        where = str(one.seed) if one.seed >= 0 else "not caught"
        lines.append(f"| {one.name.replace('_', ' ')} | {where} | {one.invariant} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", type=int, default=SEEDS)
    given.add_argument("--only", default="", help="these alone, by commas; the page is not written then")
    asked = given.parse_args()
    quietly()
    names = [name for name in asked.only.split(",") if name] or list(BUGS)
    catches = []
    for name in names:
        catches.append(hunt(name, asked.seeds))
        print(f"{name}: seed {catches[-1].seed}: {catches[-1].said[:120]}", flush=True)
    if not asked.only:
        _REPORT.write_text(report(catches), encoding="utf-8")


if __name__ == "__main__":
    main()
