"""What goes on beside the runs: leases, feeds, posting status, waits, seals. Each loop survives its errors."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

import msgspec
import structlog

from tieout.canonical.ids import Ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import Failure, NotFound, Rejected
from tieout.canonical.write import Fields, FieldValue
from tieout.connectors.contract import Assigner, ChangeFeed, Keys, StatusReader
from tieout.engine import announcing, duplicates, feeds, invariants, restoring, sealing
from tieout.engine.clock import DatabaseClock, set_by_database
from tieout.engine.commands import execute_waiting
from tieout.engine.delivering import PACE_REAL_SECONDS, Delivering
from tieout.engine.exceptions import exception
from tieout.engine.hub import Hub
from tieout.engine.keys import wire_key
from tieout.engine.lease import Lease
from tieout.engine.ledger import DocumentRow, document_of, meet, posted_need
from tieout.engine.permits import Permits
from tieout.engine.unserved import raise_unserved
from tieout.engine.worker import Worker
from tieout.store import documents, effects, lanes, people, permits, waits
from tieout.store.statements import Refused, Step, StoreUnavailable

log = structlog.get_logger("tieout.housekeeping")
# While a connection is held nobody polls it; looked at again so often (technical seconds).
_UNKNOWN_FEED_SECONDS = 5
_LOOK_AGAIN_MICROS = 300_000_000
_EXAMINE_SECONDS = 3600
_DOUBLES_SECONDS = 900
# For how long a leased lane may not run before it counts as a stray (real microseconds).
_STRAY_MICROS = 2_000_000
_TIDY_SECONDS = 3600
_CATCH_UP_SECONDS = 30
_fields: msgspec.json.Decoder[dict[str, FieldValue]] = msgspec.json.Decoder(dict[str, FieldValue])
# How long after a doubtful assign its target is read back: longer than any vendor works on a request.
_READ_BACK_MICROS = 900_000_000
# So many documents to a question whether they are posted by now, and so many questions in a round.
_UNPOSTED_AT_ONCE, _UNPOSTED_PAGES = 1000, 5
_STATUS = {"posted": "POSTED", "post_rejected": "POST_REJECTED", "withdrawn": "WITHDRAWN"}


class Housekeeping:
    """The loops of one process."""

    def __init__(self, hub: Hub, lease: Lease, worker: Worker, permits: Permits) -> None:
        self.hub = hub
        self.lease = lease
        self.worker = worker
        self.permits = permits
        self.delivering = None if hub.outbox is None else Delivering(hub, hub.outbox, lease)
        self._stopping = asyncio.Event()
        # Lanes that seem to be strays, by (lane, fence): since which real moment.
        self._strays_since: dict[tuple[str, int], int] = {}
        # The last document, by its moment and key, that was asked about in this turn through all that are not posted.
        self._asked_until: tuple[int, str] = (0, "")

    async def run(self) -> None:
        """All loops, until `stop` or until the lease is lost."""
        real, factor = self.hub.policy.lease_seconds_real / 3, self.hub.clock.factor
        loops = [
            self._every(real, self.heartbeat),
            self._every(real, self.reap),
            self._every(self.hub.policy.permit_poll_real_seconds, self.permits.share),
            self._every(self.hub.policy.command_poll_real_seconds, self.commands),
            self._every(max(self.hub.policy.status_poll_seconds / factor, 0.2), self.statuses),
            self._every(60 / factor, self.waits),
            self._every(max(self.hub.policy.seal_seconds / factor, 1), self.seal),
            self._every(self.hub.policy.gauge_real_seconds, self.gauges),
            self._every(30 / factor, self.assigns),
            self._every(max(_EXAMINE_SECONDS / factor, 1), self.examine),
            self._every(max(_DOUBLES_SECONDS / factor, 1), self.doubles),
            self._every(max(_CATCH_UP_SECONDS / factor, 0.5), self.catch_up),
        ]
        loops += [
            self._every(partial(self._pace_seconds, connection.name), partial(self.feed, connection.name))
            for connection in self.hub.connections.values()
            if isinstance(connection.api, ChangeFeed)
        ]
        if self.hub.groups.named:
            loops.append(self._every(max(60 / factor, 1), self.unserved))
        if self.delivering is not None:
            loops += self._outbox(self.delivering)
        await asyncio.gather(*loops)

    def _outbox(self, delivering: Delivering) -> list[Coroutine[Any, Any, None]]:
        """Told on once committed; a receiver that is slow or away holds up no other."""
        rounds = [partial(delivering.deliver, courier) for courier in delivering.couriers]
        return [
            self._every(5, delivering.own),
            self._every(PACE_REAL_SECONDS, delivering.hand_on),
            self._every(max(_TIDY_SECONDS / self.hub.clock.factor, 1), delivering.tidy),
            *(self._every(PACE_REAL_SECONDS, one) for one in rounds),
        ]

    def stop(self) -> None:
        self._stopping.set()
        if self.delivering is not None:
            self.delivering.stop()

    def _pace_seconds(self, name: str) -> float:
        """Real seconds until a feed is polled again; a connector may slow down as its day's calls run out."""
        api = self.hub.connection(name).api
        technical = api.poll_seconds if isinstance(api, ChangeFeed) else _UNKNOWN_FEED_SECONDS
        return max(technical / self.hub.clock.factor, 0.5)

    async def _every(
        self, pace_seconds: float | Callable[[], float], step: Callable[[], Awaitable[object]]
    ) -> None:
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            while not self._stopping.is_set() and not self.lease.lost:
                try:
                    await step()
                except StoreUnavailable as error:
                    log.warning(
                        "store_unavailable", step=getattr(step, "__name__", "step"), reason=str(error)
                    )
                except Exception:
                    log.exception("housekeeping_failed", step=getattr(step, "__name__", "step"))
                seconds = pace_seconds() if callable(pace_seconds) else pace_seconds
                pause = asyncio.ensure_future(self.hub.clock.sleep_real(seconds))
                try:
                    await asyncio.wait({stopped, pause}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    pause.cancel()
        finally:
            stopped.cancel()

    # -- leases -------------------------------------------------------------------------------------------------
    async def heartbeat(self) -> None:
        """Renew; a lease that could not be renewed cancels every call before it runs out."""
        try:
            renewed = await self.lease.renew()
        except StoreUnavailable:
            renewed = self.lease.until - self.hub.real_now() > 1_000_000
        if not renewed:
            self.lease.lost = True
            log.error("lease_lost", worker=self.lease.worker)
            self.worker.stop()
            # The process ends now, not when its slowest loop looks again: an hour long it worked on nothing.
            self.stop()

    async def reap(self) -> None:
        """Free the lanes and holds of workers whose lease has run out."""
        await set_by_database(self.hub)  # whoever judges others is right about the time
        now, real_now = self.hub.now(), self.hub.real_now()
        long_ago = real_now - 86_400_000_000
        if await self.hub.store.fetch(lanes.LEFT_BEHIND, {"real_now": real_now, "long_ago": long_ago}):
            await self.hub.store.commit(
                [
                    (lanes.REAP, {"now": now, "real_now": real_now}),
                    (waits.DEAD_FREED, {"now": now}),
                    (waits.DEAD_WAKE, {"now": now}),
                    (waits.FREE_DEAD, {}),
                    (permits.FORGET_DEAD, {"real_now": real_now}),
                    (lanes.FORGET_DEAD, {"long_ago": long_ago}),
                ]
            )
        await self._strays()
        await self._crashed()
        if await self.hub.store.fetch(lanes.SUSPECTS, {"most": self.hub.policy.most_crashes}):
            self.worker.look_for_suspects()

    async def _crashed(self) -> None:
        """Set aside what several workers in a row have died over."""
        most = self.hub.policy.most_crashes
        for lane_id, connection, kind, subject_id, fence, crashes, trace in await self.hub.store.fetch(
            lanes.CRASHED, {"most": most}
        ):
            subject = Ref(connection=connection, kind=kind, id=subject_id)
            last = await self.hub.store.fetch(lanes.LAST_STEP, {"lane_id": lane_id})
            step = (
                f"last known step: {last[0][0]}, {last[0][1]}" if last else "it had not written anything yet"
            )
            opened = exception(
                self.hub,
                "crashed",
                str(subject),
                f"{crashes} workers in a row died with it in hand (killed, out of memory, or a crash below Python)",
                "see what the process's log says of its end, and report it; `tieout exceptions retry` after the mend",
                lane_id=lane_id,
                trace=trace,
                detail=step,
            )
            try:
                parked = {"lane_id": lane_id, "fence": fence}
                await self.hub.store.commit([(lanes.PARK_CRASHED, parked), *opened])
            except Refused:
                continue  # another worker was quicker
            log.error("crashed", lane=lane_id, trace=trace, crashes=crashes, step=step)

    async def _strays(self) -> None:
        """Lanes that are leased to this worker and that it does not run (a claim whose answer was lost): still so a
        while later, under the same fence, they go back into the line. Not at once: a claim that was committed a moment
        ago may not have come back to its worker yet."""
        rows = await self.hub.store.fetch(lanes.LEASED_BY, {"worker": self.lease.worker})
        now = self.hub.real_now()
        idle = {(row[0], row[1]): row for row in rows if row[0] not in self.worker.running}
        self._strays_since = {key: self._strays_since.get(key, now) for key in idle}
        for (lane_id, fence), since in self._strays_since.items():
            if now - since < _STRAY_MICROS:
                continue
            _, _, attempts, trace = idle[lane_id, fence]
            back = {"lane_id": lane_id, "fence": fence, "due_at": self.hub.now(), "attempts": attempts}
            try:
                await self.hub.store.commit([(lanes.AGAIN, {**back, "run_id": "", "trace": trace})])
            except Refused:
                continue
            log.warning("stray_lane", lane=lane_id)

    # -- outside ------------------------------------------------------------------------------------------------
    async def feed(self, name: str) -> None:
        """Poll one change feed."""
        if await feeds.poll(self.hub, self.lease, self.hub.connection(name)):
            self.worker.wake()

    async def statuses(self) -> None:
        """Ask which of the created documents are posted by now, many in one call, and all of them in turn: what was
        approved first need not be what was made first."""
        for _ in range(_UNPOSTED_PAGES):
            moment, key = self._asked_until
            asked = {"created_at": moment, "effect_key": key, "limit": _UNPOSTED_AT_ONCE}
            rows = await self.hub.store.fetch(documents.UNPOSTED, asked)
            await self._ask_of([document_of(row[:-1]) for row in rows])
            if len(rows) < _UNPOSTED_AT_ONCE:
                self._asked_until = (0, "")
                return
            self._asked_until = (rows[-1][-1], str(rows[-1][0]))

    async def _ask_of(self, unposted: Sequence[DocumentRow]) -> None:
        by_kind: dict[tuple[str, str], list[DocumentRow]] = defaultdict(list)
        for document in unposted:
            by_kind[document.connection, document.kind].append(document)
        for (name, kind), group in by_kind.items():
            api = self.hub.connection(name).api
            if not isinstance(api, StatusReader) or not self.permits.first(name):
                continue
            try:
                known = await api.statuses(kind, tuple(document.external_id for document in group))
            except Failure as failure:
                log.warning("status_poll_failed", connection=name, outcome=str(failure.outcome)[:300])
                continue
            for document in group:
                await self._posting(document, known.get(document.external_id, "withdrawn"))

    async def _posting(self, document: DocumentRow, status: str) -> None:
        became = _STATUS.get(status)
        if became is None:
            return
        now = self.hub.now()
        steps: list[Step] = [(documents.STATUS, {"effect_key": document.effect_key, "status": became})]
        if became == "POSTED":
            steps = announcing.posted_document(self.hub, document) + steps
            need = posted_need(document.source, document.kind, document.connection)
            steps += meet(need, document.external_id, now)
        else:
            # Its own process turns it into an exception; what needs it goes on waiting.
            steps.append((lanes.RELEASE, {"lane_id": document.lane_id, "now": now}))
        await self.hub.store.commit(steps)
        self.worker.wake()

    async def assigns(self) -> None:
        """Read back what was assigned in doubt: an older value may have arrived after ours."""
        rows = await self.hub.store.fetch(effects.ASSIGNS_TO_VERIFY, {"now": self.hub.now(), "limit": 50})
        for key, connection, kind, target_id, group, revision, box, _, trace in rows:
            api = self.hub.connection(connection).api
            if not isinstance(api, Assigner):
                continue
            fields = _fields.decode(self.hub.keyring.unseal(bytes(box), f"assigns|{key}"))
            target = Ref(connection=connection, kind=kind, id=target_id)
            keys = Keys(effect=key, document="", wire=wire_key(key, revision), trace=trace)
            again = await self._read_back(api, target, group, fields, keys, revision)
            verified = {"assign_key": key, "revision": revision, "verify_at": again}
            await self.hub.store.commit([(effects.ASSIGN_VERIFY_AT, verified)])

    async def _read_back(
        self, api: Assigner, target: Ref, group: str, fields: Fields, keys: Keys, revision: int
    ) -> int | None:
        """Set the fields again if they show another value; answers when to look once more, None for never."""
        later = self.hub.now() + _READ_BACK_MICROS
        try:
            there = await api.read_back(target, group, fields)
        except Failure:
            return later
        except NotFound:
            log.warning("assign_target_gone", target=str(target), group=group)
            return None
        if encode(there) == encode(fields):
            return None
        ((_, newest, *_),) = await self.hub.store.fetch(effects.ASSIGN_BY_KEY, {"assign_key": keys.effect})
        if newest != revision:
            return None  # a newer value is on its way: this one is stale and is never sent
        outcome = await api.assign(target, group, fields, keys)
        if isinstance(outcome, Rejected):
            log.error("assign_rejected", target=str(target), group=group, code=outcome.code)
            await self.hub.store.commit(_refused(self.hub, target, group, outcome, keys.trace))
            return None
        return later

    async def catch_up(self) -> None:
        """How far a restored database has come; costs one look where none was restored."""
        await restoring.advance(self.hub)

    # -- inside -------------------------------------------------------------------------------------------------
    async def waits(self) -> None:
        """Wake what was missed (it must stay 0) and park what waited past its deadline."""
        now = self.hub.now()
        again = {"now": now, "before": now - _LOOK_AGAIN_MICROS}
        woken, looking, _ = await self.hub.store.commit(
            [(waits.SWEEP, {"now": now}), (waits.LOOK_AGAIN, again), (people.REOPEN_DUE, {"now": now})]
        )
        if woken:
            self.hub.metrics.lost_wakeups.inc(len(woken))
            log.error("lost_wakeups", lanes=[row[0] for row in woken][:10])
        if woken or looking:
            self.worker.wake()
        for lane_id, _, what, since in await self.hub.store.fetch(waits.OVERDUE, {"now": now, "limit": 100}):
            days = (now - since) // 86_400_000_000
            opened = exception(
                self.hub,
                "waited_too_long",
                lane_id,
                f"waited {days} days for {what}",
                "provide what it waits for; if it does not go on by itself then, `tieout exceptions retry`",
                lane_id=lane_id,
            )
            try:
                await self.hub.store.commit([(waits.PARK_WAITING, {"lane_id": lane_id}), *opened])
            except Refused:
                continue

    async def seal(self) -> None:
        """Number, chain and sign the audit rows committed since."""
        await sealing.seal(self.hub)

    async def unserved(self) -> None:
        """Say so when documents are due and nobody is there to run them."""
        for group in await raise_unserved(self.hub):
            log.error("no_worker", group=group)

    async def commands(self) -> None:
        """Execute what people asked for from other processes."""
        if await execute_waiting(self.hub):
            self.worker.wake()

    async def examine(self) -> None:
        """Check what must never be so; whatever is opens an exception. What the dead have left is not looked at. By one
        of the living workers: it reads the whole ledger."""
        if not self.permits.leads:
            return
        await self.reap()
        await self.unserved()
        for broken in await invariants.raise_broken(self.hub):
            log.error("invariant_broken", id=broken.id, rows=list(broken.rows)[:3])

    async def doubles(self) -> None:
        """Look whether anything stands twice outside. By one of the living workers: it asks the vendors."""
        if not self.permits.leads:
            return
        await duplicates.sweep(self.hub)

    async def gauges(self) -> None:
        """Bring the gauges up to date."""
        for state, count in await self.hub.store.fetch_long(lanes.STATES, {}):
            self.hub.metrics.lanes.labels(state).set(count)
        doubt = await self.hub.store.fetch(effects.IN_DOUBT, {"limit": 1000})
        self.hub.metrics.unknown.set(len(doubt))
        self.hub.metrics.exceptions.set(len(await self.hub.store.fetch(people.LIST, {})))
        for name, budget in self.hub.budgets.items():
            self.hub.metrics.circuits.labels(name).set(len(budget.circuits.open()))
        if isinstance(self.hub.clock, DatabaseClock):
            self.hub.metrics.clock_skew.set(self.hub.clock.ahead / 1_000_000)
        if self.delivering is not None:
            for name, seconds in (await self.delivering.age_seconds()).items():
                self.hub.metrics.outbox_age.labels(name).set(seconds)


def _refused(hub: Hub, target: Ref, group: str, outcome: Rejected, trace: str) -> list[Step]:
    """The exception of fields that the other side does not take a second time."""
    return exception(
        hub,
        "assign_rejected",
        str(target),
        f"{group} of {target} shows an older value and is refused: {outcome.message}",
        "set it there by hand, then `tieout exceptions resolve`",
        effect_key=str(target),
        trace=trace,
        detail=outcome.code,
    )
