"""Aggregates over the wire: groups, conditions on groups, and what the vendor refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.twins.salesforce_org import Org, open_org

AGGREGATE = {"type": "AggregateResult"}


@pytest.fixture(scope="module")
def org() -> Iterator[Org]:
    with open_org() as opened:
        acme, beta = opened.account("Acme"), opened.account("Beta")
        for account, name in ((acme, "one"), (acme, "two"), (beta, "three")):
            opened.deal(account, name=name)
        opened.deal(beta, name="lost", stage="Closed Lost")
        yield opened


def shown(org: Org, soql: str) -> list[dict[str, Any]]:
    rows = org.rows(soql)
    assert all(row.pop("attributes") == AGGREGATE for row in rows)
    return rows


def test_a_whole_and_its_groups(org: Org) -> None:
    whole = org.query("SELECT COUNT(Id), SUM(Amount) s FROM Opportunity WHERE Name != 'lost'").body
    assert (whole["totalSize"], whole["done"]) == (1, True)
    assert whole["records"] == [{"attributes": AGGREGATE, "expr0": 3, "s": 1500.0}]
    soql = "SELECT Account.Name, COUNT(Id) n, MAX(Amount) FROM Opportunity WHERE Name != 'lost'"
    by_account = shown(org, soql + " GROUP BY Account.Name ORDER BY COUNT(Id) DESC, Account.Name")
    assert by_account == [
        {"Name": "Acme", "n": 2, "expr0": 500.0},
        {"Name": "Beta", "n": 1, "expr0": 500.0},
    ]
    more = "SELECT AccountId, AVG(Amount), MIN(Name) first, COUNT_DISTINCT(StageName) FROM Opportunity"
    kept = shown(org, more + " GROUP BY AccountId HAVING SUM(Amount) > 900 AND COUNT(Id) IN (1, 2) LIMIT 5")
    assert [(row["expr0"], row["first"], row["expr1"]) for row in kept] == [
        (500.0, "one", 1),
        (500.0, "lost", 2),
    ]
    assert shown(org, "SELECT MAX(CloseDate) m FROM Opportunity WHERE Name = 'none'") == [{"m": None}]
    assert shown(org, "SELECT AccountId FROM Opportunity WHERE Name = 'none' GROUP BY AccountId") == []


def test_parts_of_dates(org: Org) -> None:
    soql = "SELECT CALENDAR_YEAR(CloseDate), CALENDAR_MONTH(CloseDate) m, COUNT(Id) FROM Opportunity"
    grouped = soql + " GROUP BY CALENDAR_YEAR(CloseDate), CALENDAR_MONTH(CloseDate)"
    assert shown(org, grouped + " ORDER BY CALENDAR_YEAR(CloseDate)") == [
        {"expr0": 2026, "m": 11, "expr1": 4}
    ]
    where = "SELECT Name FROM Opportunity WHERE CALENDAR_QUARTER(CloseDate) = 4 AND DAY_ONLY(CreatedDate) = "
    assert len(org.rows(where + "2026-11-23 ORDER BY DAY_IN_MONTH(CloseDate)")) == 4
    assert org.rows(where + "2026-11-24") == []
    labels = org.rows("SELECT toLabel(StageName) FROM Opportunity WHERE toLabel(StageName) = 'Closed Lost'")
    assert [row["StageName"] for row in labels] == ["Closed Lost"]


@pytest.mark.parametrize(
    "soql",
    [
        "SELECT Name, COUNT(Id) FROM Opportunity",
        "SELECT SUM(Name) FROM Opportunity",
        "SELECT COUNT(Id) FROM Opportunity LIMIT 1",
        "SELECT Amount FROM Opportunity GROUP BY Amount",
        "SELECT Id i FROM Account",
        "SELECT Id FROM Account WHERE COUNT(Id) > 1",
        "SELECT Id FROM Account HAVING COUNT(Id) > 1",
        "SELECT Name, (SELECT COUNT(Id) FROM Opportunities) FROM Account",
        "SELECT StageName FROM Opportunity GROUP BY ROLLUP(StageName)",
        "SELECT CALENDAR_YEAR(CloseDate) FROM Opportunity",
        "SELECT CALENDAR_YEAR(Name), COUNT(Id) FROM Opportunity GROUP BY CALENDAR_YEAR(Name)",
        "SELECT Id FROM Opportunity WHERE HOUR_IN_DAY(CloseDate) = 1",
        "SELECT COUNT(Id) a, SUM(Amount) a FROM Opportunity",
        "SELECT StageName FROM Opportunity GROUP BY StageName ORDER BY Name",
    ],
)
def test_refused_aggregates(org: Org, soql: str) -> None:
    reply = org.query(soql)
    assert (reply.status, reply.code) == (400, "MALFORMED_QUERY")


def test_bulk_takes_no_aggregates(org: Org) -> None:
    job = {"operation": "query", "query": "SELECT COUNT(Id) FROM Account"}
    assert org.call("POST", "/jobs/query", job).status == 400


def test_multi_select_picklists(org: Org) -> None:
    org.act("add_field", object="Account", line="Regions__c multipicklist")
    some = {"Acme": "EMEA;APAC", "Beta": "EMEA"}
    for name, chosen in some.items():
        body = {"Regions__c": chosen}
        org.call("POST", "/sobjects/Account", {"Name": f"{name} regions", **body})

    def names(condition: str) -> list[str]:
        soql = f"SELECT Name FROM Account WHERE Name LIKE '% regions' AND {condition} ORDER BY Name"
        return [row["Name"].split()[0] for row in org.rows(soql)]

    assert names("Regions__c INCLUDES ('EMEA')") == ["Acme", "Beta"]
    assert names("Regions__c INCLUDES ('APAC;EMEA', 'AMER')") == ["Acme"]
    assert names("Regions__c EXCLUDES ('APAC')") == ["Beta"]
    assert names("Regions__c = 'EMEA'") == ["Beta"]
    refused = org.query("SELECT Id FROM Account WHERE Industry INCLUDES ('a')")
    assert (refused.status, refused.code) == (400, "INVALID_QUERY_FILTER_OPERATOR")
