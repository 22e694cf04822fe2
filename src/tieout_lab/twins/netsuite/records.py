"""The record service: every path under /services/rest/record/v1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.netsuite import filters
from tieout_lab.twins.netsuite.catalogue import SHAPES
from tieout_lab.twins.netsuite.errors import Refusal, no_instance, user_error
from tieout_lab.twins.netsuite.intake import read_body, take
from tieout_lab.twins.netsuite.kinds import Kind
from tieout_lab.twins.netsuite.state import Record, family
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import Choice, Ref, Sublist, encode

ROOT = "/services/rest/record/v1"
SINGLE = "application/vnd.oracle.resource+json; type=singular"
COLLECTION = "application/vnd.oracle.resource+json; type=collection"
MOST = 1000


def base_url(request: Request) -> str:
    """The address the client used, for links and Location."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


def page_bounds(request: Request) -> tuple[int, int]:
    """Limit and offset of a collection. Raises Refusal as the vendor does."""
    bounds = []
    for name, default in (("limit", MOST), ("offset", 0)):
        given = request.q(name)
        if given is not None and not given.isdigit():
            raise Refusal(
                "INVALID_PARAMETER", f"Invalid value '{given}' for query parameter '{name}'.", query=name
            )
        bounds.append(int(given) if given is not None else default)
    limit, offset = bounds
    if not 1 <= limit <= MOST:
        raise Refusal(
            "INVALID_PARAMETER", f"The limit must be between 1 and {MOST}, but was {limit}.", query="limit"
        )
    if offset % limit:
        raise Refusal(
            "INVALID_PARAMETER",
            f"Invalid offset {offset}. The offset must be divisible by the limit {limit}.",
            query="offset",
        )
    return limit, offset


