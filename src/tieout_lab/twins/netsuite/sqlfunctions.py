"""The functions SuiteQL has and SQLite has not, and how dates and status letters compare."""

from __future__ import annotations

import calendar
import math
import re
import sqlite3
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tieout_lab.twins.netsuite import invoices
from tieout_lab.twins.netsuite.credits import STATUSES as CREDIT_STATUSES
from tieout_lab.twins.netsuite.sqltables import DAY_MARK, STATUS_MARK
from tieout_lab.twins.netsuite.state import TRAN_NAMES, TRAN_TYPES
from tieout_lab.twins.netsuite.tenant import Tenant

_SLASHED = re.compile(r"^(\d{1,2})/(\d{1,2})/(\d{4})(?: (.*))?$")
# Parts of the vendor's (Oracle's) format masks, longest first.
_MASK = {
    "YYYY": "%Y",
    "MON": "%b",
    "MONTH": "%B",
    "MM": "%m",
    "DD": "%d",
    "HH24": "%H",
    "HH12": "%I",
    "HH": "%I",
    "MI": "%M",
    "SS": "%S",
    "AM": "%p",
    "PM": "%p",
    "YY": "%y",
    "DY": "%a",
    "Q": "Q",
}
_MASK_PART = re.compile("|".join(sorted(_MASK, key=len, reverse=True)), re.IGNORECASE)
# What BUILTIN.DF shows for a column: the record type its value is an id of.
_NAMES = {
    "entity": "customer",
    "customer": "customer",
    "parent": "customer",
    "subsidiary": "subsidiary",
    "currency": "currency",
    "basecurrency": "currency",
    "transactioncurrency": "currency",
    "postingperiod": "accountingPeriod",
    "department": "department",
    "item": "serviceSaleItem",
    "account": "account",
    "expenseaccount": "account",
    "incomeaccount": "account",
    "deferredrevenueaccount": "account",
    "saleaccount": "account",
    "terms": "term",
    "taxcode": "salesTaxItem",
    "taxtype": "taxType",
    "transaction": "transaction",
    "previousdoc": "transaction",
    "nextdoc": "transaction",
}


def strptime_mask(mask: str) -> str:
    """A vendor's mask as strptime and strftime know it."""
    return _MASK_PART.sub(lambda part: _MASK[part.group().upper()], mask)


def instant(value: Any) -> datetime | None:
    """A date out of a marked value, an ISO text or the account's format."""
    if value is None:
        return None
    written = str(value).removeprefix(DAY_MARK)
    try:
        if slashed := _SLASHED.match(written):
            month, day, year, rest = slashed.groups()
            written = f"{year}-{int(month):02d}-{int(day):02d}" + (f" {rest}" if rest else "")
        return datetime.fromisoformat(written)  # naive on purpose: a date-time of the account
    except ValueError:
        return None


def marked(moment: datetime, *, time: bool) -> str:
    """A date as the tables hold it."""
    return DAY_MARK + moment.strftime("%Y-%m-%d %H:%M:%S" if time else "%Y-%m-%d")


def compare_days(left: str, right: str) -> int:
    """Collation of date columns: marked, ISO and account-format values by time."""
    one, two = instant(left), instant(right)
    if one is None or two is None:
        return (left > right) - (left < right)
    return (one > two) - (one < two)


def compare_status(left: str, right: str) -> int:
    """Collation of `status`: 'CustInvc:A' and the bare letter are the same where one side is bare."""
    one, two = left.removeprefix(STATUS_MARK), right.removeprefix(STATUS_MARK)
    if (":" in one) != (":" in two):
        one, two = one.rpartition(":")[2], two.rpartition(":")[2]
    return (one > two) - (one < two)


def to_date(value: Any, mask: str | None = None) -> str | None:
    """TO_DATE(text, mask)."""
    if value is None:
        return None
    if mask is None:
        moment = instant(value)
        if moment is None:
            raise ValueError(f"{value!r} is no date")
        return marked(moment, time=False)
    moment = datetime.strptime(str(value), strptime_mask(mask))  # noqa: DTZ007 - a date-time of the account
    return marked(moment, time="HH" in mask.upper())


