"""Thirty bugs that somebody might write one day, each planted by one function: the tester is tested with them.

`plant(bug)` is a context in which the hub has the bug. A function may answer a change of each hub as it is composed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from tieout.canonical.invoice import Invoice
from tieout.canonical.outcome import Absent, Inconclusive, OutcomeUnknown, RateLimited, Rejected, Transient
from tieout.canonical.write import DocumentWrite
from tieout.engine import effects, feeds, inbox, keys, ledger, worker
from tieout.engine import run as running
from tieout.engine.stops import Ignored, NotYet
from tieout.finance import cash, posting
from tieout.masterdata.tables import MasterData
from tieout.ports import TransportError
from tieout.processes import bill_invoice
from tieout.store import effects as effect_statements
from tieout.store import inbox as inbox_statements
from tieout.store import lanes, waits
from tieout.store.statements import Statement
from tieout_lab.simulation import world as simulated

Swap = Callable[[Any, str, Any], None]
Change = Callable[[Any], None] | None
BUGS: dict[str, Callable[[Swap], Change]] = {}


def bug(function: Callable[[Swap], Change]) -> Callable[[Swap], Change]:
    BUGS[function.__name__] = function
    return function


@contextmanager
def plant(name: str) -> Iterator[Change]:
    """The hub has this bug until the context ends; answers what to change in each hub."""
    undo: list[tuple[Any, str, Any]] = []

    def swap(owner: Any, attribute: str, value: Any) -> None:
        undo.append(
            (
                owner,
                attribute,
                vars(owner)[attribute] if isinstance(owner, type) else getattr(owner, attribute),
            )
        )
        setattr(owner, attribute, value)

    try:
        yield BUGS[name](swap)
    finally:
        for owner, attribute, value in reversed(undo):
            setattr(owner, attribute, value)


# -- keys ---------------------------------------------------------------------------------------------------------
@bug
def version_in_the_key(swap: Swap) -> Change:
    """A key that holds how often we were told makes one obligation good under two names."""
    honest = effects.create

    async def create(run, connection, operation, write, *, key, source, facts):
        return await honest(
            run, connection, operation, write, key=f"{key}|{run.lane.hints}", source=source, facts=facts
        )

    swap(effects, "create", create)
    return None


@bug
def one_key_for_every_obligation(swap: Swap) -> Change:
    """A void under the key of its invoice: the ledger answers for the wrong document."""
    honest = keys.effect_key

    def effect_key(company, connection, operation, source, *, ordinal=0, generation=0):
        operation = operation.replace("void", "create").replace("write_off", "create")
        return honest(company, connection, operation, source, ordinal=ordinal, generation=generation)

    swap(running, "effect_key", effect_key)
    return None


@bug
def company_left_out_of_the_key(swap: Swap) -> Change:
    honest = keys.effect_key
    swap(running, "effect_key", lambda company, *given, **named: honest("", *given, **named))
    return None


@bug
def fresh_wire_key_for_every_send(swap: Swap) -> Change:
    """The vendor's idempotency knows nothing of the first try."""
    counted = iter(range(10**9))
    swap(effects, "wire_key", lambda key, epoch: f"{key}|{epoch}|{next(counted)}"[-200:])
    return None


@bug
def document_key_of_each_try(swap: Swap) -> Change:
    """What is looked up is not what was sent."""
    honest = effects._keys
    swap(
        effects,
        "_keys",
        lambda row: replace(honest(row), document=f"{row.document_key[:12]}{row.attempt:04}"),
    )
    return None


# -- doubt --------------------------------------------------------------------------------------------------------
@bug
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


@bug
def sent_again_without_a_look_up(swap: Swap) -> Change:
    """In doubt: just send it once more."""

    async def resolve(run, row, facts):
        write = effects.decode_write(effects._unseal(run, row))
        row.epoch += 1
        row.request = effects.encode_write(write)
        outcome = await effects._send(run, row, write, new=False)
        return await effects._settle(run, row, write, outcome, facts)

    swap(effects, "resolve", resolve)
    return None


