"""Circuits per operation of a connection: who has failed many times in a row is left alone for a while, then tried by
one call. An outage costs one call now and then instead of every lane's."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

# So many failures in a row are no bad luck: at one failure in five, eight in a row come once in 400,000 calls.
_FAILURES = 8
# And of so many documents: one that the vendor cannot digest must not hold up the others.
_DOCUMENTS = 3
_FIRST_PAUSE = timedelta(seconds=5)
_LONGEST_PAUSE = timedelta(seconds=60)


class _State(msgspec.Struct):
    failures: int = 0
    lanes: set[str] = msgspec.field(default_factory=set)
    pause: timedelta = _FIRST_PAUSE
    closed_again_at: datetime | None = None
    probing: bool = False


class Circuits:
    """The circuits of one connection. A failure is a call without an answer, or one that answered 5xx."""

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}

    def opens_at(self, operation: str, now: datetime) -> datetime | None:
        """When the operation may be tried again, None for now."""
        state = self._states.get(operation)
        until = state.closed_again_at if state is not None else None
        return until if until is not None and until > now else None

    def admit(self, operation: str, now: datetime) -> datetime | None:
        """As `opens_at`, for somebody who calls now: the first after a pause is the probe, the others wait for it."""
        until = self.opens_at(operation, now)
        state = self._states.get(operation)
        if until is None and state is not None and state.closed_again_at is not None:
            state.closed_again_at, state.probing = now + state.pause, True
        return until

    def answered(self, operation: str, lane: str, now: datetime, *, failed: bool) -> None:
        """What came of a call for the document of a lane."""
        if not failed:
            self._states.pop(operation, None)
            return
        state = self._states.setdefault(operation, _State())
        state.failures += 1
        state.lanes.add(lane)
        if state.failures >= _FAILURES and len(state.lanes) >= _DOCUMENTS:
            if state.probing:
                state.pause, state.probing = min(2 * state.pause, _LONGEST_PAUSE), False
            elif state.closed_again_at is not None:
                return  # one of those that were out when it opened
            state.closed_again_at = now + state.pause

    def open(self) -> tuple[str, ...]:
        """The operations that are left alone at present."""
        return tuple(name for name, state in self._states.items() if state.closed_again_at is not None)
