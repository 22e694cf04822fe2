"""Bugs that somebody might write one day in the engine: keys, doubts, lanes, events. Those of the books and of the edge
to the outside are in `bugs_outside.py`; `BUGS` has them all.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import msgspec
from msgspec.structs import replace

import tests.simulation.bugs_outside  # noqa: F401 - registers them
from tests.simulation.planting import BUGS, Change, Swap, bug, plant, stage
from tests.simulation.stages import back_and_forth, closed_month, seen_late, slow_erp
from tieout.canonical.model import encode
from tieout.canonical.outcome import Absent, Inconclusive, OutcomeUnknown, RateLimited, Rejected, Transient
from tieout.engine import assigning, effects, feeds, inbox, keys, ledger, releasing, sending, worker
from tieout.engine import run as running
from tieout.engine.permits import Permits
from tieout.engine.stops import Ignored, NotYet
from tieout.ports import TransportError
from tieout.store import effects as effect_statements
from tieout.store import inbox as inbox_statements
from tieout.store import lanes, waits
from tieout.store.statements import Statement
from tieout_lab.simulation import world as simulated

__all__ = ["BUGS", "plant", "stage"]


# -- keys ---------------------------------------------------------------------------------------------------------
@bug()
def version_in_the_key(swap: Swap) -> Change:
    """A key that holds how often we were told makes one obligation good under two names."""
    honest = effects.create

    async def create(run, connection, operation, write, *, key, source, facts):
        return await honest(
            run, connection, operation, write, key=f"{key}|{run.lane.hints}", source=source, facts=facts
        )

    swap(effects, "create", create)
    return None


@bug(faults="none")
def one_key_for_every_obligation(swap: Swap) -> Change:
    """A void under the key of its invoice: the ledger answers for the wrong document."""
    honest = keys.effect_key

    def effect_key(company, connection, operation, source, *, ordinal=0, generation=0):
        operation = operation.replace("void", "create").replace("write_off", "create")
        return honest(company, connection, operation, source, ordinal=ordinal, generation=generation)

    swap(running, "effect_key", effect_key)
    return None


@bug(faults="none")
def company_left_out_of_the_key(swap: Swap) -> Change:
    """Two companies with one hub each would write under one another's keys."""
    honest = keys.effect_key
    swap(running, "effect_key", lambda company, *given, **named: honest("", *given, **named))
    return None


@bug(faults="writes")
def fresh_wire_key_for_every_send(swap: Swap) -> Change:
    """The vendor's idempotency knows nothing of the first try."""
    counted = iter(range(10**9))
    swap(sending, "wire_key", lambda key, epoch: f"{key}|{epoch}|{next(counted)}"[-200:])
    return None


@bug(faults="writes")
def document_key_of_each_try(swap: Swap) -> Change:
    """What is looked up is not what was sent."""
    honest = sending.keys_of
    swap(
        sending,
        "keys_of",
        lambda row: replace(honest(row), document=f"{row.document_key[:12]}{row.attempt:04}"),
    )
    return None


@bug(faults="none", stage=back_and_forth)
def content_key_on_assigns(swap: Swap) -> Change:
    """What is set is known by its content: a value that comes back is taken for set already."""
    honest_assign, honest_key = running.Run.assign, keys.assign_key
    content: ContextVar[str] = ContextVar("content", default="")

    async def assign(self, target, group, fields, **given):
        content.set(keys.content_hash(encode(fields))[:16])
        return await honest_assign(self, target, group, fields, **given)

    swap(running.Run, "assign", assign)
    for module in (running, assigning):
        swap(module, "assign_key", lambda target, group: f"{honest_key(target, group)}|{content.get()}")
    return None


# -- doubt --------------------------------------------------------------------------------------------------------
@bug(faults="writes", stage=seen_late)
def absence_believed_at_once(swap: Swap) -> Change:
    """The first empty look-up is taken for proof."""
    honest = effects._not_found

    async def not_found(run, row, write, found, facts):
        if isinstance(found, Absent):
            row.looks = 9
            found = Absent(conclusive_at=run.hub.clock.now())
        return await honest(run, row, write, found, facts)

    swap(effects, "_not_found", not_found)
    return None


