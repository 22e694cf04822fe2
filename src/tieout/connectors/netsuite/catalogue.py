"""What the account knows: periods, codes, credit holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, NotFound, Transient
from tieout.connectors.contract import World
from tieout.connectors.netsuite.client import NetSuiteClient, QueryRefused
from tieout.connectors.netsuite.codes import KINDS, Codes
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.mapping import map_period, map_period_row
from tieout.connectors.netsuite.wire import Row, Structs

PERIODS = (
    "SELECT id, periodname, TO_CHAR(startdate, 'YYYY-MM-DD') AS startdate, TO_CHAR(enddate, 'YYYY-MM-DD') AS enddate,"
    " closed, arlocked, alllocked, isyear, isquarter, isadjust, isposting, isinactive FROM accountingperiod"
    " WHERE id > {after} ORDER BY id"
)


class Catalogue:
    """Base of the connection: its client, its codes, its periods."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self.name = name
        self.config = config
        self.client = NetSuiteClient(name, config, world)
        self.code_tables = Codes(self.client)
        self._periods: tuple[datetime, tuple[AccountingPeriod, ...]] | None = None

    async def periods(self, subsidiary: str) -> tuple[AccountingPeriod, ...]:
        """The posting periods, oldest first. They are the account's: the subsidiary makes no difference, as long as
        locks by subsidiary are not in use (assumed)."""
        del subsidiary
        return await self.known_periods(younger_than_seconds=0)

    async def known_periods(self, *, younger_than_seconds: int | None = None) -> tuple[AccountingPeriod, ...]:
        """The periods as read at most so long ago (default: as codes). Raises Failure."""
        seconds = self.config.codes_seconds if younger_than_seconds is None else younger_than_seconds
        if self._periods is not None and self.client.http.now() - self._periods[0] < timedelta(
            seconds=seconds
        ):
            return self._periods[1]
        try:
            periods = await self._queried_periods()
        except QueryRefused:
            # Not every account lets its periods be queried; the records are there for all.
            periods = await self._recorded_periods()
        self._periods = (self.client.http.now(), periods)
        return periods

    async def _queried_periods(self) -> tuple[AccountingPeriod, ...]:
        rows: list[Row] = []
        async for page in self.client.query_by_id(PERIODS, "id", operation="periods"):
            rows += page
        try:
            found = [period for row in rows if (period := map_period_row(row)) is not None]
        except (KeyError, ValueError):
            raise Failure(Transient(reason="a period without id or dates")) from None
        return tuple(sorted(found, key=lambda period: period.start))

    async def _recorded_periods(self) -> tuple[AccountingPeriod, ...]:
        found = []
        seen: set[str] = set()
        more = True
        while more:
            path = f"accountingPeriod?limit={self.config.page_size}&offset={len(seen)}"
            page = await self.client.fetch(Structs.ids, path, operation="periods")
            ids = [str(listed.id) for listed in page.items]
            if seen.intersection(ids) or (page.has_more and not ids):
                raise Failure(Transient(reason="a page of the periods repeats, or is empty before the end"))
            seen.update(ids)
            more = page.has_more
            for id in ids:
                wire = await self.client.fetch(Structs.period, f"accountingPeriod/{id}", operation="periods")
                if (period := map_period(wire)) is not None:
                    found.append(period)
        return tuple(sorted(found, key=lambda period: period.start))

    async def codes(self, kind: str) -> frozenset[str]:
        """Every active code: `item`, `account`, `department`, `tax_code`, `terms`, `currency`, `subsidiary`.

        Departments and terms answer to their name and to their internal id. ValueError for another kind."""
        if kind not in KINDS:
            raise ValueError(f"no codes of kind {kind!r}; known: {', '.join(sorted(KINDS))}")
        return frozenset((await self.code_tables.table(kind, younger_than_seconds=0)).ids)

    async def credit_hold(self, customer: str) -> bool:
        """Whether the customer is on credit hold: `ON` is, `OFF` is not, `AUTO` when the balance is over the limit.
        What `AUTO` means in full (days overdue by preference) the record does not tell: assumed."""
        path = f"customer/{customer}?fields=creditHoldOverride,creditLimit,balance"
        try:
            wire = await self.client.fetch(Structs.credit, path, operation="credit_hold")
        except NotFound:
            return False
        match (wire.credit_hold_override.key if wire.credit_hold_override else "AUTO").upper():
            case "ON":
                return True
            case "OFF":
                return False
            case _:
                limit = wire.credit_limit
                return limit is not None and (wire.balance or Decimal(0)) > limit
