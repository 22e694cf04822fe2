"""Payouts and disputes become journals at the ERP, once, in whatever order they are told; and clearing ties."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from tests.process.flows import (
    FEBRUARY,
    clean,
    do,
    erp,
    exceptions,
    name_accounts,
    pay_out,
    posted,
    simulated,
)
from tieout.processes.books import read_books
from tieout_lab.twins.kit import Scripted

PAYS = datetime(2026, 1, 14, 20, tzinfo=UTC)
ARRIVED = datetime(2026, 1, 17, 20, tzinfo=UTC)
FEES = "a-fees-us,us,fees,*,*,6100,,2025-01-01,"


async def fees(world, becomes):
    """Start the hub anew with another rule for gateway fees, or none; answers the file and what stood in it."""
    await world.bury()
    path = world.directory / "rules" / "accounts.csv"
    text = path.read_text()
    assert FEES in text
    path.write_text(text.replace(FEES, becomes))
    await world.live()
    await world.act("stripe", "settings", fee_percent="2.9", fee_fixed=30)
    return path, text


async def paid(world, people):
    """A deal, its first invoice paid by card; answers the charge."""
    await posted(world, people)
    await people.pay(people.invoices()[0]["id"])
    await world.rest()
    return world.billing.accounts["acct_us"].all("charges")[0]


async def standing(world):
    """Net per account of the trial balance."""
    sums = {}
    for row in (await world.act("netsuite", "snapshot"))["trial_balance"]:
        sums[row["account"]] = sums.get(row["account"], 0) + row["net_minor"]
    return {account: amount for account, amount in sums.items() if amount}


async def tied(world, people, **given):
    """Nothing is wrong outside or inside, the books tie, and clearing is what the gateway still holds, gross."""
    await clean(world, **given)
    books = await read_books(world.app.hub)
    assert (books.unexplained, books.duplicates) == ((), ())
    account = world.billing.accounts["acct_us"]
    held = [
        one
        for one in account.all("balance_transactions")
        if one["_payout"] is None and one["type"] != "payout"
    ]
    gross = sum(one["net"] if one["type"] == "adjustment" else one["amount"] for one in held)
    assert (await standing(world)).get("1050", 0) == gross
    return books


def shown(journals):
    return [(one["reason"], one["date"], one["posted"]) for one in journals]


@simulated()
async def test_a_payout_is_booked_when_it_is_paid(world, people):
    await name_accounts(world, disputes=False)
    charge = await paid(world, people)
    refunded = await people.credit(people.invoices()[0]["id"], 10_000, refund=True)
    del refunded
    await world.rest()
    made = await pay_out(world, people)
    (journal,) = await erp(world, "journalEntry")
    assert shown([journal]) == [("payout", "2026-01-16", True)]
    assert (journal["source"], journal["period"]) == (made["id"], "Jan 2026")
    fee = charge["amount"] * 29 // 1000 + 30
    nets = {line["account"]: line["amount_minor"] for line in journal["gl"]}
    assert nets["1000"] == made["amount"]
    assert abs(nets["6100"] - fee) <= 1
    assert sum(nets.values()) == 0
    shown_there = world.billing.accounts["acct_us"].find("payouts", made["id"])["metadata"]
    assert shown_there["erp_number"] == journal["number"]
    books = await tied(world, people)
    (row,) = [one for one in books.books.billing_erp if one.measure == "payouts"]
    assert (row.billing_count, row.erp_count, row.delta_minor) == (1, 1, 0)


@simulated()
async def test_one_that_came_back_is_taken_back_and_goes_out_again(world, people):
    await name_accounts(world, disputes=False)
    await paid(world, people)
    made = await pay_out(world, people)
    await people.move_to(datetime(2026, 2, 3, 20, tzinfo=UTC))
    await world.act("stripe", "fail_payout", account="acct_us", payout=made["id"])
    await world.rest()
    assert shown(await erp(world, "journalEntry")) == [
        ("payout", "2026-01-16", True),
        ("payout_returned", "2026-02-03", True),
    ]
    sums = await standing(world)
    assert "1000" not in sums
    assert (sums["1050"], sums["6100"] > 0) == (made["amount"], True), "the fees are gone all the same"
    await tied(world, people)
    again = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    assert again["amount"] == made["amount"]
    await people.move_to(datetime(2026, 2, 6, 20, tzinfo=UTC))
    await world.rest()
    assert (await standing(world))["1000"] == made["amount"]
    assert "1050" not in await standing(world)
    await tied(world, people)


@simulated()
async def test_one_that_never_arrived_has_cost_its_fees(world, people):
    await name_accounts(world, disputes=False)
    await paid(world, people)
    await people.move_to(PAYS)
    made = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await world.act("stripe", "fail_payout", account="acct_us", payout=made["id"])
    await world.rest()
    assert shown(await erp(world, "journalEntry")) == [("payout_fees", "2026-01-14", True)]
    await tied(world, people)


@simulated()
async def test_what_the_gateway_takes_from_the_bank(world, people):
    """A refund after everything was paid out: the next payout is below zero."""
    await name_accounts(world, disputes=False)
    await paid(world, people)
    await pay_out(world, people)
    await people.credit(people.invoices()[0]["id"], 10_000, refund=True)
    await people.move_to(datetime(2026, 1, 20, 20, tzinfo=UTC))
    made = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    assert made["amount"] < 0
    await people.move_to(datetime(2026, 1, 24, 20, tzinfo=UTC))
    await world.rest()
    journal = (await erp(world, "journalEntry"))[-1]
    assert {line["account"]: line["amount_minor"] for line in journal["gl"]} == {
        "1000": made["amount"],
        "1050": -made["amount"],
    }
    await tied(world, people)


async def left_to_the_bank_statement(world, people):
    """What is paid out becomes no journal and no exception, and the books tie without it."""
    await paid(world, people)
    made = await pay_out(world, people)
    assert await erp(world, "journalEntry") == []
    assert await exceptions(world) == []
    await clean(world, excused=(made["id"],))
    assert (await read_books(world.app.hub)).tied


@simulated()
async def test_a_company_without_an_account_for_fees_books_from_its_bank_statement(world, people):
    await fees(world, "")
    await left_to_the_bank_statement(world, people)


@simulated()
async def test_an_erp_that_takes_no_journals_leaves_payouts_to_a_person(world, people):
    api = world.app.hub.connection("netsuite-main").api
    api.operations = {name: facts for name, facts in api.operations.items() if name != "journal.create"}
    await left_to_the_bank_statement(world, people)


@simulated()
async def test_payouts_before_the_first_account_are_a_persons(world, people):
    await fees(world, FEES.replace("2025-01-01", "2026-02-01"))
    await paid(world, people)
    await pay_out(world, people)
    assert await erp(world, "journalEntry") == []
    (found,) = (await read_books(world.app.hub)).unexplained
    assert found.document == "clearing account 1050", "nobody has booked it yet"


@simulated()
async def test_a_missing_account_says_which_row_to_write(world, people):
    path, text = await fees(world, FEES.replace("*,*", "stripe-us,EUR"))
    await paid(world, people)
    await pay_out(world, people)
    (found,) = await exceptions(world)
    assert "us,fees,stripe-us,USD" in found["remedy"]
    path.write_text(text)
    await world.bury()
    await world.live()
    await do(world, "exceptions.retry", exception_id=found["exception_id"])
    await world.rest()
    assert len(await erp(world, "journalEntry")) == 1
    await tied(world, people)


@simulated()
async def test_a_payout_that_does_not_add_up_is_a_persons(world, people):
    await name_accounts(world, disputes=False)
    await paid(world, people)
    await people.move_to(PAYS)
    made = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await world.act(
        "stripe", "alter", account="acct_us", kind="payouts", id=made["id"], path="amount", value=7
    )
    await people.move_to(ARRIVED)
    await world.rest()
    (found,) = await exceptions(world)
    assert (found["code"], "but 7 USD" in found["cause"]) == ("totals", True)
    assert await erp(world, "journalEntry") == []


@simulated()
async def test_a_dispute_is_taken_and_given_back(world, people):
    await name_accounts(world)
    charge = await paid(world, people)
    await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
    await world.rest()
    assert await exceptions(world) == []
    (taken,) = await erp(world, "journalEntry")
    assert {line["account"]: line["amount_minor"] for line in taken["gl"]} == {
        "1150": charge["amount"],
        "6110": 1_500,
        "1050": -charge["amount"] - 1_500,
    }
    await tied(world, people)
    await people.move_to(FEBRUARY)
    (dispute,) = world.billing.accounts["acct_us"].all("disputes")
    await world.act("stripe", "close_dispute", account="acct_us", dispute=dispute["id"], won=True)
    await world.rest()
    assert shown(await erp(world, "journalEntry")) == [
        ("dispute_taken", "2026-01-10", True),
        ("dispute_given_back", "2026-02-11", True),
    ]
    assert "1150" not in await standing(world)
    await tied(world, people)


@simulated()
async def test_disputes_inside_a_payout_are_not_booked_twice(world, people):
    await name_accounts(world)
    charge = await paid(world, people)
    await world.act(
        "stripe", "dispute", account="acct_us", charge=charge["id"], amount=20_000, reason="general"
    )
    await world.rest()
    await pay_out(world, people)
    assert {one["reason"] for one in await erp(world, "journalEntry")} == {"dispute_taken", "payout"}
    sums = await standing(world)
    assert "1050" not in sums, "all that was held is at the bank or gone"
    assert sums["6110"] == 1_500
    await tied(world, people)


@pytest.mark.parametrize("policy", ["write_off", "person"])
def test_a_dispute_that_is_lost(policy):
    @simulated()
    async def test(world, people):
        await name_accounts(world, policy=policy)
        charge = await paid(world, people)
        await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
        await world.rest()
        await people.move_to(FEBRUARY)
        (dispute,) = world.billing.accounts["acct_us"].all("disputes")
        await world.act("stripe", "close_dispute", account="acct_us", dispute=dispute["id"], won=False)
        await world.rest()
        sums = await standing(world)
        if policy == "write_off":
            assert await exceptions(world) == []
            # A dispute does not say when it was closed, its event does: by the technical clock of this world.
            assert shown(await erp(world, "journalEntry"))[-1] == ("dispute_lost", "2026-01-01", True)
            assert ("1150" in sums, sums["6500"]) == (False, charge["amount"])
            # A later hint does not date it anew.
            await people.move_to(datetime(2026, 2, 20, 20, tzinfo=UTC))
            account = world.billing.accounts["acct_us"]
            account.emit("charge.dispute.updated", account.find("disputes", dispute["id"]))
            await world.rest()
            assert await exceptions(world) == []
            assert len(await erp(world, "journalEntry")) == 2
        else:
            (found,) = await exceptions(world)
            assert (found["code"], sums["1150"]) == ("dispute_lost", charge["amount"])
        await tied(world, people)

    test()


@simulated()
async def test_told_out_of_order_and_twice(world, people):
    """The hub is away while a dispute is opened and won; then everything is told backwards, and again."""
    await name_accounts(world)
    charge = await paid(world, people)
    await world.bury()
    await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
    account = world.billing.accounts["acct_us"]
    (dispute,) = account.all("disputes")
    await world.act("stripe", "close_dispute", account="acct_us", dispute=dispute["id"], won=True)
    await people.move_to(PAYS)
    made = await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await people.move_to(ARRIVED)
    await world.live()
    for _ in range(2):
        for type_ in ("charge.dispute.funds_reinstated", "charge.dispute.closed", "charge.dispute.created"):
            account.emit(type_, account.find("disputes", dispute["id"]))
        for type_ in ("payout.paid", "payout.updated", "payout.created"):
            account.emit(type_, account.find("payouts", made["id"]))
        await world.rest()
    reasons = sorted(one["reason"] for one in await erp(world, "journalEntry"))
    assert reasons == ["dispute_given_back", "dispute_taken", "payout"]
    await tied(world, people)


@simulated()
async def test_a_dispute_that_a_person_booked_stays_a_persons(world, people):
    charge = await paid(world, people)
    await world.act("stripe", "dispute", account="acct_us", charge=charge["id"], reason="fraudulent")
    await world.rest()
    (found,) = await exceptions(world)
    asked = await do(
        world, "exceptions.resolve", exception_id=found["exception_id"], accept=True, reason="booked by hand"
    )
    await do(world, "approvals.decide", approval_id=asked["approval_id"], approve=True)
    await world.rest()
    await name_accounts(world)
    (dispute,) = world.billing.accounts["acct_us"].all("disputes")
    await world.act("stripe", "close_dispute", account="acct_us", dispute=dispute["id"], won=True)
    await world.rest()
    assert [one["code"] for one in await exceptions(world)] == ["dispute_won"]
    assert await erp(world, "journalEntry") == []


@simulated()
async def test_journals_that_a_person_approves_there(world, people):
    await name_accounts(world, disputes=False, settings='journal_approval = "person"')
    tenant = world.erp.tenant
    tenant.preferences = tenant.preferences.change({"approve_journals": True})
    await paid(world, people)
    await pay_out(world, people)
    (journal,) = await erp(world, "journalEntry")
    assert not journal["posted"]
    await people.approve_all()
    await world.rest()
    (journal,) = await erp(world, "journalEntry")
    assert journal["posted"]
    await tied(world, people)


@simulated()
async def test_a_closed_period_holds_a_payout_back(world, people):
    await name_accounts(world, disputes=False)
    await paid(world, people)
    await people.move_to(PAYS)
    await world.act("stripe", "pay_out", account="acct_us", currency="usd")
    await people.close_period(date(2026, 1, 31))
    await people.move_to(ARRIVED)
    await world.rest()
    (found,) = await exceptions(world)
    assert found["blocker"] == "period|us|2026-01"
    assert await erp(world, "journalEntry") == []


@simulated()
async def test_a_journal_changed_at_the_erp_is_found_and_named(world, people):
    await name_accounts(world, disputes=False)
    await paid(world, people)
    made = await pay_out(world, people)
    (journal,) = await erp(world, "journalEntry")
    document = world.erp.tenant.state.document(journal["id"])
    for line in document.gl:
        if line.account == "1050":
            line.account = "1150"
    books = await read_books(world.app.hub)
    assert [one.document for one in books.unexplained] == [made["id"]]
    assert "account 1050 is over" in books.unexplained[0].cause


@pytest.mark.parametrize("enforced", [True, False], ids=["keyed", "un-keyed"])
@pytest.mark.parametrize("seconds", [5.0, 895.0])
def test_a_journal_that_succeeds_late_is_one_journal(seconds, enforced):
    @simulated(enforce_keys=enforced, seed=int(seconds))
    async def test(world, people):
        await name_accounts(world, policy="write_off")
        world.erp.faults.enforce_keys = enforced
        world.erp.faults.visibility_delay_seconds = 60.0
        world.erp.faults.script = [Scripted("journalEntry.create", nth, "late", seconds) for nth in (1, 2)]
        charge = await paid(world, people)
        await world.act(
            "stripe", "dispute", account="acct_us", charge=charge["id"], amount=20_000, reason="general"
        )
        await world.rest()
        await pay_out(world, people)
        assert world.erp.faults.counts["late"] == 2
        assert sorted(one["reason"] for one in await erp(world, "journalEntry")) == [
            "dispute_taken",
            "payout",
        ]
        await tied(world, people)

    test()
