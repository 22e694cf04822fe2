"""The NetSuite twin: sign-in, headers, concurrency, error bodies."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from joserfc.jwk import ECKey

from tests.conformance.support import Served, serve
from tests.conformance.twins.netsuite_client import Client, call, sign_in, wait_for
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite import create

DAY = datetime(2026, 1, 20, 20, tzinfo=UTC)


class MovedClock(SystemTwinClock):
    """Real time that a test moves on."""

    shift = 0.0

    def technical(self) -> datetime:
        return datetime.fromtimestamp(super().technical().timestamp() + self.shift, UTC)


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(business=DAY)


@pytest.fixture
def served(clock: MovedClock) -> Iterator[Served]:
    with serve(create(clock)) as twin:
        yield twin


def test_a_token_holds_for_an_hour(served: Served, clock: MovedClock) -> None:
    answer = sign_in(served)
    assert answer.body["token_type"] == "bearer"
    assert answer.body["expires_in"] == "3600"
    payload = answer.body["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    said = served.describe()
    assert claims["aud"][0].endswith(f";{said['account']}")
    assert claims["aud"][1] == said["client_id"]
    client = Client(served)
    assert client.send("GET", "currency").status == 200
    clock.shift = 3599
    assert client.send("GET", "currency").status == 200
    clock.shift = 3601
    refused = client.send("GET", "currency")
    assert (refused.status, refused.code) == (401, "INVALID_LOGIN")
    assert refused.body["title"] == "Unauthorized"


def test_rsa_and_ec_certificates() -> None:
    with serve(create(SystemTwinClock(), key_type="RSA")) as twin:
        assert sign_in(twin).status == 200
        assert sign_in(twin, alg="PS512").status == 200
        refused = sign_in(twin, alg="RS256")
        assert (refused.status, refused.body) == (400, {"error": "invalid_request"})


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"aud": "https://elsewhere.test/token"}, "invalid_grant"),
        ({"iss": "someone else"}, "invalid_client"),
        ({"kid": "cert-unknown"}, "invalid_client"),
        ({"scope": "restlets"}, "invalid_scope"),
        ({"exp": 4102444800}, "invalid_grant"),
        ({"now": 1700000000}, "invalid_grant"),
    ],
)
def test_an_assertion_that_does_not_hold(served: Served, changes: dict[str, object], error: str) -> None:
    refused = sign_in(served, **changes)
    assert refused.status in (400, 401)
    assert refused.body == {"error": error}


def test_another_key_does_not_sign(served: Served) -> None:
    refused = sign_in(served, key=ECKey.generate_key("P-256"))
    assert (refused.status, refused.body) == (401, {"error": "invalid_client"})


def test_without_token_nothing(served: Served) -> None:
    for path in ("/services/rest/record/v1/customer", "/services/rest/record/v1/nothing"):
        assert call(served.port, "GET", path).status == 401


def test_revoked_tokens(served: Served) -> None:
    client = Client(served)
    assert served.act("revoke_tokens")["revoked"] >= 1
    assert client.send("GET", "currency").code == "INVALID_LOGIN"


def test_unknown_names_are_refused_or_dropped(served: Served) -> None:
    client = Client(served)
    body = {"companyName": "N", "subsidiary": {"id": "1"}, "colour": "red"}
    refused = client.send("POST", "customer", body)
    assert (refused.code, refused.error["o:errorPath"]) == ("INVALID_CONTENT", "colour")
    dropped = client.send("POST", "customer", body, x_netsuite_propertynamevalidation="Warning")
    assert "colour" not in client.get(f"customer/{dropped.id}")
    line = {"item": {"id": "104"}, "amount": 1, "custcol_unknown": "x"}
    refused = client.send("POST", "invoice", {"entity": {"id": dropped.id}, "item": {"items": [line]}})
    assert refused.error["o:errorPath"] == "item.items[0].custcol_unknown"
    refused = client.send("POST", "customer", body, x_netsuite_propertynamevalidation="Strict")
    assert (refused.code, refused.error["o:errorHeader"]) == (
        "INVALID_HEADER",
        "X-NetSuite-PropertyNameValidation",
    )


def test_bodies_that_are_none(served: Served) -> None:
    client = Client(served)
    headers = {"authorization": f"Bearer {client.token}", "content-type": "application/json"}
    for raw in (b"{", b"[1]", b""):
        answer = call(served.port, "POST", "/services/rest/record/v1/customer", raw, headers)
        assert (answer.status, answer.code) == (400, "INVALID_CONTENT")
    headers["content-type"] = "text/xml"
    assert call(served.port, "POST", "/services/rest/record/v1/customer", b"<a/>", headers).status == 415


def test_what_is_not_there(served: Served) -> None:
    client = Client(served)
    absent = client.send("GET", "invoice/999999")
    assert (absent.status, absent.code) == (404, "NONEXISTENT_ID")
    absent = client.send("GET", "invoice/eid:NOPE")
    assert (absent.status, absent.code) == (404, "NONEXISTENT_ID")
    assert client.send("GET", "invoice/abc").code == "INVALID_ID"
    assert client.send("GET", "salesPizza").status == 404
    assert client.send("DELETE", "accountingPeriod/4").status == 405
    customer = client.customer()
    invoice = client.plain_invoice(customer, "K1", 10)
    wrong = client.send("GET", f"creditMemo/{invoice}")
    assert (wrong.status, wrong.code) == (400, "USER_ERROR")


def test_the_sixteenth_call_is_refused(served: Served) -> None:
    client = Client(served)
    served.fail("hang", "currency.list")
    threads = [threading.Thread(target=_hang, args=(client,), daemon=True) for _ in range(15)]
    for thread in threads:
        thread.start()
    wait_for(lambda: served.app.active == 15)
    refused = client.send("GET", "currency")
    assert (refused.status, refused.code) == (429, "CONCURRENCY_LIMIT_EXCEEDED")
    assert "retry-after" not in refused.headers
    served.act("limits", disguise=True)
    assert client.send("GET", "currency").code == "INVALID_LOGIN"
    served.act("limits", disguise=False)
    served.faults()
    for thread in threads:  # the clients give up after a second; their places are free again
        thread.join()
    wait_for(lambda: served.app.active == 0)
    assert client.send("GET", "currency").status == 200
    assert served.act("limits")["most_active"] == 16
    limits = client.get("/services/rest/system/v1/governanceLimits")
    assert limits["accountConcurrencyLimit"] == 15


def _hang(client: Client) -> None:
    import http.client

    link = http.client.HTTPConnection("127.0.0.1", client.served.port, timeout=1)
    headers = {"authorization": f"Bearer {client.token}"}
    try:
        link.request("GET", "/services/rest/record/v1/currency", headers=headers)
        with pytest.raises(TimeoutError):
            link.getresponse()
    finally:
        link.close()


def test_a_lower_limit(served: Served) -> None:
    client = Client(served)
    served.act("limits", concurrency=0)
    assert client.send("GET", "currency").code == "CONCURRENCY_LIMIT_EXCEEDED"
    assert sign_in(served).status == 200  # signing in takes no place


def test_faults_speak_the_vendors_language(served: Served) -> None:
    client = Client(served)
    served.fail("rate_limited", "customer.list")
    assert client.send("GET", "customer").code == "CONCURRENCY_LIMIT_EXCEEDED"
    served.fail("error_before", "customer.list")
    failed = client.send("GET", "customer")
    assert (failed.status, failed.code) == (500, "UNEXPECTED_ERROR")
    served.faults()


def test_the_metadata_catalogue_as_openapi(served: Served) -> None:
    client = Client(served)
    answer = client.send("GET", "metadata-catalog/invoice", accept="application/swagger+json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/swagger+json")
    assert answer.body["openapi"].startswith("3.")
    assert set(answer.body["paths"]["/invoice/{id}"]) == {"delete", "get", "patch", "put"}
    plain = client.send("GET", "metadata-catalog/invoice", accept="application/schema+json").body
    assert answer.body["components"]["schemas"]["invoice"] == plain
    listed = client.send("GET", "metadata-catalog/subsidiary", accept="application/swagger+json").body
    assert set(listed["paths"]["/subsidiary/{id}"]) == {"get"}


def test_the_metadata_catalogue_tells_custom_fields(served: Served) -> None:
    client = Client(served)
    names = [item["name"] for item in client.get("metadata-catalog")["items"]]
    assert {"invoice", "customer", "customerPayment"} <= set(names)
    schema = client.get("metadata-catalog/invoice")
    assert schema["properties"]["custbody_tieout_source"]["x-ns-custom-field"]
    assert (
        "custcol_service_start" in schema["properties"]["item"]["properties"]["items"]["items"]["properties"]
    )
