"""The customer's credit balance, recoveries of what was written off, and credits that name no line: the ledger follows
billing, and what is open is the same on both sides after every step."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.process.flows import FEBRUARY, clean, do, erp, exceptions, posted, simulated, subscriptions
from tieout.processes.books import read_books

MARCH = datetime(2026, 3, 11, 20, tzinfo=UTC)
APRIL = datetime(2026, 4, 11, 20, tzinfo=UTC)


async def agree(world, people, entity="us"):
    """Every book ties, and open receivables are equal on both sides, invoice by invoice."""
    await world.rest()
    await clean(world)
    assert [one["cause"] for one in await exceptions(world)] == []
    books = await read_books(world.app.hub)
    # What people change at billing alone differs from what was sold.
    assert [one.cause for one in books.unexplained if one.pair != "crm_billing"] == []
    rows = [row for row in books.books.billing_erp if row.measure == "open receivables"]
    assert all(row.delta_minor == 0 for row in rows), rows
    there = {}
    for one in await erp(world, "invoice"):
        there[one["source"]] = there.get(one["source"], 0) + one["open_minor"]
    for one in people.invoices(entity):
        left = one["amount_remaining"] if one["status"] == "open" else 0
        assert there.get(one["id"], 0) == left, one["id"]


async def written_off(world, people):
    """The first invoice, given up the month after; the books agree."""
    await posted(world, people)
    (first,) = people.invoices()
    await people.move_to(FEBRUARY)
    await people.write_off(first["id"])
    await agree(world, people)
    return first


async def unused(world):
    """What of credit memos at the ERP has settled nothing."""
    return sum(one["open_minor"] for one in await erp(world, "creditMemo"))


def balance(world, account="acct_us"):
    return sum(one["balance"] for one in world.billing.accounts[account].all("customers"))


@simulated()
async def test_a_downgrade_below_zero_then_two_renewals(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.wire(first["customer"], first["total"], [(first["id"], None)])
    await agree(world, people)
    (sold,) = subscriptions(world)
    # From ten seats to three in the first period: less than nothing is due.
    await people.change(sold["id"], [{"id": sold["items"]["data"][0]["id"], "quantity": 3}])
    downgrade = people.invoices()[-1]
    assert downgrade["total"] < 0
    assert downgrade["status"] == "paid"
    await agree(world, people)
    (memo,) = await erp(world, "creditMemo")
    assert (memo["reason"], memo["total_minor"]) == ("negative_invoice", -downgrade["total"])
    assert await unused(world) == -balance(world) == -downgrade["total"]

    await people.move_to(FEBRUARY)
    await agree(world, people)
    second = people.invoices()[-1]
    used = second["ending_balance"] - second["starting_balance"]
    assert used == min(second["total"], -downgrade["total"]) > 0
    assert await unused(world) == -balance(world)

    await people.move_to(MARCH)
    await agree(world, people)
    assert await unused(world) == -balance(world)
    third = people.invoices()[-1]
    assert third["total"] > 0
    assert third["amount_remaining"] + (third["ending_balance"] - third["starting_balance"]) == third["total"]


@simulated()
async def test_credit_of_a_memo_is_used_by_the_next_invoice_and_given_back_by_its_void(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.pay(first["id"])
    await world.rest()
    await people.credit(first["id"], 10_000, refund="balance")
    await agree(world, people)
    assert await unused(world) == 10_725
    await people.move_to(FEBRUARY)
    await agree(world, people)
    second = people.invoices()[-1]
    assert second["amount_remaining"] == second["total"] - 10_725
    assert await unused(world) == 0
    (memo,) = await erp(world, "creditMemo")
    assert sum(part["amount_minor"] for part in memo["applies"]) == 10_725

    await people.void(second["id"])
    await agree(world, people)
    voided = next(one for one in await erp(world, "creditMemo") if one["reason"] == "voided")
    assert voided["total_minor"] == second["total"]
    assert voided["open_minor"] == 10_725 == -balance(world)

    await people.move_to(MARCH)
    await agree(world, people)
    assert (await unused(world), balance(world)) == (0, 0)


@simulated()
async def test_credit_that_no_document_made_is_for_a_person(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.pay(first["id"])
    account = world.billing.accounts["acct_us"]
    customer = account.get("customers", first["customer"])
    from tieout_lab.twins.stripe.customers import move_balance

    move_balance(account, customer, -5_000, "usd", "adjustment")
    await people.move_to(FEBRUARY)
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "balance_without_document"
    assert "5000" in found["cause"]
    await _by_hand(world, found)
    assert await exceptions(world) == []
    await people.void(people.invoices()[-1]["id"])
    await world.rest()
    assert await exceptions(world) == [], "the invoice's later obligations are made good"


async def _by_hand(world, found):
    """Somebody says that it was posted by hand; it is believed once it is approved."""
    asked = await do(
        world, "exceptions.resolve", exception_id=found["exception_id"], accept=True, reason="posted by hand"
    )
    await do(world, "approvals.decide", approval_id=asked["approval_id"], approve=True)
    await world.rest()


@simulated()
async def test_what_was_written_off_and_paid_after_all(world, people):
    first = await written_off(world, people)
    await people.move_to(MARCH)
    await people.wire(first["customer"], 20_000, [(first["id"], 20_000)])
    await agree(world, people)
    await people.move_to(APRIL)
    rest = first["total"] - 20_000
    await people.wire(first["customer"], rest, [(first["id"], None)])
    assert people.invoices()[0]["status"] == "paid"
    await agree(world, people)
    documents = [one for one in await erp(world) if one["reason"] == "recovered"]
    assert {(one["date"], one["total_minor"], one["open_minor"]) for one in documents} == {
        ("2026-03-11", 20_000, 0),
        ("2026-04-11", rest, 0),
    }
    # Bad debt is as if nothing had been lost.
    lost = [one for one in await erp(world) if one["reason"] == "written_off"]
    debt = {line["account"] for one in lost for line in one["gl"]} - {
        line["account"] for one in await erp(world, "customerPayment") for line in one["gl"]
    }
    sums = [
        line["amount_minor"] for one in [*lost, *documents] for line in one["gl"] if line["account"] in debt
    ]
    assert sum(sums) == 0


@simulated()
async def test_written_off_and_paid_while_the_hub_was_away(world, people):
    """An outage over both leaves the same books as none."""
    await posted(world, people)
    (first,) = people.invoices()
    await world.bury()
    await people.move_to(FEBRUARY)
    await people.write_off(first["id"])
    await people.move_to(MARCH)
    await people.wire(first["customer"], first["total"], [(first["id"], None)])
    await world.rest()
    await agree(world, people)
    reasons = {one["reason"]: one["date"] for one in await erp(world) if one["source"] == first["id"]}
    assert reasons == {"finalised": "2026-01-10", "written_off": "2026-02-11", "recovered": "2026-03-11"}


@simulated()
async def test_a_credit_by_amount_alone_is_spread_over_the_lines(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.credit_amount(first["id"], 10_001)
    await agree(world, people)
    (memo,) = await erp(world, "creditMemo")
    assert memo["total_minor"] == 10_001
    await people.void(first["id"])
    await agree(world, people)


@pytest.mark.parametrize("on_time", [True, False])
def test_what_was_written_off_and_credited_after_all(on_time):
    """It was refused: the ERP's invoice has nothing open that a memo could settle. A hub that hears late of both books
    the same."""

    @simulated()
    async def play(world, people):
        await posted(world, people)
        (first,) = people.invoices()
        await people.wire(first["customer"], 20_000, [(first["id"], 20_000)])
        await people.move_to(FEBRUARY)
        await people.write_off(first["id"])
        if on_time:
            await agree(world, people)
        await people.move_to(MARCH)
        await people.credit(first["id"], 1_000)
        await agree(world, people)
        found = {one["reason"]: one for one in await erp(world) if one["reason"]}
        assert found["written_off"]["total_minor"] == first["total"] - 20_000
        assert (found["recovered"]["date"], found["recovered"]["total_minor"]) == ("2026-03-11", 1_073)
        (applied,) = found["credited"]["applies"]
        assert (applied["document"], applied["amount_minor"]) == (found["recovered"]["id"], 1_073)
        assert [found[one]["open_minor"] for one in ("written_off", "recovered", "credited")] == [0, 0, 0]

    play()


@simulated()
async def test_a_void_after_a_write_off_and_a_credit_takes_back_what_is_left(world, people):
    first = await written_off(world, people)
    await people.move_to(MARCH)
    await people.credit(first["id"], 1_000)
    await agree(world, people)
    await people.move_to(APRIL)
    await people.void(first["id"])
    await agree(world, people)


@simulated()
async def test_a_void_after_a_write_off_settles_nothing_twice(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.write_off(first["id"])
    await agree(world, people)
    await people.void(first["id"])
    await world.rest()
    await clean(world)
    assert await exceptions(world) == []
    lost, voided = await erp(world, "creditMemo")
    # What the write-off took as bad debt the void moves to where the invoice had led; nothing is open before or after.
    assert (lost["reason"], lost["total_minor"]) == ("written_off", first["total"])
    assert (voided["reason"], voided["total_minor"], voided["applies"]) == ("voided", 0, [])
    sums = {}
    for one in await erp(world):
        for line in one["gl"]:
            sums[line["account"]] = sums.get(line["account"], 0) + line["amount_minor"]
    assert not any(sums.values())


@simulated()
async def test_a_dispute_is_put_before_a_person_with_what_to_post(world, people):
    await posted(world, people)
    (first,) = people.invoices()
    await people.pay(first["id"])
    await world.rest()
    (charge,) = world.billing.accounts["acct_us"].all("charges")
    before = len(await erp(world))
    await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
    await world.rest()
    (found,) = await exceptions(world)
    assert (found["code"], found["amount_minor"], found["currency"]) == (
        "dispute_open",
        first["total"],
        "USD",
    )
    assert "disputes receivable" in found["remedy"]
    assert len(await erp(world)) == before
    assert (await read_books(world.app.hub)).tied, "a person has it in hand"
    await _by_hand(world, found)
    assert await exceptions(world) == []
    (told,) = (await read_books(world.app.hub)).unexplained
    assert told.document == "clearing account 1050", "it was not posted by hand after all"
    assert told.amount_minor == -first["total"]
    (dispute,) = world.billing.accounts["acct_us"].all("disputes")
    await world.act("stripe", "close_dispute", account="acct_us", dispute=dispute["id"], won=False)
    await world.rest()
    (found,) = await exceptions(world)
    assert found["code"] == "dispute_lost", "another state is another thing to post"
