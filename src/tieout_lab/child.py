"""The twins in a process of their own, which ends with ours whatever becomes of us."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec

_STOP_SECONDS = 5


class NoTwins(Exception):
    """The twins did not start; the message is what they said."""


@asynccontextmanager
async def twins(
    *,
    factor: int = 1,
    business: datetime | None = None,
    epoch: datetime | None = None,
    port_base: int = 0,
    tryton: str = "",
) -> AsyncIterator[dict[str, Any]]:
    """Start all twins, and the real ERP where its PostgreSQL is named; gives what `tieout twins` prints. They end with
    this context, and with this process: they watch the pipe that we hold. Raises NoTwins."""
    command = [sys.executable, "-m", "tieout_lab", "twins", "--with-parent", "--factor", str(factor)]
    if business is not None:
        command += ["--business", business.isoformat()]
    if epoch is not None:
        command += ["--epoch", epoch.isoformat()]
    if port_base:
        command += ["--port-base", str(port_base)]
    if tryton:
        command += ["--tryton", tryton]
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
        # A Ctrl-C at the terminal is ours to handle: the twins must outlive the hub's last words.
        start_new_session=True,
    )
    try:
        yield await _described(process)
    finally:
        await _end(process)


async def _described(process: asyncio.subprocess.Process) -> dict[str, Any]:
    if process.stdout is None:
        raise NoTwins("the twins have no output")
    line = await process.stdout.readline()
    if not line:
        raise NoTwins(f"the twins ended with code {await process.wait()}")
    found: dict[str, Any] = msgspec.json.decode(line)
    return found


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
