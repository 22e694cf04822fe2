"""The demo with one legal entity in a real ERP: its books tie, its own ledger shows the posting table's lines, and what
is altered in it is found and named."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import msgspec
import pytest

from tests.e2e.test_demo import explained, planned
from tieout_lab.demo import Outcome, Stage, Wish, play
from tieout_lab.scenario.plan import CUT_OFF
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


def posting_table(snapshot: dict[str, Any]) -> None:
    """Each document's own ledger lines are those of the posting table, to the yen; and together they are the server's
    own trial balance. Reads nothing but Tryton."""
    table: Counter[tuple[str, str]] = Counter()
    kinds: Counter[str] = Counter()
    for document in snapshot["documents"]:
        assert document["posted"], document
        nets: Counter[str] = Counter()
        for line in document["gl"]:
            nets[line["account"]] += line["amount_minor"]
        total, tax = document["total_minor"], document["tax_minor"]
        sign = 1 if document["type"] in ("invoice", "customerRefund") else -1
        assert nets["1100"] == sign * total, document
        if document["type"] in ("invoice", "creditMemo"):
            assert nets["2200"] == -sign * tax, document
            net = total - tax
            assert nets["2400"] + nets["4000"] + nets["6500"] == -sign * net, document
            # A write-off's tax is no relief unless the entity declares it; everything else of it is bad debt.
            assert (nets["6500"] != 0) is (document["reason"] == "written_off"), document
        else:
            assert nets["1050"] + nets["1000"] == -sign * total, document
        assert sum(nets.values()) == 0
        assert set(nets) <= {"1000", "1050", "1100", "2200", "2400", "4000", "6500"}
        kinds[document["type"]] += 1
        for account, amount in nets.items():
            table[document["period"], account] += amount
    assert kinds["invoice"] > 3
    assert kinds["creditMemo"]
    assert kinds["customerPayment"]
    balance = {(row["period"], row["account"]): row["net_minor"] for row in snapshot["trial_balance"]}
    # Settlements move nothing: what is left are the documents.
    assert {place: amount for place, amount in table.items() if amount} == balance
    keys = [document["external_id"] for document in snapshot["documents"]]
    assert len(set(keys)) == len(keys)


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
        seen["snapshot"] = snapshot
        seen["posters"] = await stage.steering.act("tryton", "posters")
        seen["victims"] = victims(snapshot)
        for kind, victim in seen["victims"].items():
            await stage.steering.act("tryton", "sabotage", kind=kind, id=victim["id"])
        seen["altered"] = msgspec.to_builtins(await stage.app.books(CUT_OFF))

    outcome = await play(Wish(customers=SMALL, seed=7, tryton=postgres), after=look)
    assert outcome.violations == []
    assert outcome.tied
    document = msgspec.json.decode(msgspec.json.encode(outcome.document()))
    planned(document)
    explained(document)
    posting_table(seen["snapshot"])
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
async def test_faults_change_nothing_in_a_real_erp(postgres: str) -> None:
    clean = await play(Wish(customers=3, seed=7, tryton=postgres))
    faulty = await play(Wish(customers=3, seed=7, tryton=postgres, faults=True))
    for outcome in (clean, faulty):
        assert outcome.violations == []
        planned(msgspec.json.decode(msgspec.json.encode(outcome.document())))
    assert faulty.faults
    assert clean.document()["books_hash"] == faulty.document()["books_hash"]
