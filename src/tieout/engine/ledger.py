"""Rows of the effect ledger as values, and the statements that move them."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Receipt
from tieout.canonical.write import (
    BARE,
    ApproveWrite,
    CustomerWrite,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    Postable,
    RefundWrite,
    SubscriptionWrite,
    UsageWrite,
    Write,
)
from tieout.engine.keys import need_key
from tieout.store import documents, waits
from tieout.store.statements import Row, Step


class EffectRow(msgspec.Struct, kw_only=True):
    """One effect as the ledger has it."""

    effect_key: str
    document_key: str
    lane_id: str
    process: str
    connection: str
    operation: str
    source: str
    state: str
    epoch: int
    attempt: int
    looks: int
    request: bytes
    request_hash: str
    decisions: str
    first_sent_at: int | None
    sent_at: int | None
    absent_from: int | None
    worker_id: str
    fence: int
    external_id: str
    receipt: str
    resolved_by: str
    error: str
    trace: str
    accepted: str = ""


_FIELDS = EffectRow.__struct_fields__
_receipts = msgspec.json.Decoder(Receipt)


def effect_of(row: Row) -> EffectRow:
    """A row of `effects.COLUMNS` as a value."""
    return EffectRow(**dict(zip(_FIELDS, row, strict=True)))


def receipt_of(effect: EffectRow) -> Receipt:
    """What the ledger recorded of the document that the effect made."""
    return _receipts.decode(effect.receipt)


class DocumentRow(msgspec.Struct, kw_only=True):
    """One document made outside, as the hub recorded it."""

    effect_key: str
    connection: str
    kind: str
    external_id: str
    number: str
    status: str
    entity: str
    currency: str
    total_minor: int
    tax_minor: int
    day: str
    period: str
    source: str
    source_number: str
    reason: str
    lane_id: str
    trace: str
    verified_at: int | None
    differences: str


_DOCUMENT_FIELDS = DocumentRow.__struct_fields__


def document_of(row: Row) -> DocumentRow:
    """A row of `documents.COLUMNS` as a value."""
    return DocumentRow(**dict(zip(_DOCUMENT_FIELDS, row, strict=True)))


def kind_of(write: Write) -> str:
    """The kind of the document that a write makes."""
    match write:
        case CustomerWrite():
            return "customer"
        case SubscriptionWrite():
            return "subscription"
        case DocumentWrite():
            return write.kind
        case PaymentWrite():
            return "payment"
        case RefundWrite():
            return "refund"
        case JournalWrite():
            return "journal"
        case ApproveWrite():
            return write.kind
        case UsageWrite():
            return "usage"


def document_row(
    effect: EffectRow, write: CustomerWrite | SubscriptionWrite | Postable, receipt: Receipt
) -> DocumentRow:
    """The document of a create, as it is recorded when that is confirmed."""
    return DocumentRow(
        effect_key=effect.effect_key,
        connection=effect.connection,
        kind=kind_of(write),
        external_id=receipt.external_id,
        number=receipt.number,
        status="CREATED",
        entity=getattr(write, "entity", ""),
        currency=getattr(write, "currency", ""),
        total_minor=getattr(write, "total_minor", getattr(write, "amount_minor", 0)),
        tax_minor=getattr(write, "tax_minor", 0),
        day=write.day.isoformat() if isinstance(write, Postable) else "",
        period=receipt.period,
        # What bears the obligation, which is what others wait for: a recovery is the payment's, not the invoice's.
        source=effect.source,
        source_number=getattr(write, "number", ""),
        reason=getattr(write, "reason", ""),
        lane_id=effect.lane_id,
        trace=effect.trace,
        verified_at=None,
        differences="",
    )


def binding_steps(effect: EffectRow, write: Write, receipt: Receipt, now: int) -> list[Step]:
    """Recorded in the commit that confirms a create: the document, its ids in the crosswalk, the need it meets."""
    if isinstance(write, BARE):
        return []
    document = document_row(effect, write, receipt)
    kind = document.kind
    source = str(write.source)
    facts = {**msgspec.structs.asdict(document), "now": now}
    steps: list[Step] = [(documents.CREATED, facts)]
    if kind in ("customer", "subscription"):
        steps.append(
            (
                documents.BIND,
                {
                    "kind": kind,
                    "canonical_id": source,
                    "connection": effect.connection,
                    "external_id": receipt.external_id,
                    "now": now,
                },
            )
        )
        steps += meet(f"{kind}|{source}|{effect.connection}", receipt.external_id, now)
        # Who was told of it before we had bound it waits for what is behind it.
        theirs = Ref(connection=effect.connection, kind=kind, id=receipt.external_id)
        steps += meet(need_key("exists", theirs, effect.connection), receipt.external_id, now)
    return steps


def meet(key: str, value: str, now: int) -> list[Step]:
    """A need is met: say so, and wake who waits for it."""
    return [
        (waits.MEET, {"need_key": key, "value": value, "now": now}),
        (waits.WAKE, {"need_key": key, "now": now}),
    ]


def evidence_need(document_key: str) -> str:
    """Where an event's word is kept that a document with this key exists."""
    return f"evidence|{document_key}"


def posted_need(source: Ref | str, kind: str, connection: str) -> str:
    """The need of a document that stands in the ledger of a connection."""
    if isinstance(source, Ref):
        return need_key(f"posted-{kind}", source, connection)
    return f"posted-{kind}|{source}|{connection}"
