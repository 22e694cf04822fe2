"""The NetSuite twin: deposits and their applications, journals that wait, adjustment periods, contention."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.conformance.support import Served, serve
from tests.conformance.twins.netsuite_client import Client, assert_books, ledger
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite import create

DAY = datetime(2026, 1, 20, 20, tzinfo=UTC)


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(create(SystemTwinClock(business=DAY))) as twin:
        yield twin
        assert_books(twin)


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served)


def deposit(client: Client, customer: str, payment: Any, **more: Any) -> str:
    body = {
        "externalId": "D1",
        "customer": {"id": customer},
        "account": {"id": "1050"},
        "payment": payment,
        "tranDate": "2026-01-10",
        **more,
    }
    return client.post("customerDeposit", body)


def applied(client: Client, deposit_: str, **parts: Any) -> Any:
    lines = [
        {"doc": {"id": doc.removeprefix("i")}, "apply": True, "amount": part} for doc, part in parts.items()
    ]
    body = {"tranDate": "2026-01-20", "apply": {"items": lines}}
    return client.send("POST", f"customerDeposit/{deposit_}/!transform/depositApplication", body)


def test_a_deposit_stands_in_a_liability_until_it_is_applied(client: Client, served: Served) -> None:
    customer = client.customer()
    id_ = deposit(client, customer, 120)
    assert ledger(served, id_) == {"1050": 12000, "2300": -12000}
    assert client.get(f"customerDeposit/{id_}")["status"]["id"] == "A"
    invoice = client.plain_invoice(customer, "K1", 100)
    part = applied(client, id_, **{f"i{invoice}": 60}).id
    assert ledger(served, part) == {"1100": -6000, "2300": 6000}
    shown = client.get(f"depositApplication/{part}?expandSubResources=true")
    assert (shown["deposit"]["id"], shown["applied"], shown["unapplied"]) == (id_, 60, 0)
    assert [line["doc"]["id"] for line in shown["apply"]["items"]] == [invoice]
    assert client.get(f"invoice/{invoice}")["amountRemaining"] == 40
    (row,) = client.rows(f"SELECT type, foreignpaymentamountunused FROM transaction WHERE id = {id_}")
    assert row == {"type": "CustDep", "foreignpaymentamountunused": "60"}
    assert applied(client, id_, **{f"i{invoice}": 41}).status == 400  # more than is due
    second = client.plain_invoice(customer, "K2", 500)
    assert "exceeds" in applied(client, id_, **{f"i{second}": 61}).error["detail"]
    applied(client, id_, **{f"i{second}": 60})
    assert client.get(f"customerDeposit/{id_}")["status"]["id"] == "C"
    assert applied(client, id_, **{f"i{second}": 1}).status == 400
    assert client.send("PATCH", f"customerDeposit/{id_}", {"payment": 500}).status == 400
    assert client.send("DELETE", f"customerDeposit/{id_}").status == 400
    assert client.send("DELETE", f"depositApplication/{part}").status == 204
    assert client.get(f"invoice/{invoice}")["amountRemaining"] == 100
    assert client.get(f"customerDeposit/{id_}")["status"]["id"] == "A"


def test_a_deposit_in_another_currency_realises_its_difference(client: Client, served: Served) -> None:
    customer = client.customer()
    id_ = deposit(client, customer, 100, currency={"id": "2"}, tranDate="2025-12-10")  # at 1.08
    invoice = client.plain_invoice(customer, "K1", 100, currency={"id": "2"})  # at 1.10
    part = applied(client, id_, **{f"i{invoice}": 100}).id
    assert ledger(served, part) == {"2300": 10800, "1100": -11000, "7100": 200}


def test_a_deposit_application_is_made_from_a_deposit_only(client: Client) -> None:
    customer = client.customer()
    invoice = client.plain_invoice(customer, "K1", 100)
    refused = client.send("POST", "depositApplication", {"customer": {"id": customer}})
    assert refused.code == "USER_ERROR"
    refused = client.send("POST", f"invoice/{invoice}/!transform/depositApplication", {})
    assert refused.code == "INVALID_PARAMETER"
    id_ = deposit(client, customer, 10)
    assert client.send("POST", f"customerDeposit/{id_}/!transform/depositApplication", {}).status == 400


def test_journals_wait_for_approval_where_the_account_says_so(client: Client, served: Served) -> None:
    served.act("preferences", approve_journals=True)
    lines = [{"account": {"id": "4000"}, "debit": 5}, {"account": {"id": "2400"}, "credit": 5}]
    body = {"subsidiary": {"id": "1"}, "tranDate": "2026-01-20", "line": {"items": lines}}
    id_ = client.post("journalEntry", body)
    shown = client.get(f"journalEntry/{id_}")
    assert (shown["approved"], shown["approvalStatus"]["id"]) == (False, "1")
    assert ledger(served, id_) == {}
    assert client.send("PATCH", f"journalEntry/{id_}", {"approvalStatus": {"id": "2"}}).status == 204
    assert ledger(served, id_) == {"4000": 500, "2400": -500}


def test_an_adjustment_period_has_to_be_named(client: Client) -> None:
    rows = client.rows("SELECT id, periodname, startdate FROM accountingperiod WHERE isadjust = 'T'")
    assert [row["periodname"] for row in rows] == ["Adjust FY 2025", "Adjust FY 2026", "Adjust FY 2027"]
    customer = client.customer()
    plain = client.plain_invoice(customer, "K1", 1, tranDate="2026-12-31")
    assert client.get(f"invoice/{plain}")["postingPeriod"]["refName"] == "Dec 2026"
    period = {"postingPeriod": {"id": rows[1]["id"]}}
    named = client.plain_invoice(customer, "K2", 1, tranDate="2026-12-31", **period)
    assert client.get(f"invoice/{named}")["postingPeriod"]["refName"] == "Adjust FY 2026"


def test_a_record_that_somebody_else_saves_or_a_workflow_locks(client: Client, served: Served) -> None:
    customer = client.customer()
    served.act("contend", type="customer", id=customer)
    assert client.send("PATCH", f"customer/{customer}", {"email": "a@b.test"}).code == "RCRD_HAS_BEEN_CHANGED"
    assert client.send("PATCH", f"customer/{customer}", {"email": "a@b.test"}).status == 204
    served.act("lock", type="customer", id=customer, reads=True)
    assert client.send("GET", f"customer/{customer}").code == "USER_ERROR"
    assert client.rows(f"SELECT id FROM customer WHERE id = {customer}") == [{"id": customer}]
    served.act("unlock", type="customer", id=customer)
    assert client.get(f"customer/{customer}")["email"] == "a@b.test"


def test_jobs_are_forgotten_after_a_day(client: Client, served: Served) -> None:
    body = {"items": [{"companyName": "N", "subsidiary": {"id": "1"}}]}
    headers = {
        "prefer": "respond-async",
        "content_type": "application/vnd.oracle.resource+json; type=collection",
        "x_netsuite_idempotency_key": "1d0b7a2e-0000-4000-8000-000000000001",
    }
    location = client.send("POST", "customer", body, **headers).headers["location"]
    path = location[location.index("/services") :]
    assert client.send("GET", path).status == 200
    served.act("preferences", job_hours=0)
    assert client.send("GET", path).status == 404
    assert client.send("POST", "customer", body, **headers).status == 202  # its key is forgotten with it
