"""One suite for every connector, against its twin over real sockets.

A connector joins by a `Case`: how it is opened, its plainest write and read, and how its twin is told to misbehave.
What only some have (webhooks, look-up by key) is asked where it is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.support import (
    AiohttpTransport,
    RecordingTransport,
    Served,
    open_world,
    refused_url,
    serve,
)
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice
from tieout.canonical.order import Order
from tieout.canonical.outcome import (
    Absent,
    Confirmed,
    Failure,
    Found,
    Misconfigured,
    NotFound,
    OutcomeUnknown,
    RateLimited,
    SendOutcome,
    Transient,
)
from tieout.canonical.party import Address
from tieout.canonical.secret import Secret
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    SubscriptionWrite,
    SubscriptionWriteLine,
)
from tieout.connectors.contract import Forged, Inbound, Keys, World, Writer
from tieout_lab.twins.clock import SystemTwinClock

KEYS = Keys(effect="acme|customer.create|a1", document="0123456789ABCDEF", wire="acme|customer.create|a1#1")
OTHER_WIRE = Keys(effect=KEYS.effect, document=KEYS.document, wire="acme|customer.create|a1#2")
HOSTILE = 'O\'Brien "GmbH", 株式会社 🎉 =1+1'
TIMEOUT_SECONDS = 1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One connector. `write_operation` and `read_operation` are the twin's names, for its fault plan."""

    name: str
    settings: Callable[[Mapping[str, Any]], dict[str, Any]]
    wrong: dict[str, Any]
    address: str
    write_operation: str
    read_operation: str
    write: Callable[[Any, Keys], Awaitable[SendOutcome]]
    made: Callable[[Any], Awaitable[int]]
    read: Callable[[Any], Awaitable[Any]]
    many: Callable[[Served, Any], Awaitable[tuple[set[str], set[str]]]]
    unknown: Callable[[Served, World], Awaitable[str]]
    find_by_key: bool = True
    timeout_seconds: int = TIMEOUT_SECONDS
    # The fixture that gives the application, where it is no twin of ours.
    real: str = ""

    def connector(self) -> Any:
        return importlib.import_module(f"tieout.connectors.{self.name}").CONNECTOR

    def twin(self) -> Any:
        return importlib.import_module(f"tieout_lab.twins.{self.name}").create(SystemTwinClock())

    def open(self, served: Served, world: World, **changes: Any) -> Any:
        connector = self.connector()
        return connector.open(
            self.name, connector.config(**self.settings(served.describe()) | changes), world
        )


async def listed(connection: Any) -> list[Any]:
    return [document async for document in connection.documents("invoice")]


# ------------------------------------------------------------------------------------------------------- Salesforce


def salesforce_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "login_url": told["login_url"],
        "org_id": told["org_id"],
        "consumer_key": told["consumer_key"],
        "username": told["username"],
        "private_key": Secret(told["private_key"]),
        "client_secret": Secret(told["client_secret"]),
        "start_date": date(2020, 1, 1),
        "timeout_seconds": TIMEOUT_SECONDS,
    }


MIRROR = Ref(connection="salesforce", kind="invoice_mirror", id="in_1")
FIELDS = {"number": "INV-1", "status": "open", "amount_minor": 100, "currency": "USD"}


async def salesforce_write(connection: Any, keys: Keys) -> SendOutcome:
    outcome: SendOutcome = await connection.assign(MIRROR, "mirror", dict(FIELDS), keys)
    return outcome


async def salesforce_made(connection: Any) -> int:
    try:
        await connection.read_back(MIRROR, "mirror", dict(FIELDS))
    except NotFound:
        return 0
    return len(await listed(connection))


async def salesforce_many(served: Served, connection: Any) -> tuple[set[str], set[str]]:
    served.act("limits", page_size=3)
    names = {f"in_{number}" for number in range(10)}
    for name in names:
        target = Ref(connection="salesforce", kind="invoice_mirror", id=name)
        assert isinstance(await connection.assign(target, "mirror", dict(FIELDS), KEYS), Confirmed)
    return names, {document.source for document in await listed(connection)}


