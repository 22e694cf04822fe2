"""Programs that a comparison starts are gone when it is, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tieout_lab.bench.children import Broken, group_cpu_seconds
from tieout_lab.bench.peers.served import Served

# A program that starts another one and then sleeps.
NESTED = (
    "import subprocess,sys,time; subprocess.Popen(['sleep','60']); print('up',flush=True); time.sleep(60)"
)
PARENT = """
import sys, time
from pathlib import Path
from tieout_lab.bench.peers.served import Served
one = Served("sleeper", ["sleep", "60"], Path(sys.argv[1]))
print(one.group, flush=True)
time.sleep(60)
"""


def members(group: int) -> list[str]:
    """The living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(stat.parent.name)
    return found


def gone(group: int) -> bool:
    deadline = time.monotonic() + 10
    while members(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not members(group)


def test_a_program_and_what_it_started_end_together(tmp_path: Path) -> None:
    with Served("nested", [sys.executable, "-c", NESTED], tmp_path) as served:
        served.until(lambda: "up" in (tmp_path / "nested.log").read_text())
        assert len(members(served.group)) == 2
        assert group_cpu_seconds(served.group) > 0
        group = served.group
    assert gone(group)


def test_an_interrupt_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    groups: list[int] = []

    def interrupted() -> bool:
        raise KeyboardInterrupt

    def start() -> None:
        with Served("sleeper", ["sleep", "60"], tmp_path) as served:
            groups.append(served.group)
            served.until(interrupted)

    with pytest.raises(KeyboardInterrupt):
        start()
    assert gone(groups[0])


def test_a_parent_that_is_killed_takes_it_along(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert parent.stdout is not None
    group = int(parent.stdout.readline())
    assert members(group)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    assert gone(group)


def test_a_program_that_ends_by_itself_says_why(tmp_path: Path) -> None:
    told = "import sys; sys.exit('the port is taken')"
    with (
        Served("failing", [sys.executable, "-c", told], tmp_path) as served,
        pytest.raises(Broken, match="the port is taken"),
    ):
        served.until(lambda: False)
