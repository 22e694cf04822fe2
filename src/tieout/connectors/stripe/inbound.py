"""Webhooks: the signature over the raw bytes, and an event as the change it tells of."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.connectors.contract import Forged, Malformed, OtherAccount, connection_blocked
from tieout.connectors.http import BadBody, decode_json
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.mapping import moment

HEADER = "stripe-signature"
_encode = msgspec.json.Encoder().encode

# Events by prefix, the longest first: the kind of their subject. None: it takes more than the object's own id.
SUBJECTS: tuple[tuple[str, str | None], ...] = (
    ("customer.subscription.", "subscription"),
    ("subscription_schedule.", "subscription"),
    ("charge.refund.", "refund"),
    ("charge.dispute.", "dispute"),
    ("charge.refunded", None),
    ("charge.succeeded", None),
    ("invoice_payment.", None),
    ("payment_record.", None),
    ("payment_intent.succeeded", "payment"),
    ("credit_note.", "credit_memo"),
    ("invoice.", "invoice"),
    ("payout.", "payout"),
    ("refund.", "refund"),
)
IGNORED = {
    "invoice.upcoming": "a preview of an invoice is no invoice",
    "invoice.deleted": "only a draft is ever deleted, and a draft is not on the books",
}
CUSTOMER_RULE = "customers are led by the CRM"
REFUND_RULE = "refunds come as refund.*"
STRIPE_RECORD_RULE = "a payment through Stripe is told by its payment intent"
NO_PAYMENT_RULE = "an invoice payment without a payment"


class Inbound:
    """Verifies and reads what one account's webhook endpoints send; needs no ports."""

    def __init__(self, name: str, config: StripeConfig) -> None:
        self.name = name
        self._config = config
        self._secrets = tuple(secret.reveal().encode() for secret in config.webhook_secrets if secret)
        keys = config.metadata
        self._own = frozenset((keys.erp_document, keys.erp_number, keys.erp_status))

    @property
    def accepts_webhooks(self) -> bool:
        """Whether a signing secret is configured; without one the hub answers 404."""
        return bool(self._secrets)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """`v1` is HMAC-SHA256 of `t.body` under one of our secrets, and `t` is not too old. Raises Forged."""
        if not self._secrets:
            raise Forged("no webhook secret is configured")
        header = headers.get(HEADER) or next(
            (value for name, value in headers.items() if name.lower() == HEADER), ""
        )
        stamp, given = parse_signature(header)
        signed = stamp.encode() + b"." + body
        # Every pair is compared, whatever the first ones say: the time taken tells nothing of the secrets.
        expected = [hmac.digest(secret, signed, hashlib.sha256).hex() for secret in self._secrets]
        matches = [hmac.compare_digest(ours, theirs) for ours in expected for theirs in given]
        if not any(matches):
            raise Forged("no signature in the header is ours")
        if int(stamp) < now.timestamp() - self._config.signature_tolerance_seconds:
            raise Forged("the signature is too old")

    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]:
        """The changes that one event tells of: as a rule one. Raises Malformed."""
        del now
        event = decode_strictly(body)
        if not isinstance(event, dict) or event.get("object") != "event":
            raise Malformed("not an event object")
        return self.changes(event, body)

    def changes(self, event: dict[str, Any], body: bytes) -> tuple[ChangeEvent, ...]:
        """One decoded event (webhook or event list) as changes. Raises Malformed."""
        id, type_, created = event.get("id"), event.get("type"), event.get("created")
        data = event.get("data")
        found = data.get("object") if isinstance(data, dict) else None
        if not isinstance(id, str) or not isinstance(type_, str) or not id or not type_:
            raise Malformed("an event without id or type")
        if not isinstance(created, int) or isinstance(created, bool) or not isinstance(found, dict):
            raise Malformed("an event without created or data.object")
        self._check_origin(id, event)
        subjects, ignored = self.subjects(type_, found)
        echo = False
        keys: tuple[tuple[str, str], ...] = ()
        if same_release(event.get("api_version"), self._config.api_version):
            echo = self._is_echo(data.get("previous_attributes") if isinstance(data, dict) else None)
            keys = self._evidence(found)
        at = moment(created)

        def change(subject: Ref | None, event_id: str) -> ChangeEvent:
            return ChangeEvent(
                id=event_id,
                source=self.name,
                type=type_,
                subject=subject,
                time=at,
                data=body,
                ignored=ignored,
                echo=echo,
                document_keys=keys,
            )

        if len(subjects) > 1:
            return tuple(change(subject, f"{id}#{subject.id}") for subject in subjects)
        return (change(subjects[0] if subjects else None, id),)

    def subjects(self, type_: str, found: dict[str, Any]) -> tuple[list[Ref], str]:
        """What an event is about, and the rule that ignores it (or nothing)."""
        if type_ in IGNORED:
            return [], IGNORED[type_]
        for prefix, kind in SUBJECTS:
            if type_.startswith(prefix):
                if kind is None:
                    return self._indirect(prefix, found)
                refs = [self._ref(kind, text(found, "id"))]
                if kind == "credit_memo":
                    refs += [self._ref("refund", id) for id in outside_refunds(found)]
                return refs, ""
        if type_.startswith("customer."):
            id = found.get("id") if found.get("object") == "customer" else found.get("customer")
            return ([self._ref("customer", id)] if isinstance(id, str) else []), CUSTOMER_RULE
        return [], f"no process for {type_}"

    def _indirect(self, prefix: str, found: dict[str, Any]) -> tuple[list[Ref], str]:
        """Events whose object is not the document that the process is for."""
        if prefix == "charge.refunded":
            page = found.get("refunds")
            refunds = page.get("data", []) if isinstance(page, dict) else []
            refs = [self._ref("refund", text(refund, "id")) for refund in refunds if isinstance(refund, dict)]
            return refs, "" if refs else REFUND_RULE
        if prefix == "payment_record." and found.get("reported_by") == "stripe":
            return [], STRIPE_RECORD_RULE
        if prefix == "payment_record.":
            return [self._ref("payment", text(found, "id"))], ""
        if prefix == "charge.succeeded":
            return [self._ref("payment", reference(found, "payment_intent") or text(found, "id"))], ""
        payment = found.get("payment")
        if isinstance(payment, dict):
            for field in ("payment_intent", "charge", "payment_record"):
                if id := reference(payment, field):
                    return [self._ref("payment", id)], ""
        return [], NO_PAYMENT_RULE

    def _ref(self, kind: str, id: str) -> Ref:
        return Ref(connection=self.name, kind=kind, id=id)

    def _check_origin(self, id: str, event: dict[str, Any]) -> None:
        """Raises OtherAccount for an event of another account or mode; Malformed where it does not say its mode: that
        is no evidence of a stranger."""
        named = f"event {id[:64]}"
        account = event.get("account")
        if isinstance(account, str) and account and account != self._config.account:
            raise OtherAccount(
                connection_blocked(
                    self.name,
                    f"{named} is of account {account[:64]}, but the connection is pinned to {self._config.account}",
                    "take that account's events off this endpoint (those of connected accounts belong to a connection "
                    "of their own), or give this endpoint a new signing secret",
                )
            )
        live = event.get("livemode")
        if not isinstance(live, bool):
            raise Malformed("an event without livemode")
        if live is not self._config.live:
            wanted = "live" if self._config.live else "test"
            raise OtherAccount(
                connection_blocked(
                    self.name,
                    f"{named} is not of {wanted} mode, which the connection is pinned to",
                    "register the webhook endpoint in the mode that `live` names, and write that endpoint's secret",
                )
            )

    def _is_echo(self, previous: Any) -> bool:
        """Nothing changed but metadata that we write."""
        if not isinstance(previous, dict) or previous.keys() != {"metadata"}:
            return False
        changed = previous["metadata"]
        return isinstance(changed, dict) and bool(changed) and changed.keys() <= self._own

    def _evidence(self, found: dict[str, Any]) -> tuple[tuple[str, str], ...]:
        """Our document key in the object's own metadata, with its id: the write of that key was done."""
        metadata, id = found.get("metadata"), found.get("id")
        key = metadata.get(self._config.metadata.document) if isinstance(metadata, dict) else None
        return ((key, id),) if isinstance(key, str) and isinstance(id, str) and key else ()


