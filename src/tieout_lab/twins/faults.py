"""What can go wrong at a twin, how often, and when exactly: every choice is drawn from a seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

CALL_FAULTS = (
    "refuse",  # connection dropped, nothing done
    "hang",  # nothing done, never answered
    "timeout_after_work",  # done, never answered
    "late",  # done `late_seconds` after the request came in, never answered
    "error_before",  # 500, nothing done
    "error_after",  # done, then 500
    "rate_limited",  # the vendor's own 429
    "reset",  # done, connection dropped without an answer
    "malformed",  # done, the body cut in half
    "html",  # done, an HTML error page with 200
    "cut",  # done, connection dropped in the middle of the body
)


@dataclass(slots=True)
class Scripted:
    """One planned fault: the nth call (from 1) of an operation ('*' = of any) gets this kind."""

    operation: str
    nth: int
    kind: str
    seconds: float | None = None
    seen: int = 0

    def meets(self, operation: str) -> bool:
        """Count this call if it is of the operation, and say whether it is the nth."""
        if self.operation not in ("*", operation):
            return False
        self.seen += 1
        return self.seen == self.nth


@dataclass(slots=True)
class FaultPlan:
    """What goes wrong and how often. Every choice is hash(seed, operation, ordinal): the same seed, the same faults."""

    seed: int = 0
    rates: dict[str, float] = field(default_factory=dict)
    operations: list[str] | None = None
    late_seconds: tuple[float, float] = (20.0, 600.0)
    visibility_delay_seconds: float = 0.0
    enforce_keys: bool = True
    partial_batch: float = 0.0
    webhooks: dict[str, float] = field(
        default_factory=dict
    )  # duplicate, forge, drop, delay: rates; delay_seconds: max
    script: list[Scripted] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _ordinals: Counter[str] = field(default_factory=Counter)

    def draw(self, name: str, ordinal: int) -> float:
        """A number in [0, 1) that depends on seed, name and ordinal alone."""
        digest = hashlib.sha256(f"{self.seed}|{name}|{ordinal}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64

    def decide(self, operation: str, *, writes: bool) -> tuple[str, float] | None:
        """The fault of this call and its seconds, or None. Counts what it decides."""
        due = [planned for planned in self.script if planned.meets(operation)]
        if due:
            self.counts[due[0].kind] += 1
            return due[0].kind, due[0].seconds if due[0].seconds is not None else self.late_seconds[0]
        if self.operations is not None and operation not in self.operations:
            return None
        self._ordinals[operation] += 1
        ordinal = self._ordinals[operation]
        roll, reached = self.draw(operation, ordinal), 0.0
        for kind in CALL_FAULTS:
            rate = self.rates.get(kind, 0.0)
            if kind in ("timeout_after_work", "late", "error_after", "reset", "cut") and not writes:
                continue
            reached += rate
            if rate and roll < reached:
                self.counts[kind] += 1
                low, high = self.late_seconds
                return kind, low + (high - low) * self.draw(operation + "/late", ordinal)
        return None

    def chance(self, name: str, rate: float) -> bool:
        """Whether a named one-off (a webhook's duplicate, a batch's partial failure) happens now."""
        if rate <= 0:
            return False
        self._ordinals[name] += 1
        hit = self.draw(name, self._ordinals[name]) < rate
        if hit:
            self.counts[name] += 1
        return hit
