"""What a stranger sends who has our secret: nothing of it is processed, the connection is parked everywhere and until a
person has seen to it. Who has no secret parks nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.process.flows import clean, do, erp, exceptions, posted, refused, simulated, subscriptions
from tests.process.test_outbound_messages import SECRET, post, twin
from tests.process.test_outbound_messages import company as crm_company
from tests.process.web_world import Served, event, serving, signature, write_company
from tieout.app import compose, read_settings, system_ports
from tieout.canonical.outcome import Failure, Misconfigured
from tieout.connectors.contract import Identity
from tieout.engine import pinning
from tieout.engine.commands import execute
from tieout.store import people
from tieout.store.statements import StoreUnavailable
from tieout.web.hooks import Hooks
from tieout_lab.twins.salesforce.outbound_messages import Notification
from tieout_lab.twins.stripe import delivery

STRANGERS = [{"livemode": True}, {"account": "acct_other"}]


# -- over sockets: what is answered, what is kept -------------------------------------------------------------------
async def company(folder: Path):
    path = folder / "tieout.toml"
    if not path.exists():
        write_company(folder)
    return await compose(read_settings(path), system_ports())


def answering(app: Any, account: str = "acct_us") -> None:
    """The key of billing-us opens this account."""

    async def identity() -> Identity:
        return Identity(organisation=account, account=account, live=False)

    pinning.inner(app.hub.connection("billing-us")).identity = identity


async def listed(app: Any) -> list[dict[str, Any]]:
    names = people.COLUMNS.split(", ")
    return [dict(zip(names, row, strict=True)) for row in await app.hub.store.fetch(people.LIST, {})]


async def hook(world: Served, id: str = "evt_1", **more: Any) -> tuple[int, str]:
    body = event(id, **more)
    return await world.hook(body, signature(body))


@pytest.mark.parametrize("more", STRANGERS, ids=["mode", "account"])
async def test_a_signed_stranger_parks_the_connection_and_a_forged_one_does_not(
    tmp_path: Path, more: dict[str, Any]
) -> None:
    async with serving(await company(tmp_path)) as world:
        connection = world.app.hub.connection("billing-us")
        body = event(**more)
        for header in (None, signature(body, secret="whsec_other"), signature(body, age_seconds=3600)):
            assert (await world.hook(body, header))[0] == 401
        assert pinning.parked(connection) == ""
        assert await listed(world.app) == []
        for number in range(3):
            assert (await hook(world, f"evt_{number}", **more))[0] == 403
        (found,) = await listed(world.app)
        assert (found["code"], found["blocker"]) == ("blocked_connection", "connection|billing-us")
        assert "evt_0" in found["cause"]
        assert "tieout exceptions resolve" in found["remedy"]
        status, text = await hook(world, "evt_ours")
        assert status == 403
        assert "parked" in text
        assert await world.stored() == {}
        assert pinning.parked(world.app.hub.connection("billing-jp")) == ""


async def test_every_process_holds_it_and_lets_it_go_when_a_person_has_seen_to_it(tmp_path: Path) -> None:
    app, worker = await company(tmp_path), await company(tmp_path)
    for one in (app, worker):
        answering(one)
    connection = worker.hub.connection("billing-us")
    async with serving(app) as world:
        await pinning.look(worker.hub)
        assert pinning.parked(connection) == ""
        assert (await hook(world, livemode=True))[0] == 403
        await pinning.look(worker.hub)
        with pytest.raises(Failure) as caught:
            await connection.api.fetch(object, "in_1")
        assert isinstance(caught.value.outcome, Misconfigured)
        late = await company(tmp_path)
        answering(late)
        for name in ("billing-jp", "erp-main", "crm-main"):
            del late.hub.connections[name]
        await pinning.begin(late.hub)
        assert "evt_1" in pinning.parked(late.hub.connection("billing-us"))
        finding = await pinning.finding(late.hub, late.hub.connection("billing-us"))
        assert (finding.level, "evt_1" in finding.message) == ("error", True)
        await late.close()
        (found,) = await listed(app)
        asked = {"exception_id": found["exception_id"]}
        answering(worker, "acct_else")
        await worker.hub.store.commit(
            [(pinning.records.PIN, {"connection": "billing-us", "identity": PINNED, "now": worker.hub.now()})]
        )
        state, answer = await execute(worker.hub, "exceptions.resolve", asked, "ann")
        assert (state, "acct_else" in answer["error"]) == ("failed", True)
        answering(worker)
        state, answer = await execute(worker.hub, "exceptions.resolve", asked, "ann")
        assert state == "done", answer
        assert await listed(app) == []
        assert pinning.parked(connection) == ""
        await pinning.look(app.hub, ask=False)
        assert (await hook(world, "evt_ours"))[0] == 200
        assert await world.stored() == {"billing-us": {"pending": 1}}
        assert (await hook(world, "evt_again", livemode=True))[0] == 403
        (found,) = await listed(app)
        assert "evt_again" in found["cause"]
    await worker.close()


PINNED = msgspec.json.encode(Identity(organisation="acct_us", account="acct_us", live=False)).decode()


async def test_a_parked_connection_is_never_without_an_exception_and_it_tells_of_the_stranger(
    tmp_path: Path,
) -> None:
    async with serving(await company(tmp_path)) as world:
        hub = world.app.hub
        # Sign-in was refused before: the exception is open already, with another cause.
        before = pinning.connection_blocked("billing-us", "401", "mend the key")
        await hub.store.commit(pinning._exception(hub, before))
        await hook(world, account="acct_other")
        (found,) = await listed(world.app)
        assert "acct_other" in found["cause"]
        closed = {"exception_id": found["exception_id"], "now": hub.now(), "resolution": "at the same moment"}
        await hub.store.commit([(people.RESOLVE, closed)])
        await pinning.look(hub)
        (found,) = await listed(world.app)
        assert "acct_other" in found["cause"]


async def test_a_look_that_began_before_it_was_parked_does_not_let_it_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(await company(tmp_path)) as world:
        hub, connection = world.app.hub, world.app.hub.connection("billing-us")
        answering(world.app)
        fetch, before = hub.store.fetch, True

        async def late(statement: Any, params: Any) -> Any:
            nonlocal before
            rows = await fetch(statement, params)
            if before and statement is pinning.records.ALL:
                before = False
                assert (await hook(world, livemode=True))[0] == 403
            return rows

        with monkeypatch.context() as patched:
            patched.setattr(hub.store, "fetch", late)
            await pinning.look(hub)
        # As it is asked of every connection that is held.
        await pinning.settle(hub, connection)
        assert "evt_1" in pinning.parked(connection)
        assert len(await listed(world.app)) == 1


async def test_what_could_not_be_kept_parks_nothing_and_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(await company(tmp_path)) as world:

        async def full(unit: Any) -> Any:
            raise StoreUnavailable("disk full")

        with monkeypatch.context() as patched:
            patched.setattr(world.app.hub.store, "commit", full)
            assert (await hook(world, livemode=True))[0] == 503
        assert pinning.parked(world.app.hub.connection("billing-us")) == ""
        assert (await hook(world, livemode=True))[0] == 403
        assert pinning.parked(world.app.hub.connection("billing-us"))


async def test_an_outbound_message_of_another_org_parks_the_connection_only_with_the_secret(
    tmp_path: Path,
) -> None:
    crm = twin()
    rule = crm.outbound_messages.add("Opportunity", [], "http://hub/")
    note = Notification("04lHk0000000001AAA", "006Hk0000000001AAA", crm.clock.technical())
    ours = crm.outbound_messages.body(rule, [note])
    foreign = ours.replace(crm.org.org_id.encode(), b"00DHk0000000009AAA")
    async with serving(await crm_company(tmp_path, crm.org.org_id)) as world:
        connection = world.app.hub.connection("crm-main")
        for below in ("", "/wrong", f"/{SECRET}x"):
            assert (await post(world, foreign, below))[0] == 401
        assert (await post(world, ours))[0] == 200
        assert pinning.parked(connection) == ""
        status, _, text = await post(world, foreign)
        assert (status, "Ack" in text) == (403, False)
        assert "00DHk0000000009AAA" in pinning.parked(connection)
        assert (await post(world, ours))[0] == 403
        (found,) = await listed(world.app)
        assert (found["code"], found["document"]) == ("blocked_connection", "crm-main")
        assert "new secret" in found["remedy"]
        assert await world.stored() == {"crm-main": {"pending": 1}}
    await crm.close()


# -- with the worker and the outside systems ------------------------------------------------------------------------
async def sent(world: Any, **more: Any) -> int:
    """What a process of the hub answers to a webhook of billing, signed with its secret."""
    app, answers = world.app, []
    at = int(world.clock.now().timestamp())
    body = event("evt_stranger", created=at, **more)
    header = delivery.signature([world.billing.accounts["acct_us"].webhook_secret], at, body)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: dict[str, Any]) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/hooks/stripe-us"}
    headers = [(b"stripe-signature", header.encode())]
    await Hooks(app.hub, 1_000_000, app.worker.wake, app.accept)({**scope, "headers": headers}, receive, send)
    return answers[0]["status"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("dies", [False, True], ids=["one life", "another life"])
def test_nothing_of_a_parked_connection_is_processed_and_nothing_is_lost(workers: int, dies: bool) -> None:
    @simulated(workers=workers)
    async def test(world: Any, business: Any) -> None:
        await posted(world, business)
        invoices = len(await erp(world, "invoice"))
        assert await sent(world, livemode=True) == 403
        await asyncio.sleep(100)
        if dies:
            await world.bury()
            await world.live()
        await business.sell(await business.customer("Beta"))
        await world.rest()
        assert len(subscriptions(world)) == 1
        assert len(await erp(world, "invoice")) == invoices
        (found,) = await exceptions(world)
        assert found["code"] == "blocked_connection"
        assert "evt_stranger" in found["cause"]
        for node in world.nodes:
            assert pinning.parked(node.app.hub.connection("stripe-us"))
        await do(world, "exceptions.resolve", exception_id=found["exception_id"])
        await world.rest()
        assert await exceptions(world) == []
        assert len(subscriptions(world)) == 2
        assert len(await erp(world, "invoice")) == invoices + 1
        await clean(world)

    test()


@simulated(poll_seconds=60)
async def test_a_connection_that_is_released_while_billing_is_away_stays_parked(world, business):
    await posted(world, business)
    assert await sent(world, livemode=True) == 403
    (found,) = await exceptions(world)
    connection = world.app.hub.connection("stripe-us")

    async def away():
        raise Failure(pinning.Transient(reason="503"))

    pinning.inner(connection).identity = away
    assert "503" in await refused(world, "exceptions.resolve", exception_id=found["exception_id"])
    assert pinning.parked(connection)
    del pinning.inner(connection).identity
    await do(world, "exceptions.resolve", exception_id=found["exception_id"])
    assert await exceptions(world) == []
    assert pinning.parked(connection) == ""