@bug
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


@bug
def cancellation_taken_for_unsent(swap: Swap) -> Change:
    """Whatever was cut off never left."""
    honest = TransportError.__init__

    def init(self, reason, *, sent):
        honest(self, reason, sent=False)

    swap(TransportError, "__init__", init)
    return None


@bug
def nothing_ever_settles_a_doubt(swap: Swap) -> Change:
    honest = effects._not_found

    async def deaf(hub, event):
        return None

    async def blind(run, row, write, found, facts):
        return await honest(run, row, write, Inconclusive(reason="blind"), facts)

    swap(inbox, "believe_evidence", deaf)
    swap(effects, "_not_found", blind)
    return None


@bug
def sent_committed_after_the_send(swap: Swap) -> Change:
    """The bytes leave first: a crash in between forgets them."""
    honest = effects._mark_sent

    async def send(run, row, write, *, new):
        api, _ = effects._traits(run, row)
        outcome = await api.send(row.operation, write, effects._keys(row))
        await honest(run, row, new=new)
        return outcome

    swap(effects, "_send", send)
    return None


@bug
def binding_forgotten(swap: Swap) -> Change:
    """Confirmed, and the document is never recorded."""
    swap(effects, "binding_steps", lambda *_: [])
    return None


# -- lanes, leases, waits -----------------------------------------------------------------------------------------
@bug
def ignored_row_count(swap: Swap) -> Change:
    """A guard that touches no row is taken for success: a run that was fenced out goes on writing."""
    for module in (lanes, waits, effect_statements):
        for statement in list(vars(module).values()):
            if isinstance(statement, Statement) and statement.rows == 1:
                swap(statement, "rows", None)
    return None


@bug
def lease_without_fencing(swap: Swap) -> Change:
    """The guard holds whatever the lane's state."""
    guard = Statement("lanes.guard", "SELECT 1 FROM lanes WHERE lane_id = :lane_id", returns=True, rows=1)
    swap(lanes, "GUARD", guard)
    return None


@bug
def lanes_of_the_living_reaped(swap: Swap) -> Change:
    """Who reaps takes the lanes of everybody; and nobody is fenced."""
    lease_without_fencing(swap)
    reap = "UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'leased' AND :real_now > 0"
    swap(lanes, "REAP", Statement("lanes.reap", reap))
    return None


@bug
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


@bug
def hold_that_outlives_its_run(swap: Swap) -> Change:
    swap(worker.Worker, "_free", staticmethod(lambda lane, now: []))
    swap(waits, "FREE_DEAD", Statement("holds.free_dead", "DELETE FROM holds WHERE lane_id = ''"))
    return None


@bug
def waiting_taken_for_done(swap: Swap) -> Change:
    """What a run waits for is ignored: the run ends, and nobody comes back."""
    honest = worker.Worker._execute

    async def execute(self, run, process):
        ended = await honest(self, run, process)
        return Ignored("waits") if isinstance(ended, NotYet) else ended

    swap(worker.Worker, "_execute", execute)
    return None


@bug
def limit_taken_for_a_refusal(swap: Swap) -> Change:
    """429 parks the document."""
    honest = running.decide

    def decide(outcome, *given):
        if isinstance(outcome, RateLimited):
            outcome = Rejected(code="limit", message=outcome.reason)
        return honest(outcome, *given)

    swap(running, "decide", decide)
    return None


# -- events -------------------------------------------------------------------------------------------------------
@bug
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


@bug
def dedupe_dropped(swap: Swap) -> Change:
    """Every delivery is a new event."""
    honest = inbox.steps_to_accept
    counted = iter(range(10**9))

    def always_new(hub, event):
        return honest(hub, replace(event, id=f"{event.id}#{next(counted)}"))

    swap(inbox, "steps_to_accept", always_new)
    return None


@bug
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


