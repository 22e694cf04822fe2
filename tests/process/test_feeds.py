"""A feed that cannot be read: a person hears of it, the work goes on, and what answers as somebody else is parked."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from tests.process.flows import clean, do, exceptions, posted, simulated, subscriptions
from tieout.canonical.outcome import Failure
from tieout.connectors.contract import connection_blocked
from tieout.engine import pinning
from tieout_lab.twins.deviations import Deviation


@pytest.mark.parametrize("dies", [False, True], ids=["one life", "another process"])
def test_a_feed_that_is_refused_is_said_once_and_closes_by_itself(dies):
    """The org takes a field away from the integration user: polls are refused, and no deal would ever come again."""

    @simulated(poll_seconds=60)
    async def test(world, people):
        await posted(world, people)
        account = await people.customer("Other")
        await world.act("salesforce", "field_security", hidden=["Opportunity.Tieout_Status__c"])
        await people.sell(account)
        await asyncio.sleep(200)
        (found,) = await exceptions(world)
        assert (found["code"], found["document"]) == ("blocked_feed", "salesforce-main")
        assert "Tieout_Status__c" in found["cause"]
        assert found["remedy"]
        assert len(subscriptions(world)) == 1
        if dies:
            await world.bury()
        await world.act("salesforce", "field_security")
        await world.live()
        await asyncio.sleep(100)
        await world.rest()
        assert await exceptions(world) == []
        assert len(subscriptions(world)) == 2
        await clean(world)

    test()


def test_an_event_of_another_account_in_the_list_parks_as_a_webhook_does():
    """Whoever signs in: the event itself says whose it is."""

    @simulated(poll_seconds=60)
    async def test(world, people):
        await posted(world, people)
        account = world.billing.accounts["acct_us"]
        world.billing.deviations = [Deviation("events.list", fields={"data.0.livemode": True})]
        account.emit("invoice.updated", account.objects["invoices"][people.invoices()[0]["id"]], {})
        await asyncio.sleep(200)
        (found,) = await exceptions(world)
        assert found["code"] == "blocked_connection"
        assert "not of test mode" in found["cause"]
        assert pinning.parked(world.app.hub.connection("stripe-us"))
        world.billing.deviations = []
        await do(world, "exceptions.resolve", exception_id=found["exception_id"])
        await world.rest()
        assert await exceptions(world) == []
        await clean(world)

    test()


@pytest.mark.parametrize("somebody", [False, True], ids=["ours", "somebody else"])
def test_an_event_list_of_another_account_takes_nothing_in(somebody):
    """The list's answer is of another account or mode: parked, where sign-in says so as well."""

    @simulated(poll_seconds=60)
    async def test(world, people):
        await posted(world, people)
        connection = world.app.hub.connection("stripe-us")
        api, told = connection.api, await connection.api.identity()

        async def poll(cursor):
            raise Failure(
                connection_blocked("stripe-us", "an event of account acct_else", "its own connection")
            )

        async def identity():
            return replace(told, account="acct_else") if somebody else told

        api.poll, api.identity = poll, identity
        await asyncio.sleep(200)
        (found,) = await exceptions(world)
        assert found["code"] == ("blocked_connection" if somebody else "blocked_feed")
        assert "acct_else" in found["cause"]
        assert bool(pinning.parked(connection)) is somebody
        del api.poll, api.identity
        if not somebody:
            await asyncio.sleep(100)
            assert await exceptions(world) == []

    test()
