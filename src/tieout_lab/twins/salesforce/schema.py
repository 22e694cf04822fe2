"""Objects and fields as data. `objects.py` and `custom.py` declare them, one field a line:

    AccountId ref:Account children=Opportunities

A line is `name type[:size] flag...`. Types are those of describe; `ref:X` is a look-up to X, `double:16.2` has 16
digits before and 2 after the point. Flags: `req` required, `ro` never written by a client, `createonly`, `ext` external
id, `uniq`, `cs` case-sensitive, `values=a|b` (a `+` stands for a blank), `restricted`, `default=`, `rel=` relationship
name, `children=` its name on the parent, `cascade` deleted with the parent, `via=Product2.ProductCode` read through.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

NUMBERS = ("double", "currency", "percent")
TEXTS = ("string", "textarea", "picklist", "multipicklist", "email", "phone", "url", "id", "reference")
_SIZES = {
    "string": 255,
    "textarea": 255,
    "picklist": 255,
    "multipicklist": 4099,
    "email": 80,
    "phone": 40,
    "url": 255,
    "id": 18,
    "reference": 18,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `length` counts characters; `digits` and `scale` the places before and after the point."""

    name: str
    type: str
    label: str
    length: int = 0
    digits: int = 16
    scale: int = 2
    required: bool = False
    createable: bool = True
    updateable: bool = True
    external_id: bool = False
    unique: bool = False
    case_sensitive: bool = False
    values: tuple[str, ...] = ()
    restricted: bool = False
    default: Any = None
    target: str | None = None
    relationship: str | None = None
    children: str | None = None
    cascade: bool = False
    via: str | None = None

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def filterable(self) -> bool:
        """Long text and compound fields can be neither filtered nor sorted by."""
        return not (self.type == "address" or (self.type == "textarea" and self.length > 255))

    @property
    def nillable(self) -> bool:
        return not self.required and self.type != "boolean"

    @property
    def indexed(self) -> bool:
        return self.type == "reference" or self.external_id or self.unique


@dataclass(slots=True)
class SObject:
    """One object: its fields by lower-case name and the child relationships that point at it."""

    name: str
    label: str
    plural: str
    prefix: str
    fields: dict[str, Field]
    writable: bool = True
    children: dict[str, tuple[str, Field]] = field(default_factory=dict)
    parents: dict[str, Field] = field(default_factory=dict)

    @property
    def custom(self) -> bool:
        return self.name.endswith("__c")

    def get(self, name: str) -> Field | None:
        return self.fields.get(name.lower())

    def has(self, name: str) -> bool:
        return name.lower() in self.fields


class Schema:
    """Every object of the org, found by name whatever its case, or by key prefix."""

    def __init__(self, objects: Iterable[SObject]) -> None:
        self.objects = {each.name: each for each in objects}
        self._by_name = {name.lower(): each for name, each in self.objects.items()}
        self.by_prefix = {each.prefix: each for each in self.objects.values()}
        for child in self.objects.values():
            for reference in child.fields.values():
                if reference.target is None:
                    continue
                child.parents[(reference.relationship or "").lower()] = reference
                parent = self.objects[reference.target]
                if reference.children:
                    parent.children[reference.children.lower()] = (child.name, reference)

    def get(self, name: str) -> SObject | None:
        return self._by_name.get(name.lower())

    def pointing_at(self, name: str) -> list[tuple[SObject, Field]]:
        """Every look-up field of the org whose target is this object."""
        return [
            (each, ref)
            for each in self.objects.values()
            for ref in each.fields.values()
            if ref.target == name
        ]


def granted(schema: Schema, hidden: set[tuple[str, str]], read_only: set[tuple[str, str]]) -> Schema:
    """The schema without the hidden (object, field) pairs, and with those that may only be read not writable."""
    objects = []
    for each in schema.objects.values():
        kept = {
            key: replace(found, createable=False, updateable=False)
            if (each.name, found.name) in read_only
            else found
            for key, found in each.fields.items()
            if (each.name, found.name) not in hidden
        }
        objects.append(replace(each, fields=kept, children={}, parents={}))
    return Schema(objects)


def declare(name: str, prefix: str, lines: str, *, plural: str = "", writable: bool = True) -> SObject:
    """An object from its declaration."""
    fields: dict[str, Field] = {}
    for line in filter(None, lines.splitlines()):
        for each in _fields_of(line.split()):
            fields[each.name.lower()] = each
    label = _label(name)
    return SObject(name, label, plural or f"{label}s", prefix, fields, writable)


def extend(sobject: SObject, lines: str) -> SObject:
    """The same object with more fields."""
    more = declare(sobject.name, sobject.prefix, lines)
    sobject.fields.update(more.fields)
    return sobject


def _fields_of(words: list[str]) -> list[Field]:
    if words[0] == "@address":
        return _address(words[1])
    return [_field(words)]


def _address(part: str) -> list[Field]:
    """The parts of an address; they are written, the compound is only read."""
    sizes = {"City": 40, "State": 80, "PostalCode": 20, "Country": 80, "StateCode": 10, "CountryCode": 10}
    spoken = {"StateCode": "State Code", "CountryCode": "Country Code", "PostalCode": "Zip/Postal Code"}
    parts = [Field(f"{part}Street", "textarea", f"{part} Street", 255)]
    for name, size in sizes.items():
        kind = "picklist" if name.endswith("Code") and name != "PostalCode" else "string"
        parts.append(Field(f"{part}{name}", kind, f"{part} {spoken.get(name, name)}", size))
    compound = Field(f"{part}Address", "address", f"{part} Address", createable=False, updateable=False)
    return [*parts, compound]


def _field(words: list[str]) -> Field:
    name, (kind, _, size) = words[0], words[1].partition(":")
    flags = {word.partition("=")[0]: word.partition("=")[2].replace("+", " ") for word in words[2:]}
    given: dict[str, Any] = {"length": _SIZES.get(kind, 0)}
    if kind == "ref":
        base = name[:-1] + "r" if name.endswith("__c") else name.removesuffix("Id")
        given = {"length": 18, "target": size, "relationship": flags.get("rel", base)}
        kind = "reference"
    elif kind in NUMBERS or kind == "int":
        before, _, after = size.partition(".")
        default = {"int": (8, 0), "percent": (3, 2)}.get(kind, (16, 2))
        given |= {"digits": int(before or default[0]), "scale": int(after or default[1])}
    elif size:
        given["length"] = int(size)
    derived = "ro" in flags or "via" in flags
    return Field(
        name=name,
        type=kind,
        label=flags.get("label") or _label(name),
        required="req" in flags,
        createable=not derived,
        updateable=not (derived or "createonly" in flags),
        external_id="ext" in flags,
        unique="uniq" in flags,
        case_sensitive="cs" in flags,
        values=tuple(flags["values"].split("|")) if "values" in flags else (),
        restricted="restricted" in flags,
        default=_default(kind, flags.get("default")),
        children=flags.get("children"),
        cascade="cascade" in flags,
        via=flags.get("via"),
        **given,
    )


def _default(kind: str, text: str | None) -> Any:
    if kind == "boolean":
        return text == "true"
    if text is None:
        return None
    return Decimal(text) if kind in NUMBERS else text


def _label(name: str) -> str:
    if name.endswith("__c"):
        return name[:-3].replace("_", " ")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.removesuffix("2")).replace(" Id", " ID")
