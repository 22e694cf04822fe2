"""Whole aggregates as they are now: every line, every page, every tax rate."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar, cast

from msgspec.structs import replace

from tieout.canonical.balance import CustomerBalance
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.order import Subscription
from tieout.canonical.outcome import Failure, NotFound, Rejected, Transient
from tieout.canonical.payment import Payment, Refund
from tieout.canonical.settlement import Dispute, Payout
from tieout.connectors.contract import UsedLine
from tieout.connectors.stripe import cash, metering, wire
from tieout.connectors.stripe.client import Client, Pairs, path
from tieout.connectors.stripe.contracts import map_schedule, map_subscription
from tieout.connectors.stripe.mapping import (
    invoice_rate_ids,
    map_credit_memo,
    map_invoice,
    map_tax_rate,
    whole,
)
from tieout.connectors.stripe.money import minor
from tieout.connectors.stripe.settlements import map_dispute, map_payout

T = TypeVar("T")

MOST_RATES = 20_000
SCHEDULE_EXPAND: Pairs = [("expand[]", "phases.items.price"), ("expand[]", "phases.add_invoice_items.price")]
# Tells whether the invoice had been written off before it was paid.
WHOLE_INVOICE = ("expand[]", "data.invoice")
RETURNED: Pairs = [("expand[]", "failure_balance_transaction")]
SETTLED: Pairs = [("expand[]", "latest_charge.balance_transaction")]


class TaxRates:
    """Tax rates by id. Stripe never changes a rate's percentage, so what was read once holds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, tuple[str, Decimal]] = {}
        self._lock = asyncio.Lock()

    async def of(self, ids: Iterable[str], lane: str) -> dict[str, tuple[str, Decimal]]:
        """(jurisdiction, percent) by id, at least of these. Raises Failure."""
        missing = [id for id in ids if id not in self._known]
        if missing:
            async with self._lock:  # a hundred first invoices of one jurisdiction ask once
                if len(self._known) > MOST_RATES:
                    self._known = {}
                for id in missing:
                    if id not in self._known:
                        self._known[id] = await self._fetch(id, lane)
        return self._known

    async def _fetch(self, id: str, lane: str) -> tuple[str, Decimal]:
        try:
            rate = await self._client.get(
                wire.TaxRate, path("tax_rates", id), operation="tax_rate.get", lane=lane
            )
        except NotFound as error:
            raise Failure(Rejected(code="tax_rate", message=f"the tax rate {id} does not exist")) from error
        return map_tax_rate(rate)


