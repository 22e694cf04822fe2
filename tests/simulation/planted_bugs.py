"""Hunts every planted bug and writes `docs/planted-bugs.md`: `python -m tests.simulation.planted_bugs [--seeds N]`."""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

from tests.simulation.bugs import BUGS, plant, stage
from tieout_lab.simulation.campaign import attempt, quietly
from tieout_lab.simulation.seeds import Plan

SEEDS = 200
_SAID = (
    "Written by `make planted-bugs`; the bugs are in `tests/simulation/bugs.py` and `bugs_outside.py`. One bug at a "
    "time is switched on, and seeds are played until an invariant finds it; the seed that finds it "
    "must be clean without it. Each is hunted under the faults that it needs (`tieout sim --faults`), and some in a "
    "world that comes to where they bite (`tests/simulation/stages.py`). An error of Python is no catch."
)
# What a bug does that is planted where nothing is any more: it is no finding.
_BROKEN = re.compile(r"AttributeError|NameError|TypeError: \S+ got an unexpected|ImportError")
_REPORT = Path(__file__).parents[2] / "docs" / "planted-bugs.md"


@dataclass(frozen=True)
class Catch:
    """The first seed that finds a bug, what it says, and how long that took; seed -1 when none does."""

    name: str
    seed: int
    said: str
    seconds: float = 0.0

    @property
    def invariant(self) -> str:
        return "I21: never at rest" if self.said.startswith("Unquiet") else self.said.split(" ")[0]


def hunt(name: str, seeds: int = SEEDS) -> Catch:
    """Look for a bug, seed by seed. It is no catch when the seed is not clean without the bug, or when the world breaks
    down instead of telling what is wrong."""
    began, bug = time.monotonic(), BUGS[name]
    for seed in range(seeds):
        plan = Plan(seed, faults=bug.faults, workers=bug.workers)
        with plant(name) as change:
            found = attempt(plan, change).violations
        if found:
            broken = [one for one in found if _BROKEN.search(one) or not re.match(r"I\d\d |Unquiet", one)]
            if broken:
                return Catch(name, -1, f"wrongly planted, seed {seed} breaks down: {broken[0]}")
            with stage(name) as change:
                clean = attempt(plan, change).violations
            if clean:
                return Catch(name, -1, f"seed {seed} is not clean without it: {clean[0]}")
            return Catch(name, seed, found[0], time.monotonic() - began)
    return Catch(name, -1, "", time.monotonic() - began)


def report(catches: Sequence[Catch], seeds: int, seconds: float) -> str:
    """The page: what came of so many seeds at most for each bug."""
    caught = [one for one in catches if one.seed >= 0]
    many = max((one.seed + 1 for one in caught), default=0)
    summary = (
        f"**{len(caught)} of {len(catches)} are caught**, each within {many} seeds; {seeds} were played at most. "
        f"Played on {datetime.now(UTC):%Y-%m-%d} in {seconds / 60:.0f} minutes."
    )
    lines = [
        "# The tester tested: planted bugs",
        "",
        _SAID,
        "",
        summary,
        "",
        "| bug | what it breaks | hunted | caught by | seeds played | the finding |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in catches:
        bug = BUGS[one.name]
        where = bug.faults + (f", {bug.stage.__name__.replace('_', ' ')}" if bug.stage else "")
        said = re.sub(r"\s+", " ", one.said)[:110].replace("|", "\\|")
        by, played = (one.invariant, str(one.seed + 1)) if one.seed >= 0 else ("**uncaught**", str(seeds))
        lines.append(f"| {one.name.replace('_', ' ')} | {bug.breaks} | {where} | {by} | {played} | {said} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", type=int, default=SEEDS)
    given.add_argument("--jobs", type=int, default=2, help="processes")
    given.add_argument("--only", default="", help="these alone, by commas; the page is not written then")
    asked = given.parse_args()
    names = [name for name in asked.only.split(",") if name] or list(BUGS)
    began = time.monotonic()
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn"), initializer=quietly) as pool:
        hunts = [pool.submit(hunt, name, asked.seeds) for name in names]
        for done in as_completed(hunts):
            one = done.result()
            print(f"{one.name}: seed {one.seed}, {one.seconds:.0f} s: {one.said[:120]}", flush=True)
    catches = [one.result() for one in hunts]
    if not asked.only:
        _REPORT.write_text(report(catches, asked.seeds, time.monotonic() - began), encoding="utf-8")


if __name__ == "__main__":
    main()
