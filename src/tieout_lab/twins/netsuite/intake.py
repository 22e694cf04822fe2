"""From a request body to checked values: names against the catalogue, kinds, references, custom fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from tieout_lab.twins.kit import Request
from tieout_lab.twins.netsuite.catalogue import OPAQUE, SHAPES, Field, Shape
from tieout_lab.twins.netsuite.errors import Refusal, invalid_value, user_error
from tieout_lab.twins.netsuite.state import family
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import day, decode, number

MODES = ("Error", "Warning", "Ignore")
TRANSACTIONS = (
    "invoice",
    "creditMemo",
    "customerPayment",
    "customerRefund",
    "customerDeposit",
    "depositApplication",
    "journalEntry",
)


@dataclass(slots=True)
class Body:
    """What a write asks for: values by field name (refs as ids, sublists as lists of such dicts), sublists whose
    lines it replaces, and whether it came through an upsert or a transform."""

    values: dict[str, Any]
    replace: set[str] = field(default_factory=set)

    def get(self, name: str, default: Any = None) -> Any:
        return self.values.get(name, default)

    def __contains__(self, name: str) -> bool:
        return name in self.values


@dataclass(slots=True)
class _Rules:
    names: str
    values: str


def mode(request: Request, header: str, default: str) -> str:
    """One of Error, Warning, Ignore from a validation header."""
    given = request.headers.get(header.lower(), default)
    chosen = next((known for known in MODES if known.lower() == given.lower()), None)
    if chosen is None:
        raise Refusal(
            "INVALID_HEADER",
            f"Invalid header value '{given}'. Provide one of the following values: {', '.join(MODES)}.",
            header=header,
        )
    return chosen


def read_body(request: Request, *, empty: bool = False) -> dict[str, Any]:
    """The JSON object of a request. `empty` allows none at all (a transform)."""
    content_type = request.headers.get("content-type", "application/json")
    if "json" not in content_type:
        raise Refusal(
            "INVALID_HEADER",
            f"Invalid content type '{content_type}'. Use application/json.",
            status=415,
            header="Content-Type",
        )
    if not request.body and empty:
        return {}
    try:
        given = decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal("INVALID_CONTENT", f"Invalid content in the request body. {error}.") from error
    if not isinstance(given, dict):
        raise Refusal("INVALID_CONTENT", "Invalid content in the request body. An object is expected.")
    return given


def take(tenant: Tenant, type_: str, given: dict[str, Any], request: Request) -> Body:
    """The checked body of a write. Raises Refusal with the path of the first fault."""
    rules = _Rules(
        mode(request, "X-NetSuite-PropertyNameValidation", "Warning"),
        mode(request, "X-NetSuite-PropertyValueValidation", "Error"),
    )
    replace = {name.strip() for name in (request.q("replace") or "").split(",") if name.strip()}
    unknown = replace - set(SHAPES[type_].fields)
    if unknown:
        raise Refusal("INVALID_PARAMETER", f"Unknown sublist {min(unknown)} in replace.", query="replace")
    scope = "transaction" if type_ in TRANSACTIONS else type_
    return Body(_fields(tenant, SHAPES[type_], given, "", scope, rules), replace)


def _fields(
    tenant: Tenant, shape: Shape, given: dict[str, Any], prefix: str, scope: str, rules: _Rules
) -> dict[str, Any]:
    taken: dict[str, Any] = {}
    for name, value in given.items():
        path = f"{prefix}{name}"
        known = shape.fields.get(name) or _custom(tenant, name, scope)
        if known is None:
            if rules.names == "Error":
                raise Refusal(
                    "INVALID_CONTENT",  # ASSUMED text
                    f"Invalid content in the request body. The property name '{name}' does not exist.",
                    path=path,
                )
            continue
        try:
            if known.kind == "sublist":
                taken[name] = _lines(tenant, shape.lines[name], value, path, rules)
            else:
                taken[name] = _value(tenant, name, known, value, path)
        except Refusal:
            if rules.values == "Error":
                raise
    return taken


def _custom(tenant: Tenant, name: str, scope: str) -> Field | None:
    custom = tenant.custom_fields.get(name)
    if custom is None or custom["on"] != scope:
        return None
    return Field(custom["kind"])


def _lines(tenant: Tenant, shape: Shape, value: Any, path: str, rules: _Rules) -> list[dict[str, Any]]:
    items = value.get("items") if isinstance(value, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Refusal(
            "INVALID_CONTENT",
            f"Invalid content in the request body. The sublist {path} must be an object with items.",
            path=path,
        )
    return [
        _fields(tenant, shape, item, f"{path}.items[{position}].", "line", rules)
        for position, item in enumerate(items)
    ]


def _value(tenant: Tenant, name: str, known: Field, value: Any, path: str) -> Any:
    if value is None:
        return None
    if known.kind == "number":
        amount = number(value)
        if amount is None:
            raise invalid_value(value, name.lower(), path)
        return amount
    if known.kind == "flag":
        truth = {True: True, False: False, "T": True, "F": False, "true": True, "false": False}
        if isinstance(value, dict | list) or value not in truth:
            raise invalid_value(value, name.lower(), path)
        return truth[value]
    if known.kind == "day":
        when = day(value)
        if when is None:
            raise invalid_value(value, name.lower(), path)
        return when
    if known.kind == "ref":
        return resolve(tenant, str(known.to), value, name, path)
    if known.kind == "choice":
        return str(value.get("id")) if isinstance(value, dict) else str(value)
    if known.kind == "text":
        return _text(name, known, value, path)
    if name in OPAQUE or isinstance(value, dict | list):
        return value
    return value if isinstance(value, bool) else str(value)


def _text(name: str, known: Field, value: Any, path: str) -> str:
    if isinstance(value, dict | list):
        raise invalid_value(value, name.lower(), path)
    written = str(value)
    if known.limit is not None and len(written) > known.limit:
        raise user_error(
            f"The field {name.lower()} contained more than the maximum number ( {known.limit} ) "
            "of characters allowed.",
            path=path,
        )
    return written


def resolve(tenant: Tenant, to: str, value: Any, name: str, path: str) -> str:
    """The internal id a reference means: `{"id"}`, `{"externalId"}`, `{"refName"}` or a bare id. Raises Refusal."""
    state = tenant.state
    if isinstance(value, dict) and value.get("id") is not None:
        wanted = str(value["id"])
        found = state.records[family(to)].get(wanted)
        id_ = found.id if found is not None else None
    elif isinstance(value, dict) and value.get("externalId") is not None:
        wanted = str(value["externalId"])
        records = state.by_external_id(to, wanted)
        id_ = records[0].id if records else None
    elif isinstance(value, dict) and value.get("refName") is not None:
        wanted = str(value["refName"])
        named = [r for r in state.records[family(to)].values() if tenant.name(to, r.id) == wanted]
        id_ = named[0].id if len(named) == 1 else None
    elif isinstance(value, str | int) and not isinstance(value, bool):
        wanted = str(value)
        id_ = wanted if wanted in state.records[family(to)] else None
    else:
        raise invalid_value(value, name.lower(), path)
    if id_ is None:
        raise invalid_value(wanted, name.lower(), path)
    record = state.records[family(to)][id_]
    if to != "transaction" and record.fields.get("isInactive"):
        raise invalid_value(wanted, name.lower(), path)
    return id_