async def salesforce_unknown(served: Served, world: World) -> str:
    account = served.act("create_account", name=HOSTILE, currency="USD")["id"]
    deal = served.act(
        "create_deal", account=account, name=HOSTILE, currency="USD", billing_frequency="Monthly", lines=[]
    )
    connection = CASES["salesforce"].open(served, world, frequencies={"Annual": "year"})
    order: Order = await connection.fetch(Order, deal["id"])
    return order.frequency


# ------------------------------------------------------------------------------------------------ billing and ERP


def customer(source: str, **more: Any) -> CustomerWrite:
    given: dict[str, Any] = {
        "source": Ref(connection="crm", kind="account", id=source),
        "name": HOSTILE,
        "email": "ap@acme.example",
        "currencies": ("USD",),
        "billing_address": Address(
            line1="1 Market St", city="San Francisco", region="CA", postal_code="94105", country="US"
        ),
        "shipping_address": Address(),
    }
    return CustomerWrite(**given | more)


def keys_of(number: int) -> Keys:
    return Keys(effect=f"e{number}", document=f"{number:016d}", wire=f"e{number}#1")


def stripe_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    given = told["accounts"]["acct_us"] if "accounts" in told else told
    return {
        "url": told["url"],
        "account": "acct_us",
        "api_key": Secret(given["api_key"]),
        "webhook_secrets": [Secret("whsec_current"), Secret("whsec_next")],
        "timeout_seconds": TIMEOUT_SECONDS,
    }


STRIPE_CUSTOMER = customer("001RM000003oCprYAE")


async def stripe_write(connection: Any, keys: Keys) -> SendOutcome:
    outcome: SendOutcome = await connection.send("customer.create", STRIPE_CUSTOMER, keys)
    return outcome


async def stripe_made(connection: Any) -> int:
    return await found_by_key(connection, STRIPE_CUSTOMER)


async def found_by_key(connection: Any, write: CustomerWrite) -> int:
    found = await connection.find("customer.create", write, KEYS, datetime.now(UTC))
    match found:
        case Found():
            return 1 + len(found.others)
        case Absent():
            assert found.conclusive_at > datetime.now(UTC)
            return 0
    raise AssertionError(found)


async def stripe_many(served: Served, connection: Any) -> tuple[set[str], set[str]]:
    """Many customers, the oldest of which is found by its key: it stands behind the first page."""
    wanted = {KEYS.document}
    assert isinstance(await stripe_write(connection, KEYS), Confirmed)
    for number in range(120):
        made = await connection.send("customer.create", customer(f"001{number}"), keys_of(number))
        assert isinstance(made, Confirmed)
    return wanted, {KEYS.document} if await stripe_made(connection) == 1 else set()


async def stripe_unknown(served: Served, world: World) -> str:
    """An invoice whose status this release has never heard of."""
    served.act("seed_catalogue")
    connection = CASES["stripe"].open(served, world)
    buyer = await connection.send("customer.create", STRIPE_CUSTOMER, KEYS)
    assert isinstance(buyer, Confirmed)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    line = SubscriptionWriteLine(
        contract_line="00kA", product="prod_PLATFORM", description="", quantity=Decimal(1), unit_minor=Decimal(100),
        charge="recurring",
    )  # fmt: skip
    write = SubscriptionWrite(
        source=Ref(connection="crm", kind="opportunity", id="006A"),
        account="001A",
        customer=buyer.receipt.external_id,
        currency="USD",
        lines=(line,),
        starts_at=today,
        ends_at=None,
        future=False,
        frequency="month",
        days_until_due=30,
    )
    sold = await connection.send("subscription.create", write, keys_of(1))
    assert isinstance(sold, Confirmed), sold
    (told,) = served.act("snapshot", account="acct_us")["acct_us"]["invoices"]
    altered = {"account": "acct_us", "kind": "invoices", "id": told["id"]}
    served.act("alter", path="status", value="brand_new", **altered)
    invoice: Invoice = await connection.fetch(Invoice, told["id"])
    return invoice.status


def netsuite_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": told["url"],
        "account": told["account"],
        "client_id": told["client_id"],
        "certificate_id": told["certificate_id"],
        "algorithm": told["algorithm"],
        "private_key": Secret(told["private_key"]),
        "live": False,
        "timeout_seconds": TIMEOUT_SECONDS,
        "currencies": {"1": "USD", "2": "JPY"},
    }


