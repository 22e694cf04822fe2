"""One thing that keeps a deal from being billed."""

from __future__ import annotations

from tieout.canonical.model import Value


class Fault(Value, frozen=True):
    """`code` names the case, `message` says it in plain words, `remedy` what to do, `field` what to change. `line` is
    the line's id where it is about one; `blocker` the missing mapping's key (product x entity) where that is why."""

    code: str
    message: str
    remedy: str
    field: str
    line: str = ""
    blocker: str = ""
