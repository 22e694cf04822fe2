"""The tester tested: bugs planted one at a time, each caught within a few seeds, and by which invariant."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.process.flows import play, posted
from tieout.canonical.outcome import Absent, Inconclusive, OutcomeUnknown
from tieout.engine import effects, inbox, keys, ledger, worker
from tieout.engine import run as running
from tieout.store import effects as effect_statements
from tieout.store import inbox as inbox_statements
from tieout.store import lanes, waits
from tieout.store.statements import Statement
from tieout_lab.simulation.seeds import live

SEEDS = 60


def _catch(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None] | None = None, **given: Any
) -> tuple[int, str]:
    """The first seed that finds the bug, and the invariant. Without the bug the same seed must be clean."""
    for seed in range(SEEDS):
        try:
            found = "; ".join(live(seed, change, **given).violations)
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
        if found:
            monkeypatch.undo()
            assert live(seed, **given).violations == [], f"seed {seed} is not clean without the bug"
            return seed, found
    raise AssertionError(f"not caught by {SEEDS} seeds")


def _caught_by(found: tuple[int, str], *invariants: str) -> None:
    print(f"caught by seed {found[0]}: {found[1][:120]}")
    assert re.search("|".join(rf"(^|; ){one}" for one in invariants), found[1]), found


def test_version_in_the_key(monkeypatch):
    """A key that holds a content makes the same obligation good twice under two names."""
    honest = effects.create

    async def create(run, connection, operation, write, *, key, source, facts):
        key = f"{key}|{run.lane.hints}"
        return await honest(run, connection, operation, write, key=key, source=source, facts=facts)

    monkeypatch.setattr(effects, "create", create)
    _caught_by(_catch(monkeypatch), "I0[1-9]", "I14", "I21")


def test_absence_believed_at_once(monkeypatch):
    """The first empty look-up is taken for proof."""
    honest = effects._not_found

    async def not_found(run, row, write, found, facts):
        if isinstance(found, Absent):
            row.looks = 9
            found = Absent(conclusive_at=run.hub.clock.now())
        return await honest(run, row, write, found, facts)

    monkeypatch.setattr(effects, "_not_found", not_found)
    _caught_by(_catch(monkeypatch), "I0[1-4]", "I14")


@pytest.mark.xfail(run=False, reason="shows only with two workers at once; the harness has one so far")
def test_ignored_row_count(monkeypatch):
    """A guard that touches no row is taken for success: a run that was fenced out goes on writing."""
    for module in (lanes, waits, effect_statements):
        for statement in list(vars(module).values()):
            if isinstance(statement, Statement) and statement.rows == 1:
                monkeypatch.setattr(statement, "rows", None)
    _caught_by(_catch(monkeypatch), "I", "Unquiet", "Type", "Index", "Value")


def test_a_sweep_id_of_the_stamp_alone(monkeypatch):
    """Two changes in one second are one event: the second is lost."""
    accept = inbox.steps_to_accept

    def stamp_only(hub, event):
        import msgspec

        if event.subject is not None and event.source == "salesforce-main":
            event = msgspec.structs.replace(
                event, id=f"{event.subject.kind}|{event.subject.id}|{event.time:%Y%m%d%H}"
            )
        return accept(hub, event)

    monkeypatch.setattr(inbox, "steps_to_accept", stamp_only)
    from tieout.engine import feeds

    monkeypatch.setattr(feeds, "steps_to_accept", stamp_only)
    _caught_by(_catch(monkeypatch), "I03", "I09", "I21")


def test_lost_wake_up(monkeypatch):
    """Who binds does not wake who waits; and the sweep that would hide it is off."""
    honest = ledger.meet

    def meet(key, value, now):
        return honest(key, value, now)[:1]

    for module in (ledger, effects):
        monkeypatch.setattr(module, "meet", meet)

    def no_sweep(app):
        async def waits_step():
            return None

        app.housekeeping.waits = waits_step

    _caught_by(_catch(monkeypatch, no_sweep), "I21", "I09", "I03")


@pytest.mark.soak
def test_sent_again_without_a_look_up(monkeypatch):
    """In doubt: just send it once more."""

    async def resolve(run, row, facts):
        write = effects.decode_write(effects._unseal(run, row))
        row.epoch += 1
        row.request = effects.encode_write(write)
        outcome = await effects._send(run, row, write, new=False)
        return await effects._settle(run, row, write, outcome, facts)

    monkeypatch.setattr(effects, "resolve", resolve)
    _caught_by(_catch(monkeypatch), "I0[1-4]", "I16", "I21")


@pytest.mark.soak
def test_sent_is_not_committed_before_the_send(monkeypatch):
    """The bytes leave first: a crash in between forgets them."""
    honest = effects._mark_sent

    async def send(run, row, write, *, new):
        api, _ = effects._traits(run, row)
        outcome = await api.send(row.operation, write, effects._keys(row))
        await honest(run, row, new=new)
        return outcome

    monkeypatch.setattr(effects, "_send", send)

    async def un_keyed(world, people):
        world.erp.faults.enforce_keys = False
        await posted(world, people)

    trail = play(un_keyed, enforce_keys=False).trail
    dead = play(un_keyed, deaths=[(trail.index("call invoice.create") + 1, True)], enforce_keys=False)
    assert any(one.startswith("I01 2 documents") for one in dead.wrong), dead.wrong
    monkeypatch.undo()
    trail = play(un_keyed, enforce_keys=False).trail
    dead = play(un_keyed, deaths=[(trail.index("call invoice.create") + 1, True)], enforce_keys=False)
    assert dead.wrong == []


@pytest.mark.soak
def test_evidence_is_dropped_and_so_is_the_look_up(monkeypatch):
    """No event and no look-up ever settles a doubt."""

    async def deaf(hub, event):
        return None

    async def blind(run, row, write, found, facts):
        return await honest(run, row, write, Inconclusive(reason="blind"), facts)

    honest = effects._not_found
    monkeypatch.setattr(inbox, "believe_evidence", deaf)
    monkeypatch.setattr(effects, "_not_found", blind)
    _caught_by(_catch(monkeypatch), "Unquiet", "I")


@pytest.mark.soak
def test_an_unknown_outcome_is_taken_for_a_failure(monkeypatch):
    """A time-out is a failure, is it not: plan it again."""
    honest = effects._settle

    async def settle(run, row, write, outcome, facts):
        if isinstance(outcome, OutcomeUnknown):
            from tieout.canonical.outcome import Transient

            outcome = Transient(reason=outcome.reason)
            row.epoch += 1
        return await honest(run, row, write, outcome, facts)

    monkeypatch.setattr(effects, "_settle", settle)
    _caught_by(_catch(monkeypatch), "I0[1-4]", "I16", "I21")


@pytest.mark.soak
def test_two_parallel_lives_without_a_fence(monkeypatch):
    """The guard holds whatever the lane's state: commits of the dead are taken."""
    guard = Statement("lanes.guard", "SELECT 1 FROM lanes WHERE lane_id = :lane_id", returns=True, rows=1)
    again = Statement(
        "lanes.reap",
        "UPDATE lanes SET state = 'ready', due_at = :now WHERE state = 'leased' AND :real_now > 0",
    )
    monkeypatch.setattr(lanes, "GUARD", guard)
    monkeypatch.setattr(lanes, "REAP", again)
    _caught_by(_catch(monkeypatch), "I", "Unquiet")


