"""What every run, timer and command of one process share: connections, store, ports, master data. No behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Misconfigured
from tieout.connectors.contract import Limits, World
from tieout.engine.budget import Budget
from tieout.engine.groups import Groups
from tieout.engine.metrics import Metrics
from tieout.engine.moments import micros
from tieout.engine.outbox import Outbox
from tieout.engine.process import Process
from tieout.masterdata.tables import MasterData
from tieout.ports import Chance, Clock, Ids, Store
from tieout.security.keyring import KeyRing
from tieout.store import records


class Connection(msgspec.Struct, kw_only=True):
    """One configured outside system. `api` is the connector's object; what it can do, its Protocols tell."""

    name: str
    vendor: str
    roles: tuple[str, ...]
    api: Any
    limits: Limits


class Policy(msgspec.Struct, kw_only=True, frozen=True):
    """How the engine behaves. Seconds marked `real` are of the wall clock, all others technical."""

    lease_seconds_real: int = 120
    runs_at_once: int = 64
    wait_deadline: timedelta = timedelta(days=7)
    status_poll_seconds: int = 20
    seal_seconds: int = 30
    command_poll_real_seconds: float = 0.2
    permit_poll_real_seconds: float = 2.0
    # How long a process works on at most that did not itself see the stranger for whom a connection is parked.
    stranger_poll_real_seconds: float = 2.0
    # How often at least a worker looks for lanes that other processes made ready.
    claim_poll_real_seconds: float = 1.0
    gauge_real_seconds: float = 15.0
    echo_suppression: bool = True
    # After so many deaths of workers in a row that had it in hand, a document is set aside.
    most_crashes: int = 3


class Restored(msgspec.Struct, kw_only=True, frozen=True):
    """This database was put back from a backup, and does not know yet what was written outside since. Moments are
    microseconds. `listed_seq`: the newest event of the inbox when every feed had been listed again, None until then."""

    restored_at: int
    backup_taken_at: int
    listed_seq: int | None


class Hub(msgspec.Struct, kw_only=True):
    """The composition of one process."""

    company: str
    store: Store
    clock: Clock
    ids: Ids
    chance: Chance
    world: World
    keyring: KeyRing
    connections: Mapping[str, Connection]
    budgets: Mapping[str, Budget]
    processes: Mapping[str, Process]
    masterdata: MasterData
    policy: Policy
    metrics: Metrics
    single_operator: bool = True
    # Whose workers alone run which lanes, and which of them this process runs.
    groups: Groups = Groups()
    # Who is told what the hub has made good; None: nobody, and then nothing is written for it.
    outbox: Outbox | None = None
    # Set while a restored database has not caught up; and the moment of its latest restore (0: there was none), above
    # which send epochs go on, so that no wire key of the forgotten time is used for another request.
    restored: Restored | None = None
    restored_at: int = 0
    # What waits to leave together, by connection and operation.
    gatherings: dict[tuple[str, str], Any] = {}
    # Whether a feed answered this process when it was last asked; one that never was is missing.
    feeds: dict[str, bool] = {}
    # Connections that are parked because of what a stranger sent, as this process saw it last.
    strangers: Mapping[str, Misconfigured] = {}
    # Swept copies of accounting periods: (ERP connection, subsidiary) -> (when, periods).
    periods: dict[tuple[str, str], tuple[datetime, tuple[AccountingPeriod, ...]]] = {}

    def now(self) -> int:
        """The technical moment as the store keeps it."""
        return micros(self.clock.now())

    def real_now(self) -> int:
        """The real moment in microseconds, for leases."""
        return int(self.clock.real_now_micros())

    def connection(self, name: str) -> Connection:
        """A connection by name. KeyError when there is none."""
        return self.connections[name]

    def role(self, role: str) -> list[Connection]:
        """The connections that play a role, in the order of the configuration."""
        return [connection for connection in self.connections.values() if role in connection.roles]

    async def open_key(self, name: str) -> None:
        """Make sure that a data key can be used: load it, or make it on first use."""
        if self.keyring.has(name):
            return
        for _ in range(2):
            rows = await self.store.fetch(records.KEY_LOAD, {"name": name})
            if rows:
                self.keyring.open(name, bytes(rows[0][0]))
                return
            wrapped = self.keyring.make(name)
            await self.store.commit(
                [(records.KEY_SAVE, {"name": name, "wrapped": wrapped, "now": self.now()})]
            )
