"""Customers and their further subsidiaries."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.errors import Refusal, invalid_value, missing, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.kinds import WRITE, Kind, plain_view
from tieout_lab.twins.netsuite.state import Record
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import Choice, Ref, Sublist, from_minor, stamp

# Fields with their own handling or that the account computes; everything else is kept as written.
_OWN = {
    "externalId",
    "currencyList",
    "addressBook",
    "taxRegistration",
    "balance",
    "id",
    "links",
    "lastModifiedDate",
}


CREDIT_HOLDS = {"AUTO": "Auto", "ON": "On", "OFF": "Off"}


class Customers(Kind):
    """`customer`. Needs companyName (or lastName of a person) and, the account being OneWorld, subsidiary."""

    type = "customer"
    methods = WRITE

    def create(self, body: Body) -> Record:
        record = self.start(body)
        record.fields = {"currencies": [], "addressBook": [], "taxRegistration": [], "isInactive": False}
        record.fields["creditHoldOverride"] = "AUTO"
        self._write(record, body)
        self.tenant.state.add(record)
        return record

    def update(self, record: Record, body: Body) -> None:
        fields = record.fields
        moved = body.get("subsidiary", fields["subsidiary"]) != fields["subsidiary"]
        if moved and any(document.entity == record.id for document in self.tenant.state.documents()):
            raise user_error(
                "You cannot change the subsidiary of a customer that has transactions.", path="subsidiary"
            )
        self.retitle(record, body)
        self._write(record, body)

    def delete(self, record: Record) -> None:
        if any(document.entity == record.id for document in self.tenant.state.documents()):
            raise user_error("This customer cannot be deleted because it has child records or transactions.")
        self.tenant.state.remove(record)

    def view(self, record: Record) -> dict[str, Any]:
        fields = record.fields
        shown = plain_view(self.tenant, record)
        for name in ("addressBook", "taxRegistration"):
            lines = [{"id": str(n), **line} for n, line in enumerate(fields[name], start=1)]
            shown[name] = Sublist(lines, "id")
        currencies = [fields["currency"], *(c for c in fields["currencies"] if c != fields["currency"])]
        shown["currencyList"] = Sublist(
            [{"currency": _currency(self.tenant, currency)} for currency in currencies], "currency"
        )
        hold = fields["creditHoldOverride"]
        shown["creditHoldOverride"] = Choice(hold, CREDIT_HOLDS[hold])
        shown["balance"] = _balance(self.tenant, record)
        shown["dateCreated"] = stamp(record.created)
        shown.setdefault("isPerson", False)
        return shown

    def _write(self, record: Record, body: Body) -> None:
        fields, tenant = record.fields, self.tenant
        fields.update({name: value for name, value in body.values.items() if name not in _OWN})
        person = bool(fields.get("isPerson"))
        if not person and not fields.get("companyName"):
            raise missing("Company Name", path="companyName")
        if person and not fields.get("lastName"):
            raise missing("Last Name", path="lastName")
        if not fields.get("subsidiary"):
            raise missing("Primary Subsidiary", path="subsidiary")
        if fields.get("email") and "@" not in str(fields["email"]).strip("@"):
            raise user_error(f"Invalid email address: {fields['email']}.", path="email")
        if fields["creditHoldOverride"] not in CREDIT_HOLDS:
            raise invalid_value(fields["creditHoldOverride"], "creditholdoverride", "creditHoldOverride")
        if fields.get("parent") == record.id:
            raise invalid_value(record.id, "parent", "parent")
        if not fields.get("currency"):
            fields["currency"] = tenant.functional(fields["subsidiary"])
        self._sublists(record, body)
        self._name(record)

    def _sublists(self, record: Record, body: Body) -> None:
        fields = record.fields
        if "currencyList" in body:
            given = [str(line["currency"]) for line in body.get("currencyList") if line.get("currency")]
            kept = [] if "currencyList" in body.replace else fields["currencies"]
            fields["currencies"] = list(dict.fromkeys([*kept, *given]))
        for name in ("addressBook", "taxRegistration"):
            if name not in body:
                continue
            lines = [] if name in body.replace else list(fields[name])
            for line in body.get(name):
                position = str(line.get("id", ""))
                if position.isdigit() and 0 < int(position) <= len(lines):
                    lines[int(position) - 1] = {**lines[int(position) - 1], **line}
                else:
                    lines.append({key: value for key, value in line.items() if key != "id"})
            fields[name] = lines

    def _name(self, record: Record) -> None:
        """The entity id: as given, else the name. It is unique in the account."""
        fields = record.fields
        if not fields.get("entityId"):
            person = f"{fields.get('firstName') or ''} {fields.get('lastName') or ''}".strip()
            fields["entityId"] = fields.get("companyName") or person
        same = str(fields["entityId"]).casefold()
        for other in self.tenant.state.of_type("customer"):
            if other is not record and str(other.fields["entityId"]).casefold() == same:
                raise Refusal(
                    "UNIQUE_CUST_ID_REQD",
                    "Error while accessing a resource. A customer record with this ID already exists. You must "
                    "enter a unique customer ID for each record you create.",
                    path="entityId",
                )


class Relationships(Kind):
    """`customerSubsidiaryRelationship`: a further subsidiary of a customer."""

    type = "customerSubsidiaryRelationship"
    methods = frozenset({"GET", "POST", "DELETE"})

    def create(self, body: Body) -> Record:
        for name, label in (("entity", "Entity"), ("subsidiary", "Subsidiary")):
            if not body.get(name):
                raise missing(label, path=name)
        customer = self.tenant.state.get("customer", body.get("entity"))
        if self.tenant.customer_in(customer, body.get("subsidiary")):
            # What the vendor answers when the customer has the subsidiary already.
            raise invalid_value(body.get("subsidiary"), "subsidiary", "subsidiary")
        record = self.start(body)
        record.fields = {"entity": customer.id, "subsidiary": body.get("subsidiary"), "isPrimarySub": False}
        self.tenant.state.add(record)
        return record

    def delete(self, record: Record) -> None:
        fields = record.fields
        for document in self.tenant.state.documents():
            if document.entity == fields["entity"] and document.subsidiary == fields["subsidiary"]:
                raise user_error("This relationship cannot be deleted because it is used by transactions.")
        self.tenant.state.remove(record)


def _currency(tenant: Tenant, id_: str) -> Ref:
    return Ref("currency", id_, tenant.name("currency", id_))


def _balance(tenant: Tenant, customer: Record) -> Any:
    """Open receivables less what is on account, in the functional currency of the primary subsidiary."""
    total = 0
    for document in tenant.state.documents():
        if document.entity == customer.id:
            total += sum(line.functional for line in document.gl if line.account == document.receivables)
    return from_minor(total, tenant.exponent(tenant.functional(customer.fields["subsidiary"])))
