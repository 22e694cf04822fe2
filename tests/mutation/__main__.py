"""Mutates `src/tieout/engine` and writes `docs/mutation.md`: `python -m tests.mutation [--sample N --seed S]`."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_under, sampled
from tests.mutation.playing import (
    LIVES,
    ROOT,
    Verdict,
    Watched,
    chosen,
    ended,
    import_all,
    in_child,
    play,
    read_watch,
    unchanged,
    verdict_of,
    watch,
)

ENGINE = ROOT / "src" / "tieout" / "engine"
_REPORT = ROOT / "docs" / "mutation.md"
# What takes minutes, or starts processes of which nobody sees what they run.
_LEFT_OUT = {"crash_points", "erp_outage", "erp_speed", "awkward_amounts", "tryton_bad_input", "web_up"}
# What can kill a mutant: the tests of the engine, of the store on SQLite and of whole flows, a few simulated lives.
TESTS = (
    "tests/unit/engine",
    "tests/store",
    LIVES,
    "tests/unit/test_restored_command.py",
    "tests/unit/test_usage_command.py",
    "tests/golden",
    "tests/conformance/test_certification.py",
    "tests/conformance/test_webhooks_out.py",
    *(
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "tests" / "process").glob("test_*.py"))
        if path.stem.removeprefix("test_") not in _LEFT_OUT
    ),
)
_WATCH_SECONDS = 900.0
_SAID = (
    "Written by `make mutation` (`python -m tests.mutation`): mistakes are made in `src/tieout/engine/`, one at a time "
    "(`tests/mutation/mutants.py` says which), and the tests that run the changed lines are run, the quickest first, "
    "until one fails. A mutant that none of them notices survives: a test is missing, or the change changes nothing."
)


def watched(jobs: int) -> tuple[list[Watched], list[str]]:
    """Every test that passes, with the lines it runs; and what modules they need that are not ours."""
    with _folder() as name:
        folder = Path(name)
        parts = [TESTS[number::jobs] for number in range(jobs)]
        answers = [folder / f"{number}.json" for number in range(jobs)]
        pids = [
            in_child(partial(watch, part, ENGINE, answer), _WATCH_SECONDS, folder)
            for part, answer in zip(parts, answers, strict=True)
        ]
        codes = [ended(pid) for pid in pids]
        if any(codes):
            raise SystemExit(f"the tests could not be watched: {codes}")
        read = [read_watch(answer) for answer in answers]
    return [test for tests, _ in read for test in tests], sorted(
        {name for _, names in read for name in names}
    )


def _folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for one child's files, in memory where there is such."""
    shared = Path("/dev/shm")
    inside = shared if shared.is_dir() else None
    return tempfile.TemporaryDirectory(prefix="tieout-mutation-", dir=inside, ignore_cleanup_errors=True)


def judged(
    mutants: Sequence[Mutant], tests: Sequence[Watched], jobs: int, most_seconds: float
) -> list[Verdict]:
    """The verdict of every mutant, so many at a time. No threads: a child of a process that has some may hang."""
    found: list[Verdict] = []
    running: dict[int, tuple[Mutant, int, tempfile.TemporaryDirectory[str]]] = {}
    waiting = list(reversed(mutants))

    def say(verdict: Verdict) -> None:
        found.append(verdict)
        told = f"{verdict.mutant.path}:{verdict.mutant.line} {verdict.mutant.after[:80]}"
        print(f"{len(found):4} {verdict.state:12} {told}", flush=True)

    while waiting or running:
        while waiting and len(running) < jobs:
            mutant = waiting.pop()
            some = chosen(mutant, tests, most_seconds)
            if not some:
                say(Verdict(mutant, "unreached", 0))
                continue
            folder = _folder()
            limit_seconds = 10 + 5 * sum(one.seconds for one in some)
            pid = in_child(partial(play, mutant, some), limit_seconds, Path(folder.name))
            running[pid] = mutant, len(some), folder
        if running:
            # Who has ended is left for `ended` to fetch.
            pid = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT).si_pid
            mutant, many, folder = running.pop(pid)
            say(verdict_of(mutant, ended(pid), many))
            folder.cleanup()
    return found


def report(found: Sequence[Verdict], whole: int, seed: int, tests: int, seconds: float) -> str:
    """The page."""
    counts = Counter(one.state for one in found)
    killed = counts["killed"] + counts["out of time"]
    sample = f"a sample of {len(found)} (seed {seed}) of {whole}" if len(found) < whole else f"all {whole}"
    summary = (
        f"{datetime.now(UTC):%Y-%m-%d}: {sample} mutants, {tests} tests, {seconds / 60:.0f} minutes. "
        f"**{killed} of {len(found)} killed ({100 * killed / len(found):.0f} %)**, {counts['out of time']} of them "
        f"because the tests never ended; {counts['survived']} survived, {counts['unreached']} no test reaches."
    )
    lines = [
        "# The tests tested: mutants of the engine",
        "",
        _SAID,
        "",
        summary,
        "",
        "| file | mutants | killed |",
        "| --- | --- | --- |",
    ]
    for path in sorted({one.mutant.path for one in found}):
        here = [one for one in found if one.mutant.path == path]
        gone = sum(one.state in ("killed", "out of time") for one in here)
        lines.append(f"| {path.removeprefix('src/tieout/')} | {len(here)} | {gone} |")
    lines += ["", "## Survivors", "", "| where | before | after | tests |", "| --- | --- | --- | --- |"]
    for one in sorted(found, key=lambda one: (one.mutant.path, one.mutant.start)):
        if one.state in ("survived", "unreached"):
            mutant = one.mutant
            where = f"{mutant.path.removeprefix('src/tieout/')}:{mutant.line}"
            lines.append(
                f"| {where} | {_code(mutant.before)} | {_code(mutant.after)} | {one.tests or 'none'} |"
            )
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    cut = text if len(text) <= 90 else text[:87] + "..."
    return f"`{cut}`".replace("|", "\\|")


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--sample", type=int, default=0, help="so many mutants, drawn; 0: every one")
    given.add_argument("--seed", type=int, default=1)
    given.add_argument("--jobs", type=int, default=2, help="mutants at once")
    given.add_argument("--most-seconds", type=float, default=20.0, help="of tests for one mutant")
    given.add_argument("--only", default="", help="files whose path holds this; the page is not written then")
    asked = given.parse_args()
    began = time.monotonic()
    whole = [one for one in mutants_under(ENGINE, ROOT) if asked.only in one.path]
    tests, modules = watched(asked.jobs)
    print(f"{len(whole)} mutants; {len(tests)} tests, {sum(one.seconds for one in tests):.0f} s", flush=True)
    import_all(modules)
    control = judged(
        [unchanged(path) for path in sorted({one.path for one in whole})], tests, asked.jobs, 0.5
    )
    if wrong := [one.mutant.path for one in control if one.state not in ("survived", "unreached")]:
        raise SystemExit(f"the tests fail where nothing was changed: {', '.join(wrong)}")
    mutants = sampled(whole, asked.sample, asked.seed)
    found = judged(mutants, tests, asked.jobs, asked.most_seconds)
    text = report(found, len(whole), asked.seed, len(tests), time.monotonic() - began)
    if asked.only:
        print(text)
    else:
        _REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
