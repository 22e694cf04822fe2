"""SOQL over the wire: answers, pages, deleted rows, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.twins.salesforce_org import Org, open_org, quoted, shape


@pytest.fixture(scope="module")
def shared() -> Iterator[Org]:
    with open_org() as org:
        yield org


@pytest.fixture
def org(shared: Org) -> Org:
    shared.sign_in()
    shared.act("limits", page_size=0)
    return shared


@pytest.fixture(scope="module")
def samples(spec_path: Callable[[str], Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec_path("salesforce/rest_bulk_samples.json").read_text())
    return found


def test_an_aggregate_in_one_read(org: Org, samples: dict[str, Any]) -> None:
    parent = org.account("Acme Holding")
    account = org.account("Acme Inc", parent=parent)
    lines = [
        {"product": "PLATFORM", "quantity": 10, "unit_price": "300.00"},
        {"product": "ONBOARD", "quantity": 1, "unit_price": 1500, "discount": "12.5"},
    ]
    deal = org.deal(account, lines=lines)
    org.deal(account, lines=[])
    soql = (
        "SELECT Id, Name, Amount, CloseDate, SystemModstamp, Account.Name, Account.Parent.Name,"
        " (SELECT Id, Quantity, UnitPrice, TotalPrice, Product2.ProductCode, SortOrder, ServiceDate"
        " FROM OpportunityLineItems WHERE Quantity > 0 ORDER BY SortOrder DESC)"
        f" FROM Opportunity WHERE Id = '{deal['id']}'"
    )
    page = org.query(soql).body
    assert (page["totalSize"], page["done"]) == (1, True)
    row = page["records"][0]
    assert list(row) == [
        "attributes", "Id", "Name", "Amount", "CloseDate", "SystemModstamp", "Account", "OpportunityLineItems",
    ]  # fmt: skip
    assert row["SystemModstamp"] == "2026-11-23T13:20:09.000+0000"
    assert row["Amount"] == 4312.5
    assert isinstance(row["Amount"], float)
    assert row["Account"]["Parent"]["Name"] == "Acme Holding"
    children = row["OpportunityLineItems"]
    assert [each["Product2"]["ProductCode"] for each in children["records"]] == ["ONBOARD", "PLATFORM"]
    assert children["records"][0]["TotalPrice"] == 1312.5
    sample = samples["query_page"]["records"][0]
    assert shape(row["attributes"]) == shape(sample["attributes"])
    assert set(shape(sample["OpportunityLineItems"])) == set(shape(children))
    assert (
        shape(sample["OpportunityLineItems"]["records"][0]).items() <= shape(children["records"][0]).items()
    )
    without = org.rows(
        f"SELECT Id, (SELECT Id FROM OpportunityLineItems) FROM Opportunity WHERE AccountId='{account}'"
    )
    assert [each["OpportunityLineItems"] is None for each in without] == [False, True]


def test_names_are_found_whatever_their_case(org: Org) -> None:
    account = org.account("Case")
    rows = org.rows(f"select ID, nAmE, oWnEr.nAmE from aCCount where iD = '{account[:15]}'")
    assert rows[0]["Id"] == account
    assert rows[0]["Owner"]["Name"] == "Sam Sales"


@pytest.fixture(scope="module")
def ties(shared: Org) -> list[str]:
    """The names of 450 contacts, many of one moment."""
    shared.sign_in()
    records = [{"attributes": {"type": "Contact"}, "LastName": f"tie {number:04}"} for number in range(450)]
    for start in range(0, 450, 150):
        body = {"allOrNone": True, "records": records[start : start + 150]}
        assert all(each["success"] for each in shared.call("POST", "/composite/sobjects", body).body)
    return [record["LastName"] for record in records]


def test_pages_with_ties_lose_and_repeat_nothing(org: Org, samples: dict[str, Any], ties: list[str]) -> None:
    soql = "SELECT Id, LastName FROM Contact WHERE LastName LIKE 'tie%' ORDER BY SystemModstamp, Id"
    page = org.query(soql, Sforce_Query_Options="batchSize=200").body
    assert shape({**page, "records": []}) == shape({**samples["query_page"], "records": []})
    seen, sizes = [], []
    while True:
        assert page["totalSize"] == 450
        sizes.append(len(page["records"]))
        seen += [each["LastName"] for each in page["records"]]
        if page["done"]:
            assert "nextRecordsUrl" not in page
            break
        assert page["nextRecordsUrl"].startswith("/services/data/v68.0/query/")
        page = org.call("GET", page["nextRecordsUrl"]).body
    assert sizes == [200, 200, 50]
    assert seen == ties


@pytest.mark.usefixtures("ties")
def test_page_size_stays_within_its_bounds(org: Org) -> None:
    for asked, length in (("batchSize=1", 200), ("batchSize=99999", 450), ("nonsense", 450)):
        soql = "SELECT Id FROM Contact WHERE LastName LIKE 'tie%'"
        assert len(org.query(soql, Sforce_Query_Options=asked).body["records"]) == length


def test_children_page_by_themselves(org: Org) -> None:
    lines = [{"product": "PLATFORM", "quantity": each, "unit_price": 1} for each in range(1, 8)]
    deal = org.deal(org.account(), lines=lines)
    org.act("limits", page_size=3)
    child = "SELECT Quantity FROM OpportunityLineItems ORDER BY Quantity"
    soql = f"SELECT Id, ({child}) FROM Opportunity WHERE Id='{deal['id']}'"
    inner = org.rows(soql)[0]["OpportunityLineItems"]
    assert (inner["totalSize"], inner["done"]) == (7, False)
    found = list(inner["records"])
    while not inner["done"]:
        inner = org.call("GET", inner["nextRecordsUrl"]).body
        found += inner["records"]
    assert [each["Quantity"] for each in found] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]


def test_locators_die(org: Org) -> None:
    org.act("limits", page_size=1)
    soql = "SELECT Id FROM Product2"
    url = org.query(soql).body["nextRecordsUrl"]
    assert org.call("GET", url).status == 200
    org.clock.pass_seconds(2 * 86400 + 1)
    org.sign_in()
    lost = org.call("GET", url)
    assert (lost.status, lost.code) == (400, "INVALID_QUERY_LOCATOR")
    assert org.call("GET", "/query/01gHk0000000999AAA-2000").code == "INVALID_QUERY_LOCATOR"
    assert org.call("GET", "/query/nonsense").code == "INVALID_QUERY_LOCATOR"
    oldest = org.query(soql).body["nextRecordsUrl"]
    for _ in range(10):
        newest = org.query(soql).body["nextRecordsUrl"]
    assert org.call("GET", oldest).code == "INVALID_QUERY_LOCATOR"
    assert org.call("GET", newest).status == 200
    assert org.act("expire_cursors")["expired"] > 0
    assert org.call("GET", newest).code == "INVALID_QUERY_LOCATOR"


def test_deleted_rows_show_in_query_all_alone(org: Org) -> None:
    account = org.account("Gone")
    deal = org.deal(account)
    org.act("delete", object="Account", id=account)
    assert org.rows(f"SELECT Id FROM Account WHERE Id = '{account}'") == []
    assert org.rows(f"SELECT Id FROM Opportunity WHERE Id = '{deal['id']}'") == []
    gone = org.rows(f"SELECT Id, IsDeleted FROM Account WHERE Id = '{account}'", deleted=True)
    assert gone[0]["IsDeleted"] is True
    soql = f"SELECT Id, IsDeleted, (SELECT Id FROM OpportunityLineItems) FROM Opportunity WHERE Id = '{deal['id']}'"
    assert org.rows(soql, deleted=True)[0]["OpportunityLineItems"]["totalSize"] == 1
    assert org.query("SELECT COUNT() FROM Account WHERE IsDeleted = true").body["totalSize"] == 0
    org.act("undelete", object="Account", id=account)
    assert len(org.rows(f"SELECT Id FROM OpportunityLineItem WHERE OpportunityId = '{deal['id']}'")) == 1


@pytest.mark.parametrize(
    "name",
    [
        "O'Brien & Söhne",
        'back\\slash "quoted"',
        "😀 株式会社テスト 🏳️‍🌈",
        "\u202eشركة اختبار\u202c",
        '=HYPERLINK("http://x")',
        "' OR Name != '",
        "100%_sure",
        "a\\'b",
        "tab\tand\nline",
        "x" * 255,
    ],
)
def test_hostile_names_pass_unharmed(org: Org, name: str) -> None:
    account = org.account(name)
    rows = org.rows(f"SELECT Id, Name FROM Account WHERE Name = {quoted(name)}")
    assert [(row["Id"], row["Name"]) for row in rows] == [(account, name)]
    assert org.call("GET", f"/sobjects/Account/{account}").body["Name"] == name


def test_conditions(org: Org) -> None:
    for number, (name, industry, employees) in enumerate(
        [("cond a", "Energy", 5), ("COND B", None, 50), ("cond c", "Retail", None)]
    ):
        fields = {"Name": name, "Industry": industry, "NumberOfEmployees": employees, "Site": f"s{number}"}
        org.act("create", object="Account", fields=fields)

    def names(where: str, order: str = "ORDER BY Name") -> list[str]:
        soql = f"SELECT Name FROM Account WHERE Name LIKE 'cond%' AND ({where}) {order}"
        return [row["Name"] for row in org.rows(soql)]

    assert names("Name = 'COND A'") == ["cond a"]
    assert names("Industry = null") == ["COND B"]
    assert names("Industry = ''") == ["COND B"]
    assert names("Industry != null") == ["cond a", "cond c"]
    assert names("Industry != 'energy'") == ["COND B", "cond c"]
    assert names("Industry NOT IN ('Energy')") == ["COND B", "cond c"]
    assert names("Industry IN ('retail', 'energy')") == ["cond a", "cond c"]
    assert names("NumberOfEmployees > 5") == ["COND B"]
    assert names("NumberOfEmployees <= 5.0") == ["cond a"]
    assert names("NumberOfEmployees < 1000 OR Industry = 'Retail'") == ["cond a", "COND B", "cond c"]
    assert names("NOT NumberOfEmployees = 5") == ["COND B", "cond c"]
    assert names("(NOT (Name LIKE '%a')) AND Site != 's2'") == ["COND B"]
    assert names("Parent.Name = null") == ["cond a", "COND B", "cond c"]
    assert names("Parent.Name = 'x'") == []
    assert names("CreatedDate = TODAY") == ["cond a", "COND B", "cond c"]
    assert names("CreatedDate < LAST_N_DAYS:3") == []
    assert names("Id != null", "ORDER BY NumberOfEmployees") == ["cond c", "cond a", "COND B"]
    assert names("Id != null", "ORDER BY NumberOfEmployees NULLS LAST") == ["cond a", "COND B", "cond c"]
    assert names("Id != null", "ORDER BY NumberOfEmployees DESC NULLS LAST") == ["COND B", "cond a", "cond c"]
    assert names("Id != null", "ORDER BY Name DESC LIMIT 1 OFFSET 1") == ["COND B"]
    assert names("Account.Name = 'cond a'") == ["cond a"]


def test_semi_joins_and_dates(org: Org) -> None:
    one, other = org.account("semi one"), org.account("semi two")
    org.deal(one, close_date="2026-11-30")
    joined = org.rows(
        "SELECT Id FROM Account WHERE Name LIKE 'semi%' AND Id IN (SELECT AccountId FROM Opportunity)"
    )
    assert [row["Id"] for row in joined] == [one]
    anti = org.rows(
        "SELECT Id FROM Account WHERE Name LIKE 'semi%' AND Id NOT IN (SELECT AccountId FROM Opportunity)"
    )
    assert [row["Id"] for row in anti] == [other]
    base = f"SELECT Id FROM Opportunity WHERE AccountId = '{one}' AND "
    assert len(org.rows(base + "CloseDate >= 2026-11-30 AND CloseDate <= 2026-11-30")) == 1
    assert len(org.rows(base + "CloseDate > 2026-11-30")) == 0
    assert len(org.rows(base + "SystemModstamp >= 2026-01-01T00:00:00Z")) == 1


def test_stamps_compare_as_moments(org: Org) -> None:
    org.clock.pass_seconds(0.75)
    account = org.account("stamped")
    stamp = org.rows(f"SELECT SystemModstamp FROM Account WHERE Id = '{account}'")[0]["SystemModstamp"]
    assert stamp.endswith(".000+0000")  # whole seconds
    base = f"SELECT Id FROM Account WHERE Id = '{account}' AND SystemModstamp "
    assert len(org.rows(f"{base} = {stamp}")) == 1
    assert len(org.rows(f"{base} >= {stamp[:19]}Z")) == 1
    assert len(org.rows(f"{base} > {stamp[:19]}Z")) == 0


@pytest.mark.parametrize(
    ("soql", "code"),
    [
        ("SELECT Id FORM Account", "MALFORMED_QUERY"),
        ("SELECT Foo__c FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Foo = 1", "INVALID_FIELD"),
        ("SELECT Id FROM Account ORDER BY Foo", "INVALID_FIELD"),
        ("SELECT Nowhere.Name FROM Account", "INVALID_FIELD"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
        ("SELECT Id, (SELECT Id FROM Nothings) FROM Account", "INVALID_TYPE"),
        ("SELECT Id FROM Opportunity WHERE CloseDate > '2026-01-01'", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE SystemModstamp > '2026-01-01T00:00:00Z'", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE SystemModstamp > 2026-01-01", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE Amount > '5'", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE IsWon = 'true'", "INVALID_FIELD"),
        ("SELECT Id FROM Opportunity WHERE IsWon > true", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Account WHERE Name = 5", "INVALID_FIELD"),
        ("SELECT Id FROM Account WHERE Name = Site", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = :name", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Id = 'x'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Account WHERE Id LIKE '001%'", "INVALID_QUERY_FILTER_OPERATOR"),
        ("SELECT Id FROM Account WHERE Description = 'x'", "INVALID_FIELD"),
        ("SELECT Id FROM Account ORDER BY Description", "INVALID_FIELD"),
        ("SELECT Id, Name, Id FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE"),
        ("SELECT FIELDS(ALL) FROM Account", "MALFORMED_QUERY"),
        ("SELECT Id FROM Account WHERE Name = '\\d'", "MALFORMED_QUERY"),
    ],
)
def test_refused_queries(org: Org, soql: str, code: str) -> None:
    reply = org.query(soql)
    assert (reply.status, reply.code) == (400, code)
    assert set(reply.body[0]) == {"message", "errorCode"}


def test_texts_of_refusals(org: Org, samples: dict[str, Any]) -> None:
    malformed = org.query("SELECT Id FORM Account").body[0]["message"]
    assert malformed.endswith(samples["errors"]["400 MALFORMED_QUERY"][0]["message"])
    column = org.query("SELECT Id, Foo__c FROM Account").body[0]["message"]
    assert column.startswith(
        "\nSELECT Id, Foo__c FROM Account\n           ^\nERROR at Row:1:Column:12\nNo such column 'Foo__c'"
    )
    assert org.call("GET", "/query").code == "MALFORMED_QUERY"


def test_field_sets(org: Org) -> None:
    account = org.account("fields")
    every = org.rows(f"SELECT FIELDS(ALL) FROM Account WHERE Id = '{account}' LIMIT 1")[0]
    assert {"Tieout_External_Id__c", "BillingAddress", "SystemModstamp"} <= set(every)
    custom = org.rows(f"SELECT FIELDS(CUSTOM) FROM Account WHERE Id = '{account}' LIMIT 1")[0]
    assert all(name.endswith("__c") for name in custom if name != "attributes")
    assert org.query("SELECT FIELDS(STANDARD) FROM Account").status == 200


def test_stages_organization_and_user(org: Org) -> None:
    stages = org.rows(
        "SELECT ApiName, IsWon, IsClosed FROM OpportunityStage WHERE IsClosed = true ORDER BY SortOrder"
    )
    assert [(row["ApiName"], row["IsWon"]) for row in stages] == [
        ("Closed Won", True),
        ("Closed Lost", False),
    ]
    home = org.rows("SELECT Id, IsSandbox, DefaultCurrencyIsoCode FROM Organization")
    assert home[0]["Id"] == org.about["org_id"]
    assert (home[0]["IsSandbox"], home[0]["DefaultCurrencyIsoCode"]) == (True, "USD")
    assert len(org.rows(f"SELECT Id FROM User WHERE Username = '{org.about['username']}'")) == 1
    priced = org.rows(
        "SELECT CurrencyIsoCode FROM PricebookEntry WHERE Product2.ProductCode = 'GHOST' ORDER BY CurrencyIsoCode"
    )
    assert [row["CurrencyIsoCode"] for row in priced] == ["EUR", "JPY", "USD"]


def test_indexes_and_scans_answer_alike(org: Org) -> None:
    """While somebody's change is pending, queries scan; the answers must not tell."""
    accounts = [org.account(f"index {each}") for each in range(4)]
    for account in accounts[:3]:
        org.deal(account)
    listed = ", ".join(f"'{each}'" for each in [*accounts, accounts[0]])
    queries = [
        f"SELECT Id FROM Account WHERE Id IN ({listed}) AND Name != 'index 1' ORDER BY Id",
        f"SELECT Id FROM Account WHERE Id = '{accounts[0]}' AND Id = '{accounts[1]}'",
        f"SELECT Id, (SELECT Id FROM OpportunityLineItems) FROM Opportunity WHERE AccountId IN ({listed}) ORDER BY Id",
        f"SELECT Id, (SELECT Id FROM Opportunities) FROM Account WHERE Id IN ({listed}) ORDER BY Name DESC",
        f"SELECT Id FROM Opportunity WHERE AccountId = '{accounts[0]}' OR AccountId = '{accounts[1]}' ORDER BY Id",
    ]
    indexed = [org.query(soql).body for soql in queries]
    assert [each["totalSize"] for each in indexed] == [3, 0, 3, 4, 2]
    change = {"object": "Product2", "fields": {"Name": "pending"}}
    org.act("delayed_commit", seconds=5, do="create", **{"with": change})
    assert [org.query(soql).body for soql in queries] == indexed
    org.clock.pass_seconds(6)
