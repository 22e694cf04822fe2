"""The NetSuite twin: SuiteQL and collections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.conformance.support import Served, serve
from tests.conformance.twins.netsuite_client import COLLECTION, Client
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite import create

DAY = datetime(2026, 1, 20, 20, tzinfo=UTC)
JOB = "/services/rest/async/v1/job"


@pytest.fixture
def served() -> Iterator[Served]:
    with serve(create(SystemTwinClock(business=DAY, factor=50))) as twin:
        yield twin


@pytest.fixture
def client(served: Served) -> Client:
    return Client(served)


# --------------------------------------------------------------------------------------------------------- SuiteQL


def test_rows_are_strings_with_lower_case_names(client: Client) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    client.payment(customer, "P1", 87.02, {invoice: 87.02})
    columns = """id, tranid, externalid, type, status, approvalstatus, posting, trandate, postingperiod, foreigntotal,
        foreignamountunpaid, foreignamountpaid, custbody_tieout_source, memo, otherrefnum, duedate, currency, entity,
        foreignpaymentamountunused, exchangerate"""
    answer = client.query(f"SELECT {columns} FROM transaction WHERE type = 'CustInvc'")
    assert answer.headers["content-type"] == COLLECTION
    (row,) = answer.body["items"]
    assert row == {
        "links": [],
        "id": invoice,
        "tranid": "INV1001",
        "externalid": "K1",
        "type": "CustInvc",
        "status": "A",
        "approvalstatus": "2",
        "posting": "T",
        "trandate": "1/20/2026",
        "postingperiod": row["postingperiod"],
        "foreigntotal": "1287.02",
        "foreignamountunpaid": "1200",
        "foreignamountpaid": "87.02",
        "custbody_tieout_source": "in_K1",
        "memo": "in_K1",
        "otherrefnum": "F-1",
        "duedate": "2/19/2026",
        "currency": "1",
        "entity": customer,
        "exchangerate": "1",
    }  # what is null is absent
    assert client.rows(
        "SELECT foreigntotal, foreignpaymentamountunused u FROM transaction WHERE externalid = 'P1'"
    ) == [{"foreigntotal": "87.02", "u": "0"}]


def test_functions_and_display_values(client: Client) -> None:
    customer = client.customer()
    client.invoice(customer, "K1")
    q = """SELECT BUILTIN.DF(t.status) AS status_name, BUILTIN.DF(t.entity) AS who, BUILTIN.DF(t.postingperiod) p,
        BUILTIN.DF(t.type) AS kind, BUILTIN.DF(t.approvalstatus) AS approval, BUILTIN.DF( t.currency ) AS money,
        TO_CHAR(t.trandate, 'YYYY-MM-DD') AS day, NVL(t.otherrefnum, 'none') AS ref,
        DECODE(t.type, 'CustInvc', 'I', 'X') AS letter, COUNT(*)
        FROM Transaction t WHERE t.trandate >= TO_DATE('2026-01-01', 'YYYY-MM-DD') AND t.trandate <= '1/31/2026'
        AND t.status IN ('CustInvc:A') -- a comment; with a semicolon
        GROUP BY t.status, t.entity, t.postingperiod, t.type, t.approvalstatus, t.currency, t.trandate, t.otherrefnum"""
    assert client.rows(q) == [
        {
            "status_name": "Invoice : Open",
            "who": "Acme CUST0001",
            "p": "Jan 2026",
            "kind": "Invoice",
            "approval": "Approved",
            "money": "US Dollar",
            "day": "2026-01-20",
            "ref": "F-1",
            "letter": "I",
            "expr1": "1",
        }
    ]
    assert client.rows("SELECT id FROM transaction WHERE trandate < '1/20/2026'") == []
    assert client.rows("SELECT MAX(trandate) AS last FROM transaction") == [{"last": "1/20/2026"}]
    stamp = client.rows("SELECT TO_CHAR(lastmodifieddate, 'YYYY-MM-DD HH24:MI:SS') s FROM transaction")[0][
        "s"
    ]
    assert len(stamp) == 19


def test_lines_and_ledger_lines(client: Client) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    lines = client.rows(
        f"""SELECT tl.id, tl.mainline, tl.taxline, BUILTIN.DF(tl.item) AS item, tl.quantity, tl.foreignamount,
        tl.department, tl.custcol_tieout_source_line, tl.custcol_service_start FROM transactionline tl
        WHERE tl.transaction = {invoice} ORDER BY tl.id"""
    )
    assert [line["foreignamount"] for line in lines] == ["1287.02", "-1000", "-200.01", "-72.5", "-14.51"]
    assert (lines[0]["mainline"], lines[3]["taxline"]) == ("T", "T")
    assert lines[1]["item"] == "PLATFORM-DEF"
    assert (lines[1]["quantity"], lines[1]["department"]) == ("-3", "10")
    assert lines[1]["custcol_service_start"] == "1/20/2026"
    sums = client.rows(
        """SELECT a.acctnumber, SUM(tal.amount) AS amount FROM transactionaccountingline tal
        JOIN account a ON a.id = tal.account JOIN transaction t ON t.id = tal.transaction
        WHERE tal.posting = 'T' AND t.subsidiary = 1 GROUP BY a.acctnumber ORDER BY a.acctnumber"""
    )
    assert {row["acctnumber"]: row["amount"] for row in sums} == {
        "1100": "1287.02",
        "2200": "-87.01",
        "2400": "-1000",
        "4000": "-200.01",
    }


def test_applications_are_links(client: Client) -> None:
    customer = client.customer()
    invoice = client.invoice(customer, "K1")
    paid = client.payment(customer, "P1", 100, {invoice: 80})
    for table in ("nexttransactionlinelink", "previoustransactionlinelink"):
        assert client.rows(
            f"""SELECT l.previousdoc, l.nextdoc, l.previoustype, l.nexttype, l.linktype, l.foreignamount FROM {table} l
            JOIN transaction t ON t.id = l.nextdoc WHERE t.externalid = 'P1'"""
        ) == [
            {
                "previousdoc": invoice,
                "nextdoc": paid,
                "previoustype": "CustInvc",
                "nexttype": "CustPymt",
                "linktype": "Payment",
                "foreignamount": "80",
            }
        ]


def test_paging_to_the_end(client: Client) -> None:
    customer = client.customer()
    made = [client.plain_invoice(customer, f"K{n}", n + 1) for n in range(7)]
    found, offset = [], 0
    while True:
        body = client.query("SELECT id FROM transaction ORDER BY id", limit=3, offset=offset).body
        assert (body["totalResults"], body["offset"], body["count"]) == (7, offset, len(body["items"]))
        found += [row["id"] for row in body["items"]]
        rels = {link["rel"] for link in body["links"]}
        assert ("next" in rels) == body["hasMore"]
        if not body["hasMore"]:
            break
        offset += 3
    assert found == made
    listed = client.get("invoice?limit=5&offset=5")
    assert [item["id"] for item in listed["items"]] == made[5:]
    assert listed["items"][0]["links"][0]["href"].endswith(f"/invoice/{made[5]}")
    for bad in ("limit=1001", "limit=0", "limit=x", "limit=5&offset=3"):
        refused = client.send("GET", f"invoice?{bad}")
        assert (refused.status, refused.code) == (400, "INVALID_PARAMETER")
    top = client.rows("SELECT TOP 2 id FROM transaction")
    first = client.rows("SELECT id FROM transaction ORDER BY id DESC FETCH FIRST 2 ROWS ONLY")
    rownum = client.rows("SELECT id FROM transaction WHERE ROWNUM <= 3")
    assert (len(top), [r["id"] for r in first], len(rownum)) == (2, made[:-3:-1], 3)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        (
            "SELECT colour FROM customer",
            "Unknown identifier 'colour'. Available identifiers are: {customer=customer}",
        ),
        ("SELECT id FROM pizzas", "Invalid search type: pizzas."),
        ("SELECT id FROM customer LIMIT 5", "Invalid or unsupported search"),
        ("DELETE FROM customer", "Invalid or unsupported search"),
        ("SELECT 1 FROM customer; DROP TABLE customer", "Invalid or unsupported search"),
        ("WITH x AS (SELECT 1) DELETE FROM customer", "Invalid or unsupported search"),
        ("SELECT id FROM customer WHERE", "Invalid or unsupported search"),
        ("SELECT name FROM sqlite_master", "Invalid or unsupported search"),
        ("PRAGMA table_info(customer)", "Invalid or unsupported search"),
        (
            "SELECT id FROM transaction WHERE trandate > TO_DATE('soon', 'YYYY-MM-DD')",
            "Invalid or unsupported",
        ),
    ],
)
def test_bad_queries(client: Client, query: str, told: str) -> None:
    client.plain_invoice(client.customer(), "K1", 1)
    refused = client.query(query)
    assert (refused.status, refused.code) == (400, "INVALID_PARAMETER")
    assert refused.error["detail"].startswith(
        "Invalid search query. Detailed unprocessed description follows."
    )
    assert told in refused.error["detail"]
    assert refused.error["o:errorQueryParam"] == "q"
    assert client.rows("SELECT COUNT(*) AS n FROM customer") == [{"n": "1"}]


def test_functions_of_oracle(client: Client) -> None:
    customer = client.customer()
    for number in (1, 2):
        client.plain_invoice(customer, f"K{number}", number)
    assert client.rows("SELECT GREATEST(1, 3, 2) g, LEAST(4, 2) l, MOD(7, 4) m, CEIL(1.2) c FROM DUAL") == [
        {"g": "3", "l": "2", "m": "3", "c": "2"}
    ]
    listed = "SELECT entity, LISTAGG(tranid, ', ') WITHIN GROUP (ORDER BY id DESC) AS t FROM transaction"
    assert client.rows(listed + " GROUP BY entity") == [{"entity": customer, "t": "INV1002, INV1001"}]
    dates = "SELECT EXTRACT(MONTH FROM trandate) m, LAST_DAY(trandate) l FROM transaction WHERE ROWNUM <= 1"
    assert client.rows(dates) == [{"m": "1", "l": "1/31/2026"}]
    one, two = (f"TO_DATE('2026-0{month}-15', 'YYYY-MM-DD')" for month in (4, 1))
    assert client.rows(f"SELECT MONTHS_BETWEEN({one}, {two}) m FROM DUAL") == [{"m": "3"}]
    assert client.rows(
        "SELECT LPAD('7', 3, '0') l, INITCAP('acme inc') i, GREATEST(1, NULL) g FROM DUAL"
    ) == [{"l": "007", "i": "Acme Inc"}]


def test_suiteql_needs_prefer_transient(client: Client) -> None:
    refused = client.send("POST", "/services/rest/query/v1/suiteql", {"q": "SELECT id FROM customer"})
    assert (refused.status, refused.code, refused.error["o:errorHeader"]) == (400, "INVALID_HEADER", "Prefer")
    assert client.send("POST", "/services/rest/query/v1/suiteql", {}, prefer="transient").status == 400


def test_links_lead_on_within_the_filter(client: Client) -> None:
    for number in range(3):
        client.customer(f"C{number}", companyName=f"Acme & Co {number}", entityId=f"A{number}")
    client.customer("C9", companyName="Beta", entityId="B9")
    body = client.get('customer?q=companyName START_WITH "Acme"&limit=2')
    assert (body["count"], body["totalResults"], body["hasMore"]) == (2, 3, True)
    following = next(link["href"] for link in body["links"] if link["rel"] == "next")
    after = client.get(following.partition("/record/v1/")[2])
    assert (after["count"], after["totalResults"], after["hasMore"]) == (1, 3, False)
    assert not {one["id"] for one in after["items"]} & {one["id"] for one in body["items"]}


def test_filters_of_collections(client: Client) -> None:
    first = client.customer("C1", companyName="Acme One", entityId="A1")
    second = client.customer("C2", companyName='Beta "Two"', entityId="B2", email=None)
    invoices = [
        client.plain_invoice(first, "K1", 10),
        client.plain_invoice(second, "K2", 20, tranDate="2026-03-01"),
    ]

    def found(type_: str, q: str) -> list[str]:
        return [item["id"] for item in client.get(f"{type_}?q={q}")["items"]]

    assert found("customer", 'companyName START_WITH "Acme"') == [first]
    assert found("customer", 'companyName CONTAIN "TWO" AND isInactive IS false') == [second]
    assert found("customer", 'companyName IS_NOT "Acme One"') == [second]
    assert found("customer", "email EMPTY OR (id ANY_OF [" + first + "])") == [first, second]
    assert found("invoice", 'tranDate ON_OR_AFTER "2/1/2026"') == [invoices[1]]
    assert found("invoice", f"entity EQUAL {first}") == [invoices[0]]
    assert found("invoice", "total BETWEEN [15, 25]") == [invoices[1]]
    for bad in (
        "colour IS 1",
        "companyName LIKES 1",
        "companyName IS",
        "(companyName IS 1",
        "total GREATER x",
    ):
        refused = client.send("GET", f"customer?q={bad}" if "total" not in bad else f"invoice?q={bad}")
        assert (refused.status, refused.error["o:errorQueryParam"]) == (400, "q")
