"""Plays a plan against the twins, through their control APIs alone; the business clock waits for the hub."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from tieout_lab.scenario.deals import Deal
from tieout_lab.scenario.draws import Draws
from tieout_lab.scenario.plan import Happening, Plan
from tieout_lab.scenario.steering import Steering

ACCOUNT = {"us": "acct_us", "jp": "acct_jp"}
SUBSIDIARY = {"us": "1", "jp": "2"}
MINOR = {"JPY": 1}


class Watched(Protocol):
    """The hub as the scenario sees it: how many lanes are in which state."""

    async def lanes(self) -> Mapping[str, int]: ...


class NeverQuiet(Exception):
    """The hub did not come to rest in time; the message says what it was still at."""


@dataclass
class Patience:
    """How long to wait, in real seconds: for the hub to come to rest, and with nothing left but lanes that wait for
    something that does not come."""

    quiet_seconds: float = 120.0
    waiting_seconds: float = 15.0
    look_seconds: float = 0.1


@dataclass
class Seen:
    """What the scenario learnt of the ids: deal by opportunity, and back; accounts by customer."""

    accounts: dict[str, str] = field(default_factory=dict)
    opportunities: dict[str, str] = field(default_factory=dict)
    deals: dict[str, str] = field(default_factory=dict)


class Player:
    """One run of one plan. `tell(done, all, what)` is called as it goes on."""

    def __init__(
        self,
        plan: Plan,
        steering: Steering,
        hub: Watched,
        *,
        patience: Patience | None = None,
        tell: Callable[[int, int, str], None] = lambda *_: None,
    ) -> None:
        self.plan = plan
        self.steering = steering
        self.hub = hub
        self.patience = patience or Patience()
        self.tell = tell
        self.seen = Seen()
        # Billing documents that were released into another period by an approved action.
        self.released: frozenset[str] = frozenset()
        self.draws = Draws(plan.seed)
        self._done = 0

    async def play(self) -> None:
        """Everything, in order. Raises NeverQuiet, and what the twins refuse."""
        await self.steering.act("stripe", "seed_catalogue")
        for moment in self.plan.moments():
            await self.steering.move(moment)
            happenings = [one for one in self.plan.happenings if one.at == moment]
            if any(one.what == "close_period" for one in happenings):
                # The controller closes a period when its documents stand.
                await self.quiet(moment)
            invoices = await self._invoices() if any(one.what != "sell" for one in happenings) else {}
            for happening in happenings:
                await self._happen(happening, invoices)
                self._done += 1
                self.tell(self._done, len(self.plan.happenings), f"{moment:%d %b}")
            await self.quiet(moment)

    # -- coming to rest ---------------------------------------------------------------------------------------------
    async def quiet(self, moment: datetime | None = None) -> None:
        """Until nothing is under way any more: every won deal seen, every webhook taken, no lane ready or running.

        Whoever must approve in the ERP does so meanwhile."""
        began = waiting_since = time.monotonic()
        calm = 0
        while calm < 2:
            now = time.monotonic()
            lanes = await self.hub.lanes()
            busy = lanes.get("ready", 0) + lanes.get("leased", 0)
            open_deals = await self._open_deals()
            pending = await self.steering.pending()
            approved: list[str] = []
            if lanes.get("waiting", 0):
                approved = (await self.steering.act("netsuite", "approve_all"))["approved"]
            if busy or open_deals or pending or approved:
                waiting_since = now
            elif lanes.get("waiting", 0):
                busy = int(now - waiting_since < self.patience.waiting_seconds)
            calm = 0 if busy or open_deals or pending else calm + 1
            if now - began > self.patience.quiet_seconds:
                when = f" on {moment:%d %B}" if moment else ""
                raise NeverQuiet(
                    f"not at rest{when} after {now - began:.0f} s: lanes {dict(lanes)}, {pending} webhooks not taken,"
                    f" {len(open_deals)} deals not seen ({', '.join(sorted(open_deals)[:5])})"
                )
            await asyncio.sleep(self.patience.look_seconds)

    async def _open_deals(self) -> list[str]:
        """Keys of the deals sold so far on which the CRM shows no status: the hub has not seen them yet."""
        if not self.seen.deals:
            return []
        found = await self.steering.act("salesforce", "snapshot", objects=["Opportunity"])
        return [
            self.seen.deals[row["Id"]]
            for row in found["Opportunity"]
            if row["Id"] in self.seen.deals and not row["Tieout_Status__c"]
        ]

    # -- what happens -----------------------------------------------------------------------------------------------
    async def _happen(self, one: Happening, invoices: dict[str, list[Any]]) -> None:
        match one.what:
            case "sell":
                await self._sell(self.plan.deals[one.deals[0]])
            case "card":
                for deal, invoice in self._named(one, invoices):
                    await self._card(deal, invoice)
            case "wire":
                await self._wire(one, self._named(one, invoices))
            case "credit" | "refund":
                for deal, invoice in self._named(one, invoices):
                    await self._credit(deal, invoice, one.percent, refund=one.what == "refund")
            case "void" | "write_off":
                action = {"void": "void_invoice", "write_off": "mark_uncollectible"}[one.what]
                for deal, invoice in self._named(one, invoices):
                    await self.steering.act(
                        "stripe", action, account=ACCOUNT[deal.entity], invoice=invoice["id"]
                    )
            case "pay":
                await self._pay(one, invoices)
            case "close_period":
                await self.steering.act(
                    "netsuite",
                    "close_period",
                    date=one.at.date().isoformat(),
                    subsidiary=SUBSIDIARY[one.entity],
                )
            case unknown:
                raise ValueError(f"a plan knows no {unknown!r}")

    async def _sell(self, deal: Deal) -> None:
        account = self.seen.accounts.get(deal.customer)
        if account is None:
            customer = next(one for one in self.plan.customers if one.key == deal.customer)
            made = await self.steering.act("salesforce", "create_account", **customer.account())
            account = self.seen.accounts[deal.customer] = made["id"]
        sold = await self.steering.act("salesforce", "create_deal", **deal.opportunity(account))
        self.seen.opportunities[deal.key] = sold["id"]
        self.seen.deals[sold["id"]] = deal.key

    async def _invoices(self) -> dict[str, list[Any]]:
        """Every issued invoice as billing has it now, by deal, oldest first."""
        found: dict[str, list[Any]] = defaultdict(list)
        everything = await self.steering.act("stripe", "snapshot", kinds=["invoices"])
        for objects in everything.values():
            for invoice in objects.get("invoices", ()):
                details = (invoice.get("parent") or {}).get("subscription_details") or {}
                deal = self.seen.deals.get((details.get("metadata") or {}).get("crm_opportunity", ""))
                if deal is not None and invoice["status"] != "draft":
                    found[deal].append(invoice)
        for invoices in found.values():
            invoices.sort(key=lambda one: (one["created"], one["number"] or ""))
        return found

    def _named(self, one: Happening, invoices: dict[str, list[Any]]) -> list[tuple[Deal, Any]]:
        """The nth invoice of each deal that the happening names."""
        return [(self.plan.deals[key], invoices[key][one.nth]) for key in one.deals]

    async def _card(self, deal: Deal, invoice: Any) -> None:
        await self.steering.act("stripe", "pay_invoice", account=ACCOUNT[deal.entity], invoice=invoice["id"])

    async def _wire(self, one: Happening, named: list[tuple[Deal, Any]]) -> None:
        first = named[0][0]
        attached = [
            {"invoice": invoice["id"], "amount": invoice["amount_remaining"] * one.percent // 100}
            for _, invoice in named
        ]
        amount = sum(part["amount"] for part in attached) + one.extra * MINOR.get(first.currency, 100)
        await self.steering.act(
            "stripe",
            "wire",
            account=ACCOUNT[first.entity],
            customer=named[0][1]["customer"],
            amount=amount,
            currency=first.currency,
            invoices=attached,
            reference=f"WIRE-{first.key}-{one.at:%m%d}",
        )

    async def _credit(self, deal: Deal, invoice: Any, percent: int, *, refund: bool) -> None:
        """A credit memo of so many per cent of the first line, with its tax."""
        line = invoice["lines"]["data"][0]
        part = {"type": "invoice_line_item", "invoice_line_item": line["id"]}
        amount = line["amount"] * percent // 100
        await self.steering.act(
            "stripe",
            "credit",
            account=ACCOUNT[deal.entity],
            invoice=invoice["id"],
            lines=[part | {"amount": amount}],
            refund=refund,
            reason="order_change",
        )

    async def _pay(self, one: Happening, invoices: dict[str, list[Any]]) -> None:
        """Who pays by habit pays most of what is open; a late payer waits for the next occasion."""
        for key, deal in self.plan.deals.items():
            if deal.habit not in ("card", "wire") or one.entity not in ("", deal.entity):
                continue
            for ordinal, invoice in enumerate(invoices.get(key, ())):
                if invoice["status"] != "open" or not invoice["amount_remaining"]:
                    continue
                if not self.draws.chance(80, key, ordinal, one.at.isoformat(), "pays"):
                    continue
                if deal.habit == "card":
                    await self._card(deal, invoice)
                else:
                    await self._wire(Happening(one.at, "wire", (key,), ordinal), [(deal, invoice)])
