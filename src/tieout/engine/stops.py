"""The ways in which a run ends before its process is through. Not errors: the worker turns each into one commit."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tieout.canonical.ids import Ref


class Stop(Exception):
    """A run ends here."""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """One thing waited for: its key, in words, the lane that will produce it, and a subject to start there."""

    key: str
    what: str
    on_lane: str = ""
    producer: Ref | None = None
    resource: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What an exception says of its document: the amount at stake, whose it is, what people call it."""

    amount_minor: int | None = None
    currency: str = ""
    entity: str = ""
    number: str = ""


NO_FACTS = Facts()


class NotYet(Stop):
    """The run waits for other documents and gives back lane and holds."""

    def __init__(self, *needs: Need) -> None:
        super().__init__("; ".join(need.what for need in needs))
        self.needs = needs


class RunAgain(Stop):
    """Try again at a moment."""

    def __init__(self, at: datetime, reason: str, *, count: bool = True) -> None:
        super().__init__(reason)
        self.at = at
        self.reason = reason
        self.count = count


class Parked(Stop):
    """An exception for a person: the document first, then amount, plain cause, remedy."""

    def __init__(
        self,
        code: str,
        cause: str,
        remedy: str,
        facts: Facts = NO_FACTS,
        *,
        effect_key: str = "",
        detail: str = "",
    ) -> None:
        super().__init__(f"{code}: {cause}")
        self.code = code
        self.cause = cause
        self.remedy = remedy
        self.facts = facts
        self.effect_key = effect_key
        self.detail = detail


class ByHand(Parked):
    """What the hub cannot make good itself: a person does, and says so by an approved acceptance of this `fact`."""

    def __init__(self, code: str, cause: str, remedy: str, facts: Facts, *, fact: str) -> None:
        remedy = f"{remedy}, then `tieout exceptions resolve ID --accept --reason ...`"
        super().__init__(code, cause, remedy, facts, detail=fact)


class Diverged(Parked):
    """A re-run decided otherwise than what stands outside."""


class Blocked(Stop):
    """Misconfigured: one blocker for the whole scope."""

    def __init__(self, scope: str, key: str, message: str, remedy: str) -> None:
        super().__init__(f"{scope} {key}: {message}")
        self.scope = scope
        self.key = key
        self.message = message
        self.remedy = remedy

    @property
    def blocker(self) -> str:
        return f"{self.scope}|{self.key}"


class FencedOut(Stop):
    """The lane belongs to somebody else by now: drop everything, write nothing."""


class Ignored(Stop):
    """The process has nothing to do with this subject, by a named rule."""

    def __init__(self, rule: str) -> None:
        super().__init__(rule)
        self.rule = rule
