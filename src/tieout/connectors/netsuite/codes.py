"""Codes <-> internal ids: what a rule names by its code, the vendor wants by its internal id.

Each kind is read whole by one query, kept for `codes_seconds`, and forgotten on a miss (at most once in
`MISS_SECONDS`, so that a wrong rule does not turn every document into a query).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta

import msgspec

from tieout.canonical.money import exponent, to_major
from tieout.canonical.outcome import Failure, Misconfigured, Rejected
from tieout.connectors.netsuite.client import LOWEST_ID, NetSuiteClient, QueryRefused
from tieout.connectors.netsuite.wire import Row

MISS_SECONDS = 30

# Per kind: table, columns beside the id, and those of them that may hold the code, the first non-empty one being shown.
KINDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "account": ("account", ("acctnumber", "accttype"), ("acctnumber",)),
    "item": ("item", ("itemid", "incomeaccount"), ("itemid",)),
    "department": ("department", ("name",), ("name", "id")),
    "terms": ("term", ("name",), ("name", "id")),
    "tax_code": ("salestaxitem", ("itemid", "taxtype"), ("itemid",)),
    "currency": ("currency", ("symbol",), ("symbol",)),
    "subsidiary": ("subsidiary", ("name",), ("id",)),
}


# Columns that an account has only with a feature (revenue recognition), or may not show.
FEATURED: dict[str, tuple[str, ...]] = {
    "item": ("deferredrevenueaccount",),
    "currency": ("currencyprecision",),
}
# The vendor keeps every currency with two decimals or with none, whatever ISO 4217 says of it.
PRECISIONS = {"0": 0, "2": 2}


def query_of(kind: str, *, featured: bool) -> str:
    """Every active row of a kind, keyed by the internal id."""
    table, columns, _ = KINDS[kind]
    if featured:
        columns += FEATURED.get(kind, ())
    return (
        f"SELECT id, {', '.join(columns)} FROM {table} WHERE isinactive = 'F' AND id > {{after}} ORDER BY id"
    )


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One kind as it was read. `ids` by code (every column that may hold one), `codes` by internal id, `rows` by
    internal id."""

    ids: dict[str, str]
    codes: dict[str, str]
    rows: dict[str, Row]
    read_at: datetime


class UnknownCode(Exception):
    """A code that the account does not know. `outcome` is what a write that needs it ends as."""

    def __init__(self, kind: str, code: str, connection: str) -> None:
        super().__init__(f"{kind} {code}")
        self.outcome = Misconfigured(
            scope="mapping",
            key=f"{connection}|{kind}|{code}",
            message=f"no active {kind.replace('_', ' ')} {code!r} in the account",
            remedy=f"create or activate it there, or correct the rule that names {code!r}",
        )


class WrongAccount(UnknownCode):
    """An item of the account that leads elsewhere than the rule that names it."""

    def __init__(self, item: str, account: str, theirs: str, connection: str) -> None:
        super().__init__("item", item, connection)
        self.outcome = Misconfigured(
            scope="mapping",
            key=f"{connection}|item|{item}",
            message=f"the item {item!r} leads to account {theirs}, the rule says {account}",
            remedy=f"correct the income or deferred revenue account of {item!r} there, or the rule",
        )


