"""The folder that a customer deploys: well-formed, of the known shape, and in step with what the connector does.

What the Metadata API knows of each type is retyped here from its guide as far as these files use it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from defusedxml.ElementTree import parse

from tieout.canonical.secret import Secret
from tieout.connectors.salesforce import sold
from tieout.connectors.salesforce.checking import needs, own_fields
from tieout.connectors.salesforce.config import FieldNames, SalesforceConfig, resolve_names
from tieout.connectors.salesforce.mapping import Org
from tieout_lab.twins.salesforce.custom import schema

PROJECT = Path(__file__).parents[3]
FOLDER = PROJECT / "src" / "tieout" / "connectors" / "salesforce" / "metadata"
XMLNS = "{http://soap.sforce.com/2006/04/metadata}"
FIELD = {"fullName", "label", "type", "inlineHelpText", "required"}
# type of field -> elements it needs besides, elements it may have
FIELD_TYPES = {
    "Text": ({"length"}, {"externalId", "unique", "caseSensitive"}),
    "LongTextArea": ({"length", "visibleLines"}, set()),
    "DateTime": (set(), set()),
    "Date": (set(), set()),
    "Email": (set(), set()),
    "Checkbox": ({"defaultValue"}, set()),
    "Number": ({"precision", "scale"}, set()),
    "Currency": ({"precision", "scale"}, set()),
    "Lookup": ({"referenceTo", "relationshipName", "relationshipLabel"}, {"deleteConstraint"}),
    "Picklist": ({"valueSet"}, set()),
}
# suffix -> root element, folder, needed elements, other elements
SHAPES: dict[str, tuple[str, str, set[str], set[str]]] = {
    "field": ("CustomField", "fields", {"fullName", "label", "type"}, set()),
    "object": (
        "CustomObject",
        "",
        {"deploymentStatus", "label", "nameField", "pluralLabel", "sharingModel"},
        {"description"} | {f"enable{what}" for what in ("Activities", "BulkApi", "Feeds", "History", "Reports")}
        | {f"enable{what}" for what in ("Search", "Sharing", "StreamingApi")},
    ),
    "permissionset": (
        "PermissionSet",
        "permissionsets",
        {"label"},
        {"description", "hasActivationRequired", "fieldPermissions", "objectPermissions", "userPermissions"},
    ),
    "platformEventChannel": ("PlatformEventChannel", "platformEventChannels", {"channelType", "label"}, set()),
    "platformEventChannelMember": (
        "PlatformEventChannelMember",
        "platformEventChannelMembers",
        {"eventChannel", "selectedEntity"},
        set(),
    ),
}  # fmt: skip
PERMISSIONS = {
    "fieldPermissions": {"editable", "field", "readable"},
    "objectPermissions": {
        *(
            "allowCreate",
            "allowDelete",
            "allowEdit",
            "allowRead",
            "modifyAllRecords",
            "object",
            "viewAllRecords",
        )
    },
    "userPermissions": {"enabled", "name"},
}
FILES = sorted(FOLDER.rglob("*.xml"))


def org(source: str = "cpq_quote") -> Org:
    told = SalesforceConfig(
        login_url="https://acme.my.salesforce.com",
        start_date=date(2026, 1, 1),
        consumer_key="k",
        auth="client_credentials",
        client_secret=Secret("hush"),
        order_source=source,
    )
    return Org("crm", told, resolve_names(told))


def names(element: Element) -> list[str]:
    return [child.tag.removeprefix(XMLNS) for child in element]


def text(element: Element, name: str) -> str:
    return element.findtext(XMLNS + name) or ""


def fields() -> Iterator[tuple[str, Element]]:
    """(Object.Field, its element) of every field of the folder."""
    for path in FILES:
        if path.name.endswith(".field-meta.xml"):
            root = parse(path).getroot()
            yield f"{path.parents[1].name}.{text(root, 'fullName')}", root


def permissions(kind: str, folder: str = "") -> Iterator[Element]:
    for path in FILES:
        if path.name.endswith(".permissionset-meta.xml") and folder in ("", path.parts[-3]):
            yield from parse(path).getroot().findall(XMLNS + kind)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shape_of_each_file(path: Path) -> None:
    raw = path.read_bytes()
    assert raw.startswith(b'<?xml version="1.0" encoding="UTF-8"?>\n')
    root = parse(path).getroot()
    name, _, kind = path.name.removesuffix("-meta.xml").rpartition(".")
    element, folder, needed, others = SHAPES[kind]
    assert root.tag == XMLNS + element
    assert not folder or path.parent.name == folder
    found = names(root)
    allowed = needed | others
    if kind == "field":
        more, optional = FIELD_TYPES[text(root, "type")]
        needed, allowed = needed | more, FIELD | more | optional
        assert text(root, "fullName") == name
        assert name.endswith("__c")
        assert len(found) == len(set(found))
    assert needed <= set(found) <= allowed
    for one in root:
        rule = PERMISSIONS.get(one.tag.removeprefix(XMLNS))
        assert rule is None or set(names(one)) == rule
    # Elements of one name stand together: the Metadata API refuses them scattered.
    runs = [tag for at, tag in enumerate(found) if at == 0 or found[at - 1] != tag]
    assert len(runs) == len(set(runs))


def test_project_names_every_folder() -> None:
    project = json.loads((FOLDER / "sfdx-project.json").read_text())
    listed = {each["path"] for each in project["packageDirectories"]}
    assert listed == {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert float(project["sourceApiVersion"]) >= 66
    assert [each["path"] for each in project["packageDirectories"] if each.get("default")] == ["tieout"]


def test_folder_holds_every_custom_field_the_connector_names() -> None:
    defaults = FieldNames()
    wanted = set()
    for name in FieldNames.__struct_fields__:
        place, _, _ = name.partition("_")
        api_name = getattr(defaults, name)
        sobject = {"account": "Account", "opportunity": "Opportunity", "product": "Product2"}.get(place)
        if name != "mirror_object" and api_name.endswith("__c"):
            wanted.add(f"{sobject or defaults.mirror_object}.{api_name}")
    wanted.add(f"Opportunity.{org().approval}")
    assert {name for name, _ in fields()} == wanted


def test_fields_are_those_of_the_twin() -> None:
    """What passes against the twin is what is deployed: types, sizes, keys, relationships."""
    kinds = {
        "string": "Text", "textarea": "LongTextArea", "datetime": "DateTime", "date": "Date", "email": "Email",
        "boolean": "Checkbox", "double": "Number", "currency": "Currency", "reference": "Lookup",
        "picklist": "Picklist",
    }  # fmt: skip
    twin = schema()
    for name, element in fields():
        sobject, _, field = name.partition(".")
        there = twin.objects[sobject].get(field)
        assert there is not None, name
        kind = text(element, "type")
        # Codes of legal entities are a company's own: text here, the demo company's list there.
        assert kind == kinds[there.type] or name == "Opportunity.Legal_Entity__c", name
        if kind in ("Text", "LongTextArea"):
            assert int(text(element, "length")) >= there.length, name
        if kind in ("Number", "Currency"):
            assert int(text(element, "scale")) == there.scale, name
            assert int(text(element, "precision")) - there.scale >= there.digits, name
        assert (text(element, "externalId") == "true") == there.external_id, name
        assert (text(element, "unique") == "true") == there.unique, name
        assert (text(element, "caseSensitive") == "true") == there.case_sensitive, name
        if kind == "Lookup":
            assert text(element, "referenceTo") == there.target
            assert f"{text(element, 'relationshipName')}__r" == there.children


@pytest.mark.parametrize("source", ["opportunity", "order", "cpq_quote"])
def test_permission_sets_give_what_the_connector_reads_and_writes(source: str) -> None:
    given = {
        text(each, "field"): text(each, "editable") == "true" for each in permissions("fieldPermissions")
    }
    assert len(given) == len(list(permissions("fieldPermissions")))
    objects = {text(each, "object"): each for each in permissions("objectPermissions")}
    assert len(objects) == len(list(permissions("objectPermissions")))
    # Required and system fields, and a detail's master, are seen by whoever sees the object, and may not be listed.
    always = {"SBQQ__QuoteLine__c.SBQQ__Quote__c"}
    follows = {"OpportunityLineItem": "Opportunity", "OrderItem": "Order"}
    for need in needs(org(source)):
        holder = objects[follows.get(need.sobject, need.sobject)]
        assert text(holder, "allowRead") == text(holder, "viewAllRecords") == "true"
        assert text(holder, "allowEdit") == "true" or not need.writes
        assert text(holder, "allowCreate") == "true" or not need.creates
        for field in (*need.reads, *need.writes):
            name = f"{need.sobject}.{field}"
            if field.endswith("__c") and name not in always:
                assert name in given, name
        for field in need.writes:
            assert given[f"{need.sobject}.{field}"], field
    for each in objects.values():
        assert text(each, "allowDelete") == text(each, "modifyAllRecords") == "false"


def test_nothing_is_given_that_is_not_needed() -> None:
    """Least rights: each custom field that a permission set names is read or written, and editable only if written."""
    needed: dict[str, bool] = {}
    for source in ("opportunity", "order", "cpq_quote"):
        for need in needs(org(source)):
            for field in (*need.reads, *need.writes):
                name = f"{need.sobject}.{field}"
                needed[name] = needed.get(name, False) or field in need.writes
    charge = org().names.product_charge_type
    cpq = org().config.cpq
    needed |= {f"Product2.{charge}": False}
    needed |= {f"{cpq.name(child)}.{cpq.name('Product')}": False for child in ("QuoteLine", "Subscription")}
    for each in permissions("fieldPermissions"):
        name = text(each, "field")
        if name.endswith("__c"):
            assert name in needed, name
            assert (text(each, "editable") == "true") == needed[name], name


def test_references_within_the_folder() -> None:
    own = {name for name, _ in fields()}
    for each in permissions("fieldPermissions", "tieout"):
        assert text(each, "field") in own or not text(each, "field").endswith("__c")
    channels = {path.name.partition(".")[0] for path in FILES if ".platformEventChannel-" in path.name}
    members = [parse(path).getroot() for path in FILES if ".platformEventChannelMember-" in path.name]
    assert {text(each, "eventChannel") for each in members} == channels == {"Tieout__chn"}
    entities = {text(each, "selectedEntity") for each in members}
    watched = {
        "Account",
        "Opportunity",
        "OpportunityLineItem",
        "Order",
        "OrderItem",
        org().config.cpq.name("Quote"),
    }
    assert entities == {
        f"{name.removesuffix('__c')}{'__' if name.endswith('__c') else ''}ChangeEvent" for name in watched
    }


def test_standard_fields_exist(spec_path: Callable[[str], Path]) -> None:
    known: dict[str, dict[str, Any]] = json.loads(
        spec_path("salesforce/standard_object_fields.json").read_text()
    )
    known = known.get("objects", known)
    columns = {
        "Order": sold.order_columns(org()),
        "OrderItem": sold.order_item_columns(org()),
        "Contract": sold.contract_columns(org()),
        "Quote": sold.quote_columns(org()),
        "OpportunityLineItem": sold.opportunity_line_columns(org()),
    }
    asked = {f"{sobject}.{field}" for sobject, listed in columns.items() for field in own_fields(listed)}
    asked |= {text(each, "field") for each in permissions("fieldPermissions")}
    for name in sorted(asked):
        sobject, _, field = name.partition(".")
        if field.endswith("__c") or field == "CurrencyIsoCode":
            continue
        field = field.removesuffix("Address") + "Street" if field.endswith("Address") else field  # a compound
        assert field in known[sobject]["fields"], name


def test_folder_ships_with_the_package() -> None:
    built = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    patterns = built["tieout.connectors.salesforce"]
    package = FOLDER.parent
    shipped = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    assert {path for path in FOLDER.rglob("*") if path.is_file()} <= shipped
