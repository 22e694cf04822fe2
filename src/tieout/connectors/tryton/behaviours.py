"""What we rely on of Tryton, each with its source and state. `verified`: by a test that runs the real server."""

from __future__ import annotations

from tieout.connectors.contract import Behaviour

SOURCE = "trytond 8.2, run"


def _one(id: str, state: str, source: str, text: str) -> Behaviour:
    return Behaviour(id=f"tryton.{id}", text=text, source=source, state=state)


BEHAVIOURS = (
    _one(
        "call-is-transaction",
        "verified",
        SOURCE,
        "One call is one transaction: an error in it undoes all of it.",
    ),
    _one("party-code-unique", "verified", SOURCE, "A second party under one code is refused."),
    _one("reference-not-unique", "verified", SOURCE, "A second invoice under one reference is taken."),
    _one(
        "lock-503",
        "verified",
        SOURCE,
        "503 with a word of the lock: the server rolled back after its own retries.",
    ),
    _one("warning-by-name", "verified", SOURCE, "A warning is answered by its name, for one call."),
    _one("sequence-dates", "verified", SOURCE, "A strict sequence refuses an invoice date before its last."),
    _one("number-read-only", "verified", SOURCE, "The number of an invoice cannot be given from outside."),
    _one(
        "revenue-only",
        "verified",
        SOURCE,
        "A customer's invoice credits accounts of a type with Revenue alone.",
    ),
    _one(
        "manual-tax",
        "verified",
        SOURCE,
        "Manual tax lines are taken as they are; nothing is computed beside them.",
    ),
    _one("session-401", "verified", SOURCE, "A session that has ended answers 401 before anything is done."),
    _one("longest-execution", "assumed", "none", "No call is at work for longer than `longest_seconds`."),
)