@bug(faults="writes")
def sent_again_without_a_look_up(swap: Swap) -> Change:
    """In doubt: just send it once more."""

    async def resolve(run, row, facts):
        write = effects.decode_write(effects.unseal(run, row))
        row.epoch += 1
        row.request = effects.encode_write(write)
        outcome = await effects.send(run, row, write, new=False)
        return await effects._settle(run, row, write, outcome, facts)

    swap(effects, "resolve", resolve)
    return None


@bug(faults="writes")
def unknown_taken_for_failure(swap: Swap) -> Change:
    """A time-out is a failure, is it not: plan it again."""
    honest = effects._settle

    async def settle(run, row, write, outcome, facts):
        if isinstance(outcome, OutcomeUnknown):
            outcome = Transient(reason=outcome.reason)
            row.epoch += 1
        return await honest(run, row, write, outcome, facts)

    swap(effects, "_settle", settle)
    return None


@bug(faults="writes")
def cancellation_taken_for_unsent(swap: Swap) -> Change:
    """Whatever was cut off never left."""
    honest = TransportError.__init__

    def init(self, reason, *, sent):
        honest(self, reason, sent=False)

    swap(TransportError, "__init__", init)
    return None


@bug(faults="writes")
def nothing_ever_settles_a_doubt(swap: Swap) -> Change:
    """Look-ups and evidence are not heeded: what is in doubt stays so."""
    honest = effects._not_found

    async def deaf(hub, event):
        return None

    async def blind(run, row, write, found, facts):
        return await honest(run, row, write, Inconclusive(reason="blind"), facts)

    for module in (inbox, feeds):
        swap(module, "believe_evidence", deaf)
    swap(effects, "_not_found", blind)
    return None


@bug(faults="writes")
def sent_committed_after_the_send(swap: Swap) -> Change:
    """The bytes leave first: a crash in between forgets them."""

    async def leave(one, api, traits):
        outcome = await api.send(one.row.operation, one.write, sending.keys_of(one.row))
        await sending._mark_sent(one.run, one.row, new=one.new)
        return outcome

    swap(sending, "_leave", leave)
    return None


@bug(faults="none")
def binding_forgotten(swap: Swap) -> Change:
    """Confirmed, and the document is never recorded."""
    swap(effects, "binding_steps", lambda *_: [])
    return None


# -- lanes, leases, waits -----------------------------------------------------------------------------------------
@bug(workers=0)
def ignored_row_count(swap: Swap) -> Change:
    """A guard that touches no row is taken for success: a run that was fenced out goes on writing."""
    for module in (lanes, waits, effect_statements):
        for statement in list(vars(module).values()):
            if isinstance(statement, Statement) and statement.rows == 1:
                swap(statement, "rows", None)
    return None


@bug(workers=0)
def lease_without_fencing(swap: Swap) -> Change:
    """The guard holds whatever the lane's state."""
    guard = Statement("lanes.guard", "SELECT 1 FROM lanes WHERE lane_id = :lane_id", returns=True, rows=1)
    swap(lanes, "GUARD", guard)
    return None


@bug(workers=0)
def lanes_of_the_living_reaped(swap: Swap) -> Change:
    """Who reaps takes the lanes of everybody; and nobody is fenced."""
    lease_without_fencing(swap)
    reap = "UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'leased' AND :real_now > 0"
    swap(lanes, "REAP", Statement("lanes.reap", reap))
    return None


@bug(faults="none")
def lost_wake_up(swap: Swap) -> Change:
    """Who binds does not wake who waits; and the sweep that would hide it is off."""
    honest = ledger.meet
    for module in (ledger, effects):
        swap(module, "meet", lambda key, value, now: honest(key, value, now)[:1])
    return _no_sweep


def _no_sweep(app: Any) -> None:
    async def nothing() -> None:
        return None

    app.housekeeping.waits = nothing


@bug()
def hold_that_outlives_its_run(swap: Swap) -> Change:
    """What a run excluded others from stays closed after its end."""
    swap(worker.Worker, "_free", staticmethod(lambda lane, now: []))
    swap(waits, "FREE_DEAD", Statement("holds.free_dead", "DELETE FROM holds WHERE lane_id = ''"))
    return None


@bug(faults="none")
def waiting_taken_for_done(swap: Swap) -> Change:
    """What a run waits for is ignored: the run ends, and nobody comes back."""
    honest = worker.Worker._execute

    async def execute(self, run, process):
        ended = await honest(self, run, process)
        return Ignored("waits") if isinstance(ended, NotYet) else ended

    swap(worker.Worker, "_execute", execute)
    return None


