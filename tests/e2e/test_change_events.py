"""Change events over real gRPC into the whole hub: whatever becomes of the stream, each deal is billed, and once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tieout.app import App, compose, read_settings, system_ports
from tieout.system import SystemClock
from tieout_lab.company import write_company
from tieout_lab.conformance.world import Served, serve
from tieout_lab.twins import netsuite, stripe
from tieout_lab.twins.calls import reserve_port
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin

OUTAGE = timedelta(hours=73)
# Far less than the sweep beside the stream waits: what is billed in this time the stream told, or a sweep that it owed.
SOON_SECONDS = 120.0


class TwinClock(SystemTwinClock):
    """The twins' clock, which the test can put on."""

    shift = timedelta()

    def technical(self) -> datetime:
        return super().technical() + self.shift


class HubClock(SystemClock):
    """The hub's clock, put on with the twins'."""

    def __init__(self, other: TwinClock) -> None:
        super().__init__()
        self.other = other

    def now(self) -> datetime:
        return super().now() + self.other.shift


class Company:
    """Three twins behind sockets, and a hub that lives where it is told to."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.clock = TwinClock()
        kept = reserve_port()
        stack.callback(kept.close)
        self.crm = stack.enter_context(serve(SalesforceTwin(self.clock, pubsub_port=kept.getsockname()[1])))
        self.billing = stack.enter_context(serve(stripe.create(self.clock)))
        self.erp = stack.enter_context(serve(netsuite.create(self.clock)))
        twins: dict[str, Served] = {"salesforce": self.crm, "stripe": self.billing, "netsuite": self.erp}
        described = {name: twin.describe() for name, twin in twins.items()}
        self.file = write_company(folder, described, feed="pubsub", poll_seconds=1, timeout_seconds=5)
        self.billing.act("seed_catalogue")
        self.account = self.crm.act(
            "create_account",
            name="Acme",
            CurrencyIsoCode="USD",
            Invoice_Email__c="ap@acme.example",
            Payment_Terms__c="NET30",
            billing={
                "street": "1 Main St",
                "city": "Oakland",
                "state": "CA",
                "postal_code": "94607",
                "country": "US",
            },
        )["id"]
        self.deals: list[str] = []

    async def start(self) -> App:
        app = await compose(read_settings(self.file), system_ports(HubClock(self.clock)))
        await app.start()
        return app

    def sell(self) -> str:
        # Yesterday, which has begun everywhere.
        day = (datetime.now(UTC) + self.clock.shift - timedelta(days=1)).date().isoformat()
        deal = self.crm.act(
            "create_deal", account=self.account, name=f"Deal {len(self.deals)}", currency="USD", legal_entity="us",
            contract_start=day, close_date=day, term_months=12, billing_frequency="Monthly", payment_terms="NET30",
            lines=[{"product": "PLATFORM", "quantity": 1, "unit_price": "50"}],
        )["id"]  # fmt: skip
        self.deals.append(deal)
        return str(deal)

    def billed(self) -> Counter[str]:
        """Subscriptions by deal."""
        found = self.billing.act("snapshot", account="acct_us", kinds=["subscriptions"])["acct_us"]
        return Counter(one["metadata"]["crm_opportunity"] for one in found.get("subscriptions", []))

    async def all_billed(self) -> None:
        """Every deal so far has its one subscription, soon."""
        await until(lambda: self.billed() == dict.fromkeys(self.deals, 1), lambda: self.billed())

    def presets(self) -> list[str]:
        """How the stream was subscribed, each time."""
        return [one["preset"] for one in self.crm.act("streams")["journal"]]


async def until(true: Callable[[], bool], shown: Callable[[], Any]) -> None:
    """Wait for something that is to be so soon."""
    waited = 0.0
    while not await asyncio.to_thread(true):
        assert waited < SOON_SECONDS, shown()
        await asyncio.sleep(0.1)
        waited += 0.1


async def test_no_deal_is_lost_and_none_is_billed_twice_over_real_grpc(tmp_path: Path) -> None:
    with ExitStack() as stack:
        company = Company(tmp_path, stack)
        crm = company.crm
        app = await company.start()
        try:
            first = company.sell()
            await company.all_billed()
            company.sell()  # told by the stream: from here on there is a position in it
            await company.all_billed()
            await until(lambda: company.presets() == ["LATEST"], company.presets)

            crm.act("update", object="Opportunity", id=first, fields={"PO_Number__c": "PO-2"})
            crm.act("delete", object="Opportunity", id=first)
            await until_open(app, "deleted")
            crm.act("undelete", object="Opportunity", id=first)

            crm.act("expire_sessions")
            crm.act("end_streams")
            company.sell()
            await company.all_billed()
            await until(lambda: company.presets() == ["LATEST", "CUSTOM"], company.presets)

            for kind in ("GAP_CREATE", "GAP_OVERFLOW"):
                crm.act("lose_events", lose=True)
                lost = company.sell()
                crm.act("lose_events", lose=False)
                ids = [lost] if kind == "GAP_CREATE" else []
                crm.act("publish_gap", object="Opportunity", type=kind, ids=ids)
                await company.all_billed()

            crm.act("garble_events", count=1000)
            company.sell()
            await company.all_billed()
            crm.act("garble_events", count=0)

            # The org moves: the saved replay id is refused, and nothing of the time before is ever streamed again.
            crm.act("lose_events", lose=True)
            company.sell()
            crm.act("reset_event_bus")
            crm.act("lose_events", lose=False)
            await company.all_billed()
            await until(lambda: company.presets()[-2:] == ["CUSTOM", "LATEST"], company.presets)

            for _ in range(120):  # more than may be outstanding
                crm.act("update", object="Account", id=company.account, fields={"Phone": "1"})
            for _ in range(30):
                company.sell()
            await company.all_billed()
        finally:
            await app.stop()

        before = len(company.presets())
        company.sell()
        company.clock.shift = OUTAGE
        company.sell()
        app = await company.start()
        try:
            await company.all_billed()
            # The id that was saved has expired: the vendor refuses it, and the sweep has told what it missed.
            await until(lambda: len(company.presets()) >= before + 2, company.presets)
            assert company.presets()[before : before + 2] == ["CUSTOM", "LATEST"]
            company.sell()
            await company.all_billed()
        finally:
            await app.stop()
        assert company.billed() == dict.fromkeys(company.deals, 1)


async def until_open(app: App, word: str) -> None:
    """Wait for an exception whose cause has this word."""
    waited = 0.0
    while not any(word in str(one["cause"]) for one in await app.exceptions()):
        assert waited < SOON_SECONDS, await app.exceptions()
        await asyncio.sleep(0.1)
        waited += 0.1
