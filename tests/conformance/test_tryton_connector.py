"""The Tryton connector against the real server: what its idioms do to our contract. Skipped without PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.conformance.support import Served, open_world, serve
from tieout.canonical.ids import Ref
from tieout.canonical.journal import JournalLine
from tieout.canonical.outcome import Absent, Confirmed, Failure, Found, Misconfigured, Rejected, Transient
from tieout.canonical.party import Address
from tieout.canonical.secret import Secret
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    RefundWrite,
    TaxDetail,
)
from tieout.connectors.contract import Keys, World
from tieout.connectors.tryton import CONNECTOR
from tieout.connectors.tryton.config import TrytonConfig
from tieout.ports import Request, Response
from tieout.system import AiohttpTransport
from tieout_lab.conformance.world import RecordingTransport
from tieout_lab.tryton.proxy import TrytonProxy
from tieout_lab.tryton.server import Server

DAY = date(2026, 3, 2)
CURRENCY, COMPANY = "USD", "1"


@pytest.fixture
def served(tryton_proxy: TrytonProxy) -> Iterator[Served]:
    with serve(tryton_proxy) as running:
        yield running


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world() as opened:
        yield opened


def opened(served: Served, world: World, **changes: Any) -> Any:
    told = served.describe()
    given = {name: told[name] for name in ("url", "database", "username")} | changes
    config = TrytonConfig(
        **given, password=Secret(told["password"]), live=False, entities={"1": "us", "2": "jp"}
    )
    return CONNECTOR.open("tryton", config, world)


@pytest.fixture
def connection(served: Served, world: World) -> Any:
    return opened(served, world)


def keys(name: str) -> Keys:
    return Keys(effect=name, document=name.upper().replace("-", "")[:16].rjust(16, "0"), wire=f"{name}#1")


def customer(name: str = "001A", **more: Any) -> CustomerWrite:
    given: dict[str, Any] = {
        "source": Ref(connection="crm", kind="account", id=name),
        "name": "Acme",
        "email": "ap@acme.example",
        "currencies": (CURRENCY,),
        "billing_address": Address(line1="1 Market St", city="San Francisco", country="US"),
        "shipping_address": Address(),
        "subsidiary": COMPANY,
        "terms": "2",
    }
    return CustomerWrite(**given | more)


def entry(account: str, amount: int) -> JournalLine:
    return JournalLine(account=account, amount_minor=amount, currency=CURRENCY, entity="us")


def document(buyer: str, name: str, *, kind: str = "invoice", net: int = 10000, **more: Any) -> DocumentWrite:
    """Two lines, one of them deferred, and a tax that no rate gives."""
    sign = 1 if kind == "invoice" else -1
    tax = net * 7 // 100 + 1
    half = net // 2
    detail = TaxDetail(
        code="CA_725", jurisdiction="US-CA", rate_percent=Decimal("7.25"), basis_minor=net, tax_minor=tax
    )
    lines = (
        DocumentLine(
            item="", account="2400", description="Platform", quantity=Decimal(3), net_minor=half,
            department="10", service_start=DAY, service_end=date(2026, 4, 1), taxes=(detail,), source_line="il_1",
        ),
        DocumentLine(item="", account="4000", description="Onboarding", quantity=None, net_minor=net - half),
    )  # fmt: skip
    given: dict[str, Any] = {
        "kind": kind,
        "reason": "finalised" if kind == "invoice" else "credited",
        "source": Ref(connection="billing", kind=kind, id=name),
        "number": name.upper(),
        "entity": "us",
        "subsidiary": COMPANY,
        "customer": buyer,
        "currency": CURRENCY,
        "day": DAY,
        "due": DAY + timedelta(days=30),
        "lines": lines,
        "net_minor": net,
        "tax_minor": tax,
        "total_minor": net + tax,
        "journal": (
            entry("1100", sign * (net + tax)),
            entry("2400", -sign * half),
            entry("4000", -sign * (net - half)),
            entry("2200", -sign * tax),
        ),
    }
    return DocumentWrite(**given | more)


def payment(buyer: str, name: str, amount: int) -> PaymentWrite:
    return PaymentWrite(
        source=Ref(connection="billing", kind="payment", id=name),
        entity="us",
        subsidiary=COMPANY,
        customer=buyer,
        account="1050",
        currency=CURRENCY,
        amount_minor=amount,
        day=DAY + timedelta(days=3),
        journal=(entry("1050", amount), entry("1100", -amount)),
    )


def payout(name: str, net: int, fees: int, **more: Any) -> JournalWrite:
    lines = (entry("1000", net), entry("6100", fees), entry("1050", -net - fees))
    given: dict[str, Any] = {
        "reason": "payout",
        "source": Ref(connection="billing", kind="payout", id=name),
        "number": name,
        "entity": "us",
        "subsidiary": COMPANY,
        "currency": CURRENCY,
        "amount_minor": net + fees,
        "day": DAY + timedelta(days=6),
        "journal": tuple(line for line in lines if line.amount_minor),
    }
    return JournalWrite(**given | more)


async def make(connection: Any, operation: str, write: Any, name: str) -> str:
    made = await connection.send(operation, write, keys(name))
    assert isinstance(made, Confirmed), made
    return str(made.receipt.external_id)


async def post(connection: Any, kind: str, id: str, *, applies_to: Any = ()) -> Any:
    write = ApproveWrite(document=id, kind=kind, applies_to=applies_to)
    return await connection.send(f"{kind}.post", write, keys(f"post-{id}"))


async def standing(connection: Any, kind: str) -> dict[str, Any]:
    return {one.id: one async for one in connection.documents(kind)}


async def buyer(connection: Any) -> str:
    return await make(connection, "customer.create", customer(), "c-1")


# ------------------------------------------------------------------------------------------------------- a whole life


async def test_documents_lead_to_the_lines_that_were_decided(served: Served, connection: Any) -> None:
    """Invoice, payment in parts, credit memo, refund: the server's own ledger shows the posting table's lines, and
    what settles what is the server's own, too."""
    who = await buyer(connection)
    asked = document(who, "in-1")
    invoice = await make(connection, "invoice.create", asked, "in-1")
    verified = await connection.verify_document("invoice.create", asked, invoice)
    assert (verified.differences, verified.receipt.posted) == ((), False)
    posted = await post(connection, "invoice", invoice)
    assert posted.receipt.posted
    assert posted.receipt.number
    total = asked.total_minor

    money = payment(who, "py-1", total + 500)
    paid = await make(connection, "payment.create", money, "py-1")
    assert (await connection.verify_document("payment.create", money, paid)).differences == ()
    assert isinstance(await post(connection, "payment", paid), Confirmed)
    target = Ref(connection="tryton", kind="payment", id=paid)

    async def settle(amount: int) -> None:
        fields = {"applications": ((invoice, amount),) if amount else (), "currency": CURRENCY}
        for _ in range(2):  # idempotent
            assert isinstance(await connection.assign(target, "applications", fields, keys("a-1")), Confirmed)
        assert await connection.read_back(target, "applications", fields) == fields

    for amount in (4000, total, 3000):  # a part, all of it, less again
        await settle(amount)
        listed = (await standing(connection, "invoice"))[invoice]
        assert listed.open_minor == total - amount

    memo = document(
        who, "cn-1", kind="credit_memo", net=2000, applies_to=((invoice, 1000),), day=DAY + timedelta(days=4)
    )
    credit = await make(connection, "credit_memo.create", memo, "cn-1")
    assert (await connection.verify_document("credit_memo.create", memo, credit)).differences == ()
    for _ in range(2):
        assert isinstance(
            await post(connection, "credit_memo", credit, applies_to=memo.applies_to), Confirmed
        )
    # Posted and settled but not tied, as when an answer was lost in between: not done, and posting again does the rest.
    rpc = served.app.server.rpc()
    (tied,) = rpc.rows("account.invoice", [["id", "=", int(credit[1:])]], ["payment_lines"])
    rpc.do("account.invoice.write", [int(credit[1:])], {"payment_lines": [["remove", tied["payment_lines"]]]})
    posting = ApproveWrite(document=credit, kind="credit_memo", applies_to=memo.applies_to)
    assert isinstance(
        await connection.find("credit_memo.post", posting, keys("f-1"), datetime.now(UTC)), Absent
    )
    assert isinstance(await post(connection, "credit_memo", credit, applies_to=memo.applies_to), Confirmed)
    assert isinstance(
        await connection.find("credit_memo.post", posting, keys("f-1"), datetime.now(UTC)), Found
    )
    left = memo.total_minor - 1000
    back = RefundWrite(
        source=Ref(connection="billing", kind="refund", id="re-1"), entity="us", subsidiary=COMPANY, customer=who,
        account="1050", currency=CURRENCY, amount_minor=left, day=DAY + timedelta(days=5), settles=((credit, left),),
        journal=(entry("1100", left), entry("1050", -left)),
    )  # fmt: skip
    refund = await make(connection, "refund.create", back, "re-1")
    assert (await connection.verify_document("refund.create", back, refund)).differences == ()
    assert isinstance(await post(connection, "refund", refund), Confirmed)

    invoices, memos = await standing(connection, "invoice"), await standing(connection, "credit_memo")
    payments, refunds = await standing(connection, "payment"), await standing(connection, "refund")
    assert (invoices[invoice].open_minor, memos[credit].open_minor) == (total - 4000, 0)
    assert (payments[paid].settled, payments[paid].open_minor) == (((invoice, 3000),), total + 500 - 3000)
    assert memos[credit].settled == ((invoice, 1000),)
    assert refunds[refund].settled == ((credit, left),)
    assert {one.document_key for one in (*invoices.values(), *payments.values())} == {
        keys("in-1").document,
        keys("py-1").document,
    }

    # The server's own trial balance, read by the lab alone.
    wanted: dict[str, int] = {}
    for write in (asked, money, memo, back):
        for line in write.journal:
            wanted[line.account] = wanted.get(line.account, 0) + line.amount_minor
    found = {row["account"]: row["net_minor"] for row in served.act("trial_balance")["trial_balance"]}
    assert found == {account: amount for account, amount in wanted.items() if amount}
    balances = await connection.balances()
    assert {one.account: one.balance_minor for one in balances} == found
    assert all(one.subledger_minor in (None, one.balance_minor) for one in balances)