NETSUITE_CUSTOMER = customer("001RM000003oCprYAE", subsidiary="1", terms="2")


async def netsuite_write(connection: Any, keys: Keys) -> SendOutcome:
    outcome: SendOutcome = await connection.send("customer.create", NETSUITE_CUSTOMER, keys)
    return outcome


async def netsuite_made(connection: Any) -> int:
    return await found_by_key(connection, NETSUITE_CUSTOMER)


async def netsuite_invoice(connection: Any, buyer: str, number: int) -> str:
    line = DocumentLine(item="PLATFORM-IMM", account="4000", description="", quantity=None, net_minor=100)
    write = DocumentWrite(
        kind="invoice",
        reason="finalised",
        source=Ref(connection="billing", kind="invoice", id=f"in_{number}"),
        number=f"INV-{number}",
        entity="us",
        subsidiary="1",
        customer=buyer,
        currency="USD",
        day=datetime.now(UTC).date(),
        due=None,
        lines=(line,),
        net_minor=100,
        tax_minor=0,
        total_minor=100,
        journal=(),
    )
    made = await connection.send("invoice.create", write, keys_of(number))
    assert isinstance(made, Confirmed), made
    return made.receipt.external_id


async def netsuite_buyer(connection: Any) -> str:
    made = await connection.send("customer.create", NETSUITE_CUSTOMER, KEYS)
    assert isinstance(made, Confirmed), made
    return made.receipt.external_id


async def netsuite_many(served: Served, connection: Any) -> tuple[set[str], set[str]]:
    """Seven invoices in pages of three; their ledger lines, two of each, are paged on their own."""
    buyer = await netsuite_buyer(connection)
    wanted = {await netsuite_invoice(connection, buyer, number) for number in range(7)}
    async with open_world() as world:
        small = CASES["netsuite"].open(served, world, page_size=3)
        before = len(served.log())
        found = await listed(small)
    pages = [entry for entry in served.log()[before:] if entry["operation"] == "suiteql"]
    assert len(pages) >= 3 * (1 + 1 + 2)  # heads, taxes, ledger lines
    assert [len(document.accounts) for document in found] == [2] * 7
    return wanted, {document.id for document in found}


async def netsuite_unknown(served: Served, world: World) -> str:
    """An invoice whose approval status this release has never heard of."""
    connection = CASES["netsuite"].open(served, world)
    id = await netsuite_invoice(connection, await netsuite_buyer(connection), 1)
    served.act("alter", type="invoice", id=id, path="approval", value="9")
    assert await connection.statuses("invoice", (id,)) == {id: "created"}
    (document,) = await listed(connection)
    assert not document.posted
    return str(document.status)


# Seconds of a real server, which works for its answers.
TRYTON_TIMEOUT_SECONDS = 4
TRYTON_CUSTOMER = customer("001RM000003oCprYAE", subsidiary="1", terms="2")


def tryton_settings(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": told["url"],
        "database": told["database"],
        "username": told["username"],
        "password": Secret(told["password"]),
        "live": False,
        "timeout_seconds": TRYTON_TIMEOUT_SECONDS,
    }


async def tryton_write(connection: Any, keys: Keys) -> SendOutcome:
    outcome: SendOutcome = await connection.send("customer.create", TRYTON_CUSTOMER, keys)
    return outcome


async def tryton_made(connection: Any) -> int:
    return await found_by_key(connection, TRYTON_CUSTOMER)


async def tryton_invoice(connection: Any, buyer: str, number: int) -> str:
    line = DocumentLine(item="", account="4000", description="", quantity=None, net_minor=100)
    write = DocumentWrite(
        kind="invoice",
        reason="finalised",
        source=Ref(connection="billing", kind="invoice", id=f"in_{number}"),
        number=f"INV-{number}",
        entity="us",
        subsidiary="1",
        customer=buyer,
        currency="USD",
        day=date(2026, 3, 1),
        due=None,
        lines=(line,),
        net_minor=100,
        tax_minor=0,
        total_minor=100,
        journal=(),
    )
    made = await connection.send("invoice.create", write, keys_of(number))
    assert isinstance(made, Confirmed), made
    assert not made.receipt.posted
    return str(made.receipt.external_id)


