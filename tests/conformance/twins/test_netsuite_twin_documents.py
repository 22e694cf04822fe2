"""The NetSuite twin: customers, items, invoices, approval, and the ledger after each."""

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


# ------------------------------------------------------------------------------------------------------- customers


def test_a_customer_is_upserted_by_external_id(client: Client) -> None:
    id_ = client.customer("C1")
    assert client.customer("C1", email="new@acme.test") == id_
    shown = client.get("customer/eid:C1?expandSubResources=true")
    assert shown["id"] == id_
    assert shown["email"] == "new@acme.test"
    assert shown["terms"]["refName"] == "Net 30"
    assert shown["custentity_crm_account"] == "001000000000001AAA"
    assert [line["currency"]["refName"] for line in shown["currencyList"]["items"]] == ["US Dollar", "Euro"]
    links = client.get("customer/eid:C1")["currencyList"]
    assert set(links) == {"links"}
    assert client.get("customer?q=" + 'externalId IS "C1"')["items"][0]["id"] == id_


def test_a_customer_shows_its_credit_hold_limit_and_balance(client: Client) -> None:
    id_ = client.customer("C1", creditLimit=50)
    client.invoice(id_, "K1")
    shown = client.get(f"customer/{id_}?fields=creditHoldOverride,creditLimit,balance")
    assert shown["creditHoldOverride"] == {"id": "AUTO", "refName": "Auto"}
    assert shown["creditLimit"] == 50
    assert shown["balance"] == client.get(f"invoice/{client.get('invoice')['items'][0]['id']}")["total"]
    client.send("PATCH", f"customer/{id_}", {"creditHoldOverride": {"id": "ON"}})
    assert client.get(f"customer/{id_}")["creditHoldOverride"]["id"] == "ON"
    refused = client.send("PATCH", f"customer/{id_}", {"creditHoldOverride": {"id": "MAYBE"}})
    assert (refused.status, client.get(f"customer/{id_}")["creditHoldOverride"]["id"]) == (400, "ON")


def test_customer_refusals(client: Client) -> None:
    client.customer("C1")
    taken = client.send("POST", "customer", {"companyName": "acme c1", "subsidiary": {"id": "1"}})
    assert (taken.status, taken.code) == (400, "UNIQUE_CUST_ID_REQD")
    nameless = client.send("POST", "customer", {"subsidiary": {"id": "1"}})
    assert nameless.code == "USER_ERROR"
    assert "Please enter value(s) for: Company Name" in nameless.error["detail"]
    homeless = client.send("POST", "customer", {"companyName": "X"})
    assert "Primary Subsidiary" in homeless.error["detail"]
    twice = client.send(
        "POST", "customer", {"companyName": "Y", "subsidiary": {"id": "1"}, "externalId": "C1"}
    )
    assert twice.code == "DUP_RCRD"
    long = client.send("POST", "customer", {"companyName": "Y" * 84, "subsidiary": {"id": "1"}})
    assert "maximum number ( 83 )" in long.error["detail"]
    unknown = client.send("POST", "customer", {"companyName": "Y", "subsidiary": {"id": "9"}})
    assert (unknown.code, unknown.error["o:errorPath"]) == ("INVALID_CONTENT", "subsidiary")


def test_further_subsidiaries(client: Client) -> None:
    customer = client.customer("C1", currencyList={"items": [{"currency": {"id": "3"}}]})
    body = client.invoice_body(customer, "K1", subsidiary={"id": "2"}, currency={"id": "3"})
    refused = client.send("POST", "invoice", body)
    assert "Invalid entity reference key" in refused.error["detail"]
    link = {"entity": {"id": customer}, "subsidiary": {"id": "2"}}
    client.post("customerSubsidiaryRelationship", link)
    assert client.send("POST", "customerSubsidiaryRelationship", link).error["o:errorPath"] == "subsidiary"
    body["taxDetails"] = {"items": []}
    assert client.get(f"invoice/{client.post('invoice', body)}")["status"]["id"] == "D"


def test_hostile_names_pass_unharmed(client: Client) -> None:
    name = "=cmd|' /C calc'!A0 \"é\" , <b>\u202e\U0001f4a3"
    id_ = client.post("customer", {"companyName": name, "subsidiary": {"id": "1"}})
    assert client.get(f"customer/{id_}")["companyName"] == name
    assert client.rows(f"SELECT companyname FROM customer WHERE id = {id_}") == [{"companyname": name}]


# -------------------------------------------------------------------------------------------------------- invoices


