"""JSON-RPC with the server's typed values: Decimal and date travel as objects with `__class__`."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec

from tieout.connectors.http import BadBody, decode_json

Row = dict[str, Any]
_encoder = msgspec.json.Encoder()


def request_body(method: str, params: tuple[Any, ...]) -> bytes:
    """One call. The id is not ours to choose: one call is one request, and its answer comes with it."""
    return _encoder.encode({"id": 0, "method": method, "params": typed(params)})


def typed(value: Any) -> Any:
    """A value as the server takes it. No float gets in: a whole quantity travels as an integer."""
    match value:
        case Decimal():
            return {"__class__": "Decimal", "decimal": format(value, "f")}
        case date():
            return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
        case dict():
            return {name: typed(one) for name, one in value.items()}
        case list() | tuple():
            return [typed(one) for one in value]
        case _:
            return value


def untyped(value: Any) -> Any:
    """What the server sent as values of ours. ValueError, ArithmeticError, KeyError for a typed value that is none."""
    if isinstance(value, list):
        return [untyped(one) for one in value]
    if not isinstance(value, dict):
        return value
    match value.get("__class__"):
        case None:
            return {name: untyped(one) for name, one in value.items()}
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return date(value["year"], value["month"], value["day"])
        case "datetime":
            parts = ("year", "month", "day", "hour", "minute", "second", "microsecond")
            return datetime(*(value.get(part, 0) for part in parts))  # noqa: DTZ001 - the server says no zone
        case _:
            return None


class Fault(Exception):
    """The server's own error in an answer of 200: `kind` (UserError, UserWarning ...), its words, and of a warning the
    name under which it is answered."""

    def __init__(self, kind: str, message: str, name: str = "") -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.name = name


KINDS = frozenset({"UserError", "UserWarning", "ConcurrencyException", "LoginException"})


def result_of(body: bytes) -> Any:
    """The result of a call. Raises Fault, and BadBody for what is no answer of the server."""
    given = decode_json(body)
    if not isinstance(given, dict) or not ({"result", "error"} & given.keys()):
        raise BadBody("not the documented answer")
    if error := given.get("error"):
        raise _fault(error)
    try:
        return untyped(given.get("result"))
    except (ValueError, ArithmeticError, KeyError, TypeError):
        raise BadBody("a typed value that is none") from None


def _fault(error: Any) -> Fault:
    parts = error if isinstance(error, list) else [error]
    kind, rest = str(parts[0]), parts[1] if len(parts) > 1 else []
    if kind not in KINDS:
        # An exception that nobody caught: its text, then the traceback, which is for nobody here.
        lines = kind.strip().splitlines() or ["an exception without words"]
        return Fault("exception", lines[-1][:300])
    words = (
        [str(one) for one in rest if isinstance(one, str) and one] if isinstance(rest, list) else [str(rest)]
    )
    if kind == "UserWarning" and words:
        return Fault(kind, " ".join(words[1:]), words[0])
    return Fault(kind, " ".join(words))