class Codes:
    """The internal ids of one account."""

    def __init__(self, client: NetSuiteClient) -> None:
        self._client = client
        self._limit = timedelta(seconds=client.config.codes_seconds)
        self._tables: dict[str, Table] = {}
        self._locks = {kind: asyncio.Lock() for kind in KINDS}

    async def table(self, kind: str, *, younger_than_seconds: int | None = None) -> Table:
        """The whole kind, read anew when it is older than that. Raises Failure."""
        limit = self._limit if younger_than_seconds is None else timedelta(seconds=younger_than_seconds)
        table = self._tables.get(kind)
        if table is not None and self._client.http.now() - table.read_at < limit:
            return table
        async with self._locks[kind]:
            table = self._tables.get(kind)
            if table is None or self._client.http.now() - table.read_at >= limit:
                table = self._tables[kind] = await self._read(kind)
            return table

    async def _read(self, kind: str) -> Table:
        _, _, columns = KINDS[kind]
        try:
            rows = await self._rows(kind, featured=True)
        except QueryRefused:
            try:
                rows = await self._rows(kind, featured=False)
            except QueryRefused as error:
                raise Failure(self._client.http.blocked(f"query refused: {error}")) from None
        ids: dict[str, str] = {}
        codes: dict[str, str] = {}
        by_id: dict[str, Row] = {}
        for column in reversed(columns):
            for row in rows:
                if code := str(row.get(column) or ""):
                    ids[code] = str(row["id"])
                    codes[str(row["id"])] = code
        for row in rows:
            by_id[str(row["id"])] = row
        return Table(ids=ids, codes=codes, rows=by_id, read_at=self._client.http.now())

    async def _rows(self, kind: str, *, featured: bool) -> list[Row]:
        """Raises QueryRefused, Failure."""
        query = query_of(kind, featured=featured)
        rows: list[Row] = []
        async for page in self._client.query_by_id(query, "id", operation=f"codes.{kind}", after=LOWEST_ID):
            rows += page
        return rows

    async def id(self, kind: str, code: str) -> str:
        """The internal id of a code. Raises UnknownCode, Failure."""
        found = (await self.table(kind)).ids.get(code)
        if found is None:
            found = (await self.table(kind, younger_than_seconds=MISS_SECONDS)).ids.get(code)
        if found is None:
            raise UnknownCode(kind, code, self._client.name)
        return found

    async def ids(self, kind: str, codes: set[str]) -> dict[str, str]:
        """The internal ids of several codes; an empty code has none. Raises UnknownCode, Failure."""
        return {code: await self.id(kind, code) for code in sorted(codes) if code}

    async def code(self, kind: str, internal_id: str) -> str:
        """The code of an internal id; `#<id>` when the account no longer lists it. Raises Failure."""
        if not internal_id:
            return ""
        found = (await self.table(kind)).codes.get(internal_id)
        if found is None:
            found = (await self.table(kind, younger_than_seconds=MISS_SECONDS)).codes.get(internal_id)
        return found or f"#{internal_id}"

    async def posting_account(self, item_id: str, *, younger_than_seconds: int | None = None) -> str:
        """The account number that an item's line leads to: its deferred revenue account where it has one, else its
        income account (assumed: items that post to income at once have no deferred account); `#<item id>` when
        unknown. Raises Failure."""
        row = (await self.table("item", younger_than_seconds=younger_than_seconds)).rows.get(item_id)
        if row is None:
            row = (await self.table("item", younger_than_seconds=MISS_SECONDS)).rows.get(item_id)
        if row is None:
            return f"#{item_id}"
        account = str(row.get("deferredrevenueaccount") or row.get("incomeaccount") or "")
        return await self.code("account", account) or f"#{item_id}"

    async def check_item(self, item: str, account: str, item_id: str) -> None:
        """Refuse an item that leads to another account than the rule says, before anything is posted there. Raises
        WrongAccount, Failure."""
        if account == await self.posting_account(item_id):
            return
        theirs = await self.posting_account(item_id, younger_than_seconds=MISS_SECONDS)
        if account != theirs:
            raise WrongAccount(item, account, theirs, self._client.name)

    async def check_amounts(self, currency: str, amounts_minor: Iterable[int]) -> None:
        """Refuse amounts that the account would round: dinars have three decimals, and it keeps them with two. Nothing
        is refused where the currency's record does not show its precision. Raises UnknownCode, Failure."""
        row = (await self.table("currency")).rows.get(await self.id("currency", currency), {})
        kept = PRECISIONS.get(str(row.get("currencyprecision", "")))
        if kept is None or kept >= exponent(currency):
            return
        step = 10 ** (exponent(currency) - kept)
        lost = next((amount for amount in amounts_minor if amount % step), None)
        if lost is not None:
            message = (
                f"{to_major(lost, currency)} {currency} would be rounded: the account keeps {currency} with {kept} "
                "decimals; bill amounts that fit them, or post it by hand"
            )
            raise Failure(Rejected(code="AMOUNT_PRECISION", message=message))

    async def tax_types(self, codes: set[str]) -> dict[str, str]:
        """The tax type that each tax code belongs to, by code. Raises UnknownCode, Failure."""
        ids = await self.ids("tax_code", codes)
        rows = (await self.table("tax_code")).rows
        return {code: str(rows[id].get("taxtype") or "") for code, id in ids.items()}

    def forget(self) -> None:
        """Forget what is not fresh: the account refused something that we remember otherwise."""
        limit = self._client.http.now() - timedelta(seconds=MISS_SECONDS)
        self._tables = {kind: table for kind, table in self._tables.items() if table.read_at > limit}
