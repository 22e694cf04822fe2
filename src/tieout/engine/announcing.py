"""What the outside is told, as steps of the very commit that makes it so: nothing is told that was not committed, and
nothing committed goes untold. While no receiver wants a type, none of its events is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tieout.canonical.announcement import (
    TYPES,
    Announcement,
    CreditIssued,
    ExceptionOpened,
    InvoicePosted,
    SubscriptionActivated,
)
from tieout.canonical.ids import Ref, parse_ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import Receipt
from tieout.canonical.write import DocumentWrite, SubscriptionWrite, Write
from tieout.engine.keys import announcement_id
from tieout.engine.ledger import DocumentRow, EffectRow, document_row
from tieout.store import outbox
from tieout.store.statements import Statement, Step

if TYPE_CHECKING:
    from tieout.engine.hub import Hub

_POSTED: dict[str, type[InvoicePosted | CreditIssued]] = {
    "invoice": InvoicePosted,
    "credit_memo": CreditIssued,
}


def announce(
    hub: Hub,
    what: Announcement,
    subject: object,
    *,
    occurrence: str = "",
    trace: str = "",
    where: tuple[Statement, Mapping[str, Any]] | None = None,
) -> list[Step]:
    """The step that tells the outside of `what`, about `subject`; none while nobody wants to hear it. `occurrence`
    tells one from the next where the same can happen to a subject again. `where`: a statement that tells it only where
    the unit makes it so, with the parameters that it takes besides."""
    type_ = TYPES[type(what)]
    if not wanted(hub, type_):
        return []
    named = str(subject)
    row = {
        "event_id": announcement_id(hub.company, type_, named, occurrence),
        "type": type_,
        "subject": named,
        "key": trace or named,
        "at": hub.now(),
        "data": encode(what).decode(),
    }
    if where is None:
        return [(outbox.ANNOUNCE, row)]
    statement, more = where
    return [(statement, {**row, **more})]


def wanted(hub: Hub, type_: str) -> bool:
    """Whether any receiver takes this type."""
    return hub.outbox is not None and type_ in hub.outbox.types


def bound(hub: Hub, effect: EffectRow, write: Write, receipt: Receipt, entity: str) -> list[Step]:
    """In the commit that binds what a create made, before it: a subscription stands at billing."""
    if hub.outbox is None or not isinstance(write, SubscriptionWrite):
        return []
    subscription = Ref(connection=effect.connection, kind="subscription", id=receipt.external_id)
    what = SubscriptionActivated(
        contract=write.source,
        subscription=subscription,
        entity=entity,
        currency=write.currency,
        starts_at=write.starts_at,
        ends_at=write.ends_at,
    )
    once = (outbox.ANNOUNCE_BOUND, {"effect_key": effect.effect_key})
    return announce(hub, what, write.source, occurrence=effect.effect_key, trace=effect.trace, where=once)


def posted(hub: Hub, effect: EffectRow, write: Write, receipt: Receipt) -> list[Step]:
    """In the commit that says that a document stands in the ledger, before it."""
    if hub.outbox is None or not isinstance(write, DocumentWrite):
        return []
    return posted_document(hub, document_row(effect, write, receipt))


def posted_document(hub: Hub, document: DocumentRow) -> list[Step]:
    """As `posted`, of a document as it was recorded."""
    kind = _POSTED.get(document.kind)
    if kind is None:
        return []
    source = parse_ref(document.source)
    what = kind(
        source=source,
        source_number=document.source_number,
        document=Ref(connection=document.connection, kind=document.kind, id=document.external_id),
        number=document.number,
        entity=document.entity,
        currency=document.currency,
        total_minor=document.total_minor,
        tax_minor=document.tax_minor,
        day=document.day,
        period=document.period,
        reason=document.reason,
    )
    once = (outbox.ANNOUNCE_POSTED, {"effect_key": document.effect_key})
    return announce(hub, what, source, occurrence=document.effect_key, trace=document.trace, where=once)


def opened(hub: Hub, row: Mapping[str, Any]) -> list[Step]:
    """In the commit that opens an exception (`row`: its parameters), after it: where it was open already for the same
    cause, nothing is told."""
    if hub.outbox is None:
        return []
    what = ExceptionOpened(
        exception_id=row["exception_id"],
        code=row["code"],
        document=row["document"],
        entity=row["entity"],
        currency=row["currency"],
        amount_minor=row["amount_minor"],
    )
    if hub.outbox.detail:
        what = replace(what, cause=row["cause"], remedy=row["remedy"], number=row["number"])
    once = (outbox.ANNOUNCE_OPENED, {"exception_id": row["exception_id"]})
    return announce(
        hub, what, row["document"], occurrence=row["exception_id"], trace=row["trace"], where=once
    )
