"""Values on the way in (JSON to stored) and out. Stored: str, bool, int, Decimal; dates and datetimes as their text.

A stored datetime is `2026-11-23T13:20:09.000+0000`, always UTC, so that comparing texts compares moments. Numbers with
a point are Decimal and leave as JSON numbers with at least one decimal, as the vendor's doubles do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.salesforce import errors, ids
from tieout_lab.twins.salesforce.schema import NUMBERS, Field, Schema, SObject

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})T(\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,9}))?(Z|[+-]\d{2}:?\d{2})?", re.IGNORECASE
)
_EMAIL = re.compile(r"[^@\s<>()\[\],;:\"]+@[^@\s<>()\[\],;:\"]+\.[^@\s.]+")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer before it is written: `body` is JSON-able (Decimals allowed), None for an empty body, bytes
    for one that is not JSON."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """The answer as it is sent; Decimals become JSON numbers."""
        every = {"content-type": "application/json;charset=UTF-8", **self.headers, **(headers or {})}
        if isinstance(self.body, bytes):
            return Response(self.status, self.body, every)
        return Response(self.status, b"" if self.body is None else _ENCODER.encode(self.body), every)


def decode(request: Request) -> Any:
    """The request's JSON with every fraction a Decimal; JSON_PARSER_ERROR where there is none."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise errors.SalesforceError(415, "UNSUPPORTED_MEDIA_TYPE", f"Content type {kind} not supported")
    try:
        return _DECODER.decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise errors.parser_error(f"Unexpected character or end of input: {error}") from None


def decode_object(request: Request) -> dict[str, Any]:
    """The request's JSON object."""
    body = decode(request)
    if not isinstance(body, dict):
        raise errors.parser_error(
            f"Cannot deserialize instance of object from {_token(body)} at [line:1, column:1]"
        )
    return body


def moment_text(moment: datetime) -> str:
    """A moment in the vendor's form, milliseconds kept."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}+0000"


def parse_moment(text: str) -> str | None:
    """A datetime literal in the stored form, or None. Without an offset it is UTC."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    day, clock, fraction, offset = match.groups()
    zone = "+00:00" if offset is None or offset.upper() == "Z" else offset
    zone = zone if ":" in zone else f"{zone[:3]}:{zone[3:]}"
    try:
        whole = datetime.fromisoformat(f"{day}T{clock}{zone}")
    except ValueError:
        return None
    return moment_text(whole.replace(microsecond=int((fraction or "0").ljust(6, "0")[:6])))


def parse_date(text: str) -> str | None:
    """A date, or the date of a datetime, in the form YYYY-MM-DD; None if it is neither."""
    if not _DATE.fullmatch(text):
        moment = parse_moment(text)
        return moment[:10] if moment else None
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return None


def double(number: Decimal, scale: int | None = None) -> Decimal:
    """A number as the vendor writes doubles: plain, at least one decimal; rounded half up to `scale` places."""
    if scale is not None and number.as_tuple().exponent < -scale:  # type: ignore[operator]  # finite: checked on entry
        number = number.quantize(Decimal(1).scaleb(-scale), ROUND_HALF_UP)
    text = format(number.normalize(), "f")
    return Decimal(text if "." in text else f"{text}.0")


def accept(schema: Schema, sobject: SObject, field: Field, given: Any) -> Any:
    """The stored form of a client's value. Raises JSON_PARSER_ERROR, STRING_TOO_LONG and the like."""
    if given is None or (given == "" and field.type not in ("boolean", *NUMBERS, "int")):
        if field.type == "boolean":
            raise errors.SalesforceError(
                400,
                "INVALID_TYPE_ON_FIELD_IN_RECORD",
                f"{field.label}: value not of required type: ",
                [field.name],
            )
        return None
    if isinstance(given, dict | list):
        raise _mismatch(field, given)
    if field.type == "boolean":
        return _boolean(field, given)
    if field.type in NUMBERS or field.type == "int":
        return _number(field, given)
    if not isinstance(given, str):
        raise _mismatch(field, given)
    if field.type in ("date", "datetime"):
        parsed = parse_date(given) if field.type == "date" else parse_moment(given)
        if parsed is None:
            raise _mismatch(field, given)
        return parsed
    if field.type == "reference":
        return _reference(schema, field, given)
    return _text(sobject, field, given)


def _boolean(field: Field, given: Any) -> bool:
    if isinstance(given, bool):
        return given
    if isinstance(given, str) and given.lower() in ("true", "false"):
        return given.lower() == "true"
    raise _mismatch(field, given)


def _number(field: Field, given: Any) -> Decimal | int:
    if isinstance(given, bool) or not isinstance(given, int | Decimal | str):
        raise _mismatch(field, given)
    try:
        number = Decimal(given)
    except ArithmeticError:
        raise _mismatch(field, given) from None
    if not number.is_finite():
        raise _mismatch(field, given)
    rounded = (
        number.quantize(Decimal(1).scaleb(-field.scale), ROUND_HALF_UP) if abs(number) < 10**20 else number
    )
    if abs(rounded) >= 10**field.digits:
        text = f"{field.label}: value outside of valid range on numeric field: {given}"
        raise errors.SalesforceError(400, "NUMBER_OUTSIDE_VALID_RANGE", text, [field.name])
    if field.type == "int":
        if rounded != number:
            raise _mismatch(field, given)
        return int(rounded)
    return double(rounded)


def _reference(schema: Schema, field: Field, given: str) -> str:
    complete = ids.full(given)
    prefix = schema.objects[field.target].prefix if field.target else ""
    if complete is None or not complete.startswith(prefix):
        raise errors.malformed_id(field.label, given, field.name)
    return complete


def _text(sobject: SObject, field: Field, given: str) -> str | None:
    text = given.strip(" ") if field.type != "textarea" else given
    if not text:
        return None
    if len(text) > field.length:
        message = f"{field.label}: data value too large: {text} (max length={field.length})"
        raise errors.SalesforceError(400, "STRING_TOO_LONG", message, [field.name])
    if field.type == "email" and not _EMAIL.fullmatch(text):
        message = f"{field.label}: invalid email address: {text}"
        raise errors.SalesforceError(400, "INVALID_EMAIL_ADDRESS", message, [field.name])
    if field.restricted and text not in field.values:
        known = next((value for value in field.values if value.lower() == text.lower()), None)
        if known is None:
            label = f"{sobject.label} Currency" if field.name == "CurrencyIsoCode" else field.label
            message = f"{label}: bad value for restricted picklist field: {text}"
            raise errors.SalesforceError(
                400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, [field.name]
            )
        return known
    return text


def _mismatch(field: Field, given: Any) -> errors.SalesforceError:
    kind = "double" if field.type in NUMBERS else field.type
    kind = "string" if kind in ("textarea", "picklist", "email", "phone", "url", "reference") else kind
    text = (
        f"Cannot deserialize instance of {kind} from {_token(given)} or request may be missing a required field"
        " at [line:1, column:1]"
    )
    return errors.parser_error(text)


def _token(given: Any) -> str:
    """How the vendor's parser names what it met."""
    if isinstance(given, dict):
        return "START_OBJECT value {"
    if isinstance(given, list):
        return "START_ARRAY value ["
    if isinstance(given, bool):
        return f"VALUE_{str(given).upper()} value {str(given).lower()}"
    if given is None:
        return "VALUE_NULL value null"
    kind = {int: "NUMBER_INT", Decimal: "NUMBER_FLOAT"}.get(type(given), "STRING")
    return f"VALUE_{kind} value {given}"
