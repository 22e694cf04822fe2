"""The buffer before the inbox: what was verified is kept by a broker until the database has it. An inlet only: order,
deduplication and everything after them are the inbox's.

A message is one change event, sealed under the company's key as the inbox would seal it: a broker's disks hold no
customer's data in the open. It is acknowledged after the commit that stored it, so it may come twice, never not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import structlog

from tieout.canonical.change import ChangeEvent
from tieout.engine import inbox
from tieout.engine.hub import Hub
from tieout.engine.lease import Lease
from tieout.ports import Buffer, Buffered, BufferFacts, BufferUnavailable, Request, Transport, TransportError
from tieout.security.keyring import Unreadable
from tieout.store.statements import StoreUnavailable, Violated

log = structlog.get_logger("tieout.buffering")
_PLACE = "buffer"
_AT_ONCE = 500
_WAIT_SECONDS = 2.0
_PAUSE_SECONDS = 1.0
# What cannot be read or stored is looked at again so often; it stays in the buffer until somebody has mended the cause.
_STUCK_SECONDS = 300.0
_events = msgspec.msgpack.Decoder(ChangeEvent)
# The least copies of which one may be lost with its server and none of the others is alone.
LEAST_COPIES = 3
# What a message is larger than the webhook's body: attributes and seal.
OVERHEAD_BYTES = 32_768


class Inlet:
    """Puts what was verified into the buffer, and takes it from there into the inbox."""

    def __init__(self, hub: Hub, buffer: Buffer) -> None:
        self.hub = hub
        self.buffer = buffer
        self._stopping = False

    async def accept(self, events: tuple[ChangeEvent, ...]) -> None:
        """Hand events over durably. Raises StoreUnavailable, and then the sender keeps them all."""
        for event in events:
            body = self.hub.keyring.seal(msgspec.msgpack.encode(event), _PLACE)
            try:
                await self.buffer.put(body)
            except BufferUnavailable as error:
                raise StoreUnavailable(str(error)) from error
            self.hub.metrics.events.labels(event.source, "buffered").inc()

    def stop(self) -> None:
        self._stopping = True

    async def run(self, lease: Lease, wake: Callable[[], None]) -> None:
        """Move what the buffer holds into the inbox until `stop`, or until the lease is lost; `wake` is called when
        something was."""
        while not self._stopping and not lease.lost:
            try:
                messages = await self.buffer.take(_AT_ONCE, _WAIT_SECONDS)
            except BufferUnavailable as error:
                log.warning("buffer_unavailable", reason=str(error))
                await self.hub.clock.sleep_real(_PAUSE_SECONDS)
                continue
            if not messages:
                continue
            # Together: the store commits what is pending as one transaction.
            stored = await asyncio.gather(*(self._take_in(message) for message in messages))
            if any(stored):
                wake()
            if not all(stored):
                await self.hub.clock.sleep_real(_PAUSE_SECONDS)

    async def _take_in(self, message: Buffered) -> bool:
        """Store one event, then acknowledge it; False when the store did not take it."""
        try:
            event = _events.decode(self.hub.keyring.unseal(message.body, _PLACE))
            await inbox.accept(self.hub, (event,))
        except StoreUnavailable as error:
            log.warning("store_unavailable", reason=str(error))
            return await self._later(message, _PAUSE_SECONDS)
        except (Unreadable, msgspec.DecodeError, Violated) as error:
            log.error("buffered_event_stuck", reason=f"{type(error).__name__}: {error}")
            return await self._later(message, _STUCK_SECONDS)
        try:
            await self.buffer.done(message)
        except BufferUnavailable as error:
            # It comes again, and the inbox knows it.
            log.warning("buffer_unavailable", reason=str(error))
        return True

    async def _later(self, message: Buffered, seconds: float) -> bool:
        try:
            await self.buffer.again(message, seconds)
        except BufferUnavailable as error:
            log.warning("buffer_unavailable", reason=str(error))
        return False


# -- whether it keeps what it has acknowledged --------------------------------------------------------------------
async def faults(
    buffer: Buffer, transport: Transport, *, monitor: str, most_body_bytes: int, unsafe: bool
) -> list[str]:
    """Why this buffer must not be used, each with its remedy; empty when nothing speaks against it. Raises
    BufferUnavailable. `monitor`: the address of the server's own monitoring, `unsafe`: one copy is enough."""
    facts = await buffer.facts()
    synced = await syncs_always(facts, transport, monitor) if facts.copies < LEAST_COPIES and monitor else ""
    return unsafe_facts(
        facts, synced=synced, most_body_bytes=most_body_bytes, unsafe=unsafe, monitored=bool(monitor)
    )


def unsafe_facts(
    facts: BufferFacts, *, synced: str, most_body_bytes: int, unsafe: bool, monitored: bool
) -> list[str]:
    """What of these facts could lose an acknowledged event. `synced`: why it is not known that the server writes
    through; empty where it is known (`monitored`)."""
    found = []
    if facts.copies < LEAST_COPIES and not unsafe and (synced or not monitored):
        why = synced or "and no `monitor` shows that its server syncs every write"
        found.append(
            f"stream {facts.stream} has {facts.copies} copies, {why}: a power cut would lose what was acknowledged;"
            f" give it num_replicas = {LEAST_COPIES}, or the server `sync_interval: always` and [buffer] its `monitor`;"
            " for development alone: unsafe_single_copy = true"
        )
    if facts.storage != "file":
        found.append(f"stream {facts.stream} is kept in {facts.storage}: make it anew with storage = file")
    if facts.discard != "new":
        found.append(f"stream {facts.stream} drops what is old when it is full: set discard = new")
    if facts.retention != "workqueue":
        found.append(
            f"stream {facts.stream} has retention {facts.retention}: make it anew with retention = workqueue"
        )
    if facts.most_age_seconds:
        found.append(
            f"stream {facts.stream} drops what is older than {facts.most_age_seconds:g} s: set max_age = 0"
        )
    if facts.most_bytes < most_body_bytes + OVERHEAD_BYTES:
        found.append(
            f"the server takes messages of {facts.most_bytes} bytes, and webhooks may have {most_body_bytes}: raise its"
            f" max_payload, or write max_body_bytes = {max(1000, facts.most_bytes - OVERHEAD_BYTES)} under [web]"
        )
    return found


async def syncs_always(facts: BufferFacts, transport: Transport, monitor: str) -> str:
    """Why it is not known that the server which keeps the only copy syncs every write; empty when it says so itself, at
    `/varz` of its monitoring (since NATS 2.10: jetstream.config.sync_always)."""
    request = Request(
        method="GET",
        url=f"{monitor.rstrip('/')}/varz",
        headers={},
        timeout_seconds=10.0,
        connection="buffer",
        operation="varz",
        max_bytes=1_000_000,
    )
    try:
        response = await transport.exchange(request)
    except TransportError as error:
        return f"and its monitor does not answer: {error.reason}"
    try:
        said = msgspec.json.decode(response.body, type=_Varz) if response.status == 200 else None
    except msgspec.DecodeError:
        said = None
    if said is None:
        return f"and its monitor answers with {response.status} and no /varz"
    ours = said.server_name == facts.leader if facts.leader else said.server_id == facts.server_id
    if not ours:
        return f"and the monitor is of another server ({said.server_name or said.server_id}) than the one that keeps it"
    if not said.jetstream.get("config", {}).get("sync_always", False):
        return "and its server does not say that it syncs every write"
    return ""


class _Varz(msgspec.Struct):
    """What is needed of the server's `/varz`."""

    server_id: str = ""
    server_name: str = ""
    jetstream: Mapping[str, Any] = {}
