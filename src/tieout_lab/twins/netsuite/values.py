"""From the wire and back: JSON without floats, amounts in minor units, dates, references."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

import msgspec

LARGEST = Decimal(10) ** 15  # no amount, rate or quantity reaches it
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def decode(body: bytes) -> Any:
    """JSON with its fractions as Decimal. Raises msgspec.DecodeError."""
    return _DECODER.decode(body)


def encode(value: Any) -> bytes:
    """JSON with Decimal as plain numbers."""
    return _ENCODER.encode(value)


@dataclass(frozen=True, slots=True)
class Ref:
    """A reference to another record, as it is shown: type for its link, id, display name."""

    type: str
    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a fixed list (status letters, approval states): no link, only id and name."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Sublist:
    """Lines of a record; `key` names the field by which a line is addressed in a URL."""

    lines: list[dict[str, Any]]
    key: str = "line"


def number(value: Any) -> Decimal | None:
    """A JSON number (or a numeric string, which the vendor takes too) as Decimal; None if it is neither."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        result = Decimal(str(value))
    except InvalidOperation:
        return None
    return result if result.is_finite() and abs(result) < LARGEST else None


def to_minor(value: Decimal, exponent: int) -> int:
    """Minor units of a currency with `exponent` digits, rounded half up as the vendor rounds amounts."""
    return int((value.scaleb(exponent)).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def from_minor(amount: int, exponent: int) -> Decimal:
    """An amount as the vendor prints doubles: at least one digit after the point, no useless zeros."""
    return printed(Decimal(amount).scaleb(-exponent))


def printed(value: Decimal) -> Decimal:
    """A number as a double is printed: 100.0, 72.5, 0.00667."""
    plain = value.normalize()
    if plain == 0:
        return Decimal("0.0")
    exponent = plain.as_tuple().exponent
    return plain.quantize(Decimal("0.1")) if isinstance(exponent, int) and exponent > -1 else plain


def convert(amount: int, from_exponent: int, rate: Decimal, to_exponent: int) -> int:
    """Minor units of one currency in another at `rate` (one unit of the first = rate units of the second)."""
    return to_minor(Decimal(amount).scaleb(-from_exponent) * rate, to_exponent)


def share(whole: int, part: int, of: int) -> int:
    """`whole` times `part`/`of`, rounded half up away from zero; exact when part = of."""
    if part == of:
        return whole
    return int((Decimal(whole) * part / of).quantize(Decimal(1), rounding=ROUND_HALF_UP))


def day(value: Any) -> date | None:
    """An ISO date (a date-time counts as its date); None if it is none."""
    if not isinstance(value, str) or len(value) < 10:
        return None
    try:
        return date.fromisoformat(value[:10])
    except ValueError:
        return None


def stamp(moment: datetime) -> str:
    """A date-time as the record API prints it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def text(value: Any) -> str | None:
    """A scalar as text; None for null, lists and objects."""
    if value is None or isinstance(value, dict | list):
        return None
    if isinstance(value, bool):
        return "T" if value else "F"
    return str(value)
