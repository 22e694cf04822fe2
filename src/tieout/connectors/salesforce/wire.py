"""What Salesforce says: pages, errors, sign-in answers, and typed access to rows.

Field names are the org's own (configurable), so a record is a mapping; every read of it states the type it expects.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias, TypeVar

import msgspec

from tieout.connectors.http import BadBody
from tieout.ports import Response

Row: TypeAlias = Mapping[str, Any]
T = TypeVar("T")
MOST_DIGITS = 24


class Page(msgspec.Struct, frozen=True, rename="camel"):
    """One page of a query; `next_records_url` is a path on the instance."""

    total_size: int
    done: bool
    records: list[dict[str, Any]]
    next_records_url: str = ""


class TokenAnswer(msgspec.Struct, frozen=True):
    """The answer of the token endpoint. There is no expires_in and no refresh token in these flows."""

    access_token: str
    instance_url: str
    id: str


class TokenRefusal(msgspec.Struct, frozen=True):
    """The token endpoint's own shape of an error."""

    error: str
    error_description: str = ""


class Matched(msgspec.Struct, frozen=True):
    """A record that a duplicate rule found."""

    record: dict[str, Any] = {}


class MatchResult(msgspec.Struct, frozen=True, rename="camel"):
    """What one matching rule found."""

    match_records: list[Matched] = []


class DuplicateResult(msgspec.Struct, frozen=True, rename="camel"):
    """What a duplicate rule found; shown to who may see the records."""

    match_results: list[MatchResult] = []


class ApiError(msgspec.Struct, frozen=True, rename="camel"):
    """One error of the data API."""

    error_code: str
    message: str = ""
    fields: list[str] | None = None
    duplicate_result: DuplicateResult | None = None


class OldError(msgspec.Struct, frozen=True, rename="camel"):
    """The shape in which Bulk resources may refuse."""

    exception_code: str
    exception_message: str = ""


class SaveError(msgspec.Struct, frozen=True, rename="camel"):
    """One error of one record of a Collections call: `statusCode` there, not `errorCode`."""

    status_code: str
    message: str = ""
    fields: list[str] = []

    @property
    def words(self) -> str:
        return f"{self.message} ({', '.join(self.fields)})" if self.fields else self.message


class SaveResult(msgspec.Struct, frozen=True):
    """What became of one record of a Collections call. A refused one often has no id."""

    success: bool
    id: str | None = None
    errors: list[SaveError] = []
    created: bool | None = None


class SaveAnswer(msgspec.Struct, frozen=True):
    """The answer of an upsert; the second time `created` is false (or there is 204 and no body)."""

    id: str
    success: bool
    created: bool = False


class SubAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answer to one part of a composite call."""

    body: msgspec.Raw
    http_status_code: int
    reference_id: str | None


class CompositeAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """The answers of a composite call; the outer status is 200 whatever they are."""

    composite_response: list[SubAnswer]


class ApiVersion(msgspec.Struct, frozen=True):
    """One version that the org offers, such as `68.0`."""

    version: str


class DescribedField(msgspec.Struct, frozen=True, rename="camel"):
    """One field as this user may use it."""

    name: str
    updateable: bool = False
    createable: bool = False
    unique: bool = False
    external_id: bool = False


class Described(msgspec.Struct, frozen=True, rename="camel"):
    """What `describe` shows of one object, as far as this user may see it."""

    name: str
    fields: list[DescribedField]
    queryable: bool = True
    createable: bool = True
    updateable: bool = True


PAGE = msgspec.json.Decoder(Page, float_hook=Decimal)
TOKEN = msgspec.json.Decoder(TokenAnswer)
TOKEN_REFUSAL = msgspec.json.Decoder(TokenRefusal)
ERRORS = msgspec.json.Decoder(list[ApiError])
ERROR = msgspec.json.Decoder(ApiError)
OLD_ERROR = msgspec.json.Decoder(OldError)
SAVED = msgspec.json.Decoder(SaveAnswer)
RESULTS = msgspec.json.Decoder(list[SaveResult])
SEVERAL = msgspec.json.Decoder(list[str])
COMPOSITE = msgspec.json.Decoder(CompositeAnswer)
VERSIONS = msgspec.json.Decoder(list[ApiVersion])
DESCRIBED = msgspec.json.Decoder(Described)


def decode(decoder: msgspec.json.Decoder[T], body: bytes | msgspec.Raw) -> T:
    """A body as the documented shape. Raises BadBody, which never quotes the body."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadBody("not the documented answer") from error


def read_error(response: Response) -> tuple[str, str]:
    """(errorCode, words) of an error body: a list, one bare object, the sign-in's own shape, HTML or nothing."""
    body = response.body
    try:
        errors = [ERROR.decode(body)] if body[:1] == b"{" else ERRORS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _refusal(body)
    if not errors:
        return "", ""
    return errors[0].error_code, "; ".join(_words(error) for error in errors)


