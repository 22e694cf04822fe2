"""The messages of the Pub/Sub API that we use, and the change events in them.

Names and numbers of the fields are those of the vendor's `eventbus.v1`, `pubsub_api.proto` in forcedotcom/pub-sub-api;
a test holds them against that file. protobuf and fastavro come with the extra `salesforce`, so they are imported where
they are needed.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import cache
from typing import Any

import msgspec

from tieout.connectors.http import BadBody, decode_json
from tieout.connectors.salesforce import bitmaps
from tieout.connectors.salesforce.soql import is_record_id
from tieout.ports import StreamEnded

SERVICE = "eventbus.v1.PubSub"
LATEST, CUSTOM = 0, 2
HEADER = "ChangeEventHeader"

# message -> "name number type" of each field; a type in brackets is repeated.
MESSAGES: dict[str, tuple[str, ...]] = {
    "FetchRequest": (
        "topic_name 1 string",
        "replay_preset 2 int32",  # an enum there; on the wire the same
        "replay_id 3 bytes",
        "num_requested 4 int32",
    ),
    "ProducerEvent": ("id 1 string", "schema_id 2 string", "payload 3 bytes"),
    "ConsumerEvent": ("event 1 ProducerEvent", "replay_id 2 bytes"),
    "FetchResponse": (
        "events 1 [ConsumerEvent]",
        "latest_replay_id 2 bytes",
        "rpc_id 3 string",
        "pending_num_requested 4 int32",
    ),
    "SchemaRequest": ("schema_id 1 string",),
    "SchemaInfo": ("schema_json 1 string", "schema_id 2 string", "rpc_id 3 string"),
    "TopicRequest": ("topic_name 1 string",),
    "TopicInfo": (
        "topic_name 1 string",
        "tenant_guid 2 string",
        "can_publish 3 bool",
        "can_subscribe 4 bool",
        "schema_id 5 string",
        "rpc_id 6 string",
    ),
}


@cache
def _classes() -> dict[str, Any]:
    """The messages as classes of protobuf, in a pool of their own."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(
        name="eventbus_v1_subset.proto", package="eventbus.v1", syntax="proto3"
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for name, number, kind in (field.split() for field in fields):
            inner = kind.strip("[]")
            repeated = kind.startswith("[")
            field = declared.field.add(name=name, number=int(number))
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if inner in MESSAGES:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".eventbus.v1.{inner}"
            else:
                field.type = getattr(kinds, f"TYPE_{inner.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"eventbus.v1.{name}"))
        for name in MESSAGES
    }


def encode(message: str, **values: Any) -> bytes:
    """A message as bytes. ValueError for a field that it has not."""
    raw: bytes = _classes()[message](**values).SerializeToString()
    return raw


def decode(message: str, raw: bytes) -> Any:
    """A message with its fields as attributes; fields that we do not know are passed over. Raises BadBody."""
    from google.protobuf.message import DecodeError

    try:
        return _classes()[message].FromString(raw)
    except DecodeError as error:
        raise BadBody(f"no {message}") from error


# --------------------------------------------------------------------------------------------------- change events


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The header of one change event. `fields` are the names of what changed, None where the event does not say
    (everything but an update); `kind` is the vendor's changeType."""

    sobject: str
    ids: tuple[str, ...]
    kind: str
    at: datetime
    fields: frozenset[str] | None = None
    transaction: str = ""
    sequence: int = 0
    origin: str = ""
    user: str = ""

    @property
    def tells_too_little(self) -> bool:
        """A gap or an overflow, or a wildcard in place of ids: what happened must be read from the object itself."""
        return self.kind.startswith("GAP_") or not self.ids or any(not is_record_id(id) for id in self.ids)


class Schema:
    """One event schema, for decoding the payloads that name its id."""

    def __init__(self, schema_json: str) -> None:
        from fastavro import parse_schema
        from fastavro.schema import SchemaParseException

        self.parsed = decode_json(schema_json.encode())
        if not isinstance(self.parsed, dict) or self.parsed.get("type") != "record":
            raise BadBody("an event schema that is no record")
        try:
            self._ready = parse_schema(self.parsed)
        except (SchemaParseException, KeyError, TypeError, AttributeError) as error:
            raise BadBody("an event schema that is no Avro schema") from error

    def change(self, payload: bytes) -> Change:
        """The header of an event. Raises BadBody."""
        from fastavro import schemaless_reader

        stream = io.BytesIO(payload)
        try:
            record: Any = schemaless_reader(stream, self._ready, None)
            header = record[HEADER]
            changed = frozenset[str]().union(
                *(
                    bitmaps.decode(header[name], self.parsed)
                    for name in ("changedFields", "nulledFields", "diffFields")
                )
            )
            return Change(
                sobject=header["entityName"],
                ids=tuple(header["recordIds"]),
                kind=header["changeType"],
                at=datetime.fromtimestamp(header["commitTimestamp"] // 1000, UTC),
                fields=changed if header["changeType"] == "UPDATE" else None,
                transaction=header["transactionKey"] or "",
                sequence=header["sequenceNumber"],
                origin=header["changeOrigin"] or "",
                user=header["commitUser"] or "",
            )
        except BadBody:
            raise
        except Exception as error:  # the library raises whatever it stumbled over
            raise BadBody(f"an event that its schema does not fit: {type(error).__name__}") from error


def allowance_code(ended: StreamEnded) -> bool:
    """The org's events of 24 hours are delivered."""
    return "limit.exceeded" in ended.details.get("error-code", "")


def replay_code(ended: StreamEnded) -> bool:
    """The replay id is unknown or older than what is kept: the two are not told apart."""
    return "replayid" in ended.details.get("error-code", "")


def sign_in_code(ended: StreamEnded) -> bool:
    """The session is not, or no longer, accepted."""
    return ended.status == "UNAUTHENTICATED" or ".auth." in ended.details.get("error-code", "")
