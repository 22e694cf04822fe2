"""Bulk API 2.0: query jobs read what is too long for pages, ingest jobs write a first load.

A job is asynchronous: made, waited for, read page by page, and deleted. What it answers is checked against what the
job itself counted, so that a cut-off file is never taken for the whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from tieout.canonical.outcome import Failure, Rejected, Transient
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import wire
from tieout.connectors.salesforce.client import Client
from tieout.ports import Response, TransportError

CSV = "text/csv"
NULL = "#N/A"  # in an ingested file: clear the field; an empty cell leaves it as it is
PAGE_ROWS = 25_000
LARGEST_FILE = 100_000_000  # bytes before base64, of one job
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 30.0
RUNNING = frozenset({"Open", "UploadComplete", "InProgress"})
ENDED = frozenset({"JobComplete", "Failed", "Aborted"})


class Job(msgspec.Struct, frozen=True, rename="camel"):
    """A job as its resource shows it."""

    id: str
    state: str = ""
    content_url: str = ""
    error_message: str = ""
    number_records_processed: int | None = None
    number_records_failed: int | None = None


class Ingested(msgspec.Struct, frozen=True):
    """What an ingest job says of its rows: each row as a mapping of its columns, `sf__Id` and `sf__Error` among
    them. A row that is in none of the three was not answered for."""

    successful: list[dict[str, str]]
    failed: list[dict[str, str]]
    unprocessed: list[dict[str, str]]


JOB = msgspec.json.Decoder(Job)


class Bulk:
    """Jobs of one connection. Reads raise Failure."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._deadline_seconds = client.config.bulk_deadline_seconds

    # -- query --------------------------------------------------------------------------------------------------

    async def rows(
        self, soql: str, operation: str, *, deleted: bool = False
    ) -> AsyncIterator[dict[str, str]]:
        """Every row of a query, as text by column. Raises Failure: also after rows were given, where a page is lost
        or the count does not agree."""
        base = f"{self._client.data}/jobs/query"
        asked = {"operation": "queryAll" if deleted else "query", "query": soql, "contentType": "CSV"}
        job = await self.job("POST", base, operation, msgspec.json.encode(asked))
        path = f"{base}/{job.id}"
        try:
            ended = await self.wait(path, operation)
            if ended.state != "JobComplete":
                words = ended.error_message or ended.state
                raise Failure(Rejected(code=f"BULK_{ended.state.upper()}", message=words))
            given, locator, passed = 0, "", set[str]()
            while locator != "null":
                response = await self._results(path, locator, operation)
                page = parse_csv(response.body, operation)
                counted(page, response.headers.get("sforce-numberofrecords", ""), operation)
                given += len(page)
                for row in page:
                    yield row
                locator = response.headers.get("sforce-locator", "")
                if not locator or locator in passed:
                    fault = "a page that repeats" if locator else "a page that names no next one"
                    raise Failure(Transient(reason=f"{operation}: {fault} was refused"))
                passed.add(locator)
            if ended.number_records_processed not in (None, given):
                raise Failure(
                    Transient(reason=f"{operation}: {given} of {ended.number_records_processed} rows")
                )
        finally:
            await self.forget(path, operation)

    async def _results(self, path: str, locator: str, operation: str) -> Response:
        after = f"&locator={locator}" if locator else ""
        address = f"{path}/results?maxRecords={PAGE_ROWS}{after}"
        return await self._client.read(address, operation, mime=CSV)

    # -- ingest -------------------------------------------------------------------------------------------------

    async def ingest(
        self, sobject: str, operation: str, rows: Sequence[Mapping[str, str]], *, key: str = ""
    ) -> Ingested:
        """Write rows of one object, all with the same columns; `operation` is `update` (by Id) or `upsert` (by
        `key`). Raises NothingDone where no row was handed over, and Failure where it is not known."""
        label = f"bulk.{operation}"
        base = f"{self._client.data}/jobs/ingest"
        asked = {"object": sobject, "operation": operation, "contentType": "CSV", "lineEnding": "LF"}
        if key:
            asked["externalIdFieldName"] = key
        try:
            content = write_csv(rows)
            job = await self.job("POST", base, label, msgspec.json.encode(asked))
            path = f"{base}/{job.id}"
            where = job.content_url.lstrip("/")
            if not where.startswith(path.lstrip("/")):
                raise Failure(Transient(reason=f"{label}: an upload outside the job was refused"))
            await self._client.read(
                f"/{where}", label, method="PUT", body=content, mime=CSV, expected=(200, 201)
            )
        except Failure as error:
            raise NothingDone(error) from error
        closed = msgspec.json.encode({"state": "UploadComplete"})
        await self.job("PATCH", path, label, closed)
        await self.wait(path, label)
        found = [
            parse_csv((await self._client.read(f"{path}/{part}", label, mime=CSV)).body, label)
            for part in ("successfulResults", "failedResults", "unprocessedrecords")
        ]
        await self.forget(path, label)
        return Ingested(*found)

    # -- jobs ---------------------------------------------------------------------------------------------------

    async def job(self, method: str, path: str, operation: str, body: bytes = b"") -> Job:
        """Make, change or look at a job. Raises Failure."""
        response = await self._client.read(path, operation, method=method, body=body)
        try:
            return wire.decode(JOB, response.body)
        except BadBody as error:
            raise Failure(Transient(reason=f"{operation}: {error}")) from error

    async def wait(self, path: str, operation: str) -> Job:
        """The job when it has ended. A state that we do not know is waited for like a running one."""
        clock = self._client.http.world.clock
        waited, pause = 0.0, FIRST_WAIT_SECONDS
        while True:
            job = await self.job("GET", path, operation)
            if job.state in ENDED:
                return job
            if waited >= self._deadline_seconds:
                known = "" if job.state in RUNNING else ", a state that is not known"
                reason = f"{operation}: the job is {job.state!r}{known} after {waited:.0f} s"
                raise Failure(Transient(reason=reason))
            await clock.sleep(pause)
            waited += pause
            pause = min(pause * 2, LONGEST_WAIT_SECONDS)

    async def forget(self, path: str, operation: str) -> None:
        """Delete the job; what fails here Salesforce deletes itself after seven days."""
        try:
            await self._client.call("DELETE", path, b"", operation)
        except (TransportError, Failure):
            return


