"""Single records: create, read, change, upsert, delete, describe, replication, and what befalls them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.conformance.twins.salesforce_org import START, Org, open_org, shape

BAD_CHOICE = "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
OPEN = {"Name": "x", "StageName": "Prospecting", "CloseDate": "2026-01-01"}
INVOICE = "/sobjects/Tieout_Invoice__c/Tieout_External_Id__c"


@pytest.fixture(scope="module")
def shared() -> Iterator[Org]:
    with open_org() as org:
        yield org


@pytest.fixture
def org(shared: Org) -> Org:
    shared.sign_in()
    shared.act("lock_rows", count=0)
    shared.served.faults()
    return shared


@pytest.fixture(scope="module")
def samples(spec_path: Callable[[str], Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec_path("salesforce/rest_bulk_samples.json").read_text())
    return found


def test_create_read_change_delete(org: Org, samples: dict[str, Any]) -> None:
    made = org.call("POST", "/sobjects/Account/", {"Name": "Acme", "Site": "HQ", "NumberOfEmployees": 7})
    assert (made.status, shape(made.body)) == (201, shape(samples["create_201"]))
    path = f"/sobjects/Account/{made.body['id']}"
    assert made.headers["Location"] == f"/services/data/v68.0{path}"
    whole = org.call("GET", path).body
    assert whole["attributes"] == {"type": "Account", "url": f"/services/data/v68.0{path}"}
    assert (whole["Name"], whole["Industry"], whole["IsDeleted"]) == ("Acme", None, False)
    assert whole["CreatedDate"] == whole["SystemModstamp"]
    some = org.call("GET", f"{path}?fields=site,Name").body
    assert list(some) == ["attributes", "Site", "Name", "Id"]
    org.clock.pass_seconds(1)
    changed = org.call("PATCH", path, {"site": "Annex", "Industry": ""})
    assert (changed.status, changed.body) == (204, None)
    after = org.call("GET", path).body
    assert (after["Site"], after["Industry"]) == ("Annex", None)
    assert after["SystemModstamp"] > whole["SystemModstamp"]
    assert after["CreatedDate"] == whole["CreatedDate"]
    assert org.call("POST", f"{path}?_HttpMethod=PATCH", {"Site": "Attic"}).status == 204
    assert org.call("DELETE", path).status == 204
    gone = org.call("GET", path)
    assert (gone.status, gone.code) == (404, "ENTITY_IS_DELETED")
    again = org.call("DELETE", path)
    assert (again.status, again.body) == (404, samples["errors"]["404 ENTITY_IS_DELETED"])


def test_missing_records(org: Org, samples: dict[str, Any]) -> None:
    nobody = "/sobjects/Account/001Hk0000999999" + "IAA"
    assert org.call("GET", nobody).body == samples["errors"]["404 NOT_FOUND"]
    expected = samples["errors"]["404 on PATCH/DELETE of a missing id"]
    assert org.call("PATCH", nobody, {"Name": "x"}).body == expected
    assert (org.call("DELETE", nobody).status, org.call("DELETE", nobody).body) == (404, expected)
    assert org.call("GET", "/sobjects/Account/nonsense").code == "NOT_FOUND"
    assert org.call("GET", "/sobjects/Nothing/001Hk0000999999IAA").status == 404
    assert org.call("POST", "/sobjects/Nothing", {}).status == 404


@pytest.mark.parametrize(
    ("sobject", "fields", "code", "named"),
    [
        ("Account", {"Name": "x", "Foo__c": 1}, "INVALID_FIELD", ["Foo__c"]),
        ("Account", {}, "REQUIRED_FIELD_MISSING", ["Name"]),
        ("Account", {"Name": "   "}, "REQUIRED_FIELD_MISSING", ["Name"]),
        ("Account", {"Name": "x" * 256}, "STRING_TOO_LONG", ["Name"]),
        ("Account", {"Name": "x", "IsDeleted": True}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["IsDeleted"]),
        ("Account", {"Name": "x", "Id": "001Hk0000000001IAA"}, "INVALID_FIELD_FOR_INSERT_UPDATE", ["Id"]),
        ("Account", {"Name": "x", "NumberOfEmployees": "many"}, "JSON_PARSER_ERROR", None),
        ("Account", {"Name": "x", "NumberOfEmployees": 1.5}, "JSON_PARSER_ERROR", None),
        ("Account", {"Name": "x", "NumberOfEmployees": 10**9}, "NUMBER_OUTSIDE_VALID_RANGE", ["NumberOfEmployees"]),
        ("Account", {"Name": 5}, "JSON_PARSER_ERROR", None),
        ("Account", {"Name": {"a": 1}}, "JSON_PARSER_ERROR", None),
        ("Account", {"Name": "x", "PO_Required__c": "perhaps"}, "JSON_PARSER_ERROR", None),
        ("Account", {"Name": "x", "Invoice_Email__c": "nobody"}, "INVALID_EMAIL_ADDRESS", ["Invoice_Email__c"]),
        ("Account", {"Name": "x", "CurrencyIsoCode": "XXX"}, BAD_CHOICE, ["CurrencyIsoCode"]),
        ("Account", {"Name": "x", "ParentId": "003Hk0000000001IAA"}, "MALFORMED_ID", ["ParentId"]),
        ("Account", {"Name": "x", "ParentId": "001Hk0000999999IAA"}, "INVALID_CROSS_REFERENCE_KEY", []),
        ("Opportunity", {"Name": "x"}, "REQUIRED_FIELD_MISSING", ["StageName", "CloseDate"]),
        ("Opportunity", {"Name": "x", "StageName": "a", "CloseDate": "tomorrow"}, "JSON_PARSER_ERROR", None),
        ("Opportunity", {"Name": "x", "StageName": "a", "CloseDate": "2026-02-30"}, "JSON_PARSER_ERROR", None),
        ("Opportunity", {**OPEN, "Legal_Entity__c": "de"}, BAD_CHOICE, ["Legal_Entity__c"]),
        ("Opportunity", {**OPEN, "Tieout_Synced_At__c": "2026-01-01 10:00"}, "JSON_PARSER_ERROR", None),
        ("OpportunityStage", {"MasterLabel": "x"}, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", []),
        ("Order", {"Name": "x"}, "REQUIRED_FIELD_MISSING", ["AccountId", "EffectiveDate", "Status"]),
    ],
)  # fmt: skip
def test_refused_creates(
    org: Org, sobject: str, fields: dict[str, Any], code: str, named: list[str] | None
) -> None:
    reply = org.call("POST", f"/sobjects/{sobject}", fields)
    assert (reply.status, reply.code) == (400, code), reply.body
    assert reply.body[0].get("fields") == named


def test_texts_of_refusals(org: Org, samples: dict[str, Any]) -> None:
    unknown = org.call("POST", "/sobjects/Account", {"Foo__c": 1})
    assert unknown.body == samples["errors"]["400 INVALID_FIELD"]
    missing = org.call("POST", "/sobjects/Account", {"Site": "x"})
    assert missing.body == samples["errors"]["400 REQUIRED_FIELD_MISSING"]
    account = org.account()
    emptied = org.call("PATCH", f"/sobjects/Account/{account}", {"Name": None})
    assert emptied.body == samples["errors"]["400 REQUIRED_FIELD_MISSING"]
    with_id = org.call("PATCH", f"/sobjects/Account/{account}", {"Id": account})
    assert (with_id.status, with_id.code) == (400, "INVALID_FIELD")


def test_upsert_creates_then_changes(org: Org, samples: dict[str, Any]) -> None:
    account = org.account()
    fields = {
        "Name": "INV-1",
        "Account__c": account,
        "Amount__c": 500.1,
        "CurrencyIsoCode": "EUR",
        "Status__c": "posted",
    }
    first = org.call("PATCH", f"{INVOICE}/in_1", fields)
    assert (first.status, shape(first.body)) == (201, shape(samples["upsert_created_201"]))
    assert first.body["created"] is True
    second = org.call("PATCH", f"{INVOICE}/in_1", {"Status__c": "paid"})
    assert (second.status, second.body["created"], second.body["id"]) == (200, False, first.body["id"])
    read = org.call("GET", f"{INVOICE}/in_1").body
    assert (read["Status__c"], read["Amount__c"], read["CurrencyIsoCode"]) == ("paid", 500.1, "EUR")
    old = "/services/data/v45.0"
    assert org.call("PATCH", f"{old}{INVOICE}/in_1", {"Status__c": "void"}).status == 204
    assert org.call("DELETE", f"{INVOICE}/in_1").status == 204
    assert org.call("GET", f"{INVOICE}/in_1").status == 404
    assert org.call("PATCH", f"{INVOICE}/in_1", fields).status == 201  # the recycle bin does not count


def test_upsert_refusals(org: Org) -> None:
    assert org.call("PATCH", f"{INVOICE}/in_none?updateOnly=true", {"Name": "x"}).status == 404
    repeated = org.call("PATCH", f"{INVOICE}/in_2", {"Name": "x", "Tieout_External_Id__c": "in_2"})
    assert (repeated.status, repeated.code) == (400, "INVALID_FIELD")
    no_key = org.call("PATCH", "/sobjects/Tieout_Invoice__c/Status__c/x", {"Name": "x"})
    assert (no_key.status, no_key.code) == (404, "NOT_FOUND")
    nameless = org.call("PATCH", f"{INVOICE}/in_2", {"Status__c": "x"}).body["id"]
    assert org.call("GET", f"{INVOICE}/in_2").body["Name"] == nameless
    assert (
        org.call("PATCH", "/sobjects/Account/Tieout_External_Id__c/a-x", {}).code == "REQUIRED_FIELD_MISSING"
    )


def test_upsert_of_hostile_keys(org: Org) -> None:
    for key in ("in/with/slash", "it's 100% ü", "a b+c", "😀", "x" * 80):
        path = f"{INVOICE}/{quote(key, safe='')}"
        made = org.call("PATCH", path, {"Name": "x"})
        assert made.status == 201, made.body
        assert org.call("PATCH", path, {"Name": "y"}).body["id"] == made.body["id"]
        assert org.call("GET", path).body["Tieout_External_Id__c"] == key
    assert org.call("PATCH", f"{INVOICE}/{'x' * 81}", {"Name": "x"}).code == "STRING_TOO_LONG"
    assert org.call("PATCH", f"{INVOICE}/IN_CASE", {"Name": "x"}).status == 201
    assert org.call("PATCH", f"{INVOICE}/in_case", {"Name": "x"}).status == 201  # case-sensitive


def test_several_matches_answer_300(org: Org, samples: dict[str, Any]) -> None:
    made = [
        org.call("POST", "/sobjects/Product2", {"Name": f"twin {each}", "Legacy_Code__c": "L-1"}).body["id"]
        for each in "ab"
    ]
    many = org.call("PATCH", "/sobjects/Product2/Legacy_Code__c/l-1", {"Name": "x"})
    assert many.status == 300
    assert many.body == [f"/services/data/v68.0/sobjects/Product2/{each}" for each in made]
    assert shape(many.body) == shape(samples["upsert_multiple_300"])
    assert {row["Name"] for row in org.rows("SELECT Name FROM Product2 WHERE Legacy_Code__c = 'L-1'")} == {
        "twin a",
        "twin b",
    }


def test_unique_external_id(org: Org, samples: dict[str, Any]) -> None:
    first = org.call("POST", "/sobjects/Account", {"Name": "one", "Tieout_External_Id__c": "acct-1"}).body[
        "id"
    ]
    reply = org.call("POST", "/sobjects/Account", {"Name": "two", "Tieout_External_Id__c": "acct-1"})
    assert (reply.status, reply.code) == (400, "DUPLICATE_VALUE")
    assert shape(reply.body) == shape(samples["errors"]["400 DUPLICATE_VALUE"])
    assert first in reply.body[0]["message"]
    other = org.account("other")
    moved = org.call("PATCH", f"/sobjects/Account/{other}", {"Tieout_External_Id__c": "acct-1"})
    assert moved.code == "DUPLICATE_VALUE"


def test_foreign_keys_by_external_id(org: Org) -> None:
    org.call("PATCH", "/sobjects/Account/Tieout_External_Id__c/acct-fk", {"Name": "parent"})
    by_key = {"Account__r": {"Tieout_External_Id__c": "acct-fk"}, "Name": "x"}
    made = org.call("PATCH", f"{INVOICE}/in_fk", by_key)
    assert made.status == 201
    row = org.rows(f"SELECT Account__r.Name FROM Tieout_Invoice__c WHERE Id = '{made.body['id']}'")[0]
    assert row["Account__r"]["Name"] == "parent"
    lost = org.call("PATCH", f"{INVOICE}/in_fk", {"Account__r": {"Tieout_External_Id__c": "nobody"}})
    assert (lost.code, lost.status) == ("INVALID_FIELD", 400)
    assert "Foreign key external ID: nobody not found" in lost.body[0]["message"]
    assert org.call("PATCH", f"{INVOICE}/in_fk", {"Account__r": None}).status == 200


def test_opportunity_computes(org: Org) -> None:
    account = org.account()
    deal = org.deal(
        account,
        won=False,
        lines=[{"product": "PLATFORM", "quantity": 3, "unit_price": "33.33", "discount": "10"}],
    )
    path = f"/sobjects/Opportunity/{deal['id']}"
    row = org.call("GET", path).body
    assert (row["Amount"], row["HasOpportunityLineItem"], row["IsWon"], row["IsClosed"]) == (
        89.99,
        True,
        False,
        False,
    )
    assert (row["Probability"], row["ForecastCategory"], row["FiscalQuarter"]) == (90.0, "Pipeline", 4)
    assert org.call("PATCH", path, {"Amount": 1, "StageName": "Closed Won"}).status == 204
    row = org.call("GET", path).body
    assert (row["Amount"], row["IsWon"], row["IsClosed"], row["Probability"]) == (89.99, True, True, 100.0)
    line = f"/sobjects/OpportunityLineItem/{deal['lines'][0]}"
    org.clock.pass_seconds(5)
    assert org.call("PATCH", line, {"ServiceDate": "2026-12-01"}).status == 204
    assert (
        org.call("GET", path).body["SystemModstamp"] == row["SystemModstamp"]
    )  # a line's edit need not move the header
    assert org.call("PATCH", line, {"Quantity": 4}).status == 204
    assert org.call("GET", path).body["Amount"] == 119.99
    assert org.call("PATCH", line, {"Product2Id": "01tHk0000000002MAA"}).code in (
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "MALFORMED_ID",
    )
    org.call("PATCH", path, {"StageName": "Closed Lost"})
    row = org.call("GET", path).body
    assert (row["IsWon"], row["IsClosed"]) == (False, True)


def test_lines_need_a_price_in_the_currency(org: Org) -> None:
    account = org.account()
    deal = org.deal(account, currency="JPY", legal_entity="jp", lines=[])
    product = org.rows("SELECT Id FROM Product2 WHERE ProductCode = 'SUPPORT'")[0]["Id"]
    dollars = org.rows(
        "SELECT Id FROM PricebookEntry WHERE Product2.ProductCode = 'SUPPORT' AND CurrencyIsoCode = 'USD'"
    )[0]["Id"]
    body = {"OpportunityId": deal["id"], "Quantity": 1, "UnitPrice": 24000}
    wrong = org.call("POST", "/sobjects/OpportunityLineItem", {**body, "PricebookEntryId": dollars})
    assert wrong.code == "FIELD_INTEGRITY_EXCEPTION"
    right = org.call("POST", "/sobjects/OpportunityLineItem", {**body, "Product2Id": product})
    assert right.status == 201
    line = org.call("GET", f"/sobjects/OpportunityLineItem/{right.body['id']}").body
    assert (line["CurrencyIsoCode"], line["ListPrice"], line["ProductCode"]) == ("JPY", 24000.0, "SUPPORT")


def test_contract_and_order(org: Org) -> None:
    account = org.account()
    contract = org.call(
        "POST", "/sobjects/Contract", {"AccountId": account, "StartDate": "2026-03-01", "ContractTerm": 12}
    )
    row = org.call("GET", f"/sobjects/Contract/{contract.body['id']}").body
    assert (row["EndDate"], row["StatusCode"]) == ("2027-02-28", "Draft")  # inclusive
    header = {"AccountId": account, "EffectiveDate": "2026-03-01", "Status": "Draft"}
    order = org.call("POST", "/sobjects/Order", header).body["id"]
    empty = org.call("PATCH", f"/sobjects/Order/{order}", {"Status": "Activated"})
    assert empty.code == "FAILED_ACTIVATION"
    product = org.rows("SELECT Id FROM Product2 WHERE ProductCode = 'PLATFORM'")[0]["Id"]
    line = {"OrderId": order, "Product2Id": product, "Quantity": 2, "UnitPrice": 10.25}
    assert org.call("POST", "/sobjects/OrderItem", line).status == 201
    assert org.call("PATCH", f"/sobjects/Order/{order}", {"Status": "Activated"}).status == 204
    row = org.call("GET", f"/sobjects/Order/{order}").body
    assert (row["StatusCode"], row["TotalAmount"]) == ("Activated", 20.5)
    assert row["ActivatedDate"] is not None
    assert org.call("DELETE", f"/sobjects/Order/{order}").code == "DELETE_FAILED"


def test_quote_rolls_up(org: Org) -> None:
    deal = org.deal(org.account(), lines=[])
    quote_id = org.call("POST", "/sobjects/Quote", {"Name": "q", "OpportunityId": deal["id"], "Tax": 5}).body[
        "id"
    ]
    product = org.rows("SELECT Id FROM Product2 WHERE ProductCode = 'PLATFORM'")[0]["Id"]
    line = {"QuoteId": quote_id, "Product2Id": product, "Quantity": 2, "UnitPrice": 100, "Discount": 10}
    assert org.call("POST", "/sobjects/QuoteLineItem", line).status == 201
    row = org.call("GET", f"/sobjects/Quote/{quote_id}").body
    assert (row["Subtotal"], row["TotalPrice"], row["GrandTotal"], row["LineItemCount"]) == (
        200.0,
        180.0,
        185.0,
        1,
    )


def test_merge_moves_children_and_names_the_winner(org: Org) -> None:
    winner, loser = org.account("winner"), org.account("loser")
    deal = org.deal(loser)
    org.clock.pass_seconds(3)
    assert org.act("merge_accounts", winner=winner, loser=loser)["moved"] == {"Opportunity": 1}
    gone = org.rows(f"SELECT IsDeleted, MasterRecordId FROM Account WHERE Id = '{loser}'", deleted=True)[0]
    assert (gone["IsDeleted"], gone["MasterRecordId"]) == (True, winner)
    moved = org.rows(f"SELECT AccountId, SystemModstamp FROM Opportunity WHERE Id = '{deal['id']}'")[0]
    assert moved["AccountId"] == winner
    assert moved["SystemModstamp"] > "2026-11-23T13:20:09.000+0000"


def test_account_hierarchy_has_no_ring(org: Org) -> None:
    top = org.account("top")
    below = org.account("below", parent=top)
    assert org.call("PATCH", f"/sobjects/Account/{top}", {"ParentId": below}).code == "CIRCULAR_DEPENDENCY"
    assert org.call("PATCH", f"/sobjects/Account/{top}", {"ParentId": top}).code == "CIRCULAR_DEPENDENCY"


def test_addresses(org: Org) -> None:
    account = org.account(
        "addressed", billing={"street": "1 Main St", "city": "Austin", "state": "TX", "country": "US"}
    )
    row = org.call("GET", f"/sobjects/Account/{account}").body
    assert (row["BillingCountryCode"], row["BillingStateCode"]) == ("US", "TX")
    assert row["BillingAddress"]["city"] == "Austin"
    assert row["ShippingAddress"] is None
    org.call("PATCH", f"/sobjects/Account/{account}", {"BillingCountryCode": "JP", "BillingStateCode": None})
    row = org.call("GET", f"/sobjects/Account/{account}").body
    assert (row["BillingCountry"], row["BillingState"]) == ("Japan", None)


@pytest.mark.parametrize("status", [400, 500])
def test_locked_rows(org: Org, samples: dict[str, Any], status: int) -> None:
    account = org.account()
    org.act("lock_rows", count=1, status=status, object="Account", ids=[account])
    locked = org.call("PATCH", f"/sobjects/Account/{account}", {"Name": "x"})
    assert (locked.status, locked.code) == (status, "UNABLE_TO_LOCK_ROW")
    assert shape(locked.body) == shape(samples["errors"]["400 UNABLE_TO_LOCK_ROW (seen as 500 too)"])
    assert org.call("PATCH", f"/sobjects/Account/{account}", {"Name": "x"}).status == 204


def test_a_long_transaction_shows_behind_the_cursor(org: Org) -> None:
    account = org.account("slow")
    before = org.clock.now
    deal = {"account": account, "name": "late", "currency": "USD", "close_date": "2026-11-23", "lines": []}
    made = org.act("delayed_commit", seconds=30, do="create_deal", **{"with": deal})["id"]
    org.clock.pass_seconds(10)
    org.account("quick")
    assert org.rows(f"SELECT Id FROM Opportunity WHERE Id = '{made}'") == []
    assert org.rows(f"SELECT Id FROM Opportunity WHERE AccountId = '{account}'") == []
    assert org.call("GET", f"/sobjects/Opportunity/{made}").status == 404
    org.clock.pass_seconds(25)
    row = org.rows(f"SELECT SystemModstamp FROM Opportunity WHERE Id = '{made}'")[0]
    assert row["SystemModstamp"] == f"{before.replace(microsecond=0):%Y-%m-%dT%H:%M:%S}.000+0000"
    change = {"object": "Account", "id": account, "fields": {"Site": "new"}}
    org.act("delayed_commit", seconds=30, do="update", **{"with": change})
    assert org.call("GET", f"/sobjects/Account/{account}").body["Site"] is None
    assert org.call("PATCH", f"/sobjects/Account/{account}", {"Site": "x"}).code == "UNABLE_TO_LOCK_ROW"
    org.clock.pass_seconds(30)
    assert org.call("GET", f"/sobjects/Account/{account}").body["Site"] == "new"


def test_visibility_delay_makes_peoples_changes_late(org: Org) -> None:
    org.served.faults(visibility_delay_seconds=20)
    account = org.account("delayed")
    assert org.rows("SELECT Id FROM Account WHERE Name = 'delayed'") == []
    org.deal(account)  # what follows in the org sees it
    org.clock.pass_seconds(21)
    assert len(org.rows(f"SELECT Id FROM Opportunity WHERE AccountId = '{account}'")) == 1


def test_altering_leaves_no_trace(org: Org) -> None:
    deal = org.deal(org.account())
    path = f"/sobjects/OpportunityLineItem/{deal['lines'][0]}"
    before = org.call("GET", path).body
    org.clock.pass_seconds(60)
    told = org.act("alter", object="OpportunityLineItem", id=deal["lines"][0], fields={"UnitPrice": "50.01"})
    assert told["before"] == {"UnitPrice": "50.0"}
    after = org.call("GET", path).body
    assert after == {**before, "UnitPrice": 50.01}


def test_deleted_and_updated(org: Org, samples: dict[str, Any]) -> None:
    org.clock.now = START.replace(day=25)
    org.sign_in()
    account = org.account("fleeting")
    kept = org.account("kept")
    org.clock.pass_seconds(60)
    org.act("delete", object="Account", id=account)
    org.clock.pass_seconds(120)
    span = f"?start={quote('2026-11-25T13:00:00+00:00')}&end={quote('2026-11-25T14:00:00+00:00')}"
    deleted = org.call("GET", f"/sobjects/Account/deleted/{span}").body
    assert shape(deleted) == shape(samples["getDeleted"])
    assert [each["id"] for each in deleted["deletedRecords"]] == [account]
    updated = org.call("GET", f"/sobjects/Account/updated/{span}").body
    assert shape(updated) == shape(samples["getUpdated"])
    assert updated["ids"] == [kept]
    assert updated["latestDateCovered"] <= "2026-11-25T14:00:00.000+0000"
    early = f"?start={quote('2026-01-01T13:00:00+00:00')}&end={quote('2026-11-25T14:00:00+00:00')}"
    assert org.call("GET", f"/sobjects/Account/deleted{early}").code == "INVALID_REPLICATION_DATE"
    assert org.call("GET", "/sobjects/Account/deleted?start=x&end=y").code == "INVALID_REPLICATION_DATE"
    org.act("empty_recycle_bin", object="Account")
    assert org.call("GET", f"/sobjects/Account/deleted/{span}").body["deletedRecords"] == []
    assert org.rows(f"SELECT Id FROM Account WHERE Id = '{account}'", deleted=True) == []


def test_describe(org: Org) -> None:
    names = {each["name"] for each in org.call("GET", "/sobjects").body["sobjects"]}
    assert {"Account", "Opportunity", "OpportunityLineItem", "Tieout_Invoice__c", "Organization"} <= names
    about = org.call("GET", "/sobjects/opportunity/describe").body
    fields = {each["name"]: each for each in about["fields"]}
    assert fields["AccountId"]["referenceTo"] == ["Account"]
    assert fields["IsWon"]["createable"] is False
    assert fields["Tieout_External_Id__c"]["externalId"] is True
    assert fields["Amount"]["type"] == "currency"
    assert "OpportunityLineItems" in {each["relationshipName"] for each in about["childRelationships"]}
    assert org.call("GET", "/sobjects/Account").body["objectDescribe"]["keyPrefix"] == "001"
    assert org.call("GET", "/sobjects/Nothing/describe").status == 404


def test_field_names_are_the_vendors(org: Org, spec_path: Callable[[str], Path]) -> None:
    """Every standard field of the twin is in the list, apart from compounds and names that list leaves out."""
    listed = json.loads(spec_path("salesforce/standard_object_fields.json").read_text())["objects"]
    left_out = {
        "Contract": {"Name"}, "Order": {"Name"}, "Contact": {"MailingStreet", "OtherStreet"}, "Opportunity": set(),
    }  # fmt: skip
    compared = 0
    for name, sobject in org.twin.org.schema.objects.items():
        if name not in listed:
            continue
        compared += 1
        known = set(listed[name]["fields"]) | left_out.get(name, set())
        ours = {each.name for each in sobject.fields.values() if not each.custom and each.type != "address"}
        assert ours - known == set(), name
        targets = listed[name].get("references", {})
        for each in sobject.fields.values():
            if each.target and not each.custom and targets.get(each.name) not in (None, "Name"):
                assert targets[each.name] == each.target, (name, each.name)
    assert compared == 13


def test_relationship_urls(org: Org) -> None:
    account = org.account("family")
    deal = org.deal(account)
    assert org.call("GET", f"/sobjects/Opportunity/{deal['id']}/Account").body["Name"] == "family"
    children = org.call("GET", f"/sobjects/Account/{account}/Opportunities?fields=Id").body
    assert [each["Id"] for each in children["records"]] == [deal["id"]]
    assert org.call("GET", f"/sobjects/Account/{account}/Nothings").status == 404


def test_snapshot_shows_everything(org: Org) -> None:
    account = org.account("in the picture")
    shown = org.act("snapshot", objects=["Account"])
    assert list(shown) == ["Account"]
    row = next(each for each in shown["Account"] if each["Id"] == account)
    assert row["Name"] == "in the picture"
    assert "OpportunityLineItem" in org.act("snapshot")


def test_mistaken_actions_say_so(org: Org) -> None:
    for action, given in [
        ("create_account", {"currency": "USD"}),
        (
            "create_deal",
            {"account": org.account(), "name": "x", "lines": [{"product": "NOPE", "quantity": 1}]},
        ),
        ("create_deal", {"account": org.account(), "name": "x", "cloze_date": "2026-01-01"}),
        ("update", {"object": "Account", "id": "001Hk0000999999IAA", "fields": {}}),
        ("alter", {"object": "Account", "id": "nobody", "fields": {}}),
    ]:
        with pytest.raises(AssertionError, match="400"):
            org.act(action, **given)


def test_another_prefix() -> None:
    with open_org(prefix="Acme_") as org:
        assert (
            org.call("PATCH", "/sobjects/Acme_Invoice__c/Acme_External_Id__c/in_1", {"Name": "x"}).status
            == 201
        )
        assert org.call("GET", "/sobjects/Tieout_Invoice__c").status == 404


def test_faults_answer_as_the_vendor_does(org: Org) -> None:
    org.served.fail_once("rate_limited", "query")
    limited = org.query("SELECT Id FROM Account LIMIT 1")
    assert (limited.status, limited.code) == (403, "REQUEST_LIMIT_EXCEEDED")
    org.served.fail_once("error_after", "create")
    failed = org.call("POST", "/sobjects/Account", {"Name": "made in spite of it"})
    assert (failed.status, failed.code) == (500, "UNKNOWN_EXCEPTION")
    assert len(org.rows("SELECT Id FROM Account WHERE Name = 'made in spite of it'")) == 1
