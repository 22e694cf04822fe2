"""Names of things: references into outside systems, and ids of our own."""

from __future__ import annotations

from typing import NewType

from tieout.canonical.model import Value

# UUIDv7 in text form, made by the Ids port.
CustomerId = NewType("CustomerId", str)
OrderId = NewType("OrderId", str)
RunId = NewType("RunId", str)
TraceId = NewType("TraceId", str)
ExceptionId = NewType("ExceptionId", str)
ApprovalId = NewType("ApprovalId", str)


class Ref(Value, frozen=True):
    """One document or record of an outside system: its connection, its kind in our words, its stable id."""

    connection: str
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.connection}|{self.kind}|{self.id}"


def parse_ref(text: str) -> Ref:
    """The inverse of `str(ref)`. ValueError when the text has not three parts."""
    parts = text.split("|", 2)
    if len(parts) != 3:
        raise ValueError(f"not connection|kind|id: {text!r}")
    return Ref(connection=parts[0], kind=parts[1], id=parts[2])