class NothingDone(Exception):
    """An ingest that failed before the upload was handed over: not a single row was written."""

    def __init__(self, error: Failure) -> None:
        super().__init__(str(error))
        self.outcome = error.outcome
        self.failure = error


def parse_csv(body: bytes, operation: str) -> list[dict[str, str]]:
    """The rows of a result file. Raises Failure for a file that is cut off or no CSV."""
    try:
        # NUL bytes occur in old text fields; the csv module would stop at them.
        text = body.decode("utf-8-sig").replace("\0", "")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise Failure(Transient(reason=f"{operation}: not the documented CSV")) from error
    if not lines:
        return []
    header, *rows = lines
    if any(len(row) != len(header) for row in rows):
        raise Failure(Transient(reason=f"{operation}: a row of the CSV is cut off"))
    return [dict(zip(header, row, strict=True)) for row in rows]


def counted(page: Sequence[Mapping[str, str]], announced: str, operation: str) -> None:
    """Raises Failure where a page holds another number of rows than its header says."""
    if announced != str(len(page)):
        raise Failure(
            Transient(reason=f"{operation}: {len(page)} rows where {announced or 'none'} are announced")
        )


def write_csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    """The file of an ingest. ValueError for rows of different columns or a file beyond 100 MB."""
    columns = list(rows[0]) if rows else []
    if any(list(row) != columns for row in rows):
        raise ValueError("the rows of one job need the same columns")
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    content = file.getvalue().encode()
    if len(content) > LARGEST_FILE:
        raise ValueError(f"{len(content)} bytes: a job takes {LARGEST_FILE}")
    return content
