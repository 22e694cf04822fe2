"""What a real ERP does not take: parked with the document, the cause in plain words and the remedy; and nothing half
posted, as the ERP itself shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.support import Served, serve
from tests.process.web_world import write_company
from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.party import Address
from tieout.canonical.write import CustomerWrite, DocumentLine, DocumentWrite, Write
from tieout.engine.ledger import kind_of
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts
from tieout.store import lanes
from tieout_lab.tryton.proxy import TrytonProxy
from tieout_lab.tryton.rpc import Rpc

ERP = "erp-main"
DAY = date(2026, 3, 10)
WAIT_SECONDS = 30
WRITES: dict[str, Write] = {}


@process("document")
async def one_document(run: Run, ref: Ref) -> None:
    """Make the document of this name, and post it."""
    write = WRITES[ref.id]
    run.decided(run.masterdata.legal_entity("us"), ERP)
    operation = f"{kind_of(write)}.create"
    facts = Facts(number=ref.id)
    if isinstance(write, DocumentWrite):
        facts = Facts(number=ref.id, amount_minor=write.total_minor, currency="USD", entity="us")
    receipt = await run.create(ERP, operation, write, source=ref, facts=facts)
    if isinstance(write, DocumentWrite):
        await run.posted(ERP, operation, receipt, source=ref)


def customer(name: str) -> CustomerWrite:
    return CustomerWrite(
        source=Ref(connection="crm-main", kind="account", id=name),
        name=name,
        email="",
        currencies=("USD",),
        billing_address=Address(line1="1 Market St", city="San Francisco", country="US"),
        shipping_address=Address(),
        subsidiary="1",
    )


def invoice(party: int, name: str, *, day: date = DAY, account: str = "4000", subsidiary: str = "1") -> Write:
    line = DocumentLine(item="", account=account, description="Platform", quantity=None, net_minor=10_000)
    journal = tuple(
        JournalLine(account=code, amount_minor=amount, currency="USD", entity="us")
        for code, amount in (("1100", 10_000), (account, -10_000))
    )
    return DocumentWrite(
        kind="invoice", reason="finalised", source=Ref(connection="billing-us", kind="invoice", id=name),
        number=name, entity="us", subsidiary=subsidiary, customer=str(party), currency="USD", day=day,
        due=day + timedelta(days=30), lines=(line,), net_minor=10_000, tax_minor=0, total_minor=10_000,
        journal=journal,
    )  # fmt: skip


@dataclass
class Books:
    """A hub over the real server, and the server's own side of it."""

    app: App
    served: Served
    rpc: Rpc

    def party(self, code: str) -> int:
        """Somebody's customer, made over there."""
        address = [["create", [{"street": "1 Market St", "city": "San Francisco"}]]]
        return self.rpc.create("party.party", name=code, code=code, addresses=address)

    async def ends(self, name: str, write: Write) -> tuple[str, str]:
        """Run the document until it rests: (state of its lane, what blocks it)."""
        WRITES[name] = write
        ref = Ref(connection="billing-us", kind="document", id=name)
        lane = {"lane_id": str(ref), "connection": ref.connection, "kind": ref.kind, "subject_id": ref.id}
        await self.app.hub.store.commit([(lanes.START, {**lane, "now": self.app.hub.now()})])
        self.app.worker.wake()
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                (row,) = await self.app.hub.store.fetch(lanes.BY_ID, {"lane_id": str(ref)})
                if row[4] in ("idle", "parked"):
                    return row[4], row[7]
                await asyncio.sleep(0.05)

    async def exception(self) -> dict[str, Any]:
        """The one exception that there is."""
        (found,) = await self.app.exceptions()
        return found

    def ledger(self) -> list[dict[str, Any]]:
        """What stands in the server's own ledger."""
        return list(self.served.act("trial_balance")["trial_balance"])

    def invoices(self) -> list[dict[str, Any]]:
        """Every invoice there is, whoever made it."""
        return self.rpc.rows("account.invoice", [], ["state", "number", "move"])

    async def nothing_made(self) -> None:
        assert (self.invoices(), self.ledger()) == ([], [])


@pytest.fixture
def served(tryton_proxy: TrytonProxy) -> Iterator[Served]:
    with serve(tryton_proxy) as running:
        yield running


@asynccontextmanager
async def opened(folder: Path, served: Served, more: str = "") -> AsyncIterator[Books]:
    """A hub whose one ERP is the real server."""
    path = write_company(folder)
    told = served.describe()
    head, _, tail = path.read_text().partition("[connections.erp-main]")
    erp = (
        f'[connections.erp-main]\nvendor = "tryton"\nurl = "{told["url"]}"\ndatabase = "{told["database"]}"\n'
        f'username = "{told["username"]}"\npassword = "file:erp.pem"\nlive = false\ntimeout_seconds = 20\n{more}\n'
        '[connections.erp-main.entities]\n1 = "us"\n2 = "jp"\n\n'
    )
    path.write_text(f"{head}{erp}[connections.crm-main]{tail.partition('[connections.crm-main]')[2]}")
    (folder / "erp.pem").write_text(told["password"])
    app = await compose(read_settings(path), system_ports())
    # Nobody answers for billing and CRM here: they are neither polled nor asked who they are.
    for name in ("billing-us", "billing-jp", "crm-main"):
        app.hub.connection(name).api = object()
    app.hub.processes = {**app.hub.processes, "document": one_document}
    await app.start()
    try:
        yield Books(app, served, served.app.server.rpc().company(1))
    finally:
        await app.stop()


