"""Committed transactions as change events: header, bitmaps and fields in Avro, as Change Data Capture sends them.

Source: Change Data Capture Developer Guide, "ChangeEventHeader Fields" and "Change Event Message Structure".
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from tieout_lab.twins.salesforce.schema import NUMBERS, Field, SObject
from tieout_lab.twins.salesforce.store import Commit, Row

KINDS = ("CREATE", "UPDATE", "DELETE", "UNDELETE")
GAPS = ("GAP_CREATE", "GAP_UPDATE", "GAP_DELETE", "GAP_UNDELETE", "GAP_OVERFLOW")
# Never in an event: the record's id is in the header, the others are not captured.
_LEFT_OUT = frozenset({"Id", "IsDeleted", "SystemModstamp", "LastViewedDate", "LastReferencedDate"})
_HEADER_TEXTS = ("transactionKey", "changeOrigin", "commitUser")
_LISTS = ("nulledFields", "diffFields", "changedFields")


@dataclass(frozen=True, slots=True)
class Published:
    """One event, ready for the bus."""

    sobject: str
    schema_id: str
    payload: bytes


class EventSchema:
    """The Avro schema of one object's events as the object is now; a new field makes another schema with another id."""

    def __init__(self, sobject: SObject) -> None:
        from fastavro import parse_schema

        self.name = sobject.name
        every = list(sobject.fields.values())
        addresses = [each.name.removesuffix("Address") for each in every if each.type == "address"]
        parts = {f"{kind}{part}": kind for kind in addresses for part in _parts(sobject, kind)}
        self.fields = [
            each for each in every if each.name not in _LEFT_OUT and not each.via and each.name not in parts
        ]
        self.parts = {f"{kind}Address": _parts(sobject, kind) for kind in addresses}
        declared = {
            "type": "record",
            "name": event_name(sobject),
            "namespace": "com.sforce.eventbus",
            "fields": [{"name": "ChangeEventHeader", "type": _header()}, *map(self._declared, self.fields)],
        }
        self.text = msgspec.json.encode(declared).decode()
        self.id = base64.urlsafe_b64encode(hashlib.sha256(self.text.encode()).digest())[:22].decode()
        self._ready = parse_schema(declared)

    def _declared(self, field: Field) -> dict[str, Any]:
        kind: Any = _avro(field)
        if field.type == "address":
            nested = [
                {"name": part, "type": ["null", "string"], "default": None} for part in self.parts[field.name]
            ]
            kind = {"type": "record", "name": f"{field.name}Parts", "fields": nested}
        return {"name": field.name, "type": ["null", kind], "default": None}

    def values(self, row: Row) -> dict[str, Any]:
        """Every field of a row as the event holds it."""
        return {field.name: self._value(field, row) for field in self.fields}

    def _value(self, field: Field, row: Row) -> Any:
        if field.type == "address":
            kind = field.name.removesuffix("Address")
            found = {part: row.get(kind + part) for part in self.parts[field.name]}
            return None if all(value is None for value in found.values()) else found
        value = row.get(field.name)
        if value is None:
            return None
        match _avro(field):
            case "double":
                return float(value)
            case "int":
                return int(value)
            case "long":
                return _millis(value)
            case "boolean":
                return bool(value)
        return str(value)

    def bitmaps(self, names: set[str], before: dict[str, Any], after: dict[str, Any]) -> list[str]:
        """Names of fields as the bitmaps of the header, the top level's first; bit 0 is the header itself."""
        top, nested = 0, []
        for place, field in enumerate(self.fields, start=1):
            if field.name not in names:
                continue
            if field.type != "address":
                top |= 1 << place
                continue
            old, new = before.get(field.name) or {}, after.get(field.name) or {}
            bits = sum(
                1 << at for at, part in enumerate(self.parts[field.name]) if old.get(part) != new.get(part)
            )
            nested.append(f"{place}-0x{bits:02X}")
        return [*([f"0x{top:X}"] if top else []), *nested]

    def encode(self, header: dict[str, Any], values: dict[str, Any]) -> bytes:
        """Avro binary, without a container."""
        from fastavro import schemaless_writer

        out = io.BytesIO()
        blank = {field.name: None for field in self.fields}
        schemaless_writer(out, self._ready, {"ChangeEventHeader": header, **blank, **values})
        return out.getvalue()


