"""What a company knows: periods, codes, credit holds."""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Transient
from tieout.connectors.contract import World
from tieout.connectors.tryton.client import TrytonClient
from tieout.connectors.tryton.codes import KINDS, Codes
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.mapping import map_period

# A document names its account on each line: there is no item that would have to exist.
ANY = frozenset({"*"})


class Catalogue:
    """Base of the connection: its client, its codes, its periods, and one poster per company."""

    def __init__(self, name: str, config: TrytonConfig, world: World) -> None:
        self.name = name
        self.config = config
        self.client = TrytonClient(name, config, world)
        self.code_tables = Codes(self.client)
        self._periods: dict[str, tuple[datetime, tuple[AccountingPeriod, ...]]] = {}
        self._posters: dict[str, asyncio.Lock] = {}

    def poster(self, company: str) -> asyncio.Lock:
        """Held while documents of a company are made, posted or settled: the server numbers one at a time, and answers
        503 to whoever comes in between."""
        return self._posters.setdefault(company, asyncio.Lock())

    async def companies(self) -> tuple[str, ...]:
        """The ids of the companies that the user may see. Raises Failure."""
        preferences = await self.client.preferences()
        return tuple(str(one) for one in sorted(preferences.get("companies") or ()))

    async def periods(self, subsidiary: str) -> tuple[AccountingPeriod, ...]:
        """The posting periods of a company, oldest first. Raises Failure."""
        return await self.known_periods(subsidiary, younger_than_seconds=0)

    async def known_periods(
        self, company: str, *, younger_than_seconds: int | None = None
    ) -> tuple[AccountingPeriod, ...]:
        """The periods as read at most so long ago (default: as codes). Raises Failure."""
        seconds = self.config.codes_seconds if younger_than_seconds is None else younger_than_seconds
        known = self._periods.get(company)
        if known is not None and self.client.http.now() - known[0] < timedelta(seconds=seconds):
            return known[1]
        domain = (
            [["company", "=", int(company)], ["type", "=", "standard"]]
            if company.isdigit()
            else [["id", "<", 0]]
        )
        fields = ["name", "start_date", "end_date", "state"]
        rows = await self.client.rows("account.period", domain, fields, operation="periods")
        try:
            found = sorted((map_period(row) for row in rows), key=lambda period: period.start)
        except (KeyError, TypeError):
            raise Failure(Transient(reason="a period without name or dates")) from None
        self._periods[company] = (self.client.http.now(), tuple(found))
        return tuple(found)

    async def period_on(self, company: str, on: date) -> AccountingPeriod | None:
        """The period that holds a day, as it is known. Raises Failure."""
        for seconds in (None, 0):
            periods = await self.known_periods(company, younger_than_seconds=seconds)
            if found := next((one for one in periods if one.start <= on <= one.end), None):
                return found
        return None

    async def codes(self, kind: str) -> frozenset[str]:
        """Every active code of all companies: `account`, `department`, `tax_code`, `terms`, `currency`, `subsidiary`;
        of `item` any. ValueError for another kind."""
        if kind == "item":
            return ANY
        if kind not in KINDS:
            raise ValueError(f"no codes of kind {kind!r}; known: item, {', '.join(sorted(KINDS))}")
        found: set[str] = set()
        for company in await self.companies():
            found |= (await self.code_tables.table(kind, company, younger_than_seconds=0)).rows.keys()
        return frozenset(found)

    async def credit_hold(self, customer: str) -> bool:
        """Never: the server's own modules know no hold (its credit limits are a module that is not asked)."""
        del customer
        return False
