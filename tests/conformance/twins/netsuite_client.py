"""A client written from the vendor's documented requests: plain HTTP, a JWT by another library than the twin uses."""

from __future__ import annotations

import http.client
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from tests.conformance.support import Served

RECORD = "/services/rest/record/v1"
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
COLLECTION = "application/vnd.oracle.resource+json; type=collection"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    raw: bytes
    body: Any = None

    @property
    def id(self) -> str:
        assert self.status == 204, (self.status, self.raw)
        return self.headers["location"].rsplit("/", 1)[1]

    @property
    def error(self) -> dict[str, Any]:
        assert self.status >= 400, (self.status, self.raw)
        assert set(self.body) == {"type", "title", "status", "o:errorDetails"}
        assert self.body["status"] == self.status
        assert "type=error" in self.headers["content-type"]
        found: dict[str, Any] = self.body["o:errorDetails"][0]
        return found

    @property
    def code(self) -> str:
        return str(self.error["o:errorCode"])


def call(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Answer:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        link.request(method, quote(path, safe="/:?&=%!,+"), body=body, headers=headers or {})
        got = link.getresponse()
        raw = got.read()
        found = {name.lower(): value for name, value in got.getheaders()}
    finally:
        link.close()
    is_json = raw and "json" in found.get("content-type", "")
    return Answer(got.status, found, raw, json.loads(raw, parse_float=Decimal) if is_json else None)


def assertion(said: dict[str, Any], **changes: Any) -> str:
    algorithm = changes.pop("alg", said["algorithm"])
    key_type = RSAKey if algorithm[0] in "PR" else ECKey
    key = changes.pop("key", None) or key_type.import_key(said["private_key"])
    now = int(changes.pop("now", datetime.now(UTC).timestamp()))
    header = {"typ": "JWT", "alg": algorithm, "kid": changes.pop("kid", said["certificate_id"])}
    claims = {
        "iss": said["client_id"],
        "scope": "restlets,rest_webservices",
        "aud": said["token_url"],
        "iat": now,
        "exp": now + 300,
        **changes,
    }
    return jwt.encode(header, claims, key, algorithms=[algorithm])


def sign_in(served: Served, **changes: Any) -> Answer:
    said = dict(served.describe())
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION,
        "client_assertion": assertion(said, **changes),
    }
    headers = {"content-type": "application/x-www-form-urlencoded"}
    return call(served.port, "POST", urlsplit(said["token_url"]).path, urlencode(form).encode(), headers)


