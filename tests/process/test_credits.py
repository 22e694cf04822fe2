"""Credits beside voids and write-offs: nothing is taken back twice."""

from __future__ import annotations

from datetime import timedelta

from tests.process.flows import JANUARY, clean, erp, posted, simulated


@simulated()
async def test_a_void_takes_back_only_what_a_credit_memo_left(world, people):
    """Found by seed 47: the void reversed the whole invoice, although a credit memo had taken a part of it back."""
    await posted(world, people)
    (invoice,) = people.invoices()
    await people.credit(invoice["id"], 1_000)
    await people.void(invoice["id"])
    await world.rest()
    memos = {one["reason"]: one["total_minor"] for one in await erp(world, "creditMemo")}
    assert memos == {"credited": 1_073, "voided": invoice["total"] - 1_073}
    assert all(one["open_minor"] == 0 for one in await erp(world))
    await clean(world)


@simulated()
async def test_a_write_off_takes_what_payment_and_credit_memo_left(world, people):
    await posted(world, people)
    (invoice,) = people.invoices()
    await people.wire(invoice["customer"], 50_000, [(invoice["id"], 50_000)])
    await people.credit(invoice["id"], 1_000)
    # Billing dates by the second: what was paid in the very second of the write-off counts as paid after it.
    await people.move_to(JANUARY + timedelta(seconds=1))
    await people.write_off(invoice["id"])
    await world.rest()
    memos = {one["reason"]: one["total_minor"] for one in await erp(world, "creditMemo")}
    assert memos == {"credited": 1_073, "written_off": invoice["total"] - 1_073 - 50_000}
    await clean(world)


@simulated()
async def test_the_number_that_people_know_a_document_by_is_shown(world, people):
    """The create answers with an id alone; the number comes with the read-back."""
    await posted(world, people)
    (document,) = await erp(world)
    assert people.invoices()[0]["metadata"]["erp_number"] == document["number"]
