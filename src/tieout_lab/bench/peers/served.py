"""Programs of the other engines: started in a group of their own, gone with us."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tieout_lab.bench.children import SOURCE, Broken
from tieout_lab.bench.peers import work
from tieout_lab.environments import ends_with_us

_PATIENCE_SECONDS = 60.0
_STOP_SECONDS = 10.0


class Served:
    """One program and what it started. Its output is kept in the folder."""

    def __init__(
        self, name: str, command: Sequence[object], folder: Path, given: Mapping[str, Any] | None = None
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        environ = {**os.environ, "PYTHONPATH": str(SOURCE), work.OPTIONS: json.dumps(given or {})}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - an environment of ours
                [*ends_with_us(), *(str(part) for part in command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environ,
                start_new_session=True,
            )
        # It leads its group.
        self.group = self._process.pid

    def check(self) -> None:
        """Raise Broken, with its last words, when it has ended."""
        if self._process.poll() is not None:
            last = "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])
            raise Broken(f"{self.name} ended with {self._process.returncode}:\n{last}")

    def until(self, ready: Callable[[], bool]) -> None:
        """Wait until it is ready. Raises Broken."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self.check()
            with contextlib.suppress(OSError):
                if ready():
                    return
            if time.monotonic() > deadline:
                raise Broken(f"{self.name} was not ready within {_PATIENCE_SECONDS:g} s")
            time.sleep(0.05)

    def ended(self) -> None:
        """Wait until it has done what it was started for. Raises Broken when that failed."""
        if self._process.wait(_PATIENCE_SECONDS):
            self.check()

    def stop(self) -> None:
        """End it, politely at first."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.group, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        # What it had started is in its group, and has got the second signal.

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
