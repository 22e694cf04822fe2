"""Worker groups as they are configured: whose lanes are whose, and what is refused."""

from __future__ import annotations

import pytest

from tieout.canonical.ids import Ref
from tieout.engine.groups import Group, Groups, WrongGroup, open_groups, runs
from tieout.engine.permits import _fair
from tieout.store import lanes
from tieout.store.statements import Step

BILLING = {"de": "stripe-de", "fr": "stripe-fr", "us": "stripe-us"}
CONNECTIONS = {*BILLING.values(), "crm", "crm-emea", "erp"}
EMEA = {"emea": Group(entities=["de", "fr"], connections=["crm-emea"])}


def pinned(groups: Groups, connection: str, entity: str = "") -> str | None:
    """The group that a lane is put into; None: it is left as it is."""
    steps = groups.pin("lane", connection, entity)
    assert all(statement is lanes.PIN and given["lane_id"] == "lane" for statement, given in steps)
    return steps[0][1]["group"] if steps else None


def test_an_entitys_documents_at_billing_and_its_orders_are_its_groups() -> None:
    groups = open_groups(EMEA, BILLING, CONNECTIONS)
    assert pinned(groups, "stripe-fr") == "emea"
    assert pinned(groups, "crm-emea") == "emea"
    assert pinned(groups, "crm", "de") == "emea"
    assert [pinned(groups, "crm"), pinned(groups, "crm", "us"), pinned(groups, "stripe-us")] == ["", "", ""]


def test_without_groups_nothing_is_written_for_them() -> None:
    groups = open_groups({}, BILLING, CONNECTIONS)
    assert pinned(groups, "stripe-de", "de") is None
    assert groups.serve("worker") == []


def test_a_worker_says_whose_lanes_it_runs() -> None:
    ((statement, row),) = open_groups(EMEA, BILLING, CONNECTIONS, ("emea",)).serve("worker")
    assert statement is lanes.SERVE
    assert (runs(row["serves"], "emea"), runs(row["serves"], "")) == (True, False)
    # One of an earlier release never said: it claims whatever is due.
    assert runs("*", "emea")
    assert runs("*", "")


@pytest.mark.parametrize(
    ("given", "serves", "where", "why"),
    [
        ({"emea": Group(entities=["it"])}, "", "emea.entities", "no legal entity 'it'"),
        ({"emea": Group(connections=["x"])}, "", "emea.connections", "no connection 'x'"),
        ({"EMEA": Group()}, "", "EMEA", "small letters"),
        ({**EMEA, "dach": Group(entities=["de"])}, "", "dach.entities", "'de' is of group emea already"),
        (
            {**EMEA, "dach": Group(connections=["stripe-de"])},
            "",
            "dach.connections",
            "is of group emea already",
        ),
        (EMEA, "apac", "apac", "no group 'apac'; there are: emea"),
    ],
)
def test_wrong_groups_are_refused_by_the_key_that_is_wrong(
    given: dict[str, Group], serves: str, where: str, why: str
) -> None:
    with pytest.raises(WrongGroup, match=why) as refused:
        open_groups(given, BILLING, CONNECTIONS, (serves,))
    assert refused.value.where == where


@pytest.mark.parametrize("allowed", [1, 3, 4, 5, 15])
def test_a_regions_connection_is_shared_by_its_own_workers(allowed: int) -> None:
    """Else the workers of all other regions would sit on permits that they never use."""
    workers, near = ["a", "b", "c", "d"], ["b", "d"]
    fair = {one: _fair(allowed, workers, one, 0, near) for one in workers}
    assert sum(fair.values()) == allowed
    if allowed >= len(workers):
        assert fair["a"] == fair["c"] == 1
        assert abs(fair["b"] - fair["d"]) <= 1


def test_whoever_starts_a_lane_puts_it_into_its_group() -> None:
    """Usage that was taken by file was started beside the group of its connection, where only workers of no group ran
    it."""
    groups = Groups(connections={"billing-us": "amer"}, entities={"de": "emea"})
    usage, order = (Ref(connection=name, kind="any", id="1") for name in ("billing-us", "crm"))
    assert _groups_of(groups.start(usage, 7)) == ["amer"]
    assert _groups_of(groups.start(order, 7, entity="de")) == ["emea"]
    assert _groups_of(Groups().start(usage, 7)) == []


def _groups_of(steps: list[Step]) -> list[str]:
    assert steps[0][0] is lanes.START
    return [given["group"] for statement, given in steps[1:] if statement is lanes.PIN]
