"""Asking a hub that dies and comes back how its lanes stand."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp


class Asking:
    """Whoever has the `url` of a hub may ask; `forget` ends it."""

    url: str
    session: aiohttp.ClientSession | None = None

    async def lanes(self) -> Mapping[str, int]:
        """Lanes by state; while nobody answers, something is still to be done."""
        if self.session is None:
            self.session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))
        try:
            async with self.session.get(f"{self.url}/api/status") as answer:
                found = await answer.json()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return {"leased": 1}
        return {state: found[state] for state in ("ready", "leased", "waiting", "parked", "idle")}

    async def forget(self) -> None:
        if self.session is not None:
            await self.session.close()
