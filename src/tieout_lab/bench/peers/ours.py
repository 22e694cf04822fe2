"""tieout under comparison: the hub's own intake, engine and store, with a process and a connection that do the work of
work.py. Nothing is left out: events accepted once, SENT committed before the bytes leave, requests frozen and
encrypted, outcomes confirmed under the lane's guard, audit rows, metrics, leases and permits as always."""

from __future__ import annotations

import asyncio
import hmac
import os
import time
from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    FindOutcome,
    Found,
    Inconclusive,
    OutcomeUnknown,
    Receipt,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import DocumentLine, DocumentWrite, TaxDetail, Write, encode_write
from tieout.connectors.contract import (
    Forged,
    Keys,
    Limits,
    Malformed,
    OperationTraits,
    World,
    conclusive_at,
)
from tieout.engine.budget import Budget
from tieout.engine.hub import Connection
from tieout.engine.process import Process, process
from tieout.engine.run import Run
from tieout.engine.stops import NO_FACTS
from tieout.ports import Request, Response, TransportError
from tieout.store import lanes
from tieout.store.statements import Statement
from tieout.system import keep_still
from tieout.web.hooks import Hooks
from tieout_lab.bench.bare import serving
from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.hub import quietly
from tieout_lab.bench.peers import work

_NAME, _POST = "events", "event.post"
_CONFIRMED = Statement(
    "peers.confirmed",
    "SELECT COUNT(*) FROM effects WHERE connection = 'events' AND state = 'CONFIRMED'",
    returns=True,
)
_AUDITED = Statement(
    "peers.audited", "SELECT COUNT(*) FROM audit WHERE action = 'effect.confirmed'", returns=True
)


class _Told(msgspec.Struct):
    id: str
    lane: int


class _Made(msgspec.Struct):
    id: str


class Events:
    """The connection: webhooks that say what happened, and one operation that makes what must stand outside."""

    accepts_webhooks = True
    operations: Mapping[str, OperationTraits] = {
        _POST: OperationTraits(
            uniqueness="atomic", longest_seconds=60, visibility_seconds=1, idempotency_seconds=86_400
        )
    }

    def __init__(self, world: World, base: str) -> None:
        self._world = world
        self._base = base + work.PATH
        self._told = msgspec.json.Decoder(_Told)
        self._made = msgspec.json.Decoder(_Made)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """The signature over the raw bytes. Raises Forged."""
        del now
        if not hmac.compare_digest(headers.get("x-signature", ""), work.signed(body)):
            raise Forged("the signature is wrong")

    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]:
        """The event. Raises Malformed."""
        try:
            told = self._told.decode(body)
        except msgspec.DecodeError as error:
            raise Malformed(str(error)) from error
        subject = Ref(connection=_NAME, kind="event", id=str(told.lane))
        event = ChangeEvent(
            id=told.id, source=_NAME, type="event.happened", subject=subject, time=now, data=body
        )
        return (event,)

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        """One call. What is no plain success counts as unknown: a look-up tells."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": keys.wire}
        try:
            response = await self._exchange("POST", operation, write, headers, encode_write(write))
        except TransportError as error:
            return OutcomeUnknown(reason=error.reason) if error.sent else Transient(reason=error.reason)
        if response.status != 200:
            return OutcomeUnknown(reason=f"status {response.status}")
        return Confirmed(receipt=Receipt(external_id=self._made.decode(response.body).id))

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        """Whether an event's document is there."""
        del keys
        try:
            response = await self._exchange("GET", f"find.{operation}", write, {}, b"")
        except TransportError as error:
            return Inconclusive(reason=error.reason)
        if response.status == 404:
            return Absent(conclusive_at=conclusive_at(sent_at, self.operations[operation]))
        if response.status != 200:
            return Inconclusive(reason=f"status {response.status}")
        return Found(receipt=Receipt(external_id=self._made.decode(response.body).id))

    async def _exchange(
        self, method: str, operation: str, write: Write, headers: Mapping[str, str], body: bytes
    ) -> Response:
        if not isinstance(write, DocumentWrite):
            raise TypeError(type(write).__name__)
        request = Request(
            method=method,
            url=self._base + write.number,
            headers=headers,
            body=body,
            timeout_seconds=self.operations[_POST].timeout_seconds,
            connection=_NAME,
            operation=operation,
        )
        return await self._world.transport.exchange(request)


