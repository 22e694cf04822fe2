"""`/composite/tree/<object>`: records with their children in one call, all or none.

Source: REST API Developer Guide, sObject Tree: at most 200 records, five levels, five kinds of record; 201 with the ids
by referenceId, else 400 with the errors of those that failed, and nothing is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.kit import Request
from tieout_lab.twins.salesforce import errors
from tieout_lab.twins.salesforce.schema import SObject
from tieout_lab.twins.salesforce.values import Answer, decode_object

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.web import RestTwin

MOST, DEEPEST, MOST_KINDS = 200, 5, 5
Result = dict[str, Any]


class _Undo(Exception):
    """Ends the transaction of a tree in which a record failed."""


class Tree:
    """The tree resource."""

    def __init__(self, twin: RestTwin) -> None:
        self.org = twin.org
        twin.data("POST", "/composite/tree/{object}", "composite_tree", self.create)

    def create(self, request: Request) -> Answer:
        sobject = self.org.sobject(request.params["object"])
        records: Any = decode_object(request).get("records")
        self._check(records, sobject)
        made: list[Result] = []
        failed: list[Result] = []
        try:
            with self.org.store.transaction():
                for record in records:
                    self._make(sobject, record, {}, made, failed)
                if failed:
                    raise _Undo
        except _Undo:
            return Answer(400, {"hasErrors": True, "results": failed})
        return Answer(201, {"hasErrors": False, "results": made})

    def _check(self, records: Any, sobject: SObject) -> None:
        """Shape, references and limits, before anything is made."""
        seen: set[str] = set()
        kinds: set[str] = set()

        def walk(listed: Any, at: SObject, depth: int) -> None:
            if not isinstance(listed, list) or not listed or depth > DEEPEST:
                raise _refused(f"records must be a list of objects, at most {DEEPEST} levels deep")
            kinds.add(at.name)
            for record in listed:
                told = record.get("attributes") if isinstance(record, dict) else None
                reference = told.get("referenceId") if isinstance(told, dict) else None
                if (
                    not isinstance(told, dict)
                    or not isinstance(reference, str)
                    or told.get("type") != at.name
                ):
                    raise _refused(f"each record needs attributes of the type {at.name} with a referenceId")
                if reference in seen:
                    raise _refused(f"Duplicate ReferenceId provided in the request: {reference}")
                seen.add(reference)
                for name, children in _children(record, at).items():
                    walk(children, self.org.schema.objects[at.children[name.lower()][0]], depth + 1)

        walk(records, sobject, 1)
        if len(seen) > MOST or len(kinds) > MOST_KINDS:
            raise _refused(f"A tree takes at most {MOST} records of {MOST_KINDS} kinds")

    def _make(
        self,
        sobject: SObject,
        record: dict[str, Any],
        above: dict[str, str],
        made: list[Result],
        failed: list[Result],
    ) -> None:
        children = _children(record, sobject)
        fields = {name: value for name, value in record.items() if name not in children} | above
        reference = record["attributes"]["referenceId"]
        try:
            with self.org.store.transaction():
                new_id = self.org.insert(sobject, fields)
        except errors.SalesforceError as error:
            failed.append({"referenceId": reference, "errors": error.result()["errors"]})
            return
        made.append({"referenceId": reference, "id": new_id})
        for name, listed in children.items():
            child, field = sobject.children[name.lower()]
            for each in listed:
                self._make(self.org.schema.objects[child], each, {field.name: new_id}, made, failed)


def _children(record: dict[str, Any], sobject: SObject) -> dict[str, Any]:
    """The child lists of a record by relationship."""
    return {
        name: value.get("records")
        for name, value in record.items()
        if isinstance(value, dict) and name.lower() in sobject.children
    }


def _refused(message: str) -> errors.SalesforceError:
    return errors.SalesforceError(400, "INVALID_INPUT", message)
