"""Configuration: one TOML file. What is wrong is said with file, line and what to write."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import msgspec

from tieout.canonical.money import exponent
from tieout.canonical.party import LegalEntity, TaxRegistration
from tieout.canonical.secret import Secret
from tieout.engine.groups import Group
from tieout.engine.receivers import OutboxConfig

T = TypeVar("T")
# A piece of a key path that names no level of its own: msgspec's word for "any key of this table".
_ANY_KEY = "..."
# What msgspec calls a type, and what a person writes for it.
_WRITE = {
    "str": 'text in quotes, such as "value"',
    "int": "a whole number without quotes",
    "bool": "true or false without quotes",
    "array": 'a list, such as ["one", "two"]',
    "object": "a table: a section of its own, or { key = value }",
    "date": "a day without quotes, such as 2026-01-31",
}


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names file, line and remedy."""


class Database(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`url`: `sqlite:///tieout.db` or `postgresql://user@host/name`."""

    url: str = "sqlite:///tieout.db"

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.partition("://")
        if not found or scheme not in ("sqlite", "postgresql", "postgres") or not rest.strip("/"):
            raise ValueError(
                f"url {self.url!r} is no database: write sqlite:///FILE or postgresql://USER@HOST/NAME"
            )


class Keys(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`master`: the file of the master key, made on first use."""

    master: str = "tieout.key"


class Web(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where webhooks, API and pages are served."""

    host: str = "127.0.0.1"
    port: int = 8700
    max_body_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(
                f"port {self.port} does not exist: write one from 1 to 65535, or 0 for any free one"
            )
        if self.max_body_bytes < 1000:
            raise ValueError("max_body_bytes under 1000 would refuse every webhook: write 1000000")


class Buffer(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A broker that keeps webhooks while the database is away. `url`: `nats://HOST:4222`; `stream`: of this company
    alone, by default named after it; `monitor`: the server's monitoring, where it is to show that it syncs always."""

    url: str
    stream: str = ""
    copies: int = 3
    user: str = ""
    password: Secret | None = None
    monitor: str = ""
    unsafe_single_copy: bool = False

    def __post_init__(self) -> None:
        scheme, found, rest = self.url.partition("://")
        if not found or scheme not in ("nats", "tls") or not rest:
            raise ValueError(f"url {self.url!r} is no buffer: write nats://HOST:4222")
        if "@" in rest:
            raise ValueError("a password does not stand in the url: write user and password under [buffer]")
        if not re.fullmatch(r"[A-Za-z0-9_-]*", self.stream):
            raise ValueError(f"stream {self.stream!r}: letters, digits, _ and - alone")


class Engine(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`lease_seconds` must outlast the longest request time-out; a worker that dies is replaced after it. What
    `most_crashes` workers in a row have died over is set aside."""

    lease_seconds: int = 120
    runs_at_once: int = 64
    wait_days: int = 7
    status_poll_seconds: int = 20
    echo_suppression: bool = True
    most_crashes: int = 3

    def __post_init__(self) -> None:
        for name in ("lease_seconds", "runs_at_once", "wait_days", "status_poll_seconds", "most_crashes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}: write a whole number of at least 1")


class Registration(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tax registration of a legal entity, in force from a day until another (exclusive)."""

    jurisdiction: str
    number: str
    valid_from: date
    valid_to: date | None = None


class Entity(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One legal entity: its books and its routes (the billing and the ERP connection of its documents)."""

    code: str
    name: str
    time_zone: str
    functional_currency: str
    currencies: list[str]
    billing: str
    erp: str
    subsidiary: str
    registrations: list[Registration] = []
    unregistered_jurisdictions: list[str] = []
    zero_total: Literal["ignore", "post"] = "ignore"
    closed_period: Literal["hold"] = "hold"
    gateway_refund: Literal["park"] = "park"
    dispute_lost: Literal["person", "write_off"] = "person"
    write_off_tax_relief: bool = False

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.time_zone)
        except (KeyError, ValueError, OSError) as error:
            example = "America/Los_Angeles or Asia/Tokyo"
            raise ValueError(
                f"time_zone {self.time_zone!r} is no IANA time zone: write one such as {example}"
            ) from error
        for currency in (self.functional_currency, *self.currencies):
            exponent(currency)

    def value(self) -> LegalEntity:
        """As the processes see it."""
        return LegalEntity(
            code=self.code,
            name=self.name,
            time_zone=self.time_zone,
            functional_currency=self.functional_currency,
            currencies=tuple(self.currencies),
            billing=self.billing,
            erp=self.erp,
            subsidiary=self.subsidiary,
            registrations=tuple(
                TaxRegistration(
                    jurisdiction=given.jurisdiction,
                    number=given.number,
                    valid_from=given.valid_from,
                    valid_to=given.valid_to,
                )
                for given in self.registrations
            ),
            unregistered_jurisdictions=tuple(self.unregistered_jurisdictions),
            zero_total=self.zero_total,
            closed_period=self.closed_period,
            gateway_refund=self.gateway_refund,
            dispute_lost=self.dispute_lost,
            write_off_tax_relief=self.write_off_tax_relief,
        )


class Settings(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole file. A connection's section is read by its connector."""

    company: str
    database: Database = msgspec.field(default_factory=Database)
    keys: Keys = msgspec.field(default_factory=Keys)
    web: Web = msgspec.field(default_factory=Web)
    engine: Engine = msgspec.field(default_factory=Engine)
    outbox: OutboxConfig = msgspec.field(default_factory=OutboxConfig)
    buffer: Buffer | str | None = None
    rules: str = "rules"
    local_mode: bool = True
    entities: list[Entity] = []
    groups: dict[str, Group] = {}
    connections: dict[str, dict[str, Any]] = {}

    def __post_init__(self) -> None:
        if isinstance(self.buffer, str):
            self.buffer = Buffer(url=self.buffer)
        if self.buffer is not None and not self.buffer.stream:
            self.buffer.stream = "tieout-" + re.sub(r"[^A-Za-z0-9_-]", "-", self.company)


class SettingsFile:
    """A configuration file and its text, so that errors can name a line."""

    def __init__(self, path: Path, text: str | None = None) -> None:
        self.path = path
        try:
            self.text = path.read_text(encoding="utf-8") if text is None else text
        except OSError as error:
            raise ConfigurationError(
                f"{path}: {error.strerror}; `tieout init` writes a commented one"
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: not UTF-8; save the file as UTF-8") from error
        try:
            self._raw = tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            message, line = _toml_error(str(error))
            raise ConfigurationError(f"{path}:{line}: not TOML: {message}") from error
        self.directory = path.parent
        self._lines = _key_lines(self.text)
        self.settings = self.convert(self._raw, Settings, "")

    def convert(self, raw: Mapping[str, Any], type_: type[T], where: str) -> T:
        """A section as a value of its type. Raises ConfigurationError naming file, line and what to write."""
        try:
            return msgspec.convert(raw, type_, dec_hook=_secret(self))
        except msgspec.ValidationError as error:
            message, _, path = str(error).partition(" - at `")
            inner = path.rstrip("`").removeprefix("$")
            keys = (where + inner).strip(".")
            named = _quoted(message) if "unknown field" in message or "missing" in message else ""
            line = self.line_of(f"{keys}.{named}" if named else keys)
            place = f" (at {keys})" if keys else ""
            remedy = _remedy(message, type_, inner)
            raise ConfigurationError(f"{self.path}:{line}: {message}{place}{remedy}") from error

    def line_of(self, dotted: str) -> int:
        """The line (from 1) of the longest part of a key path that stands in the file; 1 when nothing of it does."""
        parts = _pieces(dotted)
        if _ANY_KEY in parts:
            parts = parts[: parts.index(_ANY_KEY)]
        while parts:
            if (line := self._lines.get(tuple(parts))) is not None:
                return line
            parts = parts[:-1]
        return 1


def _pieces(dotted: str) -> list[str]:
    """`entities[1].name` as `entities`, `1`, `name`."""
    return [piece for piece in re.split(r"(?<!\.)\.(?!\.)|[\[\]]+\.?", dotted) if piece]


_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\]]+?)\s*\]\]?")