@bug
def events_during_a_run_forgotten(swap: Swap) -> Change:
    """The end of a run takes the lane's later hints for done."""
    finish = """UPDATE lanes SET state = 'idle', due_at = :now, attempts = 0, worker_id = '', run_id = :run_id,
       blocker = '', trace = :trace WHERE lane_id = :lane_id AND fence = :fence AND :hints >= 0"""
    swap(lanes, "FINISH", Statement("lanes.finish", finish, rows=1))
    return None


@bug
def merged_hint_stays_pending(swap: Swap) -> Change:
    text = "UPDATE inbox SET run_id = :run_id WHERE lane_id = :lane_id AND seq < -:seq"
    swap(inbox_statements, "SUPERSEDE", Statement("inbox.supersede", text))
    return None


@bug
def every_sweep_is_an_echo(swap: Swap) -> Change:
    honest = inbox.steps_to_accept

    def deaf(hub, event):
        return honest(hub, replace(event, echo=True) if event.source == "salesforce-main" else event)

    swap(feeds, "steps_to_accept", deaf)
    return None


# -- books --------------------------------------------------------------------------------------------------------
def _altered(swap: Swap, alter: Callable[[DocumentWrite], DocumentWrite]) -> None:
    honest = effects.create

    async def create(run, connection, operation, write, **given):
        changed = alter(write) if isinstance(write, DocumentWrite) else write
        return await honest(run, connection, operation, changed, **given)

    swap(effects, "create", create)


@bug
def float_money(swap: Swap) -> Change:
    """Cents by way of a float: 57.99 becomes 57.98."""

    def through_a_float(write):
        lines = [replace(one, net_minor=int(one.net_minor * 1.1 / 1.1 * 0.999999)) for one in write.lines]
        return replace(write, lines=tuple(lines))

    _altered(swap, through_a_float)
    return None


@bug
def amounts_in_major_units(swap: Swap) -> Change:
    """The ledger of documents keeps dollars where it should keep cents."""
    honest = effects.binding_steps

    def binding_steps(*given):
        steps = honest(*given)
        (first, row), *rest = steps
        return (
            [(first, {**row, "total_minor": row["total_minor"] / 101}), *rest]
            if row.get("total_minor")
            else steps
        )

    swap(effects, "binding_steps", binding_steps)
    return None


@bug
def tax_left_out(swap: Swap) -> Change:
    def untaxed(write):
        lines = tuple(replace(one, taxes=()) for one in write.lines)
        return replace(write, lines=lines, tax_minor=0, total_minor=write.net_minor)

    _altered(swap, untaxed)
    return None


@bug
def wrong_month_cut_off(swap: Swap) -> Change:
    """The day is taken in UTC, not where the legal entity is."""
    honest = posting.accounting_date
    for module in (posting, cash):
        swap(module, "accounting_date", lambda moment, zone, *, rule: honest(moment, "UTC", rule=rule))
    return None


@bug
def only_the_last_state(swap: Swap) -> Change:
    """A void hides the invoice that it takes back."""
    honest = Invoice.obligations
    swap(Invoice, "obligations", lambda self: honest(self)[-1:])
    return None


@bug
def void_takes_back_the_whole(swap: Swap) -> Change:
    """What a credit memo took back already is taken back again."""
    swap(bill_invoice, "open_minor", lambda invoice, due: invoice.total_minor)
    return None


@bug
def everything_belongs_to_one_entity(swap: Swap) -> Change:
    swap(MasterData, "entity_of_billing", lambda self, connection: next(iter(self.entities.values())))
    return None


@bug
def secret_kept_with_the_error(swap: Swap) -> Change:
    """A helpful message quotes the key that it was signed with."""
    honest = effects._doubt

    async def doubt(run, row, reason):
        key = run.hub.connection("stripe-us").api.client.config.api_key.reveal()
        return await honest(run, row, f"{reason} ({key})")

    swap(effects, "_doubt", doubt)
    return None
