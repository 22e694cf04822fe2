"""The twins' control APIs, from outside: what people do there, the business clock, the faults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import aiohttp


class Refused(Exception):
    """A twin refused a control action; the message is the twin's."""


class Steering:
    """One client for all twins of a world, as `tieout twins` described them."""

    def __init__(self, described: Mapping[str, Any]) -> None:
        self.described = described
        self._session: aiohttp.ClientSession | None = None

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        return self._session

    async def _ask(self, method: str, url: str, given: Any = None) -> Any:
        async with self._open().request(method, url, json=given) as answer:
            body = await answer.json()
            if answer.status >= 400:
                raise Refused(f"{method} {url}: {answer.status} {body}")
            return body

    async def act(self, twin: str, name: str, /, **given: Any) -> Any:
        """One control action of a twin. Raises Refused."""
        return await self._ask("POST", f"{self.described[twin]['url']}/_control/act/{name}", given)

    async def post_form(self, twin: str, path: str, form: Mapping[str, str], *, key: str) -> Any:
        """A call of the vendor's own API, as an operator would make it: `key` names the account. Raises Refused."""
        headers = {"authorization": f"Bearer {self.described[twin]['accounts'][key]['api_key']}"}
        async with self._open().post(
            f"{self.described[twin]['url']}{path}", data=dict(form), headers=headers
        ) as answer:
            body = await answer.json()
            if answer.status >= 400:
                raise Refused(f"POST {path}: {answer.status} {body}")
            return body

    async def faults(self, twin: str, plan: Mapping[str, Any]) -> None:
        """Plan what goes wrong at a twin from now on; an empty plan: nothing."""
        await self._ask("PUT", f"{self.described[twin]['url']}/_control/faults", dict(plan))

    async def control(self, twin: str, what: str, given: Any = None) -> Any:
        """The twin's own control API: `log`, `paused`, `resume`."""
        return await self._ask(
            "POST" if given is not None else "GET", f"{self.described[twin]['url']}/_control/{what}", given
        )

    async def _world(self, what: str, given: Any = None) -> Any:
        method = "GET" if given is None else "POST"
        return await self._ask(method, f"{self.described['control']['url']}/{what}", given)

    async def move(self, business: datetime) -> None:
        """Move the business clock of all twins: what has become due is billed."""
        await self._world("clock", {"business": business.isoformat()})

    async def pending(self) -> int:
        """Webhooks that nobody has taken yet."""
        found: dict[str, int] = await self._world("pending")
        return sum(found.values())

    async def counts(self) -> dict[str, dict[str, Any]]:
        """Per twin: faults by kind, requests, writes."""
        found: dict[str, dict[str, Any]] = await self._world("counts")
        return found

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None
