"""Runs of `tieout demo` as a user starts them: a process, its exit code, its one JSON document."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

COMMAND = [sys.executable, "-m", "tieout.cli.main"]
PATIENCE_SECONDS = 400


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    code: int
    document: dict[str, Any]
    errors: str

    @property
    def hash(self) -> str:
        return str(self.document["books_hash"])


def environment() -> dict[str, str]:
    """Ours, without what would point the command at somebody's own hub."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TIEOUT_")}


def run_demo(*options: str, patience_seconds: int = PATIENCE_SECONDS) -> Run:
    """`tieout demo --headless --json` with these options."""
    done = subprocess.run(
        [*COMMAND, "demo", "--headless", "--json", *options],
        capture_output=True,
        text=True,
        timeout=patience_seconds,
        env=environment(),
    )
    lines = done.stdout.strip().splitlines()
    assert len(lines) == 1, (
        f"one JSON document, not {len(lines)} lines: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return Run(done.returncode, json.loads(lines[0]), done.stderr)


@functools.cache
def undisturbed(customers: int, seed: int) -> Run:
    """The run that all others with the same business must agree with."""
    return run_demo("--customers", str(customers), "--seed", str(seed))