def _refusal(body: bytes) -> tuple[str, str]:
    try:
        old = OLD_ERROR.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    else:
        return old.exception_code, old.exception_message
    try:
        refusal = TOKEN_REFUSAL.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", "an answer without an error code" if body else "an empty answer"
    return refusal.error, refusal.error_description


def _words(error: ApiError) -> str:
    words = f"{error.message} ({', '.join(error.fields)})" if error.fields else error.message
    found = error.duplicate_result
    if found is None:
        return words
    matches = [str(each.record.get("Id", "")) for rule in found.match_results for each in rule.match_records]
    return f"{words} (matches {', '.join(dict.fromkeys(filter(None, matches)))})" if any(matches) else words


def session_ended(response: Response) -> bool:
    """Whether the session is over: 401, or 400 InvalidSessionId, as Bulk resources say it."""
    if response.status == 401:
        return True
    return response.status == 400 and read_error(response)[0] in ("InvalidSessionId", "INVALID_SESSION_ID")


class Usage(msgspec.Struct, frozen=True):
    """API calls of the last 24 hours: used, and the allowance, of the whole org or, where that is scarcer, of our
    app."""

    used: int
    allowed: int

    @property
    def percent(self) -> int:
        return self.used * 100 // self.allowed if self.allowed else 100

    @property
    def left(self) -> int:
        return max(0, self.allowed - self.used)


def read_usage(header: str) -> Usage | None:
    """`api-usage=18/5000`, alone or followed by `; per-app-api-usage=17/250(appName=x)`: the scarcer of the two."""
    found: list[Usage] = []
    for part in header.split(";"):
        name, _, numbers = part.strip().partition("=")
        used, _, rest = numbers.partition("/")
        allowed = rest.partition("(")[0]
        if name in ("api-usage", "per-app-api-usage") and used.isdigit() and allowed.isdigit():
            found.append(Usage(int(used), int(allowed)))
    return max(found, key=lambda usage: usage.percent, default=None)


def server_time(response: Response) -> datetime | None:
    """The Date header: the vendor's clock, by which a sweep's cursor moves; ours may be wrong."""
    try:
        return parsedate_to_datetime(response.headers.get("date", "")).astimezone(UTC)
    except (TypeError, ValueError):
        return None


# ------------------------------------------------------------------------------------------ typed access to a row


def text(row: Row, name: str) -> str:
    """A text field; null, absent or a field that the org has not: empty."""
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    raise BadBody(f"{name} is no text")


def flag(row: Row, name: str) -> bool:
    """A checkbox; absent: False."""
    value = row.get(name)
    if value is None:
        return False
    if isinstance(value, bool):
        return value
    raise BadBody(f"{name} is no checkbox")


def number(row: Row, name: str) -> Decimal | None:
    """A number, exact, in its shortest form: 10, 10.0 and 1E1 must give one request hash."""
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, int | Decimal) or isinstance(value, bool):
        raise BadBody(f"{name} is no number")
    exact = Decimal(value)
    if abs(exact.adjusted()) > MOST_DIGITS:
        raise BadBody(f"{name} is no number of an amount")
    return Decimal(int(exact)) if exact == exact.to_integral_value() else exact.normalize()


def day(row: Row, name: str) -> date | None:
    """A date without time."""
    value = text(row, name)
    if not value:
        return None
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise BadBody(f"{name} is no date") from error


def moment(row: Row, name: str) -> datetime:
    """A dateTime (`2026-11-23T13:20:09.000+0000`), aware UTC."""
    return parse_moment(text(row, name), name)


def parse_moment(value: str, name: str = "a field") -> datetime:
    """A dateTime in any of the forms Salesforce and we write. Raises BadBody."""
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise BadBody(f"{name} is no dateTime") from error
    if parsed.tzinfo is None:
        raise BadBody(f"{name} has no time zone")
    return parsed.astimezone(UTC)


def parent(row: Row, name: str) -> Row:
    """A parent record selected along; none: an empty row."""
    value = row.get(name)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise BadBody(f"{name} is no record")


def from_csv(
    row: Mapping[str, str], numbers: frozenset[str], flags: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """A row of Bulk's CSV in the form of a page's row: parents as records, columns named here as numbers or
    checkboxes, empty as null. Raises BadBody."""
    found: dict[str, Any] = {}
    for column, text_ in row.items():
        *path, name = column.split(".")
        at = found
        for step in path:
            at = at.setdefault(step, {})
        at[name] = _typed(column, text_, numbers, flags)
    return found


def _typed(column: str, text_: str, numbers: frozenset[str], flags: frozenset[str]) -> Any:
    if not text_:
        return None
    if column in flags:
        if text_ not in ("true", "false"):
            raise BadBody(f"{column} is no checkbox")
        return text_ == "true"
    if column not in numbers:
        return text_
    try:
        return Decimal(text_)
    except InvalidOperation as error:
        raise BadBody(f"{column} is no number") from error