class Capture:
    """Makes events of commits. `schemas` keeps every schema ever used, by id."""

    def __init__(self, objects: dict[str, SObject]) -> None:
        self._objects = objects
        self.schemas: dict[str, EventSchema] = {}
        self._present: dict[tuple[str, int], EventSchema] = {}
        self._transactions = 0

    def schema(self, name: str) -> EventSchema:
        """The present schema of an object's events."""
        key = (name, len(self._objects[name].fields))
        if key not in self._present:
            made = self._present[key] = EventSchema(self._objects[name])
            self.schemas[made.id] = made
        return self._present[key]

    def header(self, name: str, ids: list[str], kind: str, at: datetime, **more: Any) -> dict[str, Any]:
        """A header; what `more` does not give is as a gap event has it."""
        self._transactions += 1
        key = hashlib.sha256(f"transaction {self._transactions}".encode()).hexdigest()
        empty: dict[str, Any] = {**dict.fromkeys(_HEADER_TEXTS, ""), **{each: [] for each in _LISTS}}
        return empty | {
            "entityName": name,
            "recordIds": ids,
            "changeType": kind,
            "sequenceNumber": 1,
            "transactionKey": f"{key[:8]}-{key[8:12]}-{key[12:16]}-{key[16:20]}-{key[20:32]}",
            "commitTimestamp": int(at.timestamp() * 1000),
            "commitNumber": 10_000_000_000 + self._transactions,
        } | more  # fmt: skip

    def gap(self, name: str, ids: list[str], kind: str, at: datetime) -> Published:
        """A header alone."""
        schema = self.schema(name)
        return Published(name, schema.id, schema.encode(self.header(name, ids, kind, at), {}))

    def events(self, commit: Commit, selected: frozenset[str], at: datetime) -> Iterator[Published]:
        """The events of one transaction, in order; the same change of many records is one event."""
        merged: dict[bytes, tuple[EventSchema, dict[str, Any], dict[str, Any]]] = {}
        for name, record_id, before, after in commit.changes:
            if name not in selected or after is None:
                continue
            found = self._change(name, before, after)
            if found is None:
                continue
            schema, kind, values, lists = found
            key = msgspec.json.encode([schema.id, kind, values, lists] if kind == "UPDATE" else record_id)
            if key in merged:
                merged[key][1]["recordIds"].append(record_id)
                continue
            author = {"commitUser": commit.actor, "changeOrigin": commit.origin}
            merged[key] = (schema, self.header(name, [record_id], kind, at, **author, **lists), values)
        first: dict[str, Any] = {}
        for number, (schema, header, values) in enumerate(merged.values(), start=1):
            first = first or header
            one = {name: first[name] for name in ("transactionKey", "commitNumber")}
            yield Published(
                schema.name, schema.id, schema.encode({**header, **one, "sequenceNumber": number}, values)
            )

    def _change(
        self, name: str, before: Row | None, after: Row
    ) -> tuple[EventSchema, str, dict[str, Any], dict[str, list[str]]] | None:
        schema = self.schema(name)
        new = schema.values(after)
        if before is None:
            return schema, "CREATE", new, {}
        was, gone = bool(before.get("IsDeleted")), bool(after.get("IsDeleted"))
        if gone:
            return None if was else (schema, "DELETE", {}, {})
        if was:
            return schema, "UNDELETE", new, {}
        old = schema.values(before)
        changed = {field for field in new if new[field] != old[field]}
        if not changed:
            return None
        nulled = {field for field in changed if new[field] is None}
        lists = {
            "changedFields": schema.bitmaps(changed, old, new),
            "nulledFields": schema.bitmaps(nulled, old, new),
        }
        return schema, "UPDATE", {field: new[field] for field in changed}, lists


def event_name(sobject: SObject) -> str:
    """`OpportunityChangeEvent`; `X__c` gives `X__ChangeEvent`."""
    return (
        sobject.name.removesuffix("c") + "ChangeEvent"
        if sobject.name.endswith("__c")
        else f"{sobject.name}ChangeEvent"
    )


def _parts(sobject: SObject, kind: str) -> list[str]:
    parts = ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode")
    return [part for part in parts if sobject.has(kind + part)]


def _avro(field: Field) -> str:
    if field.type in NUMBERS:
        return "double"
    return {"int": "int", "boolean": "boolean", "date": "long", "datetime": "long"}.get(field.type, "string")


def _millis(text: str) -> int:
    moment = datetime.fromisoformat(text) if "T" in text else date.fromisoformat(text)
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return int(moment.timestamp() * 1000)


def _header() -> dict[str, Any]:
    texts = {"type": "array", "items": "string"}
    kinds = {"type": "enum", "name": "ChangeType", "symbols": [*KINDS, *GAPS, "SNAPSHOT"]}
    fields = {
        "entityName": "string", "recordIds": texts, "changeType": kinds, "changeOrigin": "string",
        "transactionKey": "string", "sequenceNumber": "int", "commitTimestamp": "long", "commitNumber": "long",
        "commitUser": "string", "nulledFields": texts, "diffFields": texts, "changedFields": texts,
    }  # fmt: skip
    declared = [{"name": name, "type": kind} for name, kind in fields.items()]
    return {"type": "record", "name": "ChangeEventHeader", "fields": declared}
