"""A client of other people, simple-salesforce, does a whole order-to-cash with the twin, Bulk 2.0 included.

It writes https://<instance> into every address; a session adapter takes those to the twin's socket, and nothing else
of it is touched."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.conformance.twins.salesforce_org import Org, open_org

requests = pytest.importorskip("requests", reason="simple-salesforce is a dev dependency")
simple_salesforce = pytest.importorskip("simple_salesforce", reason="simple-salesforce is a dev dependency")


@pytest.fixture
def org() -> Iterator[Org]:
    with open_org() as opened:
        opened.clock.now = datetime.now(UTC)  # the client dates its assertion by the real clock
        opened.sign_in()
        yield opened


class ToTwin(requests.adapters.HTTPAdapter):  # type: ignore[name-defined, misc]
    """Sends what is for any https host to the twin."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = urlsplit(base)

    def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        parts = urlsplit(request.url)
        request.url = urlunsplit((self.base.scheme, self.base.netloc, parts.path, parts.query, ""))
        return super().send(request, *args, **kwargs)


@pytest.fixture
def session(org: Org) -> Iterator[Any]:
    with requests.Session() as opened:
        opened.mount("https://", ToTwin(org.served.url))
        yield opened


@pytest.fixture
def sf(org: Org, session: Any) -> Any:
    """Signed in with a JWT bearer assertion."""
    return simple_salesforce.Salesforce(
        username=org.about["username"],
        consumer_key=org.about["consumer_key"],
        privatekey=org.about["private_key"],
        domain="test",
        version="68.0",
        session=session,
    )


def test_client_credentials(org: Org, session: Any) -> None:
    signed = simple_salesforce.Salesforce(
        consumer_key=org.about["consumer_key"],
        consumer_secret=org.about["client_secret"],
        domain="acme.my",
        version="68.0",
        session=session,
    )
    assert signed.query("SELECT Id FROM Organization")["records"][0]["Id"] == org.about["org_id"]
    with pytest.raises(simple_salesforce.SalesforceAuthenticationFailed):
        simple_salesforce.Salesforce(
            consumer_key=org.about["consumer_key"], consumer_secret="wrong", domain="acme.my", session=session
        )


def test_order_to_cash(org: Org, sf: Any) -> None:
    account = sf.Account.create({"Name": "Acme", "CurrencyIsoCode": "USD", "BillingCountry": "US"})
    assert account["success"]
    deal = org.deal(account["id"])["id"]
    found = sf.query(f"SELECT Id, IsWon, (SELECT Id, TotalPrice FROM OpportunityLineItems) FROM Opportunity "
                     f"WHERE Id = '{deal}'")["records"][0]  # fmt: skip
    assert found["IsWon"]
    assert found["OpportunityLineItems"]["records"][0]["TotalPrice"] == 500.0
    entry = sf.query(
        "SELECT Id FROM PricebookEntry WHERE CurrencyIsoCode = 'USD' AND ProductCode = 'PLATFORM'"
    )
    order = sf.Order.create(
        {"AccountId": account["id"], "OpportunityId": deal, "EffectiveDate": "2026-12-01", "Status": "Draft"}
    )["id"]
    line = {"OrderId": order, "PricebookEntryId": entry["records"][0]["Id"], "Quantity": 10, "UnitPrice": 50}
    assert sf.OrderItem.create(line)["success"]
    assert sf.Order.update(order, {"Status": "Activated"}) == 204
    assert sf.Order.get(order)["StatusCode"] == "Activated"
    assert sf.Opportunity.update(deal, {"Tieout_Status__c": "active"}) == 204
    invoice = {"Account__c": account["id"], "Opportunity__c": deal, "Amount__c": 500.0, "Status__c": "open"}
    assert sf.Tieout_Invoice__c.upsert("Tieout_External_Id__c/in_1", invoice) == 201
    assert sf.Tieout_Invoice__c.upsert("Tieout_External_Id__c/in_1", {"Status__c": "paid"}) == 200
    shown = sf.Tieout_Invoice__c.get_by_custom_id("Tieout_External_Id__c", "in_1")
    assert (shown["Status__c"], shown["Amount__c"]) == ("paid", 500.0)
    with pytest.raises(simple_salesforce.SalesforceMalformedRequest, match="STRING_TOO_LONG"):
        sf.Opportunity.update(deal, {"Tieout_Status__c": "x" * 100})
    with pytest.raises(simple_salesforce.SalesforceResourceNotFound):
        sf.Account.get("001000000000001AAA")
    org.act("expire_sessions")
    assert sf.Account.get(account["id"])["Name"] == "Acme"  # it signs in again by itself
    assert sf.limits()["DailyApiRequests"]["Remaining"] > 0
    assert sf.api_usage["api-usage"].used > 0


def test_paging_to_the_end(org: Org, sf: Any) -> None:
    for number in range(7):
        org.account(f"Acme {number}")
    org.act("limits", page_size=3)
    found = sf.query_all("SELECT Name FROM Account ORDER BY Name")["records"]
    assert [row["Name"] for row in found] == [f"Acme {number}" for number in range(7)]


def test_bulk_both_ways(org: Org, sf: Any) -> None:
    rows = [
        {"Tieout_External_Id__c": f"in_{n}", "Status__c": "open", "Amount__c": f"{n}.50"} for n in range(25)
    ]
    rows.append({"Tieout_External_Id__c": "in_bad", "Status__c": "x" * 60, "Amount__c": "1"})
    job = sf.bulk2.Tieout_Invoice__c.upsert(records=rows, external_id_field="Tieout_External_Id__c")[0]
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (26, 1)
    failed = list(csv.DictReader(io.StringIO(sf.bulk2.Tieout_Invoice__c.get_failed_records(job["job_id"]))))
    assert [row["Tieout_External_Id__c"] for row in failed] == ["in_bad"]
    assert failed[0]["sf__Error"].startswith("STRING_TOO_LONG:")
    done = list(csv.DictReader(io.StringIO(sf.bulk2.Tieout_Invoice__c.get_successful_records(job["job_id"]))))
    assert {row["sf__Created"] for row in done} == {"true"}
    again = sf.bulk2.Tieout_Invoice__c.upsert(records=rows[:5], external_id_field="Tieout_External_Id__c")[0]
    assert again["numberRecordsFailed"] == 0
    pages = list(
        sf.bulk2.Tieout_Invoice__c.query(
            "SELECT Id, Amount__c, Status__c FROM Tieout_Invoice__c", max_records=10
        )
    )
    assert [len(list(csv.DictReader(io.StringIO(page)))) for page in pages] == [10, 10, 5]
    with pytest.raises(simple_salesforce.SalesforceMalformedRequest):
        list(sf.bulk2.Account.query("SELECT Id, BillingAddress FROM Account"))


def test_composite_by_its_session(sf: Any) -> None:
    """What the client has no method for, by its own session and address."""
    body = {
        "allOrNone": False,
        "records": [{"attributes": {"type": "Account"}, "Name": "A"}, {"attributes": {"type": "Account"}}],
    }
    found = sf.restful("composite/sobjects", method="POST", data=json.dumps(body))
    assert [each["success"] for each in found] == [True, False]
