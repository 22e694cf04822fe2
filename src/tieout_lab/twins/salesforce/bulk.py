"""`/jobs/query` and `/jobs/ingest`: Bulk API 2.0, asynchronous, CSV both ways.

A job is worked on once its technical time has come and somebody asks. Shapes: `rest_bulk_samples.json`, Bulk API 2.0
Developer Guide; texts of refusals are partly from memory.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import errors, ids, values
from tieout_lab.twins.salesforce.schema import SObject
from tieout_lab.twins.salesforce.sobjects import ManyMatches, external_key, upsert
from tieout_lab.twins.salesforce.soql_bind import Plan, Selection
from tieout_lab.twins.salesforce.soql_run import matching, prepare, show
from tieout_lab.twins.salesforce.store import Row
from tieout_lab.twins.salesforce.values import Answer, decode_object

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

QUERIES, INGESTS = ("query", "queryAll"), ("insert", "update", "upsert", "delete", "hardDelete")
LARGEST = 150_000_000
DELIMITERS = {"COMMA": ",", "SEMICOLON": ";", "PIPE": "|", "TAB": "\t", "CARET": "^", "BACKQUOTE": "`"}
ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
NULL = "#N/A"
_CSV = "text/csv;charset=UTF-8"


@dataclass(slots=True)
class Job:
    """A job and, once it has been worked on, its results."""

    id: str
    kind: str
    told: dict[str, Any]
    created: str
    state: str
    ready: datetime | None = None
    plan: Plan | None = None
    content: bytes | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    failed: list[list[str]] = field(default_factory=list)
    unprocessed: list[list[str]] = field(default_factory=list)
    error: str = ""


class Bulk:
    """The job resources. `seconds` is how long a job takes; `stop_after` ends an ingest early, rows unprocessed."""

    def __init__(self, twin: RestTwin) -> None:
        self.twin = twin
        self.org = twin.org
        self.jobs: dict[str, Job] = {}
        self.seconds = 0.0
        self.stop_after: int | None = None
        self._made = 0
        for kind in ("query", "ingest"):
            base = f"/jobs/{kind}"
            make = self.make_query if kind == "query" else self.make_ingest
            twin.data("POST", base, f"bulk_{kind}_create", make)
            twin.data("GET", base, f"bulk_{kind}_list", self._of(kind, self.every))
            twin.data("GET", base + "/{job}", f"bulk_{kind}_job", self._of(kind, self.one))
            twin.data("PATCH", base + "/{job}", f"bulk_{kind}_state", self._of(kind, self.change))
            twin.data("DELETE", base + "/{job}", f"bulk_{kind}_delete", self._of(kind, self.delete))
        one = "/jobs/ingest/{job}"
        twin.data("GET", "/jobs/query/{job}/results", "bulk_query_results", self.results)
        twin.data("PUT", one + "/batches", "bulk_ingest_upload", self.upload)
        twin.data("GET", one + "/successfulResults", "bulk_ingest_successful", self._part("rows"))
        twin.data("GET", one + "/failedResults", "bulk_ingest_failed", self._part("failed"))
        twin.data("GET", one + "/unprocessedrecords", "bulk_ingest_unprocessed", self._part("unprocessed"))

    # -- making -------------------------------------------------------------------------------------------------
    def make_query(self, request: Request) -> Answer:
        told = decode_object(request)
        operation = told.get("operation")
        if operation not in QUERIES:
            raise _refused(f"Unsupported operation: {operation}")
        plan = prepare(self.org, str(told.get("query") or ""))
        if plan.count or plan.grouping or plan.selection.children or plan.offset:
            raise _refused("Aggregates, OFFSET and nested queries are not supported in Bulk Query")
        if any(each.type == "address" for each in plan.selection.fields.values()):
            raise _refused("Selecting compound data not supported in Bulk Query")
        told["object"] = plan.sobject.name
        job = self._add("query", told, state="UploadComplete")
        job.plan, job.ready = plan, self._due()
        return Answer(200, self._shown(job, request))

    def make_ingest(self, request: Request) -> Answer:
        told = decode_object(request)
        operation = told.get("operation")
        if operation not in INGESTS:
            raise _refused(f"Unsupported operation: {operation}")
        sobject = self.org.schema.get(str(told.get("object") or ""))
        if sobject is None or not sobject.writable:
            name = told.get("object")
            raise errors.SalesforceError(
                400, "INVALIDENTITY", f"Entity '{name}' is not supported by the Bulk API."
            )
        if operation == "upsert":
            key = told.get("externalIdFieldName")
            if not key:
                raise _refused("External ID was blank for upsert")
            external_key(sobject, str(key))
        job = self._add("ingest", told, state="Open")
        return Answer(200, self._shown(job, request))

    def _add(self, kind: str, told: dict[str, Any], *, state: str) -> Job:
        if (
            told.get("columnDelimiter", "COMMA") not in DELIMITERS
            or told.get("lineEnding", "LF") not in ENDINGS
        ):
            raise _refused("Unknown columnDelimiter or lineEnding")
        self._made += 1
        job = Job(ids.mint("750", self._made), kind, told, self.org.stamp(), state)
        self.jobs[job.id] = job
        return job

    # -- one job ------------------------------------------------------------------------------------------------
    def _of(self, kind: str, handler: Callable[[Request, str], Answer]) -> Callable[[Request], Answer]:
        return lambda request: handler(request, kind)

    def _job(self, request: Request, kind: str) -> Job:
        found = self.jobs.get(request.params["job"])
        if found is None or found.kind != kind:
            raise errors.not_found()
        if found.ready is not None and found.ready <= self.org.clock.technical():
            found.ready = None
            self._work(found)
        elif found.ready is not None:
            found.state = "InProgress"
        return found

    def every(self, request: Request, kind: str) -> Answer:
        shown = [self._shown(job, request) for job in self.jobs.values() if job.kind == kind]
        return Answer(200, {"done": True, "records": shown, "nextRecordsUrl": None})

    def one(self, request: Request, kind: str) -> Answer:
        return Answer(200, self._shown(self._job(request, kind), request))

    def change(self, request: Request, kind: str) -> Answer:
        job, state = self._job(request, kind), decode_object(request).get("state")
        if state == "Aborted" and job.state in ("Open", "UploadComplete", "InProgress"):
            job.state, job.ready = "Aborted", None
        elif state == "UploadComplete" and kind == "ingest" and job.state == "Open":
            if job.content is None:
                raise _refused("No data has been uploaded for this job", "INVALIDJOBSTATE")
            job.state, job.ready = "UploadComplete", self._due()
        else:
            raise _refused(
                f"Changing the state from {job.state} to {state} is not allowed", "INVALIDJOBSTATE"
            )
        return Answer(200, self._shown(job, request))

    def delete(self, request: Request, kind: str) -> Answer:
        job = self._job(request, kind)
        if job.state not in ("JobComplete", "Failed", "Aborted"):
            raise _refused(f"A job in the state {job.state} cannot be deleted", "INVALIDJOBSTATE")
        del self.jobs[job.id]
        return Answer(204)

    def upload(self, request: Request) -> Answer:
        job = self._job(request, "ingest")
        if job.state != "Open" or job.content is not None:
            raise _refused("The job takes one upload while it is open", "INVALIDJOBSTATE")
        if request.headers.get("content-type", "").partition(";")[0].strip() != "text/csv":
            raise errors.SalesforceError(415, "UNSUPPORTED_MEDIA_TYPE", "Content type text/csv is needed")
        if len(request.body) * 4 // 3 > LARGEST:
            raise errors.SalesforceError(400, "FILE_SIZE_EXCEEDED", f"File size exceeds {LARGEST} bytes")
        job.content = request.body
        return Answer(201)

    def results(self, request: Request) -> Answer:
        """Pages of `maxRecords`; the locator `null` ends them."""
        job = self._job(request, "query")
        if job.state != "JobComplete":
            raise _refused(f"The job is {job.state}", "INVALIDJOBSTATE")
        locator = request.q("locator") or ""
        start = int(ids_number(locator)) if locator else 0
        most = int(request.q("maxRecords") or 50_000)
        rows = job.rows[start : start + most]
        more = start + most < len(job.rows)
        headers = {
            "sforce-locator": f"MT{start + most:07}" if more else "null",
            "sforce-numberofrecords": str(len(rows)),
        }
        return self._csv(job, job.columns, rows, headers)

    def _part(self, name: str) -> Callable[[Request], Answer]:
        def part(request: Request) -> Answer:
            job = self._job(request, "ingest")
            if job.state not in ("JobComplete", "Failed", "Aborted"):
                raise _refused(f"The job is {job.state}", "INVALIDJOBSTATE")
            first = {"rows": ["sf__Id", "sf__Created"], "failed": ["sf__Id", "sf__Error"]}.get(name, [])
            return self._csv(job, first + job.columns, getattr(job, name), {})

        return part

    def _csv(self, job: Job, columns: list[str], rows: list[list[str]], headers: dict[str, str]) -> Answer:
        file = io.StringIO(newline="")
        delimiter = DELIMITERS[job.told.get("columnDelimiter", "COMMA")]
        ending = ENDINGS[job.told.get("lineEnding", "LF")]
        writer = csv.writer(file, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
        writer.writerows([columns, *rows])
        return Answer(200, file.getvalue().encode(), {"content-type": _CSV, **headers})

    def _shown(self, job: Job, request: Request) -> dict[str, Any]:
        version = request.params["version"]
        body: dict[str, Any] = {
            "id": job.id, "operation": job.told["operation"], "object": job.told["object"],
            "createdById": self.org.integration_id, "createdDate": job.created, "systemModstamp": self.org.stamp(),
            "state": job.state, "concurrencyMode": "Parallel", "contentType": "CSV", "apiVersion": Decimal(version),
            "lineEnding": job.told.get("lineEnding", "LF"),
            "columnDelimiter": job.told.get("columnDelimiter", "COMMA"),
            "jobType": "V2Query" if job.kind == "query" else "V2Ingest",
        }  # fmt: skip
        if job.kind == "ingest":
            body["contentUrl"] = f"services/data/v{version}/jobs/ingest/{job.id}/batches"
            if job.told.get("externalIdFieldName"):
                body["externalIdFieldName"] = job.told["externalIdFieldName"]
        if job.state in ("JobComplete", "Failed"):
            body |= {"retries": 0, "totalProcessingTime": 10}
            body["numberRecordsProcessed"] = len(job.rows) + len(job.failed)
            if job.kind == "ingest":
                body |= {
                    "numberRecordsFailed": len(job.failed),
                    "apiActiveProcessingTime": 5,
                    "apexProcessingTime": 0,
                }
        return body | ({"errorMessage": job.error} if job.error else {})

    # -- work ---------------------------------------------------------------------------------------------------
    def _due(self) -> datetime:
        return self.org.clock.technical() + timedelta(seconds=self.seconds)

    def _work(self, job: Job) -> None:
        job.state = "JobComplete"
        if job.plan is not None:
            include = job.told["operation"] == "queryAll"
            job.columns = _columns(job.plan.selection)
            found = matching(self.org, job.plan, include_deleted=include)
            job.rows = [self._texts(job.plan, row, job.columns) for row in found]
            return
        delimiter = DELIMITERS[job.told.get("columnDelimiter", "COMMA")]
        try:
            text = (job.content or b"").decode("utf-8-sig")
            lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            job.state, job.error = "Failed", f"InvalidBatch : {error}"
            return
        sobject = self.org.sobject(job.told["object"])
        job.columns, rows = (lines[0], lines[1:]) if lines else ([], [])
        unknown = [name for name in job.columns if not _known(sobject, name)]
        if unknown:
            text = f"InvalidBatch : Field name not found : {', '.join(unknown)}"
            job.state, job.error, job.unprocessed = "Failed", text, rows
            return
        for number, row in enumerate(rows):
            if self.stop_after is not None and number >= self.stop_after:
                job.state, job.error, job.unprocessed = (
                    "Failed",
                    "TooManyLockFailure : job stopped",
                    rows[number:],
                )
                return
            self._ingest(job, sobject, row)

    def _texts(self, plan: Plan, row: Row, columns: list[str]) -> list[str]:
        shown = show(self.org, plan.selection, row, "68.0", lambda *_: {}, include_deleted=True)
        texts = []
        for column in columns:
            at: Any = shown
            for step in column.split("."):
                at = at.get(step) if isinstance(at, dict) else None
            texts.append(_text(at))
        return texts

    def _ingest(self, job: Job, sobject: SObject, row: list[str]) -> None:
        try:
            if len(row) != len(job.columns):
                raise errors.SalesforceError(
                    400, "INVALID_ROW", "The row has not as many columns as the header"
                )
            given = _given(dict(zip(job.columns, row, strict=True)))
            with self.org.acting(self.org.integration_id), self.org.store.transaction():
                record_id, created = self._write(job, sobject, given)
        except errors.SalesforceError as error:
            named = next(
                (text for name, text in zip(job.columns, row, strict=False) if name.lower() == "id"), ""
            )
            words = f"{error.code}:{error.message}:{', '.join(error.fields or [])} --"
            job.failed.append([named, words, *row])
        else:
            job.rows.append([record_id, str(created).lower(), *row])

    def _write(self, job: Job, sobject: SObject, given: dict[str, Any]) -> tuple[str, bool]:
        if self.twin.faults.chance("partial_batch", self.twin.faults.partial_batch):
            raise errors.row_locked("unknown")
        operation = job.told["operation"]
        if operation == "insert":
            return self.org.insert(sobject, given), True
        if operation == "upsert":
            key = external_key(sobject, job.told["externalIdFieldName"])
            value = next((each for name, each in given.items() if name.lower() == key.name.lower()), None)
            if value in (None, ""):
                raise errors.SalesforceError(400, "MISSING_ARGUMENT", f"{key.name} not specified", [key.name])
            rest = {name: each for name, each in given.items() if name.lower() != key.name.lower()}
            try:
                return upsert(self.org, sobject, key, str(value), rest)
            except ManyMatches as many:
                text = f"{key.name}: more than one record found for external id field: {len(many.found)}"
                raise errors.SalesforceError(400, "DUPLICATE_EXTERNAL_ID", text, [key.name]) from None
        record_id = next((str(each) for name, each in given.items() if name.lower() == "id"), "")
        if ids.full(record_id) is None:
            raise errors.malformed_id(f"{sobject.label} ID", record_id, "Id")
        if operation == "update":
            self.org.update(sobject, record_id, {n: each for n, each in given.items() if n.lower() != "id"})
        else:
            self.org.delete(sobject, record_id)
        return ids.full(record_id) or record_id, False


def ids_number(locator: str) -> str:
    """The row a locator leads to; INVALID_QUERY_LOCATOR for one that never was given."""
    if not (locator.startswith("MT") and locator[2:].isdigit()):
        raise errors.SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return locator[2:]


def _columns(selection: Selection, path: str = "") -> list[str]:
    found: list[str] = []
    for name in selection.shown:
        if name in selection.fields:
            found.append(path + name)
        else:
            found += _columns(selection.parents[name][1], f"{path}{name}.")
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.endswith("+0000") and values.parse_moment(value) == value:
        return value.removesuffix("+0000") + "Z"
    return str(value)


def _known(sobject: SObject, name: str) -> bool:
    first, _, rest = name.partition(".")
    return first.lower() in sobject.parents if rest else sobject.get(name) is not None


def _given(row: dict[str, str]) -> dict[str, Any]:
    """The cells as a client's values: empty is left out, `#N/A` is null, `Parent__r.Key__c` a foreign key."""
    given: dict[str, Any] = {}
    for name, text in row.items():
        if not text:
            continue
        first, _, rest = name.partition(".")
        value = None if text == NULL else text
        given[first] = {rest: value} if rest else value
    return given


def _refused(message: str, code: str = "INVALIDJOB") -> errors.SalesforceError:
    return errors.SalesforceError(400, code, message)
