"""The NetSuite twin's answers against the vendor's own list of fields, over a whole order-to-cash.

The list names the fields of a record in lower case, and no sublists. What is answered beyond it stands below with its
reason; one that no answer needs any more has to go.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.conformance.support import serve
from tests.conformance.twins.netsuite_client import Client
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite import create

DAY = datetime(2026, 1, 20, 20, tzinfo=UTC)
RECORDS = {
    "customer": "customer",
    "customerSubsidiaryRelationship": "customersubsidiaryrelationship",
    "serviceSaleItem": "servicesaleitem",
    "invoice": "invoice",
    "creditMemo": "creditmemo",
    "customerPayment": "customerpayment",
    "customerRefund": "customerrefund",
    "customerDeposit": "customerdeposit",
    "depositApplication": "depositapplication",
    "journalEntry": "journalentry",
    "accountingPeriod": "accountingperiod",
    "account": "account",
    "subsidiary": "subsidiary",
    "department": "department",
    "term": "term",
    "currency": "currency",
    "salesTaxItem": "salestaxitem",
    "taxType": "taxtype",
    "paymentMethod": "paymentmethod",
}
EVERYWHERE = {"id": "the record's own id", "links": "hypermedia"}
SUBLIST = "a sublist: the list names none"
REST = "in the REST API Browser (2026.1), not in this list"
CUSTOM = ("custbody_", "custcol_", "custentity_")
# Of these records the list names no fields at all; the twin answers what the REST API Browser has.
UNLISTED = ("serviceSaleItem", "term", "salesTaxItem", "taxType", "paymentMethod")
STAMP = {"lastModifiedDate": REST}
DEPARTURES: dict[str, dict[str, str]] = {
    "customer": {"addressBook": SUBLIST, "currencyList": SUBLIST, "taxRegistration": SUBLIST},
    "customerSubsidiaryRelationship": STAMP,
    "invoice": {"item": SUBLIST, "taxDetails": SUBLIST, "type": REST},
    "creditMemo": {
        "apply": SUBLIST,
        "item": SUBLIST,
        "taxDetails": SUBLIST,
        "type": REST,
        "amountRemainingTotalBox": REST,
    },
    "customerPayment": {"apply": SUBLIST},
    "customerRefund": {"apply": SUBLIST},
    "depositApplication": {"apply": SUBLIST, "tranId": REST},
    "journalEntry": {"line": SUBLIST},
    "accountingPeriod": STAMP,
    "account": STAMP,
    "subsidiary": {**STAMP, "fullName": "the name with those above it, as queries have it"},
    "department": {**STAMP, "fullName": "the name with those above it, as queries have it"},
    "currency": STAMP,
}


def answers(client: Client) -> dict[str, set[str]]:
    """The fields of every record type, as they are answered after an order-to-cash."""
    customer = client.customer(addressBook={"items": [{"defaultBilling": True}]}, vatRegNumber="X1")
    relationship = {"entity": {"id": customer}, "subsidiary": {"id": "2"}}
    client.post("customerSubsidiaryRelationship", relationship)
    invoice = client.invoice(customer, "K1", dueDate="2026-02-20", terms={"id": "2"})
    client.payment(customer, "P1", 100, {invoice: 50}, checkNumber="7", memo="m")
    memo = client.send("POST", f"invoice/{invoice}/!transform/creditMemo", {"externalId": "C1"}).id
    client.send("PATCH", f"creditMemo/{memo}?replace=apply", {"apply": {"items": []}})
    refund = {
        "customer": {"id": customer},
        "account": {"id": "1050"},
        "paymentMethod": {"id": "4"},
        "apply": {"items": [{"doc": {"id": memo}, "apply": True, "amount": 10}]},
    }
    client.post("customerRefund", refund)
    deposit = {"customer": {"id": customer}, "account": {"id": "1050"}, "payment": 20}
    id_ = client.post("customerDeposit", deposit)
    part = {"apply": {"items": [{"doc": {"id": invoice}, "apply": True, "amount": 5}]}}
    client.send("POST", f"customerDeposit/{id_}/!transform/depositApplication", part)
    lines = [{"account": {"id": "4000"}, "debit": 5}, {"account": {"id": "2400"}, "credit": 5}]
    client.post("journalEntry", {"subsidiary": {"id": "1"}, "memo": "m", "line": {"items": lines}})
    found: dict[str, set[str]] = {}
    for type_ in RECORDS:
        found[type_] = set()
        for listed in client.get(type_)["items"]:
            found[type_] |= set(client.get(f"{type_}/{listed['id']}?expandSubResources=true"))
        assert found[type_], type_
    return found


def test_every_answered_field_is_the_vendors_or_a_departure_with_its_reason(
    spec_path: Callable[[str], Path],
) -> None:
    listed: dict[str, Any] = json.loads(spec_path("netsuite/suitescript-records.json").read_text())["records"]
    with serve(create(SystemTwinClock(business=DAY))) as twin:
        found = answers(Client(twin))
    for type_, fields in found.items():
        known = {field["internalId"].lower() for field in listed[RECORDS[type_]]["fields"]}
        if type_ in UNLISTED:
            assert not known, f"{type_}: there is a list by now"
            continue
        beyond = {
            name
            for name in fields
            if name.lower() not in known and name not in EVERYWHERE and not name.startswith(CUSTOM)
        }
        assert beyond == set(DEPARTURES.get(type_, {})), (type_, sorted(beyond))
