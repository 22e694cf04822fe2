"""The Salesforce twin's Bulk API 2.0 from documented requests: shapes of the samples, states, refusals."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.twins.salesforce_org import Org, Reply, V, open_org, shape


@pytest.fixture
def org() -> Iterator[Org]:
    with open_org() as opened:
        yield opened


@pytest.fixture
def samples(spec_path: Callable[[str], Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec_path("salesforce/rest_bulk_samples.json").read_text())
    return found


def ingest(org: Org, csv: str, operation: str = "upsert", **more: Any) -> str:
    asked = {"object": "Tieout_Invoice__c", "operation": operation, "contentType": "CSV", "lineEnding": "LF"}
    asked |= {"externalIdFieldName": "Tieout_External_Id__c"} if operation == "upsert" else {}
    job = org.call("POST", "/jobs/ingest", asked | more).body
    put = org.raw("PUT", f"/{job['contentUrl']}", csv.encode(), bearer(org, "text/csv"))
    assert put.status == 201
    assert (
        org.call("PATCH", f"/jobs/ingest/{job['id']}", {"state": "UploadComplete"}).body["state"]
        == "UploadComplete"
    )
    return str(job["id"])


def bearer(org: Org, kind: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {org.token}", "Content-Type": kind}


def text(org: Org, path: str) -> str:

    request = urllib.request.Request(org.served.url + V + path, headers=bearer(org, "text/csv"))
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/csv")
        found: str = answer.read().decode()
    return found


def refused(reply: Reply, code: str) -> None:
    assert (reply.status, reply.code) == (400, code)


def test_shapes_are_those_of_the_samples(org: Org, samples: dict[str, Any]) -> None:
    asked = samples["bulk2_ingest_create_request"] | {"externalIdFieldName": "Tieout_External_Id__c"}
    made = org.call("POST", "/jobs/ingest", asked).body
    extra = {"externalIdFieldName": "string"}
    counted = {"retries", "totalProcessingTime", "apiActiveProcessingTime", "apexProcessingTime"}
    expected = shape({k: v for k, v in samples["bulk2_ingest_job_open"].items() if k not in counted})
    assert shape(made).keys() == expected.keys() | extra.keys()
    assert not made["contentUrl"].startswith("/")
    job = ingest(org, "Tieout_External_Id__c,Name\nin_1,Acme\nin_2," + "x" * 90 + "\n")
    done = org.call("GET", f"/jobs/ingest/{job}").body
    extra_done = samples["bulk2_ingest_job_complete_extra"]
    assert {key: done[key] for key in extra_done} == extra_done
    good, bad = (
        text(org, f"/jobs/ingest/{job}/successfulResults"),
        text(org, f"/jobs/ingest/{job}/failedResults"),
    )
    assert good.splitlines()[0].replace('"', "") == "sf__Id,sf__Created,Tieout_External_Id__c,Name"
    assert '"true","in_1","Acme"' in good
    assert bad.splitlines()[0].replace('"', "") == "sf__Id,sf__Error,Tieout_External_Id__c,Name"
    assert '"","STRING_TOO_LONG:' in bad
    assert ':Name --","in_2"' in bad


def test_query_pages_and_its_last_locator(org: Org, samples: dict[str, Any]) -> None:
    for number in range(5):
        org.account(f"Acme {number}")
    job = org.call("POST", "/jobs/query", samples["bulk2_query_create_request"]).body
    assert job["state"] == "UploadComplete"
    assert org.call("GET", f"/jobs/query/{job['id']}").body["numberRecordsProcessed"] == 5
    locators, locator = [], ""
    while locator != "null":
        after = f"&locator={locator}" if locator else ""
        path = f"{V}/jobs/query/{job['id']}/results?maxRecords=2{after}"
        request = urllib.request.Request(org.served.url + path, headers=bearer(org, "text/csv"))
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert {name.lower() for name in samples["bulk2_query_results_headers"]} <= {
                name.lower() for name in answer.headers
            }
            locator = answer.headers["Sforce-Locator"]
            locators.append(int(answer.headers["Sforce-NumberOfRecords"]))
            assert answer.read().decode().startswith('"Id","SystemModstamp"\n')
    assert locators == [2, 2, 1]
    refused(org.call("GET", f"/jobs/query/{job['id']}/results?locator=nonsense"), "INVALID_QUERY_LOCATOR")


def test_refusals(org: Org) -> None:
    query = {"operation": "query", "query": "SELECT Id, BillingAddress FROM Account"}
    refused(org.call("POST", "/jobs/query", query), "INVALIDJOB")
    refused(org.call("POST", "/jobs/query", query | {"query": "SELECT COUNT() FROM Account"}), "INVALIDJOB")
    refused(org.call("POST", "/jobs/query", query | {"query": "SELECT Nope FROM Account"}), "INVALID_FIELD")
    refused(org.call("POST", "/jobs/query", query | {"operation": "insert"}), "INVALIDJOB")
    refused(org.call("POST", "/jobs/ingest", {"object": "Nope", "operation": "insert"}), "INVALIDENTITY")
    refused(org.call("POST", "/jobs/ingest", {"object": "Account", "operation": "upsert"}), "INVALIDJOB")
    job = org.call("POST", "/jobs/ingest", {"object": "Account", "operation": "insert"}).body
    refused(org.call("PATCH", f"/jobs/ingest/{job['id']}", {"state": "UploadComplete"}), "INVALIDJOBSTATE")
    refused(org.call("GET", f"/jobs/ingest/{job['id']}/successfulResults"), "INVALIDJOBSTATE")
    refused(org.call("DELETE", f"/jobs/ingest/{job['id']}"), "INVALIDJOBSTATE")
    wrong = org.raw("PUT", f"/{job['contentUrl']}", b"Name\nA\n", bearer(org, "application/json"))
    assert wrong.status == 415
    assert org.call("PATCH", f"/jobs/ingest/{job['id']}", {"state": "Aborted"}).body["state"] == "Aborted"
    assert org.call("DELETE", f"/jobs/ingest/{job['id']}").status == 204
    assert org.call("GET", f"/jobs/ingest/{job['id']}").status == 404
    assert org.call("GET", f"/jobs/query/{job['id']}").status == 404


def test_operations_and_what_an_empty_cell_means(org: Org) -> None:
    account = org.account("Acme", tax_id="T1")
    ingest(org, f"Id,Name,Tax_Id__c\n{account},Acme 2,\n", "update", object="Account")
    org.call("GET", "/jobs/ingest")
    for job in org.act("bulk")["jobs"]:
        org.call("GET", f"/jobs/ingest/{job}")
    assert org.rows("SELECT Name, Tax_Id__c FROM Account")[0]["Tax_Id__c"] == "T1"
    job = ingest(
        org, f"Id;Tax_Id__c\r\n{account};#N/A\r\n", "update", object="Account", columnDelimiter="SEMICOLON"
    )
    assert org.call("GET", f"/jobs/ingest/{job}").body["numberRecordsFailed"] == 0
    shown = org.rows("SELECT Name, Tax_Id__c FROM Account")[0]
    assert (shown["Name"], shown["Tax_Id__c"]) == ("Acme 2", None)
    job = ingest(org, f"Id\n{account}\nnonsense\n", "delete", object="Account")
    done = org.call("GET", f"/jobs/ingest/{job}").body
    assert (done["numberRecordsProcessed"], done["numberRecordsFailed"]) == (2, 1)
    assert org.rows("SELECT Id FROM Account") == []
    job = ingest(org, "Nope\n1\n", "insert", object="Account")
    failed = org.call("GET", f"/jobs/ingest/{job}").body
    assert (failed["state"], "Field name not found" in failed["errorMessage"]) == ("Failed", True)
    assert text(org, f"/jobs/ingest/{job}/unprocessedrecords") == '"Nope"\n"1"\n'


def test_job_takes_its_time(org: Org) -> None:
    org.act("bulk", seconds=30)
    job = ingest(org, "Tieout_External_Id__c\nin_1\n")
    assert org.call("GET", f"/jobs/ingest/{job}").body["state"] == "InProgress"
    assert org.rows("SELECT Id FROM Tieout_Invoice__c") == []
    org.clock.pass_seconds(31)
    assert org.call("GET", f"/jobs/ingest/{job}").body["state"] == "JobComplete"
    assert len(org.rows("SELECT Id FROM Tieout_Invoice__c")) == 1
