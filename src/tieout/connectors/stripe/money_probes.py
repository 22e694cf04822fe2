"""Probes of what Stripe does with balances, credit, schedules, payouts and disputes.

Payouts and disputes take days to come about: those that stand in the account are read, none is made.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tieout.connectors.contract import Verdict, seen, untestable
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.probing import DAY, Objects, backdated, recurs

MOST_READ = 20
MOST_PAGES = 20
LEAVES_PAID = "marked uncollectible, then paid out of band"


class MoneyProbes(Objects):
    """Probes over objects of one run, and over the settlements that stand in the account."""

    # -- when it bills ----------------------------------------------------------------------------------------------
    async def _anchored(self) -> Verdict:
        """A monthly and a yearly subscription that begin now and bill from a day within the next two weeks."""
        customer = await self._customer()
        coming = moment(int(customer["created"]) + 10 * DAY)
        day = min(coming.day, 28)
        told, held = [], True
        for interval in ("month", "year"):
            config = {"day_of_month": day, "hour": 0, "minute": 0, "second": 0}
            config |= {"month": coming.month} if interval == "year" else {}
            form = {
                "customer": customer["id"],
                "collection_method": "send_invoice",
                "days_until_due": "30",
                "billing_mode[type]": "flexible",
                **{f"billing_cycle_anchor_config[{name}]": str(value) for name, value in config.items()},
                **await self._price("items[0][price_data]", recurs=True),
                "items[0][price_data][recurring][interval]": interval,
            }
            made = await self._made(f"{interval} subscription", "/v1/subscriptions", form)
            self._ends(made["id"])
            if isinstance(first := made.get("latest_invoice"), str):
                await self._open_invoice(first)
            anchor = moment(made["billing_cycle_anchor"])
            expected = next_day(moment(made["created"]), day, coming.month if interval == "year" else None)
            held = held and anchor == expected
            told.append(f"{interval}ly on {anchor:%d %b %Y %H:%M} (expected {expected:%d %b %Y})")
        return seen(held, f"begun {moment(int(customer['created'])):%d %b}, to bill: {', '.join(told)}")

    def _ends(self, subscription: str) -> None:
        where = f"/v1/subscriptions/{subscription}"
        self._later("subscription", where, method="DELETE", leaves=f"subscription {subscription}, cancelled")

    async def _schedule_backdated(self) -> Verdict:
        customer = await self._customer()
        start = backdated(int(customer["created"]))
        form = {
            "customer": customer["id"],
            "start_date": str(start),
            "end_behavior": "cancel",
            "billing_mode[type]": "flexible",
            "phases[0][billing_cycle_anchor]": "phase_start",
            "phases[0][collection_method]": "send_invoice",
            "phases[0][invoice_settings][days_until_due]": "30",
            "phases[0][duration][interval]": "month",
            "phases[0][duration][interval_count]": "6",
            **await self._price("phases[0][items][0][price_data]", recurs=True),
        }
        made = await self._made("backdated schedule", "/v1/subscription_schedules", form)
        where = f"/v1/subscription_schedules/{made['id']}"
        self._later("schedule", f"{where}/cancel", leaves=f"schedule {made['id']}, cancelled")
        began = (await self._read(where)).get("subscription")
        if not began:
            return untestable("a phase that began in the past has no subscription yet")
        first = (await self._read(f"/v1/subscriptions/{began}")).get("latest_invoice")
        if not isinstance(first, str):
            return untestable("its subscription has no invoice yet")
        invoice = await self._open_invoice(first)
        starts = sorted({line["period"]["start"] for line in invoice["lines"]["data"] if recurs(line)})
        days = [f"{moment(one):%d %b}" for one in starts]
        held = len(starts) >= 2 and starts[0] == start and len({day[:2] for day in days}) == 1
        return seen(held, f"begun on {moment(start):%d %b}: periods billed from {', '.join(days) or 'none'}")

    # -- the customer's balance -------------------------------------------------------------------------------------
    async def _saver(self) -> dict[str, Any]:
        """A customer with a credit of 3.00."""

        async def make() -> dict[str, Any]:
            made = await self._made("saver", "/v1/customers", self._customer_form())
            self._later("customer", f"/v1/customers/{made['id']}", method="DELETE")
            form = {"amount": "-300", "currency": await self._currency()}
            await self._made("credit", f"/v1/customers/{made['id']}/balance_transactions", form)
            return made

        return await self._shared("saver", make)

    async def _moves(self, customer: str) -> list[dict[str, Any]]:
        """What moved the balance of a customer, the oldest first."""
        page = await self._read(f"/v1/customers/{customer}/balance_transactions", {"limit": "100"})
        return list(reversed(page["data"]))

    async def _balance(self) -> Verdict:
        customer = (await self._saver())["id"]
        invoice = await self._billed("balance", customer, 1000)
        moves = [one for one in await self._moves(customer) if one.get("invoice") in (None, invoice["id"])]
        told = [(one["type"], one["amount"], one.get("invoice") == invoice["id"]) for one in moves]
        held = told == [("adjustment", -300, False), ("applied_to_invoice", 300, True)]
        shown = ", ".join(f"{kind} {amount}{' of the invoice' if its else ''}" for kind, amount, its in told)
        return seen(held, f"a credit of 3.00, then an invoice of 10.00: {shown}; credit notes not tried")

    async def _negative(self) -> Verdict:
        customer = (await self._saver())["id"]
        invoice = await self._billed(
            "negative", customer, -500, stays="negative, paid by the customer's credit"
        )
        moves = [one for one in await self._moves(customer) if one.get("invoice") == invoice["id"]]
        told = ", ".join(f"{one['type']} {one['amount']}" for one in moves) or "nothing"
        kinds = ("applied_to_invoice", "invoice_too_small")
        held = [one["amount"] for one in moves] == [-500] and moves[0]["type"] in kinds
        return seen(held, f"an invoice of {invoice['total']} is listed as: {told}")

    # -- invoices ---------------------------------------------------------------------------------------------------
    async def _uncollectible(self) -> Verdict:
        customer = (await self._customer())["id"]
        invoice = await self._billed("uncollectible", customer, 300, stays=LEAVES_PAID)
        where = f"/v1/invoices/{invoice['id']}"
        marked = await self._client.call("POST", f"{where}/mark_uncollectible")
        if marked.status != 200:
            return untestable(f"it cannot be marked uncollectible: {marked.words}")
        paid = await self._client.call("POST", f"{where}/pay", {"paid_out_of_band": "true"})
        now = await self._read(where)
        at = now["status_transitions"].get("marked_uncollectible_at")
        told = f"paid out of band: {paid.status if paid.status == 200 else paid.words}, then {now['status']}"
        held = paid.status == 200 and now["status"] == "paid" and isinstance(at, int)
        return seen(held, f"{told}, marked_uncollectible_at {'kept' if at else 'lost'}; voiding not tried")

    async def _credited(self) -> Verdict:
        customer = (await self._customer())["id"]
        invoice = await self._billed("credited", customer, 1000)
        note = await self._made(
            "credit note", "/v1/credit_notes", {"invoice": invoice["id"], "amount": "100"}
        )
        where = f"/v1/credit_notes/{note['id']}"
        self._later("credit note", f"{where}/void", leaves=f"credit note {note['id']}, voided")
        lines = (await self._read(where))["lines"]["data"]
        named = [one.get("invoice_line_item") for one in lines]
        amounts = [one["amount"] for one in lines]
        return seen(
            named == [None] and amounts == [100],
            f"credited by amount: lines of {amounts}, which name {named}",
        )

    async def _shared_out(self) -> Verdict:
        """A reported payment of 10.00, attached to an invoice of 6.00 and one of 3.00."""
        customer, currency = (await self._customer())["id"], await self._currency()
        record = await self._reported("shared payment", currency, 1000)
        invoices = [
            await self._billed(f"shared {amount}", customer, amount, stays="paid by the reported payment")
            for amount in (600, 300)
        ]
        for invoice in invoices:
            where = f"/v1/invoices/{invoice['id']}/attach_payment"
            attached = await self._client.call("POST", where, {"payment_record": record["id"]})
            if attached.status != 200:
                return seen(False, f"a payment of 10.00 for invoices of 6.00 and 3.00: {attached.words}")
        parts = []
        for invoice in invoices:
            page = await self._read("/v1/invoice_payments", {"invoice": invoice["id"]})
            ours = [one for one in page["data"] if one["payment"].get("payment_record") == record["id"]]
            parts.append([one["amount_paid"] for one in ours])
        statuses = [(await self._read(f"/v1/invoices/{invoice['id']}"))["status"] for invoice in invoices]
        told = f"a payment of 1000 for invoices of 600 and 300: parts {parts}, invoices {', '.join(statuses)}"
        return seen(parts == [[600], [300]] and statuses == ["paid", "paid"], told)

    async def _refunded_outside(self) -> Verdict:
        """A reported payment of an invoice, reported as refunded, and the credit note that names that refund."""
        customer, currency = (await self._customer())["id"], await self._currency()
        record = await self._reported("refunded payment", currency, 500)
        invoice = await self._billed(
            "refunded", customer, 500, stays="paid by the reported payment, credited"
        )
        where = f"/v1/invoices/{invoice['id']}/attach_payment"
        attached = await self._client.call("POST", where, {"payment_record": record["id"]})
        group = f"certify-{self._run}"
        form = {
            "amount[currency]": currency,
            "amount[value]": "500",
            "outcome": "refunded",
            "processor_details[type]": "custom",
            "processor_details[custom][refund_reference]": group,
            "refunded[refunded_at]": str(record["_paid"]),
        }
        reported = await self._client.call("POST", f"/v1/payment_records/{record['id']}/report_refund", form)
        for answer in (attached, reported):
            if answer.status != 200:
                return untestable(f"a reported payment cannot be attached and refunded: {answer.words}")
        part = "refunds[0][payment_record_refund]"
        note = await self._made("credit note of a refund", "/v1/credit_notes", {
            "invoice": invoice["id"],
            "amount": "500",
            "refunds[0][type]": "payment_record_refund",
            "refunds[0][amount_refunded]": "500",
            f"{part}[payment_record]": record["id"],
            f"{part}[refund_group]": group,
        })  # fmt: skip
        self._undo.append(
            ("credit note", "", "", {}, f"credit note {note['id']}: refunded, it cannot be voided")
        )
        shown = (await self._read(f"/v1/credit_notes/{note['id']}"))["refunds"]
        ours = {"payment_record": record["id"], "refund_group": group}
        named = [one["amount_refunded"] for one in shown if one.get("payment_record_refund") == ours]
        listed = (await self._read("/v1/refunds", {"created[gte]": str(record["created"]), "limit": "100"}))[
            "data"
        ]
        elsewhere = [one["id"] for one in listed if group in str(one) or record["id"] in str(one)]
        told = f"the credit note names it with {named}, the list of refunds shows {', '.join(elsewhere) or 'nothing'}"
        return seen(named == [500] and not elsewhere, told)

    # -- settlements ------------------------------------------------------------------------------------------------
    async def _parts(self) -> Verdict:
        page = await self._read("/v1/payouts", {"limit": str(MOST_READ)})
        payouts = [
            one for one in page["data"] if one["automatic"] and one["status"] in ("paid", "in_transit")
        ]
        if not payouts:
            return untestable("the account has had no automatic payout yet")
        newest = payouts[0]
        nets: list[int] = []
        query = {"payout": newest["id"], "limit": "100"}
        for _ in range(MOST_PAGES):
            moves = await self._read("/v1/balance_transactions", query)
            nets += [one["net"] for one in moves["data"] if one["source"] != newest["id"]]
            if not moves["has_more"]:
                break
            query["starting_after"] = moves["data"][-1]["id"]
        else:
            return untestable(f"payout {newest['id']} has more than {len(nets)} parts")
        told = f"payout {newest['id']} of {newest['amount']}: {len(nets)} parts, together {sum(nets)}"
        return seen(sum(nets) == newest["amount"], told)

    async def _disputed(self) -> Verdict:
        page = await self._read("/v1/disputes", {"limit": str(MOST_READ)})
        disputes = [one for one in page["data"] if not one["status"].startswith("warning")]
        if not disputes:
            return untestable(
                "the account has no dispute: pay with the test card pm_card_createDispute first"
            )
        told, held = [], True
        for one in disputes:
            moves = [part for part in one["balance_transactions"] if part["currency"] == one["currency"]]
            if not moves and one["balance_transactions"]:
                continue  # settled in another currency: the amounts are not comparable
            amounts = [part["amount"] for part in moves]
            fees = [part["fee"] for part in moves]
            expected = [-one["amount"]] + ([one["amount"]] if one["status"] == "won" else [])
            held = held and sorted(amounts) == sorted(expected) and all(isinstance(fee, int) for fee in fees)
            told.append(f"{one['status']} {one['amount']}: moved {amounts}, fees {fees}")
        return seen(held, "; ".join(told[:3])) if told else untestable("every dispute is in another currency")

    async def _event_kept(self) -> Verdict:
        """An event of an object that has changed since, read again."""
        customer = await self._customer()
        page = await self._read("/v1/events", {"type": "customer.created", "limit": "100"})
        found = [one for one in page["data"] if one["data"]["object"]["id"] == customer["id"]]
        if not found:
            return untestable("customer.created is not in the event list")
        where = f"/v1/customers/{customer['id']}"
        changed = await self._client.call("POST", where, {"description": "changed since"})
        if changed.status != 200:
            return untestable(f"the customer cannot be changed: {changed.words}")
        again = await self._read(f"/v1/events/{found[0]['id']}")
        version, kept = again.get("api_version"), again == found[0]
        told = f"in version {version or '(none)'}; read after the customer changed: {'the same' if kept else 'changed'}"
        return seen(bool(version) and kept, f"{told}; other versions not tried")


def next_day(after: datetime, day: int, month: int | None) -> datetime:
    """The first such day, midnight in UTC, after a moment. `day` is one that every month has."""
    year, current = after.year, after.month
    while True:
        found = datetime(year, current, day, tzinfo=UTC)
        if found > after and month in (None, current):
            return found
        year, current = (year, current + 1) if current < 12 else (year + 1, 1)
