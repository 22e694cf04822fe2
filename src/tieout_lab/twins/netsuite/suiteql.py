"""SuiteQL: the query service over tables that follow the account.

A query is rewritten to what SQLite reads (the reserved word `transaction`, BUILTIN.DF, FETCH FIRST, TOP, ROWNUM,
SYSDATE, MINUS) and run read-only. Answers are paged; values are strings, columns lower case, nulls absent.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any

from tieout_lab.twins.kit import Request, Response
from tieout_lab.twins.netsuite.errors import Refusal
from tieout_lab.twins.netsuite.intake import read_body
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.records import COLLECTION, page, page_bounds
from tieout_lab.twins.netsuite.sqlfunctions import install, printed_number
from tieout_lab.twins.netsuite.sqltables import DAY_MARK, STATUS_MARK, TABLES, Tables
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import encode

PATH = "/services/rest/query/v1/suiteql"
MOST_ROWS = 100_000

_LITERAL = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"")
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_DATE_OUT = re.compile(DAY_MARK + r"(\d{4})-(\d\d)-(\d\d)(?: \d\d:\d\d:\d\d)?")
_STATUS_OUT = re.compile(STATUS_MARK + r"\w+:")
_SIMPLE = re.compile(r"^[A-Za-z_][\w$]*$")
_DISPLAY = re.compile(r"\bBUILTIN\s*\.\s*DF\s*\(\s*((?:\[?\w+\]?\s*\.\s*)?\[?(\w+)\]?)\s*\)", re.IGNORECASE)
_FETCH = re.compile(
    r"(?:\bOFFSET\s+(?P<offset>\d+)\s+ROWS?\s+)?\bFETCH\s+(?:FIRST|NEXT)\s+(?P<count>\d+)\s+ROWS?\s+ONLY",
    re.IGNORECASE,
)
_EXTRACT = re.compile(r"\bEXTRACT\s*\(\s*(YEAR|MONTH|DAY)\s+FROM\b", re.IGNORECASE)
_LISTAGG = re.compile(
    r"\bLISTAGG\s*\(([^()]+),([^(),]+)\)\s*WITHIN\s+GROUP\s*\(\s*ORDER\s+BY\s+([^()]+?)(\s+DESC|\s+ASC)?\s*\)",
    re.IGNORECASE,
)
_ROWNUM = re.compile(r"\bROWNUM\s*(<=|<|=)\s*(\d+)", re.IGNORECASE)
_TOP = re.compile(r"^\s*SELECT\s+TOP\s+(\d+)\s+", re.IGNORECASE)
_NOT_SUITEQL = re.compile(
    r"\b(LIMIT|PRAGMA|ATTACH|GLOB|REGEXP|IFNULL|RAISE|sqlite_\w+|ns_\w+)\b", re.IGNORECASE
)
_SOURCES = re.compile(
    r"\b(?:FROM|JOIN)\s+(\w+)(?:\s+(?:AS\s+)?(?!(?:WHERE|ON|JOIN|INNER|LEFT|ORDER|GROUP|FETCH)\b)(\w+))?",
    re.IGNORECASE,
)
_ALLOWED = {
    sqlite3.SQLITE_SELECT,
    sqlite3.SQLITE_READ,
    sqlite3.SQLITE_FUNCTION,
    sqlite3.SQLITE_RECURSIVE,
}


def _wrong(what: str) -> Refusal:
    return Refusal(
        "INVALID_PARAMETER",
        f"Invalid search query. Detailed unprocessed description follows. {what}",
        query="q",
    )


_UNSUPPORTED = "Search error occurred: Invalid or unsupported search."


class SuiteQL:
    """POST /services/rest/query/v1/suiteql."""

    def __init__(self, tenant: Tenant, ledger: Ledger) -> None:
        self.tenant = tenant
        self.base = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        install(tenant, self.base)
        self.tables = Tables(tenant, ledger, self.base)

    def __del__(self) -> None:
        """The tables live in memory only; an open connection left behind would be complained about."""
        self.base.close()

    def run(self, request: Request) -> Response:
        """One page of a query's rows. Needs the header `Prefer: transient`."""
        if "transient" not in request.headers.get("prefer", ""):
            raise Refusal(
                "INVALID_HEADER",
                f"Invalid header value '{request.headers.get('prefer', '')}'. Use 'Prefer: transient'.",
                header="Prefer",
            )
        limit, offset = page_bounds(request)
        body = read_body(request)
        query, params = body.get("q"), body.get("params") or []
        if not isinstance(query, str) or not query.strip():
            raise Refusal("INVALID_CONTENT", "Invalid content in the request body. Provide q.", path="q")
        if not isinstance(params, list):
            raise Refusal("INVALID_CONTENT", "Invalid content in the request body.", path="params")
        rows = self.rows(query, params)
        items = [{"links": [], **row} for row in rows[offset : offset + limit]]
        answer = page(request, PATH, items, len(rows))
        return Response(200, encode(answer), {"content-type": COLLECTION})

    def rows(self, query: str, params: list[Any]) -> list[dict[str, str]]:
        """All rows of a query, as they are shown. Raises Refusal for what the vendor would not run."""
        self.tables.refresh()
        statement = rewrite(query)
        self.base.set_authorizer(_authorize)
        try:
            cursor = self.base.execute(statement, params)
            names = _names([column[0] for column in cursor.description])
            found = cursor.fetchmany(MOST_ROWS)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise _wrong(_told(str(error), query)) from error
        finally:
            self.base.set_authorizer(None)
        return [
            {name: self._shown(value) for name, value in zip(names, row, strict=True) if value is not None}
            for row in found
        ]

    def _shown(self, value: Any) -> str:
        if isinstance(value, int | float):
            return printed_number(value)
        written = _STATUS_OUT.sub("", str(value))
        return _DATE_OUT.sub(self._date, written)

    def _date(self, match: re.Match[str]) -> str:
        year, month, day = match.groups()
        formats = {
            "M/D/YYYY": f"{int(month)}/{int(day)}/{year}",
            "MM/DD/YYYY": f"{month}/{day}/{year}",
            "D/M/YYYY": f"{int(day)}/{int(month)}/{year}",
            "DD/MM/YYYY": f"{day}/{month}/{year}",
            "YYYY-MM-DD": f"{year}-{month}-{day}",
        }
        return formats.get(self.tenant.preferences.date_format, formats["M/D/YYYY"])


