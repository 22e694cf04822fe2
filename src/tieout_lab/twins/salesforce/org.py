"""What may be written and what a write brings about: validation, stamps, keys, cascade, merge.

Every public method is atomic. Times are technical, whole seconds (SystemModstamp has no finer resolution).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.salesforce import errors, ids, rules, values
from tieout_lab.twins.salesforce.schema import Field, Schema, SObject, granted
from tieout_lab.twins.salesforce.store import Row, Store


@dataclass(slots=True)
class Lock:
    """Writes that shall fail with UNABLE_TO_LOCK_ROW: the next `remaining` of them that touch these rows."""

    remaining: int
    status: int = 400
    sobject: str | None = None
    ids: frozenset[str] = field(default_factory=frozenset)


class Org:
    """One org's records and the rules on them."""

    def __init__(self, clock: TwinClock, schema: Schema) -> None:
        self.clock = clock
        self.whole = schema  # as an administrator sees it
        self._granted = schema  # as the integration user does
        self.store = Store(schema)
        self.duplicate_rules: list[tuple[str, str]] = []
        self.allow_duplicates = False
        self.locks: list[Lock] = []
        self.org_id = self.store.new_id("Organization")
        self.admin_id = self.store.new_id("User")
        self.sales_id = self.store.new_id("User")
        self.integration_id = self.store.new_id("User")
        self.actor = self.admin_id
        # Which client an API call says it is; empty for what people do.
        self.origin = ""
        self.store.author = lambda: (self.actor, self.origin)
        # What left the recycle bin and stands in the deletion log still.
        self.purged: list[tuple[str, Row]] = []

    # -- rights -------------------------------------------------------------------------------------------------
    @property
    def schema(self) -> Schema:
        """The objects and fields that exist for the present user: what field-level security hides does not."""
        return self._granted if self.actor == self.integration_id else self.whole

    def grant(self, hidden: set[tuple[str, str]], read_only: set[tuple[str, str]]) -> None:
        """Hide custom fields from the integration user, or let them only be read."""
        self._granted = granted(self.whole, hidden, read_only) if hidden or read_only else self.whole

    # -- names --------------------------------------------------------------------------------------------------
    def sobject(self, name: str) -> SObject:
        """An object by the name in a URL; 404 when there is none."""
        found = self.schema.get(name)
        if found is None:
            raise errors.not_found()
        return found

    def stamp(self) -> str:
        return values.moment_text(self.clock.technical().replace(microsecond=0))

    def today(self) -> str:
        return self.clock.business().date().isoformat()

    @contextmanager
    def acting(self, user_id: str) -> Iterator[None]:
        """Within, this user is the one who creates and changes."""
        before, self.actor = self.actor, user_id
        try:
            yield
        finally:
            self.actor = before

    def value(self, sobject: SObject, row: Row, field_: Field) -> Any:
        """A field as it is read: stored, read through a look-up, or put together."""
        if field_.via:
            relationship, _, leaf = field_.via.partition(".")
            reference = sobject.parents[relationship.lower()]
            other = self.store.seen(reference.target or "", row.get(reference.name))
            return other.get(leaf) if other else None
        if field_.type == "address":
            return _address(field_.name.removesuffix("Address"), row)
        return row.get(field_.name)

    # -- writing ------------------------------------------------------------------------------------------------
    def insert(self, sobject: SObject, given: dict[str, Any]) -> str:
        """Create a record; the new id."""
        _check_writable(sobject)
        accepted = self._accept(sobject, given, creating=True)
        row = {each.name: each.default for each in sobject.fields.values() if each.default is not None}
        row |= {"OwnerId": self.actor} if sobject.has("OwnerId") else {}
        if sobject.has("CurrencyIsoCode"):
            row["CurrencyIsoCode"] = "USD"
        row |= {name: value for name, value in accepted.items() if value is not None}
        missing = [
            each.name for each in sobject.fields.values() if each.required and row.get(each.name) is None
        ]
        if missing:
            raise errors.missing_fields(missing)
        rules.refuse_duplicates(self, sobject, row)
        with self.store.transaction():
            for reference in sobject.fields.values():
                if reference.cascade and row.get(reference.name):
                    self._lock(reference.target or "", row[reference.name])
            now = self.stamp()
            row |= {"Id": self.store.new_id(sobject.name), "CreatedDate": now, "CreatedById": self.actor}
            row |= {"LastModifiedDate": now, "LastModifiedById": self.actor, "SystemModstamp": now}
            rules.before_save(self, sobject, row, None, given)
            self._check_unique(sobject, row)
            self.store.put(sobject.name, row)
            rules.after_save(self, sobject, row, None)
        return str(row["Id"])

    def update(self, sobject: SObject, record_id: str, given: dict[str, Any]) -> None:
        """Change a record."""
        _check_writable(sobject)
        before = self.existing(sobject, record_id)
        changes = self._accept(sobject, given, creating=False)
        emptied = [name for name, value in changes.items() if value is None and _required(sobject, name)]
        if emptied:
            raise errors.missing_fields(emptied)
        with self.store.transaction():
            self._lock(sobject.name, before["Id"])
            row = before | changes
            row |= {
                "LastModifiedDate": self.stamp(),
                "LastModifiedById": self.actor,
                "SystemModstamp": self.stamp(),
            }
            rules.before_save(self, sobject, row, before, given)
            self._check_unique(sobject, row)
            self.store.put(sobject.name, row)
            rules.after_save(self, sobject, row, before)

    def touch(self, name: str, record_id: str, changes: Row) -> None:
        """Set computed fields of a record; its stamps move only if a value does."""
        before = self.store.get(name, record_id)
        if before is None or all(before.get(key) == value for key, value in changes.items()):
            return
        now = self.stamp()
        stamps = {"LastModifiedDate": now, "LastModifiedById": self.actor, "SystemModstamp": now}
        self.store.put(name, before | changes | stamps)

    def delete(self, sobject: SObject, record_id: str) -> None:
        """Put a record, and what cannot live without it, into the recycle bin."""
        _check_writable(sobject)
        row = self.existing(sobject, record_id)
        rules.before_delete(self, sobject, row)
        with self.store.transaction():
            self._lock(sobject.name, row["Id"])
            self._bin(sobject, row, batch=row["Id"])

    def undelete(self, sobject: SObject, record_id: str) -> None:
        """Take a record and what was deleted with it out of the recycle bin."""
        row = self.store.get(sobject.name, ids.full(record_id) or record_id)
        if row is None or not row.get("IsDeleted"):
            raise errors.SalesforceError(400, "UNDELETE_FAILED", "Entity is not in the recycle bin", [])
        with self.store.transaction():
            binned = [
                each for name in self.schema.objects for each in self.store.rows(name) if "_bin" in each
            ]
            with_it = [each for each in binned if each["_bin"] == row["Id"] and each["Id"] != row["Id"]]
            for each in [row, *with_it]:  # the header first: its lines roll up to it
                target = self.schema.by_prefix[each["Id"][:3]]
                back = {key: value for key, value in each.items() if key not in ("_bin", "_deleted")}
                back |= {"IsDeleted": False, "SystemModstamp": self.stamp(), "LastModifiedDate": self.stamp()}
                self._check_unique(target, back)
                self.store.put(target.name, back)
                rules.after_save(self, target, back, None)

    def merge(self, sobject: SObject, winner_id: str, loser_ids: list[str]) -> None:
        """Merge up to two records into a third: they are deleted, point at it, and their children move to it."""
        winner = self.existing(sobject, winner_id)
        with self.store.transaction():
            for loser_id in loser_ids:
                loser = self.existing(sobject, loser_id)
                if loser["Id"] == winner["Id"]:
                    raise errors.SalesforceError(
                        400, "INVALID_ID_FIELD", "cannot merge a record with itself", []
                    )
                for child, reference in self.schema.pointing_at(sobject.name):
                    if reference.name == "MasterRecordId":
                        continue
                    for row in self.store.by_key(child.name, reference, loser["Id"]):
                        moved = row | {reference.name: winner["Id"], "SystemModstamp": self.stamp()}
                        self.store.put(child.name, moved)
                self.store.put(
                    sobject.name, self._binned(loser, loser["Id"]) | {"MasterRecordId": winner["Id"]}
                )
            now = self.stamp()
            stamps = {"LastModifiedDate": now, "LastModifiedById": self.actor, "SystemModstamp": now}
            self.store.put(sobject.name, (self.store.get(sobject.name, winner["Id"]) or winner) | stamps)

    # -- finding ------------------------------------------------------------------------------------------------
    def existing(self, sobject: SObject, record_id: str) -> Row:
        """The row that a write names; 404 when it is missing or in the recycle bin."""
        complete = ids.full(record_id)
        row = self.store.get(sobject.name, complete)
        if row is None and complete is not None and not complete.startswith(sobject.prefix):
            raise errors.malformed_id(f"{sobject.label} ID", record_id, "Id")
        if row is None:
            raise errors.dangling(404)
        if row.get("IsDeleted"):
            raise errors.deleted()
        return row

    def matches(self, sobject: SObject, key: Field, value: str) -> list[Row]:
        """Live rows whose external id is this value."""
        return [row for row in self.store.by_key(sobject.name, key, value) if not row.get("IsDeleted")]

    # -- inside -------------------------------------------------------------------------------------------------
    def _accept(self, sobject: SObject, given: dict[str, Any], *, creating: bool) -> Row:
        """Canonical names and stored values of what a client sent."""
        accepted: Row = {}
        refused: list[str] = []
        for name, value in given.items():
            if name == "attributes":
                continue
            found = sobject.get(name)
            if found is None and name.lower() in sobject.parents and isinstance(value, dict | None):
                reference = sobject.parents[name.lower()]
                accepted[reference.name] = self._by_foreign_key(reference, value)
                continue
            if found is None:
                raise errors.unknown_column(name, sobject.name)
            if found.name == "Id" and creating:
                text = "cannot specify Id in an insert call"
                raise errors.SalesforceError(400, "INVALID_FIELD_FOR_INSERT_UPDATE", text, ["Id"])
            if not (found.createable if creating else found.updateable):
                refused.append(found.name)
                continue
            accepted[found.name] = values.accept(self.schema, sobject, found, value)
        if refused:
            raise errors.not_writable(refused)
        for name, value in accepted.items():
            self._check_target(sobject.fields[name.lower()], value)
        return accepted

    def _check_target(self, reference: Field, record_id: Any) -> None:
        if reference.target is None or record_id is None:
            return
        row = self.store.get(reference.target, record_id)
        if row is None:
            raise errors.dangling()
        if row.get("IsDeleted"):
            raise errors.deleted(400)

    def _by_foreign_key(self, reference: Field, given: dict[str, Any] | None) -> str | None:
        """The id of the record that `{"<external id field>": value}` names."""
        if given is None:
            return None
        target = self.schema.objects[reference.target or ""]
        keys = [name for name in given if name != "attributes"]
        key = target.get(keys[0]) if len(keys) == 1 else None
        if key is None or not (key.external_id or key.name == "Id"):
            name = keys[0] if keys else reference.relationship or reference.name
            raise errors.unknown_column(name, target.name)
        value = str(given[keys[0]])
        if key.name == "Id":
            return ids.full(value) or value
        found = self.matches(target, key, value)
        if not found:
            text = f"Foreign key external ID: {value} not found for field {key.name} in entity {target.name}"
            raise errors.SalesforceError(400, "INVALID_FIELD", text, [])
        if len(found) > 1:
            text = f"{key.name}: more than one record found for external id field: {[row['Id'] for row in found]}"
            raise errors.SalesforceError(400, "DUPLICATE_EXTERNAL_ID", text, [])
        return str(found[0]["Id"])

    def _check_unique(self, sobject: SObject, row: Row) -> None:
        for unique in sobject.fields.values():
            value = row.get(unique.name)
            if not unique.unique or value is None:
                continue
            for other in self.matches(sobject, unique, value):
                if other["Id"] != row["Id"]:
                    raise errors.duplicate_value(unique.name, other["Id"])

    def _lock(self, name: str, record_id: str) -> None:
        """Only the integration meets locks; people wait in the org until they have theirs."""
        if self.actor != self.integration_id:
            return
        if self.store.is_pending(name, record_id):
            raise errors.row_locked(record_id)
        for lock in self.locks:
            if (
                lock.remaining > 0
                and lock.sobject in (None, name)
                and (not lock.ids or record_id in lock.ids)
            ):
                lock.remaining -= 1
                raise errors.row_locked(record_id, lock.status)

    def _binned(self, row: Row, batch: str) -> Row:
        now = self.clock.technical()
        stamps = {
            "SystemModstamp": self.stamp(),
            "LastModifiedDate": self.stamp(),
            "LastModifiedById": self.actor,
        }
        return row | {"IsDeleted": True, "_bin": batch, "_deleted": now.replace(microsecond=0)} | stamps

    def _bin(self, sobject: SObject, row: Row, batch: str) -> None:
        for child, reference in self.schema.pointing_at(sobject.name):
            for each in self.store.by_key(child.name, reference, row["Id"]):
                if each.get("IsDeleted"):
                    continue
                if reference.cascade:
                    self._bin(child, each, batch)
                elif reference.custom or reference.name == "ParentId":
                    cleared = each | {reference.name: None, "SystemModstamp": self.stamp()}
                    self.store.put(child.name, cleared)
        binned = self._binned(row, batch)
        self.store.put(sobject.name, binned)
        rules.after_save(self, sobject, binned, row)


def deleted_between(org: Org, sobject: SObject, start: datetime, end: datetime) -> list[Row]:
    """Rows deleted in [start, end), oldest first, whether or not the recycle bin still holds them."""
    found = [row for row in org.store.seen_rows(sobject.name) if row.get("IsDeleted") and "_deleted" in row]
    found += [row for name, row in org.purged if name == sobject.name]
    inside = [row for row in found if start <= row["_deleted"] < end]
    return sorted(inside, key=lambda row: (row["_deleted"], row["Id"]))


def _check_writable(sobject: SObject) -> None:
    if not sobject.writable:
        text = f"entity type cannot be inserted, updated or deleted: {sobject.label}"
        raise errors.SalesforceError(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", text, [])


def _required(sobject: SObject, name: str) -> bool:
    found = sobject.get(name)
    return found is not None and found.required


def _address(part: str, row: Row) -> dict[str, Any] | None:
    """The compound address: an object with every part, or null when all are empty."""
    names = ("city", "country", "countryCode", "postalCode", "state", "stateCode", "street")
    found = {name: row.get(part + name[0].upper() + name[1:]) for name in names}
    if all(value is None for value in found.values()):
        return None
    return {**found, "geocodeAccuracy": None, "latitude": None, "longitude": None}
