"""Probes of what we rely on Stripe to do, for `tieout certify`: in a sandbox, with objects of their own.

Everything made carries the run's mark in its metadata. What a money document leaves behind by law of the vendor
(voided invoices, reported payments) is told, not hidden.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.feed import SALES
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.money_probes import MoneyProbes
from tieout.connectors.stripe.probing import DAY, MARK, recurs

UNTESTABLE = {
    "stripe.webhook.signature": "needs a delivery to a public address: the hub verifies each one it gets",
    "stripe.webhook.delivery": "repeats and disorder cannot be provoked from outside",
    "stripe.limits.endpoint": "would use up the calls of an account that others use",
    "stripe.meter.identifier": "would leave a meter and its usage behind: neither can be deleted",
    "stripe.meter.known": "would leave a meter and its usage behind: neither can be deleted",
    "stripe.create.longest": "shows only when an answer is lost",
}


class StripeCertification(MoneyProbes):
    """`Certification` of one account."""

    def __init__(self, name: str, config: StripeConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.untestable: Mapping[str, str] = UNTESTABLE
        customer, invoice = ("a customer",), ("a customer", "a tax rate", "an invoice of 11.00")
        subscription = ("a customer", "a product", "a subscription and its first invoice")
        self.probes = (
            _probe("idempotency.replay", self._replay, customer),
            _probe("idempotency.marker", self._marker, customer),
            _probe("list.visible", self._listed, customer),
            _probe("events.late", self._event_shows, customer),
            _probe("events.kept", self._events_kept),
            _probe("metadata.update", self._metadata, invoice),
            _probe("invoice.amounts", self._amounts, invoice),
            _probe("tax_rate.id", self._rate_by_id, invoice),
            _probe("tax_rate.fixed", self._rate_fixed, invoice),
            _probe("subscription.backdate", self._backdated, subscription),
            _probe("invoice.snapshot", self._snapshot, subscription),
            _probe("add_invoice_items.metadata", self._once_metadata, subscription),
            _probe("schedule.metadata", self._phase_metadata, ("a subscription schedule",)),
            _probe("metadata.payment_record", self._record_metadata, ("a reported payment of 1.00",)),
            _probe("payment_record.value_date", self._value_date, ("a reported payment of 1.00",)),
            _probe("charge.settled", self._settled, ("a card payment of 5.00 in test mode",)),
            _probe("events.version", self._event_kept, customer),
            _probe(
                "subscription.anchor_config",
                self._anchored,
                (
                    "a customer",
                    "a product",
                    "a monthly and a yearly subscription, each with its first invoice",
                ),
            ),
            _probe(
                "schedule.backdate",
                self._schedule_backdated,
                ("a subscription schedule and its first invoice",),
            ),
            _probe(
                "balance.transactions",
                self._balance,
                ("a customer with a credit of 3.00", "an invoice of 10.00"),
            ),
            _probe(
                "balance.negative_invoice", self._negative, ("a customer with credit", "an invoice of -5.00")
            ),
            _probe(
                "invoice.uncollectible_paid", self._uncollectible, ("an invoice of 3.00, paid out of band",)
            ),
            _probe("credit_note.amount", self._credited, ("an invoice of 10.00", "a credit note of 1.00")),
            _probe(
                "payment_record.invoices",
                self._shared_out,
                ("a reported payment of 10.00", "an invoice of 6.00 and one of 3.00, paid by it"),
            ),
            _probe(
                "payment_record.refund",
                self._refunded_outside,
                (
                    "a reported payment of 5.00 and its refund",
                    "an invoice of 5.00 paid by it",
                    "its credit note",
                ),
            ),
            _probe("payout.parts", self._parts),
            _probe("dispute.moves", self._disputed),
            _probe("invoice.transitions", self._transitions, invoice),
        )

    # -- probes ---------------------------------------------------------------------------------------------------
    async def _replay(self) -> Verdict:
        first = await self._customer()
        key = f"certify-{self._run}-customer"
        again = await self._client.call(
            "POST", "/v1/customers", {**self._customer_form(), f"metadata[{MARK}]": self._run}, key=key
        )
        if again.body.get("id") not in (None, first["id"]):
            self._later("second customer", f"/v1/customers/{again.body['id']}", method="DELETE")
        same = again.status == 200 and again.body.get("id") == first["id"]
        return seen(
            same, f"sent twice under one key: {first['id']}, then {again.body.get('id') or again.words}"
        )

    async def _marker(self) -> Verdict:
        await self._customer()
        key = f"certify-{self._run}-customer"
        form = {**self._customer_form(), f"metadata[{MARK}]": self._run}
        again = await self._client.call("POST", "/v1/customers", form, key=key)
        other = await self._client.call("POST", "/v1/customers", {**form, "name": "another"}, key=key)
        for answer in (again, other):
            if answer.body.get("id") not in (None, (await self._customer())["id"]):
                self._later("second customer", f"/v1/customers/{answer.body['id']}", method="DELETE")
        kind = (other.body.get("error") or {}).get("type", "")
        told = f"marked as replayed: {again.replayed}; other parameters: {other.status} {kind}; a key in use: not tried"
        return seen(again.replayed and other.status == 400 and kind == "idempotency_error", told)

    async def _listed(self) -> Verdict:
        made = await self._customer()
        query = {"created[gte]": str(made["created"]), "limit": "100"}

        async def shows() -> bool:
            page = await self._read("/v1/customers", query)
            return any(one["id"] == made["id"] for one in page["data"])

        return await self._within(shows, self._config.visibility_seconds, "a customer in the list")

    async def _event_shows(self) -> Verdict:
        made = await self._customer()

        async def shows() -> bool:
            page = await self._read("/v1/events", {"type": "customer.created", "limit": "100"})
            return any(one["data"]["object"]["id"] == made["id"] for one in page["data"])

        return await self._within(
            shows, self._config.events_overlap_seconds, "customer.created in the event list"
        )

    async def _within(self, shows: Callable[[], Awaitable[bool]], most_seconds: int, what: str) -> Verdict:
        began = self._world.clock.now()
        while True:
            found = await shows()
            waited_seconds = (self._world.clock.now() - began).total_seconds()
            if found:
                return seen(True, f"{what} after {waited_seconds:.1f} s, relied on within {most_seconds} s")
            if waited_seconds > most_seconds:
                return seen(False, f"{what}: not after {waited_seconds:.0f} s")
            await self._world.clock.sleep(1)

    async def _events_kept(self) -> Verdict:
        oldest = int(self._world.clock.now().timestamp()) - 29 * DAY
        query = {"created[gte]": str(oldest), "limit": "1"}
        query |= {f"types[{place}]": name for place, name in enumerate(SALES)}
        answer = await self._client.call("GET", "/v1/events", query)
        taken = answer.status == 200
        told = f"{len(SALES)} types and 29 days back: {answer.status if taken else answer.words}"
        return seen(taken, told + "; whether each event of these days is there cannot be seen")

    async def _metadata(self) -> Verdict:
        where = f"/v1/invoices/{(await self._invoice())['id']}"
        answer = await self._client.call("POST", where, {"metadata[probe]": "set"})
        kept = (await self._read(where)).get("metadata", {}).get("probe")
        told = answer.status if answer.status == 200 else answer.words
        return seen(answer.status == 200 and kept == "set", f"of a finalised invoice: {told}, reads {kept!r}")

    async def _amounts(self) -> Verdict:
        invoice = await self._invoice()
        lines = invoice["lines"]["data"]
        net = sum(line["amount"] for line in lines)
        tax = sum(one["amount"] for line in lines for one in line.get("taxes") or ())
        return seen(net + tax == invoice["total"], f"lines {net} and taxes {tax}, total {invoice['total']}")

    async def _rate_by_id(self) -> Verdict:
        rate = await self._rate()
        taxes = [one for line in (await self._invoice())["lines"]["data"] for one in line.get("taxes") or ()]
        named = [(one.get("tax_rate_details") or {}).get("tax_rate") for one in taxes]
        return seen(named == [rate["id"]], f"the line names its tax rate as {named}")

    async def _rate_fixed(self) -> Verdict:
        where = f"/v1/tax_rates/{(await self._rate())['id']}"
        answer = await self._client.call("POST", where, {"percentage": "11"})
        kept = (await self._read(where))["percentage"]
        told = f"setting another percentage: {answer.words if answer.status != 200 else 200}, it reads {kept}"
        return seen(answer.status == 400 and kept == 10, told)

    async def _backdated(self) -> Verdict:
        made = await self._subscription()
        lines = made["_invoice"]["lines"]["data"]
        starts = sorted({line["period"]["start"] for line in lines if recurs(line)})
        days = [f"{moment(start):%d %b}" for start in starts]
        held = len({day[:2] for day in days}) == 1 and len(days) >= 2 and starts[0] == made["_start"]
        return seen(held, f"begun on {moment(made['_start']):%d %b}: periods billed from {', '.join(days)}")

    async def _snapshot(self) -> Verdict:
        made = await self._subscription()
        await self._client.call("POST", f"/v1/subscriptions/{made['id']}", {"metadata[probe]": "after"})
        invoice = await self._read(f"/v1/invoices/{made['_invoice']['id']}")
        details = (invoice.get("parent") or {}).get("subscription_details") or {}
        kept = (details.get("metadata") or {}).get("probe")
        return seen(
            kept == "before", f"changed after finalisation, the invoice shows {kept!r} of before and after"
        )

    async def _once_metadata(self) -> Verdict:
        lines = (await self._subscription())["_invoice"]["lines"]["data"]
        told = [(line.get("metadata") or {}).get("probe") for line in lines if not recurs(line)]
        return seen(told == ["once"], f"one-time lines show {told}")

    async def _phase_metadata(self) -> Verdict:
        form = {
            "customer": (await self._customer())["id"],
            "start_date": "now",
            "end_behavior": "cancel",
            "billing_mode[type]": "flexible",
            "phases[0][metadata][probe]": "phase",
            "phases[0][collection_method]": "send_invoice",
            "phases[0][invoice_settings][days_until_due]": "30",
            "phases[0][duration][interval]": "month",
            "phases[0][duration][interval_count]": "1",
            **await self._price("phases[0][items][0][price_data]", recurs=True),
        }
        made = await self._made("schedule", "/v1/subscription_schedules", form)
        where = f"/v1/subscription_schedules/{made['id']}"
        self._later("schedule", f"{where}/cancel", leaves=f"schedule {made['id']}, cancelled")
        began = (await self._read(where)).get("subscription")
        if not began:
            return untestable("a phase that starts now has not begun yet")
        subscription = await self._read(f"/v1/subscriptions/{began}")
        if isinstance(first := subscription.get("latest_invoice"), str):
            await self._open_invoice(first)
        told = subscription["metadata"].get("probe")
        return seen(told == "phase", f"the subscription shows {told!r}")

    async def _record_metadata(self) -> Verdict:
        record = await self._record()
        where = f"/v1/payment_records/{record['id']}"
        path = f"{where}/report_payment_attempt_informational"
        answer = await self._client.call("POST", path, {"metadata[probe]": "set"})
        now = await self._read(where)
        same = all(now[name] == record[name] for name in record if name.startswith("amount"))
        kept = now["metadata"].get("probe")
        told = answer.status if answer.status == 200 else answer.words
        return seen(answer.status == 200 and kept == "set" and same,
                    f"{told}, reads {kept!r}, amounts unchanged: {same}")  # fmt: skip

    async def _value_date(self) -> Verdict:
        record = await self._record()
        now = await self._read(f"/v1/payment_records/{record['id']}")
        shown = sorted(name for name, value in now.items() if value == record["_paid"])
        return seen(not shown, f"of the day reported it shows {', '.join(shown) or 'nothing'}")

    async def _settled(self) -> Verdict:
        form = {
            "amount": "500",
            "currency": await self._currency(),
            "confirm": "true",
            "payment_method": "pm_card_visa",
            "automatic_payment_methods[enabled]": "true",
            "automatic_payment_methods[allow_redirects]": "never",
        }
        made = await self._made("card payment", "/v1/payment_intents", form)
        left = f"payment {made['id']} and its refund"
        self._later("card payment", "/v1/refunds", form={"payment_intent": made["id"]}, leaves=left)
        charge = await self._read(f"/v1/charges/{made['latest_charge']}")
        transaction = charge.get("balance_transaction")
        told = f"a card payment that {charge['status']}: balance transaction {transaction or 'missing'}"
        return seen(charge["status"] == "succeeded" and bool(transaction), told + "; debits not tried")

    async def _transitions(self) -> Verdict:
        """The last of the invoice's probes: it voids it."""
        where = f"/v1/invoices/{(await self._invoice())['id']}"
        await self._client.call("POST", f"{where}/void")
        told = (await self._read(where))["status_transitions"]
        dated = [name for name in ("finalized_at", "voided_at") if isinstance(told.get(name), int)]
        return seen(len(dated) == 2, f"finalised, then voided: {', '.join(dated) or 'no transition'} dated")


def _probe(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    return Probe(behaviour=f"stripe.{id}", run=run, makes=makes)
