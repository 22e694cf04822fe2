"""Decision tables as text: rows with effective dates, checked whole, so that one reading shows every mistake."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from itertools import pairwise

from tieout.canonical.model import Value

RESERVED = ("rule_id", "valid_from", "valid_to")


class RuleFile(Value, frozen=True):
    """One decision table as text. `table` says which (`products`, `items`, ...), `path` is how errors name it."""

    table: str
    path: str
    text: str


class RuleError(Value, frozen=True):
    """One mistake in one line of one file (lines count from 1), with what to write instead."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


class RuleErrors(Exception):
    """The tables cannot be used. `errors` holds every mistake of every file."""

    def __init__(self, errors: tuple[RuleError, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class Row(Value, frozen=True):
    """One rule: `key` is what is asked for, `cells` all columns as written. In force from `start` (inclusive) to
    `end` (exclusive)."""

    rule_id: str
    key: tuple[str, ...]
    cells: dict[str, str]
    start: date
    end: date
    path: str
    line: int

    def in_force(self, on: date) -> bool:
        return self.start <= on < self.end


class Column(Value, frozen=True):
    """One column. `normal` brings a cell into its one spelling, or raises ValueError with what to write.
    `empty` allows an empty cell."""

    name: str
    normal: Callable[[str], str] = str.strip
    empty: bool = False


class Shape(Value, frozen=True):
    """What a table must look like; `key` columns together with the day choose the row."""

    table: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def header(self) -> tuple[str, ...]:
        return ("rule_id", *(column.name for column in self.columns), "valid_from", "valid_to")

    def label(self, key: tuple[str, ...]) -> str:
        return ", ".join(f"{name} {part}" for name, part in zip(self.key, key, strict=True))


class Table(Value, frozen=True):
    """A table that passed every check; rows of one key are in order of time, without hole or overlap."""

    shape: Shape
    path: str
    version: str
    rows: tuple[Row, ...]
    by_key: dict[tuple[str, ...], tuple[Row, ...]]

    def find(self, key: tuple[str, ...], on: date) -> Row | None:
        """The row in force for a key on a day."""
        for row in self.by_key.get(key, ()):
            if row.in_force(on):
                return row
        return None


def parse_table(shape: Shape, file: RuleFile) -> tuple[Table, list[RuleError]]:
    """Read one table. The table is only fit for use when the list of errors is empty."""
    errors: list[RuleError] = []
    rows = list(_rows(shape, file, errors))
    by_key: dict[tuple[str, ...], tuple[Row, ...]] = {}
    for row in sorted(rows, key=lambda row: (row.start, row.line)):
        by_key[row.key] = (*by_key.get(row.key, ()), row)
    errors += _duplicate_ids(file, rows)
    for key, ranges in by_key.items():
        errors += _holes(shape, key, ranges)
    content = sorted("\x1f".join(row.cells[name] for name in shape.header) for row in rows)
    version = hashlib.sha256("\x1e".join(content).encode()).hexdigest()[:12]
    table = Table(shape=shape, path=file.path, version=version, rows=tuple(rows), by_key=by_key)
    return table, sorted(errors, key=lambda error: error.line)


def _rows(shape: Shape, file: RuleFile, errors: list[RuleError]) -> Iterator[Row]:
    header: list[str] | None = None
    for line, cells in _records(file, errors):
        if header is None:
            header = [cell.strip() for cell in cells]
            faults = _header_faults(shape, header)
            errors += [RuleError(path=file.path, line=line, message=fault) for fault in faults]
            if faults:
                return
        elif len(cells) != len(header):
            message = f"{len(cells)} cells where the header has {len(header)}; write one cell for each column"
            errors.append(RuleError(path=file.path, line=line, message=message))
        else:
            raw = {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
            row, faults = _row(shape, file, line, raw)
            errors += [RuleError(path=file.path, line=line, message=fault) for fault in faults]
            if row is not None:
                yield row
    if header is None:
        message = f"the file is empty; write the header {','.join(shape.header)}"
        errors.append(RuleError(path=file.path, line=1, message=message))


def _records(file: RuleFile, errors: list[RuleError]) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line they begin on; blank lines and lines that begin with # are left out."""
    # Spreadsheets put a byte order mark first; it would become part of the first column's name.
    lines = file.text.removeprefix("\ufeff").splitlines(keepends=True)
    reader = csv.reader(lines, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            message = f"not readable as comma-separated text ({error}); put quotes around cells with commas"
            errors.append(RuleError(path=file.path, line=line, message=message))
            return
        if cells is None:
            return
        if any(cell.strip() for cell in cells) and not cells[0].lstrip().startswith("#"):
            yield line, cells


def _header_faults(shape: Shape, header: list[str]) -> list[str]:
    if len(header) == 1 and ";" in header[0]:
        return ["cells are separated by semicolons; save the file with commas"]
    faults = [f"unknown column {name!r}; remove it" for name in header if name not in shape.header]
    faults += [f"column {name!r} is missing; add it" for name in shape.header if name not in header]
    twice = sorted({name for name in header if header.count(name) > 1})
    return faults + [f"column {name!r} stands twice; remove one" for name in twice]


def _row(shape: Shape, file: RuleFile, line: int, raw: Mapping[str, str]) -> tuple[Row | None, list[str]]:
    faults: list[str] = []
    cells = dict(raw)
    if not raw["rule_id"]:
        faults.append("rule_id is empty; write a name that no other row has")
    for column in shape.columns:
        try:
            if raw[column.name] or not column.empty:
                cells[column.name] = column.normal(raw[column.name])
            if not cells[column.name] and not column.empty:
                faults.append(f"{column.name} is empty; write a value")
        except ValueError as error:
            faults.append(f"{column.name}: {error}")
    start, end = date.min, date.max
    try:
        start = _day("valid_from", raw["valid_from"], date.min)
    except ValueError as error:
        faults.append(str(error))
    try:
        end = _day("valid_to", raw["valid_to"], date.max)
    except ValueError as error:
        faults.append(str(error))
    if not faults and end <= start:
        faults.append(
            f"valid_to {end} is not after valid_from {start}; valid_to is the first day without the rule"
        )
    if faults:
        return None, faults
    key = tuple(cells[name] for name in shape.key)
    return Row(
        rule_id=raw["rule_id"], key=key, cells=cells, start=start, end=end, path=file.path, line=line
    ), []


def _day(column: str, text: str, empty: date) -> date:
    if not text:
        return empty
    try:
        # fromisoformat also takes 20260131 and week dates; one spelling keeps the version hash honest.
        if len(text) != 10:
            raise ValueError
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{column}: {text!r} is no date; write it as 2026-01-31, or leave it empty"
        ) from None


def _duplicate_ids(file: RuleFile, rows: list[Row]) -> Iterator[RuleError]:
    first: dict[str, int] = {}
    for row in rows:
        if row.rule_id in first:
            message = f"rule_id {row.rule_id!r} is that of line {first[row.rule_id]}; write another one"
            yield RuleError(path=file.path, line=row.line, message=message)
        first.setdefault(row.rule_id, row.line)


def _holes(shape: Shape, key: tuple[str, ...], ranges: tuple[Row, ...]) -> Iterator[RuleError]:
    """Two rules on one day, or none between two: either way the day would decide by chance."""
    for earlier, later in pairwise(ranges):
        where = f"{shape.label(key)} (rule {earlier.rule_id}, line {earlier.line})"
        if later.start < earlier.end and later.start > earlier.start:
            message = (
                f"overlaps {where}; write valid_to {later.start} in line {earlier.line}"
                f" or a later valid_from in line {later.line}"
            )
        elif later.start < earlier.end:
            message = f"overlaps {where}: both begin on the same day; remove one or write other dates"
        elif later.start > earlier.end:
            message = (
                f"hole from {earlier.end} until {later.start} after {where};"
                f" write valid_from {earlier.end} in line {later.line} or valid_to {later.start} in line"
                f" {earlier.line}, or add a row for the days between"
            )
        else:
            continue
        yield RuleError(path=later.path, line=later.line, message=message)
