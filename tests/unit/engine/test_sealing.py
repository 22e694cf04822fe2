"""The audit chain: whoever flips, deletes, reorders or cuts off entries is found, at the first one."""

from __future__ import annotations

import pytest

from tests.process.flows import posted, simulated
from tieout.engine import sealing
from tieout.store.statements import Statement


async def _run(world, *statements):
    for text in statements:
        await world.app.hub.store.commit([(Statement("tamper", text), {})])


async def _sealed(world, people):
    await posted(world, people)
    await sealing.seal(world.app.hub)
    verdict = await sealing.verify(world.app.hub)
    assert (verdict.first_bad, verdict.unsealed) == (0, 0)
    assert verdict.rows > 6
    return verdict.rows


@pytest.mark.parametrize(
    ("tampering", "word"),
    [
        (
            ["UPDATE audit SET detail = 'x' WHERE seq = (SELECT seq FROM audit_chain WHERE number = 4)"],
            "altered",
        ),
        (
            ["UPDATE audit SET actor = 'x' WHERE seq = (SELECT seq FROM audit_chain WHERE number = 4)"],
            "altered",
        ),
        (["DELETE FROM audit WHERE seq = (SELECT seq FROM audit_chain WHERE number = 4)"], "deleted"),
        (["DELETE FROM audit_chain WHERE number = 4"], "missing"),
        (
            [
                "UPDATE audit_chain SET seq = -seq WHERE number IN (4, 5)",
                """UPDATE audit_chain SET seq = (SELECT MAX(-other.seq) FROM audit_chain other WHERE other.seq < 0
                   AND other.number <> audit_chain.number) WHERE number = 4""",
                """UPDATE audit_chain SET seq = (SELECT MIN(seq) FROM audit WHERE seq NOT IN
                   (SELECT seq FROM audit_chain WHERE seq > 0)) WHERE number = 5""",
            ],
            "altered",
        ),
    ],
    ids=["flip", "actor", "delete", "delete from the chain", "reorder"],
)
def test_tampering_is_found_at_the_first_entry(tampering, word):
    @simulated()
    async def test(world, people):
        await _sealed(world, people)
        await _run(world, *tampering)
        verdict = await sealing.verify(world.app.hub)
        assert verdict.first_bad == 4, verdict
        assert word in verdict.message

    test()


@simulated()
async def test_a_chain_that_was_cut_short_is_found_by_its_signed_head(world, people):
    rows = await _sealed(world, people)
    await _run(world, f"DELETE FROM audit_chain WHERE number = {rows}")
    verdict = await sealing.verify(world.app.hub)
    assert verdict.first_bad == rows
    assert "cut short" in verdict.message


@simulated()
async def test_a_head_that_somebody_else_signed_does_not_hold(world, people):
    await _sealed(world, people)
    await _run(world, "UPDATE audit_heads SET signature = REPLACE(signature, 'a', 'b')")
    verdict = await sealing.verify(world.app.hub)
    assert verdict.first_bad > 0
    assert "signature" in verdict.message


@simulated()
async def test_what_was_done_by_whom_is_in_the_audit(world, people):
    await posted(world, people)
    rows = await world.app.hub.store.fetch(
        Statement("t", "SELECT actor, action, COUNT(*) FROM audit GROUP BY actor, action", returns=True), {}
    )
    assert {(actor, action) for actor, action, _ in rows} >= {
        ("hub", "effect.sent"),
        ("hub", "effect.confirmed"),
    }
