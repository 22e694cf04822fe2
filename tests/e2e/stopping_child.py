"""A worker that stands still at its first create: `python -m tests.e2e.stopping_child FILE DATABASE WHERE`.

WHERE: `before_check`, SENT is committed and the lease not yet checked; `after_check`, the lease is checked and no byte
has left; `never`. It stops itself (SIGSTOP) and goes on when somebody says so (SIGCONT). Ends when its lease is lost.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from tieout.app import compose, read_settings, system_ports
from tieout.ports import Request, Response

Exchange = Callable[[Request], Awaitable[Response]]


class Standstill:
    """Stops the process before a create goes on to `exchange`, once; what goes on then is not called back."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.sending: list[asyncio.Future[Response]] = []

    async def __call__(self, request: Request) -> Response:
        if request.operation != "invoice.create" or self.sending:
            return await self._exchange(request)
        os.kill(os.getpid(), signal.SIGSTOP)
        self.sending.append(asyncio.ensure_future(self._exchange(request)))
        return await asyncio.shield(self.sending[0])


async def main() -> None:
    file, database, where = sys.argv[1:]
    ports = system_ports()
    sockets = Standstill(ports.transport.exchange)
    if where == "after_check":
        ports.transport.exchange = sockets  # type: ignore[method-assign]
    app = await compose(read_settings(Path(file)), ports, database=database)
    budgeted = Standstill(app.hub.world.transport.exchange)
    if where == "before_check":
        app.hub.world.transport.exchange = budgeted  # type: ignore[method-assign]
    await app.start()
    print("ready", flush=True)
    await app.wait()
    await asyncio.gather(*sockets.sending, *budgeted.sending, return_exceptions=True)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