async def test_a_journal_leads_to_the_lines_that_were_decided(served: Served, connection: Any) -> None:
    """Made as a draft, read back, posted; the server's own ledger shows it, and listings of money do not."""
    write = payout("po-1", 9_700, 300)
    id = await make(connection, "journal.create", write, "po-1")
    verified = await connection.verify_document("journal.create", write, id)
    assert (verified.differences, verified.receipt.posted, verified.receipt.total_minor) == (
        (),
        False,
        10_000,
    )
    other = await connection.verify_document("journal.create", payout("po-1", 9_600, 400), id)
    assert {field for field, _, _ in other.differences} == {"account:1000", "account:6100"}
    assert await connection.statuses("journal", (id,)) == {id: "created"}
    assert await connection.balances() == ()
    assert connection.approves(write)
    for _ in range(2):
        assert isinstance(await post(connection, "journal", id), Confirmed)
    assert await connection.statuses("journal", (id,)) == {id: "posted"}
    below = payout("po-2", -3_000, 0, amount_minor=3_000)
    second = await make(connection, "journal.create", below, "po-2")
    assert (await connection.verify_document("journal.create", below, second)).differences == ()
    assert isinstance(await post(connection, "journal", second), Confirmed)
    listed = await standing(connection, "journal")
    assert set(listed) == {id, second}
    one = listed[id]
    assert (one.total_minor, one.source, one.reason, one.document_key) == (
        10_000, "po-1", "payout", keys("po-1").document,
    )  # fmt: skip
    assert {account: amount for account, amount, _ in one.accounts} == {
        "1000": 9_700,
        "6100": 300,
        "1050": -10_000,
    }
    assert await standing(connection, "payment") == {}
    assert await standing(connection, "refund") == {}
    found = {row["account"]: row["net_minor"] for row in served.act("trial_balance")["trial_balance"]}
    assert found == {"1000": 6_700, "6100": 300, "1050": -7_000}
    assert {one.account: one.balance_minor for one in await connection.balances()} == found


