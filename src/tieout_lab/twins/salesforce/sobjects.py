"""`/sobjects`: describe, single records by id and by external id, what was deleted and updated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import describe, errors, ids, values
from tieout_lab.twins.salesforce.org import Org, deleted_between
from tieout_lab.twins.salesforce.schema import Field, SObject
from tieout_lab.twins.salesforce.soql_run import attributes
from tieout_lab.twins.salesforce.store import Row
from tieout_lab.twins.salesforce.values import Answer, decode_object
from tieout_lab.twins.salesforce.web import flag, version_number

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.queries import Queries
    from tieout_lab.twins.salesforce.web import RestTwin

REPLICATION_DAYS = 30
_GIVEN_BACK = 46  # from this version on an upsert that updates answers with a body


class ManyMatches(Exception):
    """An external id that several records carry."""

    def __init__(self, found: list[Row]) -> None:
        super().__init__(f"{len(found)} records")
        self.found = found


def upsert(
    org: Org, sobject: SObject, key: Field, value: str, given: dict[str, Any], *, update_only: bool = False
) -> tuple[str, bool]:
    """Create or change the record with this external id: its id and whether it is new. Raises ManyMatches."""
    found = org.matches(sobject, key, value)
    if len(found) > 1:
        raise ManyMatches(found)
    if found:
        org.update(sobject, found[0]["Id"], given)
        return str(found[0]["Id"]), False
    if update_only:
        raise errors.not_found()
    return org.insert(sobject, {**given, key.name: value}), True


def external_key(sobject: SObject, name: str) -> Field:
    """The external id field named in a URL; 404 if it is none."""
    found = sobject.get(name)
    if found is None or not found.external_id:
        raise errors.external_id_missing(name)
    return found


class Records:
    """The resources of single records."""

    def __init__(self, twin: RestTwin, queries: Queries) -> None:
        self.twin = twin
        self.org = twin.org
        self.queries = queries
        one, keyed = "/sobjects/{object}/{id}", "/sobjects/{object}/{field}/{value:rest}"
        twin.data("GET", "/sobjects", "describe_global", self.describe_global)
        twin.data("GET", "/sobjects/{object}", "basic_information", self.basic)
        twin.data("POST", "/sobjects/{object}", "create", self.create)
        twin.data("GET", "/sobjects/{object}/describe", "describe", self.describe)
        twin.data("GET", "/sobjects/{object}/deleted", "get_deleted", self.deleted)
        twin.data("GET", "/sobjects/{object}/updated", "get_updated", self.updated)
        twin.data("POST", "/sobjects/{object}/Id", "create", self.create)
        twin.data("GET", one, "read", self.read)
        twin.data("PATCH", one, "update", self.update)
        twin.data("POST", one, "update", self.overridden)
        twin.data("DELETE", one, "delete", self.delete)
        twin.data("GET", keyed, "read_by_key", self.read_by_key)
        twin.data("PATCH", keyed, "upsert", self.upsert)
        twin.data("POST", keyed, "upsert", self.overridden)
        twin.data("DELETE", keyed, "delete_by_key", self.delete_by_key)

    # -- metadata -----------------------------------------------------------------------------------------------
    def describe_global(self, request: Request) -> Answer:
        version = request.params["version"]
        listed = [describe.summary(each, version) for each in self.org.schema.objects.values()]
        return Answer(200, {"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": listed})

    def basic(self, request: Request) -> Answer:
        sobject, version = self._sobject(request), request.params["version"]
        recent = list(self.org.store.seen_rows(sobject.name))[-5:]
        shown = [
            {"attributes": attributes(sobject, row, version), "Id": row["Id"]} for row in reversed(recent)
        ]
        return Answer(200, {"objectDescribe": describe.summary(sobject, version), "recentItems": shown})

    def describe(self, request: Request) -> Answer:
        return Answer(200, describe.full(self.org.schema, self._sobject(request), request.params["version"]))

    # -- by id --------------------------------------------------------------------------------------------------
    def create(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        new_id = self.org.insert(sobject, decode_object(request))
        return Answer(
            201, {"id": new_id, "success": True, "errors": []}, self._location(request, sobject, new_id)
        )

    def read(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        return Answer(200, self.shown(request, sobject, self._visible(sobject, request.params["id"])))

    def update(self, request: Request) -> Answer:
        sobject, given = self._sobject(request), decode_object(request)
        if any(name.lower() == "id" for name in given):
            text = "The Id field should not be specified in the sobject data."
            raise errors.SalesforceError(400, "INVALID_FIELD", text, ["Id"])
        self.org.update(sobject, self._addressed(request), given)
        return Answer(204)

    def delete(self, request: Request) -> Answer:
        self.org.delete(self._sobject(request), self._addressed(request))
        return Answer(204)

    def overridden(self, request: Request) -> Answer:
        """POST with `?_HttpMethod=PATCH`, for clients that cannot send PATCH."""
        if (request.q("_HttpMethod") or "").upper() != "PATCH":
            text = "HTTP Method 'POST' not allowed. Allowed are DELETE,GET,HEAD,PATCH"
            raise errors.SalesforceError(405, "METHOD_NOT_ALLOWED", text)
        return self.upsert(request) if "field" in request.params else self.update(request)

    # -- by external id -----------------------------------------------------------------------------------------
    def read_by_key(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        if ids.is_of(request.params["field"], sobject.prefix):
            return self._related(request, sobject)
        found = self.org.matches(
            sobject, external_key(sobject, request.params["field"]), request.params["value"]
        )
        seen = [row for row in found if self.org.store.seen(sobject.name, row["Id"]) is row]
        if len(seen) > 1:
            return self._choices(request, sobject, seen)
        if not seen:
            raise errors.not_found()
        return Answer(200, self.shown(request, sobject, seen[0]))

    def upsert(self, request: Request) -> Answer:
        sobject, given = self._sobject(request), decode_object(request)
        name, value = request.params["field"], request.params["value"]
        if name.lower() == "id":
            self.org.update(sobject, value, given)
            return self._upserted(request, sobject, ids.full(value) or value, created=False)
        key = external_key(sobject, name)
        if any(each.lower() == key.name.lower() for each in given):
            text = f"The {key.name} field should not be specified in the sobject data."
            raise errors.SalesforceError(400, "INVALID_FIELD", text, [key.name])
        update_only = flag(request.q("updateOnly"))
        try:
            record_id, created = upsert(self.org, sobject, key, value, given, update_only=update_only)
        except ManyMatches as many:
            return self._choices(request, sobject, many.found)
        return self._upserted(request, sobject, record_id, created=created)

    def delete_by_key(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        found = self.org.matches(
            sobject, external_key(sobject, request.params["field"]), request.params["value"]
        )
        if len(found) > 1:
            return self._choices(request, sobject, found)
        if not found:
            raise errors.not_found()
        self.org.delete(sobject, found[0]["Id"])
        return Answer(204)

    def _upserted(self, request: Request, sobject: SObject, record_id: str, *, created: bool) -> Answer:
        if not created and version_number(request) < _GIVEN_BACK:
            return Answer(204)
        body = {"id": record_id, "success": True, "errors": []}
        body |= {"created": created} if version_number(request) >= _GIVEN_BACK else {}
        headers = self._location(request, sobject, record_id) if created else {}
        return Answer(201 if created else 200, body, headers)

    def _choices(self, request: Request, sobject: SObject, found: list[Row]) -> Answer:
        return Answer(300, [attributes(sobject, row, request.params["version"])["url"] for row in found])

    def _related(self, request: Request, sobject: SObject) -> Answer:
        """`/sobjects/X/<id>/<relationship>`: the parent record, or the children as a query result."""
        row, name = self._visible(sobject, request.params["field"]), request.params["value"].strip("/")
        if name.lower() in sobject.parents:
            reference = sobject.parents[name.lower()]
            target = self.org.schema.objects[reference.target or ""]
            parent = self.org.store.seen(target.name, row.get(reference.name))
            if parent is None:
                raise errors.not_found()
            return Answer(200, self.shown(request, target, parent))
        if name.lower() not in sobject.children:
            raise errors.not_found()
        child, reference = sobject.children[name.lower()]
        columns = request.q("fields") or "FIELDS(ALL)"
        limit = "" if request.q("fields") else " LIMIT 200"
        text = f"SELECT {columns} FROM {child} WHERE {reference.name} = '{row['Id']}'{limit}"
        return self.queries.run(request, text, include_deleted=False)

    # -- replication --------------------------------------------------------------------------------------------
    def deleted(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        start, end = self._span(request)
        found = deleted_between(self.org, sobject, start, end)
        listed = [{"id": row["Id"], "deletedDate": values.moment_text(row["_deleted"])} for row in found]
        binned = [row["_deleted"] for row in self.org.store.seen_rows(sobject.name) if "_deleted" in row]
        earliest = min(binned, default=self.org.clock.technical().replace(second=0, microsecond=0))
        body = {"deletedRecords": listed, "earliestDateAvailable": values.moment_text(earliest)}
        return Answer(200, {**body, "latestDateCovered": self._covered(end)})

    def updated(self, request: Request) -> Answer:
        sobject = self._sobject(request)
        start, end = (values.moment_text(moment) for moment in self._span(request))
        live = [row for row in self.org.store.seen_rows(sobject.name) if not row.get("IsDeleted")]
        found = [row["Id"] for row in live if start <= row["SystemModstamp"] < end]
        return Answer(200, {"ids": found, "latestDateCovered": self._covered(datetime.fromisoformat(end))})

    def _span(self, request: Request) -> tuple[datetime, datetime]:
        """Start and end, whole minutes as the vendor takes them; at most 30 days back."""
        moments = []
        for name in ("start", "end"):
            text = (request.q(name) or "").replace(" ", "+")
            parsed = values.parse_moment(text)
            if parsed is None:
                message = f"Invalid value for parameter {name}: {text}"
                raise errors.SalesforceError(400, "INVALID_REPLICATION_DATE", message)
            moments.append(datetime.fromisoformat(parsed).replace(second=0, microsecond=0))
        start, end = moments
        if start >= end:
            raise errors.SalesforceError(400, "INVALID_REPLICATION_DATE", "startDate must be before endDate")
        if start < self.org.clock.technical() - timedelta(days=REPLICATION_DAYS):
            text = f"startDate cannot be more than {REPLICATION_DAYS} days ago"
            raise errors.SalesforceError(400, "INVALID_REPLICATION_DATE", text)
        return start, end

    def _covered(self, end: datetime) -> str:
        now = self.org.clock.technical().replace(second=0, microsecond=0)
        return values.moment_text(min(end.astimezone(UTC), now))

    # -- shared -------------------------------------------------------------------------------------------------
    def shown(self, request: Request, sobject: SObject, row: Row) -> dict[str, Any]:
        """A record with the fields asked for, or all."""
        asked = [name.strip() for name in (request.q("fields") or "").split(",") if name.strip()]
        columns = list(sobject.fields.values())
        if asked:
            columns = [self._column(sobject, name) for name in asked]
            if all(each.name != "Id" for each in columns):
                columns.append(sobject.fields["id"])
        body: dict[str, Any] = {"attributes": attributes(sobject, row, request.params["version"])}
        return body | {each.name: self.org.value(sobject, row, each) for each in columns}

    def _column(self, sobject: SObject, name: str) -> Field:
        found = sobject.get(name)
        if found is None:
            raise errors.unknown_column_in_query(name, sobject.name)
        return found

    def _sobject(self, request: Request) -> SObject:
        return self.org.sobject(request.params["object"])

    def _addressed(self, request: Request) -> str:
        given = request.params["id"]
        if ids.full(given) is None:
            raise errors.external_id_missing(given)
        return given

    def _visible(self, sobject: SObject, given: str) -> Row:
        complete = ids.full(given)
        if complete is None:
            raise errors.external_id_missing(given)
        row = self.org.store.seen(sobject.name, complete)
        if row is None:
            raise errors.not_found()
        if row.get("IsDeleted"):
            raise errors.deleted()
        return row

    def _location(self, request: Request, sobject: SObject, record_id: str) -> dict[str, str]:
        return {
            "location": f"/services/data/v{request.params['version']}/sobjects/{sobject.name}/{record_id}"
        }