def page(request: Request, path: str, items: list[Any], total: int) -> dict[str, Any]:
    """A page of a collection in the vendor's envelope."""
    limit, offset = page_bounds(request)
    more = offset + limit < total
    url = base_url(request) + path
    # a page that a link leads to is one of the same question
    rest = [(name, value) for name, value in request.query if name not in ("limit", "offset")]

    def link(rel: str, at: int) -> dict[str, str]:
        query = urlencode([*rest, ("limit", limit), ("offset", at)], quote_via=quote)
        return {"rel": rel, "href": f"{url}?{query}"}

    links = [link("self", offset)]
    if offset:
        links = [link("first", 0), link("previous", max(offset - limit, 0)), *links]
    if more:
        links = [*links, link("next", offset + limit), link("last", (total - 1) // limit * limit)]
    return {
        "links": links,
        "count": len(items),
        "hasMore": more,
        "items": items,
        "offset": offset,
        "totalResults": total,
    }


class Records:
    """Handlers of the record service, by record type."""

    def __init__(self, tenant: Tenant, kinds: dict[str, Kind]) -> None:
        self.tenant = tenant
        self.kinds = kinds

    def handlers(self, kind: Kind) -> list[tuple[str, str, str, Callable[[Request], Response]]]:
        """Method, path, operation and handler of everything a record type answers."""
        path, type_ = f"{ROOT}/(?i:{kind.type})", kind.type
        found: list[tuple[str, str, str, Callable[[Request], Response]]] = [
            ("GET", path, f"{type_}.list", lambda r: self.list(kind, r)),
            ("GET", path + "/{id}", f"{type_}.get", lambda r: self.get(kind, r)),
            ("GET", path + "/{id}/{sub}", f"{type_}.get", lambda r: self.sublist(kind, r)),
            ("GET", path + "/{id}/{sub}/{line}", f"{type_}.get", lambda r: self.sublist_line(kind, r)),
        ]
        if "POST" in kind.methods:
            found.append(("POST", path, f"{type_}.create", lambda r: self.create(kind, r)))
        if "PATCH" in kind.methods:
            found.append(("PATCH", path + "/{id}", f"{type_}.update", lambda r: self.update(kind, r)))
        if "PUT" in kind.methods:
            found.append(("PUT", path + "/{id}", f"{type_}.upsert", lambda r: self.upsert(kind, r)))
        if "DELETE" in kind.methods:
            found.append(("DELETE", path + "/{id}", f"{type_}.delete", lambda r: self.delete(kind, r)))
        if kind.transforms:
            transform = path + "/{id}/!transform/{target}"
            found.append(("POST", transform, f"{type_}.transform", lambda r: self.transform(kind, r)))
        return found

    # -- writing ----------------------------------------------------------------------------------------------------
    def create(self, kind: Kind, request: Request) -> Response:
        """POST of a collection: 204 and Location."""
        with self.tenant.state.atomic():
            record = kind.create(take(self.tenant, kind.type, read_body(request), request))
        return self._done(request, record)

    def update(self, kind: Kind, request: Request) -> Response:
        """PATCH: sublist lines are merged by their key unless `replace` names the sublist."""
        record = self.locate(kind, request.params["id"])
        self._unlocked(record)
        with self.tenant.state.atomic():
            self._rewrite(kind, record, request)
        return self._done(request, record)

    def upsert(self, kind: Kind, request: Request) -> Response:
        """PUT by external id: creates or updates. It sees every record at once, unlike look-ups."""
        id_ = request.params["id"]
        if not id_.startswith("eid:"):
            raise _invalid_id(kind.type, id_)
        external_id = id_.removeprefix("eid:")
        known = [r for r in self.tenant.state.by_external_id(kind.type, external_id) if r.type == kind.type]
        with self.tenant.state.atomic():
            if known:
                self._unlocked(known[0])
                self._rewrite(kind, known[0], request)
                return self._done(request, known[0])
            body = take(self.tenant, kind.type, read_body(request), request)
            body.values["externalId"] = external_id
            return self._done(request, kind.create(body))

    def _rewrite(self, kind: Kind, record: Record, request: Request) -> None:
        """An update in which nothing done before a refusal stays."""
        self.tenant.state.touch(record)
        kind.update(record, take(self.tenant, kind.type, read_body(request), request))

    def delete(self, kind: Kind, request: Request) -> Response:
        """DELETE: 204 without Location."""
        record = self.locate(kind, request.params["id"])
        self._unlocked(record)
        with self.tenant.state.atomic():
            kind.delete(record)
        return Response(204)

    def transform(self, kind: Kind, request: Request) -> Response:
        """POST {id}/!transform/{target}: the body is the target's; 204 and the target's Location."""
        source = self.locate(kind, request.params["id"])
        name = next((t for t in kind.transforms if t.lower() == request.params["target"].lower()), None)
        if name is None:
            raise Refusal(
                "INVALID_PARAMETER",
                f"A transformation from {kind.type} to {request.params['target']} is not supported.",
                url=request.path,
            )
        target: Any = self.kinds[name]
        with self.tenant.state.atomic():
            body = take(self.tenant, name, read_body(request, empty=True), request)
            record = target.made_from(self.tenant.state.document(source.id), body)
        return self._done(request, record)

    def _done(self, request: Request, record: Record) -> Response:
        location = f"{base_url(request)}{ROOT}/{record.type}/{record.id}"
        return Response(204, b"", {"location": location})

    def _unlocked(self, record: Record) -> None:
        """Refuse to change a record that a workflow has locked, or that somebody else saved in the same moment."""
        key = (record.type, record.id)
        if key in self.tenant.locks:
            raise user_error("This record has been locked by a user defined workflow.")
        if self.tenant.contended.get(key, 0) > 0:
            self.tenant.contended[key] -= 1
            raise Refusal(
                "RCRD_HAS_BEEN_CHANGED", "Error while accessing a resource. Record has been changed"
            )

    # -- reading ----------------------------------------------------------------------------------------------------
    def locate(self, kind: Kind, id_: str) -> Record:
        """The record a path means: by internal id, or `eid:`, which sees only what look-ups see. Where un-keyed
        writes made several documents of one external id, the oldest visible one answers."""
        if id_.startswith("eid:"):
            found = [
                r
                for r in self.tenant.state.by_external_id(kind.type, id_.removeprefix("eid:"))
                if self.tenant.seen(r)
            ]
            record = next((r for r in found if r.type == kind.type), found[0] if found else None)
        elif not id_.lstrip("-").isdigit():
            raise _invalid_id(kind.type, id_)
        else:
            record = self.tenant.state.records[family(kind.type)].get(id_)
        if record is None:
            raise no_instance(kind.type, id_)
        if record.type != kind.type:
            raise user_error("Transaction type specified is incorrect.")
        return record

    def get(self, kind: Kind, request: Request) -> Response:
        """One record; sublists as links unless expandSubResources=true; `fields` chooses."""
        record = self.locate(kind, request.params["id"])
        if self.tenant.locks.get(
            (record.type, record.id)
        ):  # as users report it; queries still show the record
            raise user_error("This record has been locked by a user defined workflow.")
        view = kind.view(record)
        wanted = request.q("fields")
        if wanted:
            names = [name.strip() for name in wanted.split(",")]
            unknown = [n for n in names if n not in SHAPES[kind.type].fields and n not in view]
            if unknown:
                raise Refusal(
                    "INVALID_PARAMETER", f"The field '{unknown[0]}' does not exist.", query="fields"
                )
            view = {name: view[name] for name in names if name in view}
        path = f"{ROOT}/{kind.type}/{record.id}"
        expand = request.q("expandSubResources") == "true" or bool(wanted)
        simple = request.q("simpleEnumFormat") == "true"
        body = render(view, base_url(request), path, expand=expand, simple=simple)
        return Response(200, encode(body), {"content-type": SINGLE})

    def list(self, kind: Kind, request: Request) -> Response:
        """A page of ids with links, in order of id; `q` filters."""
        limit, offset = page_bounds(request)
        records = [r for r in self.tenant.state.of_type(kind.type) if self.tenant.seen(r)]
        query = request.q("q")
        if query:
            test = filters.parse(query, set(SHAPES[kind.type].fields))
            records = [record for record in records if test(kind.view(record))]
        url = f"{base_url(request)}{ROOT}/{kind.type}"
        items = [
            {"links": [{"rel": "self", "href": f"{url}/{record.id}"}], "id": record.id}
            for record in records[offset : offset + limit]
        ]
        body = page(request, f"{ROOT}/{kind.type}", items, len(records))
        return Response(200, encode(body), {"content-type": COLLECTION})

    def _sublist(self, kind: Kind, request: Request) -> tuple[Record, str, Sublist]:
        record = self.locate(kind, request.params["id"])
        name = request.params["sub"]
        found = kind.view(record).get(name)
        if not isinstance(found, Sublist):
            raise Refusal(
                "NONEXISTENT_ID", f"The sub-resource '{name}' does not exist.", status=404, url=request.path
            )
        return record, name, found

    def sublist(self, kind: Kind, request: Request) -> Response:
        """GET {id}/{sublist}: links to its lines, or the lines themselves when expanded."""
        record, name, found = self._sublist(kind, request)
        path = f"{ROOT}/{kind.type}/{record.id}/{name}"
        expand = request.q("expandSubResources") == "true"
        body = render_sublist(found, base_url(request), path, expand=expand, simple=False)
        return Response(200, encode(body), {"content-type": COLLECTION})

    def sublist_line(self, kind: Kind, request: Request) -> Response:
        """GET {id}/{sublist}/{line}."""
        record, name, found = self._sublist(kind, request)
        wanted = request.params["line"].split(":")[0].split(",")[0]
        for line in found.lines:
            if line_key(found, line) == wanted:
                path = f"{ROOT}/{kind.type}/{record.id}/{name}/{wanted}"
                body = render(line, base_url(request), path, expand=True, simple=False)
                return Response(200, encode(body), {"content-type": SINGLE})
        raise Refusal(
            "NONEXISTENT_ID", "The line does not exist. Provide a valid line.", status=404, url=request.path
        )


def _invalid_id(type_: str, id_: str) -> Refusal:
    return Refusal(
        "INVALID_ID",
        f"Invalid record instance identifier '{id_}'. Provide a valid record instance ID.",
        url=f"{ROOT}/{type_}/{id_}",
    )


def line_key(sublist: Sublist, line: dict[str, Any]) -> str:
    """By what a sublist's line is addressed."""
    value = line.get(sublist.key)
    if isinstance(value, Ref | Choice):
        return value.id
    return str(value.get("id")) if isinstance(value, dict) else str(value)


def render(view: dict[str, Any], base: str, path: str, *, expand: bool, simple: bool) -> dict[str, Any]:
    """A view as JSON: references with links, choices, sublists inline or as links."""
    body: dict[str, Any] = {"links": [{"rel": "self", "href": base + path}]}
    for name in sorted(view):
        value = view[name]
        if value is None:
            continue
        if isinstance(value, Sublist):
            url = f"{path}/{name}"
            inline = render_sublist(value, base, url, expand=True, simple=simple) if expand else None
            body[name] = inline or {"links": [{"rel": "self", "href": base + url}]}
        elif isinstance(value, Ref):
            link = {"rel": "self", "href": f"{base}{ROOT}/{value.type}/{value.id}"}
            body[name] = {"links": [link], "id": value.id, "refName": value.name or value.id}
        elif isinstance(value, Choice):
            body[name] = value.id if simple else {"id": value.id, "refName": value.name}
        else:
            body[name] = value
    return body


def render_sublist(sublist: Sublist, base: str, path: str, *, expand: bool, simple: bool) -> dict[str, Any]:
    """A sublist in the collection envelope."""
    items = []
    for line in sublist.lines:
        url = f"{path}/{line_key(sublist, line)}"
        whole = render(line, base, url, expand=True, simple=simple)
        items.append(whole if expand else {"links": whole["links"]})
    return {
        "links": [{"rel": "self", "href": base + path}],
        "count": len(items),
        "hasMore": False,
        "items": items,
        "offset": 0,
        "totalResults": len(items),
    }
