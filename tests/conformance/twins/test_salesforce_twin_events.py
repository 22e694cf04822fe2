"""The event bus of the Salesforce twin, spoken to with messages compiled from the vendor's own `pubsub_api.proto`."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import grpc
import grpc.aio
import pytest

from tests.conformance.support import Served, serve
from tests.conformance.twins.salesforce_org import HandClock, Org
from tieout.connectors.salesforce import pubsub_wire
from tieout_lab.twins.calls import reserve_port
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin, pubsub_messages

PROTO = Path(__file__).resolve().parents[3] / ".." / "shared" / "specs" / "salesforce" / "pubsub_api.proto"
CODE = "sfdc.platform.eventbus.grpc."


@pytest.fixture(scope="module")
def vendor(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The vendor's messages."""
    if not PROTO.exists():
        pytest.skip(f"the vendor's proto file is not here: {PROTO}")
    protoc = pytest.importorskip("grpc_tools.protoc", reason="grpcio-tools is not installed")
    folder = tmp_path_factory.mktemp("proto")
    source = folder / "vendor_pubsub_api.proto"
    source.write_text(PROTO.read_text())
    assert protoc.main(["protoc", f"-I{folder}", f"--python_out={folder}", str(source)]) == 0
    sys.path.insert(0, str(folder))
    try:
        import vendor_pubsub_api_pb2 as found
    finally:
        sys.path.remove(str(folder))
    return found


def test_our_messages_and_the_twins_have_the_vendors_numbers(vendor: ModuleType) -> None:
    described = vendor.DESCRIPTOR.message_types_by_name
    kinds = pubsub_wire._classes(), pubsub_messages.messages()
    for classes in kinds:
        for name, ours in classes.items():
            theirs = described[name].fields_by_name
            for field in ours.DESCRIPTOR.fields:
                same = theirs[field.name]
                assert field.number == same.number, f"{name}.{field.name}"
                assert field.is_repeated == same.is_repeated, f"{name}.{field.name}"
                enum_as_number = (same.type, field.type) == (same.TYPE_ENUM, field.TYPE_INT32)
                assert field.type == same.type or enum_as_number, f"{name}.{field.name}"
    for name, theirs in described.items():
        twin_speaks = pubsub_messages.messages().get(name)
        if twin_speaks is not None:
            assert set(theirs.fields_by_name) == set(twin_speaks.DESCRIPTOR.fields_by_name), name
    presets = vendor.DESCRIPTOR.enum_types_by_name["ReplayPreset"].values_by_name
    assert [name for name, _ in sorted(presets.items(), key=lambda each: each[1].number)] == list(
        pubsub_messages.PRESETS
    )
    methods = set(vendor.DESCRIPTOR.services_by_name["PubSub"].methods_by_name)
    assert {path.rpartition("/")[2] for path in SalesforceTwin(SystemTwinClock()).calls} == methods - {
        "Publish", "PublishStream", "ManagedSubscribe",
    }  # fmt: skip


@pytest.fixture
def org() -> Iterator[Org]:
    kept = reserve_port()
    clock = HandClock()
    port = kept.getsockname()[1]
    with serve(SalesforceTwin(SystemTwinClock(), pubsub_port=port)) as served:
        found = Org(served, clock)
        found.sign_in()
        found.port = port
        yield found
    kept.close()


