"""Receivers: webhooks by the Standard Webhooks specification (1.0.0), and a stream of a message broker."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import quote, urlsplit

import msgspec

from tieout.canonical.announcement import TYPES
from tieout.canonical.secret import Secret
from tieout.connectors.contract import World
from tieout.engine.outbox import Event, Gone, NotTaken, Outbox, Receiver, Taken, Verdict, cloud_event
from tieout.ports import Publisher, Request, TransportError, retry_after

_KNOWN = frozenset(TYPES.values())
_PREFIX = "whsec_"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
# One token of a subject, or several: no wildcard, no blank.
_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
STREAM = "nats"
_CONTENT = "application/cloudevents+json; charset=utf-8"
# Nobody reads an answer; one longer than this counts as none.
_LONGEST_ANSWER = 1_000_000


class WebhookConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[[outbox.webhooks]]`. `secrets`: `whsec_` and base64 of 24 to 64 bytes; the first one signs, and a second one
    besides while it is rotated. `types`: all when empty. `private`: the address may be this machine's or one of a
    private network, and `http://`."""

    name: str
    url: str
    secrets: list[Secret]
    types: list[str] = []
    private: bool = False
    at_once: int = 8
    timeout_seconds: int = 20

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name == STREAM:
            raise ValueError(
                f'name {self.name!r}: write lower-case letters, digits, "-" and "_", and not {STREAM}'
            )
        _check_url(self.name, self.url, private=self.private)
        if not 1 <= len(self.secrets) <= 2:
            raise ValueError(
                f"secrets of {self.name}: write one, or two while you rotate; `tieout outbox secret` makes one"
            )
        for secret in self.secrets:
            key_of(secret)
        _check_types(self.types)
        _check_limits(self.name, self.at_once, self.timeout_seconds)


class NatsConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[outbox.nats]`: a stream of NATS JetStream that is there already; the hub makes none. An event goes to the
    subject `<subject>.<type>`."""

    url: str
    stream: str
    subject: str = "tieout"
    types: list[str] = []
    user: str = ""
    password: Secret | None = None
    token: Secret | None = None
    at_once: int = 32
    timeout_seconds: int = 10

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("nats", "tls") or not parts.hostname or "@" in parts.netloc:
            raise ValueError(
                "url: write nats://HOST:4222 or tls://HOST:4222; user, password and token have keys of their own"
            )
        if not self.stream or not _SUBJECT.fullmatch(self.stream.replace(".", " ")):
            raise ValueError(
                f"stream {self.stream!r}: write the name of a stream that is there, such as TIEOUT"
            )
        if not _SUBJECT.fullmatch(self.subject):
            raise ValueError(
                f'subject {self.subject!r}: write names joined by ".", such as "tieout" or "acme.tieout"'
            )
        if bool(self.user) != bool(self.password):
            raise ValueError("user and password belong together: write both, or neither")
        _check_types(self.types)
        _check_limits(STREAM, self.at_once, self.timeout_seconds)


class OutboxConfig(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[outbox]`: who is told what the hub has made good. Without a receiver nothing is written."""

    webhooks: list[WebhookConfig] = []
    nats: NatsConfig | None = None
    source: str = ""
    keep_days: int = 30
    give_up_days: int = 4
    detail: bool = False

    def __post_init__(self) -> None:
        if self.give_up_days < 1 or self.keep_days <= self.give_up_days:
            raise ValueError(
                f"keep_days = {self.keep_days}, give_up_days = {self.give_up_days}: write at least 1 day until it "
                "gives up, and keep longer than that"
            )
        names = [one.name for one in self.webhooks]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(
                f"two webhooks are named {', '.join(sorted(twice))}: each needs a name of its own"
            )


def _check_url(name: str, url: str, *, private: bool) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"url of {name}: write https://HOST/PATH")
    if parts.username or parts.password:
        raise ValueError(f"url of {name}: take the user and the password out; the signature tells who calls")
    if parts.scheme == "http" and not private:
        raise ValueError(
            f"url of {name}: write https://; http:// only with private = true, within your own network"
        )


def _check_types(types: list[str]) -> None:
    if unknown := sorted(set(types) - _KNOWN):
        raise ValueError(
            f"types {', '.join(unknown)}: write some of {', '.join(sorted(_KNOWN))}, or leave it out for all"
        )


def _check_limits(name: str, at_once: int, timeout_seconds: int) -> None:
    if not 1 <= at_once <= 256:
        raise ValueError(f"at_once of {name}: write a number from 1 to 256")
    if not 1 <= timeout_seconds <= 30:
        raise ValueError(f"timeout_seconds of {name}: write a number from 1 to 30")


# -- signing --------------------------------------------------------------------------------------------------------
def key_of(secret: Secret) -> bytes:
    """The bytes that sign. ValueError, which does not show it, when it is no secret of the specification."""
    text = secret.reveal().strip()
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError(
            f"a webhook secret is {_PREFIX} and base64 of 24 to 64 bytes; `tieout outbox secret` makes one"
        )
    return key


def new_secret(token: Callable[[int], bytes]) -> str:
    """A fresh secret as the specification writes it."""
    return _PREFIX + base64.b64encode(token(32)).decode()


def signatures(keys: list[bytes], id_: str, timestamp: int, body: bytes) -> str:
    """The header `webhook-signature`: one `v1` for each key, with blanks between."""
    signed = f"{id_}.{timestamp}.".encode() + body
    return " ".join(
        f"v1,{base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()}" for key in keys
    )


# -- who is told ----------------------------------------------------------------------------------------------------
class Webhook:
    """An address that takes signed POSTs. 2xx is taken; 410 is gone; all else, redirects included, is tried again."""

    def __init__(self, config: WebhookConfig, source: str, world: World) -> None:
        self.name = config.name
        self.types = frozenset(config.types) or _KNOWN
        self.at_once = config.at_once
        self.timeout_seconds = config.timeout_seconds
        self._url = config.url
        self._keys = [key_of(secret) for secret in config.secrets]
        self._public_only = not config.private
        self._source = source
        self._world = world

    async def deliver(self, event: Event) -> Verdict:
        body = cloud_event(event, self._source)
        timestamp = self._world.clock.real_now_micros() // 1_000_000
        request = Request(
            method="POST",
            url=self._url,
            headers={
                "content-type": _CONTENT,
                "webhook-id": event.event_id,
                "webhook-timestamp": str(timestamp),
                "webhook-signature": signatures(self._keys, event.event_id, timestamp, body),
            },
            body=body,
            timeout_seconds=self.timeout_seconds,
            connection=f"outbox:{self.name}",
            operation="announce",
            lane=event.key,
            max_bytes=_LONGEST_ANSWER,
            public_only=self._public_only,
        )
        try:
            response = await self._world.transport.exchange(request)
        except TransportError as error:
            return NotTaken(reason=error.reason)
        status = response.status
        if 200 <= status < 300:
            return Taken()
        if status == 410:
            return Gone(reason="it answered 410 Gone: it wants no more")
        if 300 <= status < 400:
            return NotTaken(
                reason=f"{status}: it redirects, which is not followed; configure the address itself"
            )
        later = retry_after(response, self._world.clock.now())
        return NotTaken(reason=f"it answered {status}", retry_at=later, all_wait=status in (429, 503))

    async def close(self) -> None:
        """The transport is everybody's."""


class Stream:
    """A stream of a broker. The event's id goes with it, so that the stream drops what it has already."""

    name = STREAM

    def __init__(self, config: NatsConfig, source: str, publisher: Publisher) -> None:
        self.types = frozenset(config.types) or _KNOWN
        self.at_once = config.at_once
        self.timeout_seconds = config.timeout_seconds
        self.publisher = publisher
        self._prefix = config.subject
        self._source = source

    async def deliver(self, event: Event) -> Verdict:
        headers = {"Nats-Msg-Id": event.event_id, "content-type": _CONTENT}
        body = cloud_event(event, self._source)
        try:
            await self.publisher.publish(f"{self._prefix}.{event.type}", body, headers, self.timeout_seconds)
        except TransportError as error:
            return NotTaken(reason=error.reason)
        return Taken()

    async def close(self) -> None:
        await self.publisher.close()


def open_outbox(
    config: OutboxConfig,
    company: str,
    world: World,
    publisher: Callable[[NatsConfig], Publisher] | None,
) -> Outbox | None:
    """The outbox as it is configured; None when nobody is told. `publisher` makes the way to a stream; None where no
    broker can be reached. Opens no socket."""
    source = config.source or f"urn:tieout:{quote(company, safe='')}"
    receivers: list[Receiver] = [Webhook(one, source, world) for one in config.webhooks]
    if config.nats is not None and publisher is not None:
        receivers.append(Stream(config.nats, source, publisher(config.nats)))
    if not receivers:
        return None
    return Outbox(
        receivers={one.name: one for one in receivers},
        types=frozenset().union(*(one.types for one in receivers)),
        keep=timedelta(days=config.keep_days),
        give_up=timedelta(days=config.give_up_days),
        detail=config.detail,
    )
