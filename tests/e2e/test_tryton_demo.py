"""The demo with one legal entity in a real ERP: its books tie, its own ledger shows the posting table's lines, and what
is altered in it is found and named."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from tests.e2e.demo_run import run_demo
from tests.e2e.test_demo import explained, planned
from tests.e2e.tryton_ledger import check_books
from tieout_lab.demo import Outcome, Stage, Wish, play
from tieout_lab.scenario.plan import CUT_OFF
from tieout_lab.tryton.rpc import Rpc
from tieout_lab.tryton.sabotage import KINDS
from tieout_lab.tryton.server import NotThere, environment

SMALL = 3
# Where each kind of damage shows, and a word of its cause.
SHOWN = {
    "drop": "unexplained",
    "double": "duplicates",
    "cent": "unexplained",
    "period": "unexplained",
    "account": "unexplained",
}


@pytest.fixture
def postgres(postgres_server: str) -> str:
    try:
        environment()
    except NotThere as missing:
        pytest.skip(f"Tryton: {missing}")
    return postgres_server


def own_books(described: Mapping[str, Any]) -> Counter[str]:
    """Read Tryton, and Tryton alone: its documents, their ledger lines, its trial balance."""
    told = described["tryton"]
    shown = check_books(Rpc(told["url"], told["database"], told["username"], told["password"]))
    assert shown["invoice finalised"] > 3
    return shown


def victims(snapshot: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """One untouched invoice for each kind of damage."""
    whole = [
        one
        for one in snapshot["documents"]
        if one["type"] == "invoice" and one["open_minor"] == one["total_minor"]
    ]
    assert len(whole) >= len(KINDS)
    return dict(zip(KINDS, whole, strict=False))


async def test_books_in_a_real_erp_and_damage_done_there(postgres: str) -> None:
    seen: dict[str, Any] = {}

    async def look(stage: Stage, outcome: Outcome) -> None:
        snapshot = await stage.steering.act("tryton", "snapshot")
        seen["rows"] = await asyncio.to_thread(own_books, stage.steering.described)
        seen["posters"] = await stage.steering.act("tryton", "posters")
        seen["victims"] = victims(snapshot)
        for kind, victim in seen["victims"].items():
            await stage.steering.act("tryton", "sabotage", kind=kind, id=victim["id"])
        # What its own books show is no more what the posting table says.
        with pytest.raises(AssertionError):
            await asyncio.to_thread(own_books, stage.steering.described)
        seen["altered"] = msgspec.to_builtins(await stage.app.books(CUT_OFF))

    outcome = await play(Wish(customers=SMALL, seed=7, tryton=postgres), after=look)
    assert outcome.violations == []
    assert outcome.tied
    assert seen["rows"].keys() >= {"invoice finalised", "credit memo issued", "application, unapplication"}
    document = msgspec.json.decode(msgspec.json.encode(outcome.document()))
    planned(document)
    explained(document)
    assert set(seen["posters"].values()) == {1}
    # Every kind of damage is named by the billing document that it was done to, and nothing else is.
    named: dict[str, set[str]] = defaultdict(set)
    for where in ("unexplained", "duplicates"):
        for one in seen["altered"][where]:
            named[where].add(one["document"])
    wanted: dict[str, set[str]] = defaultdict(set)
    for kind, victim in seen["victims"].items():
        wanted[SHOWN[kind]].add(victim["source"])
    assert {
        where: {one for one in found if one.startswith("in_")} for where, found in named.items()
    } == wanted


@pytest.mark.soak
def test_faults_change_nothing_in_a_real_erp(postgres: str) -> None:
    options = ("--erp", "tryton", "--postgres", postgres, "--customers", "20", "--seed", "7")
    clean, faulty = (run_demo(*options, *more, patience_seconds=3000) for more in ((), ("--faults",)))
    for run in (clean, faulty):
        assert run.code == 0, run.errors
        planned(run.document)
    assert faulty.document["faults"]
    assert clean.hash == faulty.hash


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_sabotage_of_a_real_erp_is_found_and_named(postgres: str, kind: str) -> None:
    options = ("--erp", "tryton", "--postgres", postgres, "--customers", str(SMALL), "--seed", "7")
    run = run_demo(*options, "--sabotage", kind, patience_seconds=600)
    assert run.code == 1
    other = {"unexplained": "duplicates", "duplicates": "unexplained"}[SHOWN[kind]]
    (found,) = run.document[SHOWN[kind]]
    assert run.document[other] == []
    assert found["document"].startswith("in_")
