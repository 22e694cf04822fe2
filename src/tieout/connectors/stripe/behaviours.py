"""What we rely on Stripe to do, where we know it from, and how sure that is."""

from __future__ import annotations

from tieout.connectors.contract import Behaviour

API = "docs.stripe.com/api"
DERIVED = "request and response types of the official SDK 16.1.0 (2026-10-28.endive)"


def _told(id: str, text: str, source: str) -> Behaviour:
    return Behaviour(id=f"stripe.{id}", text=text, source=source, state="documented")


def _assumed(id: str, text: str, source: str) -> Behaviour:
    return Behaviour(id=f"stripe.{id}", text=text, source=source, state="assumed")


BEHAVIOURS = (
    _told(
        "webhook.signature",
        "Stripe-Signature carries t and one v1 for each active secret: HMAC-SHA256 of `t.body` under the secret's text",
        "docs.stripe.com/webhooks/signature",
    ),
    _told(
        "webhook.delivery",
        "events come more than once and in any order; event.id tells repeats apart",
        "docs.stripe.com/webhooks",
    ),
    _told("events.kept", "the event list goes back 30 days and takes 20 types", f"{API}/events/list"),
    _assumed(
        "events.late",
        "an event is visible in the list at most two minutes after its `created` (events_overlap_seconds)",
        "no promise is published",
    ),
    _told(
        "idempotency.replay",
        "a POST repeated under its key within 24 hours is answered as before, a 500 included, and not done again",
        f"{API}/idempotent_requests",
    ),
    _assumed(
        "idempotency.marker",
        "a replayed answer carries `Idempotent-Replayed: true`; a key still in use answers 409 "
        "idempotency_key_in_use, one with other parameters 400 idempotency_error",
        "widely observed; the header is not in the reference",
    ),
    _assumed(
        "create.longest",
        "no create runs longer than 120 seconds after its client gave up (longest_seconds)",
        "no promise is published",
    ),
    _assumed(
        "list.visible",
        "a list shows an object at most 60 seconds after it was made (visibility_seconds); only search lags by design",
        f"{API}/pagination; lag documented for search",
    ),
    _told(
        "metadata.update",
        "metadata of a finalised invoice, credit note, payment intent may be set",
        f"{API}/metadata",
    ),
    _assumed(
        "metadata.payment_record",
        "report_payment_attempt_informational sets a payment record's metadata and changes nothing else",
        DERIVED,
    ),
    _told(
        "invoice.snapshot",
        "an invoice keeps the subscription's metadata of its finalisation in parent.subscription_details",
        f"{API}/invoices/object",
    ),
    _told(
        "invoice.transitions",
        "status_transitions dates finalised, voided, uncollectible and paid",
        f"{API}/invoices/object",
    ),
    _told("tax_rate.fixed", "a tax rate's percentage is never changed", f"{API}/tax_rates/update"),
    _told("tax_rate.id", "an invoice line names its tax rate by id and does not expand it", DERIVED),
    _told(
        "invoice.amounts",
        "a line's amount is before discounts and holds inclusive tax only; lines, taxes and shipping sum to the total",
        f"{API}/invoice-line-item/object",
    ),
    _assumed(
        "subscription.backdate",
        "with billing mode flexible, backdate_start_date bills each natural period since the start; "
        "billing_cycle_anchor_config keeps billing on the start's day",
        "docs.stripe.com/billing/subscriptions/backdating",
    ),
    _told(
        "subscription.anchor_config",
        "billing_cycle_anchor_config takes the next occurrence of a day in UTC, for monthly and yearly prices",
        f"{API}/subscriptions/create",
    ),
    _assumed(
        "schedule.backdate",
        "a schedule whose start has passed, anchored at phase_start, bills each period since, on the start's day",
        "docs.stripe.com/billing/subscriptions/backdating (schedules); the cycle is not spelled out",
    ),
    _told(
        "balance.transactions",
        "every change of a customer's balance is listed with its type, and the invoice or credit note it stems from",
        f"{API}/customer_balance_transactions/object",
    ),
    _assumed(
        "balance.negative_invoice",
        "the credit of a negative invoice is listed as applied_to_invoice or invoice_too_small, with that invoice",
        "docs.stripe.com/billing/customer/balance names the types, not this case",
    ),
    _told(
        "invoice.uncollectible_paid",
        "an uncollectible invoice can still be paid or voided, and keeps marked_uncollectible_at",
        "docs.stripe.com/invoicing/integration/workflow-transitions",
    ),
    _assumed(
        "credit_note.amount",
        "a credit note by amount alone carries one line that names no line of the invoice",
        f"{API}/credit_notes/create; to be certified",
    ),
    _told(
        "payout.parts",
        "an automatic payout's balance transactions are listed by it, and their net sums to its amount",
        f"{API}/balance_transactions/list",
    ),
    _told(
        "dispute.moves",
        "a dispute shows the balance transactions that took the money and gave it back, with the fee",
        f"{API}/disputes/object",
    ),
    _told(
        "events.version",
        "an event is rendered in the version of its endpoint or account, says so in api_version, and never changes",
        f"{API}/events/object",
    ),
    _told(
        "limits.endpoint",
        "an endpoint takes 25 calls a second unless another limit is published for it",
        "docs.stripe.com/rate-limits",
    ),
    _told(
        "schedule.metadata",
        "a phase's metadata is put on the subscription when the phase begins",
        f"{API}/subscription_schedules/create",
    ),
    _told(
        "add_invoice_items.metadata",
        "one-time lines carry the metadata given with them",
        "changelog 2025-08-27.basil",
    ),
    _told(
        "meter.identifier",
        "a meter counts an identifier once within 24 hours or more; it takes what is 35 days old to 5 minutes ahead",
        f"{API}/billing/meter-event/create",
    ),
    _assumed(
        "meter.known",
        "an identifier that was taken already is refused with 400 in words that say so: already exists, and which",
        "the words are not published",
    ),
    _assumed(
        "payment_record.invoices",
        "one payment record can be attached to several invoices, each with its part; the rest stays unattached",
        "docs.stripe.com/payments/payment-records; to be certified",
    ),
    _assumed(
        "payment_record.value_date",
        "a payment record shows no value date (initiated_at, guaranteed_at are only reported); `created` stands for it",
        DERIVED,
    ),
    _assumed(
        "payment_record.refund",
        "a refund reported on a payment record is seen on the credit note that names it, and nowhere else",
        DERIVED,
    ),
    _told(
        "charge.settled",
        "the balance transaction of a charge is made when it succeeds, also for debits that take days",
        f"{API}/balance_transactions/object",
    ),
)