def _key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Key path -> line, of every table header and every `key =` of a TOML text that is known to be well-formed.
    Elements of an array of tables are counted; what stands inside an inline table is found by its table."""
    lines: dict[tuple[str, ...], int] = {}
    counts: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        if header is not None:
            table = ()
            for name in _names(header[2]):
                table = (*table, name)
                if table in counts and (header[1] == "[" or table != tuple(_names(header[2]))):
                    table = (*table, str(counts[table] - 1))
            if header[1] == "[[":
                counts[table] = counts.get(table, 0) + 1
                lines.setdefault(table, number)
                table = (*table, str(counts[table] - 1))
            lines.setdefault(table, number)
        elif (key := _KEY.match(line)) is not None:
            lines.setdefault((*table, *_names(key[1])), number)
    return lines


def _names(dotted: str) -> list[str]:
    return [name.strip().strip("\"'") for name in re.findall(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""", dotted)]


def _toml_error(message: str) -> tuple[str, int]:
    """What the parser says, and the line it says it of."""
    found = re.search(r"\(at line (\d+), column \d+\)", message)
    return (message.replace(found[0], "").strip(), int(found[1])) if found else (message, 1)


def _quoted(message: str) -> str:
    return message.split("`")[1] if message.count("`") >= 2 else ""


