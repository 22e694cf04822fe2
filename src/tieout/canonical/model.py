"""The base of every canonical value: frozen, keyword-only, tagged with its name and version for JSON."""

from __future__ import annotations

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """A frozen value. Unknown fields are ignored on decoding, so that release N-1 reads what N wrote."""


def encode(value: object) -> bytes:
    """Deterministic JSON: fields in declaration order, mapping keys sorted. The request hash is over these bytes."""
    return msgspec.json.encode(value, order="deterministic")
