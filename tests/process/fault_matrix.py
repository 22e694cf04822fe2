"""Every call that the hub makes, each with every fault; and the report `docs/fault-matrix.md`:
`python -m tests.process.fault_matrix`."""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from pathlib import Path

from tests.process.disturbed import COURSES, EVENTS, WEBHOOK_FAULTS, Call, Seen, Trouble, disturb
from tieout_lab.simulation.campaign import quietly
from tieout_lab.simulation.ports import draw
from tieout_lab.twins.faults import CALL_FAULTS

_REPORT = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
# Part of a batch fails, the rest is done: for the calls that take a batch.
PARTIAL = "partial"
_BATCHES = (
    "batch.invoice.create",
    "batch.payment.create",
    "batch.customer.create",
    "batch.credit_memo.create",
)
_WORLDS_A_CELL, _AGAIN = 3, 3
_AT_A_TIME = 100
_SAID = """Written by `make fault-matrix`. Each row is one kind of call, by the connector's name of it and the twin's;
each column is a fault of the twins' kit (`src/tieout_lab/twins/faults.py`). A flow that makes the call is played to its
end with the fault at one of its calls, again with the fault at the first {again}, and, at writes and look-ups of the
ERP, once with no key enforced and with new documents hidden from queries for 55 s. A late call takes effect after 110 s
at billing, 890 s at the ERP and 30 s at the CRM. It is survived when the books at the twins are line by line those of
the undisturbed flow, no invariant is broken inside or outside, and nothing waits for a person or another document that
did not before. Played here: at most {most} of these worlds a cell, in this order.

`3/3`: of three worlds in which the fault fired, three survived. Flows: `tests/process/flows.py` and
`tests/process/disturbed.py`."""
_LEFT_OUT = """
- `partial` fires where a batch is sent, nowhere else.
- `cut` is `reset` here: in process an answer is whole or is not there. The conformance suite has it over sockets.
- A read does no work, so that `late`, `timeout_after_work`, `error_after` and `reset` differ from `hang`,
  `error_before` and `refuse` only in what the twin did unasked; they are fired all the same.
- Streams (Salesforce's Pub/Sub API) know none of these faults; theirs are in `tests/simulation/test_change_events.py`.
- Tryton is left out: what answers there is the real server over real time, behind a proxy that has these faults;
  `tests/conformance/test_tryton_connector.py` fires them at its reads and writes.
- `credit_memo.post`: the ERP's twin holds nothing but invoices for approval.
- Calls that only a person's command makes (`check`, `certify`, the backfill) belong to no flow.
- A webhook's `reorder`: it comes after the event that was told after it; where none follows within 30 s, it does not
  apply."""
Cell = tuple[Call, str]


@cache
def undisturbed(course: str) -> Seen:
    """The course without any trouble of a cell."""
    seen = disturb(course)
    assert seen.wrong == [], (course, seen.wrong)
    return seen


@cache
def users() -> dict[Call, list[str]]:
    """The courses that make each kind of call, the one with the fewest calls first."""
    found: dict[Call, list[str]] = defaultdict(list)
    for course in sorted(COURSES, key=lambda one: (undisturbed(one).calls.total(), one)):
        for call in undisturbed(course).calls:
            found[call].append(course)
    return dict(sorted(found.items()))


def kinds(call: Call) -> tuple[str, ...]:
    """The faults that can come over a kind of call."""
    if call[0] == EVENTS:
        return WEBHOOK_FAULTS
    return (*CALL_FAULTS, PARTIAL) if call[1] in _BATCHES else CALL_FAULTS


def cells() -> list[Cell]:
    """The whole matrix, row by row."""
    return [(call, kind) for call in users() for kind in kinds(call)]


def sample(size: int) -> list[Cell]:
    """So many cells, the same ones every time: one in so many, beginning anywhere."""
    every = cells()
    step = len(every) / size
    return [every[int((number + draw("cell", number)) * step)] for number in range(size)]


def worlds(cell: Cell, most: int = _WORLDS_A_CELL) -> list[tuple[str, Trouble]]:
    """The worlds of a cell, so many at most: courses, and what goes wrong in each."""
    call, kind = cell
    able = users()[call]
    nth = 1 + int(draw(call, kind) * undisturbed(able[0]).calls[call])
    other = able[int(draw(call, kind) * min(len(able), 6))]
    found = [(able[0], Trouble(call, kind, nth)), (other, Trouble(call, kind, times=_AGAIN))]
    if call[0] == "netsuite" and (call in undisturbed(able[0]).writes or call[1].startswith("find.")):
        found.append((able[0], Trouble(call, kind, loose=True)))
    return found[:most]


@dataclass
class Count:
    """What came of the worlds of one cell: `fired` faults in `met` of the `tried` worlds, of which `survived` did."""

    tried: int = 0
    met: int = 0
    fired: int = 0
    survived: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.survived}/{self.met}" if self.met else "–"


