"""A tiny outside, kept as one JSON file, and the half-done business of a release that was stopped in the midst of it.

    git worktree add /tmp/previous TAG
    PYTHONPATH=/tmp/previous/src python -m tests.upgrade.outside tests/upgrade/fixtures/REVISION

writes what a hub of that release leaves behind when it is killed: its database as SQL, its key, and the outside as it
was at that moment. `test_upgrade.py` goes on from there with the present code. It speaks canonical values alone, so
that no change of a twin or of a vendor's connector makes an old fixture unreadable.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tests.process.web_world import write_company
from tests.unit.company import account_ref, customer, invoice, invoice_line, order
from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice
from tieout.canonical.order import Order
from tieout.canonical.outcome import Absent, Confirmed, FindOutcome, Found, NotFound, Receipt, SendOutcome
from tieout.canonical.party import Customer
from tieout.canonical.write import Fields, Write
from tieout.connectors.contract import Keys, Limits, OperationTraits, conclusive_at
from tieout.engine import sealing
from tieout.engine.hub import Connection
from tieout.engine.inbox import accept

T = TypeVar("T")
KINDS: dict[str, type[Any]] = {"opportunity": Order, "account": Customer, "invoice": Invoice}
ROLES = {"crm-main": "crm", "billing-us": "billing", "billing-jp": "billing", "erp-main": "erp"}
OPERATIONS = (
    "customer.create",
    "subscription.create",
    "invoice.create",
    "credit_memo.create",
    "payment.create",
)
# What is under way when the hub is killed, by what is written: it was done, or it never arrived.
HANGING = {
    "subscription.create|006D2": "made",
    "subscription.create|006D3": "lost",
    "invoice.create|in_4": "made",
    "invoice.create|in_5": "lost",
    "assign|006D7": "made",
    "customer.create|001D8#us": "lost",
}


class World(msgspec.Struct):
    """The whole outside. `documents`: connection, operation and our key -> external ids, one but for a duplicate."""

    aggregates: dict[str, msgspec.Raw] = {}
    documents: dict[str, list[str]] = {}
    fields: dict[str, dict[str, Any]] = {}
    hanging: dict[str, str] = {}


class Side:
    """One outside system: reads, makes and finds by key without enforcing it, sets fields."""

    operations: Mapping[str, OperationTraits] = {
        name: OperationTraits(
            uniqueness="search_only", longest_seconds=1, visibility_seconds=0, timeout_seconds=1
        )
        for name in OPERATIONS
    }

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T:
        word = next(word for word, type_ in KINDS.items() if type_ is kind)
        raw = self.world.aggregates.get(f"{self.name}|{word}|{id}")
        if raw is None:
            raise NotFound(f"{word} {id}")
        return msgspec.json.decode(raw, type=kind)

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        source = getattr(write, "source", None)
        fate = self.world.hanging.get(f"{operation}|{source.id if source else ''}")
        if fate != "lost":
            made = self.world.documents.setdefault(f"{self.name}|{operation}|{keys.document}", [])
            made.append(f"{operation}-{source.id if source else ''}" + (f"-{len(made)}" if made else ""))
        if fate is not None:
            await asyncio.get_running_loop().create_future()
        return Confirmed(receipt=Receipt(external_id=made[-1], number=made[-1]))

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        made = self.world.documents.get(f"{self.name}|{operation}|{keys.document}")
        if not made:
            return Absent(conclusive_at=conclusive_at(sent_at, self.operations[operation]))
        return Found(receipt=Receipt(external_id=made[0], number=made[0]), others=tuple(made[1:]))

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        self.world.fields.setdefault(str(target), {}).update(msgspec.to_builtins(fields))
        if f"assign|{target.id}" in self.world.hanging:
            await asyncio.get_running_loop().create_future()
        return Confirmed(receipt=Receipt(external_id=target.id))

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        known = self.world.fields.get(str(target), {})
        return {name: known.get(name) for name in fields}


def company(folder: Path) -> Path:
    """The configuration of the small company, which sells everywhere."""
    settings = write_company(folder)
    everywhere = 'subsidiary = "1"\nunregistered_jurisdictions = ["*"]\n'
    settings.write_text(settings.read_text().replace('subsidiary = "1"\n', everywhere))
    return settings


async def opened(settings: Path, world: World, **given: Any) -> App:
    """The hub of a folder, its connections led to the tiny outside; `given` as `compose` takes it."""
    app = await compose(read_settings(settings), system_ports(), **{"alone": True, **given})
    app.hub.connections = {
        name: Connection(
            name=name, vendor="outside", roles=(role,), api=Side(name, world), limits=Limits(in_flight=8)
        )
        for name, role in ROLES.items()
    }
    return app


async def tell(app: App, ref: Ref, type_: str) -> None:
    """An event about a document."""
    event = ChangeEvent(
        id=f"{type_}-{ref.id}", source=ref.connection, type=type_, subject=ref, time=app.hub.clock.now()
    )
    await accept(app.hub, (event,))
    app.worker.wake()


async def rest(app: App, *, leased: int = 0, within_seconds: float = 40.0) -> dict[str, int]:
    """Until nothing is ready, and no more than so many lanes are in hand, for a while."""
    calm = 0
    for _ in range(int(within_seconds / 0.2)):
        await asyncio.sleep(0.2)
        states = await app.lanes()
        calm = calm + 1 if not states.get("ready") and states.get("leased", 0) <= leased else 0
        if calm >= 10:
            return states
    raise AssertionError(f"still busy: {await app.lanes()}")


def planned() -> World:
    """Nine deals and the invoices of some."""
    world = World(hanging=dict(HANGING))

    def put(value: Any) -> None:
        world.aggregates[str(value.ref)] = msgspec.Raw(msgspec.json.encode(value))

    for number in range(1, 10):
        account = account_ref(f"001D{number}")
        put(customer(ref=account, name=f"Customer {number}"))
        deal = Ref(connection="crm-main", kind="opportunity", id=f"006D{number}")
        entity = "nowhere" if number == 6 else "us"
        put(order(ref=deal, name=f"Deal {number}", account=account, legal_entity=entity))
    for number in (1, 4, 5, 8):
        billed = invoice(invoice_line(90_000, tax=6_525))
        put(
            msgspec.structs.replace(
                billed,
                ref=Ref(connection="billing-us", kind="invoice", id=f"in_{number}"),
                number=f"INV-{number}",
                customer=Ref(connection="billing-us", kind="customer", id=f"customer.create-001D{number}"),
                opportunity=f"006D{number}",
                trace="",
            )
        )
    return world


async def make(folder: Path) -> None:
    """Play until everything that can end has ended, and write what a kill at that moment leaves."""
    world = planned()
    with tempfile.TemporaryDirectory() as scratch:
        settings = company(Path(scratch))
        app = await opened(settings, world)
        await app.start()
        for number in range(1, 9):
            await tell(app, Ref(connection="crm-main", kind="opportunity", id=f"006D{number}"), "deal.won")
        await rest(app, leased=3)
        for number in (1, 4, 5, 8):
            await tell(
                app, Ref(connection="billing-us", kind="invoice", id=f"in_{number}"), "invoice.finalized"
            )
        await rest(app, leased=len(HANGING))
        # One event nobody has looked at yet: the worker claims nothing more.
        app.worker._stopping = True
        await tell(app, Ref(connection="crm-main", kind="opportunity", id="006D9"), "deal.won")
        await sealing.seal(app.hub)
        folder.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(Path(scratch) / "tieout.db")) as database:
            (folder / "tieout.sql").write_text("\n".join(database.iterdump()) + "\n")
        # Not "*.key": such a file is never committed. This one has never kept a secret.
        (folder / "master-key.txt").write_text((Path(scratch) / "tieout.key").read_text())
        (folder / "outside.json").write_bytes(msgspec.json.format(msgspec.json.encode(world), indent=1))
        print(await app.lanes())
        await app.stop()


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1])))
