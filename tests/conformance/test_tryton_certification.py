"""`tieout certify` of the real ERP: what we rely on holds there, and an answer that says otherwise is found out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.support import Served, open_world, serve
from tests.conformance.test_connectors import CASES
from tieout.connectors.tryton.certification import UNTESTABLE
from tieout.engine.certifying import Certificate, certify
from tieout_lab.tryton.proxy import TrytonProxy

CASE = CASES["tryton"]


@pytest.fixture
def served(tryton_proxy: TrytonProxy) -> Iterator[Served]:
    with serve(tryton_proxy) as running:
        yield running


async def certified(served: Served) -> Certificate:
    connector = CASE.connector()
    assert connector.certification is not None
    async with open_world() as world:
        config = connector.config(**CASE.settings(served.describe()) | {"timeout_seconds": 20})
        identity = await connector.open(CASE.name, config, world).identity()
        probes = connector.certification(CASE.name, config, world)
        return await certify(
            connector, probes, connection=CASE.name, identity=identity, at=world.clock.now(), twin=True
        )


async def test_certify_passes_on_the_real_server(served: Served) -> None:
    certificate = await certified(served)
    answers = {line.behaviour: line for line in certificate.lines}
    assert answers.keys() == {one.id for one in CASE.connector().behaviours}
    assert {id for id, line in answers.items() if line.answer != "true"} == UNTESTABLE.keys(), answers
    # What is posted stays, with its party; every draft is gone again.
    assert sorted(one.split()[0] for one in certificate.left) == ["account.invoice", "party.party"]
    (document,) = served.act("snapshot")["documents"]
    assert document["posted"]


def taken(operation: str) -> dict[str, Any]:
    """An answer that says that something was made."""
    return {"operation": operation, "fields": {"error": None, "result": [999_999]}}


async def test_server_that_does_otherwise_is_found_out(served: Served) -> None:
    served.deviate(
        {"operation": "res.user.get_preferences", "was": 401, "status": 200}, taken("party.party.create")
    )
    first = {line.behaviour for line in (await certified(served)).contradicted}
    served.deviate(taken("account.invoice.post"), {"operation": "account.invoice.search_read", "fields": {
        "result.0.total_amount": 1}})  # fmt: skip
    second = {line.behaviour for line in (await certified(served)).contradicted}
    assert first >= {"tryton.session-401", "tryton.party-code-unique"}
    assert second >= {"tryton.manual-tax", "tryton.warning-by-name"}