def attempt(given: tuple[str, Trouble]) -> tuple[int, str]:
    """How often the fault fired in this world, and what is wrong then; nothing if it was survived."""
    course, trouble = given
    again = f"disturb({course!r}, {trouble})"
    try:
        seen = disturb(course, trouble)
    except Exception as error:  # whatever it is, it is what is looked for
        return 1, f"{again}: {type(error).__name__}: {error}"[:400]
    calm = undisturbed(course)
    wrong = list(seen.wrong)
    wrong += [f"waits: {one}" for one in seen.waiting if one not in calm.waiting]
    wrong += [f"no longer waits: {one}" for one in calm.waiting if one not in seen.waiting]
    if seen.books != calm.books:
        wrong.append("other books")
    return seen.fired, f"{again}: {wrong[0]}"[:400] if wrong else ""


def count(given: Sequence[Cell], jobs: int, most: int = _WORLDS_A_CELL) -> dict[Cell, Count]:
    """Play every world of these cells."""
    every = [(cell, world) for cell in given for world in worlds(cell, most)]
    counts = {cell: Count() for cell in given}
    # Forked: what the undisturbed courses leave behind is known already.
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        results = pool.map(attempt, [world for _, world in every], chunksize=8)
        for (cell, _), (fired, wrong) in zip(every, results, strict=True):
            found = counts[cell]
            found.tried, found.fired, found.met = (
                found.tried + 1,
                found.fired + fired,
                found.met + bool(fired),
            )
            found.survived += bool(fired) and not wrong
            found.wrong += [wrong] if wrong else []
    return counts


def page(counts: dict[Cell, Count], of: int, most: int = _WORLDS_A_CELL) -> str:
    """The report on these `of` so many cells, each played in `most` worlds at most."""
    counts = dict(sorted(counts.items()))
    lines = ["# Fault matrix", "", _SAID.format(again=_AGAIN, most=most), "", _summary(counts, of)]
    rows = list(dict.fromkeys(call for call, _ in counts))
    for system in dict.fromkeys(call[0] for call in rows):
        named = "kind of webhook" if system == EVENTS else "call | answered by"
        columns = WEBHOOK_FAULTS if system == EVENTS else (*CALL_FAULTS, PARTIAL)
        lines += ["", f"## {system.capitalize()}", "", f"| {named} | {' | '.join(columns)} |"]
        lines.append("| --- |" + " --- |" * (system != EVENTS) + " ---: |" * len(columns))
        for call in rows:
            if call[0] == system:
                name = call[1] if system == EVENTS else f"{call[1]} | {call[2]}"
                lines.append(
                    f"| {name} | " + " | ".join(_shown(counts, (call, kind)) for kind in columns) + " |"
                )
    lines += ["", "## Fired, by kind", "", *_by_kind(counts)]
    wrong = [one for found in counts.values() for one in found.wrong]
    lines += ["", "## Not survived", "", *([f"- {one}" for one in wrong] or ["None."])]
    never = [f"{' '.join(filter(None, call))}: {kind}" for (call, kind), one in counts.items() if not one.met]
    lines += ["", "## What does not apply, and what is elsewhere", *_LEFT_OUT.splitlines()]
    lines += [f"- Did not fire: {one}." for one in never]
    return "\n".join(lines) + "\n"


def _summary(counts: dict[Cell, Count], of: int) -> str:
    rows = len({call for call, _ in counts})
    tried, met, fired, survived = (
        sum(getattr(one, name) for one in counts.values()) for name in ("tried", "met", "fired", "survived")
    )
    whole = sum(1 for one in counts.values() if one.met and not one.wrong)
    return (
        f"**{rows} kinds of calls and webhooks, {len(counts)} of {of} cells, {whole} fired and were survived in every "
        f"world; {tried} worlds, {fired} faults fired in {met} of them, {survived} survived.**"
    )


def _shown(counts: dict[Cell, Count], cell: Cell) -> str:
    return str(counts[cell]) if cell in counts else ""


def _by_kind(counts: dict[Cell, Count]) -> list[str]:
    fired: Counter[tuple[str, str]] = Counter()
    for (call, kind), one in counts.items():
        fired["webhooks" if call[0] == EVENTS else "calls", kind] += one.fired
    return [f"- {where}, {kind}: {number}" for (where, kind), number in fired.items()]


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--sample", type=int, default=0, help="so many cells instead of all; the page is not written"
    )
    asked.add_argument("--only", default="", help="calls whose name holds this; the page is not written")
    asked.add_argument("--worlds", type=int, default=_WORLDS_A_CELL, help="worlds of each cell, at most")
    asked.add_argument("--jobs", type=int, default=2)
    given = asked.parse_args()
    quietly()
    chosen = sample(given.sample) if given.sample else cells()
    chosen = [(call, kind) for call, kind in chosen if given.only in " ".join((*call, kind))]
    # In no order, so that what is written after a part of it tells of every row.
    chosen.sort(key=lambda cell: draw("order", cell))
    counts: dict[Cell, Count] = {}
    text = ""
    for start in range(0, len(chosen), _AT_A_TIME):
        found = count(chosen[start : start + _AT_A_TIME], given.jobs, given.worlds)
        counts |= found
        wrong = [one for each in found.values() for one in each.wrong]
        print(f"{len(counts)} of {len(chosen)} cells", *wrong, sep="\n", flush=True)
        text = page(counts, len(chosen), given.worlds)
        if not given.sample and not given.only:
            _REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