@pytest.fixture
async def books(tmp_path: Path, served: Served) -> AsyncIterator[Books]:
    async with opened(tmp_path, served) as found:
        yield found


async def test_closed_period(books: Books) -> None:
    party = books.party("001A")
    books.served.act("close_period", date=DAY.isoformat(), company=1)
    assert await books.ends("in_1", invoice(party, "in_1")) == ("parked", "period|us|2026-03")
    found = await books.exception()
    assert (found["code"], found["document"], found["entity"]) == ("blocked_period", "us|2026-03", "us")
    assert found["cause"] == "the accounting period is closed: period 2026-03 is closed"
    assert "release of the waiting documents into an open period" in found["remedy"]
    await books.nothing_made()
    # Opened again over there, the document that it held back is posted, once.
    books.served.act("reopen_period", date=DAY.isoformat(), company=1)
    assert await books.ends("in_2", invoice(party, "in_2")) == ("idle", "")


async def test_unknown_account(books: Books) -> None:
    party = books.party("001A")
    assert await books.ends("in_1", invoice(party, "in_1", account="2410")) == (
        "parked",
        "mapping|erp-main|account|2410",
    )
    found = await books.exception()
    assert (found["code"], found["document"]) == ("blocked_mapping", "erp-main|account|2410")
    assert found["cause"] == "no active account '2410' in company 1"
    assert found["remedy"] == "create or activate it there, or correct the rule that names '2410'"
    await books.nothing_made()


async def test_inactive_party(books: Books) -> None:
    party = books.party("001A")
    books.rpc.do("party.party.write", [party], {"active": False})
    assert (await books.ends("in_1", invoice(party, "in_1")))[0] == "parked"
    found = await books.exception()
    assert (found["code"], found["number"], found["amount_minor"]) == ("INACTIVE_PARTY", "in_1", 10_000)
    assert found["document"] == "billing-us|document|in_1"
    assert found["cause"] == f"party {party} is not active: activate it there, then retry"
    await books.nothing_made()


async def test_party_that_was_deactivated_a_moment_ago_is_posted_nothing(books: Books) -> None:
    """What is remembered of a party is old by then: the draft's own read-back says so, before it is posted."""
    party = books.party("001A")
    assert await books.ends("in_1", invoice(party, "in_1")) == ("idle", "")
    ledger = books.ledger()
    books.rpc.do("party.party.write", [party], {"active": False})
    assert (await books.ends("in_2", invoice(party, "in_2")))[0] == "parked"
    found = await books.exception()
    assert (found["number"], "active" in found["cause"]) == ("in_2", True)
    assert books.ledger() == ledger
    assert sorted(one["state"] for one in books.invoices()) == ["draft", "posted"]


async def test_code_that_is_taken(books: Books) -> None:
    theirs = books.party("001A")
    assert (await books.ends("001A", customer("001A")))[0] == "parked"
    found = await books.exception()
    assert (found["code"], found["number"]) == ("CODE_TAKEN", "001A")
    assert f"the code 001A is that of party {theirs}, which is not ours" in found["cause"]
    assert "give that one another code there, or add" in found["cause"]
    parties = books.rpc.rows("party.party", [["code", "=", "001A"]], ["identifiers"])
    assert parties == [{"id": theirs, "identifiers": []}]


async def test_document_dated_before_the_last_of_its_sequence(tmp_path: Path, served: Served) -> None:
    async with opened(tmp_path, served, 'dating = "document"') as books:
        party = books.party("001A")
        assert await books.ends("in_1", invoice(party, "in_1", day=date(2026, 3, 20))) == ("idle", "")
        ledger = books.ledger()
        assert (await books.ends("in_2", invoice(party, "in_2", day=date(2026, 3, 5))))[0] == "parked"
        found = await books.exception()
        assert found["document"] == "billing-us|document|in_2"
        assert "date" in found["cause"]
        assert "stays as it is; mend the cause there, then retry" in found["cause"]
        assert books.ledger() == ledger
        (draft,) = (one for one in books.invoices() if one["state"] != "posted")
        assert (draft["state"], draft["number"], draft["move"]) == ("draft", None, None)


async def test_company_that_the_user_may_not_see(books: Books) -> None:
    party = books.party("001A")
    state = await books.ends("in_1", invoice(party, "in_1", subsidiary="77"))
    assert state == ("parked", "mapping|erp-main|subsidiary|77")
    found = await books.exception()
    assert found["cause"] == "company 77 is not one of those that the user may see"
    assert found["remedy"] == "add it to the companies of admin there, or correct the entity's subsidiary"
    await books.nothing_made()
