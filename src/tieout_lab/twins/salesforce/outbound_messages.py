"""Outbound Messages: a SOAP post for every record that matches, again and again for 24 hours until it is acknowledged.

Source: SOAP API Developer Guide, "Understanding Outbound Messaging" and "Understanding Notifications": up to 100
notifications a message, the data as it is when it is sent, null fields absent, only an answer 200 with Ack true counts.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import aiohttp

from tieout_lab.twins.salesforce import ids
from tieout_lab.twins.salesforce.store import Commit

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

Poster = Callable[[str, bytes, dict[str, str]], Awaitable[tuple[int, bytes]]]

MOST_IN_ONE = 100
KEPT_FOR = timedelta(hours=24)
LONGEST_PAUSE_SECONDS = 2 * 3600
ANSWER_WITHIN_SECONDS = 60
_ACK = re.compile(rb"<(?:\w+:)?Ack(?: [^>]*)?>\s*true\s*</(?:\w+:)?Ack>")
_HEADERS = {"content-type": "text/xml; charset=utf-8", "soapaction": '""'}


@dataclass(slots=True, eq=False)
class Rule:
    """One Outbound Message of the org: which object, which fields, where to."""

    id: str
    sobject: str
    fields: list[str]
    url: str


@dataclass(slots=True, eq=False)
class Notification:
    """One record to tell of."""

    id: str
    record_id: str
    since: datetime


@dataclass(slots=True, eq=False)
class Queue:
    """What a rule has not had acknowledged yet."""

    rule: Rule
    waiting: list[Notification] = field(default_factory=list)
    sending: bool = False


class OutboundMessages:
    """Sends what the rules ask for. `post` may be replaced where there are no sockets."""

    def __init__(self, twin: RestTwin) -> None:
        self._twin = twin
        self._org = twin.org
        self._queues: list[Queue] = []
        self._numbers = 0
        self._session: aiohttp.ClientSession | None = None
        self.post: Poster = self._over_http
        self.journal: list[dict[str, Any]] = []
        self.dropped: list[str] = []

    def add(self, sobject: str, fields: list[str], url: str) -> Rule:
        """A rule that fires on every change of an object. LookupError for a field that it has not."""
        target = self._org.sobject(sobject)
        for name in fields:
            if target.get(name) is None:
                raise LookupError(f"no field {name} on {sobject}")
        self._numbers += 1
        rule = Rule(ids.mint("04k", self._numbers), target.name, fields, url)
        self._queues.append(Queue(rule))
        return rule

    def pending(self) -> int:
        """Notifications that nobody has acknowledged yet."""
        return sum(len(queue.waiting) for queue in self._queues)

    def committed(self, commit: Commit) -> None:
        """Called by the store for every transaction that others can see."""
        for queue in self._queues:
            for name, record_id, _, after in commit.changes:
                if name != queue.rule.sobject or after is None or after.get("IsDeleted"):
                    continue
                self._numbers += 1
                number = ids.mint("04l", self._numbers)
                queue.waiting.append(Notification(number, record_id, self._twin.clock.technical()))
            if queue.waiting and not queue.sending:
                queue.sending = True
                self._twin.later(self._deliver(queue))

    async def _deliver(self, queue: Queue) -> None:
        """One message after another until nothing waits; what fails is sent again later."""
        pause = 1.0
        try:
            while queue.waiting:
                await asyncio.sleep(0)  # the transaction's own request is answered first
                edge = self._twin.clock.technical() - KEPT_FOR
                self.dropped += [each.id for each in queue.waiting if each.since < edge]
                queue.waiting = [each for each in queue.waiting if each.since >= edge]
                batch = queue.waiting[:MOST_IN_ONE]
                if not batch:
                    return
                if await self._send(queue.rule, batch):
                    queue.waiting = [each for each in queue.waiting if each not in batch]
                    pause = 1.0
                    continue
                await self._twin.clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        finally:
            queue.sending = False

    async def _send(self, rule: Rule, batch: list[Notification]) -> bool:
        status, answer = await self.post(rule.url, self.body(rule, batch), dict(_HEADERS))
        taken = status == 200 and _ACK.search(answer) is not None
        entry = {"rule": rule.id, "ids": [each.id for each in batch], "status": status, "acknowledged": taken}
        self.journal.append(entry)
        return taken

    def body(self, rule: Rule, batch: list[Notification]) -> bytes:
        """The SOAP message, with the records as they are now."""
        org = self._org.org_id
        base = "https://tieout-demo.my.salesforce.com/services/Soap"
        told = "".join(self._notification(rule, each) for each in batch)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
            ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
            '<soapenv:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
            f"<OrganizationId>{org}</OrganizationId><ActionId>{rule.id}</ActionId>"
            f'<SessionId xsi:nil="true"/><EnterpriseUrl>{base}/c/68.0/{org[:15]}</EnterpriseUrl>'
            f"<PartnerUrl>{base}/u/68.0/{org[:15]}</PartnerUrl>{told}"
            "</notifications></soapenv:Body></soapenv:Envelope>"
        ).encode()

    def _notification(self, rule: Rule, each: Notification) -> str:
        row = self._org.store.seen(rule.sobject, each.record_id) or {}
        values = [f"<sf:Id>{each.record_id}</sf:Id>"]
        for name in rule.fields:
            value = row.get(name)
            if value is None or name == "Id":
                continue
            text = str(value).lower() if isinstance(value, bool) else str(value)
            values.append(f"<sf:{name}>{escape(text)}</sf:{name}>")
        return (
            f'<Notification><Id>{each.id}</Id><sObject xsi:type="sf:{rule.sobject}"'
            f' xmlns:sf="urn:sobject.enterprise.soap.sforce.com">{"".join(values)}</sObject></Notification>'
        )

    async def _over_http(self, url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return 0, b""

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None
