"""Software of others that the proving ground runs beside the hub: environments of its own, never the hub's, and
processes that end with whoever started them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path

# A program of its own rather than a function that runs between fork and exec: with threads (gRPC has some) that hangs
# now and then.
_LAUNCH = """\
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""


class NotThere(Exception):
    """It cannot be had here; the message says what is missing and what to do."""


def cache(name: str) -> Path:
    """Where environments of this name are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "tieout" / name


def environment(requirements: Path, name: str) -> Path:
    """The folder of the programs of an environment with these requirements (a lock file with hashes), made when it is
    not there yet, once per content of the file and version of Python. Raises NotThere."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()[:12]

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True, clear=True)
        pip = [
            str(folder / "bin" / "python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        install([*pip, "--require-hashes", "-r", str(requirements)], folder)

    return made(cache(name), digest, make) / "bin"


def made(parent: Path, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made once, by one process at a time, and used only when it is complete."""
    folder = parent / name
    if not (folder / "complete").exists():
        parent.mkdir(parents=True, exist_ok=True)
        with _only_one(parent / f"{name}.lock"):
            if not (folder / "complete").exists():
                make(folder)
                (folder / "complete").touch()
    return folder


def install(command: list[str], folder: Path) -> None:
    """Run an installer. Raises NotThere with its last words."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own lock file
    except OSError as error:
        raise NotThere(f"{Path(command[0]).name} is needed and cannot be run: {error}") from error
    if done.returncode:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise NotThere(f"could not be installed into {folder}:\n{last}")


@contextlib.contextmanager
def _only_one(path: Path) -> Iterator[None]:
    import fcntl

    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def ends_with_us(python: str | Path = sys.executable) -> list[str]:
    """What a command is started by, so that it does not outlive us, where the system knows of that (Linux): it is
    killed when the thread that started it ends, whatever became of that."""
    if sys.platform != "linux":
        return []
    return [str(python), "-I", "-S", "-c", _LAUNCH, str(os.getpid())]


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
