"""The billing twin's transport: sign-in, versions, parameters, errors, paging, expanding, search, idempotency."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import stripe

from tests.conformance.twins.stripe_world import World, at, customer, invoiced, monthly, world


@pytest.fixture
def billing() -> Iterator[World]:
    with world() as made:
        yield made


# -- sign-in, version, unknown things -------------------------------------------------------------------------------
def test_a_stranger_is_refused(billing: World) -> None:
    for header in ("", "Bearer sk_test_nobody", "Basic !!!", "Bearer "):
        status, headers, body = billing.http(
            "GET", "/v1/customers", authorization=header, Authorization=header
        )
        assert (status, body["error"]["type"]) == (401, "invalid_request_error")
        assert headers["request-id"].startswith("req_")
        assert "sk_test_nobody" not in str(body)
    with pytest.raises(stripe.AuthenticationError):
        billing.client("sk_test_wrong_key_000").v1.customers.list()


def test_a_key_may_come_as_basic(billing: World) -> None:
    basic = "Basic " + base64.b64encode(b"sk_test_jp:").decode()
    _, _, body = billing.http("GET", "/v1/account", Authorization=basic)
    assert (body["id"], body["default_currency"]) == ("acct_jp", "jpy")


def test_another_api_version_is_refused(billing: World) -> None:
    status, _, body = billing.http("GET", "/v1/account", Stripe_Version="2020-08-27")
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    status, headers, _ = billing.http("GET", "/v1/account", Stripe_Version="2026-10-28.endive")
    assert (status, headers["stripe-version"]) == (200, "2026-10-28.endive")


def test_unknown_urls_and_objects(billing: World) -> None:
    status, _, body = billing.http("GET", "/v1/nothing")
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
    client = billing.client()
    with pytest.raises(stripe.InvalidRequestError) as gone:
        client.v1.invoices.retrieve("in_none")
    assert (gone.value.http_status, gone.value.code, gone.value.param) == (404, "resource_missing", "invoice")
    assert gone.value.request_id.startswith("req_")
    with pytest.raises(stripe.InvalidRequestError) as named:
        client.v1.subscriptions.create({"customer": "cus_none", "items": [monthly("prod_PLATFORM", 1)]})
    assert (named.value.http_status, named.value.code, named.value.param) == (
        400,
        "resource_missing",
        "customer",
    )


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/customers", "nick=x", "parameter_unknown", "nick"),
        ("/v1/customers", "address[planet]=x", "parameter_unknown", "address[planet]"),
        ("/v1/customers", "email=", "parameter_invalid_empty", None),
        ("/v1/customers", "email=nobody", "email_invalid", "email"),
        ("/v1/customers", "balance=1.5", "parameter_invalid_integer", "balance"),
        ("/v1/customers", f"metadata[{'k' * 41}]=x", None, f"metadata[{'k' * 41}]"),
        ("/v1/customers", f"metadata[k]={'v' * 501}", None, "metadata[k]"),
        ("/v1/products", "", "parameter_missing", "name"),
        ("/v1/products", "name=x&id=prod_PLATFORM", "resource_already_exists", "id"),
        ("/v1/prices", "currency=usd&product=prod_PLATFORM", "parameter_missing", "unit_amount"),
        ("/v1/prices", "currency=dollars&product=prod_PLATFORM&unit_amount=1", None, "currency"),
        ("/v1/subscriptions", "customer=cus_x&collection_method=cash", None, "collection_method"),
        ("/v1/subscriptions", "items[0][quantity]=1", "parameter_missing", "customer"),
        ("/v1/refunds", "amount=1", "parameter_missing", "charge"),
        ("/v1/credit_notes", "amount=1", "parameter_missing", "invoice"),
        ("/v1/webhook_endpoints", "url=ftp://x&enabled_events[]=*", "url_invalid", "url"),
    ],
)
def test_parameters_are_refused_by_name(
    billing: World, path: str, body: str, code: str | None, param: str | None
) -> None:
    if param is None:  # an e-mail may be unset
        assert billing.http("POST", path, body)[2]["email"] is None
        return
    status, _, answer = billing.http("POST", path, body)
    assert status == 400
    assert answer["error"].get("code") == code
    assert answer["error"].get("param") == param
    assert answer["error"]["message"]


def test_what_the_vendor_refuses_of_a_subscription(billing: World) -> None:
    client = billing.client()
    owner = customer(client).id
    good = {"customer": owner, "collection_method": "send_invoice", "days_until_due": 30}
    one = monthly("prod_PLATFORM", 100)
    for given in (
        {**good, "items": []},
        {**good, "items": [one] * 21},
        {"customer": owner, "collection_method": "send_invoice", "items": [one]},
        {"customer": owner, "days_until_due": 30, "items": [one]},
        {**good, "items": [one], "backdate_start_date": at(2027, 1, 1)},
        {**good, "items": [one], "billing_cycle_anchor": at(2025, 1, 1)},
        {**good, "items": [one], "billing_cycle_anchor": at(2026, 6, 1)},
        {**good, "items": [one], "cancel_at": at(2025, 1, 1)},
        {**good, "items": [one, monthly("prod_SUPPORT", 100, currency="eur")]},
        {**good, "items": [monthly("prod_NONE", 100)]},
        {**good, "items": [{"price": "price_none"}]},
        {**good, "items": [{**one, "quantity": -1}]},
        {**good, "items": [one], "trial_from_plan": True},  # left out by the twin, and said so
    ):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.subscriptions.create(given)
    assert client.v1.subscriptions.list({"status": "all"}).data == []
    assert client.v1.invoices.list().data == []
    assert client.v1.prices.list({"active": False}).data == []


# -- lists ----------------------------------------------------------------------------------------------------------
def test_pages_go_both_ways(billing: World) -> None:
    client = billing.client()
    made = [client.v1.customers.create({"name": str(number)}).id for number in range(7)]
    newest_first = made[::-1]
    assert [c.id for c in client.v1.customers.list({"limit": 3}).auto_paging_iter()] == newest_first
    page = client.v1.customers.list({"limit": 2, "starting_after": made[4]})
    assert ([c.id for c in page.data], page.has_more, page.url) == ([made[3], made[2]], True, "/v1/customers")
    back = client.v1.customers.list({"limit": 2, "ending_before": made[1]})
    assert ([c.id for c in back.data], back.has_more) == ([made[3], made[2]], True)
    assert [c.id for c in back.auto_paging_iter()] == [made[2], made[3], made[4], made[5], made[6]]
    for given in (
        {"limit": 0},
        {"limit": 101},
        {"starting_after": "cus_none"},
        {"starting_after": made[0], "ending_before": made[1]},
    ):
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.customers.list(given)


def test_lists_are_filtered(billing: World) -> None:
    client = billing.client()
    early = customer(client, email="a@x.example")
    billing.advance(datetime(2026, 1, 20, tzinfo=UTC))
    late = customer(client, email="b@x.example")
    assert [c.id for c in client.v1.customers.list({"email": "a@x.example"}).data] == [early.id]
    assert [c.id for c in client.v1.customers.list({"created": {"gte": at(2026, 1, 20)}}).data] == [late.id]
    invoice = invoiced(client)
    for given, count in (
        ({"status": "open"}, 1),
        ({"status": "paid"}, 0),
        ({"customer": invoice.customer}, 1),
        ({"subscription": invoice.parent.subscription_details.subscription}, 1),
        ({"created": {"lt": at(2026, 1, 20)}}, 0),
    ):
        assert len(client.v1.invoices.list(given).data) == count


def test_expanding_four_levels_and_no_more(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client)
    found = client.v1.invoices.list(
        {"expand": ["data.customer", "data.parent.subscription_details.subscription"]}
    )
    assert found.data[0].customer.email == "pay@acme.example"
    again = client.v1.invoices.retrieve(
        invoice.id, {"expand": ["lines.data.pricing", "parent.subscription_details.subscription.customer"]}
    )
    assert again.parent.subscription_details.subscription.customer.name == "Acme"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.retrieve(invoice.id, {"expand": ["total"]})
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.retrieve(invoice.id, {"expand": ["a.b.c.d.e"]})


def test_search_finds_metadata_once_it_is_visible(billing: World) -> None:
    client = billing.client()
    found = customer(client, metadata={"crm_account": "001"})
    customer(client, metadata={"crm_account": "002"})
    query = "metadata['crm_account']:'001'"
    assert [c.id for c in client.v1.customers.search({"query": query}).data] == [found.id]
    assert len(client.v1.customers.search({"query": "email:'pay@acme.example' AND name~\"acm\""}).data) == 2
    assert len(client.v1.customers.search({"query": "-metadata['crm_account']:null", "limit": 1}).data) == 1
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.search({"query": "metadata["})
    billing.control("PUT", "faults", {"visibility_delay_seconds": 1.0})
    late = customer(client, metadata={"crm_account": "003"})
    query = "metadata['crm_account']:'003'"
    assert client.v1.customers.search({"query": query}).data == []
    assert client.v1.customers.retrieve(late.id).id == late.id
    assert late.id in [c.id for c in client.v1.customers.list().data]
    time.sleep(1.1)
    assert [c.id for c in client.v1.customers.search({"query": query}).data] == [late.id]


def test_metadata_is_merged_and_unset(billing: World) -> None:
    client = billing.client()
    one = customer(client, metadata={"a": "1", "b": "2"})
    assert client.v1.customers.update(one.id, {"metadata": {"a": "", "c": "3"}}).metadata.to_dict() == {
        "b": "2",
        "c": "3",
    }
    assert client.v1.customers.update(one.id, {"metadata": ""}).metadata.to_dict() == {}
    assert client.v1.customers.delete(one.id).deleted
    assert client.v1.customers.retrieve(one.id).deleted


def test_a_finalised_invoice_takes_metadata_and_little_else(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client)
    done = client.v1.invoices.update(invoice.id, {"metadata": {"erp_document": "INV1"}})
    assert done.metadata["erp_document"] == "INV1"
    event = client.v1.events.list({"type": "invoice.updated"}).data[0]
    assert event.data.previous_attributes.to_dict() == {"metadata": {"erp_document": None}}
    assert event.data.object["metadata"]["erp_document"] == "INV1"
    with pytest.raises(stripe.InvalidRequestError) as frozen:
        client.v1.invoices.update(invoice.id, {"description": "no"})
    assert frozen.value.code == "invoice_not_editable"


# -- idempotency ----------------------------------------------------------------------------------------------------
def test_a_key_gives_the_first_answer_again(billing: World) -> None:
    body, key = "name=A&metadata[k]=v", {"Idempotency_Key": "k1"}
    _, headers, first = billing.http("POST", "/v1/customers", body, **key)
    assert "idempotent-replayed" not in headers
    status, headers, second = billing.http("POST", "/v1/customers", body, **key)
    assert (status, second, headers["idempotent-replayed"]) == (200, first, "true")
    client = billing.client()
    assert len(client.v1.customers.list().data) == 1
    assert client.v1.events.list({"type": "customer.created"}).data[0].request.idempotency_key == "k1"
    for path, other in (("/v1/customers", "name=B"), ("/v1/products", body)):
        status, _, answer = billing.http("POST", path, other, **key)
        assert (status, answer["error"]["type"]) == (400, "idempotency_error")
    # each account has its own keys
    status, headers, _ = billing.http("POST", "/v1/customers", body, Authorization="Bearer sk_test_jp", **key)
    assert (status, "idempotent-replayed" in headers) == (200, False)
    assert billing.http("POST", "/v1/customers", body, Idempotency_Key="k" * 256)[0] == 400
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"name": "C"}, {"idempotency_key": "k1"})


def test_refused_parameters_leave_the_key_free_and_other_errors_do_not(billing: World) -> None:
    key = {"Idempotency_Key": "k1"}
    assert billing.http("POST", "/v1/customers", "nick=x", **key)[0] == 400
    assert billing.http("POST", "/v1/customers", "name=x", **key)[0] == 200
    body = "payment_intent=pi_none"
    assert billing.http("POST", "/v1/refunds", body, Idempotency_Key="k2")[0] == 400
    assert billing.http("POST", "/v1/refunds", body, Idempotency_Key="k2")[1]["idempotent-replayed"] == "true"


def test_a_500_after_the_work_is_what_the_key_keeps(billing: World) -> None:
    billing.fail_once("error_after", "customers.create")
    key = {"Idempotency_Key": "k1"}
    assert billing.http("POST", "/v1/customers", "name=x", **key)[0] == 500
    status, headers, body = billing.http("POST", "/v1/customers", "name=x", **key)
    assert (status, headers["idempotent-replayed"], body["error"]["type"]) == (500, "true", "api_error")
    assert len(billing.client().v1.customers.list().data) == 1
    billing.fail_once("error_before", "customers.create")
    assert billing.http("POST", "/v1/customers", "name=y", Idempotency_Key="k2")[0] == 500
    assert billing.http("POST", "/v1/customers", "name=y", Idempotency_Key="k2")[0] == 200


def test_a_key_is_forgotten_after_a_day(billing: World) -> None:
    key = {"Idempotency_Key": "k1"}
    billing.act("settings", key_life_seconds=1)
    first = billing.http("POST", "/v1/customers", "name=x", **key)[2]
    assert billing.http("POST", "/v1/customers", "name=x", **key)[2]["id"] == first["id"]
    time.sleep(1.1)
    assert billing.http("POST", "/v1/customers", "name=x", **key)[2]["id"] != first["id"]


def test_work_that_comes_late_holds_its_key_and_is_done_once(billing: World) -> None:
    billing.fail_once("late", "customers.create", seconds=1.0)
    client = billing.client()
    client_gives_up = threading.Thread(target=_give_up, args=(billing,), daemon=True)
    client_gives_up.start()
    client_gives_up.join(timeout=5)
    with pytest.raises(stripe.StripeError) as busy:
        client.v1.customers.create({"name": "late"}, {"idempotency_key": "k1"})
    assert (busy.value.http_status, busy.value.error.code) == (409, "idempotency_key_in_use")
    assert client.v1.customers.list().data == []
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    while not client.v1.customers.list().data and datetime.now(UTC) < deadline:
        time.sleep(0.05)
    again = client.v1.customers.create({"name": "late"}, {"idempotency_key": "k1"})
    assert [c.id for c in client.v1.customers.list().data] == [again.id]


def _give_up(billing: World) -> None:
    with pytest.raises(OSError, match="timed out"):
        _short(billing)


def _short(billing: World) -> None:
    import urllib.request

    request = urllib.request.Request(
        billing.url + "/v1/customers",
        data=b"name=late",
        headers={
            "Authorization": "Bearer sk_test_us",
            "Idempotency-Key": "k1",
            "Content-Type": "application/x-www-form-urlencoded",
        },
    )
    urllib.request.urlopen(request, timeout=0.3)


def test_the_answer_is_lost_but_the_sdk_asks_again(billing: World) -> None:
    """The SDK's own retries: a dropped connection after the work, then the same key."""
    billing.fail_once("reset", "customers.create")
    client = billing.client(max_network_retries=2)
    made = client.v1.customers.create({"name": "x"})
    assert [c.id for c in client.v1.customers.list().data] == [made.id]


# -- limits ---------------------------------------------------------------------------------------------------------
def test_too_many_calls(billing: World) -> None:
    billing.act("limits", per_second=3)
    answers = [billing.http("GET", "/v1/account") for _ in range(6)]
    assert [status for status, _, _ in answers].count(200) == 3
    _, headers, body = next(answer for answer in answers if answer[0] == 429)
    assert headers["stripe-rate-limited-reason"] == "global-rate"
    assert body["error"]["code"] == "rate_limit"
    assert "retry-after" not in headers
    billing.act("limits", per_endpoint=1)
    assert billing.http("GET", "/v1/account")[0] == 200
    assert billing.http("GET", "/v1/account")[1]["stripe-rate-limited-reason"] == "endpoint-rate"
    assert billing.http("GET", "/v1/customers")[0] == 200
    billing.act("limits")
    billing.fail_once("rate_limited")
    with pytest.raises(stripe.RateLimitError):
        billing.client().v1.customers.list()