async def test_a_journal_is_looked_up_and_kept_out_of_a_closed_period(
    served: Served, connection: Any
) -> None:
    write = payout("po-1", 9_700, 300)
    now = datetime.now(UTC)
    assert isinstance(await connection.find("journal.create", write, keys("po-1"), now), Absent)
    served.fail_once("timeout_after_work", "account.move.create")
    assert not isinstance(await connection.send("journal.create", write, keys("po-1")), Confirmed)
    served.faults()
    found = await connection.find("journal.create", write, keys("po-1"), now)
    assert isinstance(found, Found)
    assert not found.receipt.posted
    second = await make(connection, "journal.create", write, "po-1")
    found = await connection.find("journal.create", write, keys("po-1"), now)
    assert isinstance(found, Found)
    assert found.others == (second,)
    served.act("close_period", date="2026-05-10", company=1)
    closed = await connection.send(
        "journal.create", payout("po-3", 100, 1, day=date(2026, 5, 10)), keys("po-3")
    )
    assert isinstance(closed, Misconfigured)
    assert (closed.scope, closed.key) == ("period", "us|2026-05")


async def test_second_document_under_one_key_is_named(connection: Any) -> None:
    """Nothing of ours is unique there but a party's code: the look-up names the second one."""
    write = document(await buyer(connection), "in-1")
    first = await make(connection, "invoice.create", write, "in-1")
    second = await make(connection, "invoice.create", write, "in-1")
    found = await connection.find("invoice.create", write, keys("in-1"), datetime.now(UTC))
    assert isinstance(found, Found)
    assert (found.receipt.external_id, found.others) == (first, (second,))
    assert connection.operations["invoice.create"].uniqueness == "search_only"
    # A draft is found as a draft, and its posting is not found.
    assert not found.receipt.posted
    posting = ApproveWrite(document=first, kind="invoice")
    assert isinstance(await connection.find("invoice.post", posting, keys("p"), datetime.now(UTC)), Absent)


