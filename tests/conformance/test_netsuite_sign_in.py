"""Both ways of signing in, against the twin that verifies them, and overload told from refused credentials."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.support import (
    RealClock,
    RecordingTransport,
    Served,
    SystemTransport,
    open_world,
    serve,
)
from tests.conformance.test_netsuite_connector import (
    BILLING_DAY,
    config_of,
    confirmed,
    document,
    keys,
    new_customer,
    payment,
)
from tests.conformance.twins.netsuite_client import call
from tieout.canonical.outcome import Confirmed, Failure, Misconfigured, RateLimited
from tieout.canonical.secret import Secret
from tieout.connectors.contract import World
from tieout.connectors.netsuite import CONNECTOR
from tieout.connectors.netsuite.connection import NetSuite
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.netsuite.twin import NetSuiteTwin


@pytest.fixture
def twin() -> Iterator[Served]:
    with serve(NetSuiteTwin(SystemTwinClock(business=BILLING_DAY))) as served:
        yield served


@pytest.fixture
def clock() -> RealClock:
    return RealClock()


@pytest.fixture
def wire() -> RecordingTransport:
    return RecordingTransport(SystemTransport())


@pytest.fixture
async def world(wire: RecordingTransport, clock: RealClock) -> AsyncIterator[World]:
    async with open_world(transport=wire, clock=clock) as opened:
        yield opened


def token_based(twin: Served, world: World, **changes: Any) -> NetSuite:
    said = twin.describe()["tba"]
    given = {
        "sign_in": "tba",
        "consumer_key": said["consumer_key"],
        "consumer_secret": Secret(said["consumer_secret"]),
        "token_id": said["token_id"],
        "token_secret": Secret(said["token_secret"]),
        **changes,
    }
    opened: NetSuite = CONNECTOR.open("netsuite-main", config_of(twin, **given), world)
    return opened


async def refused(connection: NetSuite) -> Misconfigured:
    with pytest.raises(Failure) as failure:
        await connection.codes("currency")
    outcome = failure.value.outcome
    assert isinstance(outcome, Misconfigured), outcome
    assert outcome.scope == "connection"
    return outcome


@pytest.mark.parametrize(("key_type", "algorithm"), [("RSA", "PS256"), ("RSA", "PS512"), ("EC", "ES256")])
async def test_client_credentials(world: World, key_type: str, algorithm: str) -> None:
    with serve(NetSuiteTwin(SystemTwinClock(business=BILLING_DAY), key_type=key_type)) as served:
        connection = CONNECTOR.open("netsuite-main", config_of(served, algorithm=algorithm), world)
        assert "USD" in await connection.codes("currency")


async def test_token_based_order_to_cash(twin: Served, world: World, wire: RecordingTransport) -> None:
    connection = token_based(twin, world)
    buyer = await new_customer(connection)
    invoice = await confirmed(connection, "invoice.create", document(buyer), 1)
    money = await confirmed(connection, "payment.create", payment(buyer, 5000), 2)
    verified = await connection.verify_document("invoice.create", document(buyer), invoice)
    assert verified.differences == ()
    assert [one.id async for one in connection.documents("payment")] == [money]
    identity = await connection.identity()
    assert identity.account == twin.describe()["account"]
    signed = [one.headers["authorization"] for one in wire.requests]
    nonces = [re.findall(r'oauth_nonce="(\w+)"', one)[0] for one in signed]
    assert len(set(nonces)) == len(nonces)
    assert not any("oauth2" in one.url for one in wire.requests)
    secret = twin.describe()["tba"]["token_secret"]
    assert not any(secret in one for one in signed)


async def test_token_based_batch(twin: Served, world: World) -> None:
    connection = token_based(twin, world, job_poll_seconds=1)
    twin.act("preferences", batch_seconds=0.05)
    buyer = await new_customer(connection)
    answer = await connection.send_many("invoice.create", [(document(buyer), keys(1))], "b")
    assert isinstance(answer[keys(1).document], Confirmed)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"token_secret": Secret("another")}, "signature_invalid"),
        ({"consumer_secret": Secret("another")}, "signature_invalid"),
        ({"consumer_key": "another"}, "consumer_key_unknown"),
        ({"token_id": "another"}, "token_rejected"),
        ({"account": "TSTDRV7654321"}, "realm_rejected"),
    ],
)
async def test_token_based_credentials_that_do_not_hold(
    twin: Served, world: World, changes: dict[str, Any], error: str
) -> None:
    outcome = await refused(token_based(twin, world, **changes))
    assert error in outcome.message
    assert "another" not in outcome.message
    assert twin.app.tenant.state.of_type("customer") == []


async def test_a_clock_that_is_off_is_named(twin: Served, world: World, clock: RealClock) -> None:
    clock.shift = timedelta(minutes=9)
    outcome = await refused(token_based(twin, world))
    found = re.search(r"differ by (\d+) s", outcome.message)
    assert found is not None, outcome.message
    assert 500 < int(found[1]) < 580


async def test_a_call_that_is_played_again_is_refused(
    twin: Served, world: World, wire: RecordingTransport
) -> None:
    connection = token_based(twin, world)
    buyer = await new_customer(connection)
    await confirmed(connection, "invoice.create", document(buyer), 1)
    sent = next(one for one in wire.requests if one.url.endswith("/invoice"))
    path = sent.url.removeprefix(twin.url)
    again = call(twin.port, "POST", path, sent.body, dict(sent.headers))
    assert (again.status, again.code) == (401, "INVALID_LOGIN")
    assert "nonce_used" in again.headers["www-authenticate"]
    altered = {
        **sent.headers,
        "authorization": sent.headers["authorization"].replace('oauth_nonce="', 'oauth_nonce="a'),
    }
    again = call(twin.port, "POST", path, sent.body, altered)
    assert "signature_invalid" in again.headers["www-authenticate"]


@pytest.mark.parametrize("way", ["oauth2", "tba"])
async def test_revoked_credentials_are_the_connections_fault(twin: Served, world: World, way: str) -> None:
    connection = token_based(twin, world) if way == "tba" else CONNECTOR.open("n", config_of(twin), world)
    await connection.codes("currency")
    twin.act("revoke_tokens", certificate=True)
    await refused(connection)


async def test_overload_in_disguise_is_told_from_refused_credentials(
    twin: Served, world: World, clock: RealClock
) -> None:
    connection = token_based(twin, world)
    buyer = await new_customer(connection)
    for kind in ("item", "currency", "tax_code", "department", "account"):
        await connection.code_tables.table(kind)
    twin.fail("hang", "customer.get")
    others = [asyncio.create_task(connection.credit_hold(buyer)) for _ in range(3)]
    while twin.app.active < 3:
        await asyncio.sleep(0.01)
    for disguise in (True, "SSS_REQUEST_LIMIT_EXCEEDED"):
        twin.act("limits", concurrency=3, disguise=disguise)
        outcome = await connection.send("invoice.create", document(buyer), keys(1))
        assert isinstance(outcome, RateLimited), (disguise, outcome)
    # The same answer, and nobody was let in for long: it is what it says.
    twin.act("limits", concurrency=3, disguise=True)
    clock.shift = timedelta(minutes=3)
    outcome = await connection.send("invoice.create", document(buyer), keys(1))
    assert isinstance(outcome, Misconfigured), outcome
    await asyncio.gather(*others, return_exceptions=True)
    assert twin.act("snapshot")["documents"] == []
