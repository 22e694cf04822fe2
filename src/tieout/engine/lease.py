"""The lease of one worker process: all its lanes live and die with it. Real time, because it is about processes."""

from __future__ import annotations

import msgspec

from tieout.engine.clock import set_by_database
from tieout.engine.hub import Hub
from tieout.store import lanes, permits
from tieout.store.statements import Refused


class Lease(msgspec.Struct, kw_only=True):
    """Who we are, and until when (real microseconds) nobody may take our lanes."""

    hub: Hub
    worker: str
    until: int = 0
    lost: bool = False

    async def join(self, host: str, pid: int) -> None:
        """Make this worker known."""
        await set_by_database(self.hub)
        now = self.hub.real_now()
        self.until = now + self.hub.policy.lease_seconds_real * 1_000_000
        row = {"worker": self.worker, "now": now, "until": self.until, "host": host, "pid": pid}
        await self.hub.store.commit([(lanes.JOIN, row), *self.hub.groups.serve(self.worker)])

    async def renew(self) -> bool:
        """Push the lease forward; False when it is lost: then everything in hand must be dropped. Raises
        StoreUnavailable."""
        await set_by_database(self.hub)
        now = self.hub.real_now()
        until = now + self.hub.policy.lease_seconds_real * 1_000_000
        try:
            await self.hub.store.commit(
                [(lanes.RENEW, {"worker": self.worker, "until": until, "real_now": now})]
            )
        except Refused:
            self.lost = True
            return False
        self.until = until
        return True

    def outlives(self, seconds: float) -> bool:
        """Whether the lease certainly lasts for so many real seconds."""
        return not self.lost and self.until - self.hub.real_now() > seconds * 1_000_000

    async def leave(self) -> None:
        """Hand the lanes back."""
        await self.hub.store.commit(
            [
                (permits.LEAVE, {"worker": self.worker}),
                (lanes.HAND_BACK, {"worker": self.worker, "now": self.hub.now()}),
                (lanes.LEAVE, {"worker": self.worker}),
            ]
        )
