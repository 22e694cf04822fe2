"""The mutation run's own parts: which mutants it makes, and that a mutated module is what a test then meets."""

from __future__ import annotations

import pytest

from tests.mutation.mutants import Mutant, mutants_of, sampled
from tests.mutation.playing import Verdict, Watched, chosen, verdict_of

_SOURCE = b'''"""Words are left alone."""
LIMIT = 5


def most(a: int, b: int = 2) -> int | None:
    if a < b and not done(a):
        note(f"seen {a + 1}")
        self.count += 1
        raise ValueError("no")
    return a + b if ready else None
'''


def _made() -> set[tuple[int, str, str]]:
    return {(one.line, one.kind, one.after) for one in mutants_of(_SOURCE, "src/tieout/engine/x.py")}


def test_every_kind_of_mistake_is_made_once_at_each_place():
    assert _made() == {
        (2, "constant", "6"),
        (5, "constant", "3"),
        (6, "boolean", "(a < b or not done(a))"),
        (6, "boolean", "(done(a))"),
        (6, "comparison", "(a <= b)"),
        (7, "deleted", "pass"),
        (8, "constant", "2"),
        (8, "deleted", "pass"),
        (9, "deleted", "pass"),
        (10, "arithmetic", "(a - b)"),
        (10, "condition", "(not (ready))"),
        (10, "return", "return None"),
    }


def test_a_mutant_differs_in_its_place_alone():
    (less,) = (one for one in mutants_of(_SOURCE, "x.py") if one.kind == "comparison")
    assert less.of(_SOURCE) == _SOURCE.replace(b"a < b", b"(a <= b)")
    assert (less.before, less.lines) == ("a < b", (6, 6))


def test_a_larger_sample_holds_the_smaller_one():
    every = mutants_of(_SOURCE, "x.py")
    small, large = sampled(every, 3, seed=1), sampled(every, 6, seed=1)
    assert len(small) == 3
    assert set(small) < set(large)
    assert sampled(every, 0, seed=1) == every


def _mutant() -> Mutant:
    return Mutant("x.py", 6, "comparison", "a < b", "a <= b", 0, 0, (6, 7))


def test_the_quickest_tests_that_run_its_lines_are_chosen():
    lines = {"x.py": frozenset({7})}
    slow, quick = Watched("slow", 9.0, lines), Watched("quick", 0.1, lines)
    elsewhere = Watched("elsewhere", 0.1, {"x.py": frozenset({8})})
    assert chosen(_mutant(), [slow, elsewhere, quick], 60) == [quick, slow]
    assert chosen(_mutant(), [slow, quick], 5) == [quick]
    assert chosen(_mutant(), [slow], 5) == [slow]
    own = Watched("tests/test_x.py::test", 9.0, lines)
    assert chosen(_mutant(), [quick, own], 5) == [own], "who is named after the module knows it best"
    assert chosen(_mutant(), [elsewhere], 5) == [elsewhere], (
        "what runs at import is looked at by all of the file"
    )


def test_what_a_child_ends_with_is_its_verdict():
    assert verdict_of(_mutant(), 0, 3) == Verdict(_mutant(), "survived", 3)
    assert verdict_of(_mutant(), 1, 3).state == "killed"
    assert verdict_of(_mutant(), -14, 3).state == "out of time"
    with pytest.raises(RuntimeError, match="no test was run"):
        verdict_of(_mutant(), int(pytest.ExitCode.NO_TESTS_COLLECTED), 3)