def _remedy(message: str, type_: Any, path: str) -> str:
    """What to write instead, where the message does not say so itself."""
    if "unknown field" in message:
        known = _fields(_type_at(type_, _pieces(path)))
        near = difflib.get_close_matches(_quoted(message), known, n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"{meant} known here: {', '.join(known)}" if meant else f"; known here: {', '.join(known)}"
    if "missing required field" in message:
        return f"; write {_quoted(message)} = ..."
    if message.startswith("Expected `"):
        expected = _quoted(message).partition(" ")[0].partition("|")[0]
        return f"; write {_WRITE[expected]}" if expected in _WRITE else ""
    if message.startswith("Invalid enum value"):
        allowed = get_args(_type_at(type_, _pieces(path)))
        return f"; write one of {', '.join(map(str, allowed))}"
    return ""


def _type_at(type_: Any, path: list[str]) -> Any:
    """The type at a key path; None where the path leaves what is known."""
    for piece in path:
        arguments = [one for one in get_args(type_) if one is not type(None)]
        if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
            type_ = get_type_hints(type_).get(piece)
        elif get_origin(type_) is dict and len(arguments) == 2:
            type_ = arguments[1]
        elif arguments:
            type_ = arguments[0]
        else:
            return None
    return type_


def _fields(type_: Any) -> tuple[str, ...]:
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return type_.__struct_encode_fields__
    return ()


def _secret(file: SettingsFile) -> Callable[[type[Any], Any], Any]:
    """`env:NAME` or `{ env = "NAME" }`, `file:PATH` or `{ file = "PATH" }`, or the text itself, as a Secret."""

    def decode(type_: type[Any], given: Any) -> Any:
        if type_ is not Secret:
            raise ValueError(f"cannot read {getattr(type_, '__name__', type_)}")
        match given:
            case {"env": str(name), **rest} if not rest:
                return _from_environment(name)
            case {"file": str(name), **rest} if not rest:
                return _from_file(file.path.parent / name)
            case str() if given.startswith("env:"):
                return _from_environment(given[4:])
            case str() if given.startswith("file:"):
                return _from_file(file.path.parent / given[5:])
            case str():
                return Secret(given)
            case _:
                raise ValueError('a secret is "env:NAME", "file:PATH" or the text itself')

    return decode


def _from_environment(name: str) -> Secret:
    value = os.environ.get(name)
    if value is None:
        raise ValueError(f"environment variable {name} is not set; export it before tieout starts")
    return Secret(value)


def _from_file(path: Path) -> Secret:
    try:
        return Secret(path.read_text(encoding="utf-8").strip())
    except OSError as error:
        raise ValueError(
            f"secret file {path}: {error.strerror}; write the secret into it, mode 0600"
        ) from error
