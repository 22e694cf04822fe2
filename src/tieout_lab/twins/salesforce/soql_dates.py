"""Date literals such as TODAY or LAST_N_DAYS:7, as the half-open range of days they stand for; parts of dates."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta

from tieout_lab.twins.salesforce.rules import add_months

# Date functions, of a moment in UTC; fiscal years are calendar years in this org.
PARTS: dict[str, Callable[[datetime], int | str]] = {
    "CALENDAR_YEAR": lambda moment: moment.year,
    "CALENDAR_QUARTER": lambda moment: (moment.month + 2) // 3,
    "CALENDAR_MONTH": lambda moment: moment.month,
    "FISCAL_YEAR": lambda moment: moment.year,
    "FISCAL_QUARTER": lambda moment: (moment.month + 2) // 3,
    "FISCAL_MONTH": lambda moment: moment.month,
    "DAY_IN_MONTH": lambda moment: moment.day,
    "DAY_IN_WEEK": lambda moment: moment.isoweekday() % 7 + 1,
    "DAY_IN_YEAR": lambda moment: moment.timetuple().tm_yday,
    "DAY_ONLY": lambda moment: moment.date().isoformat(),
    "HOUR_IN_DAY": lambda moment: moment.hour,
}
_NAMED_DAYS = {"YESTERDAY": -1, "TODAY": 0, "TOMORROW": 1}
_WHOLE = re.compile(r"(THIS|LAST|NEXT)_(WEEK|MONTH|QUARTER|YEAR)")
_COUNTED = re.compile(r"(LAST|NEXT)_N_(DAY|WEEK|MONTH|QUARTER|YEAR)S")
_AGO = re.compile(r"N_(DAY|WEEK|MONTH|QUARTER|YEAR)S_AGO")
_STEP = {"THIS": 0, "LAST": -1, "NEXT": 1}


def period(word: str, n: int, today: date) -> tuple[date, date] | None:
    """First day and the day after the last of a date literal, or None if the word is none. Weeks begin on Sunday."""
    if word in _NAMED_DAYS:
        first = today + timedelta(days=_NAMED_DAYS[word])
        return first, first + timedelta(days=1)
    if word in ("LAST_90_DAYS", "NEXT_90_DAYS"):
        return period(word.replace("90", "N"), 90, today)
    if match := _WHOLE.fullmatch(word):
        first = _start(match[2], today, _STEP[match[1]])
        return first, _start(match[2], first, 1)
    if match := _AGO.fullmatch(word):
        first = _start(match[1], today, -n)
        return first, _start(match[1], first, 1)
    if match := _COUNTED.fullmatch(word):
        return _counted(match[1], match[2], n, today)
    return None


def _counted(way: str, unit: str, n: int, today: date) -> tuple[date, date]:
    if unit == "DAY":  # the last n days include today, the next n begin tomorrow
        tomorrow = today + timedelta(days=1)
        return (
            (today - timedelta(days=n), tomorrow)
            if way == "LAST"
            else (tomorrow, tomorrow + timedelta(days=n))
        )
    here = _start(unit, today, 0)
    if way == "LAST":
        return _start(unit, today, -n), here
    return _start(unit, today, 1), _start(unit, today, n + 1)


def _start(unit: str, today: date, steps: int) -> date:
    """The first day of the unit that lies `steps` units from today's."""
    if unit == "DAY":
        return today + timedelta(days=steps)
    if unit == "WEEK":
        return today - timedelta(days=(today.weekday() + 1) % 7) + timedelta(weeks=steps)
    months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[unit]
    first = today.replace(day=1, month=(today.month - 1) // months * months + 1)
    return add_months(first, months * steps)
