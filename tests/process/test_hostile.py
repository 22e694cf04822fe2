"""The engine against an ERP with every bad habit: no key, late work, hidden documents, created is not posted."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import date

import msgspec
import pytest

from tests.process.flows import exceptions, simulated, sql
from tests.process.hostile_connector import BulkHostileConnection, HostileConnection
from tieout.canonical.ids import Ref
from tieout.canonical.write import DocumentWrite
from tieout.connectors.contract import Limits
from tieout.engine.budget import Budget
from tieout.engine.hub import Connection
from tieout.engine.process import Process
from tieout.store import lanes
from tieout_lab.simulation import judge
from tieout_lab.twins.hostile import HostileTwin

PORT = 9009
NAME = "hostile-main"


def _write(ref):
    return DocumentWrite(
        kind="invoice", reason="finalised", source=ref, number=ref.id, entity="us", subsidiary="1", customer="1",
        currency="USD", day=date(2026, 1, 10), due=None, lines=(), net_minor=100, tax_minor=0, total_minor=100,
        journal=(),
    )  # fmt: skip


async def bill_paper(run, ref):
    """One paper a number, posted."""
    receipt = await run.create(NAME, "invoice.create", _write(ref), source=ref)
    await run.posted(NAME, "invoice.create", receipt, source=ref)


async def bill_own_and_first(run, ref):
    """One's own paper, and the one that the lane of `p0` makes, too."""
    for source in (ref, msgspec.structs.replace(ref, id="p0", kind="paper")):
        await run.create(NAME, "invoice.create", _write(source), source=source)


def _plant(world, twin, *, approves, kind=HostileConnection, in_flight=4):
    def change(app):
        hub = app.hub
        api = kind(NAME, f"http://127.0.0.1:{PORT}", hub.world, approves=approves)
        limits = Limits(in_flight=in_flight)
        hub.connections[NAME] = Connection(
            name=NAME, vendor="hostile", roles=("erp",), api=api, limits=limits
        )
        hub.budgets[NAME] = Budget(limits, hub.clock)
        hub.processes = dict(hub.processes) | {
            "paper": Process(name="bill_paper", kind="paper", function=bill_paper),
            "both": Process(name="bill_own_and_first", kind="both", function=bill_own_and_first),
        }

    world.by_port[PORT] = twin
    world.twins["hostile"] = twin
    world.change = change


async def _start(world, kind, id):
    lane = Ref(connection=NAME, kind=kind, id=id)
    start = {"lane_id": str(lane), "connection": NAME, "kind": kind, "subject_id": id}
    await world.app.hub.store.commit([(lanes.START, {**start, "now": world.app.hub.now()})])


async def _bill(world, count):
    for number in range(count):
        await _start(world, "paper", f"p{number}")