# ---------------------------------------------------------------------------------------------------------- bad input


async def test_what_cannot_stand_is_refused_and_nothing_is_made(
    served: Served, connection: Any, world: World
) -> None:
    who = await buyer(connection)
    served.act("close_period", date="2026-05-10", company=1)
    closed = await connection.send(
        "invoice.create", document(who, "in-2", day=date(2026, 5, 10)), keys("in-2")
    )
    assert isinstance(closed, Misconfigured)
    assert (closed.scope, closed.key) == ("period", "us|2026-05")
    line = DocumentLine(item="", account="9999", description="", quantity=None, net_minor=10000)
    unknown = await connection.send("invoice.create", document(who, "in-3", lines=(line,)), keys("in-3"))
    assert isinstance(unknown, Misconfigured)
    assert (unknown.scope, "9999" in unknown.message) == ("mapping", True)
    hidden = await connection.send("invoice.create", document(who, "in-4", subsidiary="77"), keys("in-4"))
    assert isinstance(hidden, Misconfigured)
    assert "company 77" in hidden.message
    foreign = await connection.send("invoice.create", document(who, "in-5", currency="EUR"), keys("in-5"))
    assert isinstance(foreign, Rejected)
    assert "USD" in foreign.message
    served.act("alter", table="party_party", id=who, column="active", value=False)
    # By a connection that does not remember the party as it was.
    fresh = opened(served, world)
    inactive = await fresh.send("invoice.create", document(who, "in-6"), keys("in-6"))
    assert isinstance(inactive, Rejected)
    assert "activate" in inactive.message
    snapshot = served.act("snapshot")
    assert snapshot["documents"] == []
    assert snapshot["trial_balance"] == []


async def test_code_of_somebody_elses_party_is_no_replay(served: Served, connection: Any) -> None:
    await make(connection, "customer.create", customer(), "c-1")
    taken = await connection.send("customer.create", customer(), keys("c-2"))
    assert isinstance(taken, Rejected)
    assert "001A" in taken.message
    assert len(served.act("snapshot")["customers"]) == 1


async def test_period_closed_between_making_and_posting(served: Served, connection: Any) -> None:
    """The draft stays a draft: no number, no move, nothing in the ledger."""
    invoice = await make(connection, "invoice.create", document(await buyer(connection), "in-1"), "in-1")
    served.act("close_period", date=DAY.isoformat(), company=1)
    refused = await post(connection, "invoice", invoice)
    assert isinstance(refused, Misconfigured)
    assert (refused.scope, refused.key) == ("period", "us|2026-03")
    (draft,) = served.act("snapshot")["documents"]
    assert (draft["number"], draft["posted"], draft["gl"]) == (None, False, [])


async def test_read_that_the_server_broke_off_is_asked_once_more(served: Served, connection: Any) -> None:
    await standing(connection, "invoice")
    for kind in ("error_before", "malformed"):
        served.fail_once(kind, "account.invoice.search_read")
        assert await standing(connection, "invoice") == {}
        served.faults(rates={kind: 1.0}, operations=["account.invoice.search_read"])
        with pytest.raises(Failure):
            await standing(connection, "invoice")
        served.faults()