@bug(faults="limits")
def limit_taken_for_a_refusal(swap: Swap) -> Change:
    """429 parks the document."""
    honest = running.decide

    def decide(outcome, *given):
        if isinstance(outcome, RateLimited):
            outcome = Rejected(code="limit", message=outcome.reason)
        return honest(outcome, *given)

    swap(running, "decide", decide)
    return None


@bug(faults="writes", stage=slow_erp)
def permit_freed_at_the_kill(swap: Swap) -> Change:
    """Who starts after a crash takes the whole budget, although the vendor still works on the dead one's calls."""

    async def see_nothing(self):
        return None

    swap(Permits, "_see_left_out", see_nothing)
    return None


@bug(faults="none", stage=closed_month)
def approval_recomputed(swap: Swap) -> Change:
    """What an approval lists is computed anew, and hashed anew, when it is approved: documents that nobody listed go
    with it."""
    honest = releasing.execution

    async def execution(hub, asked, actor):
        payload = msgspec.json.decode(asked["payload"])
        if asked["action"] == "release_period":
            held = await hub.store.fetch(lanes.BLOCKED_BY, {"blocker": payload["blocker"], "limit": 100})
            payload["documents"] = [{"lane": lane_id} for (lane_id,) in held]
        return await honest(hub, {**asked, "payload": encode(payload).decode()}, actor)

    swap(releasing, "execution", execution)
    return None


# -- events -------------------------------------------------------------------------------------------------------
@bug(faults="none")
def stamp_only_sweep_id(swap: Swap) -> Change:
    """Two changes in one hour are one event: the second is lost."""
    honest = inbox.steps_to_accept

    def stamp_only(hub, event):
        if event.subject is not None and event.source == "salesforce-main":
            name = f"{event.subject.kind}|{event.subject.id}|{event.time:%Y%m%d%H}"
            event = replace(event, id=name)
        return honest(hub, event)

    swap(inbox, "steps_to_accept", stamp_only)
    swap(feeds, "steps_to_accept", stamp_only)
    return None


@bug(faults="events")
def dedupe_dropped(swap: Swap) -> Change:
    """Every delivery is a new event."""
    honest = inbox.steps_to_accept
    counted = iter(range(10**9))

    def always_new(hub, event):
        return honest(hub, replace(event, id=f"{event.id}#{next(counted)}"))

    swap(inbox, "steps_to_accept", always_new)
    return None


@bug(faults="processes")
def ack_before_commit(swap: Swap) -> Change:
    """2xx first, stored a moment later."""
    honest = inbox.accept
    running_on = set()

    async def accept(hub, events):
        async def later():
            await asyncio.sleep(0.3)
            await honest(hub, events)

        task = asyncio.ensure_future(later())
        running_on.add(task)
        task.add_done_callback(lambda done: (running_on.discard(done), done.cancelled() or done.exception()))

    swap(simulated, "accept", accept)
    return None


@bug(faults="none")
def events_during_a_run_forgotten(swap: Swap) -> Change:
    """The end of a run takes the lane's later hints for done."""
    finish = """UPDATE lanes SET state = 'idle', due_at = :now, attempts = 0, worker_id = '', run_id = :run_id,
       blocker = '', trace = :trace WHERE lane_id = :lane_id AND fence = :fence AND :hints >= 0"""
    swap(lanes, "FINISH", Statement("lanes.finish", finish, rows=1))
    return None


@bug(faults="none")
def merged_hint_stays_pending(swap: Swap) -> Change:
    """An event that was merged into a run is never settled."""
    text = "UPDATE inbox SET run_id = :run_id WHERE lane_id = :lane_id AND seq < -:seq"
    swap(inbox_statements, "SUPERSEDE", Statement("inbox.supersede", text))
    return None


@bug(faults="none")
def every_sweep_is_an_echo(swap: Swap) -> Change:
    """Whatever the CRM's sweep tells is taken for our own writing."""
    honest = inbox.steps_to_accept

    def deaf(hub, event):
        return honest(hub, replace(event, echo=True) if event.source == "salesforce-main" else event)

    swap(feeds, "steps_to_accept", deaf)
    return None
