"""Setting fields of a record that is there: `Assigner`."""

from __future__ import annotations

from collections.abc import Mapping

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    NotFound,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendOutcome,
)
from tieout.canonical.write import Fields, FieldValue
from tieout.connectors.contract import Keys
from tieout.connectors.netsuite import outbound
from tieout.connectors.netsuite.batching import Batching
from tieout.connectors.netsuite.codes import UnknownCode
from tieout.connectors.netsuite.mapping import RECORD, minor
from tieout.connectors.netsuite.refusals import refusal
from tieout.connectors.netsuite.wire import Structs
from tieout.connectors.netsuite.writing import is_json
from tieout.ports import TransportError


class Assigning(Batching):
    """`Assigner` of the connection."""

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        """Set fields of a record: `applications` (the whole apply list of a payment, credit memo or refund) or
        `customer`. Idempotent."""
        try:
            path, body = await self._assignment(target, group, fields)
            response = await self.client.write(
                "PATCH", path, body, operation=f"assign.{group}", lane=keys.effect
            )
        except (UnknownCode, Failure) as error:
            return error.outcome
        except NotFound:
            return Rejected(code="NONEXISTENT_ID", message=f"there is no {target.kind} {target.id}")
        except TransportError as error:
            return self.client.http.send_failed(error)
        if response.status == 204 or (response.status == 200 and is_json(response)):
            return Confirmed(receipt=Receipt(external_id=target.id))
        if 200 <= response.status < 300:
            return OutcomeUnknown(reason=f"{response.status} without the documented answer")
        return await self.refused(None, response, refusal(response))

    async def _assignment(self, target: Ref, group: str, fields: Fields) -> tuple[str, Mapping[str, object]]:
        if (
            group == "customer"
            and target.kind == "customer"
            and fields.keys() <= outbound.CUSTOMER_FIELDS.keys()
        ):
            terms = {str(fields["terms"])} if fields.get("terms") is not None else set()
            ids = outbound.Ids(terms=await self.code_tables.ids("terms", terms))
            return f"customer/{target.id}", outbound.customer_fields(fields, ids)
        if group == "applications" and target.kind in ("payment", "credit_memo", "refund"):
            applications = fields.get("applications")
            if isinstance(applications, tuple):
                currency = str(fields.get("currency") or "") or await self._currency(target)
                await self.code_tables.check_amounts(currency, (amount for _, amount in applications))
                path = f"{RECORD[target.kind]}/{target.id}?replace=apply"
                return path, {"apply": outbound.apply_list(applications, currency)}
        names = ", ".join(sorted(fields))
        raise Failure(
            Rejected(code="UNKNOWN_FIELD", message=f"cannot set {names} ({group}) of a {target.kind}")
        )

    async def _currency(self, target: Ref) -> str:
        path = f"{RECORD[target.kind]}/{target.id}"
        document = await self.client.fetch(Structs.transaction, path, operation="assign.applications")
        return await self.code_tables.code("currency", document.currency.key if document.currency else "")

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        """The same fields as they are now. Raises NotFound, Failure."""
        if group == "customer":
            customer = await self.client.fetch(
                Structs.customer, f"customer/{target.id}", operation="read_back"
            )
            terms = await self.code_tables.code("terms", customer.terms.key) if customer.terms else None
            now: Fields = {
                "name": customer.company_name or None,
                "email": customer.email or None,
                "crm_account": customer.crm_account or None,
                "terms": terms,
            }
            return {name: now.get(name) for name in fields}
        path = f"{RECORD[target.kind]}/{target.id}?expandSubResources=true"
        document = await self.client.fetch(Structs.transaction, path, operation="read_back")
        currency = await self.code_tables.code("currency", document.currency.key if document.currency else "")
        there = {
            line.doc.key: minor(line.amount, currency)
            for line in (document.apply.items if document.apply else ())
            if line.apply
        }
        asked = fields.get("applications")
        # In the order that was asked for, so that equal lists are equal values.
        order = [document_id for document_id, _ in asked] if isinstance(asked, tuple) else []
        ids = [one for one in order if one in there] + sorted(one for one in there if one not in order)
        answer: dict[str, FieldValue] = {"applications": tuple((one, there[one]) for one in ids)}
        if "currency" in fields:
            answer["currency"] = currency
        return answer
