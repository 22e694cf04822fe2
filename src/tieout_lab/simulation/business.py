"""What people do in the simulated company: sell, bill, pay, credit, refund, void, write off, close the month."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tieout_lab.simulation.world import SimulatedWorld

ACCOUNT = {"us": "acct_us", "jp": "acct_jp"}
ZONE = {"us": "America/Los_Angeles", "jp": "Asia/Tokyo"}
PLACES = {
    "us": {"street": "1 Main St", "city": "Oakland", "state": "CA", "postal_code": "94607", "country": "US"},
    "jp": {"street": "1-1 Chiyoda", "city": "Tokyo", "postal_code": "100-0001", "country": "JP"},
}
LINES = (
    {"product": "PLATFORM", "quantity": 10, "unit_price": "45.50"},
    {"product": "ONBOARD", "quantity": 1, "unit_price": "1000"},
)
YEN_LINES = ({"product": "PLATFORM", "quantity": 3, "unit_price": "6000"},)


class Business:
    """The people of one simulated world. Ids are the twins' own."""

    def __init__(self, world: SimulatedWorld, today: datetime) -> None:
        self.world = world
        self.sold = 0
        world.clock.set_business(today)

    async def open(self) -> None:
        """Webhook endpoints and the product catalogue."""
        for entity, account in ACCOUNT.items():
            secret = self.world.billing.accounts[account].webhook_secret
            url = f"http://hub/hooks/stripe-{entity}"
            await self.world.act("stripe", "register_webhook", account=account, url=url, secret=secret)
        await self.world.act("stripe", "seed_catalogue")

    async def move_to(self, moment: datetime) -> None:
        """Move the business clock, and bill what has become due."""
        self.world.clock.set_business(moment)
        await self.world.act("stripe", "advance", business=moment.isoformat())

    # -- selling ------------------------------------------------------------------------------------------------
    async def customer(self, name: str, entity: str = "us", **fields: Any) -> str:
        """A CRM account; answers its id."""
        given = {
            "CurrencyIsoCode": "JPY" if entity == "jp" else "USD",
            "Invoice_Email__c": "ap@customer.example",
            "Payment_Terms__c": "NET30",
            "billing": PLACES[entity],
            **fields,
        }
        made = await self.world.act("salesforce", "create_account", name=name, **given)
        return str(made["id"])

    async def sell(self, account: str, entity: str = "us", **fields: Any) -> str:
        """A closed-won deal; answers its id."""
        self.sold += 1
        local = self.world.clock.business().astimezone(ZoneInfo(ZONE[entity])).date()
        given = {
            "name": f"Deal {self.sold}",
            "currency": "JPY" if entity == "jp" else "USD",
            "legal_entity": entity,
            "contract_start": local.isoformat(),
            "term_months": 12,
            "billing_frequency": "Monthly",
            "close_date": local.isoformat(),
            "payment_terms": "NET30",
            "lines": list(YEN_LINES if entity == "jp" else LINES),
            **fields,
        }
        made = await self.world.act("salesforce", "create_deal", account=account, **given)
        return str(made["id"])

    async def edit_deal(self, deal: str, **fields: Any) -> None:
        await self.world.act("salesforce", "update", object="Opportunity", id=deal, fields=fields)

    async def rename(self, account: str, name: str) -> None:
        await self.world.act("salesforce", "update", object="Account", id=account, fields={"Name": name})

    # -- billing ------------------------------------------------------------------------------------------------
    def invoices(self, entity: str = "us", deal: str | None = None) -> list[dict[str, Any]]:
        """The invoices of a legal entity's billing account, oldest first, as the twin holds them."""
        found = list(self.world.billing.accounts[ACCOUNT[entity]].all("invoices"))
        if deal is None:
            return found
        return [one for one in found if deal_of(one) == deal]

    async def pay(self, invoice: str, entity: str = "us", amount: int | None = None) -> Any:
        """By card."""
        given = {} if amount is None else {"amount": amount}
        return await self.world.act(
            "stripe", "pay_invoice", account=ACCOUNT[entity], invoice=invoice, **given
        )

    async def wire(
        self,
        customer: str,
        amount: int,
        parts: list[tuple[str, int | None]],
        entity: str = "us",
        currency: str = "usd",
    ) -> Any:
        """By bank transfer, over several invoices; the rest stays with the customer."""
        invoices = [{"invoice": one} | ({} if part is None else {"amount": part}) for one, part in parts]
        return await self.world.act(
            "stripe",
            "wire",
            account=ACCOUNT[entity],
            customer=customer,
            amount=amount,
            currency=currency,
            invoices=invoices,
            reference=f"WIRE {amount}",
        )

    async def detach(self, invoice: str, payment: str, entity: str = "us") -> Any:
        """Take a payment off an invoice again."""
        given = {"invoice": invoice, "payment": payment}
        return await self.world.act("stripe", "detach_payment", account=ACCOUNT[entity], **given)

    async def credit(self, invoice: str, net: int, *, refund: bool | str = False, entity: str = "us") -> Any:
        """So much, without tax, of the invoice's largest line; what was paid of it is refunded to the card (`refund`),
        `outside`, or kept as the customer's balance."""
        whole = self.world.billing.accounts[ACCOUNT[entity]].get("invoices", invoice)
        line = max(whole["lines"]["data"], key=lambda one: int(one["amount"]))
        lines = [{"type": "invoice_line_item", "invoice_line_item": line["id"], "amount": net}]
        given: dict[str, Any] = {"refund": refund} if refund else {}
        return await self.world.act(
            "stripe", "credit", account=ACCOUNT[entity], invoice=invoice, lines=lines, **given
        )

    async def change(
        self, subscription: str, items: list[dict[str, Any]], entity: str = "us", **more: Any
    ) -> Any:
        """An operator changes what is subscribed to; invoiced at once unless `proration_behavior` says otherwise."""
        given = {"proration_behavior": "always_invoice", **more}
        return await self.world.act(
            "stripe",
            "change_subscription",
            account=ACCOUNT[entity],
            subscription=subscription,
            items=items,
            **given,
        )

    async def credit_amount(self, invoice: str, amount: int, entity: str = "us", **more: Any) -> Any:
        """So much of the whole invoice, tax included, without naming a line."""
        return await self.world.act(
            "stripe", "credit", account=ACCOUNT[entity], invoice=invoice, amount=amount, **more
        )

    async def void(self, invoice: str, entity: str = "us") -> Any:
        return await self.world.act("stripe", "void_invoice", account=ACCOUNT[entity], invoice=invoice)

    async def write_off(self, invoice: str, entity: str = "us") -> Any:
        return await self.world.act("stripe", "mark_uncollectible", account=ACCOUNT[entity], invoice=invoice)

    # -- the ERP ------------------------------------------------------------------------------------------------
    async def approve_all(self) -> None:
        """Somebody approves whatever is pending at the ERP."""
        await self.world.act("netsuite", "approve_all")

    async def close_period(self, day: date) -> None:
        await self.world.act("netsuite", "close_period", date=day.isoformat())

    async def reopen_period(self, day: date) -> None:
        await self.world.act("netsuite", "reopen_period", date=day.isoformat())


def deal_of(invoice: dict[str, Any]) -> str | None:
    """The deal that an invoice names, as its subscription was told."""
    parent = (invoice.get("parent") or {}).get("subscription_details") or {}
    return (parent.get("metadata") or {}).get("crm_opportunity")
