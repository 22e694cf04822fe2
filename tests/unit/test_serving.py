"""A process that stays, and how it is stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any, cast

from tieout.web.server import serve


class Starting:
    """A hub whose database never answers."""

    def __init__(self) -> None:
        self.did: list[str] = []

    async def check_buffer(self) -> None:
        self.did.append("checked")

    async def start(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.did.append("start cancelled")

    async def stop(self) -> None:
        self.did.append("stopped")


async def test_who_has_not_even_started_can_be_stopped():
    app = Starting()
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        assert await serve(cast("Any", app), work=True, web=False)
    assert app.did == ["checked", "start cancelled", "stopped"]
