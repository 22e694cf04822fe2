"""Outbound Messages: what a workflow of the org posts to us, as hints.

The vendor signs nothing. What authenticates a message: the secret that ends the address it is posted to, the org id in
it, and, where the proxy in front checks client certificates, the header by which it says so. The session id in a
message is never looked at. Only the vendor's own SOAP answer counts as taken, so it is given when the events are
stored; any other answer makes the org send again for 24 hours. Source: SOAP API Developer Guide, Outbound Messaging.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.connectors.contract import Forged, Malformed, OtherAccount, WebhookAnswer, connection_blocked
from tieout.connectors.salesforce.changes import KINDS
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.soql import id18, is_record_id

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

SOAP = "{http://schemas.xmlsoap.org/soap/envelope/}"
OUTBOUND = "{http://soap.sforce.com/2005/09/outbound}"
SOBJECT = "{urn:sobject.enterprise.soap.sforce.com}"
XSI_TYPE = "{http://www.w3.org/2001/XMLSchema-instance}type"
MOST_BYTES = 5_000_000
MOST_NOTIFICATIONS = 100
ACK = (
    b'<?xml version="1.0" encoding="UTF-8"?>'
    b'<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    b'<notificationsResponse xmlns="http://soap.sforce.com/2005/09/outbound"><Ack>true</Ack></notificationsResponse>'
    b"</soapenv:Body></soapenv:Envelope>"
)


class OutboundMessages:
    """`Inbound` of one connection; needs no ports."""

    answer = WebhookAnswer(content_type="text/xml; charset=utf-8", body=ACK)

    def __init__(self, name: str, config: SalesforceConfig) -> None:
        self._name = name
        self._config = config
        self._secrets = tuple(secret.reveal().encode() for secret in config.webhook_secrets)

    @property
    def accepts_webhooks(self) -> bool:
        """Whether a secret is configured; without one the hub answers 404."""
        return bool(self._secrets)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """The address ends in one of our secrets, and the proxy vouches for the certificate. Raises Forged."""
        del body, now
        lower = {name.lower(): value for name, value in headers.items()}
        given = lower.get(":path", "").partition("?")[0].rpartition("/")[2].encode()
        # Every secret is compared, whatever the first one says.
        matches = [hmac.compare_digest(secret, given) for secret in self._secrets]
        if not any(matches):
            raise Forged("the address does not end in a secret of ours")
        header = self._config.webhook_client_header.lower()
        if header and lower.get(header, "") != self._config.webhook_client_value:
            raise Forged("the proxy does not say that the client certificate is good")

    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]:
        """The records that a message names, each notification once. Raises Malformed."""
        message = _message(body)
        organisation = _text(message, f"{OUTBOUND}OrganizationId")
        if not is_record_id(organisation):
            raise Malformed("OrganizationId is no id")
        if id18(organisation[:15]) != self._config.org_id:
            raise OtherAccount(
                connection_blocked(
                    self._name,
                    f"an Outbound Message of org {organisation}, but the connection is pinned to "
                    f"{self._config.org_id}",
                    "point that org's Outbound Message at a connection of its own, or, where it is a copy of this one,"
                    " give this connection's address a new secret",
                )
            )
        notifications = message.findall(f"{OUTBOUND}Notification")
        if not 1 <= len(notifications) <= MOST_NOTIFICATIONS:
            raise Malformed(
                f"{len(notifications)} notifications, where 1 to {MOST_NOTIFICATIONS} are documented"
            )
        events = {event.id: event for event in self._events(notifications, now)}
        return tuple(events.values())

    def _events(self, notifications: list[Element], now: datetime) -> Iterator[ChangeEvent]:
        for notification in notifications:
            id = _text(notification, f"{OUTBOUND}Id")
            record = notification.find(f"{OUTBOUND}sObject")
            if record is None or not is_record_id(id):
                raise Malformed("a notification without its id or its record")
            name = record.get(XSI_TYPE, "").rpartition(":")[2]
            record_id = id18(_text(record, f"{SOBJECT}Id"))
            if not name or not is_record_id(record_id):
                raise Malformed("a record without its type or its id")
            subject, ignored = self._subject(name, record_id, record)
            yield ChangeEvent(
                id=f"message|{id18(id)}",
                source=self._name,
                type=f"{name}.message",
                subject=subject,
                time=now,
                # The hint alone: the message holds the fields that somebody put into it, personal ones maybe.
                data=msgspec.json.encode({"object": name, "id": record_id, "notification": id}),
                ignored=ignored,
            )

    def _subject(self, name: str, record_id: str, record: Element) -> tuple[Ref | None, str]:
        """What a record is about; a line is about its opportunity, when the message names it."""
        if name in KINDS:
            return Ref(connection=self._name, kind=KINDS[name], id=record_id), ""
        if name != "OpportunityLineItem":
            return None, f"no process for {name}"
        deal = id18((record.findtext(f"{SOBJECT}OpportunityId") or "").strip())
        if not is_record_id(deal):
            return (
                None,
                "a line without its opportunity: add OpportunityId to the fields of the Outbound Message",
            )
        return Ref(connection=self._name, kind=KINDS["Opportunity"], id=deal), ""


def _message(body: bytes) -> Element:
    """The `notifications` element. Raises Malformed."""
    if len(body) > MOST_BYTES:
        raise Malformed(f"the body is larger than {MOST_BYTES} bytes")
    try:
        envelope: Element = fromstring(body, forbid_dtd=True)
    except DefusedXmlException as error:
        raise Malformed(f"XML with a DTD or an entity is not taken: {type(error).__name__}") from error
    except (ParseError, ValueError, LookupError) as error:
        raise Malformed("the body is not well-formed XML") from error
    found = envelope.find(f"{SOAP}Body/{OUTBOUND}notifications")
    if envelope.tag != f"{SOAP}Envelope" or found is None:
        raise Malformed("not an Outbound Message: no notifications in a SOAP envelope")
    return found


def _text(element: Element, name: str) -> str:
    text = (element.findtext(name) or "").strip()
    if not text:
        raise Malformed(f"no {name.rpartition('}')[2]}")
    return text
