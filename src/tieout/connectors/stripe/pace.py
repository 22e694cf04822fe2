"""Stripe's limit of each endpoint, beside that of the account: calls are spread before they are refused."""

from __future__ import annotations

from collections import deque
from datetime import datetime, timedelta

from tieout.ports import Clock


class Pace:
    """At most `per_second` calls a second at one endpoint. A call that is too many waits for its turn, in the order in
    which they came; 0 means no limit. What others call with the same account is not seen here: they are why a 429
    is still possible."""

    def __init__(self, clock: Clock, per_second: int) -> None:
        self._clock = clock
        self._per_second = per_second
        self._turns: dict[str, deque[datetime]] = {}

    async def turn(self, method: str, where: str) -> None:
        """Wait until a call may leave."""
        if not self._per_second:
            return
        turns = self._turns.setdefault(endpoint(method, where), deque(maxlen=self._per_second))
        now = self._clock.now()
        full = len(turns) == self._per_second
        due = max(now, turns[0] + timedelta(seconds=1)) if full else now
        turns.append(due)
        if due > now:
            await self._clock.sleep((due - now).total_seconds())


def endpoint(method: str, where: str) -> str:
    """`GET invoices/3`: ids do not tell endpoints apart. Paths are `/v1/resource[/id[/action]]`."""
    parts = where.split("?", 1)[0].strip("/").split("/")
    action = f"/{parts[3]}" if len(parts) > 3 else ""
    return f"{method} {parts[1] if len(parts) > 1 else ''}/{len(parts)}{action}"
