"""Bitmaps, the headers of change events, Outbound Messages and the feed's configuration: pure, no twin."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import fastavro
import pytest

from tieout.canonical.secret import Secret
from tieout.connectors.contract import Forged, Malformed, OtherAccount
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import bitmaps, config, inbound, pubsub_wire
from tieout.connectors.salesforce.changes import touches
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.inbound import ACK, OutboundMessages
from tieout.connectors.salesforce.soql import id18

SPECS = Path(__file__).resolve().parents[3] / ".." / "shared" / "specs" / "salesforce"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
ORG = id18("00DRM000000abcd")
SECRET = "s" * 32


def spec(name: str) -> str:
    path = SPECS / name
    if not path.exists():
        pytest.skip(f"the vendor's samples are not here: {path}")
    return path.read_text()


def schema(*fields: Any) -> dict[str, Any]:
    return {"type": "record", "name": "X", "fields": list(fields)}


def plain(name: str) -> dict[str, Any]:
    return {"name": name, "type": ["null", "string"], "default": None}


ADDRESS = {
    "name": "BillingAddress",
    "type": ["null", {"type": "record", "name": "A", "fields": [plain("Street"), plain("City")]}],
}


# ---------------------------------------------------------------------------------------------------------- bitmaps


def test_the_vendors_own_bitmap_examples() -> None:
    example = json.loads(spec("cdc_event_samples.json"))["bitmap_examples"][0]
    fields = schema(*map(plain, example["schema_fields"]))
    assert bitmaps.decode(example["raw"], fields) == set(example["meaning"])


def test_bitmaps_of_compound_fields_alone_and_beside_others() -> None:
    fields = schema(plain("ChangeEventHeader"), plain("Name"), ADDRESS)
    assert bitmaps.decode(["0x2", "2-0x02"], fields) == {"Name", "BillingAddress.City"}
    assert bitmaps.decode(["2-0x03"], fields) == {"BillingAddress.Street", "BillingAddress.City"}
    assert bitmaps.decode([], fields) == frozenset()


@pytest.mark.parametrize("entry", ["0x8", "3-0x1", "1-0x1", "2-0x4", "0x", "12", "x", "-0x1", "0x-1", ""])
def test_a_bitmap_beyond_the_schema_or_none_at_all_is_refused(entry: str) -> None:
    with pytest.raises(bitmaps.BadBitmap):
        bitmaps.decode([entry], schema(plain("ChangeEventHeader"), plain("Name"), ADDRESS))


def test_which_fields_touch_what_is_read() -> None:
    watched = frozenset({"Name", "BillingCity"})
    assert touches({"BillingAddress.City"}, watched)
    assert touches({"Name.LastName"}, watched)
    assert not touches({"BillingAddress.Street", "NextStep"}, watched)


# ----------------------------------------------------------------------------------------------------------- events


def event(name: str) -> tuple[pubsub_wire.Schema, bytes]:
    import io

    given = json.loads(spec("cdc_event_samples.json"))
    avro, record = given["avro_schema_example"], given["events"][name]
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(avro), record)
    return pubsub_wire.Schema(json.dumps(avro)), out.getvalue()


def test_the_vendors_update_event() -> None:
    known, payload = event("UPDATE_closed_won_raw")
    change = known.change(payload)
    assert (change.sobject, change.ids, change.kind) == ("Opportunity", ("006RM00000A1b2cYAB",), "UPDATE")
    assert change.fields == {"StageName", "IsClosed", "IsWon", "LastModifiedDate"}
    assert change.origin.endswith("client=o2chub")
    assert not change.tells_too_little


@pytest.mark.parametrize(
    ("name", "ids", "too_little"),
    [
        ("CREATE", 1, False),
        ("DELETE", 1, False),
        ("UNDELETE", 1, False),
        ("UPDATE_field_set_to_null", 1, False),
        ("UPDATE_merged_many_records", 2, False),
        ("GAP_UPDATE", 1, True),
        ("GAP_OVERFLOW", 0, True),
        ("UPDATE_type_conversion_wildcard", 1, True),
    ],
)
def test_every_kind_of_event(name: str, ids: int, too_little: bool) -> None:
    known, payload = event(name)
    change = known.change(payload)
    assert len(change.ids) == ids
    assert change.tells_too_little is too_little
    if change.kind != "UPDATE":
        assert change.fields is None


def test_a_field_set_to_null_has_changed() -> None:
    known, payload = event("UPDATE_field_set_to_null")
    assert "Amount" in (known.change(payload).fields or ())


def test_a_payload_that_is_cut_off_or_a_schema_that_is_none() -> None:
    known, payload = event("CREATE")
    with pytest.raises(BadBody):
        known.change(payload[:20])
    for text in ("[]", "{}", '{"type":"record"}', "no json"):
        with pytest.raises(BadBody):
            pubsub_wire.Schema(text)
    with pytest.raises(BadBody):
        pubsub_wire.decode("FetchResponse", b"\x0a\xff")


# ------------------------------------------------------------------------------------------------- Outbound Messages


def messages(**more: Any) -> OutboundMessages:
    return OutboundMessages("crm", settings(webhook_secrets=(Secret(SECRET),), **more))


def settings(**more: Any) -> SalesforceConfig:
    given: dict[str, Any] = {
        "login_url": "https://acme.my.salesforce.com",
        "start_date": date(2026, 1, 1),
        "consumer_key": "key",
        "auth": "client_credentials",
        "client_secret": Secret("hush"),
        "org_id": ORG,
    }
    return SalesforceConfig(**given | more)


def body(*records: str, org: str = ORG, about: str = "Opportunity", more: str = "") -> bytes:
    told = "".join(
        f'<Notification><Id>{id}</Id><sObject xsi:type="sf:{about}" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        f"<sf:Id>{record}</sf:Id>{more}</sObject></Notification>"
        for id, record in (each.split("/") for each in records)
    )
    return (
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
        f'<notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>{org}</OrganizationId>'
        f"{told}</notifications></soapenv:Body></soapenv:Envelope>"
    ).encode()


NOTE, OTHER = "04lRM000001abcdYAA", "04lRM000001abceYAA"
DEAL, LINE = "006RM00000A1b2cYAB", "00kRM00000A1b2cYAB"


def test_the_vendors_own_sample_and_its_answer() -> None:
    (change,) = messages().parse(spec("outbound_message_sample.xml").encode(), NOW)
    assert (change.id, change.type) == (f"message|{NOTE}", "Opportunity.message")
    assert str(change.subject) == f"crm|opportunity|{DEAL}" or change.subject.id == DEAL
    assert b"Closed Won" not in change.data
    from xml.etree import ElementTree as ET

    def flat(text: str | bytes) -> list[tuple[str, str]]:
        return [(each.tag, (each.text or "").strip()) for each in ET.fromstring(text).iter()]

    assert flat(ACK) == flat(spec("outbound_message_ack.xml").encode())


def test_notifications_of_one_id_are_one_event_and_lines_are_of_their_deal() -> None:
    assert len(messages().parse(body(f"{NOTE}/{DEAL}", f"{NOTE}/{DEAL}", f"{OTHER}/{DEAL}"), NOW)) == 2
    line = body(
        f"{NOTE}/{LINE}", about="OpportunityLineItem", more=f"<sf:OpportunityId>{DEAL}</sf:OpportunityId>"
    )
    assert messages().parse(line, NOW)[0].subject.id == DEAL
    (bare,) = messages().parse(body(f"{NOTE}/{LINE}", about="OpportunityLineItem"), NOW)
    assert "OpportunityId" in bare.ignored
    assert (
        messages().parse(body(f"{NOTE}/{DEAL}", about="Contact"), NOW)[0].ignored == "no process for Contact"
    )


def test_a_hundred_notifications_and_not_one_more() -> None:
    many = [f"04lRM0000{at:09d}/{DEAL}" for at in range(101)]
    assert len(messages().parse(body(*many[:100]), NOW)) == 100
    for wrong in (body(*many), body()):
        with pytest.raises(Malformed, match="1 to 100"):
            messages().parse(wrong, NOW)


def test_another_org_is_refused() -> None:
    with pytest.raises(OtherAccount):
        messages().parse(body(f"{NOTE}/{DEAL}", org="00DRM000000zzzzEAA"), NOW)
    assert messages().parse(body(f"{NOTE}/{DEAL}", org=ORG[:15]), NOW)
    with pytest.raises(Malformed, match="no id") as caught:
        messages().parse(body(f"{NOTE}/{DEAL}", org="00D-or-so"), NOW)
    assert not isinstance(caught.value, OtherAccount)


BOMB = b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (b"", "well-formed"),
        (b"{}", "well-formed"),
        (b"<x/>", "not an Outbound Message"),
        (b"<!DOCTYPE x><x/>", "DTD"),
        (BOMB, "DTD"),
        (b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>', "DTD"),
        (body(f"{NOTE}/{DEAL}")[:-9], "well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><x/>', "well-formed"),
        (body(f"{NOTE}/{DEAL}").replace(b"OrganizationId", b"Other"), "no OrganizationId"),
        (body(f"{NOTE}/nothing"), "type or its id"),
        (body(f"bad/{DEAL}"), "without its id"),
        (body(f"{NOTE}/{DEAL}") + b" " * inbound.MOST_BYTES, "larger"),
    ],
)
def test_what_is_no_message_is_said_to_be_none(given: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        messages().parse(given, NOW)


def test_who_may_send() -> None:
    path = f"/hooks/crm/{SECRET}"
    messages().verify({":path": path}, b"", NOW)
    for wrong in (
        "",
        "/hooks/crm",
        "/hooks/crm/",
        "/hooks/crm/" + "t" * 32,
        path + "x",
        path + "/",
        f"{path}/ü",
    ):
        with pytest.raises(Forged):
            messages().verify({":path": wrong}, b"", NOW)
    behind = messages(webhook_client_header="X-Client-Verify")
    behind.verify({":path": path, "x-client-verify": "SUCCESS"}, b"", NOW)
    for headers in ({":path": path}, {":path": path, "x-client-verify": "NONE"}):
        with pytest.raises(Forged, match="certificate"):
            behind.verify(headers, b"", NOW)
    rotated = OutboundMessages("crm", settings(webhook_secrets=(Secret("n" * 32), Secret(SECRET))))
    rotated.verify({":path": path}, b"", NOW)
    nobody = OutboundMessages("crm", settings())
    assert not nobody.accepts_webhooks
    with pytest.raises(Forged):
        nobody.verify({":path": "/hooks/crm/"}, b"", NOW)


# ------------------------------------------------------------------------------------------------------ configuration


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"feed": "cometd"}, "one of sweep, pubsub"),
        ({"feed": "pubsub", "pubsub_channel": "Opportunity"}, "/data/ChangeEvents"),
        ({"pubsub_url": "http://api.pubsub.salesforce.com:7443"}, "pubsub_url must be an https"),
        ({"safety_sweep_seconds": 5}, "safety_sweep_seconds"),
        ({"deletion_log_days": 31}, "deletion_log_days"),
        ({"webhook_secrets": (Secret("short"),)}, "fewer than 32"),
        ({"webhook_secrets": (Secret("/" * 32),)}, "letters, digits"),
        ({"webhook_secrets": (Secret(SECRET),), "org_id": ""}, "need org_id"),
    ],
)
def test_a_feed_that_cannot_work_says_what_to_write(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        settings(**given)


def test_pubsub_without_its_packages_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    settings(feed="pubsub")
    monkeypatch.setattr(config, "PUBSUB_PACKAGES", ("grpc", "nobody_has_this", "nobody.has_this"))
    with pytest.raises(
        ValueError, match=r"nobody_has_this, nobody\.has_this: pip install 'tieout\[salesforce\]'"
    ):
        settings(feed="pubsub")
    settings(feed="sweep")
