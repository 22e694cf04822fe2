"""What every record type offers to the routes, and the types that only list master data."""

from __future__ import annotations

from datetime import date
from typing import Any

from tieout_lab.twins.netsuite.catalogue import SHAPES
from tieout_lab.twins.netsuite.errors import forbidden
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.state import Record, family
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import Ref, Sublist, printed, stamp, text

READ = frozenset({"GET"})
WRITE = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})


class Kind:
    """One record type. Writes are refused unless a subclass takes them."""

    type: str
    methods: frozenset[str] = READ
    transforms: tuple[str, ...] = ()

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    def create(self, body: Body) -> Record:  # noqa: ARG002 - for subclasses
        """A new record from a checked body. Raises Refusal."""
        raise forbidden(f"You do not have permissions to create a {self.type}.")

    def update(self, record: Record, body: Body) -> None:  # noqa: ARG002 - for subclasses
        """Change a record. Raises Refusal."""
        raise forbidden(f"You do not have permissions to change a {self.type}.")

    def delete(self, record: Record) -> None:  # noqa: ARG002 - for subclasses
        """Remove a record. Raises Refusal."""
        raise forbidden(f"You do not have permissions to delete a {self.type}.")

    def view(self, record: Record) -> dict[str, Any]:
        """All fields of a record as they are shown: scalars, Ref, Choice and Sublist."""
        return plain_view(self.tenant, record)

    # -- for subclasses ---------------------------------------------------------------------------------------------
    def start(self, body: Body) -> Record:
        """A new, empty record with its id and external id taken."""
        tenant = self.tenant
        external_id = text(body.get("externalId"))
        tenant.claim_external_id(self.type, external_id)
        now = tenant.now()
        return Record(self.type, str(tenant.state.next(family(self.type))), now, now, external_id)

    def retitle(self, record: Record, body: Body) -> None:
        """Touch a record that is about to change, and give it the external id a body asks for."""
        self.tenant.state.touch(record, self.tenant.now())
        if "externalId" in body:
            external_id = text(body.get("externalId"))
            if external_id != record.external_id:
                self.tenant.claim_external_id(self.type, external_id, record)
                self.tenant.state.rename(record, external_id)


class Listed(Kind):
    """A type of the set-up that the API role may only read."""

    def __init__(self, tenant: Tenant, type_: str) -> None:
        super().__init__(tenant)
        self.type = type_


def plain_view(tenant: Tenant, record: Record) -> dict[str, Any]:
    """A record of flat fields, as the catalogue says what each means."""
    shape = SHAPES[record.type]
    shown: dict[str, Any] = {"id": record.id, "lastModifiedDate": stamp(record.modified)}
    if record.external_id is not None:
        shown["externalId"] = record.external_id
    for name, value in record.fields.items():
        if value is None:
            continue
        known = shape.fields.get(name)
        if name == "subsidiaries":
            lines = [{"subsidiary": Ref("subsidiary", id_, tenant.name("subsidiary", id_))} for id_ in value]
            shown["subsidiary"] = Sublist(lines, "subsidiary")
        elif name == "taxType":
            shown[name] = Ref("taxType", str(value), tenant.name("taxType", str(value)))
        elif known is None and not name.startswith("cust"):
            continue
        elif known is not None and known.kind == "ref":
            target = record.type if name == "parent" else str(known.to)
            shown[name] = Ref(target, str(value), tenant.name(target, str(value)))
        elif known is not None and known.kind == "number":
            shown[name] = printed(value)
        elif isinstance(value, date):
            shown[name] = value.isoformat()
        else:
            shown[name] = value
    return shown
