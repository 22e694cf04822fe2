"""Which system's word stands in the golden record, field by field."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.party import Address, Customer

# Identity and state are facts of the leading record; an older copy must not revive a parent or a merge.
LEADING_ONLY = frozenset(
    {
        "ref",
        "parent",
        "ancestors",
        "sold_to",
        "bill_to",
        "ship_to",
        "payer",
        "po_required",
        "deleted",
        "merged_into",
    }
)


class GoldenRecord(Value, frozen=True):
    """The surviving values, and for each field that another record gave, which connection it came from."""

    customer: Customer
    sources: dict[str, str]


def decide_golden_record(records: Sequence[Customer]) -> GoldenRecord:
    """The records of one customer, most trusted first, made one: an empty field is filled by the next that has it.

    An address survives whole: half of one and half of another is nobody's. ValueError without any record."""
    if not records:
        raise ValueError("no record of the customer")
    leading = records[0]
    values = msgspec.structs.asdict(leading)
    sources: dict[str, str] = {}
    for field, value in values.items():
        if field in LEADING_ONLY or not _empty(value):
            continue
        for other in records[1:]:
            if not _empty(found := getattr(other, field)):
                values[field] = found
                sources[field] = other.ref.connection
                break
    return GoldenRecord(customer=Customer(**values), sources=sources)


def _empty(value: object) -> bool:
    return value in ("", (), None, Address())