class Books:
    """Reads of one account."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._name = client.name
        self._config = client.config
        self._rates = TaxRates(client)
        self._tiered: dict[str, wire.Price] = {}

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T:
        """The present aggregate, whole. Raises NotFound, Failure; TypeError for a kind that Stripe has not."""
        found: Any
        if kind is Invoice:
            found = await self.invoice(id, lane)
        elif kind is CreditMemo:
            found = await self.credit_memo(id, lane)
        elif kind is Payment:
            found = await self.payment(id, lane)
        elif kind is Refund:
            found = await self.refund(id, lane)
        elif kind is CustomerBalance:
            found = await self.balance(id, lane)
        elif kind is Dispute:
            where = path("disputes", id)
            one = await self._client.get(wire.Dispute, where, operation="dispute.get", lane=lane)
            found = map_dispute(self._name, one)
        elif kind is Payout:
            found = await self.payout(id, lane)
        elif kind is Subscription:
            found = await self.subscription(id, lane)
        else:
            raise TypeError(f"no {kind.__name__} is read from here")
        return cast("T", found)

    async def invoice(self, id: str, lane: str) -> Invoice:
        """One call for an invoice of ten lines or fewer whose tax rates are known."""
        found = await self._client.get(wire.Invoice, path("invoices", id), operation="invoice.get", lane=lane)
        lines = await self.lines(found, lane)
        rates = await self._rates.of(invoice_rate_ids(lines), lane)
        mapped = map_invoice(self._name, found, lines, rates, self._config)
        if found.status_transitions.marked_uncollectible_at is not None and mapped.paid_minor:
            mapped = replace(mapped, recovered_minor=sum(await self.recovered(id, lane)))
        if not mapped.credited_minor or {kind for kind, _ in mapped.transitions} <= {"finalised"}:
            return mapped
        return replace(mapped, memos=tuple(note.id for note in await self._standing_notes(id, lane)))

    async def _standing_notes(self, invoice: str, lane: str) -> list[wire.CreditNote]:
        notes = await self._client.every(
            wire.CreditNote,
            "/v1/credit_notes",
            [("invoice", invoice)],
            operation="credit_note.list",
            lane=lane,
        )
        return [note for note in notes if note.status != "void"]

    async def credited_late(self, invoice: wire.Invoice) -> list[int]:
        """What credit notes took off an invoice after it had been written off, note by note, in minor units."""
        given_up = invoice.status_transitions.marked_uncollectible_at
        if given_up is None or not invoice.pre_payment_credit_notes_amount:
            return []
        return [
            minor(note.pre_payment_amount, note.currency)
            for note in await self._standing_notes(invoice.id, "")
            if note.pre_payment_amount and given_up <= (note.effective_at or note.created)
        ]

    async def recovered(self, invoice: str, lane: str) -> list[int]:
        """What was paid of an invoice after it had been written off, payment by payment, in minor units."""
        query = [("invoice", invoice), ("status", "paid"), WHOLE_INVOICE]
        parts = await self._client.every(
            wire.InvoicePayment, "/v1/invoice_payments", query, operation="invoice_payment.list", lane=lane
        )
        return [
            minor(part.amount_paid, part.currency)
            for part in parts
            if part.amount_paid and cash.after_write_off(part)
        ]

    async def balance(self, customer: str, lane: str) -> CustomerBalance:
        """Every change of a customer's balance."""
        changes = await self._client.every(
            wire.BalanceChange,
            path("customers", customer, "balance_transactions"),
            [],
            operation="customer_balance.list",
            lane=lane,
        )
        return cash.map_balance(self._name, customer, changes)

    async def payout(self, id: str, lane: str) -> Payout:
        """A payout with every transaction that it pays out; a manual one names none."""
        where = path("payouts", id)
        found = await self._client.get(wire.Payout, where, RETURNED, operation="payout.get", lane=lane)
        return await self.whole_payout(found, lane)

    async def whole_payout(self, found: wire.Payout, lane: str) -> Payout:
        """A payout as it was read, with its transactions."""
        parts = await self._client.every(
            wire.BalanceTransaction,
            "/v1/balance_transactions",
            [("payout", found.id)],
            operation="balance_transaction.list",
            lane=lane,
        )
        return map_payout(self._name, found, parts)

    async def usage_of(self, id: str) -> tuple[UsedLine, ...]:
        """The lines of an invoice that bill usage. Raises NotFound, Failure."""
        found = await self._client.get(wire.Invoice, path("invoices", id), operation="invoice.get")
        return await metering.used(self._client, found.customer or "", await self.lines(found, ""))

    async def lines(self, invoice: wire.Invoice, lane: str) -> list[wire.Line]:
        """All lines: those inline, and the pages beyond."""
        return await self._beyond(invoice.lines, wire.LinePage, path("invoices", invoice.id, "lines"), lane)

    async def _beyond(
        self, first: Any, shape: Any, where: str, lane: str, query: Pairs | None = None
    ) -> list[Any]:
        found, more = list(first.data), first.has_more
        while more:
            after = [("starting_after", found[-1].id)] if found else []
            page = await self._client.get(
                shape, where, [*(query or []), ("limit", "100"), *after], operation="line.list", lane=lane
            )
            if page.has_more and (not page.data or (found and page.data[-1].id == found[-1].id)):
                raise Failure(Transient(reason=f"{where}: a page repeats, the list has no end"))
            found += page.data
            more = page.has_more
        return found

    async def credit_memo(self, id: str, lane: str) -> CreditMemo:
        """A credit note with the invoice it corrects."""
        where = path("credit_notes", id)
        note = await self._client.get(
            wire.CreditNote, where, [("expand[]", "invoice")], operation="credit_note.get", lane=lane
        )
        invoice = whole("credit_note.get", note.invoice)
        lines = await self._beyond(note.lines, wire.CreditLinePage, f"{where}/lines", lane)
        corrected = {line.invoice_line_item for line in lines if line.invoice_line_item}
        invoice_lines = invoice.lines.data
        if not corrected <= {line.id for line in invoice_lines}:
            invoice_lines = await self.lines(invoice, lane)
        rates = await self._rates.of(invoice_rate_ids(lines), lane)
        return map_credit_memo(self._name, note, lines, invoice, invoice_lines, rates, self._config)

    async def payment(self, id: str, lane: str) -> Payment:
        """A payment intent, a payment record, or a charge that has neither behind it."""
        if id.startswith(("ch_", "py_")):
            charge = await self._client.get(
                wire.Charge,
                path("charges", id),
                [("expand[]", "balance_transaction")],
                operation="charge.get",
                lane=lane,
            )
            if charge.payment_intent:
                return await self.payment(charge.payment_intent, lane)
            return cash.map_charge(self._name, charge)
        if id.startswith("pi_"):
            intent = await self._client.get(
                wire.PaymentIntent,
                path("payment_intents", id),
                SETTLED,
                operation="payment_intent.get",
                lane=lane,
            )
            return cash.map_intent(self._name, intent, await self.applied("payment_intent", id, lane))
        record = await self._client.get(
            wire.PaymentRecord, path("payment_records", id), operation="payment_record.get", lane=lane
        )
        return cash.map_record(self._name, record, await self.applied("payment_record", id, lane))

    async def applied(self, type_: str, id: str, lane: str) -> list[wire.InvoicePayment]:
        """What one payment has paid."""
        query = [("payment[type]", type_), (f"payment[{type_}]", id), ("status", "paid"), WHOLE_INVOICE]
        return await self._client.every(
            wire.InvoicePayment, "/v1/invoice_payments", query, operation="invoice_payment.list", lane=lane
        )

    async def refund(self, id: str, lane: str) -> Refund:
        """A refund with the credit notes it settles; `record:group` is one that was made outside Stripe."""
        if ":" in id:
            return await self._record_refund(id, lane)
        found = await self._client.get(
            wire.Refund,
            path("refunds", id),
            [("expand[]", "payment_intent")],
            operation="refund.get",
            lane=lane,
        )
        payment = cash.refund_payment(found)
        notes = await self._notes("payment_intent", payment, lane) if payment.startswith("pi_") else []
        memos = tuple(
            (
                Ref(connection=self._name, kind="credit_memo", id=note.id),
                minor(part.amount_refunded, note.currency),
            )
            for note in notes
            for part in note.refunds or ()
            if part.refund == id
        )
        return cash.map_refund(self._name, found, memos)

    async def _notes(self, type_: str, payment: str, lane: str) -> list[wire.CreditNote]:
        """The credit notes of every invoice that a payment has paid."""
        invoices = dict.fromkeys(cash.paid_invoice(part) for part in await self.applied(type_, payment, lane))
        return [
            note
            for invoice in invoices
            for note in await self._client.every(
                wire.CreditNote,
                "/v1/credit_notes",
                [("invoice", invoice)],
                operation="credit_note.list",
                lane=lane,
            )
        ]

    async def _record_refund(self, id: str, lane: str) -> Refund:
        payment, _, group = id.partition(":")
        record = await self._client.get(
            wire.PaymentRecord, path("payment_records", payment), operation="payment_record.get", lane=lane
        )
        notes = [
            note
            for note in await self._notes("payment_record", payment, lane)
            for part in note.refunds or ()
            if part.payment_record_refund is not None and part.payment_record_refund.refund_group == group
        ]
        if not notes:
            raise NotFound(f"no credit note names the refund {id}")
        return cash.map_record_refund(self._name, id, record, notes)

    async def subscription(self, id: str, lane: str) -> Subscription:
        """A subscription, or a schedule: as its subscription once there is one."""
        if not id.startswith("sub_sched_"):
            return await self._subscription(id, id, lane)
        schedule = await self._client.get(
            wire.Schedule,
            path("subscription_schedules", id),
            SCHEDULE_EXPAND,
            operation="schedule.get",
            lane=lane,
        )
        grown = schedule.subscription or schedule.released_subscription
        if grown:
            return await self._subscription(grown, id, lane)
        if not schedule.phases:
            raise Failure(Transient(reason=f"{id}: a schedule without a phase"))
        await self.price(schedule.phases[0].items, lane)
        return map_schedule(self._name, schedule, self._config)

    async def _subscription(self, id: str, known_as: str, lane: str) -> Subscription:
        found = await self._client.get(
            wire.Subscription, path("subscriptions", id), operation="subscription.get", lane=lane
        )
        return map_subscription(self._name, known_as, found, await self.items(found, lane), self._config)

    async def items(self, found: wire.Subscription, lane: str) -> list[wire.SubscriptionItem]:
        """All items of a subscription."""
        items = await self._beyond(
            found.items, wire.ItemPage, "/v1/subscription_items", lane, [("subscription", found.id)]
        )
        await self.price(items, lane)
        return items

    async def price(self, items: Iterable[wire.SubscriptionItem | wire.PhaseItem], lane: str) -> None:
        """Give items their prices' tiers, which are shown on demand only."""
        for item in items:
            price = item.price
            if isinstance(price, wire.Price) and price.billing_scheme == "tiered" and price.tiers is None:
                item.price = await self.tiers(price.id, lane)

    async def tiers(self, price: str, lane: str) -> wire.Price:
        """A price with its tiers, which never change."""
        if price not in self._tiered:
            query = [("expand[]", "tiers")]
            self._tiered[price] = await self._client.get(
                wire.Price, path("prices", price), query, operation="price.get", lane=lane
            )
        return self._tiered[price]
