"""What we write: status fields of opportunities and accounts by id, and the invoice mirror by External Id upsert.

Everything here is `assign`: setting fields to values, which may be repeated. Documents are not created by this
connection, so it is no `Writer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from urllib.parse import quote

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.money import to_major, to_minor
from tieout.canonical.outcome import (
    Confirmed,
    Failure,
    NotFound,
    OutcomeUnknown,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import Fields, FieldValue
from tieout.connectors.contract import OperationTraits
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.config import FieldNames
from tieout.connectors.salesforce.mapping import Org
from tieout.ports import Response

JsonValue = str | bool | int | Decimal | None
# Amounts are JSON numbers there, and must be written digit by digit.
_body = msgspec.json.Encoder(decimal_format="number")

ASSIGN_TRAITS = OperationTraits(uniqueness="atomic", longest_seconds=600, visibility_seconds=0)


def encode_body(body: object) -> bytes:
    """JSON as Salesforce takes it."""
    return _body.encode(body)


class StatusFields:
    """`Assigner` of one connection."""

    def __init__(self, client: Client, org: Org) -> None:
        self._client = client
        self._org = org
        self._groups = group_fields(org.names, org.config.currency_field)
        self._objects = {"opportunity": "Opportunity", "account": "Account"}

    @property
    def names(self) -> FieldNames:
        """The API names of this connection."""
        return self._org.names

    @property
    def mirror_path(self) -> str:
        """`/<object>/<External Id field>` of the invoice mirror."""
        return f"/{self.names.mirror_object}/{self.names.mirror_external_id}"

    def address(self, target: Ref) -> tuple[str, str]:
        """The object of a record and the field that names it: `Id`, or the mirror's External Id."""
        if target.kind == "invoice_mirror":
            return self.names.mirror_object, self.names.mirror_external_id
        return self._objects[target.kind], "Id"

    def unsendable(self, target: Ref) -> Rejected | None:
        """Why this record cannot be addressed at all, or None."""
        if target.kind == "invoice_mirror" or soql.is_record_id(target.id):
            return None
        return Rejected(code="MALFORMED_ID", message=f"{target.kind} has no record id")

    async def assign(self, target: Ref, group: str, fields: Fields) -> SendOutcome:
        """Set the fields of one record. ValueError for a group or field that this connection does not have."""
        body = encode_body(self.body(target, group, fields))
        if target.kind == "invoice_mirror":
            return await self._upsert(target, body)
        refusal = self.unsendable(target)
        if refusal is not None:
            return refusal
        path = f"{self._client.data}/sobjects/{self._objects[target.kind]}/{target.id}"
        answer = await self._client.write("PATCH", path, body, f"{target.kind}.assign", str(target))
        if not isinstance(answer, Response):
            return answer
        if answer.status == 300:
            return self._client.http.blocked("300: several records under one id")
        if answer.status != 204:
            return OutcomeUnknown(reason=f"{answer.status} where 204 is documented")
        return Confirmed(receipt=Receipt(external_id=target.id))

    async def _upsert(self, target: Ref, body: bytes) -> SendOutcome:
        path = f"{self._client.data}/sobjects{self.mirror_path}/{quote(target.id, safe='')}"
        answer = await self._client.write("PATCH", path, body, "invoice_mirror.assign", str(target))
        if not isinstance(answer, Response):
            if isinstance(answer, Rejected) and answer.code == "DUPLICATE_VALUE":
                # Two upserts of one new key at once: the other one made it, the next attempt updates it.
                return Transient(reason=f"{answer.code} {answer.message}")
            return answer
        return upserted(answer, target)

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        """The same fields as they are now; a value that Salesforce merely writes in another way (a dateTime, blanks
        at the ends, empty for null) comes back as it was asked. Raises NotFound, Failure."""
        known = self._fields_of(target, group)
        wanted = {name: known[name] for name in fields if known.get(name)}
        sobject, key = self.address(target)
        currency_field = self._org.config.currency_field
        columns = soql.columns("Id", *wanted.values(), currency_field if "amount_minor" in fields else "")
        query = f"SELECT {columns} FROM {sobject} WHERE {key} = {soql.quoted(target.id)}"
        rows = await self._client.rows(query, f"{target.kind}.read_back", lane=str(target))
        if not rows:
            raise NotFound(f"{target.kind} {target.id}")
        if len(rows) > 1:
            raise Failure(
                Rejected(code="300", message=several(target, [wire.text(row, "Id") for row in rows]))
            )
        try:
            return {
                name: _read(rows[0], name, api_name, self._org, fields[name])
                for name, api_name in wanted.items()
            } | {name: value for name, value in fields.items() if name not in wanted}
        except BadBody as error:
            raise Failure(Transient(reason=f"read-back: {error}")) from error

    def _fields_of(self, target: Ref, group: str) -> dict[str, str]:
        known = self._groups.get((target.kind, group))
        if known is None:
            raise ValueError(f"no field group {group!r} of {target.kind!r}")
        return known

    def body(self, target: Ref, group: str, fields: Fields) -> dict[str, JsonValue]:
        """The fields by API name. ValueError for a group or field that this connection does not have."""
        known = self._fields_of(target, group)
        unknown = sorted(fields.keys() - known.keys())
        if unknown:
            raise ValueError(
                f"no field {', '.join(unknown)} in {target.kind}.{group}; known: {', '.join(known)}"
            )
        if target.kind == "invoice_mirror":
            return mirror_body(fields, known, self._org)
        return plain_body(fields, known, self._org.config.detail_length)


