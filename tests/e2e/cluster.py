"""A PostgreSQL of a test's own, which may be taken down as one likes; it ends with the process that started it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

import psycopg
import pytest

from tieout_lab.environments import ends_with_us, free_port

_START_SECONDS = 60
# How the server is asked to go: as `pg_ctl -m fast`, in order, and as `-m immediate`, which is a crash.
FAST, IMMEDIATE = signal.SIGINT, signal.SIGQUIT


def programs() -> Path | None:
    """Where the server's programs are, the newest first."""
    known = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: float(one.parent.name))
    on_path = shutil.which("postgres")
    if on_path is not None:
        known.append(Path(on_path).resolve().parent)
    return next((one for one in reversed(known) if (one / "initdb").exists()), None)


def _as_postgres() -> list[str]:
    """The server refuses to run as root; whoever it runs as, it is killed when the thread that started it ends."""
    if os.getuid() != 0:
        return ends_with_us()
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=KILL", "--"]


class Cluster:
    """One server on a port of loopback."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.port = free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.restarts = 0
        self._folder = folder
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Its files."""
        if os.getuid() == 0:
            shutil.chown(self._folder, "postgres")
        options = ["-D", str(self._folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        command = [*_as_postgres(), str(self._programs / "initdb"), *options, "--no-locale", "--no-sync"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        """Begin, without waiting until it answers. By a thread that stays."""
        options = ["-p", str(self.port), "-k", str(self._folder), "-c", "listen_addresses=127.0.0.1"]
        command = [*_as_postgres(), str(self._programs / "postgres"), "-D", str(self._folder / "data")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *options, "-c", "max_connections=200"], stdout=log, stderr=log, cwd="/"
            )

    def ask_to_end(self, how: signal.Signals) -> None:
        """Tell it to go."""
        assert self._process is not None
        self._process.send_signal(how)

    def wait_until_ended(self) -> None:
        assert self._process is not None
        self._process.wait(_START_SECONDS)

    def wait_until_up(self) -> None:
        """Until it takes connections."""
        until = time.monotonic() + _START_SECONDS
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                if time.monotonic() > until:
                    raise AssertionError((self._folder / "log").read_text()[-3000:]) from None
                time.sleep(0.1)
                continue
            return

    def end(self) -> None:
        """Gone, and its files with it."""
        if self._process is not None:
            self._process.send_signal(IMMEDIATE)
            self._process.wait(_START_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """A server of our own. Skips where its programs are not installed."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's programs (initdb, postgres): a server of the test's own is restarted")
    # Not in pytest's folder: whom the server runs as may not look in there, and a socket's path is short.
    cluster = Cluster(Path(mkdtemp(prefix="tieout-cluster-")), found)
    try:
        cluster.make()
        cluster.start()
        cluster.wait_until_up()
        yield cluster
    finally:
        cluster.end()