@pytest.mark.soak
def test_events_that_come_during_a_run_are_forgotten(monkeypatch):
    """The end of a run takes the lane's later hints for done."""
    finish = Statement(
        "lanes.finish",
        """UPDATE lanes SET state = 'idle', due_at = :now, attempts = 0, worker_id = '', run_id = :run_id, blocker = '',
           trace = :trace WHERE lane_id = :lane_id AND fence = :fence AND :hints >= 0""",
        rows=1,
    )
    monkeypatch.setattr(lanes, "FINISH", finish)
    _caught_by(_catch(monkeypatch), "I05", "I09", "I10")


@pytest.mark.soak
def test_a_merged_hint_stays_pending(monkeypatch):
    """Hints that were merged into a run are never settled."""
    monkeypatch.setattr(
        inbox_statements,
        "SUPERSEDE",
        Statement(
            "inbox.supersede", "UPDATE inbox SET run_id = :run_id WHERE lane_id = :lane_id AND seq < -:seq"
        ),
    )
    _caught_by(_catch(monkeypatch), "I05")


@pytest.mark.soak
def test_a_hold_that_outlives_its_run(monkeypatch):
    monkeypatch.setattr(worker.Worker, "_free", staticmethod(lambda lane, now: []))
    monkeypatch.setattr(
        waits, "FREE_DEAD", Statement("holds.free_dead", "DELETE FROM holds WHERE lane_id = ''")
    )
    _caught_by(_catch(monkeypatch), "I21")


@pytest.mark.soak
def test_one_key_for_every_ordinal_and_operation(monkeypatch):
    """A void under the key of its invoice: the ledger answers for the wrong document."""
    honest = keys.effect_key

    def effect_key(company, connection, operation, source, *, ordinal=0, generation=0):
        operation = operation.replace("void", "create").replace("write_off", "create")
        return honest(company, connection, operation, source, ordinal=ordinal, generation=generation)

    monkeypatch.setattr(running, "effect_key", effect_key)
    _caught_by(_catch(monkeypatch), "I09", "I10", "I21")
