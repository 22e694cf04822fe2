"""The work that every engine does: events on lanes, in order per lane, each its own HTTP call; then its result and an
audit row are durable. The standard library alone: this also runs in the environments of the other engines."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

from tieout_lab.bench.children import answer, given, heard

LANES = 500
IN_FLIGHT = 32
CALLERS = 32
PATH = "/events/"
OPTIONS = "TIEOUT_PEER"
SECRET = "whsec_peers"  # noqa: S105 - known to the bench's own loader only
# What the engines on PostgreSQL write themselves: one row is the result, one tells of it. An event that is repeated
# finds its rows there.
TABLES = """
CREATE TABLE results (event BIGINT PRIMARY KEY, lane INT NOT NULL, reference TEXT NOT NULL);
CREATE TABLE audit (event BIGINT PRIMARY KEY, at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), actor TEXT NOT NULL,
                    action TEXT NOT NULL, detail TEXT NOT NULL)
"""
# Both rows in one statement, so in one commit and one round trip.
WRITE = (
    "WITH result AS (INSERT INTO results (event, lane, reference) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING)"
    " INSERT INTO audit (event, actor, action, detail) VALUES (%s, 'worker', 'event.posted', %s)"
    " ON CONFLICT DO NOTHING"
)


def lane(number: int) -> int:
    """The lane of an event: the events of one lane are LANES apart, and in the order of their numbers."""
    return number % LANES


def key(number: int) -> str:
    """The id of an event, by which an engine knows it again, and the idempotency header of its call."""
    return f"evt_{number:08d}"


def payload(number: int) -> dict[str, Any]:
    """What an event says, and what its call carries: about 0.9 KB of JSON."""
    return {
        "id": key(number),
        "number": number,
        "lane": lane(number),
        "kind": "invoice",
        "reason": "finalised",
        "document": f"BENCH-{number:08d}",
        "entity": "us",
        "subsidiary": "1",
        "customer": str(500_000 + lane(number)),
        "currency": "USD",
        "day": "2026-01-01",
        "lines": [
            {
                "item": item,
                "account": "2400",
                "description": item,
                "quantity": "10",
                "net_minor": net,
                "taxes": [
                    {
                        "code": "CA_725",
                        "jurisdiction": "US-CA",
                        "rate_percent": "7.25",
                        "basis_minor": net,
                        "tax_minor": tax,
                    }
                ],
            }
            for item, net, tax in (("PLATFORM-DEF", 45_500, 3_299), ("SUPPORT-DEF", 100_000, 7_250))
        ],
        "net_minor": 145_500,
        "tax_minor": 10_549,
        "total_minor": 156_049,
    }


def row(event: dict[str, Any], reference: str) -> tuple[Any, ...]:
    """The parameters of WRITE."""
    return event["number"], event["lane"], reference, event["number"], reference


async def make_good(session: Any, pool: Any, base: str, event: dict[str, Any]) -> str:
    """The call of an event, then both its rows; answers the reference. `session` is aiohttp's, `pool` psycopg's."""
    async with session.post(
        base + PATH + str(event["number"]), json=event, headers={"Idempotency-Key": event["id"]}
    ) as response:
        response.raise_for_status()
        reference = str((await response.json())["id"])
    async with pool.connection() as connection:
        await connection.execute(WRITE, row(event, reference))
    return reference


def signed(body: bytes) -> str:
    """The signature of a webhook that hands an event over."""
    return hmac.digest(SECRET.encode(), body, hashlib.sha256).hex()


def webhook(port: int, number: int) -> bytes:
    """The request that hands one event over to the hub."""
    body = json.dumps(payload(number)).encode()
    head = (
        f"POST /hooks/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"X-Signature: {signed(body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def options() -> dict[str, Any]:
    """What a process of an engine was started with."""
    if OPTIONS in os.environ:
        found: dict[str, Any] = json.loads(os.environ[OPTIONS])
        return found
    return given()


async def hand_over(send: Callable[[int], Awaitable[object]]) -> None:
    """A loader's life: hand events over when told to, by CALLERS at once. A lane belongs to one caller, so that its
    events are handed over in order."""
    answer({"ready": True})
    while (told := await heard()) is not None:
        numbers = range(told["first"], told["first"] + told["count"])

        async def call(place: int, numbers: range = numbers) -> None:
            for number in numbers:
                if lane(number) % CALLERS == place:
                    await send(number)

        started = time.time()
        await asyncio.gather(*(call(place) for place in range(CALLERS)))
        answer({"started": started, "ended": time.time()})
