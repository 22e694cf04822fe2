"""Writes whose outcome is unknown: every way out of the doubt, and one document in each."""

from __future__ import annotations

import asyncio

import pytest

from tests.process.flows import (
    clean,
    do,
    erp,
    exceptions,
    operation_of,
    posted,
    refused,
    script,
    simulated,
    sql,
    subscriptions,
)


async def _swept(world, people):
    """Without webhooks: the list of events is read once a minute."""
    await posted(world, people)
    await asyncio.sleep(120)
    await world.rest()


INVOICE = "/services/rest/record/v1/invoice"
SUBSCRIPTION = "/v1/subscriptions"
LOST = ("timeout_after_work", "error_after", "reset", "malformed", "hang", "refuse", "error_before", "late")


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("kind", LOST)
def test_an_erp_that_loses_its_answer_makes_one_invoice(kind, enforced):
    @simulated(enforce_keys=enforced)
    async def test(world, people):
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        script(world.erp, operation_of(world.erp, INVOICE), kind, seconds=840.0)
        await posted(world, people)
        assert len(await erp(world, "invoice")) == 1
        assert world.erp.faults.counts[kind] == 1
        await clean(world)

    test()


@pytest.mark.parametrize("kind", LOST)
def test_a_billing_system_that_loses_its_answer_makes_one_subscription(kind):
    @simulated()
    async def test(world, people):
        world.billing.faults.visibility_delay_seconds = 60.0
        script(world.billing, operation_of(world.billing, SUBSCRIPTION), kind, seconds=100.0)
        await posted(world, people)
        assert len(subscriptions(world)) == 1
        await clean(world)

    test()


@simulated()
async def test_the_vendors_own_idempotency_settles_a_lost_answer(world, people):
    script(world.billing, operation_of(world.billing, SUBSCRIPTION), "timeout_after_work")
    world.billing.faults.webhooks = {"drop": 1.0}
    await _swept(world, people)
    ((way,),) = await sql(world, "SELECT resolved_by FROM effects WHERE operation = 'subscription.create'")
    assert way == "vendor idempotency"
    await clean(world)


@simulated()
async def test_a_stored_500_is_never_replayed_for_ever(world, people):
    """Stripe keeps a 500 under the idempotency key: only a look-up leads out."""
    script(world.billing, operation_of(world.billing, SUBSCRIPTION), "error_after")
    world.billing.faults.webhooks = {"drop": 1.0}
    await _swept(world, people)
    ((way,),) = await sql(world, "SELECT resolved_by FROM effects WHERE operation = 'subscription.create'")
    assert way == "look-up"
    assert len(subscriptions(world)) == 1
    await clean(world)


@simulated()
async def test_the_look_up_settles_a_lost_answer(world, people):
    script(world.erp, operation_of(world.erp, INVOICE), "timeout_after_work")
    await posted(world, people)
    ((way,),) = await sql(world, "SELECT resolved_by FROM effects WHERE operation = 'invoice.create'")
    assert way == "look-up"


@simulated()
async def test_evidence_settles_a_lost_answer(world, people):
    """A webhook that carries our key, while every second try is lost as well."""
    operation = operation_of(world.billing, SUBSCRIPTION)
    script(world.billing, operation, "timeout_after_work", "hang", "hang", "hang")
    await posted(world, people)
    ((way,),) = await sql(world, "SELECT resolved_by FROM effects WHERE operation = 'subscription.create'")
    assert way == "evidence"
    assert len(subscriptions(world)) == 1
    await clean(world)


@simulated()
async def test_a_second_try_that_is_stored_late_is_waited_for(world, people):
    """Nothing came of the first; the second is lost with the work done, and its 500 is kept under the key."""
    operation = operation_of(world.billing, SUBSCRIPTION)
    world.billing.faults.visibility_delay_seconds = 60.0
    world.billing.faults.webhooks = {"drop": 1.0}
    script(world.billing, operation, *["hang"] * 8, "error_after")
    await _swept(world, people)
    assert len(subscriptions(world)) == 1
    await clean(world)