def test_an_invoice_with_tax_override(client: Client, served: Served) -> None:
    customer = client.customer()
    answer = client.send("POST", "invoice", client.invoice_body(customer, "K1"))
    assert answer.status == 204
    assert answer.raw == b""
    assert answer.headers["location"].startswith(f"{served.url}/services/rest/record/v1/invoice/")
    shown = client.get(f"invoice/{answer.id}?expandSubResources=true")
    assert shown["tranId"] == "INV1001"
    assert (shown["subtotal"], shown["taxTotal"], shown["total"]) == (
        Decimal("1200.01"),
        Decimal("87.01"),
        Decimal("1287.02"),
    )
    assert shown["status"] == {"id": "A", "refName": "Open"}
    assert shown["approvalStatus"]["id"] == "2"
    assert shown["postingPeriod"]["refName"] == "Jan 2026"
    assert shown["dueDate"] == "2026-02-19"  # the customer's terms
    assert shown["subsidiary"]["id"] == "1"
    assert shown["currency"]["refName"] == "US Dollar"
    assert shown["amountRemaining"] == Decimal("1287.02")
    first, second = shown["item"]["items"]
    assert (first["line"], first["amount"], first["custcol_service_end"]) == (1, 1000, "2026-02-19")
    assert (second["rate"], second["amount"]) == (Decimal("200.01"), Decimal("200.01"))
    taxes = shown["taxDetails"]["items"]
    assert [t["taxAmount"] for t in taxes] == [Decimal("72.5"), Decimal("14.51")]
    assert taxes[0]["taxDetailsReference"]["id"] == "L1"
    assert taxes[1]["taxBasis"] == Decimal("200.01")
    assert taxes[1]["taxRate"] == Decimal("7.25")
    assert taxes[0]["taxCode"]["refName"] == "CA_725"
    assert ledger(served, answer.id) == {"1100": 128702, "2400": -100000, "4000": -20001, "2200": -8701}
    line = client.get(f"invoice/{answer.id}/item/1")
    assert line["custcol_tieout_source_line"] == "il_1"
    assert set(client.get(f"invoice/{answer.id}?fields=tranId,total")) == {"links", "tranId", "total"}


def test_tax_without_override_is_the_accounts_own(client: Client) -> None:
    customer = client.customer()
    body = client.invoice_body(customer, "K1")
    body["taxDetailsOverride"] = False
    body["item"]["items"][0]["taxCode"] = {"id": "501"}
    shown = client.get(f"invoice/{client.post('invoice', body)}")
    assert shown["taxTotal"] == Decimal("72.5")


def test_tax_details_that_do_not_fit(client: Client) -> None:
    customer = client.customer()
    for change, where in (
        ({"taxDetailsReference": "L9"}, "taxDetailsReference"),
        ({"taxType": "2"}, "taxCode"),
        ({"taxCode": {"id": "999"}}, "taxCode"),
        ({"taxAmount": None}, "taxAmount"),
        ({"taxAmount": "much"}, "taxAmount"),
    ):
        body = client.invoice_body(customer, "K1")
        body["taxDetails"]["items"][0] = {**body["taxDetails"]["items"][0], **change}
        refused = client.send("POST", "invoice", body)
        assert refused.status == 400
        assert refused.error["o:errorPath"] == f"taxDetails.items[0].{where}"
    assert client.get("invoice")["totalResults"] == 0


def test_two_periods(client: Client) -> None:
    customer = client.customer()
    february = client.rows("SELECT id FROM accountingperiod WHERE periodname = 'Feb 2026'")[0]["id"]
    year = client.rows("SELECT id FROM accountingperiod WHERE isyear = 'T' AND periodname = 'FY 2026'")[0][
        "id"
    ]
    own = client.get(f"invoice/{client.plain_invoice(customer, 'K1', 10)}")
    assert own["postingPeriod"]["refName"] == "Jan 2026"
    moved = client.plain_invoice(customer, "K2", 10, postingPeriod={"id": february})
    shown = client.get(f"invoice/{moved}")
    assert (shown["tranDate"], shown["postingPeriod"]["refName"]) == ("2026-01-20", "Feb 2026")
    body = client.invoice_body(customer, "K3", postingPeriod={"id": year})
    assert client.send("POST", "invoice", body).code == "USER_ERROR"


def test_the_default_date_is_the_subsidiarys(client: Client, served: Served) -> None:
    """31 January 23:30 in Los Angeles is 1 February in Tokyo."""
    served.control("POST", "clock", {"business": "2026-02-01T07:30:00+00:00"})
    line = {"items": [{"item": {"id": "104"}, "amount": 100}]}
    days = []
    for key, subsidiary in (("C1", "1"), ("C2", "2")):
        customer = client.customer(key, subsidiary)
        id_ = client.post("invoice", {"entity": {"id": customer}, "item": line})
        shown = client.get(f"invoice/{id_}")
        days.append((shown["tranDate"], shown["postingPeriod"]["refName"]))
    assert days == [("2026-01-31", "Jan 2026"), ("2026-02-01", "Feb 2026")]


