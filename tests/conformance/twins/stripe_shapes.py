"""Whether an answer is what the vendor's specification says: kinds, enums, nulls, and no field it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

FILE = "stripe/stripe-2026-10-28.endive.derived-openapi.json"
# Fields the vendor shows and the derived specification has lost.
KNOWN_EXTRA = {"search_result": {"next_page", "total_count"}}


class Shapes:
    """The specification; `check` answers what is wrong with one answer."""

    def __init__(self, path: Path) -> None:
        document = json.loads(path.read_text(encoding="utf-8"))
        self.schemas: dict[str, Any] = document["components"]["schemas"]
        self.paths: dict[str, Any] = document["paths"]

    def check(self, method: str, template: str, body: Any) -> list[str]:
        """What is wrong with a 200 answer of an endpoint, spelled as in the specification."""
        operation = self.paths[template][method.lower()]
        content = operation["responses"]["200"]["content"]
        schema = next(iter(content.values()))["schema"]
        return list(self._wrong(body, schema, "$"))

    def check_object(self, name: str, body: Any) -> list[str]:
        """What is wrong with an object of a named schema."""
        return list(self._wrong(body, self.schemas[name], "$"))

    def template(self, method: str, path: str) -> str | None:
        """The specification's path for a concrete one; literal segments go before parameters."""
        found = []
        for template, methods in self.paths.items():
            if method.lower() not in methods:
                continue
            given, wanted = path.split("/"), template.split("/")
            if len(given) == len(wanted) and all(
                g == w or w.startswith("{") for g, w in zip(given, wanted, strict=True)
            ):
                found.append((template.count("{"), template))
        return min(found)[1] if found else None

    def _wrong(self, value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
        if "$ref" in schema:
            name = schema["$ref"].split("/")[-1]
            yield from self._wrong(value, self.schemas[name], where)
            return
        if not schema:
            return
        if value is None:
            if not schema.get("nullable"):
                yield f"{where}: null"
            return
        if "anyOf" in schema or "oneOf" in schema:
            yield from self._none_fits(value, schema.get("anyOf") or schema["oneOf"], where)
            return
        for part in schema.get("allOf", []):
            yield from self._wrong(value, part, where)
        if "enum" in schema and value not in schema["enum"]:
            yield f"{where}: {value!r} not in {schema['enum'][:8]}"
        yield from self._kind(value, schema, where)

    def _none_fits(self, value: Any, options: list[dict[str, Any]], where: str) -> Iterator[str]:
        results = [list(self._wrong(value, option, where)) for option in options]
        if not any(result == [] for result in results):
            # the best explanation is that of the option of the same kind
            objects = isinstance(value, dict)
            for result, option in zip(results, options, strict=True):
                if objects == ("$ref" in option or "properties" in option):
                    yield from result[:5]
                    return
            yield f"{where}: fits none of {len(options)} forms"

    def _kind(self, value: Any, schema: dict[str, Any], where: str) -> Iterator[str]:
        kinds = {
            "string": str,
            "integer": int,
            "boolean": bool,
            "number": (int, float),
            "array": list,
            "object": dict,
        }
        kind = schema.get("type")
        if kind is None:
            return
        wrong_bool = isinstance(value, bool) and kind in {"integer", "number"}
        if not isinstance(value, kinds[kind]) or wrong_bool:
            yield f"{where}: {type(value).__name__} instead of {kind}"
            return
        if kind == "array":
            for place, item in enumerate(value):
                yield from self._wrong(item, schema.get("items", {}), f"{where}[{place}]")
        if kind == "object":
            yield from self._fields(value, schema, where)

    def _fields(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
        properties = schema.get("properties")
        more = schema.get("additionalProperties")
        extra = KNOWN_EXTRA.get(str(value.get("object")), set())
        for key, inner in value.items():
            if properties and key in properties:
                yield from self._wrong(inner, properties[key], f"{where}.{key}")
            elif isinstance(more, dict):
                yield from self._wrong(inner, more, f"{where}.{key}")
            elif properties and key not in extra:
                yield f"{where}.{key}: unknown field"
        for key in schema.get("required", []):
            if key not in value:
                yield f"{where}.{key}: missing"


@cache
def shapes(path: Path) -> Shapes:
    return Shapes(path)