async def tryton_buyer(connection: Any) -> str:
    made = await connection.send("customer.create", TRYTON_CUSTOMER, KEYS)
    assert isinstance(made, Confirmed), made
    return str(made.receipt.external_id)


async def tryton_many(served: Served, connection: Any) -> tuple[set[str], set[str]]:
    """Seven invoices in pages of three; posted, so that each has its two lines in the ledger."""
    buyer = await tryton_buyer(connection)
    wanted = {await tryton_invoice(connection, buyer, number) for number in range(7)}
    for number, id in enumerate(sorted(wanted)):
        posted = await connection.send(
            "invoice.post", ApproveWrite(document=id, kind="invoice"), keys_of(100 + number)
        )
        assert isinstance(posted, Confirmed), posted
    async with open_world() as world:
        small = CASES["tryton"].open(served, world, page_size=3)
        before = len(served.log())
        found = await listed(small)
    pages = [entry for entry in served.log()[before:] if entry["operation"] == "account.invoice.search_read"]
    assert len(pages) >= 3
    assert [len(document.accounts) for document in found] == [2] * 7
    return wanted, {document.id for document in found}


async def tryton_unknown(served: Served, world: World) -> str:
    """An invoice in a state that this release has never heard of."""
    connection = CASES["tryton"].open(served, world)
    id = await tryton_invoice(connection, await tryton_buyer(connection), 1)
    served.act("alter", table="account_invoice", id=id[1:], column="state", value="brand_new")
    assert await connection.statuses("invoice", (id,)) == {id: "created"}
    (document,) = await listed(connection)
    assert not document.posted
    return str(document.status)


