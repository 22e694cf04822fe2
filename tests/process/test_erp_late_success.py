"""Every write of the ERP connection succeeds long after its caller gave up, while queries do not show it for a while
yet: one document of each all the same. And the account never sees more calls at once than the budget allows."""

from __future__ import annotations

import asyncio

import pytest

from tests.process.flows import FEBRUARY, clean, erp, name_accounts, simulated
from tieout_lab.twins.kit import Scripted

IN_FLIGHT = 10  # of the demo company's connection
# What the twin calls the first call of each kind of write.
WRITES = (
    "customer.upsert",
    "invoice.create",
    "invoice.update",  # the approval
    "customerPayment.create",
    "customerPayment.update",  # its applications
    "creditMemo.create",
    "customerRefund.create",
    "journalEntry.create",
    "journalEntry.update",  # its approval
)


def _hub_approves(app):
    """Both entities' documents may be posted by the hub; the demo company has a person for one of them."""
    app.hub.connection("netsuite-main").api.config.approval["2"] = "hub"


async def _with_journals(world):
    """Disputes are booked here, and the hub may post the account's journals, too."""
    await name_accounts(world, settings='journal_approval = "hub"')
    tenant = world.erp.tenant
    tenant.preferences = tenant.preferences.change({"approve_journals": True})


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("seconds", [5.0, 300.0, 895.0])
def test_every_write_that_succeeds_late_makes_one_document(seconds, enforced):
    @simulated(enforce_keys=enforced, seed=int(seconds))
    async def test(world, people):
        await _with_journals(world)
        _hub_approves(world.app)
        await world.act("netsuite", "routing", subsidiary="2", mode="api")
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        world.erp.faults.script = [Scripted(operation, 1, "late", seconds) for operation in WRITES]
        await people.sell(await people.customer("Acme"))
        await people.sell(await people.customer("Kaisha", "jp"), "jp")
        await world.rest()
        invoice = people.invoices()[0]["id"]
        await people.pay(invoice)
        await world.rest()
        await people.credit(invoice, 10_000, refund=True)
        await world.rest()
        (charge,) = world.billing.accounts["acct_us"].all("charges")
        await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], amount=5_000)
        await world.rest()
        assert [one.seen for one in world.erp.faults.script if one.seen == 0] == []
        assert world.erp.faults.counts["late"] == len(WRITES)
        kinds = ("invoice", "customerPayment", "creditMemo", "customerRefund", "journalEntry")
        assert [len(await erp(world, kind)) for kind in kinds] == [2, 1, 1, 1, 1]
        assert len(world.erp.tenant.state.of_type("customer")) == 2
        assert all(one["posted"] for one in await erp(world))
        assert world.erp.most_active <= IN_FLIGHT
        await clean(world)

    test()


def _takes(world, seconds):
    """Every call takes the account so long."""
    admit = world.erp.admit

    async def slowly(request, operation):
        refused = await admit(request, operation)
        await world.clock.sleep(seconds)
        return refused

    world.erp.admit = slowly