def test_the_same_external_id_is_refused(client: Client, served: Served) -> None:
    customer = client.customer()
    first = client.invoice(customer, "K1")
    again = client.send("POST", "invoice", client.invoice_body(customer, "K1"))
    assert (again.status, again.code) == (400, "DUP_RCRD")
    assert "This record already exists" in again.error["detail"]
    other = client.send("POST", "customerPayment", client.payment_body(customer, "K1", 1, {}))
    assert other.code == "DUP_RCRD"  # transactions share one space of external ids
    served.faults(enforce_keys=False)
    second = client.post("invoice", client.invoice_body(customer, "K1"))
    assert second != first
    assert [r["id"] for r in client.rows("SELECT id FROM transaction WHERE externalid = 'K1'")] == [
        first,
        second,
    ]
    assert client.get("invoice/eid:K1")["id"] == first
    assert client.get('invoice?q=externalId IS "K1"')["totalResults"] == 2


def test_visibility_delay_hides_from_look_ups(client: Client, served: Served) -> None:
    customer = client.customer()
    served.faults(visibility_delay_seconds=3600)
    id_ = client.invoice(customer, "K1")
    assert client.get(f"invoice/{id_}")["id"] == id_
    assert client.send("GET", "invoice/eid:K1").code == "NONEXISTENT_ID"
    assert client.rows("SELECT id FROM transaction WHERE externalid = 'K1'") == []
    assert client.get('invoice?q=externalId IS "K1"')["items"] == []
    assert client.send("POST", "invoice", client.invoice_body(customer, "K1")).code == "DUP_RCRD"
    served.faults()
    assert client.get("invoice/eid:K1")["id"] == id_
    assert client.rows("SELECT id FROM transaction WHERE externalid = 'K1'") == [{"id": id_}]


def test_upsert_of_an_invoice_updates_it(client: Client) -> None:
    customer = client.customer()
    body = client.invoice_body(customer, "K1")
    del body["externalId"]
    id_ = client.send("PUT", "invoice/eid:K1", body).id
    assert client.send("PUT", "invoice/eid:K1", body).id == id_
    assert client.get(f"invoice/{id_}/item")["count"] == 4  # lines without a line key are appended
    assert client.send("PUT", "invoice/eid:K1?replace=item,taxDetails", body).id == id_
    assert client.get(f"invoice/{id_}")["total"] == Decimal("1287.02")
    patch = {"item": {"items": [{"line": 2, "amount": 100}]}, "memo": "changed"}
    client.send("PATCH", f"invoice/{id_}", patch)
    assert client.get(f"invoice/{id_}")["subtotal"] == 1100
    missing = client.send("PATCH", f"invoice/{id_}", {"item": {"items": [{"line": 9, "amount": 1}]}})
    assert "Unable to find a matching line for sublist item with key: [line]" in missing.error["detail"]
    assert client.get("invoice/eid:K1")["memo"] == "changed"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"entity": None}, "Please enter value(s) for: Customer"),
        ({"item": {"items": []}}, "at least one line item"),
        ({"item": {"items": [{"item": {"id": "9999"}, "amount": 1}]}}, "Invalid Field Value 9999"),
        ({"item": {"items": [{"item": {"id": "104"}}]}}, "Please enter value(s) for: Amount"),
        ({"item": {"items": [{"item": {"id": "104"}, "amount": -5}]}}, "The total can not be negative"),
        ({"currency": {"id": "4"}}, "Invalid currency reference key 4"),
        ({"tranDate": "31.1.2026"}, "Invalid Field Value"),
        ({"tranDate": "2031-01-01"}, "not within the date range of any accounting period"),
        ({"exchangeRate": -1}, "exchange rate"),
        ({"item": [{"item": {"id": "104"}}]}, "must be an object with items"),
        ({"otherRefNum": "9" * 46}, "maximum number ( 45 )"),
    ],
)
def test_invoice_refusals_leave_nothing(client: Client, change: dict[str, object], detail: str) -> None:
    customer = client.customer()
    body = client.invoice_body(customer, "K1", taxDetails={"items": []}, **change)
    refused = client.send("POST", "invoice", body)
    assert refused.status == 400
    assert detail in refused.error["detail"]
    assert client.get("invoice")["totalResults"] == 0
    assert client.send("GET", "invoice/eid:K1").status == 404


