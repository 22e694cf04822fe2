"""The worker: claims lanes, runs their processes, ends each run in one guarded commit."""

from __future__ import annotations

import asyncio
import traceback
from datetime import timedelta
from typing import Any

import structlog

from tieout.canonical.model import encode
from tieout.canonical.outcome import Failure, NotFound
from tieout.engine import exceptions
from tieout.engine.hub import Hub
from tieout.engine.lane import Lane, lane_from
from tieout.engine.lease import Lease
from tieout.engine.moments import micros, moment
from tieout.engine.retry import BUG_ATTEMPTS, backoff
from tieout.engine.run import Run
from tieout.engine.stops import Blocked, FencedOut, Ignored, NotYet, Parked, RunAgain, Stop
from tieout.store import inbox, lanes, people, waits
from tieout.store.statements import Refused, Row, Step, StoreUnavailable, Violated

log = structlog.get_logger("tieout.engine")


class Worker:
    """Claims and runs lanes of one process until stopped."""

    def __init__(self, hub: Hub, lease: Lease) -> None:
        self.hub = hub
        self.lease = lease
        self.running: dict[str, asyncio.Task[None]] = {}
        self.activity = asyncio.Event()
        self._stopping = False
        # The lane that two workers have died over and that runs now, and whether there may be more of them.
        self._suspect = ""
        self._suspects = True
        # Whose turn it is to be claimed first.
        self._turn = 0

    def wake(self) -> None:
        """Something became ready in this process: look at once."""
        self.activity.set()

    def look_for_suspects(self) -> None:
        """Lanes of dead workers were freed: one of them may be why they died."""
        self._suspects = True
        self.wake()

    async def run(self) -> None:
        """Claim and run until `stop`, or until the lease is lost."""
        while not self._stopping and not self.lease.lost:
            try:
                await self._claim()
                await self._rest()
            except StoreUnavailable as error:
                log.warning("store_unavailable", reason=str(error))
                await self.hub.clock.sleep_real(0.5)
        for task in list(self.running.values()):
            task.cancel()
        await asyncio.gather(*self.running.values(), return_exceptions=True)

    def stop(self) -> None:
        self._stopping = True
        self.activity.set()

    async def _claim(self) -> None:
        free = self.hub.policy.runs_at_once - len(self.running)
        if free <= 0:
            return
        # First, or they would never have their turn while there is more to do than one worker can.
        claimed = self._begin(await self._claim_suspect()) if self._suspects and not self._suspect else 0
        claim = {"worker": self.lease.worker, "now": self.hub.now()}
        for group in self._in_turn():
            if claimed >= free:
                break
            asked = {**claim, "group": group, "limit": free - claimed}
            (rows,) = await self.hub.store.commit([(lanes.CLAIM, asked)])
            claimed += self._begin(rows)

    def _in_turn(self) -> tuple[str, ...]:
        """The groups that this worker serves, each time another one first: none takes all its room from the others."""
        serves = self.hub.groups.serves
        self._turn = (self._turn + 1) % len(serves)
        return serves[self._turn :] + serves[: self._turn]

    def _begin(self, rows: list[Row]) -> int:
        """Run these claimed lanes; answers how many they are."""
        for row in rows:
            lane = lane_from(row)
            task = asyncio.create_task(self.run_lane(lane), name=lane.lane_id)
            self.running[lane.lane_id] = task
            task.add_done_callback(self._done)
        return len(rows)

    async def _claim_suspect(self) -> list[Row]:
        """One of the lanes that two workers have died over, while no other of them runs: if this worker dies, too, it
        is known which of them it was."""
        asked = {"worker": self.lease.worker, "most": self.hub.policy.most_crashes}
        rows: list[Row] = []
        for group in self._in_turn():
            if not rows:
                (rows,) = await self.hub.store.commit([(lanes.CLAIM_SUSPECT, {**asked, "group": group})])
        self._suspects = bool(rows)
        self._suspect = rows[0][0] if rows else ""
        return rows

    def _done(self, task: asyncio.Task[None]) -> None:
        # The lane may be claimed again before its ended task is told of here: what runs it by then stays.
        if self.running.get(task.get_name()) is task:
            del self.running[task.get_name()]
            if task.get_name() == self._suspect:
                self._suspect = ""
        self.activity.set()

    async def _rest(self) -> None:
        """Wait for work: a hint, a finished run, or a lane that is due. To look costs a read, to claim in vain a
        transaction."""
        self.activity.clear()
        while not (self.activity.is_set() or self._stopping or self.lease.lost):
            pause = self.hub.policy.claim_poll_real_seconds
            if len(self.running) < self.hub.policy.runs_at_once:
                if self._suspects and not self._suspect:
                    return
                due = await self._due_in_seconds()
                if due is not None and due <= 0:
                    return
                pause = pause if due is None else min(pause, due / self.hub.clock.factor)
            waiting = asyncio.ensure_future(self.activity.wait())
            sleeping = asyncio.ensure_future(self.hub.clock.sleep_real(pause))
            try:
                await asyncio.wait({waiting, sleeping}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                sleeping.cancel()

    async def _due_in_seconds(self) -> float | None:
        """When the next lane of a group that this worker serves is due; None where nothing waits."""
        moments = []
        for group in self.hub.groups.serves:
            ((due,),) = await self.hub.store.fetch(lanes.NEXT_DUE, {"group": group})
            if due is not None:
                moments.append((moment(due) - self.hub.clock.now()) / timedelta(seconds=1))
        return min(moments, default=None)

    # -- one run ------------------------------------------------------------------------------------------------
    async def run_lane(self, lane: Lane) -> None:
        """Run the lane's process once and end it in one commit."""
        process = self.hub.processes[lane.kind]
        run = Run(self.hub, lane, process.name, self.hub.ids.new(), self.lease)
        started = self.hub.now()
        try:
            ended = await self._execute(run, process)
            await self._end(run, ended, started)
        except FencedOut:
            log.warning("fenced_out", lane=lane.lane_id, trace=run.trace)
            # Not ours any more, or a lease too short for the call: then the lane goes back into the line.
            await self._hand_back(lane)
        except StoreUnavailable as error:
            # The lane stays leased; it is claimed again when the lease is reaped, or by this worker's own sweep.
            log.warning("run_not_ended", lane=lane.lane_id, trace=run.trace, reason=str(error))
            await self._hand_back(lane)

    async def _hand_back(self, lane: Lane) -> None:
        """Put a lane whose run could not be ended back into the line, once the store answers; a lane that somebody else
        has by now is left to them."""
        while not self.lease.lost and not self._stopping:
            await self.hub.clock.sleep_real(0.5)
            back = {
                "lane_id": lane.lane_id,
                "fence": lane.fence,
                "due_at": self.hub.now(),
                "attempts": lane.attempts,
                "run_id": "",
                "trace": lane.trace,
            }
            try:
                await self.hub.store.commit([(lanes.AGAIN, back)])
            except Refused:
                return
            except StoreUnavailable:
                continue
            return

    async def _execute(self, run: Run, process: Any) -> Stop | None:
        try:
            await run.load()
            await process.function(run, run.lane.subject)
        except FencedOut:
            raise
        except Ignored as ignored:
            return self._orphaned(run) or ignored
        except Stop as stop:
            return stop
        except NotFound as missing:
            return Parked(
                "not_found",
                f"{missing} does not exist there",
                "restore it, or resolve this once it is no longer wanted",
            )
        except Failure as failure:
            # A connection that could not even sign in or ask: what happens next is in the outcome, wherever it arose.
            return run.stop_for(failure.outcome)
        except StoreUnavailable:
            raise
        except (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as bug:  # noqa: BLE001 - a poison event must not take the worker along
            return self._bug(run, bug)
        return self._orphaned(run)

    @staticmethod
    def _orphaned(run: Run) -> Parked | None:
        """What was made for this document and is no longer asked for: nobody would ever correct it."""
        orphans = run.orphans()
        if not orphans:
            return None
        keys = ", ".join(f"{row.operation} {row.external_id or row.document_key}" for row in orphans)
        return Parked(
            "orphaned_effect",
            f"made for this document and no longer asked for: {keys}",
            "correct the document outside, or restore what asked for it, then retry",
            effect_key=orphans[0].effect_key,
        )

    def _bug(self, run: Run, bug: BaseException) -> Stop:
        text = "".join(traceback.format_exception(bug, limit=-8))
        log.error(
            "bug",
            lane=run.lane.lane_id,
            trace=run.trace,
            error=f"{type(bug).__name__}: {bug}",
            traceback=text,
        )
        if run.lane.attempts + 1 < BUG_ATTEMPTS:
            return RunAgain(
                backoff(self.hub.clock.now(), run.lane.attempts, 0.0), f"{type(bug).__name__}: {bug}"
            )
        return Parked(
            "bug",
            f"the process failed {BUG_ATTEMPTS} times: {type(bug).__name__}: {bug}",
            "report it with the traceback shown; `tieout exceptions retry` after the mend",
            detail=text[-4000:],
        )

    async def _end(self, run: Run, ended: Stop | None, started: int) -> None:
        outcome = "done" if ended is None else type(ended).__name__.lower()
        try:
            await run.commit(*self._ending(run, ended), self._run_row(run, outcome, ended, started))
        except (Refused, Violated) as refused:
            ended = self._not_ended(run, ended, refused)
            outcome = type(ended).__name__.lower()
            await run.commit(*self._ending(run, ended), self._run_row(run, outcome, ended, started))
        if isinstance(ended, NotYet) and self.hub.store.dialect != "sqlite":
            await self._look_again_for_a_circle(run, ended)
        self.hub.metrics.runs.labels(run.process, outcome).inc()
        if isinstance(ended, Parked | Blocked):
            log.info(
                "run",
                process=run.process,
                lane=run.lane.lane_id,
                trace=run.trace,
                outcome=outcome,
                detail=str(ended)[:300],
            )

    async def _look_again_for_a_circle(self, run: Run, ended: NotYet) -> None:
        """Two processes that write mutual waits at the same moment see none of each other's: the later of the two
        looks, both being committed, finds the circle."""
        lane = {"lane_id": run.lane.lane_id}
        if not await self.hub.store.fetch(waits.CYCLE, lane):
            return
        parked = self._circle(ended)
        try:
            await self.hub.store.commit(
                [(waits.PARK_WAITING, lane), *exceptions.opened(self.hub, run, parked)]
            )
        except Refused:
            return  # woken meanwhile

    @staticmethod
    def _circle(ended: NotYet) -> Parked:
        circle = "; ".join(need.what for need in ended.needs)
        remedy = "break the circle: retry one of the documents by hand"
        return Parked("cycle", f"waits in a circle: {circle}", remedy)

    def _not_ended(self, run: Run, ended: Stop | None, refused: Refused | Violated) -> Stop:
        """How a run ends whose end was refused: by a circle of waits, else by a bug."""
        circular = isinstance(refused, Refused) and refused.statement == waits.CYCLE.name
        if not circular or not isinstance(ended, NotYet):
            return self._bug(run, refused)
        return self._circle(ended)

    def _run_row(self, run: Run, outcome: str, ended: Stop | None, started: int) -> Step:
        row = {
            "run_id": run.run_id,
            "lane_id": run.lane.lane_id,
            "process": run.process,
            "attempt": run.lane.attempts + 1,
            "started_at": started,
            "ended_at": self.hub.now(),
            "outcome": outcome,
            "detail": "; ".join(str(one) for one in (run.replay, ended) if one is not None)[:500],
            "actor": run.actor,
            "trace": run.trace,
        }
        return lanes.RUN_BEGIN, row

    def _ending(self, run: Run, ended: Stop | None) -> list[Step]:
        """The one commit that ends a run: events, lane, waits, exception."""
        lane, now = run.lane, self.hub.now()
        names = {
            "lane_id": lane.lane_id,
            "fence": lane.fence,
            "run_id": run.run_id,
            "trace": run.trace,
            "replay": lane.replay,
        }
        steps = self._free(lane, now) if run.holding else []
        if lane.fence > 1 and isinstance(ended, NotYet):
            keys = encode([need.key for need in ended.needs]).decode()
            steps.append((waits.KEEP, {"lane_id": lane.lane_id, "keys": keys}))
        elif lane.fence > 1:
            steps.append((waits.FORGET, {"lane_id": lane.lane_id}))
        match ended:
            case None:
                steps += self._settled(run, "applied", "")
                steps += self._resolved(lane, now, "the run succeeded")
                steps.append((lanes.FINISH, {**names, "hints": lane.hints, "now": now}))
            case Ignored():
                steps += self._settled(run, "ignored", ended.rule)
                steps += self._resolved(lane, now, f"no longer wanted: {ended.rule}")
                steps.append((lanes.FINISH, {**names, "hints": lane.hints, "now": now}))
            case RunAgain():
                attempts = lane.attempts + (1 if ended.count else 0)
                steps.append((lanes.AGAIN, {**names, "due_at": micros(ended.at), "attempts": attempts}))
                self.hub.metrics.retries.labels("doubt" if "doubt" in ended.reason else "later").inc()
            case NotYet():
                steps += self._waiting(run, ended, names, now)
            case Parked():
                steps += self._settled(run, "parked", ended.code)
                steps += exceptions.opened(self.hub, run, ended)
                steps.append((lanes.PARK, {**names, "blocker": ""}))
            case Blocked():
                steps += self._settled(run, "parked", ended.blocker)
                steps += exceptions.blocked(self.hub, run, ended)
                steps.append((lanes.PARK, {**names, "blocker": ended.blocker}))
            case _:
                raise TypeError(f"a run cannot end with {ended!r}")
        return steps

    @staticmethod
    def _resolved(lane: Lane, now: int, resolution: str) -> list[Step]:
        """What waited for a person is resolved; a lane that runs for the first time has nothing that could."""
        if lane.fence <= 1:
            return []
        return [(people.RESOLVE_LANE, {"lane_id": lane.lane_id, "now": now, "resolution": resolution})]

    def _settled(self, run: Run, state: str, detail: str) -> list[Step]:
        """The last event taken is settled by this run; the earlier hints of the lane were merged into it."""
        lane = run.lane
        if not lane.last_seq:
            return []
        names = {"lane_id": lane.lane_id, "run_id": run.run_id, "seq": lane.last_seq}
        steps: list[Step] = [(inbox.SETTLE, {**names, "state": state, "detail": detail})]
        if lane.fence > 1:
            steps.insert(0, (inbox.UNPARK, {**names, "state": state, "detail": detail}))
        if lane.hints > 1:
            steps.insert(0, (inbox.SUPERSEDE, names))
        return steps

    def _waiting(self, run: Run, ended: NotYet, names: dict[str, Any], now: int) -> list[Step]:
        deadline = now + micros(moment(0) + self.hub.policy.wait_deadline)
        steps: list[Step] = []
        for need in ended.needs:
            if need.resource:
                steps.append((waits.HELD_NEED, {"need_key": need.key}))
                steps.append(
                    (waits.HOLD_STILL_TAKEN, {"need_key": need.key, "resource": need.resource, "now": now})
                )
            else:
                steps.append((waits.NEED, {"need_key": need.key}))
            waiter = {
                "lane_id": run.lane.lane_id,
                "need_key": need.key,
                "on_lane": need.on_lane,
                "what": need.what,
            }
            steps.append((waits.WAIT, {**waiter, "now": now, "deadline_at": deadline}))
            if need.producer is not None:
                steps += self.hub.groups.start(need.producer, now)
        steps.append((waits.CYCLE, {"lane_id": run.lane.lane_id}))
        steps.append((lanes.WAIT, {**names, "now": now}))
        return steps

    @staticmethod
    def _free(lane: Lane, now: int) -> list[Step]:
        names = {"lane_id": lane.lane_id, "now": now}
        return [(waits.FREED, names), (waits.FREE_WAKE, names), (waits.FREE, {"lane_id": lane.lane_id})]
