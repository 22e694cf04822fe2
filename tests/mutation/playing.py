"""Tests played against a mutant, in a child of this process: it has imported everything but our own code already.

The mutated source takes the place of its module as that is imported; nothing on the disk changes. Needs `fork`.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).resolve().parents[2]
# Rewriting assertions would complain of every plugin that has been imported already, and nobody reads what they say.
_ARGUMENTS = ("-q", "--no-header", "--tb=no", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist")
LIVES = "tests/mutation/lives.py"
_MEMORY_BYTES = 4 * 2**30
OUR_OWN = ("tieout", "tieout_lab", "tests", "conftest")


@dataclass(frozen=True)
class Watched:
    """One test that passes: its seconds of work and, by path, the lines of the engine that it runs."""

    name: str
    seconds: float
    lines: Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant: `killed`, `out of time`, `survived`, or `unreached` where no test runs its lines."""

    mutant: Mutant
    state: str
    tests: int


def in_child(work: Callable[[], int], cpu_seconds: float, folder: Path) -> int:
    """Fork a child that does this and ends with the code that it answers; answers the pid. It is ended after so many
    seconds of work, or after three quarters of a minute and twice as long on the clock: who waits for what never comes
    does not work. Its files are in `folder`, whatever asks for another: who is killed does not tidy up."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setpgid(
            0, 0
        )  # no session of its own: Linux shares its time out by sessions, and `nice` would be in vain
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it must not outlive us
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(45 + round(2 * cpu_seconds))
        limit_seconds = 1 + round(cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_seconds, limit_seconds + 5))
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        honest = tempfile.mkdtemp
        tempfile.mkdtemp = lambda suffix=None, prefix=None, _elsewhere=None, **_: honest(
            suffix, prefix, folder
        )
        tempfile.tempdir = str(folder)
        code = work()
    finally:
        os._exit(code)


def ended(pid: int) -> int:
    """The code of a child that has ended, negative the signal that ended it; whatever it left behind is ended too."""
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


# -- which tests run which lines ----------------------------------------------------------------------------------
class _Watch:
    """A plugin of pytest: which lines each test runs, how long it takes, whether it passes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self.measured.switch_context(item.nodeid)
        began = time.process_time()  # the clock would tell how busy the machine is
        yield
        self.seconds[item.nodeid] = time.process_time() - began
        self.measured.switch_context("")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)


def watch(tests: Sequence[str], folder: Path, answer: Path) -> int:
    """Run tests and write what was seen of them: to be called in a child."""
    measured = coverage.Coverage(data_file=None, config_file=False, include=[f"{folder}/*"])
    measured.start()
    seen = _Watch(measured)
    pytest.main([*_ARGUMENTS, "-m", "not soak and not postgres", *tests], plugins=[seen])
    measured.stop()
    data = measured.get_data()
    lines: dict[str, dict[str, list[int]]] = {}
    for file in data.measured_files():
        path = Path(file).relative_to(ROOT).as_posix()
        for line, contexts in data.contexts_by_lineno(file).items():
            for name in contexts:
                lines.setdefault(name, {}).setdefault(path, []).append(line)
    found = [
        {"name": name, "seconds": seconds, "lines": lines.get(name, {})}
        for name, seconds in seen.seconds.items()
        if name not in seen.failed
    ]
    left_out = {*OUR_OWN, *_plugins()}
    foreign = sorted(name for name in sys.modules if name.partition(".")[0] not in left_out)
    answer.write_text(json.dumps({"tests": found, "failed": sorted(seen.failed), "modules": foreign}))
    return 0


def _plugins() -> set[str]:
    """The packages of pytest's plugins, which it must import itself."""
    found = set()
    for one in importlib.metadata.distributions():
        if any(entry.group == "pytest11" for entry in one.entry_points):
            found |= {str(file).partition("/")[0].removesuffix(".py") for file in one.files or ()}
    return found


def read_watch(answer: Path) -> tuple[list[Watched], list[str]]:
    """What `watch` saw: tests that pass, and the names of modules that are not ours."""
    told: dict[str, Any] = json.loads(answer.read_text())
    tests = [
        Watched(one["name"], one["seconds"], {path: frozenset(lines) for path, lines in one["lines"].items()})
        for one in told["tests"]
    ]
    return tests, told["modules"]


def import_all(modules: Sequence[str]) -> None:
    """Import what the tests will import, so that every child has it. What is private is left to who owns it: `_asyncio`
    before `asyncio` gave every child an event loop that did not know its own tasks."""
    for name in modules:
        if name.startswith("_"):
            continue
        try:
            importlib.import_module(name)
        except Exception:
            continue  # a part that does not stand by itself is imported by the child


# -- the tests of one mutant --------------------------------------------------------------------------------------
def chosen(mutant: Mutant, tests: Sequence[Watched], most_seconds: float) -> list[Watched]:
    """The tests that run the mutated lines, as many as fit into so many seconds (one at least): those of a file named
    after the module first, then a simulated life, which judges the most, then the quickest. What runs at import alone
    is looked at by whoever runs anything of the file."""
    first, last = mutant.lines
    reaching = [one for one in tests if any(first <= line <= last for line in one.lines.get(mutant.path, ()))]
    reaching = reaching or [one for one in tests if one.lines.get(mutant.path)]
    found: list[Watched] = []
    seconds = 0.0
    own = f"test_{Path(mutant.path).stem}.py::"
    lives = sorted((one for one in reaching if one.name.startswith(LIVES)), key=lambda one: one.seconds)[:1]
    for one in sorted(
        reaching, key=lambda one: (own not in one.name, one not in lives, one.seconds, one.name)
    ):
        if found and seconds + one.seconds > most_seconds:
            break
        found.append(one)
        seconds += one.seconds
    return found


class _Mutated(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module from a mutated source."""

    def __init__(self, mutant: Mutant) -> None:
        name = mutant.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
        super().__init__(name.removesuffix(".__init__"), str(ROOT / mutant.path))
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Any, target: Any = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def get_code(self, fullname: str) -> Any:
        source = self._mutant.of(Path(self.path).read_bytes())
        return compile(source, self.path, "exec", dont_inherit=True)


def play(mutant: Mutant, tests: Sequence[Watched]) -> int:
    """Run tests against a mutant: to be called in a child."""
    sys.meta_path.insert(0, _Mutated(mutant))
    try:
        return int(pytest.main([*_ARGUMENTS, "-x", *(one.name for one in tests)]))
    except Exception:
        return 1  # our own plugin of pytest could not even be imported


def unchanged(path: str) -> Mutant:
    """No mutant at all: whoever looks at it must be content, or every verdict would be worth nothing."""
    return Mutant(path, 1, "none", "", "", 0, 0, (1, 1))


def verdict_of(mutant: Mutant, code: int, tests: int) -> Verdict:
    """What a child's end says. RuntimeError when the tests were never begun."""
    if code in (pytest.ExitCode.NO_TESTS_COLLECTED, 70):
        raise RuntimeError(f"no test was run against {mutant.name}")
    if code in (-signal.SIGALRM, -signal.SIGXCPU, -signal.SIGKILL):
        return Verdict(mutant, "out of time", tests)
    return Verdict(mutant, "survived" if code == 0 else "killed", tests)
