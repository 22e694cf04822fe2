"""Write-back in bulk: up to 200 records of any of our kinds in one Composite call, each answered for by itself.

Opportunities and accounts are updated by record id, invoice mirrors upserted by External Id; the same call asks which
External Ids the ids in its answers belong to, because an upsert's result shows the record id alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import (
    Confirmed,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.connectors.contract import Assignment
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.outbound import StatusFields, encode_body
from tieout.ports import Response

MOST = 200
# Composite reads this in a text as a reference to another answer, and knows no escape: such a text goes alone.
REFERENCE = "@{"
# A query inside Composite is still an address; longer ones are split (Composite takes five of our parts).
QUERY_CHARACTERS, MOST_QUERIES = 6_000, 3


class Part(msgspec.Struct, kw_only=True):
    """One Collections request: `keys` are the ids or External Ids of its records, in the order sent."""

    name: str
    url: str
    assignments: list[Assignment]
    records: list[dict[str, Any]]

    @property
    def keys(self) -> list[str]:
        return [each.target.id for each in self.assignments]


class Batches:
    """`BulkAssigner` of one connection."""

    def __init__(self, client: Client, fields: StatusFields) -> None:
        self._client = client
        self._fields = fields

    async def assign_many(self, assignments: Sequence[Assignment]) -> dict[str, SendOutcome]:
        """Outcomes by effect key; a record that Salesforce did not answer for is missing. ValueError for more than
        200, one record twice, or a group or field that this connection does not have."""
        if len(assignments) > MOST:
            raise ValueError(f"{len(assignments)} assignments: at most {MOST} go in one call")
        if len({each.target for each in assignments}) < len(assignments):
            raise ValueError("one record occurs twice in a batch")
        outcomes: dict[str, SendOutcome] = {}
        together: list[Assignment] = []
        for each in assignments:
            if self._fields.unsendable(each.target) or REFERENCE in repr((each.target.id, each.fields)):
                outcomes[each.keys.effect] = await self._fields.assign(each.target, each.group, each.fields)
            else:
                together.append(each)
        parts = self._parts(together)
        if parts:
            outcomes |= await self._send(parts)
        return outcomes

    def _parts(self, assignments: Sequence[Assignment]) -> list[Part]:
        """Records by id in one part, mirrors in another; neighbours share a parent, whose lock they need."""
        by_id: list[tuple[str, Assignment, dict[str, Any]]] = []
        mirrors: list[tuple[str, Assignment, dict[str, Any]]] = []
        for each in assignments:
            sobject, key = self._fields.address(each.target)
            record: dict[str, Any] = {"attributes": {"type": sobject}, key: each.target.id}
            record |= self._fields.body(each.target, each.group, each.fields)
            if key == "Id":
                by_id.append((sobject, each, record))
            else:
                mirrors.append((str(each.fields.get("account", "")), each, record))
        data = f"{self._client.data}/composite/sobjects"
        found = []
        for name, url, rows in (
            ("by_id", data, by_id),
            ("mirrors", data + self._fields.mirror_path, mirrors),
        ):
            rows.sort(key=lambda row: row[0])
            if rows:
                found.append(
                    Part(
                        name=name,
                        url=url,
                        assignments=[row[1] for row in rows],
                        records=[row[2] for row in rows],
                    )
                )
        return found

    async def _send(self, parts: list[Part]) -> dict[str, SendOutcome]:
        requests: list[dict[str, Any]] = []
        for part in parts:
            body = {"allOrNone": False, "records": part.records}
            requests.append({"method": "PATCH", "url": part.url, "referenceId": part.name, "body": body})
            if part.name == "mirrors":
                requests += self._which(part.keys)
        whole = encode_body({"allOrNone": False, "compositeRequest": requests})
        path = f"{self._client.data}/composite"
        answer = await self._client.write("POST", path, whole, "assign_many", "")
        if not isinstance(answer, Response):
            return {each.keys.effect: answer for part in parts for each in part.assignments}
        try:
            answers = wire.decode(wire.COMPOSITE, answer.body).composite_response
            if answer.status != 200:
                raise BadBody(f"{answer.status} where 200 is documented")
        except BadBody as error:
            lost = OutcomeUnknown(reason=f"assign_many: {error}")
            return {each.keys.effect: lost for part in parts for each in part.assignments}
        by_name = {each.reference_id: each for each in answers}
        if None in by_name and len(answers) == 1:  # Composite's refusal of the whole names no part
            refusal = self._client.refused(_inner(by_name[None]))
            return {each.keys.effect: refusal for part in parts for each in part.assignments}
        keys_by_id = self._keys_by_id(answers)
        outcomes: dict[str, SendOutcome] = {}
        for part in parts:
            if part.name in by_name:
                outcomes |= self._read(part, _inner(by_name[part.name]), keys_by_id)
        return outcomes

    def _which(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """Queries for the ids of these External Ids; they run after the upsert."""
        names = self._fields.names
        literals = [soql.quoted(key) for key in keys]
        size = max(QUERY_CHARACTERS, -(-sum(map(len, literals)) // MOST_QUERIES) + max(map(len, literals)))
        groups: list[list[str]] = [[]]
        for literal in literals:
            if groups[-1] and sum(map(len, groups[-1])) + len(literal) > size:
                groups.append([])
            groups[-1].append(literal)
        return [
            {
                "method": "GET",
                "url": f"{self._client.data}/query?q="
                + quote(
                    f"SELECT Id, {names.mirror_external_id} FROM {names.mirror_object}"
                    f" WHERE {names.mirror_external_id} IN ({', '.join(group)})",
                    safe="",
                ),
                "referenceId": f"which{number}",
            }
            for number, group in enumerate(groups)
        ]

    def _keys_by_id(self, answers: Sequence[wire.SubAnswer]) -> dict[str, str]:
        """Record id -> External Id, as far as it was answered: what is missing makes results unknown, not wrong."""
        found: dict[str, str] = {}
        for each in answers:
            if not (each.reference_id or "").startswith("which") or each.http_status_code != 200:
                continue
            try:
                for row in wire.decode(wire.PAGE, each.body).records:
                    found[wire.text(row, "Id")] = wire.text(row, self._fields.names.mirror_external_id)
            except BadBody:
                continue
        return found

    def _read(self, part: Part, inner: Response, keys_by_id: Mapping[str, str]) -> dict[str, SendOutcome]:
        """The outcomes of one part."""
        if inner.status != 200:
            refusal = self._client.refused(inner)
            return {each.keys.effect: refusal for each in part.assignments}
        try:
            results = wire.decode(wire.RESULTS, inner.body)
        except BadBody:
            return {}
        known = keys_by_id if part.name == "mirrors" else {key: key for key in part.keys}
        matched = match_results(part.keys, results, known)
        effects = {each.target.id: each for each in part.assignments}
        return {
            effects[key].keys.effect: self.outcome(effects[key].target, result)
            for key, result in matched.items()
        }

    def outcome(self, target: Ref, result: wire.SaveResult) -> SendOutcome:
        """What one record's result says."""
        if result.success:
            return Confirmed(receipt=Receipt(external_id=result.id or target.id))
        if not result.errors:
            return OutcomeUnknown(reason="neither success nor an error")
        codes = [error.status_code for error in result.errors]
        words = "; ".join(error.words for error in result.errors)
        return self.refusal(target, codes[0], words)

    def refusal(self, target: Ref, code: str, words: str) -> SendOutcome:
        """A record that was refused by name: nothing of it was written."""
        if code == "DUPLICATE_VALUE" and target.kind == "invoice_mirror":
            return Transient(reason=f"{code} {words}")  # two upserts of one new key at once
        return self._client.by_code(code, words) or Rejected(code=code, message=words)