def test_a_refused_update_leaves_nothing(client: Client, served: Served) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    other = client.plain_invoice(customer, "K2", 50)
    paid = client.payment(customer, "P1", 100, {other: 20})
    before = served.act("snapshot")
    for path, body in (
        (f"invoice/{invoice}", {"memo": "x", "item": {"items": [{"line": 1, "amount": 5}, {"amount": 5}]}}),
        (f"invoice/{invoice}", {"externalId": "K2"}),
        (f"invoice/{invoice}", {"postingPeriod": {"id": "1"}}),
        (f"customerPayment/{paid}", {"apply": {"items": [{"doc": {"id": invoice}, "amount": 90}]}}),
        (f"customerPayment/{paid}", {"payment": 10}),
        (f"customer/{customer}", {"companyName": None}),
        (f"invoice/{invoice}", {"item": {"items": [{"line": 1, "amount": "1e400"}]}}),
    ):
        assert client.send("PATCH", path, body).status == 400, path
    assert served.act("snapshot") == before
    assert client.get(f"customer/{customer}")["companyName"] == "Acme CUST0001"


def test_inactive_master_data_is_refused(client: Client) -> None:
    customer = client.customer()
    item = client.post(
        "serviceSaleItem", {"itemId": "NEW", "incomeAccount": {"id": "4100"}, "externalId": "NEW"}
    )
    body = client.invoice_body(customer, "K1", taxDetails={"items": []})
    body["item"] = {"items": [{"item": {"externalId": "NEW"}, "amount": 5}]}
    client.send("PATCH", f"serviceSaleItem/{item}", {"isInactive": True})
    assert client.send("POST", "invoice", body).error["o:errorPath"] == "item.items[0].item"
    client.send("PUT", "serviceSaleItem/eid:NEW", {"isInactive": False})
    assert client.send("POST", "invoice", body).status == 204
    assert client.send("DELETE", f"serviceSaleItem/{item}").code == "USER_ERROR"


# -------------------------------------------------------------------------------------------------------- approval


def test_approval_by_a_person(client: Client, served: Served) -> None:
    customer = client.customer("JP", "2")
    line = {"items": [{"item": {"id": "104"}, "amount": 100000, "taxDetailsReference": "L1"}]}
    tax = [{"taxDetailsReference": "L1", "taxType": "2", "taxCode": {"id": "503"}, "taxAmount": 10000}]
    body = {
        "externalId": "J1",
        "entity": {"id": customer},
        "item": line,
        "taxDetailsOverride": True,
        "taxDetails": {"items": tax},
        "tranDate": "2026-01-20",
    }
    id_ = client.post("invoice", body)
    shown = client.get(f"invoice/{id_}")
    assert (shown["status"]["id"], shown["approvalStatus"]["id"], shown["total"]) == ("D", "1", 110000)
    assert ledger(served, id_) == {}
    assert client.rows(f"SELECT posting, status FROM transaction WHERE id = {id_}") == [
        {"posting": "F", "status": "D"}
    ]
    own = client.send("PATCH", f"invoice/{id_}", {"approvalStatus": {"id": "2"}})
    assert (own.status, own.code) == (403, "INSUFFICIENT_PERMISSION")
    pay = client.send("POST", "customerPayment", client.payment_body(customer, "P1", 110000, {id_: 110000}))
    assert "Unable to find a matching line for sublist apply" in pay.error["detail"]
    assert served.act("approve_all", subsidiary="2")["approved"] == [id_]
    assert client.get(f"invoice/{id_}")["status"]["id"] == "A"
    assert ledger(served, id_) == {"1100": 110000, "4000": -100000, "2200": -10000}
    client.payment(customer, "P1", 110000, {id_: 110000})
    assert client.get(f"invoice/{id_}")["status"]["id"] == "B"


def test_approval_by_the_role(client: Client, served: Served) -> None:
    served.act("routing", subsidiary="1", mode="api")
    customer = client.customer()
    id_ = client.invoice(customer, "K1")
    assert client.get(f"invoice/{id_}")["status"]["id"] == "D"
    served.act("close_period", period="Jan 2026")
    assert client.send("PATCH", f"invoice/{id_}", {"approvalStatus": {"id": "2"}}).code == "USER_ERROR"
    assert client.get(f"invoice/{id_}")["approvalStatus"]["id"] == "1"
    served.act("reopen_period", period="Jan 2026")
    assert client.send("PATCH", f"invoice/{id_}", {"approvalStatus": {"id": "2"}}).status == 204
    assert ledger(served, id_)["1100"] == 128702
