"""Is this account a customer that we already have? Only the CRM's own id says yes; likeness asks a person."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value
from tieout.canonical.party import Customer

# Legal forms at the end of a name say nothing about who it is.
LEGAL_FORMS = frozenset(
    "ag bv co company corp corporation gk gmbh inc incorporated kg kk limited llc llp ltd nv oy plc pte pty sa sarl se"
    " spa srl".split()
)


class Match(Value, frozen=True):
    """`same`: the same account of the same CRM. `doubtful`: looks like `candidates`, waits for an approval. `new`."""

    kind: str
    candidates: tuple[Ref, ...] = ()
    reason: str = ""


def normal_name(name: str) -> str:
    """Case, accents, width, punctuation and the legal form taken away: `ＡＣＭＥ, Inc.` is `acme`."""
    wide = unicodedata.normalize("NFKD", name).casefold()
    plain = "".join(
        char if char.isalnum() else "" if char in ".'’" else " "
        for char in wide
        if not unicodedata.combining(char)
    )
    words = unicodedata.normalize("NFC", plain).split()
    while len(words) > 1 and words[-1] in LEGAL_FORMS:
        words.pop()
    return " ".join(words)


def normal_tax_id(number: str) -> str:
    """Letters and digits alone, upper case: `DE 123.456.789` is `DE123456789`."""
    return "".join(char for char in unicodedata.normalize("NFKC", number).upper() if char.isalnum())


def match_customer(customer: Customer, known: Iterable[Customer]) -> Match:
    """Match one account against the customers that the hub holds."""
    held = list(known)
    if any(other.ref == customer.ref for other in held):
        return Match(kind="same", candidates=(customer.ref,), reason="the same account of the same CRM")
    name = normal_name(customer.name)
    numbers = {number for tax_id in customer.tax_ids if (number := normal_tax_id(tax_id.number))}
    alike = tuple(
        other.ref
        for other in held
        if name
        and normal_name(other.name) == name
        and numbers & {normal_tax_id(tax_id.number) for tax_id in other.tax_ids}
    )
    if not alike:
        return Match(kind="new")
    others = ", ".join(ref.id for ref in alike)
    return Match(
        kind="doubtful",
        candidates=alike,
        reason=f"{customer.name} has the name and a tax number of {others}; approve it as the same or as another",
    )
