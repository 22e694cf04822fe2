"""One write on its way out: frozen, committed as SENT, and only then sent; alone, or with others in a batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from tieout.canonical.model import encode
from tieout.canonical.outcome import FindOutcome, Inconclusive, OutcomeUnknown, RateLimited, SendOutcome
from tieout.canonical.write import Write
from tieout.connectors.contract import (
    Assigner,
    Assignment,
    BulkAssigner,
    BulkWriter,
    Keys,
    OperationTraits,
    Writer,
)
from tieout.engine.budget import Budget
from tieout.engine.gathering import Gathering, gathering
from tieout.engine.hub import Connection, Hub
from tieout.engine.keys import content_hash, wire_key
from tieout.engine.ledger import EffectRow
from tieout.engine.stops import RunAgain
from tieout.store import effects
from tieout.store.statements import Refused, Step

if TYPE_CHECKING:
    from tieout.engine.run import Run


class BegunElsewhere(RunAgain):
    """Another lane has made an effect of this key: the ledger tells what became of it."""


class Outgoing(NamedTuple):
    """One write that is about to leave. `new`: it is planned and sent in one commit."""

    run: Run
    row: EffectRow
    write: Write
    new: bool


def traits_of(run: Run, row: EffectRow) -> tuple[Writer, OperationTraits]:
    """The connector that makes this effect, and what it says of the operation. TypeError when there is none."""
    api = run.hub.connection(row.connection).api
    if not isinstance(api, Writer) or row.operation not in api.operations:
        raise TypeError(f"connection {row.connection} has no operation {row.operation}")
    return api, api.operations[row.operation]


def keys_of(row: EffectRow) -> Keys:
    """The names of an effect at its present send epoch."""
    return Keys(
        effect=row.effect_key,
        document=row.document_key,
        wire=wire_key(row.effect_key, row.epoch),
        trace=row.trace,
    )


def box_of(row: EffectRow) -> str:
    """What the seal of its frozen request is bound to."""
    return f"effects|{row.effect_key}"


def unseal(run: Run, row: EffectRow) -> bytes:
    """Its frozen request."""
    return run.hub.keyring.unseal(bytes(row.request), box_of(row), run.key)


async def send(run: Run, row: EffectRow, write: Write, *, new: bool) -> SendOutcome:
    """Commit SENT, then let the bytes leave: only while the lease outlives the request's hard deadline. Where the
    connection takes batches and every permit is out, together with what else waits for one."""
    api, traits = traits_of(run, row)
    budget = run.hub.budgets[row.connection]
    until = budget.circuits.opens_at(row.operation, budget.now())
    if until is not None:
        # Nothing is planned for what would not be sent: the lane comes back when the operation is tried again.
        raise RunAgain(until, f"{row.connection} failed at {row.operation} again and again", count=False)
    outgoing = Outgoing(run, row, write, new)
    if isinstance(api, BulkWriter) and row.operation in api.batch_sizes and budget.busy:
        size = api.batch_sizes[row.operation]
        waiting = gathering(
            run.hub, row.connection, row.operation, lambda: Gathering(budget, size, _leave_together)
        )
        answer = await waiting.add(row.document_key, outgoing)
        outcome: SendOutcome = answer or OutcomeUnknown(reason="the batch's answer does not speak of it")
    else:
        async with budget.deck:
            outcome = await _leave(outgoing, api, traits)
    _heed(budget, outcome)
    run.hub.metrics.effects.labels(row.connection, row.operation, type(outcome).__name__).inc()
    return outcome


def _heed(budget: Budget, outcome: object) -> None:
    """A limit that the vendor did not say by a 429 (some disguise it) shrinks the budget all the same."""
    if isinstance(outcome, RateLimited):
        budget.refused()


async def _leave(one: Outgoing, api: Writer, traits: OperationTraits) -> SendOutcome:
    await _mark_sent(one.run, one.row, new=one.new)
    one.run.check_lease(traits.timeout_seconds)
    return await api.send(one.row.operation, one.write, keys_of(one.row))


async def _leave_together(items: Mapping[str, Outgoing]) -> Mapping[str, SendOutcome | Exception]:
    """Each member is committed as SENT under its own guard, and one whose guard fails stays behind; then the batch with
    its members, and only then the bytes leave. A lane waits for its effect, so no batch holds two of one lane."""
    first = next(iter(items.values()))
    api, traits = traits_of(first.run, first.row)
    if len(items) == 1 or not isinstance(api, BulkWriter):
        return {key: await _leave(one, api, traits) for key, one in items.items()}
    marked = await asyncio.gather(
        *(_mark_sent(one.run, one.row, new=one.new) for one in items.values()), return_exceptions=True
    )
    answers: dict[str, SendOutcome | Exception] = {}
    aboard: dict[str, Outgoing] = {}
    for (key, one), failure in zip(items.items(), marked, strict=True):
        if isinstance(failure, Exception):
            answers[key] = failure
        elif failure is not None:
            raise failure
        else:
            aboard[key] = one
    if aboard:
        batch = await _freeze_batch(tuple(aboard.values()))
        first.run.check_lease(traits.timeout_seconds)
        members = tuple((one.write, keys_of(one.row)) for one in aboard.values())
        answers.update(await api.send_many(first.row.operation, members, batch))
    return answers


async def _freeze_batch(members: tuple[Outgoing, ...]) -> str:
    """Write down which effects leave together, under the wire key of them all; answers it."""
    run, row = members[0].run, members[0].row
    wires = sorted(keys_of(one.row).wire for one in members)
    batch = content_hash("\n".join(wires).encode())[:32]
    frozen = {
        "batch": batch,
        "connection": row.connection,
        "operation": row.operation,
        "members": encode(wires).decode(),
        "now": run.hub.now(),
    }
    keys = encode([one.row.effect_key for one in members]).decode()
    await run.hub.store.commit([(effects.BATCH, frozen), (effects.BATCHED, {"batch": batch, "keys": keys})])
    return batch


async def _mark_sent(run: Run, row: EffectRow, *, new: bool) -> None:
    now = run.hub.now()
    row.decisions = row.decisions or encode(run.decisions).decode()
    sealed = run.hub.keyring.seal(row.request, box_of(row), run.key)
    shared = {
        "effect_key": row.effect_key,
        "request": sealed,
        "request_hash": row.request_hash,
        "decisions": row.decisions,
        "now": now,
        "worker": run.worker,
        "fence": run.lane.fence,
        "run_id": run.run_id,
    }
    audit = run.audit("effect.sent", row.effect_key, f"epoch {row.epoch} request {row.request_hash[:16]}")
    if new:
        names = {
            "document_key": row.document_key,
            "lane_id": row.lane_id,
            "process": row.process,
            "connection": row.connection,
            "operation": row.operation,
            "source": row.source,
            "trace": row.trace,
        }
        try:
            await run.attempt((effects.SEND_NEW, {**shared, **names}), audit)
        except Refused as refused:
            raise BegunElsewhere(
                run.hub.clock.now(), f"{row.effect_key} was begun elsewhere", count=False
            ) from refused
        row.attempt = 1
        row.first_sent_at = now
        run.effects[row.effect_key] = row
    else:
        again = {**shared, "epoch": row.epoch, "was": row.state, "attempt": row.attempt}
        await guarded(run, (effects.SEND_AGAIN, again), audit)
        row.attempt += 1
        row.first_sent_at = row.first_sent_at or now
    row.request = sealed
    row.state, row.sent_at, row.absent_from, row.looks, row.worker_id = "SENT", now, None, 0, run.worker


async def guarded(run: Run, *steps: Step) -> None:
    """Commit steps that move an effect on. Evidence may have been quicker: the next run finds it confirmed."""
    try:
        await run.commit(*steps)
    except Refused as refused:
        raise RunAgain(run.hub.clock.now(), f"settled meanwhile: {refused}", count=False) from refused


async def assign(
    hub: Hub, connection: Connection, assignment: Assignment, *, alone: bool = False
) -> SendOutcome:
    """Set fields of one record: with others while every permit is out, unless it must go `alone`."""
    api, budget = connection.api, hub.budgets[connection.name]
    if isinstance(api, BulkAssigner) and budget.busy and not alone:

        async def leave(items: Mapping[str, Assignment]) -> Mapping[str, SendOutcome]:
            answers = await api.assign_many(tuple(items.values()))
            return {
                record: answers[one.keys.effect]
                for record, one in items.items()
                if one.keys.effect in answers
            }

        waiting = gathering(
            hub, connection.name, "assign", lambda: Gathering(budget, api.most_assigns, leave)
        )
        answer: SendOutcome | None = await waiting.add(str(assignment.target), assignment)
        _heed(budget, answer)
        return answer or OutcomeUnknown(reason="the batch's answer does not speak of this record")
    if not isinstance(api, Assigner):
        raise TypeError(f"connection {connection.name} takes no assignments")
    outcome = await api.assign(assignment.target, assignment.group, assignment.fields, assignment.keys)
    _heed(budget, outcome)
    return outcome


async def find(run: Run, row: EffectRow, write: Write, sent_at: datetime) -> FindOutcome:
    """Look a document up by our key: alone, or with others while every permit is out."""
    api, _ = traits_of(run, row)
    budget = run.hub.budgets[row.connection]
    if isinstance(api, BulkWriter) and row.operation in api.batch_sizes and budget.busy:

        async def leave(items: Mapping[str, tuple[Write, Keys, datetime]]) -> Mapping[str, FindOutcome]:
            return await api.find_many(row.operation, tuple(items.values()))

        size = api.batch_sizes[row.operation]
        waiting = gathering(
            run.hub,
            row.connection,
            f"find.{row.operation}",
            lambda: Gathering(budget, size, leave, urgent=True),
        )
        found: FindOutcome | None = await waiting.add(row.document_key, (write, keys_of(row), sent_at))
        return found or Inconclusive(reason="the look-up of many does not speak of this one")
    return await api.find(row.operation, write, keys_of(row), sent_at)
