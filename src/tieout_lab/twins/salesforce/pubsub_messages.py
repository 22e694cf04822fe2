"""The messages of `eventbus.v1` that the twin speaks. The field numbers are the vendor's; the wording is not."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

_DECLARED = """
TopicRequest  { topic_name=1 }
TopicInfo     { topic_name=1 tenant_guid=2 bool:can_publish=3 bool:can_subscribe=4 schema_id=5 rpc_id=6 }
SchemaRequest { schema_id=1 }
SchemaInfo    { schema_json=1 schema_id=2 rpc_id=3 }
EventHeader   { key=1 bytes:value=2 }
ProducerEvent { id=1 schema_id=2 bytes:payload=3 EventHeader*:headers=4 }
ConsumerEvent { ProducerEvent:event=1 bytes:replay_id=2 }
FetchRequest  { topic_name=1 ReplayPreset:replay_preset=2 bytes:replay_id=3 int32:num_requested=4 auth_refresh=5 }
FetchResponse { ConsumerEvent*:events=1 bytes:latest_replay_id=2 rpc_id=3 int32:pending_num_requested=4 }
"""
PRESETS = ("LATEST", "EARLIEST", "CUSTOM")


@cache
def messages() -> dict[str, Any]:
    """Message class by name."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    proto = descriptor_pb2.FileDescriptorProto(name="twin_eventbus.proto", syntax="proto3")
    proto.package = "eventbus.v1"
    presets = proto.enum_type.add(name="ReplayPreset")
    for number, name in enumerate(PRESETS):
        presets.value.add(name=name, number=number)
    declared = re.findall(r"(\w+)\s*\{(.*?)\}", _DECLARED)
    for message, body in declared:
        target = proto.message_type.add(name=message)
        for kind, many, name, number in re.findall(r"(?:(\w+)(\*?):)?(\w+)=(\d+)", body):
            label = 3 if many else 1
            field = target.field.add(name=name, number=int(number), label=label)
            if kind == "ReplayPreset":
                field.type, field.type_name = field.TYPE_ENUM, ".eventbus.v1.ReplayPreset"
            elif kind and kind[0].isupper():
                field.type, field.type_name = field.TYPE_MESSAGE, f".eventbus.v1.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{(kind or 'string').upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"eventbus.v1.{name}"))
        for name, _ in declared
    }
