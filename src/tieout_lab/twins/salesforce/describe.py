"""Describe: what the org says of its objects and fields."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.salesforce.schema import NUMBERS, Field, Schema, SObject

_SOAP = {
    "string": "xsd:string", "textarea": "xsd:string", "picklist": "xsd:string",
    "multipicklist": "xsd:string", "email": "xsd:string",
    "phone": "xsd:string", "url": "xsd:string", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
    "id": "tns:ID", "reference": "tns:ID", "address": "urn:address",
}  # fmt: skip


def summary(sobject: SObject, version: str) -> dict[str, Any]:
    """An object's entry in the global describe."""
    base = f"/services/data/v{version}/sobjects/{sobject.name}"
    able = sobject.writable
    return {
        "activateable": False,
        "createable": able,
        "custom": sobject.custom,
        "customSetting": False,
        "deletable": able,
        "deprecatedAndHidden": False,
        "feedEnabled": False,
        "keyPrefix": sobject.prefix,
        "label": sobject.label,
        "labelPlural": sobject.plural,
        "layoutable": able,
        "mergeable": sobject.name in ("Account", "Contact"),
        "mruEnabled": able,
        "name": sobject.name,
        "queryable": True,
        "replicateable": sobject.has("IsDeleted"),
        "retrieveable": True,
        "searchable": able,
        "triggerable": able,
        "undeletable": sobject.has("IsDeleted"),
        "updateable": able,
        "urls": {
            "sobject": base,
            "describe": f"{base}/describe",
            "rowTemplate": f"{base}/{{ID}}",
        },
    }


def full(schema: Schema, sobject: SObject, version: str) -> dict[str, Any]:
    """An object's describe: its summary, fields and children."""
    children: list[dict[str, Any]] = [
        {
            "cascadeDelete": reference.cascade,
            "childSObject": child,
            "deprecatedAndHidden": False,
            "field": reference.name,
            "junctionIdListNames": [],
            "junctionReferenceTo": [],
            "relationshipName": reference.children,
            "restrictedDelete": False,
        }
        for child, reference in sobject.children.values()
    ]
    return {
        **summary(sobject, version),
        "actionOverrides": [],
        "childRelationships": children,
        "fields": [_field(schema, sobject, each) for each in sobject.fields.values()],
        "namedLayoutInfos": [],
        "recordTypeInfos": [],
        "supportedScopes": [{"label": f"All {sobject.plural}", "name": "everything"}],
    }


def _field(schema: Schema, sobject: SObject, field: Field) -> dict[str, Any]:
    number = field.type in NUMBERS
    able = sobject.writable
    computed = field.via is not None or (field.type == "address")
    return {
        "aggregatable": field.filterable,
        "autoNumber": False,
        "byteLength": field.length * 3
        if field.length and field.type not in ("id", "reference")
        else field.length,
        "calculated": computed,
        "calculatedFormula": None,
        "cascadeDelete": field.cascade,
        "caseSensitive": field.case_sensitive,
        "compoundFieldName": _compound(sobject, field),
        "createable": able and field.createable,
        "custom": field.custom,
        "defaultValue": field.default if field.type == "boolean" else None,
        "defaultedOnCreate": field.default is not None or field.name in ("OwnerId", "CurrencyIsoCode", "Id"),
        "dependentPicklist": False,
        "deprecatedAndHidden": False,
        "digits": field.digits if field.type == "int" else 0,
        "externalId": field.external_id,
        "filterable": field.filterable,
        "groupable": field.filterable and not number and field.type != "datetime",
        "idLookup": field.external_id or field.type == "id",
        "inlineHelpText": None,
        "label": field.label,
        "length": field.length,
        "name": field.name,
        "nameField": field.name == "Name",
        "nillable": field.nillable,
        "picklistValues": [_choice(value) for value in field.values],
        "precision": field.digits + field.scale if number else 0,
        "referenceTo": [field.target] if field.target in schema.objects else [],
        "relationshipName": field.relationship,
        "restrictedPicklist": field.restricted,
        "scale": field.scale if number else 0,
        "soapType": _SOAP[field.type],
        "sortable": field.filterable,
        "type": field.type,
        "unique": field.unique,
        "updateable": able and field.updateable,
        "writeRequiresMasterRead": False,
    }


def _compound(sobject: SObject, field: Field) -> str | None:
    for part in ("Billing", "Shipping", "Mailing", "Other"):
        compound = f"{part}Address"
        if sobject.has(compound) and field.name.startswith(part) and field.name != compound:
            rest = field.name.removeprefix(part)
            if rest in ("Street", "City", "State", "PostalCode", "Country", "StateCode", "CountryCode"):
                return compound
    return None


def _choice(value: str) -> dict[str, Any]:
    return {"active": True, "defaultValue": False, "label": value, "validFor": None, "value": value}
