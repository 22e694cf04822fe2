"""Sign-in, sessions, versions, limits."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.conformance.twins.salesforce_org import Org, V, open_org, shape


@pytest.fixture(scope="module")
def shared() -> Iterator[Org]:
    with open_org() as org:
        yield org


@pytest.fixture
def org(shared: Org) -> Org:
    shared.sign_in()
    return shared


@pytest.fixture(scope="module")
def samples(spec_path: Callable[[str], Path]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(spec_path("salesforce/rest_bulk_samples.json").read_text())
    return found


def test_jwt_bearer_answers_like_the_documented_sample(org: Org, samples: dict[str, Any]) -> None:
    reply = org.bearer()
    assert reply.status == 200
    assert shape(reply.body) == shape(samples["token_response_jwt_bearer"])
    assert "expires_in" not in reply.body
    assert reply.body["instance_url"] == org.served.url
    assert org.about["org_id"] in reply.body["id"]
    org.token = reply.body["access_token"]
    assert org.call("GET", "/limits").status == 200


@pytest.mark.parametrize("where", ["body", "basic"])
def test_client_credentials(org: Org, samples: dict[str, Any], where: str) -> None:
    key, secret = org.about["consumer_key"], org.about["client_secret"]
    if where == "body":
        reply = org.post_form({"grant_type": "client_credentials", "client_id": key, "client_secret": secret})
    else:
        basic = base64.b64encode(f"{key}:{secret}".encode()).decode()
        reply = org.post_form({"grant_type": "client_credentials"}, Authorization=f"Basic {basic}")
    assert reply.status == 200
    assert shape(reply.body) == shape(samples["token_response_client_credentials"])


@pytest.mark.parametrize(
    ("claims", "error", "description"),
    [
        ({"iss": "someone-else"}, "invalid_client_id", "client identifier invalid"),
        ({"aud": "https://example.com"}, "invalid_grant", "audience is invalid"),
        ({"sub": "nobody@example.com"}, "invalid_grant", "user hasn't approved this consumer"),
        ({"exp": 1}, "invalid_grant", "expired authorization code"),
        ({"exp": 4102444800}, "invalid_grant", "invalid assertion"),
        ({"alg": "none"}, "invalid_grant", "invalid assertion"),
    ],
)
def test_refused_assertions(org: Org, claims: dict[str, Any], error: str, description: str) -> None:
    reply = org.bearer(**claims)
    assert (reply.status, reply.body) == (400, {"error": error, "error_description": description})


def test_assertion_signed_by_another_key(org: Org) -> None:
    reply = org.bearer(key=rsa.generate_private_key(public_exponent=65537, key_size=2048))
    assert (reply.status, reply.body["error_description"]) == (400, "invalid assertion")


@pytest.mark.parametrize("assertion", ["", "a.b", "a.b.c", "é.é.é", "e30.e30."])
def test_broken_assertions(org: Org, assertion: str) -> None:
    grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    reply = org.post_form({"grant_type": grant, "assertion": assertion})
    assert reply.status == 400
    assert reply.body["error"] in ("invalid_grant", "invalid_client_id")


@pytest.mark.parametrize("audience", ["https://login.salesforce.com", "https://test.salesforce.com"])
def test_login_hosts_are_audiences(org: Org, audience: str) -> None:
    assert org.bearer(aud=audience).status == 200


def test_refused_clients(org: Org, samples: dict[str, Any]) -> None:
    key = org.about["consumer_key"]
    wrong = org.post_form({"grant_type": "client_credentials", "client_id": key, "client_secret": "no"})
    assert (wrong.status, wrong.body) == (400, samples["token_error_400"][1])
    unknown = org.post_form({"grant_type": "client_credentials", "client_id": "x", "client_secret": "y"})
    assert (unknown.status, unknown.body["error"]) == (400, "invalid_client_id")
    password = org.post_form({"grant_type": "password", "username": "a", "password": "b"})
    assert (password.status, password.body) == (400, samples["token_error_400"][2])


def test_app_not_approved(org: Org, samples: dict[str, Any]) -> None:
    org.act("approve_app", approved=False)
    try:
        assert org.bearer().body == samples["token_error_400"][0]
    finally:
        org.act("approve_app", approved=True)


def test_session_expires_after_two_idle_hours(org: Org, samples: dict[str, Any]) -> None:
    org.clock.pass_seconds(7199)
    assert org.call("GET", "/limits").status == 200
    org.clock.pass_seconds(7199)  # use in the second half of its life has renewed it
    assert org.call("GET", "/limits").status == 200
    org.clock.pass_seconds(7200)
    reply = org.call("GET", "/limits")
    assert (reply.status, reply.body) == (401, samples["errors"]["401 INVALID_SESSION_ID"])


def test_sessions_can_be_ended_and_revoked(org: Org) -> None:
    old = org.token
    assert org.act("expire_sessions")["expired"] >= 1
    assert org.call("GET", "/sobjects").status == 401
    new = org.sign_in()
    assert new != old
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert org.raw("POST", "/services/oauth2/revoke", f"token={new}".encode(), form).status == 200
    assert org.call("GET", "/limits").status == 401


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic eDp5"])
def test_no_session(org: Org, header: str) -> None:
    headers = {"Authorization": header} if header else {}
    reply = org.raw("GET", f"{V}/sobjects", headers=headers)
    assert (reply.status, reply.code) == (401, "INVALID_SESSION_ID")
    assert org.raw("GET", f"{V}/no/such/thing", headers=headers).status == 401


def test_oauth_scheme_is_taken_too(org: Org) -> None:
    assert org.raw("GET", f"{V}/limits", headers={"Authorization": f"OAuth {org.token}"}).status == 200


def test_userinfo_and_identity(org: Org) -> None:
    info = org.call("GET", "/services/oauth2/userinfo")
    assert info.body["organization_id"] == org.about["org_id"]
    assert info.body["preferred_username"] == org.about["username"]
    identity = org.raw(
        "GET", info.body["sub"].removeprefix(org.served.url), headers={"Authorization": f"Bearer {org.token}"}
    )
    assert identity.body["user_id"] == info.body["user_id"]
    assert org.raw("GET", "/services/oauth2/userinfo").status == 403


def test_versions(org: Org) -> None:
    listed = org.raw("GET", "/services/data/").body
    assert listed[0] == {"label": "Summer '14", "url": "/services/data/v31.0", "version": "31.0"}
    assert listed[-1] == {"label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0"}
    assert org.call("GET", "/services/data/v66.0/").body["query"] == "/services/data/v66.0/query"
    assert org.call("GET", "/services/data/v69.0/sobjects").code == "NOT_FOUND"
    assert org.call("GET", "/services/data/vx/sobjects").status == 404
    retired = org.call("GET", "/services/data/v30.0/sobjects")
    assert retired.status == 410


def test_unknown_paths_and_methods(org: Org, samples: dict[str, Any]) -> None:
    missing = org.call("GET", "/nothing/here")
    assert (missing.status, missing.body) == (404, samples["errors"]["404 NOT_FOUND"])
    wrong = org.call("PUT", "/sobjects/Account", {})
    assert (wrong.status, wrong.code) == (405, "METHOD_NOT_ALLOWED")
    assert org.call("POST", "/query", {}).status == 405


def test_budget(org: Org, samples: dict[str, Any]) -> None:
    org.act("limits", daily=5, used=3)
    first = org.call("GET", "/limits")
    assert first.headers["Sforce-Limit-Info"] == "api-usage=4/5"
    assert first.body["DailyApiRequests"] == {"Max": 5, "Remaining": 1}
    assert shape(first.body["PermissionSets"]) == shape(samples["limits_resource"]["PermissionSets"])
    assert org.call("GET", "/sobjects/Account/nonsense").headers["Sforce-Limit-Info"] == "api-usage=5/5"
    over = org.call("GET", "/limits")
    assert (over.status, over.body) == (403, samples["errors"]["403 REQUEST_LIMIT_EXCEEDED"])
    assert over.headers["Sforce-Limit-Info"] == "api-usage=5/5"
    org.clock.pass_seconds(25 * 3600)
    org.sign_in()
    assert org.call("GET", "/limits").status == 200
    org.act("limits", daily=100_000, used=0)


def test_answers_are_dated_by_the_technical_clock(org: Org) -> None:
    dates = org.call("GET", "/limits").headers.get_all("Date")
    assert f"{org.clock.now:%a, %d %b %Y %H:%M:%S} GMT" in dates


def test_body_must_be_json(org: Org) -> None:
    reply = org.call("POST", "/sobjects/Account", {"Name": "x"}, Content_Type="text/plain")
    assert (reply.status, reply.code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    headers = {"Authorization": f"Bearer {org.token}", "Content-Type": "application/json"}
    for broken in (b"", b"{", b"[1]", b"\xff\xfe", b'{"Name": NaN}'):
        reply = org.raw("POST", f"{V}/sobjects/Account", broken, headers)
        assert (reply.status, reply.code) == (400, "JSON_PARSER_ERROR"), broken