def match_results(
    keys: Sequence[str], results: Sequence[wire.SaveResult], key_of: Mapping[str, str]
) -> dict[str, wire.SaveResult]:
    """Which record each result is about; a record without a certain one is left out. Pure.

    By the id in the result, where it has one. Results without an id (a refused upsert) go by their place only where
    the places are proven: as many results as records, and every result with an id in its own record's place. Else they
    are used only if it does not matter whose they are: as many alike as there are records left."""
    matched: dict[str, wire.SaveResult] = {}
    contradicted: set[str] = set()
    nameless: list[tuple[int, wire.SaveResult]] = []
    in_place, named = len(results) == len(keys), 0
    places = {key: place for place, key in enumerate(keys)}
    for place, result in enumerate(results):
        key = key_of.get(result.id or "")
        if key is None or key not in places:
            nameless.append((place, result))
            continue
        named += 1
        in_place = in_place and places[key] == place
        if key in matched and matched[key] != result:
            contradicted.add(key)
        matched[key] = result
    left = [key for key in keys if key not in matched]
    refused = [result for _, result in nameless if not result.success]
    if in_place and named:
        for place, result in nameless:
            if not result.success:
                matched[keys[place]] = result
    elif refused and len(refused) == len(nameless) == len(left) and all(r == refused[0] for r in refused):
        matched |= dict.fromkeys(left, refused[0])
    return {key: result for key, result in matched.items() if key not in contradicted}


def _inner(answer: wire.SubAnswer) -> Response:
    return Response(status=answer.http_status_code, headers={}, body=bytes(answer.body))
