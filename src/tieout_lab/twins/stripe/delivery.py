"""Webhook deliveries: signed, retried in technical time, and, by the fault plan, doubled, forged, dropped, delayed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import aiohttp
import msgspec

from tieout_lab.twins.stripe.accounts import Account, Obj, shown

if TYPE_CHECKING:
    from tieout_lab.twins.kit import Twin

Poster = Callable[[str, bytes, dict[str, str]], Awaitable[int]]

TRIES_FOR_SECONDS = 3 * 24 * 3600
LONGEST_PAUSE_SECONDS = 6 * 3600
ANSWER_WITHIN_SECONDS = 10
AT_ONCE = 16  # deliveries under way to one endpoint
FORGED_SECRET = "whsec_not_the_secret"  # noqa: S105  the point of it is to be wrong


def signature(secrets: list[str], moment: int, body: bytes) -> str:
    """The header `t=...,v1=...`: one v1 for each secret in force, HMAC-SHA256 over "{t}.{body}" in hex."""
    parts = [f"t={moment}"]
    for secret in secrets:
        digest = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        parts.append(f"v1={digest}")
    return ",".join(parts)


class Webhooks:
    """Sends events to the endpoints of their account. `post` may be replaced where there are no sockets."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._session: aiohttp.ClientSession | None = None
        self._gates: dict[str, asyncio.Semaphore] = {}
        self.post: Poster = self._over_http
        self.journal: list[Obj] = []

    def announce(self, account: Account, event: Obj) -> None:
        """Deliver an event to every endpoint that wants it, in the background."""
        for endpoint in account.all("webhook_endpoints"):
            wanted = endpoint["enabled_events"]
            if endpoint["status"] != "enabled" or not ("*" in wanted or event["type"] in wanted):
                continue
            event["pending_webhooks"] += 1
            self._plan(account, endpoint, event)

    def _plan(self, account: Account, endpoint: Obj, event: Obj) -> None:
        faults = self._twin.faults
        rates = faults.webhooks
        if faults.chance("webhook.drop", rates.get("drop", 0.0)):
            return  # never comes: only the list of events shows it
        pause = 0.0
        if faults.chance("webhook.delay", rates.get("delay", 0.0)):
            pause = faults.draw("webhook.delay.seconds", account.counter) * rates.get("delay_seconds", 30.0)
        body = msgspec.json.encode(shown(event))
        self._twin.later(self._deliver(account, endpoint, event, body, pause))
        if faults.chance("webhook.duplicate", rates.get("duplicate", 0.0)):
            self._twin.later(self._deliver(account, endpoint, event, body, pause + 1.0))
        if faults.chance("webhook.forge", rates.get("forge", 0.0)):
            self._twin.later(self._forge(account, endpoint, event, pause))

    async def _deliver(self, account: Account, endpoint: Obj, event: Obj, body: bytes, pause: float) -> None:
        clock = self._twin.clock
        if pause:
            await clock.sleep(pause)
        began, pause = account.technical(), 1.0
        while account.technical() - began <= TRIES_FOR_SECONDS:
            if account.find("webhook_endpoints", endpoint["id"]) is not endpoint or endpoint.get("deleted"):
                return
            moment = int(account.technical())
            sent = signature(secrets_in_force(account, endpoint), moment, body)
            status = await self._send(endpoint, body, sent)
            self.journal.append(
                {"event": event["id"], "type": event["type"], "url": endpoint["url"], "status": status}
            )
            if 200 <= status < 300:
                if endpoint["id"] not in event.setdefault("_delivered", []):
                    event["_delivered"].append(endpoint["id"])
                    event["pending_webhooks"] -= 1
                return
            await clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _forge(self, account: Account, endpoint: Obj, event: Obj, pause: float) -> None:
        """An event that never was, of an amount that never was, signed with a secret that is not ours."""
        if pause:
            await self._twin.clock.sleep(pause)
        false = shown(event) | {"id": "evt_forged" + event["id"][-16:]}
        body = msgspec.json.encode(false)
        sent = signature([FORGED_SECRET], int(account.technical()), body)
        status = await self._send(endpoint, body, sent)
        self.journal.append(
            {"event": false["id"], "type": "forged", "url": endpoint["url"], "status": status}
        )

    async def _send(self, endpoint: Obj, body: bytes, sent: str) -> int:
        headers = {
            "content-type": "application/json; charset=utf-8",
            "stripe-signature": sent,
            "user-agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        async with self._gates.setdefault(endpoint["id"], asyncio.Semaphore(AT_ONCE)):
            return await self.post(endpoint["url"], body, headers)

    async def _over_http(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def secrets_in_force(account: Account, endpoint: Obj) -> list[str]:
    """The endpoint's secret, and the old one for as long as a rotation leaves it in force."""
    old, until = endpoint.get("_old_secret"), endpoint.get("_old_until", 0.0)
    now: float = account.technical()
    return [endpoint["_secret"], *([old] if old and now < until else [])]


def new_endpoint(account: Account, url: str, events: list[str], secret: str | None = None) -> Obj:
    """A webhook endpoint; its secret is shown once, at creation."""
    return account.put(
        "webhook_endpoints",
        {
            "id": account.new_id("we"),
            "object": "webhook_endpoint",
            "api_version": None,
            "application": None,
            "created": int(account.technical()),
            "description": None,
            "enabled_events": events,
            "livemode": account.livemode,
            "metadata": {},
            "status": "enabled",
            "url": url,
            "_secret": secret or account.new_id("whsec", 32),
        },
    )
