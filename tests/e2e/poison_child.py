"""A worker whose process for one invoice takes the whole process along: `python -m tests.e2e.poison_child FILE HOW`.

Prints `ready` once it works, and ends by itself when every lane but a parked one is idle.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from pathlib import Path

from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.ids import Ref
from tieout.engine.process import Process
from tieout.engine.run import Run

POISON = "in_poison"


async def bill(run: Run, ref: Ref) -> None:
    """Everything is well with every invoice but one."""
    await asyncio.sleep(0.05)
    if ref.id != POISON:
        return
    how = sys.argv[2]
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "segfault":
        ctypes.string_at(0)
    elif how == "memory":
        raise MemoryError
    elif how == "exit":
        raise SystemExit(3)


async def main() -> None:
    app: App = await compose(read_settings(Path(sys.argv[1])), system_ports(), alone=True)
    app.hub.processes = {"invoice": Process(name="bill", kind="invoice", function=bill)}
    await app.start()
    print("ready", flush=True)
    while True:
        await asyncio.sleep(0.2)
        states = await app.lanes()
        if not states.get("ready") and not states.get("leased"):
            break
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
