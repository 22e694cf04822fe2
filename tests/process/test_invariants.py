"""The invariants of a running hub: all hold after a flow, each is heard when a row breaks it, and a person is told."""

from __future__ import annotations

from msgspec.structs import replace

from tests.process.flows import credited, do, exceptions, paid_over, posted, refused, simulated, sql
from tieout.canonical.write import DocumentWrite
from tieout.engine import invariants
from tieout.engine.invariants import CATALOGUE, examine, exceeded, unbalanced
from tieout.engine.keys import content_hash
from tieout.store.statements import Statement
from tieout_lab.simulation import judge
from tieout_lab.simulation.history import History


async def _alter(world, text, **given):
    await world.app.hub.store.commit([(Statement("test", text), given)])


async def _states(world):
    return {one.id: one.state for one in await examine(world.app.hub)}


@simulated()
async def test_every_invariant_has_a_state_and_none_is_passed_that_is_not_checked(world, people):
    await credited(world, people)
    await world.app.housekeeping.seal()
    states = await _states(world)
    assert list(states) == [f"I{number:02}" for number in range(1, 27)] == [one.id for one in CATALOGUE]
    assert {id_ for id_, state in states.items() if state == "not built"} == {"I13"}
    # One person does everything here: there is no segregation that could hold.
    assert {id_ for id_, state in states.items() if state == "not here"} == {
        "I06",
        "I07",
        "I10",
        "I18",
        "I19",
        "I26",
    }
    assert "broken" not in states.values()


@simulated()
async def test_a_broken_invariant_opens_an_exception_that_only_a_mended_cause_closes(world, people):
    await posted(world, people)
    await _alter(world, "UPDATE inbox SET state = 'lost' WHERE seq = 1")
    await world.app.housekeeping.examine()
    await world.app.housekeeping.examine()
    (found,) = await exceptions(world)
    assert (found["code"], found["document"]) == ("invariant_broken", "I05")
    assert world.app.hub.metrics.registry.get_sample_value("o2c_invariant_violations", {"id": "I05"}) == 1
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    await _alter(world, "UPDATE inbox SET state = 'ignored', detail = 'by hand' WHERE seq = 1")
    assert (await do(world, "exceptions.resolve", exception_id=found["exception_id"]))["state"] == "resolved"
    assert await exceptions(world) == []


@simulated()
async def test_a_posting_that_does_not_balance_and_a_refund_that_is_too_large_are_heard(world, people):
    await credited(world, people)
    writes = await invariants._writes(world.app.hub)
    assert unbalanced(writes) == []
    assert exceeded(writes) == []
    crooked = [
        (*made, replace(write, journal=write.journal[:-1]) if isinstance(write, DocumentWrite) else write)
        for *made, write in writes
    ]
    assert len(unbalanced(crooked)) == 2
    twice = [(*made, replace(w, total_minor=1) if isinstance(w, DocumentWrite) else w) for *made, w in writes]
    assert exceeded(twice)


@simulated()
async def test_the_audit_chain_and_the_approvals_are_checked(world, people):
    await paid_over(world, people)
    await world.app.housekeeping.seal()
    await _alter(world, "UPDATE audit SET detail = 'nothing' WHERE seq = 1")
    given = "'a', 'repost', '{}', 'another hash', 's', 'm', 'waiting', 1"
    columns = "approval_id, action, payload, payload_hash, summary, maker, state, asked_at"
    await _alter(world, f"INSERT INTO approvals ({columns}) VALUES ({given})")
    states = await _states(world)
    assert (states["I17"], states["I18"]) == ("broken", "broken")


@simulated()
async def test_an_approval_by_its_maker_is_heard_unless_one_person_does_everything(world, people):
    await posted(world, people)
    columns = "approval_id, action, payload, payload_hash, summary, maker, checker, state, asked_at"
    for name, checker in (("own", "maker"), ("another's", "checker")):
        await _alter(
            world,
            f"INSERT INTO approvals ({columns}) "
            "VALUES (:name, 'repost', '{}', :hash, 's', 'maker', :checker, 'approved', 1)",
            name=name,
            checker=checker,
            hash=content_hash(b"{}"),
        )
    assert (await _states(world))["I18"] == "not here"
    world.app.hub.single_operator = False
    (found,) = [one for one in await examine(world.app.hub) if one.id == "I18"]
    assert (found.state, found.rows) == ("broken", ("own: approved by its maker, maker",))


@simulated()
async def test_what_was_promised_and_not_kept_and_what_leaked_is_heard(world, people):
    await posted(world, people)
    assert await judge.along_the_way(world) == []
    world.history.acknowledged.add(("stripe-us", "evt_never_seen"))
    secret = world.billing.accounts["acct_us"].api_key
    await _alter(world, "UPDATE runs SET detail = :secret", secret=secret)
    found = await judge.along_the_way(world)
    assert [one.split()[0] for one in found] == ["I06", "I19"]


@simulated()
async def test_a_commit_under_a_dead_fence_and_a_stale_revision_are_seen_by_the_history(world, people):
    await posted(world, people)
    ((key, revision),) = await sql(
        world, "SELECT assign_key, revision FROM assigns ORDER BY revision DESC LIMIT 1"
    )
    guard = {"lane_id": "lane", "worker": "w", "fence": 1, "real_now": 0}
    stale = {"assign_key": key, "revision": revision - 1}
    unit = [(Statement("lanes.guard", "SELECT 1"), guard), (Statement("assigns.plan", "SELECT 1"), stale)]
    found = History().before(world.app.hub.store._inner._reader, unit)
    assert [one.split()[0] for one in found] == ["I22", "I07"]