def to_char(value: Any, mask: str | None = None) -> str | None:
    """TO_CHAR(date, mask), TO_CHAR(number)."""
    if value is None:
        return None
    moment = instant(value) if isinstance(value, str) and value.startswith(DAY_MARK) else None
    if moment is None:
        return printed_number(value) if isinstance(value, int | float) else str(value)
    quarter = str((moment.month - 1) // 3 + 1)
    shown = moment.strftime(strptime_mask(mask or "MM/DD/YYYY"))
    return shown.replace("Q", quarter) if mask and "Q" in mask.upper() else shown


def printed_number(value: float) -> str:
    """A number as the vendor writes it into a string: no exponent, no useless zeros."""
    if isinstance(value, int):
        return str(value)
    plain = round(Decimal(repr(value)), 8).normalize()
    return f"{plain:f}" if plain else "0"


def _decode(*values: Any) -> Any:
    subject, rest = values[0], values[1:]
    pairs = len(rest) // 2
    for position in range(pairs):
        if rest[2 * position] == subject:
            return rest[2 * position + 1]
    return rest[-1] if len(rest) % 2 else None


def _trunc(value: Any, _part: Any = None) -> Any:
    moment = instant(value) if isinstance(value, str) else None
    if moment is not None:
        return marked(moment, time=False)
    return int(value) if value is not None else None


def _to_number(value: Any) -> Any:
    if value is None:
        return None
    return float(str(value))


def _add_months(value: Any, count: int) -> str | None:
    moment = instant(value)
    if moment is None:
        return None
    months = moment.year * 12 + moment.month - 1 + int(count)
    year, month = divmod(months, 12)
    for day in range(moment.day, 27, -1):
        try:
            return marked(moment.replace(year=year, month=month + 1, day=day), time=False)
        except ValueError:
            continue
    return marked(moment.replace(year=year, month=month + 1), time=False)


def _part(name: str, value: Any) -> int | None:
    """EXTRACT(part FROM date)."""
    moment = instant(value)
    return None if moment is None else int(getattr(moment, name))


def _last_day(value: Any) -> str | None:
    moment = instant(value)
    if moment is None:
        return None
    last = calendar.monthrange(moment.year, moment.month)[1]
    return marked(moment.replace(day=last), time=False)


def _months_between(one: Any, two: Any) -> float | None:
    """Whole months where the days are the same; else days count 31 to the month, as Oracle has it."""
    later, earlier = instant(one), instant(two)
    if later is None or earlier is None:
        return None
    months = (later.year - earlier.year) * 12 + later.month - earlier.month
    return months + (later.day - earlier.day) / 31


def _present(run: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is null of null."""
    return lambda *given: None if any(value is None for value in given) else run(*given)


class _ListAgg:
    """LISTAGG: the values of a group, in order, with something between them."""

    def __init__(self) -> None:
        self.found: list[tuple[Any, str]] = []
        self.between, self.descending = "", False

    def step(self, value: Any, between: str, key: Any, descending: int) -> None:
        self.between, self.descending = between, bool(descending)
        if value is not None:
            written = printed_number(value) if isinstance(value, int | float) else str(value)
            self.found.append((key, written))

    def finalize(self) -> str | None:
        self.found.sort(key=lambda pair: (pair[0] is None, pair[0]), reverse=self.descending)
        return self.between.join(text for _, text in self.found) or None


def display(tenant: Tenant, column: str, value: Any) -> str | None:
    """BUILTIN.DF: what the user interface shows for a value of a column."""
    if value is None:
        return None
    written = printed_number(value) if isinstance(value, int | float) else str(value)
    if column in _NAMES:
        return tenant.name(_NAMES[column], written) or written
    if column == "approvalstatus":
        return invoices.APPROVALS.get(written, written)
    if column == "type":
        names = {code: TRAN_NAMES[type_] for type_, code in TRAN_TYPES.items()}
        return names.get(written, written)
    if column == "status":
        code, _, letter = written.removeprefix(STATUS_MARK).partition(":")
        kind = next((type_ for type_, known in TRAN_TYPES.items() if known == code), "")
        words = {
            "invoice": invoices.STATUSES,
            "creditMemo": CREDIT_STATUSES,
            "customerPayment": {"C": "Deposited", "B": "Not Deposited"},
            "journalEntry": {"B": "Approved for Posting"},
        }.get(kind, {})
        return f"{TRAN_NAMES.get(kind, code)} : {words.get(letter, 'Undefined')}"
    return written


def install(tenant: Tenant, base: sqlite3.Connection) -> None:
    """Give a connection the vendor's functions and collations."""

    def now(*, time: bool) -> str:
        zone = ZoneInfo(tenant.preferences.time_zone)
        return marked(tenant.clock.business().astimezone(zone).replace(tzinfo=None), time=time)

    functions: dict[str, tuple[int, Callable[..., Any]]] = {
        "ns_df": (2, lambda column, value: display(tenant, column, value)),
        "nvl": (2, lambda value, other: other if value is None else value),
        "nvl2": (3, lambda value, yes, no: no if value is None else yes),
        "decode": (-1, _decode),
        "to_date": (-1, to_date),
        "to_char": (-1, to_char),
        "to_number": (1, _to_number),
        "trunc": (-1, _trunc),
        "add_months": (2, _add_months),
        "concat": (2, lambda one, two: f"{'' if one is None else one}{'' if two is None else two}"),
        "greatest": (-1, _present(max)),
        "least": (-1, _present(min)),
        "mod": (2, _present(math.fmod)),
        "floor": (1, _present(math.floor)),
        "ceil": (1, _present(math.ceil)),
        "initcap": (1, _present(lambda value: str(value).title())),
        "lpad": (3, _present(lambda value, size, fill: str(value).rjust(int(size), fill)[: int(size)])),
        "rpad": (3, _present(lambda value, size, fill: str(value).ljust(int(size), fill)[: int(size)])),
        "last_day": (1, _last_day),
        "months_between": (2, _months_between),
        "ns_part": (2, _part),
        "ns_sysdate": (0, lambda: now(time=True)),
        "ns_today": (0, lambda: now(time=False)),
    }
    for name, (arguments, run) in functions.items():
        base.create_function(name, arguments, run)
    base.create_aggregate("ns_listagg", 4, _ListAgg)  # type: ignore[arg-type]  # the stub knows one argument
    base.create_collation("nsdate", compare_days)
    base.create_collation("nsstatus", compare_status)