@dataclass
class Client:
    served: Served
    token: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.token = sign_in(self.served).body["access_token"]

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        sent = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            "x-netsuite-propertynamevalidation": "Error",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        raw = None if body is None else json.dumps(body, default=str).encode()
        return call(self.served.port, method, path if path.startswith("/") else f"{RECORD}/{path}", raw, sent)

    def get(self, path: str) -> Any:
        answer = self.send("GET", path)
        assert answer.status == 200, (answer.status, answer.raw)
        return answer.body

    def post(self, path: str, body: Any) -> str:
        return self.send("POST", path, body).id

    def query(self, q: str, limit: int = 1000, offset: int = 0) -> Answer:
        path = f"/services/rest/query/v1/suiteql?limit={limit}&offset={offset}"
        return self.send("POST", path, {"q": q}, prefer="transient")

    def rows(self, q: str) -> list[dict[str, str]]:
        answer = self.query(q)
        assert answer.status == 200, answer.raw
        return [
            {name: value for name, value in row.items() if name != "links"} for row in answer.body["items"]
        ]

    # -- shapes of the common documents ---------------------------------------------------------------------------
    def customer(self, key: str = "CUST0001", subsidiary: str = "1", **more: Any) -> str:
        body = {
            "isPerson": False,
            "entityId": f"Acme {key}",
            "companyName": f"Acme {key}",
            "subsidiary": {"id": subsidiary},
            "currency": {"id": "3" if subsidiary == "2" else "1"},
            "currencyList": {"items": [{"currency": {"id": "2"}}]},
            "terms": {"id": "2"},
            "email": "ap@acme.test",
            "custentity_crm_account": "001000000000001AAA",
            **more,
        }
        return self.send("PUT", f"customer/eid:{key}", body).id

    def invoice_body(self, customer: str, key: str, **more: Any) -> dict[str, Any]:
        return {
            "externalId": key,
            "entity": {"id": customer},
            "tranDate": "2026-01-20",
            "otherRefNum": "F-1",
            "memo": f"in_{key}",
            "custbody_tieout_source": f"in_{key}",
            "custbody_tieout_trace": "tr-1",
            "item": {
                "items": [
                    {
                        "item": {"id": "101"},
                        "quantity": 3,
                        "amount": 1000.00,
                        "description": "Platform",
                        "department": {"id": "10"},
                        "taxDetailsReference": "L1",
                        "custcol_tieout_source_line": "il_1",
                        "custcol_service_start": "2026-01-20",
                        "custcol_service_end": "2026-02-19",
                    },
                    {"item": {"id": "107"}, "quantity": 1, "rate": 200.01, "taxDetailsReference": "L2"},
                ]
            },
            "taxDetailsOverride": True,
            "taxDetails": {
                "items": [
                    {
                        "taxDetailsReference": "L1",
                        "taxType": "1",
                        "taxCode": {"id": "501"},
                        "taxBasis": 1000,
                        "taxRate": 7.25,
                        "taxAmount": 72.50,
                    },
                    {
                        "taxDetailsReference": "L2",
                        "taxType": "1",
                        "taxCode": {"externalId": "CA_725"},
                        "taxAmount": 14.51,
                    },
                ]
            },
            **more,
        }

    def invoice(self, customer: str, key: str, **more: Any) -> str:
        return self.post("invoice", self.invoice_body(customer, key, **more))

    def plain_invoice(self, customer: str, key: str, amount: Any, **more: Any) -> str:
        """One immediate line without tax."""
        line = {"item": {"id": "104"}, "quantity": 1, "amount": amount}
        body = {
            "externalId": key,
            "entity": {"id": customer},
            "tranDate": "2026-01-20",
            "item": {"items": [line]},
            **more,
        }
        return self.post("invoice", body)

    def payment(self, customer: str, key: str, amount: Any, apply: dict[str, Any], **more: Any) -> str:
        return self.post("customerPayment", self.payment_body(customer, key, amount, apply, **more))

    def payment_body(
        self, customer: str, key: str, amount: Any, apply: dict[str, Any], **more: Any
    ) -> dict[str, Any]:
        return {
            "externalId": key,
            "customer": {"id": customer},
            "account": {"id": "1050"},
            "payment": amount,
            "tranDate": "2026-01-25",
            "apply": {
                "items": [{"doc": {"id": doc}, "apply": True, "amount": part} for doc, part in apply.items()]
            },
            **more,
        }


def ledger(served: Served, document: str) -> dict[str, int]:
    """Functional amount by account of one document, debit positive."""
    sums: dict[str, int] = {}
    for one in served.act("snapshot")["documents"]:
        if one["id"] == document:
            for line in one["gl"]:
                sums[line["account"]] = sums.get(line["account"], 0) + line["functional_minor"]
    return sums


def assert_books(served: Served) -> None:
    """Every document balances twice over, and so does every subsidiary and period; receivables tie out."""
    taken = served.act("snapshot")
    sums: dict[tuple[str, str], int] = {}
    receivables: dict[str, int] = {}
    for one in taken["documents"]:
        assert sum(line["functional_minor"] for line in one["gl"]) == 0, one
        if one["type"] != "currencyRevaluation":
            assert sum(line["amount_minor"] for line in one["gl"]) == 0, one
    for row in taken["trial_balance"]:
        key = (row["subsidiary"], row["period"])
        sums[key] = sums.get(key, 0) + row["net_minor"]
        if row["account"] == "1100":
            receivables[row["subsidiary"]] = receivables.get(row["subsidiary"], 0) + row["net_minor"]
    assert not any(sums.values()), sums
    for subsidiary, total in receivables.items():
        documents = [
            d for d in served.app.tenant.state.documents() if d.subsidiary == subsidiary and d.approval == "2"
        ]
        expected = sum(
            {"invoice": 1, "creditMemo": -1, "customerPayment": -1, "customerRefund": 1}.get(d.type, 0)
            * d.open_functional
            for d in documents
        )
        assert total == expected


def wait_for(check: Any, seconds: float = 10) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = check()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come")