@simulated(enforce_keys=False)
async def test_absence_counts_from_the_last_byte_and_not_from_the_commit(world, people):
    """All permits are taken for a while after SENT was committed; then the answer is lost and the work is late."""
    world.erp.faults.enforce_keys = False
    world.erp.faults.visibility_delay_seconds = 60.0
    script(world.erp, operation_of(world.erp, INVOICE), "late", seconds=895.0)
    budget = world.app.hub.budgets["netsuite-main"]
    account = await people.customer("Acme")
    await people.sell(account)
    while not people.invoices():
        await asyncio.sleep(0.05)
    while not await sql(
        world, "SELECT 1 FROM effects WHERE operation = 'customer.create' AND connection = 'netsuite-main'"
    ):
        await asyncio.sleep(0.01)
    # Sixty seconds between SENT and the first byte.
    exchange = world.app.hub.world.transport._inner.exchange

    async def slow(request):
        if request.operation == "invoice.create" and not slow.done:
            slow.done = True
            await asyncio.sleep(60)
        return await exchange(request)

    slow.done = False
    world.app.hub.world.transport._inner.exchange = slow
    await world.rest()
    assert budget.most_out >= 1
    assert len(await erp(world, "invoice")) == 1
    await clean(world)


@simulated(enforce_keys=False)
async def test_a_duplicate_that_somebody_planted_is_found_by_the_look_up(world, people):
    world.erp.faults.enforce_keys = False
    script(world.erp, operation_of(world.erp, INVOICE), "timeout_after_work")
    await people.sell(await people.customer("Acme"))
    while not await erp(world, "invoice"):
        await asyncio.sleep(0.01)
    (document,) = await erp(world, "invoice")
    struck = await world.act("netsuite", "sabotage", kind="double", id=document["id"])
    double = world.erp.tenant.state.document(struck["double"])
    double.external_id = document["external_id"]
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "duplicate"
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    world.erp.tenant.state.remove(double)
    await do(world, "exceptions.resolve", exception_id=found["exception_id"])
    await world.rest()
    assert await exceptions(world) == []
    await clean(world)


@simulated()
async def test_a_storm_of_429_halves_the_budget_and_loses_nothing(world, people):
    world.erp.faults.rates = {"rate_limited": 0.5}
    account = await people.customer("Acme")
    for _ in range(5):
        await people.sell(account)
    await asyncio.sleep(30)
    world.erp.faults.rates = {}
    await world.rest()
    assert len(await erp(world, "invoice")) == 5
    await clean(world)


@simulated()
async def test_a_document_made_otherwise_than_asked_is_parked_with_the_difference(world, people):
    """The ERP books a cent more than was asked: found by the read-back, and not by the month's end."""
    world.erp.faults.visibility_delay_seconds = 0.0
    script(world.erp, operation_of(world.erp, INVOICE), "timeout_after_work")
    await people.sell(await people.customer("Acme"))
    while not await erp(world, "invoice"):
        await asyncio.sleep(0.01)
    await world.act("netsuite", "sabotage", kind="cent")
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "posted_with_difference"
    assert "not mended" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    asked = await do(
        world, "exceptions.resolve", exception_id=found["exception_id"], accept=True, reason="a cent"
    )
    await do(world, "approvals.decide", actor="olga", approval_id=asked["approval_id"], approve=True)
    await world.rest()
    assert await exceptions(world) == []


@simulated()
async def test_a_document_that_is_gone_before_it_was_read_back_is_for_a_person(world, people):
    """Made, confirmed, and deleted by somebody at once: it must not be made a second time without being asked."""
    await people.sell(await people.customer("Acme"))
    made = "SELECT 1 FROM effects WHERE operation = 'invoice.create' AND state = 'CONFIRMED'"
    while not await sql(world, made):
        await asyncio.sleep(0.001)
    await world.act("netsuite", "sabotage", kind="drop")
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "vanished"
    assert "is not there any more" in found["cause"]
    assert "--repost" in found["remedy"]
    assert await erp(world, "invoice") == []
