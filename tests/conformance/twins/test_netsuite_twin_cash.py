"""The NetSuite twin: payments, credits, refunds, exchange differences, journals, periods, the ledger after each."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

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


# --------------------------------------------------------------------------------------------- payments and credits


def test_payment_partial_and_its_application_changed(client: Client, served: Served) -> None:
    customer = client.customer()
    first = client.plain_invoice(customer, "K1", 100)
    second = client.plain_invoice(customer, "K2", 50)
    id_ = client.payment(customer, "P1", 120, {first: 60})
    shown = client.get(f"customerPayment/{id_}")
    assert (shown["payment"], shown["applied"], shown["unapplied"]) == (120, 60, 60)
    assert shown["status"]["id"] == "B"  # a clearing account is no bank
    assert client.get(f"invoice/{first}")["amountRemaining"] == 40
    assert ledger(served, id_) == {"1050": 12000, "1100": -12000}
    merged = {"apply": {"items": [{"doc": {"id": second}, "apply": True, "amount": 50}]}}
    assert client.send("PATCH", f"customerPayment/{id_}", merged).status == 204
    assert client.get(f"customerPayment/{id_}")["unapplied"] == 10
    replaced = {"apply": {"items": [{"doc": {"id": first}, "apply": True, "amount": 100}]}}
    assert client.send("PATCH", f"customerPayment/{id_}?replace=apply", replaced).status == 204
    applied = client.get(f"customerPayment/{id_}/apply?expandSubResources=true")["items"]
    assert [(line["doc"]["id"], line["amount"], line["total"]) for line in applied] == [(first, 100, 100)]
    assert client.get(f"invoice/{second}")["status"]["id"] == "A"
    assert client.get(f"invoice/{first}")["status"] == {"id": "B", "refName": "Paid In Full"}
    taken_back = {"apply": {"items": [{"doc": {"id": first}, "apply": False}]}}
    client.send("PATCH", f"customerPayment/{id_}", taken_back)
    assert client.get(f"customerPayment/{id_}")["unapplied"] == 120
    assert client.get(f"invoice/{first}")["amountPaid"] == 0
    links = client.rows(f"SELECT previousdoc FROM nexttransactionlinelink WHERE nextdoc = {id_}")
    assert links == []


def test_payments_that_do_not_fit(client: Client) -> None:
    customer, other = client.customer(), client.customer("C2")
    invoice = client.plain_invoice(customer, "K1", 100)
    euro = client.plain_invoice(customer, "K2", 100, currency={"id": "2"})
    body = client.payment_body(customer, "P1", 200, {invoice: "100.01"})
    assert "exceeds the amount due" in client.send("POST", "customerPayment", body).error["detail"]
    body = client.payment_body(customer, "P1", 99, {invoice: 100})
    assert "exceeds the payment amount" in client.send("POST", "customerPayment", body).error["detail"]
    for who, doc in ((other, invoice), (customer, euro), (customer, "424242")):
        refused = client.send("POST", "customerPayment", client.payment_body(who, "P1", 100, {doc: 100}))
        assert refused.error["o:errorPath"].startswith("apply.items[0]")
    for account, detail in ((None, "Account"), ({"id": "4000"}, "Invalid account reference key")):
        body = client.payment_body(customer, "P1", 1, {}, account=account)
        assert detail in client.send("POST", "customerPayment", body).error["detail"]
    assert client.get(f"invoice/{invoice}")["amountRemaining"] == 100
    assert client.get("customerPayment")["totalResults"] == 0
    whole = {
        "customer": {"id": customer},
        "account": {"id": "1000"},
        "apply": {"items": [{"doc": {"id": invoice}, "apply": True}]},
    }
    shown = client.get(f"customerPayment/{client.post('customerPayment', whole)}")
    assert (shown["payment"], shown["status"]["refName"]) == (100, "Deposited")
    assert client.send("DELETE", f"invoice/{invoice}").code == "USER_ERROR"
    assert client.send("DELETE", f"customerPayment/{shown['id']}").status == 204
    assert client.get(f"invoice/{invoice}")["status"]["id"] == "A"
    assert client.send("DELETE", f"invoice/{invoice}").status == 204
    assert client.send("GET", f"invoice/{invoice}").status == 404


def test_credit_memo_and_refund(client: Client, served: Served) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    body = client.invoice_body(customer, "M1")
    body["tranDate"] = "2026-02-03"
    del body["taxDetails"]["items"][1], body["item"]["items"][1]
    body["apply"] = {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 72.50}]}
    memo = client.post("creditMemo", body)
    shown = client.get(f"creditMemo/{memo}")
    assert (shown["total"], shown["applied"], shown["unapplied"]) == (
        Decimal("1072.5"),
        Decimal("72.5"),
        1000,
    )
    assert (shown["tranId"], shown["postingPeriod"]["refName"]) == ("CM1001", "Feb 2026")
    assert ledger(served, memo) == {"1100": -107250, "2400": 100000, "2200": 7250}
    refund = {
        "externalId": "R1",
        "customer": {"id": customer},
        "account": {"id": "1050"},
        "paymentMethod": {"id": "4"},
        "tranDate": "2026-02-04",
        "apply": {"items": [{"doc": {"id": memo}, "apply": True, "amount": 400}]},
    }
    id_ = client.post("customerRefund", refund)
    assert client.get(f"customerRefund/{id_}")["total"] == 400
    assert ledger(served, id_) == {"1050": -40000, "1100": 40000}
    assert client.get(f"creditMemo/{memo}")["unapplied"] == 600
    refund["externalId"] = "R2"
    refund["apply"]["items"][0]["amount"] = "600.01"
    assert "exceeds the amount due" in client.send("POST", "customerRefund", refund).error["detail"]
    refund["apply"]["items"][0] = {"doc": {"id": invoice}, "apply": True, "amount": 1}
    assert "matching line" in client.send("POST", "customerRefund", refund).error["detail"]
    more = {"apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 700}]}}
    assert client.send("PATCH", f"creditMemo/{memo}", more).code == "USER_ERROR"  # 600 are left
    more["apply"]["items"][0]["amount"] = "672.50"
    assert client.send("PATCH", f"creditMemo/{memo}", more).status == 204
    assert client.get(f"creditMemo/{memo}")["status"] == {"id": "B", "refName": "Fully Applied"}


def test_refund_of_what_a_payment_left(client: Client) -> None:
    customer = client.customer()
    invoice = client.plain_invoice(customer, "K1", 100)
    paid = client.payment(customer, "P1", 130, {invoice: 100})
    body = {
        "customer": {"id": customer},
        "account": {"id": "1000"},
        "paymentOption": {"id": "4"},
        "apply": {"items": [{"doc": {"id": paid}, "apply": True}]},
    }
    refund = client.post("customerRefund", body)
    assert client.get(f"customerRefund/{refund}")["total"] == 30
    assert client.get(f"customerPayment/{paid}")["unapplied"] == 0
    del body["paymentOption"]
    assert "Refund Method" in client.send("POST", "customerRefund", body).error["detail"]


def test_transforms(client: Client) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    partial = {"externalId": "M1", "item": {"items": [{"line": 1, "amount": 100}]}, "tranDate": "2026-02-01"}
    partial["taxDetails"] = {"items": []}
    partial["item"]["items"].append({"line": 2, "amount": 0})
    memo = client.send("POST", f"invoice/{invoice}/!transform/creditMemo", partial).id
    shown = client.get(f"creditMemo/{memo}")
    assert (shown["total"], shown["status"]["id"], shown["createdFrom"]["id"]) == (100, "B", invoice)
    pay = {"account": {"id": "1050"}, "externalId": "P1", "tranDate": "2026-02-02"}
    paid = client.send("POST", f"invoice/{invoice}/!transform/customerPayment", pay).id
    assert client.get(f"customerPayment/{paid}")["payment"] == Decimal("1187.02")
    assert client.get(f"invoice/{invoice}")["status"]["id"] == "B"
    again = client.send("POST", f"invoice/{invoice}/!transform/customerPayment", {"account": {"id": "1050"}})
    assert again.code == "USER_ERROR"
    whole = client.invoice(customer, "K2")
    void = client.send("POST", f"invoice/{whole}/!transform/creditMemo", {"externalId": "M2"}).id
    assert client.get(f"creditMemo/{void}")["total"] == Decimal("1287.02")
    assert client.get(f"invoice/{whole}")["status"]["id"] == "B"
    assert client.send("POST", f"invoice/{whole}/!transform/cashSale", {}).status == 400


# ---------------------------------------------------------------------------------------------- exchange differences


def test_euro_paid_at_another_rate(client: Client, served: Served) -> None:
    customer = client.customer()
    invoice = client.plain_invoice(customer, "K1", 1000, currency={"id": "2"})
    assert client.get(f"invoice/{invoice}")["exchangeRate"] == Decimal("1.1")
    assert ledger(served, invoice) == {"1100": 110000, "4000": -110000}
    part = client.payment(customer, "P1", 400, {invoice: 400}, currency={"id": "2"}, tranDate="2026-02-10")
    assert client.get(f"customerPayment/{part}")["exchangeRate"] == Decimal("1.12")
    assert ledger(served, part) == {"1050": 44800, "1100": -44000, "7100": -800}  # a gain
    rest = client.payment(customer, "P2", 600, {}, currency={"id": "2"}, tranDate="2026-03-10")
    assert ledger(served, rest) == {"1050": 65400, "1100": -65400}
    served.act("close_period", period="Mar 2026")
    served.control("POST", "clock", {"business": "2026-04-02T12:00:00+00:00"})
    apply = {"apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 600}]}}
    assert client.send("PATCH", f"customerPayment/{rest}", apply).status == 204
    assert ledger(served, rest) == {"1050": 65400, "1100": -65400}  # its period is closed
    system = client.rows("SELECT id, postingperiod FROM transaction WHERE type = 'FxReval'")
    assert len(system) == 1
    assert ledger(served, system[0]["id"]) == {"1100": -600, "7100": 600}  # a loss
    assert client.get(f"invoice/{invoice}")["status"]["id"] == "B"
    assert_books(served)
    balance = {
        row["account"]: sum(
            r["net_minor"]
            for r in served.act("trial_balance")["trial_balance"]
            if r["account"] == row["account"]
        )
        for row in served.act("trial_balance")["trial_balance"]
    }
    assert balance["1100"] == 0
    take_back = {"apply": {"items": [{"doc": {"id": invoice}, "apply": False}]}}
    assert client.send("PATCH", f"customerPayment/{rest}", take_back).status == 204


def test_rounding_leaves_no_cent(client: Client, served: Served) -> None:
    customer = client.customer()
    lines = [{"item": {"id": "104"}, "amount": "33.33"} for _ in range(7)]
    invoice = client.plain_invoice(
        customer, "K1", 1, currency={"id": "2"}, item={"items": lines}, exchangeRate="1.0837"
    )
    parts = [Decimal("77.77"), Decimal("77.77"), Decimal("77.77")]
    for number, part in enumerate(parts):
        client.payment(
            customer,
            f"P{number}",
            str(part),
            {invoice: str(part)},
            currency={"id": "2"},
            exchangeRate=f"1.0{number}13",
        )
    assert client.get(f"invoice/{invoice}")["amountRemaining"] == 0
    assert (
        sum(r["net_minor"] for r in served.act("trial_balance")["trial_balance"] if r["account"] == "1100")
        == 0
    )


def test_a_credit_memo_at_another_rate_and_its_refund(client: Client, served: Served) -> None:
    customer = client.customer()
    memo = client.post(
        "creditMemo",
        {
            "entity": {"id": customer},
            "currency": {"id": "2"},
            "tranDate": "2026-01-20",
            "item": {"items": [{"item": {"id": "104"}, "amount": 100}]},
        },
    )
    refund = client.post(
        "customerRefund",
        {
            "customer": {"id": customer},
            "currency": {"id": "2"},
            "account": {"id": "1050"},
            "paymentMethod": {"id": "4"},
            "tranDate": "2026-02-20",
            "apply": {"items": [{"doc": {"id": memo}, "apply": True, "amount": 100}]},
        },
    )
    assert ledger(served, refund) == {"1050": -11200, "1100": 11000, "7100": 200}
    assert (
        sum(r["net_minor"] for r in served.act("trial_balance")["trial_balance"] if r["account"] == "1100")
        == 0
    )


# --------------------------------------------------------------------------------------------------------- journals


def test_journals_balance(client: Client, served: Served) -> None:
    lines = [
        {"account": {"id": "2400"}, "debit": 100, "memo": "recognised"},
        {"account": {"id": "4000"}, "credit": "99.99", "department": {"id": "10"}},
    ]
    body = {"subsidiary": {"id": "1"}, "tranDate": "2026-01-31", "externalId": "J1", "line": {"items": lines}}
    assert "must balance" in client.send("POST", "journalEntry", body).error["detail"]
    lines[1]["credit"] = 100
    id_ = client.post("journalEntry", body)
    shown = client.get(f"journalEntry/{id_}?expandSubResources=true")
    assert (shown["tranId"], shown["approved"], shown["currency"]["refName"]) == ("JE1001", True, "US Dollar")
    assert [line.get("debit") for line in shown["line"]["items"]] == [100, None]
    assert ledger(served, id_) == {"2400": 10000, "4000": -10000}
    lines.append({"account": {"id": "1100"}, "debit": 0})
    body["externalId"] = "J2"
    assert "Please enter value(s) for: Name" in client.send("POST", "journalEntry", body).error["detail"]


# ---------------------------------------------------------------------------------------------------------- periods


def test_closed_and_locked_periods(client: Client, served: Served) -> None:
    customer = client.customer()
    invoice = client.plain_invoice(customer, "K1", 100)
    paid = client.payment(customer, "P1", 100, {})
    closed = served.act("close_period", date="2026-01-05")
    assert client.get(f"accountingPeriod/{closed['period']}")["closed"] is True
    refused = client.send("POST", "invoice", client.invoice_body(customer, "K2"))
    assert (refused.status, refused.code) == (400, "USER_ERROR")
    assert "closed" in refused.error["detail"]
    assert client.send("PATCH", f"invoice/{invoice}", {"memo": "x"}).code == "USER_ERROR"
    assert client.send("DELETE", f"invoice/{invoice}").code == "USER_ERROR"
    apply = {"apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 100}]}}
    assert client.send("PATCH", f"customerPayment/{paid}", apply).status == 204  # no accounting effect
    served.act("preferences", closed_period_default="first_open")
    moved = client.get(f"invoice/{client.plain_invoice(customer, 'K3', 1)}")
    assert (moved["tranDate"], moved["postingPeriod"]["refName"]) == ("2026-01-20", "Feb 2026")
    served.act("lock_period", period="Feb 2026")
    body = client.invoice_body(
        customer, "K4", tranDate="2026-02-03", postingPeriod={"id": moved["postingPeriod"]["id"]}
    )
    assert "Override Period Restrictions" in client.send("POST", "invoice", body).error["detail"]
    lines = [{"account": {"id": "1000"}, "debit": 5}, {"account": {"id": "4000"}, "credit": 5}]
    journal = {"subsidiary": {"id": "1"}, "tranDate": "2026-02-03", "line": {"items": lines}}
    assert client.send("POST", "journalEntry", journal).status == 204  # receivables alone are locked
    served.act("preferences", override_periods=True)
    assert client.send("POST", "invoice", body).status == 204
    served.act("reopen_period", date="2026-01-05")
    assert client.send("PATCH", f"invoice/{invoice}", {"memo": "x"}).status == 204


def test_a_period_closed_for_one_subsidiary(client: Client, served: Served) -> None:
    served.act("close_period", period="Jan 2026", subsidiary="2")
    us, jp = client.customer("US"), client.customer("JP", "2")
    client.plain_invoice(us, "K1", 1)
    body = {
        "entity": {"id": jp},
        "tranDate": "2026-01-20",
        "item": {"items": [{"item": {"id": "104"}, "amount": 1}]},
    }
    assert "closed" in client.send("POST", "invoice", body).error["detail"]


def test_the_api_role_cannot_open_periods(client: Client) -> None:
    january = client.get('accountingPeriod?q=periodName IS "Jan 2026"')["items"][0]["id"]
    assert client.send("PATCH", f"accountingPeriod/{january}", {"closed": True}).status in (403, 405)


def test_a_locked_record(client: Client, served: Served) -> None:
    customer = client.customer()
    served.act("lock", type="customer", id=customer)
    assert (
        "locked by a user defined workflow"
        in client.send("PATCH", f"customer/{customer}", {}).error["detail"]
    )
    assert client.send("GET", f"customer/{customer}").status == 200
