"""Listings for reconciliation: every document, and every contract line, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, time

import msgspec

from tieout.canonical.order import SubscriptionLine
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.payment import Payment
from tieout.connectors.contract import ListedDocument, ListedLine, ListedSettlement
from tieout.connectors.stripe import cash, wire
from tieout.connectors.stripe.client import Client
from tieout.connectors.stripe.contracts import (
    day,
    frequency_of,
    listed_line,
    local_day,
    map_schedule,
    map_subscription,
    once_line,
    schedule_end,
)
from tieout.connectors.stripe.mapping import (
    CREDIT_STATUS,
    INVOICE_STATUS,
    balance_used,
    map_transitions,
    refund_id,
)
from tieout.connectors.stripe.money import minor
from tieout.connectors.stripe.reading import Books
from tieout.connectors.stripe.settlements import dispute_settlement, map_dispute, payout_settlement

Settled = dict[str, list[tuple[str, int]]]


class Listing:
    """Lister and LineLister of one account."""

    def __init__(self, client: Client, books: Books) -> None:
        self._client = client
        self._books = books
        self._config = client.config

    async def documents(self, kind: str) -> AsyncIterator[ListedDocument]:
        """Every document of a kind. Voids and write-offs of invoices are listed under `credit_memo`, with their own
        dates and the reason `voided` or `written_off`. Raises Failure; ValueError for another kind."""
        match kind:
            case "invoice":
                rows = self._invoices()
            case "credit_memo":
                rows = self._credits()
            case "payment":
                rows = self._payments()
            case "refund":
                rows = self._refunds()
            case _:
                raise ValueError(f"no {kind} is listed from here")
        async for row in rows:
            yield row

    def _row(
        self,
        thing: wire.Thing,
        *,
        kind: str,
        currency: str,
        total: int,
        on: date,
        status: str,
        reason: str,
        number: str = "",
        tax: int = 0,
        open_minor: int = 0,
        posted: bool = True,
        settled: list[tuple[str, int]] | None = None,
        balance_minor: int = 0,
        recovered: tuple[int, ...] = (),
    ) -> ListedDocument:
        return ListedDocument(
            id=thing.id,
            number=number,
            kind=kind,
            entity=self._config.entity,
            currency=currency.upper(),
            total_minor=total,
            tax_minor=tax,
            day=on,
            status=status,
            document_key=(thing.metadata or {}).get(self._config.metadata.document, ""),
            source=thing.id,
            reason=reason,
            open_minor=open_minor,
            posted=posted,
            settled=tuple(settled or ()),
            balance_minor=balance_minor,
            recovered=recovered,
        )

    async def _all_invoices(self) -> AsyncIterator[wire.Invoice]:
        async for page in self._client.pages(wire.Invoice, "/v1/invoices", [], operation="invoice.list"):
            for invoice in page:
                yield invoice

    async def _invoices(self) -> AsyncIterator[ListedDocument]:
        async for invoice in self._all_invoices():
            history = dict(map_transitions(invoice))
            if "finalised" not in history:
                continue  # a draft is not on the books
            remaining = minor(invoice.amount_remaining, invoice.currency) if invoice.status == "open" else 0
            given_up = "written_off" in history and invoice.amount_paid
            recovered = await self._books.recovered(invoice.id, "") if given_up else []
            yield self._row(
                invoice,
                kind="invoice",
                reason="finalised",
                number=invoice.number or "",
                currency=invoice.currency,
                total=minor(invoice.total, invoice.currency),
                tax=tax_of(invoice),
                on=local_day(history["finalised"], self._config),
                status=INVOICE_STATUS.get(invoice.status or "", "pending"),
                open_minor=remaining,
                balance_minor=balance_used(invoice),
                recovered=(*recovered, *await self._books.credited_late(invoice)),
            )

    async def _credits(self) -> AsyncIterator[ListedDocument]:
        async for page in self._client.pages(
            wire.CreditNote, "/v1/credit_notes", [], operation="credit_note.list"
        ):
            for note in page:
                yield self._row(
                    note,
                    kind="credit_memo",
                    reason="credited",
                    number=note.number,
                    currency=note.currency,
                    total=minor(note.total, note.currency),
                    tax=tax_of(note),
                    on=day(note.effective_at or note.created, self._config),
                    status=CREDIT_STATUS.get(note.status, "pending"),
                    posted=note.status == "issued",
                    settled=settled_by(note),
                )
        async for invoice in self._all_invoices():
            for kind, moment in map_transitions(invoice):
                if kind in ("voided", "written_off"):
                    total, tax = minor(invoice.total, invoice.currency), tax_of(invoice)
                    yield self._row(
                        invoice,
                        kind="credit_memo",
                        reason=kind,
                        number=invoice.number or "",
                        currency=invoice.currency,
                        total=total,
                        tax=tax,
                        on=local_day(moment, self._config),
                        status="issued",
                    )

    async def _applied(self) -> Settled:
        """(invoice, amount) of every payment, by the payment's id."""
        found: Settled = defaultdict(list)
        async for page in self._client.pages(
            wire.InvoicePayment,
            "/v1/invoice_payments",
            [("status", "paid")],
            operation="invoice_payment.list",
        ):
            for part in page:
                if part.amount_paid:
                    amount = minor(part.amount_paid, part.currency)
                    found[part.payment.id].append((cash.paid_invoice(part), amount))
        return {id: sorted(parts) for id, parts in found.items()}

    async def _payments(self) -> AsyncIterator[ListedDocument]:
        settled = await self._applied()
        expand = [("expand[]", "data.latest_charge.balance_transaction")]
        async for page in self._client.pages(
            wire.PaymentIntent, "/v1/payment_intents", expand, operation="payment_intent.list"
        ):
            for intent in page:
                if intent.status == "succeeded":
                    yield self._payment(intent, cash.map_intent(self._client.name, intent, []), settled)
        async for records in self._client.pages(
            wire.PaymentRecord, "/v1/payment_records", [], operation="payment_record.list"
        ):
            for record in records:
                if record.reported_by == "self" and cash.record_status(record) == "succeeded":
                    yield self._payment(record, cash.map_record(self._client.name, record, []), settled)

    def _payment(self, thing: wire.Thing, found: Payment, settled: Settled) -> ListedDocument:
        parts = settled.get(thing.id, [])
        return self._row(
            thing,
            kind="payment",
            reason=found.channel,
            number=found.reference,
            currency=found.currency,
            total=found.amount_minor,
            on=local_day(found.received_at, self._config),
            status=found.status,
            open_minor=found.amount_minor - sum(amount for _, amount in parts),
            settled=parts,
        )

    async def _refunds(self) -> AsyncIterator[ListedDocument]:
        async for page in self._client.pages(wire.Refund, "/v1/refunds", [], operation="refund.list"):
            for refund in page:
                status = cash.REFUND_STATUS.get(refund.status or "", "pending")
                yield self._row(
                    refund,
                    kind="refund",
                    reason="gateway",
                    currency=refund.currency,
                    total=minor(refund.amount, refund.currency),
                    on=day(refund.created, self._config),
                    status=status,
                    posted=status == "succeeded",
                    settled=[(cash.refund_payment(refund), minor(refund.amount, refund.currency))],
                )
        async for row in self._outside_refunds():
            yield row

    async def _outside_refunds(self) -> AsyncIterator[ListedDocument]:
        """Money that went back outside Stripe stands on credit notes only."""
        async for notes in self._client.pages(
            wire.CreditNote, "/v1/credit_notes", [], operation="credit_note.list"
        ):
            for note in notes:
                for part in note.refunds or ():
                    if part.payment_record_refund is None or note.status != "issued":
                        continue
                    amount = minor(part.amount_refunded, note.currency)
                    yield self._row(
                        wire.Thing(id=refund_id(part)),
                        kind="refund",
                        reason="bank",
                        currency=note.currency,
                        total=amount,
                        on=day(note.effective_at or note.created, self._config),
                        status="succeeded",
                        settled=[(part.payment_record_refund.payment_record, amount)],
                    )

    # ------------------------------------------------------------------------------------------- settlements

    async def settlements(self, since: date) -> AsyncIterator[ListedSettlement]:
        """Payouts that arrive on `since` or later, each with its transactions (a call of its own), and disputes that
        were opened then. Raises Failure."""
        midnight = int(datetime.combine(since, time.min, UTC).timestamp()) if since > date.min else 0
        entity, expand = self._config.entity, [("expand[]", "data.failure_balance_transaction")]
        arrived = [("arrival_date[gte]", str(midnight)), *expand]
        async for page in self._client.pages(wire.Payout, "/v1/payouts", arrived, operation="payout.list"):
            for payout in page:
                try:
                    found = await self._books.whole_payout(payout, "")
                except Failure as failure:
                    if not isinstance(failure.outcome, Rejected):
                        raise
                    continue  # does not add up: it is parked, and what stands on clearing shows it
                yield payout_settlement(found, entity)
        opened = [("created[gte]", str(midnight))]
        async for disputes in self._client.pages(
            wire.Dispute, "/v1/disputes", opened, operation="dispute.list"
        ):
            for one in disputes:
                yield dispute_settlement(
                    map_dispute(self._client.name, one), entity, day(one.created, self._config)
                )

    # ------------------------------------------------------------------------------------------ contract lines

    async def contract_lines(self) -> AsyncIterator[ListedLine]:
        """Recurring lines from the subscriptions, one-time lines from the invoices that charged them; of schedules
        that have not begun both from their phase. Raises Failure."""
        once = await self._charged_once()
        name, config = self._client.name, self._config
        schedules = await self._schedules()
        # A subscription that grew out of a schedule ends with the schedule, and need not say so itself.
        ends = {
            schedule.subscription: schedule_end(schedule, schedule.phases[-1], config)
            for schedule in schedules
            if schedule.subscription and schedule.phases
        }
        async for page in self._client.pages(
            wire.Subscription, "/v1/subscriptions", [("status", "all")], operation="subscription.list"
        ):
            for found in page:
                items = await self._books.items(found, "")
                mapped = map_subscription(name, found.id, found, items, config)
                if mapped.end is None and (end := ends.get(found.id)) is not None:
                    mapped = msgspec.structs.replace(mapped, end=end)
                for item, line in zip(items, mapped.lines, strict=True):
                    if line.charge != "metered":  # what will be used was not sold as a line
                        yield listed_line(mapped, line, config, frequency_of(item.price))
                for line in once.get(found.id, []):
                    yield listed_line(mapped, line, config, "once")
        for schedule in schedules:
            if schedule.subscription or schedule.released_subscription or not schedule.phases:
                continue
            await self._books.price(schedule.phases[0].items, "")
            mapped = map_schedule(name, schedule, config)
            for line in mapped.lines:
                yield listed_line(mapped, line, config, mapped.frequency)

    async def _schedules(self) -> list[wire.Schedule]:
        """Every schedule, with the prices of its phases."""
        expand = [
            ("expand[]", "data.phases.items.price"),
            ("expand[]", "data.phases.add_invoice_items.price"),
        ]
        pages = self._client.pages(
            wire.Schedule, "/v1/subscription_schedules", expand, operation="schedule.list"
        )
        return [schedule async for page in pages for schedule in page]

    async def _charged_once(self) -> dict[str, list[SubscriptionLine]]:
        """One-time lines that carry a contract line, by the id of the subscription that they were sold with."""
        found: dict[str, list[SubscriptionLine]] = defaultdict(list)
        async for invoice in self._all_invoices():
            if invoice.status == "void":
                continue
            snapshot = invoice.parent.subscription_details if invoice.parent else None
            lines = await self._books.lines(invoice, "") if invoice.lines.has_more else invoice.lines.data
            for line in lines:
                details = line.parent.invoice_item_details if line.parent else None
                named = (line.metadata or {}).get(self._config.metadata.line, "")
                if details is None or details.proration or not named:
                    continue
                subscription = details.subscription or (snapshot.subscription if snapshot else None) or ""
                found[subscription].append(
                    once_line(line, named, invoice.currency, self._config.product_prefix)
                )
        return found


def settled_by(note: wire.CreditNote) -> list[tuple[str, int]]:
    """(invoice, what the note took off its open amount), then (refund, what went back by it)."""
    invoice = note.invoice if isinstance(note.invoice, str) else note.invoice.id
    before = [(invoice, minor(note.pre_payment_amount, note.currency))] if note.pre_payment_amount else []
    return before + [
        (refund_id(part), minor(part.amount_refunded, note.currency)) for part in note.refunds or ()
    ]


def tax_of(document: wire.Invoice | wire.CreditNote) -> int:
    """The whole tax of a document, inclusive or not, shipping's included."""
    shipping = document.shipping_cost.amount_tax if document.shipping_cost else 0
    return minor(sum(tax.amount for tax in document.total_taxes or ()) + shipping, document.currency)
