"""Where the hub can die in each flow; and the report `docs/crash-points.md`: `python -m tests.process.crash_points`."""

from __future__ import annotations

import argparse
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from tests.process.flows import FLOWS, Result, play
from tieout_lab.simulation.campaign import quietly
from tieout_lab.simulation.ports import draw

_REPORT = Path(__file__).parents[2] / "docs" / "crash-points.md"
# What the loops do over and over when there is nothing to do; of each, the first few times are enough.
IDLE = {
    "commit lanes.claim",
    "commit workers.renew",
    "commit workers.forget_dead",
    "commit feeds.own",
    "commit feeds.move",
    "commit waiters.sweep",
    "commit waiters.look_again",
    "commit exceptions.reopen_due",
    "commit audit.head",
    "call changes.poll",
    "call event.list",
}
_ENOUGH = 3
_SAID = (
    "Written by `make crash-points`: the hub is killed at {what} of each flow, before and after the port operation "
    "took effect, and started again on the database that it left; then the books at the twins must be the same, to "
    "the line. What idle loops repeat (claims, renewals, polls) counts three times. "
    "Flows: `tests/process/flows.py`."
)
_AT_A_TIME = 200
Death = tuple[int, bool]


@cache
def undisturbed(flow: str) -> Result:
    """The flow without any death."""
    result = play(FLOWS[flow])
    assert result.wrong == []
    return result


def points(flow: str) -> list[Death]:
    """Every port operation that does something, before and after."""
    seen: Counter[str] = Counter()
    found = []
    for at, what in enumerate(undisturbed(flow).trail, start=1):
        seen[what] += 1
        if what not in IDLE or seen[what] <= _ENOUGH:
            found += [(at, False), (at, True)]
    return found


def double(number: int) -> tuple[str, list[Death]]:
    """The double kill of this number: a flow, a death at one of its points, a second one during the recovery."""
    flow = sorted(FLOWS)[number % len(FLOWS)]
    every = points(flow)
    first = every[int(draw("double", number) * len(every))]
    return flow, [first, (1 + int(draw("double again", number) * 120), draw("double side", number) < 0.5)]


@dataclass
class Count:
    """What came of the deaths of one flow."""

    tried: int = 0
    died: int = 0
    same: int = 0
    wrong: str = ""


def _tried(given: tuple[str, list[Death]]) -> tuple[str, bool, bool, str]:
    flow, deaths = given
    calm = undisturbed(flow)
    try:
        result = play(FLOWS[flow], deaths=deaths)
    except Exception as error:  # whatever it is, it is what is looked for
        return flow, True, False, f"{deaths}: {type(error).__name__}: {error}"[:200]
    same = result.books == calm.books and not result.wrong
    return (
        flow,
        result.lives > 1,
        same,
        "" if same else f"{deaths}: {(result.wrong or ['other books'])[0]}"[:200],
    )


def count(
    given: list[tuple[str, list[Death]]], jobs: int, counts: dict[str, Count] | None = None
) -> dict[str, Count]:
    """Try every death; by flow, beside what was counted before."""
    counts = {flow: Count() for flow in FLOWS} if counts is None else counts
    # Forked: what the undisturbed flows leave behind is known already.
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for flow, died, same, wrong in pool.map(_tried, given, chunksize=4):
            found = counts[flow]
            found.tried, found.died, found.same = found.tried + 1, found.died + died, found.same + same
            found.wrong = found.wrong or wrong
    return counts


def _page(single: dict[str, Count], doubles: dict[str, Count], sampled: int) -> str:
    what = f"a sample of {sampled} points a flow" if sampled else "every point"
    lines = [
        "# Crash points",
        "",
        _SAID.format(what=what),
        "",
        "| flow | port operations | points | tried | hub died | same books |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for flow, found in single.items():
        all_of = (len(undisturbed(flow).trail), len(points(flow)))
        lines.append(f"| {flow} | {all_of[0]} | {all_of[1]} | {found.tried} | {found.died} | {found.same} |")
    tried, died, same = (
        sum(getattr(one, name) for one in doubles.values()) for name in ("tried", "died", "same")
    )
    lines += [
        "",
        f"Double kills (the second one during the recovery): {tried} tried, {died} died, {same} same books.",
    ]
    wrong = [one.wrong for one in (*single.values(), *doubles.values()) if one.wrong]
    lines += ["", *(f"- not the same: {one}" for one in wrong)]
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--sample", type=int, default=0, help="so many points of each flow instead of all")
    asked.add_argument("--doubles", type=int, default=2000)
    asked.add_argument("--jobs", type=int, default=2)
    given = asked.parse_args()
    quietly()
    single = []
    for flow in FLOWS:
        every = points(flow)
        chosen = (
            [every[int(draw(flow, n) * len(every))] for n in range(given.sample)] if given.sample else every
        )
        single += [(flow, [death]) for death in chosen]
    # Each flow is told of as it is done: the whole takes a while.
    singles: dict[str, Count] = {flow: Count() for flow in FLOWS}
    for flow in FLOWS:
        count([one for one in single if one[0] == flow], given.jobs, singles)
        print(f"{flow}: {singles[flow]}", flush=True)
    doubles: dict[str, Count] = {flow: Count() for flow in FLOWS}
    for start in range(0, max(given.doubles, 1), _AT_A_TIME):
        some = range(start, min(start + _AT_A_TIME, given.doubles))
        count([double(n) for n in some], given.jobs, doubles)
        page = _page(singles, doubles, given.sample)
        _REPORT.write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
