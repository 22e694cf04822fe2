"""Many records in one call: Collections, Composite, Batch, Graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.twins.salesforce_org import Org, V, open_org, shape

BATCH = "/composite/sobjects"
INVOICES = f"{BATCH}/Tieout_Invoice__c/Tieout_External_Id__c"


@pytest.fixture(scope="module")
def shared() -> Iterator[Org]:
    with open_org() as org:
        yield org


@pytest.fixture
def org(shared: Org) -> Org:
    shared.sign_in()
    shared.served.faults()
    return shared


@pytest.fixture(scope="module")
def samples(spec_path: Callable[[str], Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec_path("salesforce/rest_bulk_samples.json").read_text())
    return found


def records(*given: dict[str, Any], kind: str = "Account", every: bool = False) -> dict[str, Any]:
    return {"allOrNone": every, "records": [{"attributes": {"type": kind}, **each} for each in given]}


def count(org: Org, where: str, sobject: str = "Account") -> int:
    return int(org.query(f"SELECT COUNT() FROM {sobject} WHERE {where}").body["totalSize"])


def test_partial_success_is_a_200(org: Org, samples: dict[str, Any]) -> None:
    reply = org.call("POST", BATCH, records({"Name": "part a"}, {"Site": "no name"}, {"Name": "part b"}))
    assert reply.status == 200
    assert [each["success"] for each in reply.body] == [True, False, True]
    assert shape(reply.body[:2]) == shape(samples["collections_partial_200"])
    assert "id" not in reply.body[1]
    assert reply.body[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert count(org, "Name LIKE 'part %'") == 2


def test_all_or_none_keeps_the_ids_it_rolled_back(org: Org, samples: dict[str, Any]) -> None:
    reply = org.call(
        "POST", BATCH, records({"Name": "none a"}, {"Site": "x"}, {"Name": "none b"}, every=True)
    )
    assert reply.status == 200
    rolled, failed, _ = reply.body
    expected = samples["collections_rolled_back_200"]
    assert shape(rolled) == shape(expected[0])
    assert rolled["errors"] == expected[0]["errors"]
    assert set(failed) == set(expected[1])
    assert count(org, "Name LIKE 'none %'") == 0
    assert org.call("GET", f"/sobjects/Account/{rolled['id']}").status == 404


def test_change_many(org: Org) -> None:
    one, two = org.account("many one"), org.account("many two")
    body = records(
        {"id": one, "Site": "a"},
        {"Id": two, "Site": "b"},
        {"Site": "c"},
        {"id": "003Hk0000000001IAA"},
        {"id": one},
    )
    results = org.call("PATCH", BATCH, body).body
    assert [each["success"] for each in results] == [True, True, False, False, False]
    codes = [each["errors"][0]["statusCode"] for each in results[2:]]
    assert codes == ["MISSING_ARGUMENT", "MALFORMED_ID", "DUPLICATE_VALUE"]
    assert org.rows(f"SELECT Site FROM Account WHERE Id = '{two}'")[0]["Site"] == "b"


def test_upsert_many(org: Org, samples: dict[str, Any]) -> None:
    keyed = [{"Tieout_External_Id__c": f"in_{number}", "Name": f"INV-{number}"} for number in range(200)]
    first = org.call("PATCH", INVOICES, records(*keyed, kind="Tieout_Invoice__c")).body
    assert len(first) == 200
    assert shape(first[0]) == shape(samples["collections_upsert_result"])
    assert all(each["created"] for each in first)
    second = org.call(
        "PATCH", INVOICES, records(*keyed[:2], {"Name": "no key"}, kind="Tieout_Invoice__c")
    ).body
    assert [each.get("created") for each in second] == [False, False, None]
    assert [each["id"] for each in second[:2]] == [each["id"] for each in first[:2]]
    twice = org.call("PATCH", INVOICES, records(keyed[0], keyed[0], kind="Tieout_Invoice__c")).body
    assert [each["errors"][0]["statusCode"] for each in twice] == ["DUPLICATE_VALUE", "DUPLICATE_VALUE"]
    other = org.call("PATCH", INVOICES, records({"Name": "x", "Tieout_External_Id__c": "y"})).body
    assert other[0]["errors"][0]["statusCode"] == "INVALID_TYPE"


def test_too_many_and_malformed(org: Org) -> None:
    over = org.call("POST", BATCH, records(*({"Name": "x"} for _ in range(201))))
    assert (over.status, over.code) == (400, "EXCEEDED_ID_LIMIT")
    assert org.call("POST", BATCH, {"records": "all"}).code == "JSON_PARSER_ERROR"
    assert org.call("POST", BATCH, []).code == "JSON_PARSER_ERROR"
    untyped = org.call("POST", BATCH, {"records": [{"Name": "x"}, {"attributes": {"type": "Nope"}}]})
    assert [each["errors"][0]["statusCode"] for each in untyped.body] == ["INVALID_TYPE", "INVALID_TYPE"]


def test_read_and_delete_many(org: Org) -> None:
    one, two = org.account("rd one"), org.account("rd two")
    read = org.call("GET", f"{BATCH}/Account?ids={one},001Hk0000999999IAA,{two}&fields=Name").body
    assert [each and each["Name"] for each in read] == ["rd one", None, "rd two"]
    posted = org.call("POST", f"{BATCH}/Account", {"ids": [two], "fields": ["Id", "Name"]}).body
    assert posted[0]["Id"] == two
    gone = org.call("DELETE", f"{BATCH}?ids={one},{two},nonsense&allOrNone=true").body
    assert [each["success"] for each in gone] == [False, False, False]
    gone = org.call("DELETE", f"{BATCH}?ids={one},{two},nonsense").body
    assert [each["success"] for each in gone] == [True, True, False]


def test_partial_batch_fault(org: Org) -> None:
    org.served.faults(partial_batch=0.5, seed=3)
    results = org.call("POST", BATCH, records(*({"Name": f"fault {each}"} for each in range(40)))).body
    failed = [each for each in results if not each["success"]]
    assert 0 < len(failed) < 40
    assert {each["errors"][0]["statusCode"] for each in failed} == {"UNABLE_TO_LOCK_ROW"}
    org.served.faults()
    assert count(org, "Name LIKE 'fault %'") == 40 - len(failed)


def part(method: str, path: str, reference: str, body: Any = None) -> dict[str, Any]:
    made = {"method": method, "url": V + path, "referenceId": reference}
    return made if body is None else {**made, "body": body}


def composite(org: Org, *parts: dict[str, Any], every: bool = False) -> Any:
    reply = org.call("POST", "/composite", {"allOrNone": every, "compositeRequest": list(parts)})
    assert reply.status == 200, reply.body
    return reply.body["compositeResponse"]


def test_references(org: Org, samples: dict[str, Any]) -> None:
    before = org.act("limits")["used"]
    answers = composite(
        org,
        part("PATCH", "/sobjects/Account/Tieout_External_Id__c/comp-1", "Acc", {"Name": "Composite"}),
        part("POST", "/sobjects/Contact", "Con", {"LastName": "Doe of @{Acc.id}", "AccountId": "@{Acc.id}"}),
        part("GET", "/query?q=SELECT+Id,Name+FROM+Account+WHERE+Id='@{Acc.id}'", "Found"),
        part(
            "PATCH",
            "/sobjects/Account/@{Found.records[0].Id}",
            "Changed",
            {"Site": "@{Found.records[0].Name}"},
        ),
    )
    assert [each["httpStatusCode"] for each in answers] == [201, 201, 200, 204]
    sample = samples["composite_response_200"]["compositeResponse"][0]
    assert shape(answers[0]) == {**shape(sample), "body": {**shape(sample["body"]), "created": "bool"}}
    account = answers[0]["body"]["id"]
    assert answers[0]["httpHeaders"] == {"Location": f"{V}/sobjects/Account/{account}"}
    assert answers[3]["body"] is None
    contact = org.rows(f"SELECT LastName, Account.Site FROM Contact WHERE AccountId = '{account}'")[0]
    assert (contact["LastName"], contact["Account"]["Site"]) == (f"Doe of {account}", "Composite")
    assert org.act("limits")["used"] == before + 2  # the composite and the query above count one each


def test_all_or_none_undoes_everything(org: Org, samples: dict[str, Any]) -> None:
    answers = composite(
        org,
        part("POST", "/sobjects/Account", "A", {"Name": "undone"}),
        part("POST", "/sobjects/Account", "B", {}),
        part("POST", "/sobjects/Account", "C", {"Name": "undone"}),
        every=True,
    )
    assert [each["httpStatusCode"] for each in answers] == [400, 400, 400]
    assert answers[0] == {**samples["composite_response_200"]["compositeResponse"][1], "referenceId": "A"}
    assert answers[1]["body"][0]["errorCode"] == "REQUIRED_FIELD_MISSING"
    assert answers[2]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert count(org, "Name = 'undone'") == 0


def test_without_it_only_dependents_fail(org: Org) -> None:
    answers = composite(
        org,
        part("POST", "/sobjects/Account", "A", {}),
        part("POST", "/sobjects/Contact", "B", {"LastName": "x", "AccountId": "@{A.id}"}),
        part("POST", "/sobjects/Account", "C", {"Name": "still done"}),
    )
    assert [each["httpStatusCode"] for each in answers] == [400, 400, 201]
    assert answers[1]["body"][0]["errorCode"] == "PROCESSING_HALTED"
    assert answers[1]["body"][0]["message"] == "Invalid reference specified. No value for A.id found in A"
    assert count(org, "Name = 'still done'") == 1


def test_the_outer_flag_rules_inner_collections(org: Org) -> None:
    inner = part("POST", BATCH, "Inner", records({"Name": "inner"}, {}))
    answers = composite(org, part("POST", "/sobjects/Account", "Outer", {"Name": "outer"}), inner, every=True)
    assert [each["httpStatusCode"] for each in answers] == [400, 200]
    codes = [each["errors"][0]["statusCode"] for each in answers[1]["body"]]
    assert codes == ["ALL_OR_NONE_OPERATION_ROLLED_BACK", "REQUIRED_FIELD_MISSING"]
    assert count(org, "Name IN ('inner', 'outer')") == 0
    answers = composite(org, part("POST", "/sobjects/Account", "Outer", {"Name": "outer"}), inner)
    assert [each["httpStatusCode"] for each in answers] == [201, 200]
    assert count(org, "Name IN ('inner', 'outer')") == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"compositeRequest": []},
        {"compositeRequest": [{"method": "GET", "url": f"{V}/limits"}]},
        {"compositeRequest": [{"method": "GET", "url": f"{V}/limits", "referenceId": "a-b"}]},
        {"compositeRequest": [part("GET", "/limits", "a"), part("GET", "/limits", "a")]},
        {},
    ],
)
def test_misshapen_composites(org: Org, wrong: dict[str, Any]) -> None:
    assert org.call("POST", "/composite", wrong).status == 400


def test_composite_limits(org: Org) -> None:
    over = composite(org, *(part("GET", "/limits", f"r{number}") for number in range(26)))
    assert over == [
        {
            "body": [{"errorCode": "LIMIT_EXCEEDED", "message": "The request can’t contain more than 25 operations."}],
            "httpHeaders": {}, "httpStatusCode": 400, "referenceId": None,
        }
    ]  # fmt: skip
    wide = composite(org, *(part("GET", "/query?q=SELECT+Id+FROM+User", f"r{number}") for number in range(6)))
    assert wide[0]["body"][0]["errorCode"] == "LIMIT_EXCEEDED"
    nested = composite(org, part("POST", "/composite", "x", {"compositeRequest": []}))
    assert nested[0]["httpStatusCode"] == 400
    assert composite(org, part("GET", "/nothing", "x"))[0]["httpStatusCode"] == 404


def test_reads_alone_are_no_write(org: Org) -> None:
    look = part("GET", "/limits", "Look")
    composite(org, look)
    composite(org, look, part("POST", "/sobjects/Account", "Made", {"Name": "made"}))
    org.call("POST", "/composite/batch", {"batchRequests": [{"url": "v68.0/limits"}]})
    org.call("POST", "/composite", {"compositeRequest": []})
    writes = [
        entry["writes"]
        for entry in org.served.log()
        if entry["operation"] in ("composite", "composite_batch")
    ]
    assert writes[-4:] == [False, True, False, True]


def test_batch(org: Org) -> None:
    body = {
        "batchRequests": [
            {"method": "POST", "url": "v68.0/sobjects/Account", "richInput": {"Name": "batched"}},
            {"method": "POST", "url": "v68.0/sobjects/Account", "richInput": {}},
            {"method": "GET", "url": "v68.0/limits"},
        ]
    }
    answer = org.call("POST", "/composite/batch", body).body
    assert answer["hasErrors"] is True
    assert [each["statusCode"] for each in answer["results"]] == [201, 400, 200]
    halted = org.call("POST", "/composite/batch", {**body, "haltOnError": True}).body
    assert [each["statusCode"] for each in halted["results"]] == [201, 400, 412]


def test_graphs_stand_or_fall_alone(org: Org, samples: dict[str, Any]) -> None:
    def graph(name: str, second: dict[str, Any]) -> dict[str, Any]:
        parts = [
            part("POST", "/sobjects/Account/", "acc", {"Name": f"graph {name}"}),
            part("POST", "/sobjects/Contact", "con", {"AccountId": "@{acc.id}", **second}),
        ]
        return {"graphId": name, "compositeRequest": parts}

    reply = org.call(
        "POST", "/composite/graph", {"graphs": [graph("g1", {"LastName": "x"}), graph("g2", {})]}
    )
    assert reply.status == 200
    assert [each["isSuccessful"] for each in reply.body["graphs"]] == [True, False]
    assert shape(reply.body["graphs"][0]) == shape(samples["composite_graph_response"]["graphs"][0])
    assert count(org, "Name = 'graph g1'") == 1
    assert count(org, "Name = 'graph g2'") == 0
    odd = {"graphs": [{"graphId": "g", "compositeRequest": [part("GET", "/query?q=x", "q")]}]}
    assert org.call("POST", "/composite/graph", odd).status == 400


def test_tree_makes_all_or_none(org: Org) -> None:
    def account(reference: str, *contacts: dict[str, Any], **fields: Any) -> dict[str, Any]:
        record = {"attributes": {"type": "Account", "referenceId": reference}, **fields}
        return record | ({"Contacts": {"records": list(contacts)}} if contacts else {})

    def contact(reference: str, **fields: Any) -> dict[str, Any]:
        return {"attributes": {"type": "Contact", "referenceId": reference}, **fields}

    good = {
        "records": [account("a", contact("b", LastName="Buyer"), Name="Acme"), account("c", Name="Other")]
    }
    reply = org.call("POST", "/composite/tree/Account", good)
    assert (reply.status, reply.body["hasErrors"]) == (201, False)
    made = {each["referenceId"]: each["id"] for each in reply.body["results"]}
    assert org.rows(f"SELECT AccountId FROM Contact WHERE Id = '{made['b']}'")[0]["AccountId"] == made["a"]
    before = len(org.rows("SELECT Id FROM Account"))
    bad = {"records": [account("d", contact("e"), Name="Third"), account("f")]}
    reply = org.call("POST", "/composite/tree/Account", bad)
    assert (reply.status, reply.body["hasErrors"]) == (400, True)
    assert [each["referenceId"] for each in reply.body["results"]] == ["e", "f"]
    assert reply.body["results"][0]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING"
    assert len(org.rows("SELECT Id FROM Account")) == before
    for odd in (
        {"records": []},
        {"records": [account("g", Name="x"), account("g", Name="y")]},
        {"records": [{}]},
    ):
        assert org.call("POST", "/composite/tree/Account", odd).code == "INVALID_INPUT"
    many = {"records": [account(f"n{number}", Name="x") for number in range(201)]}
    assert org.call("POST", "/composite/tree/Account", many).code == "INVALID_INPUT"
    assert len(org.rows("SELECT Id FROM Account")) == before
