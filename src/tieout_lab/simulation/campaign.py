"""Many seeds over every core: each is played in one process from its number alone, results come in seed order."""

from __future__ import annotations

import gc
import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import structlog

from tieout_lab.simulation.seeds import Outcome, Plan, play

_SHRINK_TRIES = 40


@dataclass
class Finding:
    """One violation: what it says, and the line that plays it again with whatever it does not need left out."""

    seed: int
    violation: str
    replay: str


@dataclass
class Report:
    """What came of many seeds. `hash` is over the hashes of all seeds in their order."""

    events: int = 0
    violations: list[Finding] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    hash: str = ""
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        """The one JSON document of `tieout sim --json`."""
        found = [vars(one) for one in self.violations]
        faults = dict(sorted(self.faults.items()))
        seconds = round(self.seconds, 1)
        return {
            "events": self.events,
            "violations": found,
            "faults": faults,
            "hash": self.hash,
            "seconds": seconds,
        }


def quietly() -> None:
    """What the hub logs of trouble that was ordered is of no interest; and a world is garbage as a whole, when it ends:
    to look for it on the way takes a tenth of the time."""
    gc.set_threshold(50_000)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def attempt(plan: Plan, change: Callable[[Any], None] | None = None, **given: Any) -> Outcome:
    """Play a plan; a world that breaks down or never comes to rest is a violation like any other."""
    try:
        return play(plan, change, **given)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        said = f"{type(error).__name__}: {error}"[:500]
        return Outcome(plan.seed, [said], {}, {}, 0, 0, 0, "broken", 0, replayed_by=plan.replay())


def outcomes(plans: Sequence[Plan], jobs: int = 0) -> Iterator[Outcome]:
    """The outcome of each plan, in order. `jobs`: processes, 0 for one per core."""
    jobs = min(jobs or os.cpu_count() or 1, len(plans)) or 1
    if jobs == 1:
        quietly()
        yield from map(attempt, plans)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=quietly) as pool:
        yield from pool.map(attempt, plans, chunksize=1)


def run(
    plans: Sequence[Plan],
    jobs: int = 0,
    *,
    shrink: bool = True,
    progress: Callable[[Outcome], None] = lambda _: None,
) -> Report:
    """Play every plan and sum up. The first three failing seeds are shrunk."""
    began = time.monotonic()
    report, digest = Report(), hashlib.sha256()
    for plan, outcome in zip(plans, outcomes(plans, jobs), strict=True):
        report.events += outcome.events
        report.faults.update(outcome.faults)
        digest.update(f"{outcome.seed}:{outcome.hash}\n".encode())
        failing = plan
        if outcome.violations and shrink and len(report.violations) < 3:
            failing = shrunk(plan, outcome)
        for violation in outcome.violations:
            report.violations.append(Finding(outcome.seed, violation, failing.replay()))
        progress(outcome)
    report.hash, report.seconds = digest.hexdigest(), time.monotonic() - began
    return report


def shrunk(plan: Plan, outcome: Outcome, change: Callable[[Any], None] | None = None) -> Plan:
    """The plan with as much left out as the same invariant still allows: halves first, then one by one."""
    kind = outcome.violations[0].split()[0]
    parts, tries, size = list(outcome.parts), 0, max(1, len(outcome.parts) // 2)
    while parts and tries < _SHRINK_TRIES:
        for start in range(0, len(parts), size):
            less = plan.without | set(parts[start : start + size])
            tries += 1
            found = attempt(Plan(plan.seed, plan.days, plan.faults, plan.workers, less), change)
            if any(one.startswith(kind) for one in found.violations):
                plan = Plan(plan.seed, plan.days, plan.faults, plan.workers, frozenset(less))
                parts = [one for one in parts if one not in less]
                break
            if tries >= _SHRINK_TRIES:
                return plan
        else:
            if size == 1:
                return plan
            size = max(1, size // 2)
    return plan
