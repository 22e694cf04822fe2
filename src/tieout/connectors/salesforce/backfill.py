"""A first load by Bulk API 2.0: as many records as there are, in a few calls, answered for row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

import msgspec

from tieout.canonical.outcome import Confirmed, Failure, OutcomeUnknown, Receipt, SendOutcome, Transient
from tieout.connectors.contract import Assignment
from tieout.connectors.salesforce.batches import Batches
from tieout.connectors.salesforce.bulk import NULL, Bulk, Ingested, NothingDone
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.outbound import JsonValue, StatusFields

MOST_CHARACTERS = 40_000_000  # of one job's cells; a job takes 100 MB


class Load(msgspec.Struct, kw_only=True):
    """The rows of one job: of one object, named by one field."""

    sobject: str
    key: str
    assignments: list[Assignment] = []
    rows: list[dict[str, str]] = []


class Backfill:
    """Assignments in any number. Slower than a batch, and cheaper: seven calls a job, whatever its length."""

    def __init__(self, client: Client, fields: StatusFields, batches: Batches) -> None:
        self._bulk = Bulk(client)
        self._fields = fields
        self._batches = batches

    async def assign_all(self, assignments: Sequence[Assignment]) -> dict[str, SendOutcome]:
        """Outcomes by effect key; a row that the job did not answer for is missing, and unknown. ValueError for one
        record twice, or a group or field that this connection does not have."""
        if len({each.target for each in assignments}) < len(assignments):
            raise ValueError("one record occurs twice in a load")
        outcomes: dict[str, SendOutcome] = {}
        loaded: list[Assignment] = []
        for each in assignments:
            if self._fields.unsendable(each.target) or NULL in (each.target.id, *each.fields.values()):
                # In a file this text means "clear the field": such a record goes alone.
                outcomes[each.keys.effect] = await self._fields.assign(each.target, each.group, each.fields)
            else:
                loaded.append(each)
        for load in self._loads(loaded):
            outcomes |= await self._run(load)
        return outcomes

    def _loads(self, assignments: Sequence[Assignment]) -> Iterator[Load]:
        """Jobs by object and set of columns: an absent column would be an empty cell, which says nothing."""
        loads: dict[tuple[str, tuple[str, ...]], Load] = {}
        sizes: dict[tuple[str, tuple[str, ...]], int] = {}
        for each in assignments:
            sobject, key = self._fields.address(each.target)
            body = self._fields.body(each.target, each.group, each.fields)
            row = {key: each.target.id} | {name: cell(value) for name, value in sorted(body.items())}
            columns = (sobject, tuple(row))
            sizes[columns] = sizes.get(columns, 0) + sum(map(len, row.values()))
            if columns in loads and sizes[columns] > MOST_CHARACTERS:
                yield loads.pop(columns)
                sizes[columns] = sum(map(len, row.values()))
            load = loads.setdefault(columns, Load(sobject=sobject, key=key))
            load.assignments.append(each)
            load.rows.append(row)
        yield from loads.values()

    async def _run(self, load: Load) -> dict[str, SendOutcome]:
        by_id = load.key == "Id"
        try:
            done = await self._bulk.ingest(
                load.sobject, "update" if by_id else "upsert", load.rows, key="" if by_id else load.key
            )
        except NothingDone as error:
            return {each.keys.effect: error.outcome for each in load.assignments}
        except Failure as error:
            lost = OutcomeUnknown(reason=f"the job was handed over, its results were not read: {error}")
            return {each.keys.effect: lost for each in load.assignments}
        return self._read(load, done)

    def _read(self, load: Load, done: Ingested) -> dict[str, SendOutcome]:
        """By the key that each row carries; the order of a job's results means nothing."""
        of = {each.target.id: each for each in load.assignments}
        found: dict[str, list[SendOutcome]] = {}

        def say(row: Mapping[str, str], outcome: SendOutcome) -> None:
            if row.get(load.key, "") in of:
                found.setdefault(row[load.key], []).append(outcome)

        for row in done.successful:
            say(row, Confirmed(receipt=Receipt(external_id=row.get("sf__Id") or row.get(load.key, ""))))
        for row in done.failed:
            code, _, words = row.get("sf__Error", "").partition(":")
            target = of[row[load.key]].target if row.get(load.key) in of else None
            if target is not None:
                say(row, self._batches.refusal(target, code, words.removesuffix(" --").rstrip(":")))
        for row in done.unprocessed:
            say(row, Transient(reason="the job ended before this row"))
        return {of[key].keys.effect: all_[0] for key, all_ in found.items() if len(all_) == 1}


def cell(value: JsonValue) -> str:
    """A value as a cell of the file. Empty text clears the field, as it does in JSON."""
    if value is None or value == "":
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    return format(value, "f") if isinstance(value, Decimal) else str(value)