@simulated()
async def test_the_account_never_sees_more_calls_at_once_than_the_budget(world, people):
    """A rush of deals, each call taking 1.5 s, and not one place to spare: the budget is used up and never passed."""
    await world.act("netsuite", "limits", concurrency=IN_FLIGHT)
    _takes(world, 1.5)
    for number in range(3 * IN_FLIGHT):
        await people.sell(await people.customer(f"Customer {number}"))
    await world.rest()
    assert len(await erp(world, "invoice")) == 3 * IN_FLIGHT
    assert world.erp.most_active == IN_FLIGHT
    assert world.app.hub.budgets["netsuite-main"].most_out == IN_FLIGHT
    assert not any(entry["status"] == 429 for entry in world.erp.log)
    await clean(world)


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("both", [False, True], ids=["the older one late", "both late"])
def test_what_is_set_late_does_not_undo_what_was_set_since(both, enforced):
    """An application, its taking back, the settling of an invoice by credit, a customer's new name: the first request
    of each takes effect long after it was given up, the application's after it was taken back."""

    @simulated(enforce_keys=enforced)
    async def test(world, people):
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        account = await people.customer("Acme")
        await people.sell(account)
        await world.rest()
        (first,) = people.invoices()
        await people.pay(first["id"])
        await world.rest()
        await people.credit(first["id"], 10_000, refund="balance")
        await world.rest()
        sets = ("customer.update", "creditMemo.update", "customerPayment.update")
        world.erp.faults.script = [Scripted(operation, 1, "late", 895.0) for operation in sets]
        # The first is the application of the second payment, the second the same once more, the third takes it back.
        if both:
            world.erp.faults.script.append(Scripted("customerPayment.update", 3, "late", 895.0))
        await people.rename(account, "Acme Ltd")
        await people.move_to(FEBRUARY)
        while len(await erp(world, "invoice")) < 2:
            await asyncio.sleep(1.0)
        second = people.invoices()[-1]
        paid = await people.pay(second["id"])
        while len(await _applied(world, second["id"])) < 2:
            await asyncio.sleep(1.0)
        await people.detach(second["id"], paid["payment"]["payment_intent"])
        await world.rest()
        # Longer than anything is under way, and until everything in doubt was read back.
        await asyncio.sleep(3 * 900.0)
        await world.rest()
        assert world.erp.faults.counts["late"] == 3 + both
        assert await _applied(world, second["id"]) == {"creditMemo": 10_725}
        (customer,) = (await world.act("netsuite", "snapshot"))["customers"]
        assert customer["company_name"] == "Acme Ltd"
        assert [len(await erp(world, kind)) for kind in ("invoice", "customerPayment", "creditMemo")] == [
            2,
            2,
            1,
        ]
        await clean(world)

    test()


async def _applied(world, invoice):
    """What settles an invoice at the ERP, by the type of document."""
    (there,) = [one for one in await erp(world, "invoice") if one["source"] == invoice]
    return {
        one["type"]: part["amount_minor"]
        for one in await erp(world)
        for part in one["applies"]
        if part["document"] == there["id"]
    }


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
def test_a_memo_made_out_of_its_invoice_late_is_made_once(enforced):
    @simulated(enforce_keys=enforced)
    async def test(world, people):
        await _configured(world, "in_flight = 10\ntransform_credits = true")
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        world.erp.faults.script = [Scripted("invoice.transform", 1, "late", 895.0)]
        await people.sell(await people.customer("Acme"))
        await world.rest()
        await people.credit(people.invoices()[0]["id"], 10_000)
        await world.rest()
        assert world.erp.faults.counts["late"] == 1
        (memo,) = await erp(world, "creditMemo")
        assert [part["amount_minor"] for part in memo["applies"]] == [10_725]
        await clean(world)

    test()


async def _configured(world, becomes):
    """Start the hub anew with something else about its ERP connection."""
    await world.bury()
    text = world.file.read_text()
    assert "in_flight = 10" in text
    world.file.write_text(text.replace("in_flight = 10", becomes))
    await world.live()


@simulated()
async def test_batches_that_are_worked_on_late_make_each_document_once(world, people):
    """Places are short, so documents leave in batches; the account takes the first ones long after the hub gave up, and
    works on them for minutes."""
    await _configured(world, "in_flight = 2")
    tenant = world.erp.tenant
    tenant.preferences = tenant.preferences.change({"batch_seconds": 200.0, "shuffle_tasks": True})
    world.erp.faults.visibility_delay_seconds = 60.0
    kinds = ("customer.upsert", "invoice.create", "customerPayment.create")
    world.erp.faults.script = [Scripted(kind, nth, "late", 600.0) for kind in kinds for nth in (2, 3)]
    _takes(world, 1.5)
    for number in range(12):
        await people.sell(await people.customer(f"Customer {number}"))
    await world.rest()
    for one in people.invoices():
        await people.pay(one["id"])
    await world.rest()
    assert world.erp.faults.counts["late"] >= 4
    assert len(world.erp.jobs.jobs) >= 2
    assert [len(await erp(world, kind)) for kind in ("invoice", "customerPayment")] == [12, 12]
    assert len(world.erp.tenant.state.of_type("customer")) == 12
    assert world.erp.most_active <= 2
    await clean(world)
