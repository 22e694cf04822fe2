"""The metadata catalogue: which record types there are, and the fields of one as JSON Schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.netsuite.catalogue import SHAPES, Shape
from tieout_lab.twins.netsuite.errors import Refusal
from tieout_lab.twins.netsuite.intake import TRANSACTIONS
from tieout_lab.twins.netsuite.kinds import READ
from tieout_lab.twins.netsuite.records import COLLECTION, ROOT, base_url
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import encode

SCHEMA = "application/schema+json"
OPENAPI = "application/swagger+json"
PATH = f"{ROOT}/metadata-catalog"


class Metadata:
    """GET metadata-catalog and metadata-catalog/{record}; `select` names several."""

    def __init__(self, tenant: Tenant, methods: Mapping[str, frozenset[str]]) -> None:
        self.tenant = tenant
        self.methods = methods  # that each record type answers

    def handlers(self) -> list[tuple[str, Callable[[Request], Response]]]:
        """Path and handler of what is answered."""
        return [(PATH, self.list), (PATH + "/{type}", self.show)]

    def list(self, request: Request) -> Response:
        """The names of the record types, or of those selected."""
        select = {name.strip().lower() for name in (request.q("select") or "").split(",") if name.strip()}
        names = [name for name in sorted(SHAPES) if not select or name.lower() in select]
        url = base_url(request) + PATH
        items = [
            {
                "name": name,
                "links": [
                    {"rel": "canonical", "href": f"{url}/{name}"},
                    {"rel": "describes", "href": f"{base_url(request)}{ROOT}/{name}"},
                    {"rel": "alternate", "href": f"{url}/{name}", "mediaType": SCHEMA},
                ],
            }
            for name in names
        ]
        return Response(200, encode({"items": items}), {"content-type": COLLECTION})

    def show(self, request: Request) -> Response:
        """JSON Schema of one record type, custom fields included."""
        wanted = request.params["type"].lower()
        name = next((known for known in SHAPES if known.lower() == wanted), None)
        if name is None:
            raise Refusal(
                "NOT_FOUND",
                f"Record type '{request.params['type']}' does not exist.",
                status=404,
                url=request.path,
            )
        scope = "transaction" if name in TRANSACTIONS else name
        body: dict[str, Any] = {"type": "object", "properties": self._properties(SHAPES[name], scope)}
        if OPENAPI in request.headers.get("accept", ""):
            return Response(200, encode(self._openapi(name, body)), {"content-type": OPENAPI})
        return Response(200, encode(body), {"content-type": SCHEMA})

    def _openapi(self, name: str, shape: dict[str, Any]) -> dict[str, Any]:
        """The same as an OpenAPI 3.0 document: the record's schema, and what can be done with it."""
        whole = {"$ref": f"#/components/schemas/{name}"}
        content = {"application/vnd.oracle.resource+json; type=singular": {"schema": whole}}
        paths: dict[str, Any] = {f"/{name}": {}, f"/{name}/{{id}}": {}}
        for method in sorted(self.methods.get(name, READ)):
            place = f"/{name}" if method == "POST" else f"/{name}/{{id}}"
            done = {"200": {"content": content}} if method == "GET" else {"204": {}}
            paths[place][method.lower()] = {"tags": [name], "responses": done}
        return {
            "openapi": "3.0.1",
            "info": {"title": "NetSuite REST API", "version": "v1"},
            "paths": paths,
            "components": {"schemas": {name: shape}},
        }

    def _properties(self, shape: Shape, scope: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, known in shape.fields.items():
            if known.kind == "sublist":
                lines = {"type": "object", "properties": self._properties(shape.lines[name], "line")}
                shown[name] = {
                    "type": "object",
                    "properties": {"items": {"type": "array", "items": lines}},
                }
            else:
                shown[name] = _schema(known.kind)
        for name, custom in self.tenant.custom_fields.items():
            if custom["on"] == scope:
                shown[name] = {**_schema(custom["kind"]), "x-ns-custom-field": True, "nullable": True}
        return shown


def _schema(kind: str) -> dict[str, Any]:
    known: dict[str, dict[str, Any]] = {
        "number": {"type": "number", "format": "double"},
        "flag": {"type": "boolean"},
        "day": {"type": "string", "format": "date"},
        "moment": {"type": "string", "format": "date-time"},
        "text": {"type": "string"},
        "ref": {"type": "object", "properties": {"id": {"type": "string"}, "refName": {"type": "string"}}},
        "choice": {"type": "object", "properties": {"id": {"type": "string"}, "refName": {"type": "string"}}},
    }
    return known.get(kind, {})
