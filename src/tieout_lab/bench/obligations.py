"""A process of the bench's own: one document with many obligations, each its own call. Hot lanes are made of these."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from decimal import Decimal
from typing import Any

from tieout.app import App
from tieout.canonical.ids import Ref
from tieout.canonical.write import DocumentLine, DocumentWrite, TaxDetail
from tieout.engine.process import Process, process
from tieout.engine.run import Run
from tieout.store import lanes, people
from tieout_lab.bench import bodies

_ERP = "netsuite-main"


def _tax(basis: int, tax: int) -> TaxDetail:
    rate = Decimal("7.25")
    return TaxDetail(code="CA_725", jurisdiction="US-CA", rate_percent=rate, basis_minor=basis, tax_minor=tax)


def _write(source: Ref, number: int) -> DocumentWrite:
    """An invoice that the stub shows back as it was asked."""
    lines = tuple(
        DocumentLine(
            item=item,
            account="2400",
            description=item,
            quantity=Decimal(10),
            net_minor=net,
            taxes=(_tax(net, tax),),
        )
        for item, net, tax in (("PLATFORM-DEF", 45_500, 3_299), ("SUPPORT-DEF", 100_000, 7_250))
    )
    return DocumentWrite(
        kind="invoice",
        reason="finalised",
        source=Ref(connection=source.connection, kind=source.kind, id=bodies.invoice_id(number)),
        number=f"BENCH-{number:08d}",
        entity="us",
        subsidiary="1",
        customer=bodies.erp_customer(number),
        currency="USD",
        day=date(2026, 1, 1),
        due=None,
        lines=lines,
        net_minor=145_500,
        tax_minor=10_549,
        total_minor=156_049,
        journal=(),
    )


@process("bench")
async def many_obligations(run: Run, ref: Ref) -> None:
    """`first-count`: make the documents of so many obligations, one after the other, each read back."""
    first, count = (int(part) for part in ref.id.split("-"))
    for number in range(first, first + count):
        source = Ref(connection=ref.connection, kind="bench", id=bodies.invoice_id(number))
        await run.create(_ERP, "invoice.create", _write(source, number), source=source)


def taught(app: App) -> None:
    """Make the process known to this hub."""
    known: dict[str, Process] = dict(app.hub.processes)
    known["bench"] = many_obligations
    app.hub.processes = known


async def ledger_of(app: App, told: dict[str, Any]) -> dict[str, Any]:
    """Run lanes of so many obligations each; `small` asks for one lane of one obligation in the middle of it.
    Answers the seconds, and how long the small lane took."""
    taught(app)
    first, each, small = told["first"], told["each"], 0.0
    subjects = [f"{first + index * each}-{each}" for index in range(told["lanes"])]
    started = time.monotonic()
    await start(app, subjects)
    if told.get("small"):
        await asyncio.sleep(told["small"])
        asked = time.monotonic()
        await start(app, [f"{first + told['lanes'] * each}-1"])
        await ended(app, [f"{first + told['lanes'] * each}-1"])
        small = time.monotonic() - asked
    await ended(app, subjects)
    return {"seconds": time.monotonic() - started, "small_seconds": small}


async def start(app: App, subjects: list[str]) -> None:
    """Put lanes into the line."""
    now = app.hub.now()
    for subject in subjects:
        ref = Ref(connection="stripe-us", kind="bench", id=subject)
        lane = {"lane_id": str(ref), "connection": ref.connection, "kind": ref.kind, "subject_id": ref.id}
        await app.hub.store.commit([(lanes.START, {**lane, "now": now})])
    app.worker.wake()


async def ended(app: App, subjects: list[str]) -> None:
    """Wait until these lanes are idle."""
    for subject in subjects:
        lane = {"lane_id": str(Ref(connection="stripe-us", kind="bench", id=subject))}
        while (rows := await app.hub.store.fetch(lanes.BY_ID, lane)) and rows[0][4] != "idle":
            if rows[0][4] == "parked":
                found = await app.hub.store.fetch(people.OF_LANE, lane)
                raise AssertionError(f"{subject} was parked: {found}")
            await asyncio.sleep(0.01)
