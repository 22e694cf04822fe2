"""Makes parameters.json: which parameters each endpoint takes, and of which kind, from the vendor's OpenAPI.

    python -m tieout_lab.twins.stripe.derive SPECIFICATION.json > parameters.json

A kind is one of: "s" string, "i" integer, "n" number, "b" boolean, "x" anything, {"e": [values]}, {"a": kind} list,
{"o": {name: kind}, "r": [required names]} object, {"m": 1} map of strings, {"u": [kinds]} any of them. A leading
`{"z": kind}` says that an empty string, which unsets the field, is welcome too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

# Payment method options alone are two thirds of the specification; the twin stores none of them.
PRUNED = frozenset({"payment_method_options", "payment_method_data", "payment_settings", "transfer_data"})
SCOPE = (
    "/v1/account",
    "/v1/balance",
    "/v1/balance_transactions",
    "/v1/billing/meter_event_adjustments",
    "/v1/billing/meter_events",
    "/v1/billing/meters",
    "/v1/charges",
    "/v1/coupons",
    "/v1/credit_notes",
    "/v1/customers",
    "/v1/disputes",
    "/v1/events",
    "/v1/invoice_payments",
    "/v1/invoiceitems",
    "/v1/invoices",
    "/v1/payment_intents",
    "/v1/payment_methods",
    "/v1/payment_records",
    "/v1/payouts",
    "/v1/prices",
    "/v1/products",
    "/v1/refunds",
    "/v1/subscription_items",
    "/v1/subscription_schedules",
    "/v1/subscriptions",
    "/v1/tax_rates",
    "/v1/webhook_endpoints",
)


def kind(schema: dict[str, Any], name: str = "") -> Any:
    """The compact form of one schema."""
    if name in PRUNED:
        return "x"
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        return _union([kind(option) for option in options])
    values = schema.get("enum")
    if values == [""]:
        return {"z": "s"}
    if values:
        plain = [value for value in values if value != ""]
        return {"z": {"e": plain}} if "" in values else {"e": plain}
    match schema.get("type"):
        case "array":
            return {"a": kind(schema.get("items", {}))}
        case "object" if "properties" in schema:
            inner = {key: kind(value, key) for key, value in schema["properties"].items()}
            return {"o": inner, "r": schema["required"]} if schema.get("required") else {"o": inner}
        case "object":
            return {"m": 1}
        case "integer" | "number" | "boolean" | "string" as simple:
            return simple[0]
        case _:
            return "x"


def _union(options: list[Any]) -> Any:
    unset = {"z": "s"}
    rest = [option for option in options if option != unset]
    found = rest[0] if len(rest) == 1 else {"u": rest}
    return {"z": found} if unset in options else found


def parameters(specification: dict[str, Any]) -> dict[str, Any]:
    """{"POST /v1/customers": kind, ...} for every endpoint in scope."""
    found: dict[str, Any] = {}
    for path, methods in specification["paths"].items():
        if not any(path == root or path.startswith(root + "/") for root in SCOPE):
            continue
        for method, operation in methods.items():
            if method not in {"get", "post", "delete"}:
                continue
            given: dict[str, Any] = {"properties": {}, "required": [], "type": "object"}
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    given["properties"][parameter["name"]] = parameter["schema"]
                    if parameter.get("required"):
                        given["required"].append(parameter["name"])
            for content in operation.get("requestBody", {}).get("content", {}).values():
                given["properties"].update(content["schema"].get("properties", {}))
                given["required"] += content["schema"].get("required", [])
            given["properties"].setdefault("expand", {"type": "array", "items": {"type": "string"}})
            found[f"{method.upper()} {path}"] = kind(given)
    return found


if __name__ == "__main__":
    text = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    lines = ",\n".join(
        f"{json.dumps(endpoint)}:{json.dumps(shape, separators=(',', ':'))}"
        for endpoint, shape in sorted(parameters(text).items())
    )
    sys.stdout.write("{\n" + lines + "\n}\n")
