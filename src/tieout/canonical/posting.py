"""A posting that explains itself: the request to the ERP, the rules it rests on, and the day with its derivation."""

from __future__ import annotations

from tieout.canonical.decision import AnyDecision
from tieout.canonical.journal import AccountingDate
from tieout.canonical.model import Value
from tieout.canonical.write import Postable


class Posting(Value, frozen=True):
    """`write` is None where the entity's rules ask for no document; `explanation` says why, or what was decided,
    one sentence each. `decisions` are in the order they were first taken, each once."""

    write: Postable | None
    accounting: AccountingDate
    decisions: tuple[AnyDecision, ...]
    explanation: tuple[str, ...]
