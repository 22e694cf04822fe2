"""Codes <-> internal ids, per company: what a rule names by its code, the server wants by its id.

Each kind is read whole by one search, kept for `codes_seconds`, and read anew on a miss (at most once in
`MISS_SECONDS`, so that a wrong rule does not turn every document into a search).
"""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import msgspec

from tieout.canonical.outcome import Misconfigured
from tieout.connectors.tryton.client import TrytonClient
from tieout.connectors.tryton.wire import Row

MISS_SECONDS = 30
# Per kind: the model, the column of the code, further columns, whether it is a company's own.
KINDS: dict[str, tuple[str, str, tuple[str, ...], bool]] = {
    "account": ("account.account", "code", ("type.receivable", "party_required", "closed"), True),
    "tax_code": ("account.tax", "name", ("invoice_account", "credit_note_account"), True),
    "department": ("analytic_account.account", "code", ("root", "type"), True),
    "terms": ("account.invoice.payment_term", "name", (), False),
    "currency": ("currency.currency", "code", ("digits",), False),
    "journal": ("account.journal", "code", ("type",), False),
    "subsidiary": ("company.company", "id", ("rec_name", "currency"), False),
}


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of one company as it was read: rows by code, and codes by internal id."""

    rows: dict[str, Row]
    codes: dict[int, str]
    read_at: datetime


class UnknownCode(Exception):
    """A code that the company does not know. `outcome` is what a write that needs it ends as."""

    def __init__(self, kind: str, code: str, company: str, connection: str) -> None:
        super().__init__(f"{kind} {code}")
        self.outcome = Misconfigured(
            scope="mapping",
            key=f"{connection}|{kind}|{code}",
            message=f"no active {kind.replace('_', ' ')} {code!r} in company {company or 'of this user'}",
            remedy=f"create or activate it there, or correct the rule that names {code!r}",
        )


class Codes:
    """The codes of one database, by company."""

    def __init__(self, client: TrytonClient) -> None:
        self._client = client
        self._tables: dict[tuple[str, str], Table] = {}
        self._lock = asyncio.Lock()

    async def table(self, kind: str, company: str, *, younger_than_seconds: int | None = None) -> Table:
        """The whole kind, read anew when it is older than that. Raises Failure."""
        key = (kind, company if KINDS[kind][3] else "")
        seconds = self._client.config.codes_seconds if younger_than_seconds is None else younger_than_seconds
        limit = timedelta(seconds=seconds)
        table = self._tables.get(key)
        if table is None or self._client.http.now() - table.read_at >= limit:
            async with self._lock:
                table = self._tables.get(key)
                if table is None or self._client.http.now() - table.read_at >= limit:
                    table = self._tables[key] = await self._read(kind, key[1])
        return table

    async def _read(self, kind: str, company: str) -> Table:
        model, column, more, _ = KINDS[kind]
        domain = [["company", "=", int(company)]] if company else []
        found = await self._client.rows(model, domain, [column, *more], operation=f"codes.{kind}")
        if kind == "account":
            found = [row for row in found if not row.get("closed") and row.get("type.")]
        rows = {str(row[column]): row for row in reversed(found) if row.get(column) not in (None, "")}
        codes = {int(row["id"]): str(row[column]) for row in found if row.get(column) not in (None, "")}
        return Table(rows=rows, codes=codes, read_at=self._client.http.now())

    async def row(self, kind: str, code: str, company: str) -> Row:
        """The record of a code. Raises UnknownCode, Failure."""
        found = (await self.table(kind, company)).rows.get(code)
        if found is None:
            fresh = await self.table(kind, company, younger_than_seconds=MISS_SECONDS)
            found = fresh.rows.get(code)
        if found is None:
            raise UnknownCode(kind, code, company, self._client.name)
        return found

    async def id(self, kind: str, code: str, company: str) -> int:
        """The internal id of a code. Raises UnknownCode, Failure."""
        return int((await self.row(kind, code, company))["id"])

    async def code(self, kind: str, internal_id: int | None, company: str) -> str:
        """The code of an internal id; `#<id>` when it is not listed (any more). Raises Failure."""
        if internal_id is None:
            return ""
        found = (await self.table(kind, company)).codes.get(internal_id)
        if found is None:
            fresh = await self.table(kind, company, younger_than_seconds=MISS_SECONDS)
            found = fresh.codes.get(internal_id)
        return found or f"#{internal_id}"

    async def receivables(self, company: str) -> frozenset[int]:
        """The ids of a company's receivables accounts. Raises Failure."""
        rows = (await self.table("account", company)).rows.values()
        return frozenset(int(row["id"]) for row in rows if (row.get("type.") or {}).get("receivable"))

    async def currency(self, company: str) -> str:
        """The currency in which a company keeps its books. Raises UnknownCode, Failure."""
        row = await self.row("subsidiary", company, "")
        return await self.code("currency", row.get("currency"), "")

    def forget(self) -> None:
        """Forget what is not fresh: the server refused something that we remember otherwise."""
        limit = self._client.http.now() - timedelta(seconds=MISS_SECONDS)
        self._tables = {key: table for key, table in self._tables.items() if table.read_at > limit}
