"""The names of effects and lanes. Their derivation is a compatibility contract: `tests/golden/keys.json` may only grow.

A key says which obligation of which source object it makes good; never a version, a time or a content, or the same
obligation would be made good twice under two names.
"""

from __future__ import annotations

import hashlib

from tieout.canonical.ids import Ref

# Crockford's base32: no I, L, O, U, so that a key survives being read aloud and typed into an ERP.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def effect_key(
    company: str, connection: str, operation: str, source: Ref, *, ordinal: int = 0, generation: int = 0
) -> str:
    """Ledger key of one outside write."""
    return f"{company}|{connection}|{operation}|{source}|{ordinal}|{generation}"


def document_key(key: str) -> str:
    """The 16 characters that the outside document carries: the first 80 bits of SHA-256 in Crockford base32."""
    return _digest(key, 16)


def _digest(text: str, characters: int) -> str:
    """So many characters of the SHA-256 of a text, five bits each."""
    bits = 5 * characters
    number = int.from_bytes(hashlib.sha256(text.encode()).digest(), "big") >> (256 - bits)
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(bits - 5, -1, -5))


def announcement_id(company: str, type_: str, subject: str, occurrence: str) -> str:
    """The id under which the outside is told of something: derived, so that a restored hub that comes to the same
    point again tells it under the same id, and who was told before knows it. 26 characters, 130 bits."""
    return _digest(f"announcement|{company}|{type_}|{subject}|{occurrence}", 26)


def wire_key(key: str, epoch: int) -> str:
    """The idempotency header. The epoch is raised only after a conclusive absence or a definite rejection, because a
    vendor replays a saved 500 under the old one. Long keys are hashed: vendors take at most 255 characters."""
    text = f"{key}|{epoch}"
    return text if len(text) <= 200 else hashlib.sha256(text.encode()).hexdigest()


def assign_key(target: Ref, group: str) -> str:
    """Ledger key of the fields of one group of one outside record."""
    return f"{target}|{group}"


def lane_of(ref: Ref) -> str:
    """Messages about one document run in one lane: connection + kind + id, never its customer or contract."""
    return str(ref)


def need_key(kind: str, ref: Ref, at: str) -> str:
    """A thing that a run may wait for: this document, bound or posted at that connection."""
    return f"{kind}|{ref}|{at}"


def hold_key(resource: str) -> str:
    """The need that is met when a hold is free."""
    return f"hold|{resource}"


def trace_of(ref: Ref) -> str:
    """The correlation id born with a deal: derived, so that a restored hub gives the same deal the same trace."""
    return document_key(f"trace|{ref}")


def content_hash(raw: bytes) -> str:
    """SHA-256 in hex, over the encoded bytes of what is compared."""
    return hashlib.sha256(raw).hexdigest()
