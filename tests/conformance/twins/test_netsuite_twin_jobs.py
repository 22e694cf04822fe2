"""The NetSuite twin: asynchronous jobs, sabotage, field names against the vendor's list."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from tests.conformance.support import Served, serve
from tests.conformance.twins.netsuite_client import COLLECTION, Client, assert_books, ledger, wait_for
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite import create
from tieout_lab.twins.netsuite.catalogue import OPAQUE, SHAPES

DAY = datetime(2026, 1, 20, 20, tzinfo=UTC)
JOB = "/services/rest/async/v1/job"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(create(SystemTwinClock(business=DAY, factor=50))) as twin:
        yield twin


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served)


# ------------------------------------------------------------------------------------------------- asynchronous jobs


def finished(client: Client, location: str) -> dict[str, object]:
    path = location[location.index(JOB) :]
    return wait_for(lambda: (job := client.get(path))["completed"] and job)


def test_a_batch_of_records(client: Client, served: Served) -> None:
    customer = client.customer()
    good = [client.invoice_body(customer, f"K{n}") for n in range(3)]
    bad = client.invoice_body(customer, "K1", item={"items": []})
    key = str(uuid.uuid4())
    headers = {"prefer": "respond-async", "content_type": COLLECTION, "x_netsuite_idempotency_key": key}
    answer = client.send("POST", "invoice", {"items": [good[0], bad, *good[1:]]}, **headers)
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    location = answer.headers["location"]
    again = client.send("POST", "invoice", {"items": [good[0]]}, **headers)
    assert (again.status, again.code, again.body["title"]) == (400, "IDEMPOTENCY_ERROR", "Conflict")
    assert again.headers["location"] == location
    job = finished(client, location)
    assert job["progress"] == "failed"
    path = location[location.index(JOB) :]
    tasks = client.get(f"{path}/task")["items"]
    assert [task["id"] for task in tasks] == ["1", "2", "3", "4"]
    task = client.get(f"{path}/task/2")
    assert (task["progress"], task["completed"]) == ("failed", True)
    results = [client.send("GET", f"{path}/task/{n}/result") for n in range(1, 5)]
    assert [result.status for result in results] == [204, 400, 204, 204]
    assert client.get("invoice/eid:K0")["id"] == results[0].id
    assert client.get("invoice")["totalResults"] == 3
    assert (
        client.send(
            "POST", "invoice", {"items": [good[0]] * 101}, **{**headers, "x_netsuite_idempotency_key": "2"}
        ).status
        == 400
    )
    assert client.send("POST", "invoice", {"items": []}, content_type=COLLECTION).code == "INVALID_HEADER"
    patch = {"items": [{"id": results[0].id, "memo": "a"}, {"externalId": "K2", "memo": "b"}]}
    done = client.send("PATCH", "invoice", patch, prefer="respond-async", content_type=COLLECTION)
    assert finished(client, done.headers["location"])["progress"] == "succeeded"
    assert client.get("invoice/eid:K2")["memo"] == "b"
    put = {"items": [{"externalId": "C7", "companyName": "Seven", "subsidiary": {"id": "1"}}]}
    done = client.send("PUT", "customer", put, prefer="respond-async", content_type=COLLECTION)
    finished(client, done.headers["location"])
    assert client.get("customer/eid:C7")["companyName"] == "Seven"
    gone = client.send(
        "DELETE", f"invoice?ids={results[0].id},eid:K1", prefer="respond-async", content_type=COLLECTION
    )
    finished(client, gone.headers["location"])
    assert client.get("invoice")["totalResults"] == 1
    assert_books(served)


def test_one_record_asynchronously_and_a_partial_batch(client: Client, served: Served) -> None:
    body = {"companyName": "Later", "subsidiary": {"id": "1"}}
    answer = client.send("POST", "customer", body, prefer="respond-async")
    finished(client, answer.headers["location"])
    path = answer.headers["location"]
    result = client.send("GET", path[path.index(JOB) :] + "/task/1/result")
    assert client.get(f"customer/{result.id}")["companyName"] == "Later"
    served.faults(partial_batch=1.0)
    answer = client.send(
        "POST",
        "customer",
        {"items": [{**body, "companyName": "No"}]},
        prefer="respond-async",
        content_type=COLLECTION,
    )
    assert finished(client, answer.headers["location"])["progress"] == "failed"
    assert client.get("customer")["totalResults"] == 1
    assert client.send("GET", f"{JOB}/99").status == 404


# ---------------------------------------------------------------------------------------------------- control actions


def test_every_sabotage_alters_one_document(client: Client, served: Served) -> None:
    customer = client.customer()
    paid = client.invoice(customer, "K1")
    client.payment(customer, "P1", 1287.02, {paid: 1287.02})
    invoice = client.invoice(customer, "K2")
    cent = served.act("sabotage", kind="cent")
    assert (cent["id"], cent["changed_total_minor"]) == (invoice, 128703)
    assert ledger(served, invoice)["1100"] == 128703
    assert client.get(f"invoice/{invoice}")["total"] == Decimal("1287.03")
    period = served.act("sabotage", kind="period")
    assert client.get(f"invoice/{invoice}")["postingPeriod"]["id"] == period["to_period"]
    account = served.act("sabotage", kind="account")
    assert (account["from_account"], account["to_account"]) == ("2400", "4000")
    assert "2400" not in ledger(served, invoice)
    double = served.act("sabotage", kind="double")["double"]
    assert client.get(f"invoice/{double}")["custbody_tieout_source"] == "in_K2"
    assert "externalId" not in client.get(f"invoice/{double}")
    dropped = served.act("sabotage", kind="drop", id=paid)
    assert len(dropped["released"]) == 1
    assert client.send("GET", f"invoice/{paid}").status == 404
    assert client.rows(f"SELECT id FROM transaction WHERE id = {paid}") == []
    assert client.get("customerPayment/eid:P1")["unapplied"] == Decimal("1287.02")
    assert_books(served)
    altered = served.act("alter", type="invoice", id=invoice, path="memo", value="x")
    assert altered["memo"] == "x"


def test_seeding_again_empties_the_account(client: Client, served: Served) -> None:
    client.plain_invoice(client.customer(), "K1", 1)
    master = served.act("seed")
    assert master["serviceSaleItem"]["PLATFORM-DEF"] == "101"
    assert client.get("invoice")["totalResults"] == 0
    assert client.rows("SELECT id FROM transaction") == []
    served.act("rate", currency="EUR", base="USD", date="2026-01-15", rate="1.2")
    customer = client.customer()
    shown = client.get(f"invoice/{client.plain_invoice(customer, 'K1', 1, currency={'id': '2'})}")
    assert shown["exchangeRate"] == Decimal("1.2")
    assert client.rows("SELECT exchangerate FROM currencyrate WHERE effectivedate = '1/15/2026'") == [
        {"exchangerate": "1.2"}
    ]


# ----------------------------------------------------------------------------------- names against the vendor's list

RECORDS = {
    "customer": "customer",
    "customerSubsidiaryRelationship": "customersubsidiaryrelationship",
    "invoice": "invoice",
    "creditMemo": "creditmemo",
    "customerPayment": "customerpayment",
    "customerRefund": "customerrefund",
    "journalEntry": "journalentry",
    "accountingPeriod": "accountingperiod",
    "account": "account",
    "subsidiary": "subsidiary",
    "department": "department",
    "currency": "currency",
}
# In the REST schema but not in the SuiteScript list: what REST alone has, and names it spells in another way.
REST_ONLY = {
    "id": "the record's own id",
    "links": "hypermedia",
    "refName": "hypermedia",
    "externalId": "listed for most records only",
    "lastModifiedDate": "not listed for master data",
    "fullName": "hierarchical name, REST alone",
    "createdDate": "not listed for every record",
    "approved": "journal, REST alone",
    "dueDate": "credit memos have it in REST alone",
    "checkNumber": "listed as checknum as well",
    "taxDetailsOverride": "listed for sales documents",
    "taxRegOverride": "SuiteTax",
    "terms": "credit memos have it in REST alone",
    "startDate": "credit memos have it in REST alone",
    "endDate": "credit memos have it in REST alone",
    "currency": "accounts, REST alone",
}


def test_field_names_are_the_vendors(spec_path: Callable[[str], Path]) -> None:
    """Every field of a body that means something to the twin stands in the vendor's own list of fields."""
    listed = json.loads(spec_path("netsuite/suitescript-records.json").read_text())["records"]
    for type_, record in RECORDS.items():
        known = {field["internalId"].lower() for field in listed[record]["fields"]}
        meant = {
            name
            for name, field in SHAPES[type_].fields.items()
            if field.kind in ("ref", "number", "flag", "day", "choice", "text") and name not in OPAQUE
        }
        unknown = {name for name in meant if name.lower() not in known} - set(REST_ONLY)
        assert not unknown, (type_, unknown)
        required = {
            field["internalId"] for field in listed[record]["fields"] if field.get("required") == "true"
        }
        served_names = {name.lower() for name in SHAPES[type_].fields}
        assert required - served_names - {
            "unit",
            "customform",
            "checklayout",
            "languagelocale",
            "taxfiscalcalendar",
        } <= {
            "subsidiary",
            "fiscalcalendar",
            "displaysymbol",
        }, type_
