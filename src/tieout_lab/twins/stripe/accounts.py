"""One vendor account inside the twin: its objects, its identifiers, its two clocks and its event log.

Objects are dicts exactly as the vendor shows them; keys that begin with an underscore are the twin's own and are
never shown. Times are whole seconds since 1970: business time on documents, technical time on events.
"""

from __future__ import annotations

import copy
import hashlib
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.stripe.errors import missing

Obj = dict[str, Any]

API_VERSION = "2026-10-28.endive"
HOUR = 3600
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
INLINE_LINES = 10


@dataclass(slots=True)
class Settings:
    """How the twin behaves where the vendor is slow, unsure or configurable; the action `settings` changes them.

    `first_invoice`: "open" finalises the first invoice of a send_invoice subscription inside the create request;
    "draft" leaves it a draft for `finalize_after_seconds` of business time, as the vendor documents.
    `item_metadata_on_lines`: subscription lines show their item's metadata beside the subscription's. The vendor
    documents the subscription's alone. `max_lines`: of one invoice. `fee_percent`, `fee_fixed`, `dispute_fee`: what the
    gateway keeps of a charge and for a dispute, in percent and in smallest units. `small_invoices`: what is too small
    to be charged stays "open"; "owed" has it paid by the customer's balance, as the vendor documents.
    """

    first_invoice: str = "open"
    finalize_after_seconds: int = HOUR
    item_metadata_on_lines: bool = False
    max_lines: int = 250
    key_life_seconds: int = 24 * HOUR
    event_life_seconds: int = 30 * 24 * HOUR
    fee_percent: str = "0"
    fee_fixed: int = 0
    dispute_fee: int = 0
    small_invoices: str = "open"


@dataclass
class Account:
    """An account and all that is in it."""

    id: str
    api_key: str
    webhook_secret: str
    name: str
    country: str
    currency: str
    time_zone: str
    clock: TwinClock
    settings: Settings
    announce: Callable[[Account, Obj], None]
    visibility_delay: Callable[[], float]
    objects: dict[str, dict[str, Obj]] = field(default_factory=lambda: defaultdict(dict))
    due: list[tuple[int, int, str, str]] = field(default_factory=list)
    moment: int | None = None  # the business moment of the billing step under way
    request: tuple[str | None, str | None] = (None, None)  # id and idempotency key of the call under way
    counter: int = 0
    held: list[Obj] | None = None  # events of the call under way: nobody is told of them if it is refused

    @property
    def livemode(self) -> bool:
        return self.api_key.startswith(("sk_live", "rk_live"))

    def now(self) -> int:
        """Business time."""
        return self.moment if self.moment is not None else int(self.clock.business().timestamp())

    def technical(self) -> float:
        """Technical time."""
        return self.clock.technical().timestamp()

    # -- identifiers --------------------------------------------------------------------------------------------
    def new_id(self, prefix: str, length: int = 24) -> str:
        """A fresh identifier; the same calls in the same order give the same ones."""
        self.counter += 1
        number = int.from_bytes(hashlib.sha256(f"{self.id}|{self.counter}".encode()).digest(), "big")
        letters = []
        for _ in range(length):
            number, place = divmod(number, len(_ALPHABET))
            letters.append(_ALPHABET[place])
        return f"{prefix}_{''.join(letters)}"

    # -- objects ------------------------------------------------------------------------------------------------
    def put(self, kind: str, obj: Obj) -> Obj:
        """Keep a new object."""
        obj["_since"] = self.technical()
        obj["_before"] = None
        self.objects[kind][obj["id"]] = obj
        return obj

    def find(self, kind: str, identifier: str) -> Obj | None:
        """An object, or None."""
        return self.objects[kind].get(identifier)

    def get(self, kind: str, identifier: Any, param: str = "id", *, status: int = 400) -> Obj:
        """An object; refuses with resource_missing, and a deleted one likewise unless it is the one in the path."""
        obj = self.objects[kind].get(identifier) if isinstance(identifier, str) else None
        if obj is None or (obj.get("deleted") and status != 404):
            raise missing(kind, str(identifier), param, status=status)
        return obj

    def all(self, kind: str) -> list[Obj]:
        """Objects, oldest first, deleted ones left out."""
        return [obj for obj in self.objects[kind].values() if not obj.get("deleted")]

    def payments_of(self, invoice: Obj) -> list[Obj]:
        """An invoice's payments, oldest first."""
        whole = self.objects["invoices"].get(invoice["id"], invoice)
        found = [self.objects["invoice_payments"].get(payment) for payment in whole.get("_payments", [])]
        return [payment for payment in found if payment is not None and payment["invoice"] == invoice["id"]]

    # -- what waits for its time --------------------------------------------------------------------------------
    def await_time(self, moment: int, what: str, identifier: str) -> None:
        """Have the billing run look at an object at a business moment."""
        self.counter += 1
        heapq.heappush(self.due, (moment, self.counter, what, identifier))

    # -- events -------------------------------------------------------------------------------------------------
    def emit(self, kind: str, obj: Obj, previous: Obj | None = None) -> None:
        """Log an event with the object as it is now, and hand it to the webhooks."""
        data: Obj = {"object": shown(obj)}
        if previous is not None:
            data["previous_attributes"] = previous
        event: Obj = {
            "id": self.new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(self.technical()),
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": {"id": self.request[0], "idempotency_key": self.request[1]},
            "type": kind,
        }
        self.put("events", event)
        if self.held is None:
            self.announce(self, event)
        else:
            self.held.append(event)

    @contextmanager
    def changing(self, obj: Obj, kind: str | None) -> Iterator[Obj]:
        """Change an object and emit `kind` with what it was before; no change, no event."""
        before = shown(obj)
        yield obj
        previous = difference(before, shown(obj))
        if previous:
            obj["_before"] = {key: before.get(key) for key in ("email", "name", "metadata", "phone")}
            obj["_since"] = self.technical()
            if kind:
                self.emit(kind, obj, previous)


_NESTED = (dict, list)


def plain(value: Any) -> Any:
    """A deep copy without the twin's own keys."""
    # Most values are leaves, and this is called for every object that is shown: they are not called for.
    if isinstance(value, dict):
        return {
            key: plain(inner) if isinstance(inner, _NESTED) else inner
            for key, inner in value.items()
            if key[:1] != "_"
        }
    if isinstance(value, list):
        return [plain(inner) if isinstance(inner, _NESTED) else inner for inner in value]
    return value


def shown(obj: Obj) -> Obj:
    """An object as the vendor shows it: of a document's lines only the first ten are inline. What an event tells was
    copied as it was logged, and is not copied again."""
    if obj.get("object") == "event":
        return {key: value for key, value in obj.items() if key[:1] != "_"}
    lines = obj.get("lines")
    if isinstance(lines, dict) and len(lines["data"]) > INLINE_LINES:
        short = {**lines, "data": lines["data"][:INLINE_LINES], "has_more": True}
        obj = {**obj, "lines": short}
    found: Obj = plain(obj)
    return found


def difference(before: Obj, after: Obj) -> Obj:
    """What `before` had where `after` differs, nested for objects; a key that is new had None."""
    found: Obj = {}
    for key in [*before, *(key for key in after if key not in before)]:
        old, new = before.get(key), after.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and old.get("object") is None:
            found[key] = difference(old, new)
        else:
            found[key] = copy.deepcopy(old)
    return found


def listed(data: list[Obj], url: str) -> Obj:
    """A whole list object, as it stands inside another object."""
    return {"object": "list", "data": data, "has_more": False, "url": url}