CASES = {
    case.name: case
    for case in (
        Case(
            name="salesforce",
            settings=salesforce_settings,
            wrong={"username": "nobody@acme.example"},
            address="login_url",
            write_operation="upsert",
            read_operation="query",
            write=salesforce_write,
            made=salesforce_made,
            read=listed,
            many=salesforce_many,
            unknown=salesforce_unknown,
            find_by_key=False,
        ),
        Case(
            name="stripe",
            settings=stripe_settings,
            wrong={"api_key": Secret("sk_test_wrong_TOPSECRET")},
            address="url",
            write_operation="customers.create",
            read_operation="invoices.list",
            write=stripe_write,
            made=stripe_made,
            read=listed,
            many=stripe_many,
            unknown=stripe_unknown,
        ),
        Case(
            name="netsuite",
            settings=netsuite_settings,
            wrong={"client_id": "nobody"},
            address="url",
            write_operation="customer.upsert",
            read_operation="suiteql",
            write=netsuite_write,
            made=netsuite_made,
            read=listed,
            many=netsuite_many,
            unknown=netsuite_unknown,
        ),
        Case(
            name="tryton",
            settings=tryton_settings,
            wrong={"password": Secret("wrong_TOPSECRET")},
            address="url",
            write_operation="party.party.create",
            read_operation="account.invoice.search_read",
            write=tryton_write,
            made=tryton_made,
            read=listed,
            many=tryton_many,
            unknown=tryton_unknown,
            timeout_seconds=TRYTON_TIMEOUT_SECONDS,
            real="tryton_proxy",
        ),
    )
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def served(case: Case, request: pytest.FixtureRequest) -> Iterator[Served]:
    with serve(request.getfixturevalue(case.real) if case.real else case.twin()) as running:
        yield running


@pytest.fixture
async def transport() -> AsyncIterator[RecordingTransport]:
    recording = RecordingTransport(AiohttpTransport())
    yield recording
    await recording.close()


@pytest.fixture
async def world(transport: RecordingTransport) -> AsyncIterator[World]:
    async with open_world(transport) as opened:
        yield opened


@pytest.fixture
async def connection(case: Case, served: Served, world: World) -> Any:
    """Signed in, so that a planned fault meets the call that is meant."""
    opened = case.open(served, world)
    await opened.identity()
    return opened


# ---------------------------------------------------------------------------------------------------------- sign-in


async def test_failed_sign_in_is_misconfigured(case: Case, served: Served, world: World) -> None:
    connection = case.open(served, world, **case.wrong)
    outcome = await case.write(connection, KEYS)
    assert isinstance(outcome, Misconfigured)
    assert (outcome.scope, outcome.key) == ("connection", case.name)
    assert outcome.remedy
    with pytest.raises(Failure) as caught:
        await case.read(connection)
    assert isinstance(caught.value.outcome, Misconfigured)
    assert not [
        entry
        for entry in served.log()
        if entry["operation"] == case.write_operation and entry["status"] != 401
    ]
    findings = await connection.check()
    assert "error" in {finding.level for finding in findings}


async def test_check_finds_nothing_wrong(case: Case, connection: Any) -> None:
    """A fresh twin sends its webhooks nowhere yet, which is all that may be found."""
    errors = [finding for finding in await connection.check() if finding.level == "error"]
    assert [finding for finding in errors if finding.subject != "webhooks"] == []


async def test_refused_connection_sends_nothing(case: Case, served: Served, world: World) -> None:
    connection = case.open(served, world, **{case.address: refused_url()})
    assert isinstance(await case.write(connection, KEYS), Transient)
    with pytest.raises(Failure) as caught:
        await case.read(connection)
    assert isinstance(caught.value.outcome, Transient)


# ------------------------------------------------------------------------------------------------------------ reads


async def test_paging_to_the_end(case: Case, served: Served, connection: Any) -> None:
    wanted, found = await case.many(served, connection)
    assert wanted
    assert found == wanted


@pytest.mark.parametrize("kind", ["error_before", "malformed", "html", "hang", "refuse"])
async def test_read_that_fails_is_transient(case: Case, served: Served, connection: Any, kind: str) -> None:
    served.fail(kind, case.read_operation)
    with pytest.raises(Failure) as caught:
        await case.read(connection)
    assert isinstance(caught.value.outcome, Transient), caught.value
    served.faults()
    await case.read(connection)


async def test_read_over_the_limit(case: Case, served: Served, connection: Any) -> None:
    served.fail("rate_limited", case.read_operation)
    with pytest.raises(Failure) as caught:
        await case.read(connection)
    assert isinstance(caught.value.outcome, RateLimited)


async def test_unknown_word_is_pending(case: Case, served: Served, world: World) -> None:
    assert (await case.unknown(served, world)).startswith("pending")


# ----------------------------------------------------------------------------------------------------------- writes


async def test_write_over_the_limit(case: Case, served: Served, connection: Any) -> None:
    served.fail("rate_limited", case.write_operation)
    assert isinstance(await case.write(connection, KEYS), RateLimited)
    served.faults()
    assert await case.made(connection) == 0


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("error_before", 0),
        ("error_after", 1),
        ("hang", 0),
        ("timeout_after_work", 1),
        ("reset", 1),
        ("refuse", 0),
    ],
)
async def test_write_without_an_answer_is_unknown(
    case: Case, served: Served, connection: Any, kind: str, made: int
) -> None:
    served.fail(kind, case.write_operation)
    outcome = await case.write(connection, KEYS)
    assert isinstance(outcome, OutcomeUnknown), outcome
    served.faults()
    assert await case.made(connection) == made


@pytest.mark.parametrize("kind", ["malformed", "html"])
async def test_write_with_an_unreadable_answer_is_no_refusal(
    case: Case, served: Served, connection: Any, kind: str
) -> None:
    """Where the vendor answers a write without a body nothing can be unreadable: then it is confirmed."""
    served.fail(kind, case.write_operation)
    outcome = await case.write(connection, KEYS)
    assert isinstance(outcome, OutcomeUnknown | Confirmed), outcome
    served.faults()
    assert await case.made(connection) == 1


async def test_same_write_twice_makes_one_document(case: Case, served: Served, connection: Any) -> None:
    first = await case.write(connection, KEYS)
    second = await case.write(connection, KEYS)
    assert isinstance(first, Confirmed), first
    assert isinstance(second, Confirmed), second
    assert first.receipt.external_id == second.receipt.external_id
    assert await case.made(connection) == 1


