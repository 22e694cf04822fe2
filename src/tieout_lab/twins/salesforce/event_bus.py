"""The event bus: what was published in the last 72 hours, by channel, under opaque replay ids."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.salesforce.change_events import Capture, Published, event_name
from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.store import Commit

RETENTION = timedelta(hours=72)
CHANNEL = "/data/ChangeEvents"
SELECTED = ("Account", "Opportunity", "OpportunityLineItem", "Order", "OrderItem")
MOST_SELECTED = 5  # without an add-on
_MOST_KEPT = 10_000


class Lost(LookupError):
    """A replay id that is unknown or older than the retention: the vendor does not tell which."""


@dataclass(slots=True)
class Entry:
    """One place of the bus; without an event it is a position that was handed out."""

    at: datetime
    replay_id: bytes
    id: str
    event: Published | None = None


class EventBus:
    """Positions count from 1; 0 is before the first. Commits are turned into events when somebody looks."""

    def __init__(self, org: Org, clock: TwinClock, *, seed: str) -> None:
        self._org = org
        self._clock = clock
        self._seed = seed
        self._epoch = 0
        self._commits: list[tuple[datetime, Commit]] = []
        self._positions: dict[bytes, int] = {}
        self._dropped = 0
        self.entries: list[Entry] = []
        self.capture = Capture(org.schema.objects)
        self.selected = frozenset(SELECTED)
        self.channels: dict[str, frozenset[str] | None] = {CHANNEL: None}
        self.losing = False
        self.readers: set[asyncio.Event] = set()

    # -- publishing -------------------------------------------------------------------------------------------------
    def committed(self, commit: Commit) -> None:
        """Called by the store for every transaction that others can see."""
        if self.losing:
            return
        self._commits.append((self._clock.technical(), commit))
        if len(self._commits) > _MOST_KEPT:
            edge = self._clock.technical() - RETENTION
            self._commits = [each for each in self._commits if each[0] >= edge][-_MOST_KEPT:]
        for reader in self.readers:
            reader.set()

    def catch_up(self) -> None:
        """Turn commits into events, and forget what is too old."""
        now = self._clock.technical()
        self._org.store.settle(now)
        commits, self._commits = self._commits, []
        for at, commit in commits:
            for event in self.capture.events(commit, self.selected, at):
                self._append(at, event)
        stale = next(
            (at for at, entry in enumerate(self.entries) if entry.at > now - RETENTION), len(self.entries)
        )
        self._forget(stale)

    def publish(self, event: Published) -> None:
        """Put an event onto the bus now."""
        self.catch_up()
        self._append(self._clock.technical(), event)
        for reader in self.readers:
            reader.set()

    def _append(self, at: datetime, event: Published | None) -> bytes:
        position = self._dropped + len(self.entries) + 1
        digest = hashlib.sha256(f"{self._seed}|{self._epoch}|{position}".encode())
        text = digest.hexdigest()
        id = f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:32]}"
        entry = Entry(at, digest.digest()[:12], id, event)
        self.entries.append(entry)
        self._positions[entry.replay_id] = position
        return entry.replay_id

    def _forget(self, count: int) -> None:
        for entry in self.entries[:count]:
            del self._positions[entry.replay_id]
        self.entries = self.entries[count:]
        self._dropped += count

    def forget_all(self) -> int:
        """As if 72 hours had passed: no replay id that was handed out is good any more."""
        self.catch_up()
        count = len(self.entries)
        self._forget(count)
        return count

    def reset(self) -> None:
        """The org moves to another instance: the stream begins anew."""
        self.forget_all()
        self._epoch += 1

    # -- reading ----------------------------------------------------------------------------------------------------
    def latest(self) -> int:
        return self._dropped + len(self.entries)

    def earliest(self) -> int:
        return self._dropped

    def position(self, replay_id: bytes) -> int:
        """Raises Lost."""
        found = self._positions.get(replay_id)
        if found is None:
            raise Lost(replay_id.hex())
        return found

    def after(self, position: int) -> list[tuple[int, Entry]]:
        """What is on the bus after a position, oldest first."""
        start = max(position - self._dropped, 0)
        return [(self._dropped + at, entry) for at, entry in enumerate(self.entries[start:], start=start + 1)]

    def mark(self) -> tuple[int, bytes]:
        """The tip, as a position and a replay id of now."""
        replay_id = self._append(self._clock.technical(), None)
        return self.latest(), replay_id

    def objects_of(self, topic: str) -> frozenset[str] | None:
        """The objects whose events a topic carries, or None when there is no such topic."""
        if topic in self.channels:
            members = self.channels[topic]
            return self.selected if members is None else members & self.selected
        for name in self.selected:
            if topic == f"/data/{event_name(self._org.schema.objects[name])}":
                return frozenset({name})
        return None