@simulated(seed=3)
async def test_a_key_of_another_lane_is_taken_as_it_stands_and_what_was_noted_before_is_kept(world, people):
    """Regression: a refused step took along what the run had noted for its next commit."""
    await world.bury()
    twin = HostileTwin(world.clock)
    _plant(world, twin, approves=True)
    await world.live()
    await _start(world, "paper", "p0")
    await world.rest(within_seconds=50_000)
    await _start(world, "both", "b0")
    await world.rest(within_seconds=50_000)
    assert len(twin.papers) == 2
    assert await exceptions(world) == []
    assert await sql(world, "SELECT source, verified_at IS NULL FROM documents ORDER BY source") == [
        (f"{NAME}|both|b0", 0),
        (f"{NAME}|paper|p0", 0),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_one_paper_each_and_all_of_them_posted(seed):
    @simulated(seed=seed)
    async def test(world, people):
        await world.bury()
        twin = HostileTwin(world.clock)
        twin.faults.seed = seed
        _plant(world, twin, approves=True)
        world.deaths = [(120 + 7 * seed, bool(seed % 2)), (90, False)]
        await world.live()
        await _bill(world, 8)
        await world.rest(within_seconds=50_000)
        papers = list(twin.papers.values())
        assert Counter(paper.key for paper in papers).most_common(1)[0][1] == 1
        assert {paper.status for paper in papers} == {"posted"}
        assert len(papers) == 8
        assert await exceptions(world) == []
        assert await judge.inside(world) == []
        assert world.lives >= 2

    test()


@pytest.mark.parametrize("seed", range(4))
def test_papers_leave_together_when_the_budget_is_short_and_each_is_made_once(seed):
    """Batches answered in disorder, members left out (done or not) or refused, and two deaths on the way."""

    @simulated(seed=seed)
    async def test(world, people):
        await world.bury()
        twin = HostileTwin(world.clock)
        twin.faults.seed = seed
        twin.faults.partial_batch = 0.3
        _plant(world, twin, approves=True, kind=BulkHostileConnection, in_flight=1)
        world.deaths = [(150 + 30 * seed, bool(seed % 2)), (120, False)]
        await world.live()
        await _bill(world, 30)
        await world.rest(within_seconds=100_000)
        papers = list(twin.papers.values())
        assert Counter(paper.key for paper in papers).most_common(1)[0][1] == 1
        assert [paper.status for paper in papers] == ["posted"] * 30
        assert await exceptions(world) == []
        assert await judge.inside(world) == []
        batches = await sql(world, "SELECT batch_id, members FROM batches")
        assert batches
        assert twin.faults.counts["batch_item_unanswered"]
        members = sum(len(msgspec.json.decode(row[1])) for row in batches)
        ((batched,),) = await sql(world, "SELECT COUNT(*) FROM effects WHERE batch <> ''")
        assert members >= batched > 5

    test()


@simulated()
async def test_with_a_free_permit_each_paper_leaves_alone(world, people):
    await world.bury()
    twin = HostileTwin(world.clock, gentle=True)
    _plant(world, twin, approves=True, kind=BulkHostileConnection, in_flight=20)
    await world.live()
    await _bill(world, 8)
    await world.rest()
    assert len(twin.papers) == 8
    assert await sql(world, "SELECT * FROM batches") == []


@simulated()
async def test_created_is_not_posted(world, people):
    """Where a person posts: the run waits, and the batched status poll wakes it."""
    await world.bury()
    twin = HostileTwin(world.clock, gentle=True)
    _plant(world, twin, approves=False)
    await world.live()
    await _bill(world, 1)
    await world.rest()
    assert await sql(world, "SELECT status FROM documents") == [("CREATED",)]
    assert await sql(world, "SELECT state FROM lanes WHERE kind = 'paper'") == [("waiting",)]
    next(iter(twin.papers.values())).status = "posted"
    await asyncio.sleep(60)
    assert await sql(world, "SELECT status FROM documents") == [("POSTED",)]
    assert await sql(world, "SELECT state FROM lanes WHERE kind = 'paper'") == [("idle",)]


@simulated()
async def test_a_draft_that_somebody_withdrew_is_for_a_person(world, people):
    await world.bury()
    twin = HostileTwin(world.clock, gentle=True)
    _plant(world, twin, approves=False)
    await world.live()
    await _bill(world, 1)
    await world.rest()
    next(iter(twin.papers.values())).status = "withdrawn"
    await asyncio.sleep(60)
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "post_rejected"
    assert len(twin.papers) == 1


@simulated()
async def test_a_paper_that_somebody_doubled_is_found(world, people):
    await world.bury()
    twin = HostileTwin(world.clock, gentle=True)
    _plant(world, twin, approves=True)
    await world.live()
    from tieout_lab.twins.kit import Scripted

    twin.faults.script = [Scripted("document.create", 1, "timeout_after_work")]
    await _bill(world, 1)
    while not twin.papers:
        await asyncio.sleep(0.1)
    first = next(iter(twin.papers.values()))
    from tieout_lab.twins.hostile import Paper

    twin.papers["d2"] = Paper("d2", first.key, dict(first.body), first.created)
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "duplicate"
    assert "d1" in found["cause"]
    assert "d2" in found["cause"]
