"""Request parameters: bracketed form pairs to nested values, checked against what the endpoint takes.

`items[0][price]=p&metadata[k]=v&expand[]=customer` becomes `{"items": [{"price": "p"}], "metadata": {"k": "v"},
"expand": ["customer"]}`. parameters.json (see derive.py) says what each endpoint takes; an unknown name, a missing
one, a wrong number or a value outside its list is refused as the vendor refuses it.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any

from tieout_lab.twins.stripe.errors import Refusal, invalid, required

Pairs = list[tuple[str, str]]

_BRACKET = re.compile(r"\[([^\[\]]*)\]")
_INTEGER = re.compile(r"-?\d{1,18}")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
UNSET = ""  # an empty string unsets the field
MAX_METADATA = 50
MAX_KEY = 40
MAX_VALUE = 500


@cache
def shapes() -> dict[str, Any]:
    """What every endpoint takes, by "METHOD /path"."""
    text = files("tieout_lab.twins.stripe").joinpath("parameters.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def nested(pairs: Pairs) -> dict[str, Any]:
    """Bracketed names as dicts; a list is a dict of its indices until its kind is known."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        head, _, _ = name.partition("[")
        path = [head, *_BRACKET.findall(name[len(head) :])]
        here = root
        for part, following in zip(path, [*path[1:], None], strict=True):
            key = part if part or here is root else str(len(here))
            if following is None:
                here[key] = value
            else:
                inner = here.setdefault(key, {})
                if not isinstance(inner, dict):
                    raise invalid("Invalid hash", name)
                here = inner
    return root


def checked(endpoint: str, pairs: Pairs) -> dict[str, Any]:
    """The parameters of a call, typed; refuses what the endpoint does not take."""
    shape = shapes().get(endpoint)
    given = nested(pairs)
    if shape is None:
        return given
    found: dict[str, Any] = _value(given, shape, "")
    return found


def _value(given: Any, kind: Any, name: str) -> Any:
    if isinstance(kind, str):
        return _simple(given, kind, name)
    if "z" in kind:
        return UNSET if given == "" else _value(given, kind["z"], name)
    if "e" in kind:
        return _one_of(given, kind["e"], name)
    if "a" in kind:
        return _list(given, kind["a"], name)
    if "m" in kind:
        return _map(given, name)
    if "u" in kind:
        return _any_of(given, kind["u"], name)
    return _object(given, kind, name)


def _simple(given: Any, kind: str, name: str) -> Any:
    if kind == "x":
        return given
    if not isinstance(given, str):
        raise invalid(f"Invalid {_word(kind)}", name)
    if given == "" and kind != "s":
        raise empty(name)
    match kind:
        case "i":
            if not _INTEGER.fullmatch(given):
                raise invalid(f"Invalid integer: {given}", name, "parameter_invalid_integer")
            return int(given)
        case "b":
            if given not in {"true", "false"}:
                raise invalid(f"Invalid boolean: {given}", name)
            return given == "true"
        case "n":
            if not _NUMBER.fullmatch(given):
                raise invalid(f"Invalid decimal: {given}", name)
            return given
        case _:
            return given


def _word(kind: str) -> str:
    return {"i": "integer", "b": "boolean", "n": "decimal"}.get(kind, "string")


def empty(name: str) -> Refusal:
    """An empty string for what cannot be unset."""
    return invalid(
        f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; however "
        f"'{name}' cannot be unset. You should remove '{name}' from your request or supply a non-empty value.",
        name,
        "parameter_invalid_empty",
    )


def _one_of(given: Any, values: list[Any], name: str) -> Any:
    texts = ["true" if value is True else str(value) for value in values]
    if not isinstance(given, str) or given not in texts:
        few = texts if len(texts) <= 12 else [*texts[:12], "..."]
        raise invalid(f"Invalid {name}: must be one of {', '.join(few)}", name)
    return values[texts.index(given)]


def _list(given: Any, kind: Any, name: str) -> list[Any]:
    if not isinstance(given, dict):
        raise invalid("Invalid array", name)
    if any(not index.isdigit() for index in given):
        raise invalid("Invalid array", name)
    return [_value(given[index], kind, f"{name}[{index}]") for index in sorted(given, key=int)]


def _map(given: Any, name: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise invalid("Invalid hash", name)
    for key, value in given.items():
        if not isinstance(value, str):
            raise invalid("Metadata values must be strings", f"{name}[{key}]")
        if len(key) > MAX_KEY:
            raise invalid(f"Metadata keys can be up to {MAX_KEY} characters", f"{name}[{key}]")
        if len(value) > MAX_VALUE:
            raise invalid(f"Metadata values can be up to {MAX_VALUE} characters", f"{name}[{key}]")
    return dict(given)


def _any_of(given: Any, kinds: list[Any], name: str) -> Any:
    last: Refusal | None = None
    for kind in kinds:
        try:
            return _value(given, kind, name)
        except Refusal as refusal:
            last = refusal
    raise last or invalid("Invalid value", name)


def _object(given: Any, kind: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise invalid("Invalid object", name)
    found = {}
    for key, value in given.items():
        full = f"{name}[{key}]" if name else key
        if key not in kind["o"]:
            raise invalid(f"Received unknown parameter: {full}", full, "parameter_unknown")
        found[key] = _value(value, kind["o"][key], full)
    for key in kind.get("r", []):
        full = f"{name}[{key}]" if name else key
        if key not in found:
            raise required(full)
        if found[key] == UNSET:
            raise empty(full)
    return found


def merged(old: dict[str, str] | None, given: dict[str, str] | str | None) -> dict[str, str]:
    """Metadata after an update: an empty value unsets a key, an empty string unsets all."""
    if given is None:
        return dict(old or {})
    if isinstance(given, str):
        return {}
    together = {**(old or {}), **given}
    kept = {key: value for key, value in together.items() if value != UNSET}
    if len(kept) > MAX_METADATA:
        raise invalid(f"Metadata can have up to {MAX_METADATA} keys", "metadata")
    return kept


def value_of(given: dict[str, Any], name: str, otherwise: Any = None) -> Any:
    """A parameter; an unset (empty) one is None."""
    value = given.get(name, otherwise)
    return None if isinstance(value, str) and value == UNSET else value
