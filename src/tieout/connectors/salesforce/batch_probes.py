"""Probes of what Salesforce does with many records at once: Collections in Composite, jobs of Bulk API 2.0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from tieout.connectors.contract import Probe, Verdict, seen, untestable
from tieout.connectors.http import decode_json
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.bulk import CSV, NULL, Bulk, Ingested, NothingDone, parse_csv
from tieout.connectors.salesforce.probing import Records, probe_of
from tieout.ports import Response

# Longer than any External Id field can be: a record that every org refuses.
TOO_LONG_KEY = 300
LONG_QUERY_CHARACTERS = 20_000


class BatchProbes:
    """Probes over records of one run."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._names = records.names
        self._client = records.calls.client
        self._bulk = Bulk(self._client)
        self._ingested: Ingested | None = None
        mirror = records.names.mirror_object
        three = (f"three records of {mirror}", "a bulk job, deleted")
        self.probes: tuple[Probe, ...] = (
            probe_of("composite_counts_collections", self._composite, (f"two records of {mirror}",)),
            probe_of(
                "collections_results_in_order", self._order, (f"two records of {mirror}, a third is refused",)
            ),
            probe_of("composite_query_length", self._long_query),
            probe_of("bulk_session_400", self._ended_session),
            probe_of("bulk_query_results", self._query_results, three),
            probe_of("bulk_ingest_results", self._ingest_results, three),
            probe_of("bulk_empty_cell", self._empty_cell, three),
        )

    # -- Composite --------------------------------------------------------------------------------------------------
    async def _together(self, *parts: Mapping[str, Any]) -> dict[str, Response]:
        """The answers of one composite call by the name of their part. Raises Failure."""
        body = msgspec.json.encode({"allOrNone": False, "compositeRequest": parts})
        path = f"{self._client.data}/composite"
        response = await self._client.read(path, "certify", method="POST", body=body)
        return {
            each.reference_id or "": Response(status=each.http_status_code, headers={}, body=bytes(each.body))
            for each in wire.decode(wire.COMPOSITE, response.body).composite_response
        }

    def _upsert(self, keys: list[str]) -> dict[str, Any]:
        """A Collections upsert of mirror records as a part of a composite call."""
        names, fields = self._names, self._records.fields("many")
        records = [
            {"attributes": {"type": names.mirror_object}, names.mirror_external_id: key, **fields}
            for key in keys
        ]
        return {
            "method": "PATCH",
            "url": f"{self._client.data}/composite/sobjects/{names.mirror_object}/{names.mirror_external_id}",
            "referenceId": "records",
            "body": {"allOrNone": False, "records": records},
        }

    def _ask(self, name: str, query: str) -> dict[str, Any]:
        address = f"{self._client.data}/query?q={quote(query, safe='')}"
        return {"method": "GET", "url": address, "referenceId": name}

    def _of_keys(self, keys: list[str]) -> str:
        names, among = self._names, ", ".join(map(soql.quoted, keys))
        columns = soql.columns("Id", names.mirror_external_id, names.mirror_number or names.mirror_status)
        return f"SELECT {columns} FROM {names.mirror_object} WHERE {names.mirror_external_id} IN ({among})"

    async def _found(self, keys: list[str]) -> dict[str, dict[str, Any]]:
        """The records under these keys, by key; all are deleted at the end."""
        rows = await self._records.rows(self._of_keys(keys))
        for row in rows:
            self._records.note(self._names.mirror_object, str(row["Id"]))
        return {str(row[self._names.mirror_external_id]): row for row in rows}

    async def _composite(self) -> Verdict:
        keys = [self._records.key(f"part-{number}") for number in range(2)]
        wrong = f"SELECT Id FROM {self._names.mirror_object} WHERE"
        answers = await self._together(
            self._upsert(keys),
            self._ask("which", self._of_keys(keys)),
            self._ask("wrong", wrong),
            self._ask("again", self._of_keys(keys)),
        )
        found = await self._found(keys)
        told = ", ".join(f"{name} {answer.status}" for name, answer in answers.items())
        shown = {
            name: len(wire.decode(wire.PAGE, answers[name].body).records)
            for name in ("which", "again")
            if name in answers and answers[name].status == 200
        }
        held = (
            {name: answer.status for name, answer in answers.items()}
            == {"records": 200, "which": 200, "wrong": 400, "again": 200}
            and shown == {"which": 2, "again": 2}
            and len(found) == 2
        )
        return seen(held, f"{told}; queries after the upsert show {shown}, records made: {len(found)}")

    async def _order(self) -> Verdict:
        keys = [self._records.key(f"place-{number}") for number in range(3)]
        sent = [keys[0], keys[1] + "x" * TOO_LONG_KEY, keys[2]]
        answer = (await self._together(self._upsert(sent))).get("records")
        found = await self._found([keys[0], keys[2]])
        if answer is None or answer.status != 200:
            told = "nothing" if answer is None else f"{answer.status} {' '.join(wire.read_error(answer))}"
            return seen(False, f"two good records and one that is refused: {told}")
        results = wire.decode(wire.RESULTS, answer.body)
        if all(result.success for result in results):
            return untestable(f"a key of {len(sent[1])} characters was not refused: nothing to tell apart")
        ids = {str(row["Id"]): key for key, row in found.items()}
        places = [ids.get(result.id or "", "refused" if not result.success else "?") for result in results]
        codes = [error.status_code for result in results for error in result.errors]
        held = places == [keys[0], "refused", keys[2]] and results[1].id is None
        shown = ", ".join(place.rpartition("-")[2] for place in places)
        return seen(held, f"records 0, 1 (too long a key), 2: results of {shown}; refused as {codes}")

    async def _long_query(self) -> Verdict:
        names = self._names
        query = f"SELECT Id FROM {names.mirror_object} WHERE {names.mirror_external_id} IN ('none'"
        while len(query) < LONG_QUERY_CHARACTERS:
            query += f", {soql.quoted(self._records.key(f'none-{len(query)}'))}"
        answer = (await self._together(self._ask("long", query + ")"))).get("long")
        if answer is None:
            return seen(False, f"a query of {len(query)} characters is not answered")
        said = "" if answer.status == 200 else " ".join(wire.read_error(answer))
        return seen(
            answer.status == 200, f"a query of {len(query)} characters: {answer.status} {said}".strip()
        )

    # -- Bulk API 2.0 -----------------------------------------------------------------------------------------------
    async def _jobs(self) -> set[str]:
        """The ids of the ingest jobs of our object, of the first page."""
        response = await self._client.read(f"{self._client.data}/jobs/ingest?jobType=V2Ingest", "certify")
        listed = decode_json(response.body)["records"]
        return {str(job["id"]) for job in listed if job.get("object") == self._names.mirror_object}

    async def _ended_session(self) -> Verdict:
        before = await self._jobs()
        asked = {
            "object": self._names.mirror_object,
            "operation": "upsert",
            "externalIdFieldName": self._names.mirror_external_id,
            "contentType": "CSV",
            "lineEnding": "LF",
        }
        token = f"{(await self._client.token()).organisation[:15]}!ended"
        response = await self._records.calls.with_session(token, "POST", "/jobs/ingest", asked)
        made = await self._jobs() - before
        code, _ = wire.read_error(response)
        told = f"a job without a session: {response.status} {code}, jobs made meanwhile: {len(made)}"
        if response.status == 401 and not made:
            return untestable(f"{told}; 400 was not met")
        return seen(response.status == 400 and code == "InvalidSessionId" and not made, told)

    async def _query_results(self) -> Verdict:
        keys = [self._records.key(f"page-{number}") for number in range(3)]
        await self._together(self._upsert(keys))
        if len(await self._found(keys)) != len(keys):
            return untestable("the records to query were not made")
        base = f"{self._client.data}/jobs/query"
        asked = {"operation": "query", "query": self._of_keys(keys), "contentType": "CSV"}
        job = await self._bulk.job("POST", base, "certify", msgspec.json.encode(asked))
        path = f"{base}/{job.id}"
        try:
            ended = await self._bulk.wait(path, "certify")
            if ended.state != "JobComplete":
                return untestable(f"the job ended as {ended.state}: {ended.error_message}")
            pages: list[tuple[int, str, str]] = []
            locator = ""
            while locator != "null" and len(pages) < len(keys):
                after = f"&locator={locator}" if locator else ""
                page = await self._client.read(f"{path}/results?maxRecords=2{after}", "certify", mime=CSV)
                rows = len(parse_csv(page.body, "certify"))
                counted = page.headers.get("sforce-numberofrecords", "none")
                locator = page.headers.get("sforce-locator", "")
                pages.append((rows, counted, locator))
                if not locator:
                    break
        finally:
            await self._bulk.forget(path, "certify")
        told = "; ".join(
            f"{rows} rows, counted as {count}, then {to or 'nothing'}" for rows, count, to in pages
        )
        held = [(rows, count) for rows, count, _ in pages] == [(2, "2"), (1, "1")] and locator == "null"
        return seen(held, f"three rows by two: {told}")

    async def _ingest(self) -> Ingested:
        """One upsert of four rows: an empty cell, #N/A, a new record and one that is refused. Raises Failure."""
        if self._ingested is None:
            records, names = self._records, self._names
            field = names.mirror_number or names.mirror_status
            for what in ("empty", "null"):
                await records.put(records.key(what), "before")
            rest = {name: value for name, value in records.fields("x").items() if name != field}
            value = records.fields("new")[field]
            cells = {"empty": "", "null": NULL, "new": value, "long" + "x" * TOO_LONG_KEY: value}
            rows = [
                {names.mirror_external_id: records.key(w), field: cell, **rest} for w, cell in cells.items()
            ]
            try:
                self._ingested = await self._bulk.ingest(
                    names.mirror_object, "upsert", rows, key=names.mirror_external_id
                )
            except NothingDone as error:
                raise error.failure from error
            finally:
                await self._found([records.key("new")])
        return self._ingested

    async def _ingest_results(self) -> Verdict:
        found = await self._ingest()
        parts = {
            name: [row.get(self._names.mirror_external_id, "?")[:40].rpartition("-")[2] for row in rows]
            for name, rows in (
                ("successful", found.successful),
                ("failed", found.failed),
                ("unprocessed", found.unprocessed),
            )
        }
        every = sorted(name[:4] for names in parts.values() for name in names)
        if every != ["empt", "long", "new", "null"]:
            return seen(False, f"four rows, each of which must be in one file: {parts}")
        if not found.failed:
            return untestable(f"no row was refused: {parts}")
        errors = [row.get("sf__Error", "") for row in found.failed]
        held = all(errors) and all(row.get("sf__Id") for row in found.successful)
        return seen(held, f"four rows, one refused: {parts}; {errors[0][:80]}")

    async def _empty_cell(self) -> Verdict:
        await self._ingest()
        field = self._names.mirror_number or self._names.mirror_status
        before = self._records.fields("before")[field]
        keys = [self._records.key(what) for what in ("empty", "null")]
        found = await self._found(keys)
        values = [found[key].get(field) for key in keys]
        if values[1] == before:
            return untestable(f"the row with #N/A was not taken: {field} may be required")
        return seen(
            values == [before, None], f"{before!r}, then an empty cell: {values[0]!r}; #N/A: {values[1]!r}"
        )
