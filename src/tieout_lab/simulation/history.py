"""What the simulation watches as it happens: the history that no row of the hub still shows afterwards.

It asks the database itself, in the very transaction, and believes no guard of the hub.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from tieout.ports import Request, Response
from tieout.store.sqlite import SqliteStore
from tieout.store.statements import Results, Unit
from tieout_lab.simulation.ports import makes_a_document

_HELD = """SELECT 1 FROM lanes JOIN workers ON workers.worker_id = lanes.worker_id
  WHERE lanes.lane_id = ? AND lanes.worker_id = ? AND lanes.fence = ? AND lanes.state = 'leased'
  AND workers.lease_until > ?"""


class History:
    """Findings of one world, and what was promised to the outside."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.acknowledged: set[tuple[str, str]] = set()
        # How many calls of a connection may be out at once, and the documents that are being made.
        self.budgets: dict[str, int] = {}
        self._out: dict[str, list[_Making]] = defaultdict(list)

    def before(self, database: sqlite3.Connection, unit: Unit) -> list[str]:
        """What would be wrong if this unit were written now."""
        found = []
        for statement, given in unit:
            if statement.name == "lanes.guard":
                held = (given["lane_id"], given["worker"], given["fence"], given["real_now"])
                if not database.execute(_HELD, held).fetchone():
                    found.append(
                        f"I22 {given['lane_id']} written under fence {given['fence']}, which is over"
                    )
            elif statement.name == "assigns.plan":
                row = database.execute(
                    "SELECT revision FROM assigns WHERE assign_key = ?", (given["assign_key"],)
                ).fetchone()
                if row and row[0] > given["revision"]:
                    found.append(f"I07 {given['assign_key']}: revision {given['revision']} after {row[0]}")
        return found

    def leaves(self, request: Request, work: asyncio.Task[Response], gone: asyncio.Event) -> None:
        """A call leaves. What makes a document counts until the vendor has done with it or its hard deadline is over,
        even when its sender has died: one that has nobody left to answer goes on all the same."""
        if not makes_a_document(request) or request.connection not in self.budgets:
            return
        now = asyncio.get_running_loop().time()
        making = _Making(gone, now + request.timeout_seconds)
        work.add_done_callback(making.answered)
        out = [*(one for one in self._out[request.connection] if one.until > now), making]
        self._out[request.connection] = out
        most = self.budgets[request.connection]
        if len(out) > most:
            self.wrong.append(
                f"I26 {len(out)} documents of {request.connection} under way at once, of {most}"
            )

    def promised(self, connection: str, events: tuple[Any, ...]) -> None:
        """A webhook was answered with 2xx: its events are taken in for good."""
        self.acknowledged |= {(connection, event.id) for event in events}


@dataclass
class _Making:
    """A document that is being made: until when the vendor works on it at most, and whether its client has left."""

    gone: asyncio.Event
    until: float

    def answered(self, work: asyncio.Task[Response]) -> None:
        if not work.cancelled() and (work.exception() is None or not self.gone.is_set()):
            self.until = 0.0


class WatchedStore(SqliteStore):
    """The hub's own store on its one file, with a history beside it."""

    def __init__(self, path: Any, history: History) -> None:
        super().__init__(path, threaded=False)
        self._history = history

    def _unit(self, unit: Unit) -> Results:
        wrong = self._history.before(self._writer, unit)
        results = super()._unit(unit)
        self._history.wrong += wrong  # a unit that was refused wrote nothing, and is not wrong
        return results
