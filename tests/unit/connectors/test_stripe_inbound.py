"""Signatures, and events as changes."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import msgspec
import pytest

from tests.unit.connectors.stripe_world import NOW, config
from tieout.canonical.ids import Ref
from tieout.connectors.contract import Forged, Malformed, OtherAccount
from tieout.connectors.stripe.inbound import Inbound

AT = int(NOW.timestamp())


def inbound(**more: Any) -> Inbound:
    return Inbound("stripe-us", config(**more))


def event(type_: str, found: dict[str, Any], **more: Any) -> bytes:
    body = {
        "id": "evt_1",
        "object": "event",
        "created": AT,
        "livemode": False,
        "type": type_,
        "data": {"object": found},
        **more,
    }
    return msgspec.json.encode(body)


def signature(body: bytes, secret: str = "whsec_new", at: int = AT) -> str:
    mac = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={mac}"


def test_either_secret_signs_during_rotation_and_any_v1_may_match() -> None:
    body = event("invoice.finalized", {"id": "in_1", "object": "invoice"})
    for secret in ("whsec_new", "whsec_old"):
        inbound().verify({"stripe-signature": signature(body, secret)}, body, NOW)
    wrong = signature(body, "whsec_other")
    inbound().verify({"Stripe-Signature": f"{wrong},{signature(body).split(',')[1]},v0=zz"}, body, NOW)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "t=1",
        "v1=aa",
        "t=x,v1=aa",
        "t=²,v1=aa",
        "t=1,v1=é",
        signature(b"other"),
        signature(b"{}", "whsec_other"),
    ],
)
def test_a_forged_signature_is_refused(header: str) -> None:
    with pytest.raises(Forged):
        inbound().verify({"stripe-signature": header}, b"{}", NOW)


def test_only_older_signatures_are_out_of_tolerance() -> None:
    inbound().verify({"stripe-signature": signature(b"{}", at=AT + 4000)}, b"{}", NOW)
    inbound().verify({"stripe-signature": signature(b"{}", at=AT - 299)}, b"{}", NOW)
    with pytest.raises(Forged, match="too old"):
        inbound().verify({"stripe-signature": signature(b"{}", at=AT - 301)}, b"{}", NOW)


def test_without_a_secret_nothing_is_accepted() -> None:
    closed = inbound(webhook_secrets=[])
    assert not closed.accepts_webhooks
    with pytest.raises(Forged):
        closed.verify({"stripe-signature": signature(b"{}", "")}, b"{}", NOW)


@pytest.mark.parametrize(
    ("type_", "found", "kind", "id"),
    [
        ("invoice.finalized", {"id": "in_1"}, "invoice", "in_1"),
        ("invoice_payment.paid", {"id": "inpay_1", "payment": {"payment_intent": "pi_1"}}, "payment", "pi_1"),
        ("invoice_payment.paid", {"id": "inpay_1", "payment": {"payment_record": "pr_1"}}, "payment", "pr_1"),
        ("charge.succeeded", {"id": "ch_1", "payment_intent": "pi_1"}, "payment", "pi_1"),
        ("charge.succeeded", {"id": "ch_1", "payment_intent": None}, "payment", "ch_1"),
        ("payment_intent.succeeded", {"id": "pi_1"}, "payment", "pi_1"),
        ("payment_record.updated", {"id": "pr_1", "reported_by": "self"}, "payment", "pr_1"),
        ("credit_note.created", {"id": "cn_1"}, "credit_memo", "cn_1"),
        ("refund.created", {"id": "re_1"}, "refund", "re_1"),
        ("charge.refund.updated", {"id": "re_1"}, "refund", "re_1"),
        ("customer.subscription.created", {"id": "sub_1"}, "subscription", "sub_1"),
        ("subscription_schedule.updated", {"id": "sub_sched_1"}, "subscription", "sub_sched_1"),
    ],
)
def test_the_subject_is_the_document_that_the_process_is_for(
    type_: str, found: dict[str, Any], kind: str, id: str
) -> None:
    (change,) = inbound().parse(event(type_, found), NOW)
    assert change.subject == Ref(connection="stripe-us", kind=kind, id=id)
    assert (change.id, change.time, change.ignored) == ("evt_1", NOW, "")


@pytest.mark.parametrize(
    ("type_", "found", "rule"),
    [
        ("invoice.upcoming", {"object": "invoice"}, "preview"),
        ("invoice.deleted", {"id": "in_1"}, "draft"),
        ("charge.refunded", {"id": "ch_1"}, "refund.*"),
        ("customer.created", {"id": "cus_1", "object": "customer"}, "CRM"),
        ("payment_intent.created", {"id": "pi_1"}, "no process for payment_intent.created"),
        ("radar.something.new", {"id": "x"}, "no process for radar.something.new"),
    ],
)
def test_what_no_process_is_for_is_ignored_by_a_named_rule(
    type_: str, found: dict[str, Any], rule: str
) -> None:
    (change,) = inbound().parse(event(type_, found), NOW)
    assert rule in change.ignored


def test_a_charge_with_two_refunds_tells_of_both() -> None:
    found = {"id": "ch_1", "refunds": {"data": [{"id": "re_1"}, {"id": "re_2"}]}}
    changes = inbound().parse(event("charge.refunded", found), NOW)
    assert [change.id for change in changes] == ["evt_1#re_1", "evt_1#re_2"]


def test_a_credit_note_tells_of_the_refund_outside_stripe_too() -> None:
    part = {"payment_record_refund": {"payment_record": "pr_1", "refund_group": "rg_1"}}
    changes = inbound().parse(event("credit_note.created", {"id": "cn_1", "refunds": [part]}), NOW)
    assert [change.subject.id for change in changes if change.subject] == ["cn_1", "pr_1:rg_1"]


def test_our_key_in_the_object_is_evidence() -> None:
    found = {"id": "cus_1", "object": "customer", "metadata": {"tieout_key": "KEY"}}
    (change,) = inbound().parse(event("customer.created", found), NOW)
    assert change.document_keys == (("KEY", "cus_1"),)


@pytest.mark.parametrize(
    ("previous", "echo"),
    [
        ({"metadata": {"erp_document": None, "erp_status": "x"}}, True),
        ({"metadata": {"erp_document": None, "theirs": None}}, False),
        ({"metadata": {"erp_document": None}, "status": "open"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_an_echo_changes_nothing_but_our_metadata(previous: Any, echo: bool) -> None:
    data = {"object": {"id": "in_1"}, "previous_attributes": previous}
    (change,) = inbound().parse(event("invoice.updated", {}, data=data), NOW)
    assert change.echo is echo


@pytest.mark.parametrize("more", [{"livemode": True}, {"account": "acct_other"}])
def test_another_account_or_mode_is_refused_and_says_what_to_do(more: dict[str, Any]) -> None:
    with pytest.raises(OtherAccount) as caught:
        inbound().parse(event("invoice.paid", {"id": "in_1"}, **more), NOW)
    assert (caught.value.outcome.scope, caught.value.outcome.key) == ("connection", "stripe-us")
    assert "evt_1" in caught.value.outcome.message


@pytest.mark.parametrize("mode", [None, "false", 0])
def test_an_event_that_does_not_say_its_mode_is_no_stranger(mode: Any) -> None:
    with pytest.raises(Malformed) as caught:
        inbound().parse(event("invoice.paid", {"id": "in_1"}, livemode=mode), NOW)
    assert not isinstance(caught.value, OtherAccount)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b'{"id":"evt_1"}',
        b"\xff",
        event("invoice.paid", {}),
        event("", {"id": "in_1"}),
        b"[" * 100_000,
        event("invoice.paid", {"id": "in_1"}).replace(b'"evt_1"', b'"evt_1","id":"evt_2"'),
        event("invoice.paid", {"id": "in_1"}).replace(b'"evt_1"', b'"evt_1","id" : "evt_2"'),
        event("invoice.paid", {"id": "in_1"}).replace(b'"evt_1"', b'"evt_1","\\u0069d":"evt_2"'),
        # A colon that is written as an escape does not make up for the one of the second key.
        event("invoice.paid", {"id": "in_1", "note": "@"})
        .replace(b'"evt_1"', b'"evt_1","id":"evt_2"')
        .replace(b"@", b"\\u003A"),
    ],
)
def test_a_body_that_is_not_an_event_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        inbound().parse(body, NOW)


def test_quotes_and_colons_in_texts_are_no_keys() -> None:
    found = {
        "id": "in_1",
        "description": 'he said "id": "x", “emoji 🎉”',
        "lines": [{"id": "a"}, {"id": "b"}],
        "note": "@",
    }
    whole = event("invoice.paid", found)
    for body in (whole, whole.replace(b"@", b"\\u003a\\u003A"), whole.replace(b'{"id":', b'{"id"\t\n :')):
        (change,) = inbound().parse(body, NOW)
        assert change.subject is not None


def test_an_event_of_another_release_is_a_hint_and_no_more() -> None:
    """What it says has changed, and its metadata, are shaped by a version that we do not know."""
    mine = {"id": "in_1", "metadata": {"tieout_key": "KEY"}}
    known, other = "2026-09-30.endive", "2025-08-27.basil"
    (evidence,) = inbound().parse(event("invoice.updated", mine, api_version=known), NOW)
    assert evidence.document_keys == (("KEY", "in_1"),)
    (hint,) = inbound().parse(event("invoice.updated", mine, api_version=other), NOW)
    assert (hint.document_keys, hint.echo) == ((), False)
    assert hint.subject is not None
    assert hint.subject.id == "in_1"
