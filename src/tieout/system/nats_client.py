"""A connection to NATS. Needs the package nats-py (`tieout[nats]`)."""

from __future__ import annotations

from typing import Any

MISSING = "no NATS client: pip install 'tieout[nats]'"


async def connected(url: str, name: str, **options: Any) -> Any:
    """A client that is connected; `options` are its own. Nothing is left open where that fails."""
    from nats.aio.client import Client

    client = Client()
    try:
        await client.connect(url, name=name, error_cb=_unsaid, **options)
    except BaseException:
        await client.close()
        raise
    return client


async def _unsaid(_: Exception) -> None:
    """Whoever asked is told by the answer; the client's own log line would say it a second time."""