def group_fields(names: FieldNames, currency_field: str) -> dict[tuple[str, str], dict[str, str]]:
    """(kind, group) -> our field names -> API names; an empty API name: the org has no such field."""
    return {
        ("opportunity", "status"): {
            "status": names.opportunity_status,
            "detail": names.opportunity_last_error,
            "subscription": names.opportunity_subscription,
            "synced_at": names.opportunity_synced_at,
            "external_id": names.opportunity_external_id,
        },
        ("opportunity", "problem"): {"detail": names.opportunity_last_error},
        ("account", "status"): {
            "status": names.account_status,
            "detail": names.account_last_error,
            "external_id": names.account_external_id,
        },
        ("invoice_mirror", "mirror"): {
            "name": names.mirror_name,
            "account": names.mirror_account,
            "opportunity": names.mirror_opportunity,
            "amount_minor": names.mirror_amount,
            "currency": currency_field,
            "status": names.mirror_status,
            "number": names.mirror_number,
            "erp_document": names.mirror_erp_document,
            "erp_number": names.mirror_erp_number,
            "billing": names.mirror_billing,
        },
    }


def plain_body(fields: Fields, known: Mapping[str, str], detail_length: int) -> dict[str, JsonValue]:
    """Fields of one record; texts too long for the error field are cut, since a refused status helps nobody."""
    body: dict[str, JsonValue] = {}
    for name, value in fields.items():
        if known[name]:
            body[known[name]] = cut(value, detail_length) if name == "detail" else _scalar(name, value)
    return body


def cut(value: FieldValue, length: int) -> JsonValue:
    """A text of at most so many characters, its end marked."""
    text = _scalar("detail", value)
    return text[: length - 1] + "…" if isinstance(text, str) and len(text) > length else text


def mirror_body(fields: Fields, known: Mapping[str, str], org: Org) -> dict[str, JsonValue]:
    """The invoice as the CRM shows it. The key field stands in the address, never in the body."""
    plain = {name: value for name, value in fields.items() if name not in ("amount_minor", "currency")}
    body = plain_body(plain, known, org.config.detail_length)
    currency = fields.get("currency")
    if currency is not None and org.config.currency_field:
        body[org.config.currency_field] = _scalar("currency", currency)
    amount = fields.get("amount_minor")
    if amount is not None and known["amount_minor"]:
        if not isinstance(amount, int) or isinstance(amount, bool) or not isinstance(currency, str):
            raise ValueError("amount_minor must be an integer and needs currency beside it")
        body[known["amount_minor"]] = to_major(amount, currency)
    return body


def _scalar(name: str, value: FieldValue) -> JsonValue:
    if isinstance(value, tuple):
        raise TypeError(f"{name} must be one value")
    return value


def upserted(answer: Response, target: Ref) -> SendOutcome:
    """What became of an upsert: 201 new, 200 or 204 existing, 300 several under one key and nothing written."""
    if answer.status == 204:
        return Confirmed(receipt=Receipt(external_id=target.id))
    if answer.status == 300:
        try:
            matches = wire.decode(wire.SEVERAL, answer.body)
        except BadBody:
            matches = []
        return Rejected(code="300", message=several(target, [path.rsplit("/", 1)[-1] for path in matches]))
    if answer.status not in (200, 201):
        return OutcomeUnknown(reason=f"{answer.status} where 200, 201 or 204 is documented")
    try:
        saved = wire.decode(wire.SAVED, answer.body)
    except BadBody as error:
        return OutcomeUnknown(reason=f"{answer.status}: {error}")
    if not saved.success:
        return OutcomeUnknown(reason=f"{answer.status} without success")
    return Confirmed(receipt=Receipt(external_id=saved.id))


def several(target: Ref, ids: list[str]) -> str:
    """The words for several records under one key."""
    return (
        f"several records carry the key of {target.kind} {target.id}: {', '.join(ids)}; "
        "merge or delete all but one, and make the field unique"
    )


def _read(row: wire.Row, name: str, api_name: str, org: Org, asked: FieldValue) -> FieldValue:
    if name == "amount_minor":
        amount = wire.number(row, api_name)
        currency = org.currency(row)
        return None if amount is None else to_minor(amount, currency, rounding="half_up")
    value = row.get(api_name)
    if isinstance(value, bool | int) or value is None:
        return "" if value is None and asked == "" else value
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else str(value)
    if not isinstance(value, str):
        raise BadBody(f"{api_name} is no single value")
    return asked if _same(asked, value, org.config.detail_length) else value


def _same(asked: FieldValue, value: str, detail_length: int) -> bool:
    """Whether Salesforce keeps what we asked, written its own way."""
    if not isinstance(asked, str):
        return False
    kept = cut(asked, detail_length)
    return kept == value or asked.strip() == value.strip() or _instant(asked) == _instant(value) is not None


def _instant(text: str) -> datetime | None:
    """A dateTime to the second (Salesforce keeps no more), or None when the text is none."""
    if len(text) < 19 or text[4:5] != "-":
        return None
    try:
        return wire.parse_moment(text).replace(microsecond=0)
    except BadBody:
        return None
