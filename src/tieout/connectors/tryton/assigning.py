"""Setting fields of a record that is there: `Assigner`."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Confirmed, Failure, NotFound, Receipt, Rejected, SendOutcome
from tieout.canonical.write import Fields, FieldValue
from tieout.connectors.contract import Keys
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.codes import UnknownCode
from tieout.connectors.tryton.wire import Row
from tieout.connectors.tryton.writing import Writing

CUSTOMER_FIELDS = frozenset({"name", "email", "terms"})
PARTY_FIELDS = ["name", "email", "contact_mechanisms", "customer_payment_term"]


class Assigning(Writing):
    """`Assigner` of the connection."""

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        """Set fields of a record: `applications` (all that a payment or credit memo settles) or `customer`.
        Idempotent."""
        try:
            if group == "applications" and target.kind in ("payment", "credit_memo"):
                await self._set_applications(target, fields)
            elif group == "customer" and target.kind == "customer" and fields.keys() <= CUSTOMER_FIELDS:
                await self._set_customer(target, fields, keys)
            else:
                names = ", ".join(sorted(fields))
                message = f"cannot set {names} ({group}) of a {target.kind}"
                return Rejected(code="UNKNOWN_FIELD", message=message)
        except (UnknownCode, Failure, NotDone) as error:
            return error.outcome
        except NotFound:
            return Rejected(code="NO_RECORD", message=f"there is no {target.kind} {target.id}")
        return Confirmed(receipt=Receipt(external_id=target.id))

    async def _set_applications(self, target: Ref, fields: Fields) -> None:
        wanted = fields.get("applications")
        row = await self.document_row(target.id)
        if row is None or not isinstance(wanted, tuple):
            raise NotFound(target.id)
        company = str(row["company"])
        async with self.poster(company):
            await self.settle(target.id, dict(wanted), company)

    async def _set_customer(self, target: Ref, fields: Fields, keys: Keys) -> None:
        party = await self._party(target)
        company = (await self.companies())[0]
        values: dict[str, object] = {}
        if "name" in fields:
            values["name"] = fields["name"]
        if "terms" in fields:
            terms = fields["terms"]
            values["customer_payment_term"] = (
                await self.code_tables.id("terms", str(terms), company) if terms is not None else None
            )
        if "email" in fields and (fields["email"] or "") != (party.get("email") or ""):
            values["contact_mechanisms"] = await self._email_instead(party, fields["email"])
        await self.client.write(
            "model.party.party.write",
            [int(target.id)],
            values,
            operation="assign.customer",
            lane=keys.effect,
        )

    async def _email_instead(self, party: Row, email: FieldValue) -> list[list[object]]:
        """The party's first e-mail address is the one that is replaced; other ways to reach it stay."""
        rows = await self.client.rows(
            "party.contact_mechanism",
            [["id", "in", party["contact_mechanisms"]], ["type", "=", "email"]],
            ["value"],
            operation="read_back",
        )
        if rows and email:
            return [["write", [rows[0]["id"]], {"value": email}]]
        if rows:
            return [["delete", [rows[0]["id"]]]]
        return [["create", [{"type": "email", "value": email}]]]

    async def _party(self, target: Ref) -> Row:
        domain = [["id", "=", int(target.id) if target.id.isdigit() else -1], ["active", "in", [True, False]]]
        rows = await self.client.rows("party.party", domain, PARTY_FIELDS, operation="read_back")
        if not rows:
            raise NotFound(target.id)
        return rows[0]

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        """The same fields as they are now. Raises NotFound, Failure."""
        if group == "customer":
            party = await self._party(target)
            company = (await self.companies())[0]
            terms = await self.code_tables.code("terms", party.get("customer_payment_term"), company)
            now: Fields = {"name": party["name"], "email": party.get("email") or None, "terms": terms or None}
            return {name: now.get(name) for name in fields}
        row = await self.document_row(target.id)
        if row is None:
            raise NotFound(target.id)
        company = str(row["company"])
        standing = await self.settled(target.id, company)
        answer: dict[str, FieldValue] = {"applications": tuple(sorted(standing.items()))}
        if "currency" in fields:
            answer["currency"] = await self.code_tables.currency(company)
        return answer
