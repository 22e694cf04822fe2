"""Events of the billing twin: the log, signed deliveries, retries, rotation, and the faults of deliveries."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.conformance.twins.stripe_shapes import FILE, shapes
from tests.conformance.twins.stripe_world import World, customer, invoiced, mailbox, world
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.stripe import create


@pytest.fixture
def billing() -> Iterator[World]:
    with world() as made:
        yield made


def test_deliveries_are_signed_as_the_sdk_verifies_them(
    billing: World, spec_path: Callable[[str], Path]
) -> None:
    client = billing.client()
    checker = shapes(spec_path(FILE))
    with mailbox() as box:
        billing.act("register_webhook", account="acct_us", url=box.url)
        invoice = invoiced(client)
        billing.act("pay_invoice", account="acct_us", invoice=invoice.id)
        wanted = {
            "customer.created", "customer.subscription.created", "invoice.created", "invoice.finalized", "invoice.paid",
            "invoice_payment.paid", "payment_intent.succeeded", "charge.succeeded",
        }  # fmt: skip
        deadline = time.monotonic() + 10
        while not wanted <= {json.loads(body)["type"] for body, _ in box.came}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for body, signature in box.came:
            event = stripe.Webhook.construct_event(body, signature, "whsec_us")
            assert (event.object, event.api_version, event.livemode) == ("event", "2026-10-28.endive", False)
            assert checker.check_object("Event", json.loads(body)) == []
            with pytest.raises(stripe.SignatureVerificationError):
                stripe.Webhook.construct_event(body, signature, "whsec_jp")
        paid = client.v1.events.list({"types": ["invoice.paid"]}).data[0]
        assert client.v1.events.retrieve(paid.id).data.object["id"] == invoice.id
        assert paid.pending_webhooks == 0


def test_an_endpoint_made_by_the_api_gets_only_what_it_wants(billing: World) -> None:
    client = billing.client()
    with mailbox() as box:
        endpoint = client.v1.webhook_endpoints.create(
            {"url": box.url, "enabled_events": ["customer.created"]}
        )
        assert endpoint.secret.startswith("whsec_")
        assert getattr(client.v1.webhook_endpoints.retrieve(endpoint.id), "secret", None) is None
        invoiced(client)
        box.wait(1)
        client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
        customer(client)
        client.v1.webhook_endpoints.delete(endpoint.id)
        customer(client)
        time.sleep(0.2)
        assert len(box.came) == 1
        stripe.Webhook.construct_event(*box.came[0], endpoint.secret)
        assert client.v1.webhook_endpoints.list().data == []


def test_nobody_is_told_of_what_a_refused_call_had_made(billing: World) -> None:
    client = billing.client()
    with mailbox() as box:
        client.v1.webhook_endpoints.create({"url": box.url, "enabled_events": ["*"]})
        bad: Any = {"name": "X", "default_price_data": {"currency": "usd", "unit_amount": -(10**13)}}
        with pytest.raises(stripe.InvalidRequestError):
            client.v1.products.create(bad)
        client.v1.products.create({"name": "Y"})
        (came,) = box.wait(1)
        event = json.loads(came[0])
        assert (event["type"], event["data"]["object"]["name"]) == ("product.created", "Y")
    logged = client.v1.events.list({"type": "product.created", "limit": 1}).data
    assert [one.id for one in logged] == [event["id"]]


def test_a_refused_delivery_comes_again_with_a_fresh_signature() -> None:
    with world(factor=20.0) as billing, mailbox(500, 404, 301) as box:
        billing.act("register_webhook", account="acct_us", url=box.url)
        billing.client().v1.customers.create({"name": "x"})
        came = box.wait(4)
        assert len({body for body, _ in came}) == 1
        stamps = [int(signature.split(",")[0].removeprefix("t=")) for _, signature in came]
        assert stamps == sorted(stamps)
        assert stamps[-1] - stamps[0] >= 6  # 1, 2 and 4 seconds of technical time
        deadline = time.monotonic() + 5
        while billing.client().v1.events.list({"delivery_success": False}).data:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_while_a_secret_is_rotated_both_sign(billing: World) -> None:
    with mailbox() as box:
        billing.act("register_webhook", account="acct_us", url=box.url)
        billing.act("rotate_secret", account="acct_us", secret="whsec_new", expires_seconds=1)
        billing.client().v1.customers.create({"name": "x"})
        body, signature = box.wait(1)[0]
        assert signature.count("v1=") == 2
        for secret in ("whsec_us", "whsec_new"):
            stripe.Webhook.construct_event(body, signature, secret)
        time.sleep(1.1)
        billing.client().v1.customers.create({"name": "y"})
        body, signature = box.wait(2)[1]
        assert signature.count("v1=") == 1
        stripe.Webhook.construct_event(body, signature, "whsec_new")


def test_doubled_forged_dropped_and_delayed(billing: World) -> None:
    client = billing.client()
    with mailbox() as box:
        billing.act("register_webhook", account="acct_us", url=box.url)
        billing.control("PUT", "faults", {"webhooks": {"duplicate": 1.0, "forge": 1.0}})
        client.v1.customers.create({"name": "x"})
        good, bad = [], []
        for body, signature in box.wait(3):
            try:
                good.append(stripe.Webhook.construct_event(body, signature, "whsec_us").id)
            except stripe.SignatureVerificationError:
                bad.append(json.loads(body)["id"])
        assert (len(good), len(set(good)), len(bad)) == (2, 1, 1)
        assert bad[0] not in good
        billing.control("PUT", "faults", {"webhooks": {"drop": 1.0}})
        lost = client.v1.customers.create({"name": "y"})
        billing.control("PUT", "faults", {"seed": 3, "webhooks": {"delay": 0.5, "delay_seconds": 0.6}})
        for number in range(12):
            client.v1.customers.create({"name": str(number)})
        came = box.wait(3 + 12)[3:]
        seen = [json.loads(body)["data"]["object"]["name"] for body, _ in came]
        assert sorted(seen) == sorted(map(str, range(12)))
        assert seen != sorted(seen, key=int)  # out of order
        listed = [
            event.data.object["id"] for event in client.v1.events.list({"limit": 100}).auto_paging_iter()
        ]
        assert lost.id in listed
        assert all(json.loads(body)["data"]["object"]["id"] != lost.id for body, _ in box.came)
        counts = billing.control("GET", "faults")["counts"]
        assert {"webhook.duplicate", "webhook.forge", "webhook.drop", "webhook.delay"} <= set(counts)


def test_the_log_is_paged_filtered_and_forgets_after_thirty_days(billing: World) -> None:
    client = billing.client()
    for number in range(5):
        client.v1.customers.create({"name": str(number)})
    every = list(client.v1.events.list({"limit": 3}).auto_paging_iter())
    kinds = Counter(event.type for event in every)
    assert kinds["customer.created"] == 5
    newest, oldest = every[0], every[-1]
    after = list(client.v1.events.list({"ending_before": every[3].id, "limit": 2}).auto_paging_iter())
    assert [event.id for event in after] == [every[2].id, every[1].id, newest.id]
    assert (
        len(client.v1.events.list({"created": {"gte": oldest.created}, "types": ["customer.created"]}).data)
        == 5
    )
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.events.list({"type": "customer.created", "types": ["customer.created"]})
    billing.act("settings", event_life_seconds=-1)
    assert client.v1.events.list().data == []


async def test_without_sockets_a_harness_takes_the_deliveries() -> None:
    """In process: the poster is replaced, the clock is the harness's own."""
    twin = create(SystemTwinClock(business=datetime(2026, 1, 1, tzinfo=UTC)))
    came: list[bytes] = []

    async def post(url: str, body: bytes, headers: dict[str, str]) -> int:
        assert "stripe-signature" in headers
        came.append(body)
        return 200

    twin.webhooks.post = post
    twin.control.register_webhook({"account": "acct_us", "url": "http://hub/"})
    twin.control.seed_catalogue({})
    for _ in range(5):
        await twin.clock.sleep(0)
    assert [json.loads(body)["type"] for body in came] == ["product.created"] * 4
    await twin.close()


def test_a_scenario_tampers_behind_the_hubs_back(billing: World) -> None:
    client = billing.client()
    invoice = invoiced(client, 100_00)
    before = len(client.v1.events.list({"limit": 100}).data)
    billing.act(
        "alter", account="acct_us", kind="invoices", id=invoice.id, path="lines.data.0.amount", value=100_01
    )
    assert client.v1.invoices.retrieve(invoice.id).lines.data[0].amount == 100_01
    double = billing.act("copy", account="acct_us", kind="invoices", id=invoice.id)
    assert client.v1.invoices.retrieve(double["id"]).total == invoice.total
    billing.act("delete", account="acct_us", kind="invoices", id=invoice.id)
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.invoices.retrieve(invoice.id)
    assert len(client.v1.events.list({"limit": 100}).data) == before
    kept = billing.act("snapshot", kinds=["invoices"])
    assert [one["id"] for one in kept["acct_us"]["invoices"]] == [double["id"]]
    with pytest.raises(AssertionError, match="KeyError"):
        billing.act("void_invoice", account="acct_none", invoice="in_1")
    with pytest.raises(AssertionError, match="resource_missing"):
        billing.act("void_invoice", account="acct_us", invoice="in_none")
