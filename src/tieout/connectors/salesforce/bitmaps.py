"""Which fields a change event says have changed: bitmaps over the fields of that event's own schema.

Change Data Capture Developer Guide, "ChangeEventHeader Fields": an entry `0xHEX` is a bitmap of the record's top-level
fields, the least significant bit the first field; an entry `P-0xHEX` is one of the parts of the compound field at
position P. A list may hold the latter alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_ENTRY = re.compile(r"(?:(\d{1,4})-)?0x([0-9A-Fa-f]{1,400})")


class BadBitmap(ValueError):
    """An entry that is no bitmap, or one that points beyond the schema."""


def decode(entries: Iterable[str], schema: Mapping[str, Any]) -> frozenset[str]:
    """Names of the fields; a part of a compound field is `Parent.Part`. Raises BadBitmap."""
    fields: Sequence[Any] = schema.get("fields") or ()
    names: set[str] = set()
    for entry in entries:
        match = _ENTRY.fullmatch(entry)
        if match is None:
            raise BadBitmap(f"{entry[:40]!r} is no bitmap")
        position, bits = match[1], int(match[2], 16)
        if position is None:
            names.update(_set(bits, fields))
            continue
        if int(position) >= len(fields):
            raise BadBitmap(f"position {position} is beyond the schema")
        parent = fields[int(position)]
        names.update(f"{parent['name']}.{part}" for part in _set(bits, _parts(parent)))
    return frozenset(names)


def _set(bits: int, fields: Sequence[Any]) -> list[str]:
    if bits.bit_length() > len(fields):
        raise BadBitmap("a bitmap reaches beyond the schema")
    return [str(field["name"]) for place, field in enumerate(fields) if bits >> place & 1]


def _parts(field: Mapping[str, Any]) -> Sequence[Any]:
    """The fields of a compound field: its type is a record, alone or in a union."""
    kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
    for kind in kinds:
        if isinstance(kind, dict) and kind.get("type") == "record":
            parts: Sequence[Any] = kind.get("fields") or ()
            return parts
    raise BadBitmap(f"{field['name']} is no compound field")
