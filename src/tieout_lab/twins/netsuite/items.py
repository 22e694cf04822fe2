"""Service items for sale, and accounting periods as records."""

from __future__ import annotations

from tieout_lab.twins.netsuite.errors import Refusal, invalid_value, missing
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.kinds import WRITE, Kind
from tieout_lab.twins.netsuite.state import Record


class ServiceItems(Kind):
    """`serviceSaleItem`. The income account decides where its lines are posted."""

    type = "serviceSaleItem"
    methods = WRITE

    def create(self, body: Body) -> Record:
        record = self.start(body)
        record.fields = {"isInactive": False, "subsidiaries": ["1", "2"], "includeChildren": True}
        self._write(record, body)
        self.tenant.state.add(record)
        return record

    def update(self, record: Record, body: Body) -> None:
        self.retitle(record, body)
        self._write(record, body)

    def delete(self, record: Record) -> None:
        for document in self.tenant.state.documents():
            if any(line.item == record.id for line in document.lines):
                raise Refusal(
                    "USER_ERROR",
                    "Error while accessing a resource. This item cannot be deleted because it has transactions.",
                )
        self.tenant.state.remove(record)

    def _write(self, record: Record, body: Body) -> None:
        fields = record.fields
        given = {
            name: value for name, value in body.values.items() if name not in ("externalId", "subsidiary")
        }
        fields.update(given)
        if body.get("subsidiary") is not None:
            fields["subsidiaries"] = self._subsidiaries(body.get("subsidiary"))
        if not fields.get("itemId"):
            raise missing("Item Name/Number", path="itemId")
        if not fields.get("incomeAccount"):
            raise missing("Income Account", path="incomeAccount")
        for other in self.tenant.state.of_type(self.type):
            if other is not record and other.fields["itemId"] == fields["itemId"]:
                raise Refusal(
                    "UNIQUE_ITEM_ID_REQD",
                    "Error while accessing a resource. Uniqueness error - An item with that item name / number "
                    "combination already exists.",
                    path="itemId",
                )

    def _subsidiaries(self, given: object) -> list[str]:
        items = given.get("items") if isinstance(given, dict) else None
        if not isinstance(items, list):
            raise invalid_value(given, "subsidiary", "subsidiary")
        ids = [str(item.get("id")) if isinstance(item, dict) else str(item) for item in items]
        for position, id_ in enumerate(ids):
            if self.tenant.state.find("subsidiary", id_) is None:
                raise invalid_value(id_, "subsidiary", f"subsidiary.items[{position}]")
        return ids
