"""`/composite/sobjects`: up to 200 records in one call, results in the order of the request, 200 if well-formed."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import errors, ids
from tieout_lab.twins.salesforce.schema import Field, SObject
from tieout_lab.twins.salesforce.sobjects import ManyMatches, Records, external_key, upsert
from tieout_lab.twins.salesforce.values import Answer, decode_object
from tieout_lab.twins.salesforce.web import flag

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

MOST, MOST_READ = 200, 2000
Done = tuple[str, dict[str, Any]]


class _Undo(Exception):
    """Ends the transaction of a call that is all or none."""


class Collections:
    """The Collections resources."""

    def __init__(self, twin: RestTwin, records: Records) -> None:
        self.twin = twin
        self.org = twin.org
        self.records = records
        self.disorder: list[
            str
        ] = []  # what befalls the results of the next calls; see `answers` in actions.py
        self.halt_all = False  # set by Composite with allOrNone: one failure undoes the whole call
        twin.data("POST", "/composite/sobjects", "collections_create", self.create)
        twin.data("PATCH", "/composite/sobjects", "collections_update", self.update)
        twin.data("DELETE", "/composite/sobjects", "collections_delete", self.delete)
        twin.data("GET", "/composite/sobjects/{object}", "collections_read", self.read)
        twin.data("POST", "/composite/sobjects/{object}", "collections_read", self.read, writes=False)
        twin.data("PATCH", "/composite/sobjects/{object}/{field}", "collections_upsert", self.upsert)

    def create(self, request: Request) -> Answer:
        records, every = self._records(request)

        def one(record: dict[str, Any]) -> Done:
            new_id = self.org.insert(self._typed(record), record)
            return new_id, {"id": new_id, "success": True, "errors": []}

        return self._each(records, one, all_or_none=every)

    def update(self, request: Request) -> Answer:
        records, every = self._records(request)
        seen: set[str] = set()

        def one(record: dict[str, Any]) -> Done:
            sobject = self._typed(record)
            given = next(
                (str(value) for name, value in record.items() if name.lower() == "id" and value), None
            )
            if given is None:
                raise errors.SalesforceError(
                    400, "MISSING_ARGUMENT", "Id not specified in an update call", ["Id"]
                )
            record_id = self._id_of(sobject, given)
            if record_id in seen:
                raise errors.SalesforceError(
                    400, "DUPLICATE_VALUE", f"duplicate id specified: {record_id}", ["Id"]
                )
            seen.add(record_id)
            self.org.update(sobject, record_id, {k: v for k, v in record.items() if k.lower() != "id"})
            return record_id, {"id": record_id, "success": True, "errors": []}

        return self._each(records, one, all_or_none=every)

    def upsert(self, request: Request) -> Answer:
        records, every = self._records(request)
        sobject = self.org.sobject(request.params["object"])
        key = external_key(sobject, request.params["field"])
        values = [str(_pick(record, key)) for record in records]

        def one(record: dict[str, Any]) -> Done:
            if self._typed(record) is not sobject:
                text = "The sObject type of each record must match the type in the URL"
                raise errors.SalesforceError(400, "INVALID_TYPE", text, [])
            value = _pick(record, key)
            if value in (None, ""):
                raise errors.SalesforceError(400, "MISSING_ARGUMENT", f"{key.name} not specified", [key.name])
            if values.count(str(value)) > 1:
                text = f"Duplicate external id specified: {value}"
                raise errors.SalesforceError(400, "DUPLICATE_VALUE", text, [key.name])
            rest = {name: each for name, each in record.items() if name.lower() != key.name.lower()}
            try:
                record_id, created = upsert(self.org, sobject, key, str(value), rest)
            except ManyMatches as many:
                found = [row["Id"] for row in many.found]
                text = f"{key.name}: more than one record found for external id field: {found}"
                raise errors.SalesforceError(400, "DUPLICATE_EXTERNAL_ID", text, [key.name]) from None
            return record_id, {"id": record_id, "success": True, "errors": [], "created": created}

        return self._each(records, one, all_or_none=every)

    def delete(self, request: Request) -> Answer:
        given = [each.strip() for each in (request.q("ids") or "").split(",") if each.strip()]
        _check_size(len(given), MOST)

        def one(record: dict[str, Any]) -> Done:
            sobject = self.org.schema.by_prefix.get(record["id"][:3])
            complete = ids.full(record["id"])
            if sobject is None or complete is None:
                raise errors.SalesforceError(400, "MALFORMED_ID", f"malformed id {record['id']}", [])
            self.org.delete(sobject, complete)
            return complete, {"id": complete, "success": True, "errors": []}

        return self._each([{"id": each} for each in given], one, all_or_none=flag(request.q("allOrNone")))

    def read(self, request: Request) -> Answer:
        """Records by id; null where there is none."""
        sobject = self.org.sobject(request.params["object"])
        if request.method == "POST":
            body = decode_object(request)
            wanted, columns = body.get("ids"), body.get("fields")
        else:
            wanted = (request.q("ids") or "").split(",")
            columns = [name for name in (request.q("fields") or "").split(",") if name]
        if not isinstance(wanted, list) or not isinstance(columns, list) or not columns:
            raise errors.SalesforceError(400, "MISSING_ARGUMENT", "ids and fields must be specified")
        _check_size(len(wanted), MOST_READ)
        asking = Request("GET", request.path, [("fields", ",".join(columns))], {}, b"", request.params)
        shown: list[Any] = []
        for given in wanted:
            row = self.org.store.seen(sobject.name, ids.full(str(given)))
            live = row is not None and not row.get("IsDeleted")
            shown.append(self.records.shown(asking, sobject, row) if live and row else None)
        return Answer(200, shown)

    # -- inside -------------------------------------------------------------------------------------------------
    def _records(self, request: Request) -> tuple[list[dict[str, Any]], bool]:
        body = decode_object(request)
        records = body.get("records")
        if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
            raise errors.parser_error(
                "Cannot deserialize instance of List<SObject>: records must be a list of objects"
            )
        _check_size(len(records), MOST)
        return records, flag(body.get("allOrNone"))

    def _typed(self, record: dict[str, Any]) -> SObject:
        kind = record.get("attributes")
        name = kind.get("type") if isinstance(kind, dict) else None
        found = self.org.schema.get(name) if isinstance(name, str) else None
        if found is None:
            text = (
                f"sObject type '{name}' is not supported."
                if name
                else "Must specify attributes.type of the record"
            )
            raise errors.SalesforceError(400, "INVALID_TYPE", text, [])
        return found

    def _id_of(self, sobject: SObject, given: str) -> str:
        complete = ids.full(given)
        if complete is None or not complete.startswith(sobject.prefix):
            raise errors.malformed_id(f"{sobject.label} ID", given, "Id")
        return complete

    def _each(
        self, records: list[dict[str, Any]], one: Callable[[dict[str, Any]], Done], *, all_or_none: bool
    ) -> Answer:
        every = all_or_none or self.halt_all
        results: list[dict[str, Any]] = []
        done: list[str | None] = []
        try:
            with self.org.store.transaction():
                for record in records:
                    record_id, result = self._try(record, one)
                    results.append(result)
                    done.append(record_id)
                if every and None in done:
                    raise _Undo
        except _Undo:
            results = [
                result if record_id is None else errors.rolled_back(record_id)
                for result, record_id in zip(results, done, strict=True)
            ]
        return Answer(200, self._disordered(results))

    def _disordered(self, results: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results as a vendor that breaks its own promise of order would give them."""
        kind = self.disorder.pop(0) if self.disorder else ""
        if kind == "reversed":
            return results[::-1]
        if kind == "missing":
            return results[:-1]
        if kind == "repeated":
            return [results[0], *results[:-1]]
        return results

    def _try(
        self, record: dict[str, Any], one: Callable[[dict[str, Any]], Done]
    ) -> tuple[str | None, dict[str, Any]]:
        if self.twin.faults.chance("partial_batch", self.twin.faults.partial_batch):
            return None, errors.row_locked("unknown").result()
        try:
            with self.org.store.transaction():
                return one(record)
        except errors.SalesforceError as error:
            return None, error.result()


def _check_size(count: int, most: int) -> None:
    if count > most:
        text = f"record limit reached. cannot submit more than {most} records into this call"
        raise errors.SalesforceError(400, "EXCEEDED_ID_LIMIT", text)


def _pick(record: dict[str, Any], key: Field) -> Any:
    return next((value for name, value in record.items() if name.lower() == key.name.lower()), None)
