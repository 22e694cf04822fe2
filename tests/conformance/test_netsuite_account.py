"""What the account holds beside our documents: deposits, periods of every kind, limits, records that others change."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.conformance.support import RealClock, Served, open_world, serve
from tests.conformance.test_netsuite_connector import (
    BILLING_DAY,
    config_of,
    confirmed,
    customer,
    document,
    keys,
    new_customer,
    payment,
)
from tests.conformance.twins.netsuite_client import Client
from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Confirmed, Misconfigured, NotFound, Rejected, Transient
from tieout.canonical.write import RefundWrite
from tieout.connectors.contract import World
from tieout.connectors.netsuite import CONNECTOR
from tieout.connectors.netsuite.connection import NetSuite
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite.twin import NetSuiteTwin


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(NetSuiteTwin(SystemTwinClock(business=BILLING_DAY))) as served:
        yield served


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with open_world(clock=RealClock()) as opened:
        yield opened


@pytest.fixture
def connection(twin: Served, world: World) -> NetSuite:
    opened: NetSuite = CONNECTOR.open("netsuite-main", config_of(twin), world)
    return opened


async def test_receivables_tie_with_what_a_person_applies_from_a_deposit(
    twin: Served, connection: NetSuite
) -> None:
    """A person takes a deposit in euros and applies a part of it: control account and subledger still agree."""
    buyer = await new_customer(connection)
    line = document(buyer).lines[1]
    given: dict[str, Any] = {"currency": "EUR", "lines": (line,), "net_minor": 20001, "tax_minor": 0}
    invoice = await confirmed(
        connection, "invoice.create", document(buyer, **given, total_minor=20001, journal=()), 1
    )
    person = Client(twin)
    taken = {
        "customer": {"id": buyer},
        "account": {"id": "1050"},
        "currency": {"id": "2"},
        "payment": 150,
        "tranDate": "2025-12-10",
    }
    deposit = person.post("customerDeposit", taken)
    part = {
        "tranDate": "2026-01-20",
        "apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 99.99}]},
    }
    made = person.send("POST", f"customerDeposit/{deposit}/!transform/depositApplication", part)
    assert made.status == 204
    balances = await connection.balances()
    assert sum(one.balance_minor for one in balances) == 0
    receivables = [one for one in balances if one.account == "1100"]
    assert sum(one.balance_minor for one in receivables) == sum(
        one.subledger_minor or 0 for one in receivables
    )
    (listed,) = [one async for one in connection.documents("invoice")]
    assert listed.open_minor == 20001 - 9999


async def test_a_credit_memo_made_out_of_its_invoice_is_the_one_that_was_asked_for(
    twin: Served, world: World
) -> None:
    connection = CONNECTOR.open("netsuite-main", config_of(twin, transform_credits=True), world)
    buyer = await new_customer(connection)
    invoice = await confirmed(connection, "invoice.create", document(buyer), 1)
    memo = document(buyer, 2, kind="credit_memo", reason="credited", due=None, applies_to=((invoice, 5000),))
    for _ in range(2):
        id_ = await confirmed(connection, "credit_memo.create", memo, 2)
    verified = await connection.verify_document("credit_memo.create", memo, id_)
    assert verified.differences == ()
    (listed,) = [one async for one in connection.documents("credit_memo")]
    assert listed.settled == ((invoice, 5000),)
    assert Client(twin).get(f"creditMemo/{id_}")["createdFrom"]["id"] == invoice


async def test_unapplying_and_applying_elsewhere(connection: NetSuite) -> None:
    buyer = await new_customer(connection)
    invoices = [await confirmed(connection, "invoice.create", document(buyer, n), n) for n in (1, 2)]
    money = await confirmed(connection, "payment.create", payment(buyer, 5000), 3)
    memo = document(
        buyer, 4, kind="credit_memo", reason="credited", due=None, applies_to=((invoices[0], 500),)
    )
    credit = await confirmed(connection, "credit_memo.create", memo, 4)
    for kind, id_ in (("payment", money), ("credit_memo", credit)):
        target = Ref(connection="netsuite-main", kind=kind, id=id_)
        for wanted in (((invoices[0], 400),), ((invoices[1], 300), (invoices[0], 100)), ()):
            fields: Any = {"applications": wanted, "currency": "USD"}
            assert isinstance(await connection.assign(target, "applications", fields, keys(5)), Confirmed)
            assert await connection.read_back(target, "applications", fields) == fields
    refund = RefundWrite(
        source=Ref(connection="billing", kind="refund", id="re_1"),
        entity="us",
        subsidiary="1",
        customer=buyer,
        account="1050",
        currency="USD",
        amount_minor=5000,
        day=memo.day,
        settles=((money, 5000),),
        journal=(),
    )
    await confirmed(connection, "refund.create", refund, 6)
    target = Ref(connection="netsuite-main", kind="payment", id=money)
    again = await connection.assign(
        target, "applications", {"applications": ((invoices[0], 1),), "currency": "USD"}, keys(7)
    )
    assert isinstance(again, Rejected)  # what was refunded can settle nothing more


async def test_periods_are_the_months_that_documents_fall_into(twin: Served, connection: NetSuite) -> None:
    periods = await connection.periods("1")
    assert len(periods) == 36  # no year, no quarter, no adjustment
    assert [one.start for one in periods] == sorted(one.start for one in periods)
    twin.act("lock_period", period="Jan 2026")
    by_name = {one.name: one.status for one in await connection.periods("1")}
    assert (by_name["Jan 2026"], by_name["Feb 2026"]) == ("locked", "open")
    buyer = await new_customer(connection)
    outcome = await connection.send("invoice.create", document(buyer), keys(1))
    assert isinstance(outcome, Misconfigured)
    assert outcome.key == "us|2026-01"


async def test_periods_by_record_where_they_cannot_be_queried(
    twin: Served, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = CONNECTOR.open("netsuite-main", config_of(twin, page_size=10), world)
    queried = await connection.periods("1")
    monkeypatch.setattr(
        "tieout.connectors.netsuite.catalogue.PERIODS", "SELECT nothing FROM accountingperiod"
    )
    assert await connection.periods("1") == queried


async def test_more_calls_at_once_than_the_account_may_have_are_told(twin: Served, world: World) -> None:
    connection = CONNECTOR.open("netsuite-main", config_of(twin, in_flight=20), world)
    (found,) = [one for one in await connection.check() if one.subject == "concurrency"]
    assert (found.level, "15" in found.message) == ("error", True)
    twin.act("preferences", administrator=False)
    assert [one for one in await connection.check() if one.subject == "concurrency"] == []


async def test_a_record_that_somebody_else_saves_meanwhile_is_tried_again(
    twin: Served, connection: NetSuite
) -> None:
    buyer = await new_customer(connection)
    target = Ref(connection="netsuite-main", kind="customer", id=buyer)
    twin.act("contend", type="customer", id=buyer)
    first = await connection.assign(target, "customer", {"email": "a@b.test"}, keys(1))
    assert isinstance(first, Transient)
    assert isinstance(await connection.assign(target, "customer", {"email": "a@b.test"}, keys(1)), Confirmed)
    twin.act("lock", type="customer", id=buyer, reads=True)
    locked = await connection.assign(target, "customer", {"email": "c@d.test"}, keys(2))
    assert isinstance(locked, Rejected)
    assert "locked" in locked.message


async def test_one_account_that_buys_from_two_entities_is_two_customers(
    twin: Served, connection: NetSuite
) -> None:
    """ADR 4: the customer of an ERP is a CRM account and a legal entity; the field names both."""
    sources = {
        subsidiary: f"0015g00000AbCdEAAX#{entity}" for subsidiary, entity in (("1", "us"), ("2", "jp"))
    }
    made = {}
    for number, (subsidiary, source) in enumerate(sources.items()):
        plain = customer(subsidiary)
        write = type(plain)(
            **{
                **{name: getattr(plain, name) for name in plain.__struct_fields__},
                "source": Ref(connection="crm", kind="account", id=source),
            }
        )
        made[subsidiary] = await confirmed(connection, "customer.create", write, 50 + number)
        verified = await connection.verify_document("customer.create", write, made[subsidiary])
        assert verified.differences == ()
    assert made["1"] != made["2"]
    held = {one["crm_account"]: one["subsidiary"] for one in twin.act("snapshot")["customers"]}
    assert held == {source: subsidiary for subsidiary, source in sources.items()}
    with pytest.raises(NotFound):
        await connection.read_back(
            Ref(connection="netsuite-main", kind="customer", id="99999"), "customer", {"email": ""}
        )