def same_release(given: Any, wanted: str) -> bool:
    """Whether an event is shaped as we know it: its release has the name of ours (`2026-10-28.endive`), or it does not
    say. One of another release is a hint and no more: what it tells is read from the object itself, and neither its
    metadata nor what it says has changed is relied on."""
    return not isinstance(given, str) or not given or given.rpartition(".")[2] == wanted.rpartition(".")[2]


def parse_signature(header: str) -> tuple[str, list[str]]:
    """`t` and the `v1` signatures of a signature header. Raises Forged when one is missing."""
    stamp, given = "", []
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "t":
            stamp = value
        elif name == "v1" and value.isascii():
            given.append(value)
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) < 15) or not given:
        raise Forged("no signature header, or one without t and v1")
    return stamp, given


def decode_strictly(body: bytes) -> Any:
    """JSON in which no object has a key twice. Raises Malformed.

    What was decoded is encoded again: a colon stands behind every key, so as many colons in as out means that no key
    was given twice. Colons in texts count on both sides; one that is written as an escape makes the count unsure, and
    then a parser that sees every pair decides."""
    try:
        found = decode_json(body)
    except BadBody as error:
        raise Malformed("the body is not JSON") from error
    except RecursionError as error:
        raise Malformed("the body is nested too deep") from error
    # One search for a backslash costs a tenth of one for an escape, and most bodies have none.
    unsure = b"\\" in body and b"\\u003" in body
    if unsure or body.count(b":") != _encode(found).count(b":"):
        refuse_twice(body)
    return found


def refuse_twice(body: bytes) -> None:
    """Raises Malformed when an object of this JSON has a key twice."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len({name for name, _ in pairs}) != len(pairs):
            raise Malformed("an object of the body has a key twice")

    json.loads(body, object_pairs_hook=once, parse_float=Decimal)


def text(found: dict[str, Any], field: str) -> str:
    """A field that must be text. Raises Malformed."""
    value = found.get(field)
    if not isinstance(value, str) or not value:
        raise Malformed(f"data.object without {field}")
    return value


def reference(found: dict[str, Any], field: str) -> str:
    """An id, or the id of the whole object in its place; empty when there is none."""
    value = found.get(field)
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def outside_refunds(note: dict[str, Any]) -> list[str]:
    """Ids (`record:group`) of the refunds outside Stripe that a credit note names: nothing else tells of them."""
    found = []
    for part in note.get("refunds") or ():
        record = part.get("payment_record_refund") if isinstance(part, dict) else None
        if isinstance(record, dict):
            found.append(f"{record.get('payment_record', '')}:{record.get('refund_group', '')}")
    return found