def rewrite(query: str) -> str:
    """A SuiteQL query as SQLite reads it. Raises Refusal for statements that are no plain SELECT."""
    literals: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        literals.append(match.group())
        return f"\x00{len(literals) - 1}\x00"

    text = _COMMENT.sub(" ", _LITERAL.sub(put_aside, query)).strip().rstrip(";").strip()
    if not re.match(r"^(SELECT|WITH)\b", text, re.IGNORECASE) or ";" in text or "(+)" in text:
        raise _wrong(_UNSUPPORTED)
    if _NOT_SUITEQL.search(text):
        raise _wrong(_UNSUPPORTED)
    limit: int | None = None
    if top := _TOP.match(text):
        limit, text = int(top[1]), "SELECT " + text[top.end() :]
    if rownum := _ROWNUM.search(text):
        limit = int(rownum[2]) - (1 if rownum[1] == "<" else 0)
        text = _ROWNUM.sub("1=1", text)
    text = _FETCH.sub(lambda m: f"LIMIT {m['count']} OFFSET {m['offset'] or 0}", text)
    text = re.sub(r"\bMINUS\b", "EXCEPT", text, flags=re.IGNORECASE)
    text = re.sub(r"\bSYSDATE\b", "ns_sysdate()", text, flags=re.IGNORECASE)
    text = re.sub(r"\bCURRENT_DATE\b", "ns_today()", text, flags=re.IGNORECASE)
    text = _EXTRACT.sub(lambda m: f"ns_part('{m[1].lower()}', ", text)
    text = _LISTAGG.sub(_listed, text)
    text = re.sub(r"\btransaction\b", "[transaction]", text, flags=re.IGNORECASE)
    text = _DISPLAY.sub(lambda m: f"ns_df('{m[2].lower()}', {m[1]})", text)
    if re.search(r"\bBUILTIN\b", text, re.IGNORECASE):
        raise _wrong(_UNSUPPORTED)
    if limit is not None:
        text += f" LIMIT {limit}"
    return re.sub("\x00(\\d+)\x00", lambda m: literals[int(m[1])], text)


def _listed(match: re.Match[str]) -> str:
    value, separator, key, way = match.groups()
    descending = int((way or "").strip().upper() == "DESC")
    return f"ns_listagg({value}, {separator}, {key}, {descending})"


def _authorize(action: int, first: str | None, second: str | None, *_: Any) -> int:
    if action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in ("load_extension", "randomblob"):
        return sqlite3.SQLITE_DENY
    if action == sqlite3.SQLITE_READ and first is not None and first.lower() not in TABLES:
        return sqlite3.SQLITE_DENY if first.lower().startswith("sqlite") else sqlite3.SQLITE_OK
    return sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY


def _names(columns: list[str]) -> list[str]:
    """The keys of a row: a column's name or alias in lower case; expressions are numbered."""
    names, unnamed = [], 0
    for column in columns:
        if _SIMPLE.match(column):
            names.append(column.lower())
        else:
            unnamed += 1
            names.append(f"expr{unnamed}")
    return names


def _told(error: str, query: str) -> str:
    """The vendor's words for an error of the engine."""
    if column := re.search(r"no such column: (.+)", error):
        name = column[1].rpartition(".")[2].strip("[]\"'")
        known = ", ".join(
            f"{(alias or table).lower()}={table.lower()}" for table, alias in _SOURCES.findall(query)
        )
        return f"Search error occurred: Unknown identifier '{name}'. Available identifiers are: {{{known}}}"
    if table := re.search(r"no such table: (.+)", error):
        return f"Invalid search type: {table[1]}."
    return _UNSUPPORTED
