"""Processes of a measurement: modules told what to do by JSON lines, their CPU and memory read from /proc."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tieout_lab.environments import ends_with_us

# Where this package stands: another environment's Python finds it by that.
SOURCE = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")
_waiting: asyncio.StreamReader | None = None


class Broken(Exception):
    """A process of the measurement ended before its time."""


class Child:
    """One process of ours."""

    def __init__(self, module: str, *, python: str = sys.executable, **given: Any) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [*ends_with_us(), python, "-m", f"tieout_lab.bench.{module}", json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            # A Ctrl-C at the terminal is the parent's to handle; a parent that is killed takes it along.
            start_new_session=True,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise Broken(f"{module} has no pipes")
        self._in, self._out = self._process.stdin, self._process.stdout
        self.pid = self._process.pid
        self.module = module
        self.said = self.hear()

    def hear(self) -> dict[str, Any]:
        """The next line it says. Raises Broken."""
        line = self._out.readline()
        if not line:
            raise Broken(f"{self.module} ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def tell(self, do: str, **given: Any) -> None:
        """Tell it to do something, without waiting."""
        self._in.write(json.dumps({"do": do, **given}) + "\n")
        self._in.flush()

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """Tell it, and wait for its answer."""
        self.tell(do, **given)
        return self.hear()

    def stop(self) -> None:
        """End it: its standard input ends, and it follows."""
        self._in.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def given() -> dict[str, Any]:
    """What this process was started with."""
    found: dict[str, Any] = json.loads(sys.argv[1])
    return found


def answer(found: dict[str, Any]) -> None:
    """Say one line to the parent."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()


async def heard() -> dict[str, Any] | None:
    """The next line from the parent; None when it has gone."""
    global _waiting  # noqa: PLW0603 - standard input is one for the process
    if _waiting is None:
        reader = asyncio.StreamReader(limit=1 << 24)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        _waiting = reader
    line = await _waiting.readline()
    if not line:
        return None
    found: dict[str, Any] = json.loads(line)
    return found


def cpu_seconds(pid: int) -> float:
    """CPU that a process has used, in seconds; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def group_cpu_seconds(group: int) -> float:
    """CPU that the processes of a group have used, their ended children included, in seconds."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # ended meanwhile
        if int(fields[2]) == group:
            total += sum(int(field) for field in fields[11:15])
    return total / _TICKS


def machine_busy_seconds() -> float:
    """CPU that everything on this machine has used since it started, in seconds of a core."""
    user, nice, system, _, _, irq, soft, *_ = map(int, Path("/proc/stat").read_text().split()[1:11])
    return (user + nice + system + irq + soft) / _TICKS


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB (10^6 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def steer(port: int, **given: Any) -> None:
    """Begin anew at the stub."""
    raw = json.dumps(given).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/_stub/set", data=raw)
    with urllib.request.urlopen(request) as response:  # noqa: S310 - our own stub
        response.read()


def report(port: int) -> dict[str, Any]:
    """What the stub saw since."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stub/report") as response:
        found: dict[str, Any] = json.loads(response.read())
    return found
