"""The outbox of one process: who is told of what, and what one delivery can come to. No behaviour but the envelope."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

import msgspec

from tieout.canonical.model import Value
from tieout.engine.moments import moment

# Reverse-DNS, as CloudEvents asks for; the last part is the version of `data`.
_TYPE = "io.tieout.{}.v1"


class Event(Value, frozen=True):
    """One announcement as it stands in the outbox. `type` is the short name (`invoice.posted`), `at` when it was
    committed (microseconds), `data` its JSON. Events of one `key` (the trace of a contract; the subject where there is
    none) are delivered in the order of `seq`."""

    seq: int
    event_id: str
    type: str
    subject: str
    key: str
    at: int
    data: str


def cloud_event(event: Event, source: str) -> bytes:
    """The event in the JSON form of CloudEvents 1.0, with the extensions `partitionkey` and `sequence`."""
    return msgspec.json.encode(
        {
            "specversion": "1.0",
            "id": event.event_id,
            "source": source,
            "type": _TYPE.format(event.type),
            "subject": event.subject,
            "time": moment(event.at),
            "datacontenttype": "application/json",
            "partitionkey": event.key,
            # As text, and of one length, because receivers compare it so.
            "sequence": f"{event.seq:020d}",
            "data": msgspec.Raw(event.data.encode()),
        }
    )


class Taken(Value, frozen=True):
    """The receiver has it."""


class NotTaken(Value, frozen=True):
    """It may take it later. `all_wait`: it asked for nothing at all until `retry_at`."""

    reason: str
    retry_at: datetime | None = None
    all_wait: bool = False


class Gone(Value, frozen=True):
    """It wants no more, of anything."""

    reason: str


Verdict: TypeAlias = Taken | NotTaken | Gone


class Receiver(Protocol):
    """Somebody who is told. `types`: the short names that it takes; `at_once`: how many deliveries it gets at a time,
    never two of one key; `timeout_seconds`: the hard deadline of one delivery in real seconds."""

    name: str
    types: frozenset[str]
    at_once: int
    timeout_seconds: int

    async def deliver(self, event: Event) -> Verdict:
        """Hand one event over. What can go wrong is an answer, not an error."""

    async def close(self) -> None:
        """Release sockets."""


class Outbox(msgspec.Struct, kw_only=True, frozen=True):
    """What is configured. `keep`: how long what was delivered can be delivered again; `give_up`: how long one delivery
    is tried; `detail`: whether people's words are told, too."""

    receivers: Mapping[str, Receiver]
    types: frozenset[str]
    keep: timedelta
    give_up: timedelta
    detail: bool