async def test_page_that_repeats_is_refused(served: Served) -> None:
    """A listing whose next page is the last one again ends, and says why."""
    async with open_world(RecordingTransport(AiohttpTransport())) as world:
        connection = opened(served, world, page_size=1)
        await make(connection, "invoice.create", document(await buyer(connection), "in-1"), "in-1")
        await standing(connection, "invoice")
        pages: list[Response] = []

        def again(request: Request, answer: Response) -> Response:
            if request.operation != "list.invoice":
                return answer
            pages.append(pages[0] if pages else answer)
            return pages[0]

        assert isinstance(world.transport, RecordingTransport)
        world.transport.change = again
        with pytest.raises(Failure, match="repeats") as caught:
            await standing(connection, "invoice")
    assert isinstance(caught.value.outcome, Transient)
    assert len(pages) == 2


async def test_strict_sequence_refuses_an_earlier_date(served: Served, world: World) -> None:
    """With the document's own date on the invoice. By the date of posting the same documents go in any order."""
    strict = opened(served, world, dating="document")
    who = await buyer(strict)
    later = await make(strict, "invoice.create", document(who, "in-1", day=date(2026, 3, 20)), "in-1")
    assert isinstance(await post(strict, "invoice", later), Confirmed)
    earlier = await make(strict, "invoice.create", document(who, "in-2", day=date(2026, 3, 5)), "in-2")
    refused = await post(strict, "invoice", earlier)
    assert isinstance(refused, Rejected)
    assert earlier in refused.message
    draft = next(one for one in served.act("snapshot")["documents"] if one["id"] == earlier)
    assert (draft["number"], draft["posted"]) == (None, False)
    loose = opened(served, world)
    third = await make(loose, "invoice.create", document(who, "in-3", day=date(2026, 3, 4)), "in-3")
    assert isinstance(await post(loose, "invoice", third), Confirmed)


async def test_question_that_was_not_named_is_no_yes(served: Served, world: World) -> None:
    careful = opened(served, world, warnings=())
    invoice = await make(careful, "invoice.create", document(await buyer(careful), "in-1"), "in-1")
    refused = await post(careful, "invoice", invoice)
    assert isinstance(refused, Rejected)
    assert refused.code == "UserWarning"
    assert served.act("snapshot")["trial_balance"] == []


# ------------------------------------------------------------------------------------------------- the server's moods


async def test_session_that_has_ended_is_renewed(connection: Any, tryton_server: Server) -> None:
    await connection.identity()
    target = psycopg.conninfo.make_conninfo(tryton_server.postgres, dbname=tryton_server.database)
    with psycopg.connect(target, autocommit=True) as link:
        link.execute("DELETE FROM ir_session")
    assert await make(connection, "customer.create", customer(), "c-1")


async def test_posters_of_two_processes_post_once_each(served: Served, world: World) -> None:
    """Each keeps one poster per company; between them the server's lock says no, and no means that nothing was done."""
    one, two = opened(served, world), opened(served, world)
    who = await buyer(one)
    drafts = [
        await make(one, "invoice.create", document(who, f"in-{number}"), f"in-{number}")
        for number in range(3)
    ]

    async def insist(connection: Any, id: str) -> None:
        for _ in range(20):
            outcome = await post(connection, "invoice", id)
            if isinstance(outcome, Confirmed):
                return
            assert isinstance(outcome, Transient | Rejected), outcome
            await asyncio.sleep(0.2)
        raise AssertionError(f"{id} was never posted")

    await asyncio.gather(*(insist(connection, id) for id in drafts for connection in (one, two)))
    found = served.act("snapshot")["documents"]
    assert sorted(one["id"] for one in found) == sorted(drafts)
    assert all(one["posted"] for one in found)
    assert len({one["number"] for one in found}) == len(drafts)
    moved = sum(
        row["net_minor"] for row in served.act("trial_balance")["trial_balance"] if row["account"] == "1100"
    )
    assert moved == sum(one["total_minor"] for one in found)


async def test_one_poster_per_company_as_the_server_sees_it(served: Served, connection: Any) -> None:
    who = await buyer(connection)

    async def whole(number: int) -> None:
        name = f"in-{number}"
        id = await make(connection, "invoice.create", document(who, name), name)
        assert isinstance(await post(connection, "invoice", id), Confirmed)

    await asyncio.gather(*(whole(number) for number in range(4)))
    assert served.act("posters") == {"1": 1}
