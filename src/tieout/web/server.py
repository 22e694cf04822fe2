"""Serving: the worker and the web side by side in one event loop, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable

import uvicorn

from tieout.app import App
from tieout.engine import pinning
from tieout.settings import ConfigurationError
from tieout.system import Listening, listen
from tieout.web.app import Web

_GRACE_SECONDS = 5


class Server(uvicorn.Server):
    """A server whose signals are ours: the worker must end after the last webhook was taken."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leaves them alone."""
        yield


async def serve(app: App, *, work: bool, web: bool = True, ready: Callable[[str], object] = str) -> bool:
    """Run until SIGTERM or SIGINT, or until the lease is lost (answers False then). `ready` is told the URL."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    listening = bind(app) if web else None
    server = _server(app, work=work) if listening is not None else None
    serving: asyncio.Task[None] | None = None
    working: asyncio.Task[None] | None = None
    # A process that works follows by itself.
    following = None if work else asyncio.create_task(pinning.follow(app.hub, ask=False))
    try:
        await app.check_buffer()
        if work:
            starting = asyncio.create_task(app.start())
            await _first(stopping.wait(), starting)
            if not starting.done():  # a database that does not answer must not keep anybody from stopping
                starting.cancel()
                await asyncio.gather(starting, return_exceptions=True)
                return True
            starting.result()
            working = asyncio.create_task(app.wait())
        if server is not None and listening is not None:
            serving = asyncio.create_task(server.serve(sockets=[listening]))
            host, port = listening.getsockname()[:2]
            ready(f"http://{f'[{host}]' if ':' in host else host}:{port}")
        else:
            ready("")
        await _first(stopping.wait(), working, serving)
        return stopping.is_set()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        if server is not None and serving is not None:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
        if listening is not None:
            listening.close()
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await (app.stop() if work else app.close())
        if working is not None:
            await asyncio.gather(working, return_exceptions=True)


async def _first(stopped: Awaitable[object], *tasks: asyncio.Task[None] | None) -> None:
    waiting = asyncio.ensure_future(stopped)
    await asyncio.wait(
        {waiting, *(task for task in tasks if task is not None)}, return_when=asyncio.FIRST_COMPLETED
    )
    waiting.cancel()


def _server(app: App, *, work: bool) -> Server:
    config = uvicorn.Config(
        Web(app, app.worker.wake if work else lambda: None),
        http="httptools",
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        backlog=2048,
    )
    return Server(config)


def bind(app: App) -> Listening:
    """The listening socket. Raises ConfigurationError when the port is taken."""
    host, port = app.settings.web.host, app.settings.web.port
    try:
        return listen(host, port)
    except OSError as error:
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {error.strerror}; write another `port` under [web], or 0 for any free one"
        ) from error
