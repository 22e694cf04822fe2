"""Our connectors in the conformance suite: what it is told of each. The tests are in `tieout_lab.conformance`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tieout.app import descriptors
from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice
from tieout.canonical.journal import JournalLine
from tieout.canonical.order import Order
from tieout.canonical.outcome import Absent, Confirmed, Found, NotFound, SendOutcome
from tieout.canonical.party import Address
from tieout.canonical.secret import Secret
from tieout.canonical.write import (
    ApproveWrite,
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    JournalWrite,
    SubscriptionWrite,
    SubscriptionWriteLine,
)
from tieout.connectors.contract import Assignment, Keys, World
from tieout.ports import Response
from tieout_lab.conformance import HOSTILE, KEYS, TIMEOUT_SECONDS, Case, ConnectorConformance
from tieout_lab.conformance.reads import altered
from tieout_lab.conformance.webhooks import CURRENT, NEXT
from tieout_lab.conformance.world import Served, open_world
from tieout_lab.twins import salesforce
from tieout_lab.twins.clock import SystemTwinClock


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
        "webhook_secrets": [Secret(CURRENT), Secret(NEXT)],
    }


def salesforce_event(number: int, org: str = "") -> bytes:
    """An Outbound Message of one opportunity."""
    organisation = org or salesforce.create(SystemTwinClock()).describe("http://127.0.0.1:1")["org_id"]
    return (
        '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><e:Body>'
        '<notifications xmlns="http://soap.sforce.com/2005/09/outbound">'
        f"<OrganizationId>{organisation}</OrganizationId><Notification><Id>04lRM00000{number:05}YAA</Id>"
        '<sObject xsi:type="sf:Opportunity" xmlns:sf="urn:sobject.enterprise.soap.sforce.com">'
        "<sf:Id>006RM00000A1b2cYAB</sf:Id></sObject></Notification></notifications></e:Body></e:Envelope>"
    ).encode()


def salesforce_sign(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    """The vendor signs nothing: the address ends in the secret."""
    del body, at
    return {":path": f"/hooks/salesforce/{secret}"}


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


def salesforce_assignment(number: int) -> Assignment:
    target = Ref(connection="salesforce", kind="invoice_mirror", id=f"in_{number}")
    keys = Keys(effect=f"e{number}", document=f"{number:016d}", wire=f"e{number}#1")
    fields = {**FIELDS, "number": f"INV-{number}"}
    return Assignment(target=target, group="mirror", fields=fields, keys=keys)


def salesforce_refused(number: int) -> Assignment:
    made = salesforce_assignment(number)
    return msgspec.structs.replace(made, fields={**made.fields, "account": "no-such-account"})


async def salesforce_assigned(connection: Any, made: Assignment) -> bool:
    try:
        return bool(await connection.read_back(made.target, made.group, made.fields) == made.fields)
    except NotFound:
        return False


def another_org(answer: Response) -> Response:
    """A token answer that names another org."""

    def change(body: Any) -> Any:
        if isinstance(body, dict) and "access_token" in body:
            body["id"] = "https://login.example/id/00D000000000001EAA/005000000000001AAA"
        return body

    return altered(answer, change)


def more_records(page: Any) -> Any:
    return {**page, "done": False, "nextRecordsUrl": "/services/data/v68.0/query/01g000000000001-2000"}


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
        "webhook_secrets": [Secret(CURRENT), Secret(NEXT)],
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


def stripe_event(number: int, **changes: Any) -> bytes:
    invoice = {"id": f"in_{number}", "object": "invoice", "metadata": {}}
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "type": "invoice.finalized",
        "created": 1_760_000_000 + number,
        "livemode": False,
        "data": {"object": invoice},
    }
    return msgspec.json.encode(event | changes)


def stripe_sign(body: bytes, secret: str, at: datetime) -> dict[str, str]:
    stamp = str(int(at.timestamp()))
    digest = hmac.digest(secret.encode(), stamp.encode() + b"." + body, hashlib.sha256).hex()
    return {"stripe-signature": f"t={stamp},v1={digest}"}


def live_mode(answer: Response) -> Response:
    """An answer whose objects are live ones."""

    def walk(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: True if name == "livemode" else walk(one) for name, one in value.items()}
        return [walk(one) for one in value] if isinstance(value, list) else value

    return altered(answer, walk)


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


def netsuite_document(buyer: str, number: int) -> DocumentWrite:
    line = DocumentLine(item="PLATFORM-IMM", account="4000", description="", quantity=None, net_minor=100)
    return DocumentWrite(
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


async def netsuite_invoice(connection: Any, buyer: str, number: int) -> str:
    made = await connection.send("invoice.create", netsuite_document(buyer, number), keys_of(number))
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


async def netsuite_item(connection: Any, number: int) -> tuple[DocumentWrite, Keys]:
    buyer = await netsuite_buyer(connection)
    return netsuite_document(buyer, number), keys_of(number)


async def netsuite_journal(connection: Any, number: int) -> tuple[JournalWrite, Keys]:
    del connection
    lines = tuple(
        JournalLine(account=account, amount_minor=amount, currency="USD", entity="us")
        for account, amount in (("1000", 100 + number), ("1050", -100 - number))
    )
    write = JournalWrite(
        reason="payout",
        source=Ref(connection="billing", kind="payout", id=f"po_{number}"),
        number=f"po_{number}",
        entity="us",
        subsidiary="1",
        currency="USD",
        amount_minor=100 + number,
        day=date(2026, 1, 20),
        journal=lines,
    )
    return write, keys_of(100 + number)  # transactions of all types share their external ids


async def netsuite_refused(connection: Any, number: int) -> tuple[DocumentWrite, Keys]:
    del connection
    return netsuite_document("987654", number), keys_of(number)


async def netsuite_refused_journal(connection: Any, number: int) -> tuple[JournalWrite, Keys]:
    """Of a customer that is not there."""
    write, keys = await netsuite_journal(connection, number)
    lines = tuple(msgspec.structs.replace(line, customer="987654") for line in write.journal)
    return msgspec.structs.replace(write, journal=lines), keys


def another_account(answer: Response) -> Response:
    """A token answer whose access token is of another account."""

    def change(body: Any) -> Any:
        if isinstance(body, dict) and "access_token" in body:
            head, claims, signature = body["access_token"].split(".")
            payload = msgspec.json.decode(base64.urlsafe_b64decode(claims + "=="))
            payload["aud"] = ["application;TSTDRV7654321", "client"]
            claims = base64.urlsafe_b64encode(msgspec.json.encode(payload)).decode().rstrip("=")
            body["access_token"] = f"{head}.{claims}.{signature}"
        return body

    return altered(answer, change)


# Seconds of a real server, which works for its answers, on a machine that works for other tests too.
TRYTON_TIMEOUT_SECONDS = 10
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
            expire=lambda served: served.act("expire_sessions"),
            others={"account": {"org_id": "00D000000000001EAA"}, "mode": {"live": True}},
            impostor=another_org,
            endless=more_records,
            assignment=salesforce_assignment,
            refused_assignment=salesforce_refused,
            assigned=salesforce_assigned,
            sign=salesforce_sign,
            signs_body=False,
            events=(salesforce_event(1), salesforce_event(2)),
            foreign_event=salesforce_event(3, "00D000000000009EAA"),
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
            look_up=("customer.create", STRIPE_CUSTOMER),
            others={"account": {"account": "acct_other"}, "mode": {"live": True}},
            impostor=live_mode,
            endless=lambda page: {**page, "has_more": True},
            sign=stripe_sign,
            events=(stripe_event(1), stripe_event(2)),
            foreign_event=stripe_event(3, livemode=True),
            lacks={"expire": "an API key has no session that could end"},
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
            look_up=("customer.create", NETSUITE_CUSTOMER),
            expire=lambda served: served.act("revoke_tokens"),
            others={"account": {"account": "TSTDRV7654321"}, "mode": {"live": True}},
            impostor=another_account,
            endless=lambda page: {**page, "hasMore": True},
            bulk={"invoice.create": netsuite_item, "journal.create": netsuite_journal},
            refused_bulk={
                "invoice.create": netsuite_refused,
                "journal.create": netsuite_refused_journal,
            },
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
            look_up=("customer.create", TRYTON_CUSTOMER),
            expire=lambda served: served.act("expire_sessions"),
            others={"account": {"database": "postgres"}},
            lacks={
                "impostor": "no answer names the database: the address does, and no session holds in another",
                "endless": "no answer says that a page follows; one that repeats is in test_tryton_connector.py",
            },
            timeout_seconds=TRYTON_TIMEOUT_SECONDS,
            real="tryton_proxy",
        ),
    )
}


class TestConnectors(ConnectorConformance):
    """Ours, each with the whole suite."""

    @pytest.fixture(params=sorted(CASES))
    def case(self, request: pytest.FixtureRequest) -> Case:
        return CASES[request.param]


def test_every_connector_inherits_the_suite() -> None:
    assert {descriptor.vendor for descriptor in descriptors()} <= CASES.keys()