class Client:
    """Calls by the vendor's messages."""

    def __init__(self, vendor: ModuleType, org: Org, channel: Any) -> None:
        self.vendor = vendor
        self.org = org
        self.channel = channel
        self.metadata = (
            ("accesstoken", org.token),
            ("instanceurl", org.served.url),
            ("tenantid", org.about["org_id"]),
        )

    async def one(self, method: str, request: Any, answer: Any, metadata: Any = None) -> Any:
        call = self.channel.unary_unary(
            f"/eventbus.v1.PubSub/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return await call(request, metadata=self.metadata if metadata is None else metadata, timeout=10)

    def subscribe(self) -> Any:
        return self.channel.stream_stream(
            "/eventbus.v1.PubSub/Subscribe",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=self.vendor.FetchResponse.FromString,
        )(metadata=self.metadata, timeout=20)

    async def decode(self, event: Any) -> dict[str, Any]:
        request = self.vendor.SchemaRequest(schema_id=event.schema_id)
        info = await self.one("GetSchema", request, self.vendor.SchemaInfo)
        assert info.schema_id == event.schema_id
        schema = fastavro.parse_schema(json.loads(info.schema_json))
        return fastavro.schemaless_reader(io.BytesIO(event.payload), schema, None)


@pytest.fixture
async def client(vendor: ModuleType, org: Org) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{org.port}") as channel:
        yield Client(vendor, org, channel)


def act(org: Org, name: str, /, **given: Any) -> Any:
    served: Served = org.served
    return served.act(name, **given)


@asynccontextmanager
async def subscribed(client: Client, **first: Any) -> AsyncIterator[Any]:
    call = client.subscribe()
    given = {"topic_name": "/data/ChangeEvents", "num_requested": 100} | first
    with suppress(grpc.aio.AioRpcError):  # refused already: the reader is told
        await call.write(client.vendor.FetchRequest(**given))
    try:
        yield call
    finally:
        call.cancel()


async def refused(call: Any) -> tuple[str, str]:
    """Status and error code of a call that ends."""
    with suppress(grpc.aio.AioRpcError):
        while await call.read() is not grpc.aio.EOF:
            pass
    details = dict(await call.trailing_metadata())
    assert details["rpc-id"] in await call.details()
    return (await call.code()).name, details["error-code"].removeprefix(CODE)


async def events(client: Client, call: Any, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        response = await asyncio.wait_for(call.read(), 10)
        assert response.latest_replay_id == response.events[-1].replay_id
        found += [await client.decode(each.event) for each in response.events]
    return found


async def test_events_of_every_kind_decode_by_the_vendors_rules(client: Client, org: Org) -> None:
    asked = client.vendor.TopicRequest(topic_name="/data/ChangeEvents")
    info = await client.one("GetTopic", asked, client.vendor.TopicInfo)
    assert (info.topic_name, info.tenant_guid, info.can_subscribe) == (
        "/data/ChangeEvents", org.about["org_id"], True,
    )  # fmt: skip
    async with subscribed(client, replay_preset=1, topic_name="/data/AccountChangeEvent") as call:
        billing = {"city": "Paris", "country": "FR"}
        id = act(org, "create_account", name="Acme", billing=billing)["id"]
        act(org, "update", object="Account", id=id, fields={"BillingCity": "Lyon", "Phone": "1"})
        act(org, "update", object="Account", id=id, fields={"Phone": None})
        act(org, "delete", object="Account", id=id)
        act(org, "undelete", object="Account", id=id)
        created, changed, nulled, deleted, back = await events(client, call, 5)
    kinds = [each["ChangeEventHeader"]["changeType"] for each in (created, changed, nulled, deleted, back)]
    assert kinds == ["CREATE", "UPDATE", "UPDATE", "DELETE", "UNDELETE"]
    assert all(each["ChangeEventHeader"]["recordIds"] == [id] for each in (created, deleted, back))
    assert created["Name"] == "Acme"
    assert created["BillingAddress"]["City"] == "Paris"
    assert created["ChangeEventHeader"]["changedFields"] == []
    assert changed["Name"] is None
    schema = await names(client, org)
    assert decoded(changed, "changedFields", schema) >= {"Phone", "BillingAddress.City"}
    assert "Name" not in decoded(changed, "changedFields", schema)
    assert decoded(nulled, "nulledFields", schema) == {"Phone"}
    assert all(value is None for name, value in deleted.items() if name != "ChangeEventHeader")
    assert back["Name"] == "Acme"


async def names(client: Client, org: Org) -> list[Any]:
    schema = org.twin.pubsub.bus.capture.schema("Account")
    return json.loads(schema.text)["fields"]


def decoded(event: dict[str, Any], which: str, fields: list[Any]) -> set[str]:
    """The bitmap rule, written out once more."""
    found = set()
    for entry in event["ChangeEventHeader"][which]:
        position, _, bits = entry.rpartition("-")
        inner = fields if not position else fields[int(position)]["type"][1]["fields"]
        prefix = f"{fields[int(position)]['name']}." if position else ""
        found |= {prefix + each["name"] for at, each in enumerate(inner) if int(bits, 16) >> at & 1}
    return found


async def test_replay_presets_and_flow_control(client: Client, org: Org) -> None:
    for at in range(5):
        act(org, "create_account", name=f"Acme {at}")
    async with subscribed(client, replay_preset=1, num_requested=2) as call:
        first = await asyncio.wait_for(call.read(), 10)
        assert (len(first.events), first.pending_num_requested) == (2, 0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(reading := asyncio.ensure_future(call.read())), 0.5)
        await call.write(client.vendor.FetchRequest(num_requested=100))
        second = await asyncio.wait_for(reading, 10)
        assert len(second.events) == 3
    async with subscribed(client, replay_preset=2, replay_id=first.latest_replay_id) as call:
        again = await asyncio.wait_for(call.read(), 10)
        assert [each.event.id for each in again.events] == [each.event.id for each in second.events]
    async with subscribed(client) as call:
        await asyncio.sleep(0.3)
        act(org, "create_account", name="newest")
        latest = await asyncio.wait_for(call.read(), 10)
        assert [(await client.decode(each.event))["Name"] for each in latest.events] == ["newest"]


@pytest.mark.parametrize(
    ("first", "status", "code"),
    [
        ({"num_requested": 0}, "INVALID_ARGUMENT", "subscription.fetch.requested.events.invalid"),
        ({"replay_preset": 2}, "INVALID_ARGUMENT", "subscription.fetch.replayid.validation.failed"),
        (
            {"replay_preset": 2, "replay_id": b"nothing"},
            "INVALID_ARGUMENT",
            "subscription.fetch.replayid.corrupted",
        ),
        ({"topic_name": "/data/NothingChangeEvent"}, "NOT_FOUND", "topic.not.found"),
    ],
)
async def test_a_subscription_that_is_refused(
    client: Client, first: dict[str, Any], status: str, code: str
) -> None:
    async with subscribed(client, **first) as call:
        assert await refused(call) == (status, code)


async def test_expired_and_reset_replay_ids_are_not_told_apart(client: Client, org: Org) -> None:
    act(org, "create_account", name="Acme")
    async with subscribed(client, replay_preset=1) as call:
        known = (await asyncio.wait_for(call.read(), 10)).latest_replay_id
    for action in ("expire_events", "reset_event_bus"):
        act(org, action)
        async with subscribed(client, replay_preset=2, replay_id=known) as call:
            assert (await refused(call))[1] == "subscription.fetch.replayid.corrupted"


@pytest.mark.parametrize("wrong", ["accesstoken", "instanceurl", "tenantid"])
async def test_metadata_is_checked(client: Client, wrong: str) -> None:
    client.metadata = tuple((name, value if name != wrong else "00D") for name, value in client.metadata)
    async with subscribed(client) as call:
        assert await refused(call) == ("UNAUTHENTICATED", "service.auth.error")
    request = client.vendor.TopicRequest(topic_name="/data/ChangeEvents")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.one("GetTopic", request, client.vendor.TopicInfo)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_session_that_ends_is_seen_at_the_next_request_and_the_topic_cannot_change(
    client: Client, org: Org
) -> None:
    async with subscribed(client) as call:
        await asyncio.sleep(0.2)
        await call.write(client.vendor.FetchRequest(topic_name="/data/AccountChangeEvent", num_requested=1))
        assert (await refused(call))[0] == "INVALID_ARGUMENT"
    async with subscribed(client) as call:
        await asyncio.sleep(0.2)
        act(org, "expire_sessions")
        await call.write(client.vendor.FetchRequest(num_requested=1))
        assert await refused(call) == ("UNAUTHENTICATED", "service.auth.refresh.invalid")


async def test_the_allowance_ends_the_stream_and_limits_show_it(client: Client, org: Org) -> None:
    act(org, "event_limits", daily=2)
    for at in range(3):
        act(org, "create_account", name=f"Acme {at}")
    async with subscribed(client, replay_preset=1) as call:
        assert await refused(call) == ("RESOURCE_EXHAUSTED", "subscription.limit.exceeded")
    assert act(org, "event_limits")["used"] == 2


async def test_what_is_not_there_is_unimplemented(client: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.one("Publish", client.vendor.PublishRequest(), client.vendor.PublishResponse)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