async def test_two_writes_at_once_make_one_document(case: Case, served: Served, connection: Any) -> None:
    both = await asyncio.gather(case.write(connection, KEYS), case.write(connection, KEYS))
    assert any(isinstance(outcome, Confirmed) for outcome in both), both
    assert all(isinstance(outcome, Confirmed | Transient | OutcomeUnknown) for outcome in both), both
    assert await case.made(connection) == 1


async def test_late_success_is_found(case: Case, served: Served, connection: Any) -> None:
    served.fail_once("late", case.write_operation, seconds=case.timeout_seconds + 0.7)
    assert isinstance(await case.write(connection, KEYS), OutcomeUnknown)
    assert await case.made(connection) == 0
    for _ in range(40):
        await asyncio.sleep(0.1)
        if await case.made(connection):
            break
    assert await case.made(connection) == 1


async def test_look_up_never_raises(case: Case, served: Served, connection: Any) -> None:
    if not case.find_by_key:
        assert not isinstance(connection, Writer)
        return
    assert isinstance(connection, Writer)
    assert all(traits.uniqueness in ("atomic", "search_only") for traits in connection.operations.values())
    served.faults(rates={"error_before": 1.0})
    write = {"stripe": STRIPE_CUSTOMER, "tryton": TRYTON_CUSTOMER}.get(case.name, NETSUITE_CUSTOMER)
    found = await connection.find("customer.create", write, KEYS, datetime.now(UTC))
    assert type(found).__name__ == "Inconclusive"


# --------------------------------------------------------------------------------------------- webhooks and secrets


def signed(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    digest = hmac.digest(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hex()
    return {"stripe-signature": f"t={stamp},v1={digest}"}


async def test_forged_webhook_is_refused(case: Case, served: Served, world: World) -> None:
    connection = case.open(served, world)
    if not isinstance(connection, Inbound):
        assert case.name != "stripe"
        return
    assert connection.accepts_webhooks
    assert not case.open(served, world, webhook_secrets=[]).accepts_webhooks
    now, body = datetime.now(UTC), b'{"id":"evt_1","object":"event"}'
    connection.verify(signed(body, "whsec_current", now), body, now)
    connection.verify(signed(body, "whsec_next", now), body, now)
    stale = datetime.fromtimestamp(now.timestamp() - 3600, UTC)
    for headers in (
        {},
        {"stripe-signature": ""},
        {"stripe-signature": "t=soon,v1=00"},
        signed(body, "whsec_other", now),
        signed(body + b" ", "whsec_current", now),
        signed(body, "whsec_current", stale),
    ):
        with pytest.raises(Forged):
            connection.verify(headers, body, now)


async def test_secret_is_never_shown(
    case: Case, served: Served, world: World, transport: RecordingTransport, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = served.describe()
    settings = case.settings(told)
    connection = case.open(served, world)
    shown: list[str] = [
        repr(connection),
        repr(case.connector().config(**settings)),
        repr(await connection.identity()),
    ]
    for kind in ("error_after", "html", "rate_limited", "reset", "none"):
        served.fail(kind, case.write_operation) if kind != "none" else served.faults()
        shown.append(repr(await case.write(connection, KEYS)))
    for changes in (case.wrong, {case.address: refused_url()}):
        wrong = case.open(served, world, **changes)
        shown.append(repr(await case.write(wrong, KEYS)))
        with pytest.raises(Failure) as caught:
            await case.read(wrong)
        error: BaseException | None = caught.value
        while error is not None:
            shown += [str(error), repr(error)]
            error = error.__cause__ or error.__context__
        shown += [repr(finding) for finding in await wrong.check()]
    hidden = [value.reveal() for value in settings.values() if isinstance(value, Secret)]
    hidden += [value.reveal() for value in case.wrong.values() if isinstance(value, Secret)]
    hidden += [
        request.headers["authorization"].partition(" ")[2]
        for request in transport.requests
        if "authorization" in request.headers
    ]
    assert hidden
    text = "\n".join(shown) + caplog.text
    assert not [secret[:6] for secret in hidden if secret and secret in text]
