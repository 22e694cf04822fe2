"""SOQL text, built so that no value can become part of the query: every literal goes through `quoted` or `instant`."""

from __future__ import annotations

from datetime import UTC, date, datetime

_CHECK = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
_ESCAPES = str.maketrans(
    {
        "\\": "\\\\",
        "'": "\\'",
        '"': '\\"',
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\b": "\\b",
        "\f": "\\f",
    }
)


def quoted(text: str) -> str:
    """A string literal, whatever the text holds."""
    return "'" + text.translate(_ESCAPES) + "'"


def instant(moment: datetime) -> str:
    """A dateTime literal (never quoted), to the second, cut off."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(value: date) -> str:
    """A date literal (never quoted)."""
    return value.isoformat()


def is_record_id(text: str) -> bool:
    """Whether the text has the form of a record id: 15 or 18 letters and digits."""
    return len(text) in (15, 18) and text.isascii() and text.isalnum()


def is_api_name(text: str) -> bool:
    """Whether the text can be the API name of an object or a field."""
    return text.isascii() and text.replace("_", "a").isalnum() and text[:1].isalpha()


def id18(text: str) -> str:
    """The 18-character form of a 15-character id: three check letters say which letters are upper case. A text
    that is no such id comes back as it is."""
    if len(text) != 15 or not is_record_id(text):
        return text
    suffix = ""
    for start in (0, 5, 10):
        bits = sum(1 << place for place, letter in enumerate(text[start : start + 5]) if letter.isupper())
        suffix += _CHECK[bits]
    return text + suffix


def columns(*names: str) -> str:
    """A field list: empty names (fields that the org has not) and repeats are left out."""
    return ", ".join(dict.fromkeys(name for name in names if name))


def related(path: str, *names: str) -> tuple[str, ...]:
    """Fields of a parent: `related("Product2", "Name")` is `Product2.Name`; empty names stay empty."""
    return tuple(f"{path}.{name}" if name else "" for name in names)