def _line(item: str, net: int, tax: int) -> DocumentLine:
    rate = Decimal("7.25")
    taxes = (
        TaxDetail(code="CA_725", jurisdiction="US-CA", rate_percent=rate, basis_minor=net, tax_minor=tax),
    )
    return DocumentLine(
        item=item, account="2400", description=item, quantity=Decimal(10), net_minor=net, taxes=taxes
    )


def _write(source: Ref, number: int) -> DocumentWrite:
    """What an event makes: the same invoice as `work.payload` says."""
    return DocumentWrite(
        kind="invoice",
        reason="finalised",
        source=source,
        number=str(number),
        entity="us",
        subsidiary="1",
        customer=str(500_000 + work.lane(number)),
        currency="USD",
        day=date(2026, 1, 1),
        due=None,
        lines=(_line("PLATFORM-DEF", 45_500, 3_299), _line("SUPPORT-DEF", 100_000, 7_250)),
        net_minor=145_500,
        tax_minor=10_549,
        total_minor=156_049,
        journal=(),
    )


@process("event")
async def post_each(run: Run, ref: Ref) -> None:
    """Nothing is merged: each event that the lane was told of is an obligation of its own, made good in their order.
    What was made stands, and is not computed anew."""
    for ordinal in range(run.lane.hints):
        row = run.standing(_NAME, _POST, ref, ordinal)
        if row is not None:
            await run.settled(row, NO_FACTS)
        else:
            write = _write(ref, ordinal * work.LANES + int(ref.id))
            await run.create(_NAME, _POST, write, source=ref, ordinal=ordinal)


def taught(app: App, base: str) -> None:
    """Make connection and process known to this hub; its budget limits the calls, runs are as many as always."""
    limits = Limits(in_flight=work.IN_FLIGHT)
    known: dict[str, Connection] = dict(app.hub.connections)
    known[_NAME] = Connection(
        name=_NAME, vendor="bench", roles=(), api=Events(app.hub.world, base), limits=limits
    )
    app.hub.connections = known
    # The transport and the hub share this very object.
    budgets: Any = app.hub.budgets
    budgets[_NAME] = Budget(limits, app.hub.clock)
    processes: dict[str, Process] = dict(app.hub.processes)
    processes["event"] = post_each
    app.hub.processes = processes


async def rested(app: App, count: int) -> dict[str, float]:
    """Wait until so many events are confirmed and no lane has anything left to do; answers when, and what stands."""
    while True:
        states = dict(await app.hub.store.fetch(lanes.STATES, {}))
        if set(states) == {"idle"}:
            confirmed = (await app.hub.store.fetch(_CONFIRMED, {}))[0][0]
            if confirmed >= count:
                at = time.time()
                (audited,) = (await app.hub.store.fetch(_AUDITED, {}))[0]
                return {"at": at, "results": confirmed, "audited": audited}
        if "parked" in states:
            raise AssertionError(f"{states['parked']} lanes were parked")
        await asyncio.sleep(0.01)


async def main() -> None:
    options = given()
    app = await compose(
        read_settings(Path(options["configuration"])), system_ports(), database=options["database"]
    )
    taught(app, options["base"])
    await app.start()
    keep_still()
    server, task, port = await serving(Hooks(app.hub, 1_000_000, app.worker.wake))
    answer({"port": port, "pid": os.getpid()})
    while (told := await heard()) is not None:
        answer(await rested(app, told["count"]))
    server.should_exit = True
    await task
    await app.stop()


if __name__ == "__main__":
    quietly(main)
