"""The deletion log: records that were deleted, also those that the recycle bin does not hold any more."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import structlog

from tieout.canonical.change import ChangeEvent
from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.changes import KINDS, Present, map_gone
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.mapping import Org
from tieout.ports import Response

log = structlog.get_logger("tieout.feeds")
EVERY_SECONDS = 900


class Deleted(msgspec.Struct, frozen=True, rename="camel"):
    """One record of the log."""

    id: str
    deleted_date: str


class DeletedPage(msgspec.Struct, frozen=True, rename="camel"):
    """The answer of `sobjects/X/deleted`: what was deleted, and up to when that is the whole of it."""

    deleted_records: list[Deleted]
    latest_date_covered: str


_page = msgspec.json.Decoder(DeletedPage)


def read_page(response: Response) -> DeletedPage:
    """The log in an answer. Raises BadBody."""
    return wire.decode(_page, response.body)


class DeletionLog:
    """Reads `sobjects/X/deleted` of accounts and opportunities. What the recycle bin still holds is left to the sweep,
    which sees it as a row."""

    def __init__(self, client: Client, org: Org, present: Present) -> None:
        self._client = client
        self._org = org
        self._present = present

    async def since(
        self, moment: datetime | None, server_now: datetime
    ) -> tuple[list[ChangeEvent], datetime | None]:
        """What was deleted since a moment and is gone for good, and the moment to go on from. The first time there is
        nothing to tell. An org that refuses the question is asked again later. Raises Failure."""
        overlap = timedelta(seconds=self._org.config.overlap_seconds)
        if moment is None:
            return [], server_now - overlap
        if server_now - moment < overlap + timedelta(seconds=EVERY_SECONDS):
            return [], moment
        # Two minutes less: the vendor cuts the seconds off and then counts the days.
        earliest = server_now - timedelta(days=self._org.config.deletion_log_days, minutes=-2)
        start = max(moment, earliest)
        stamps: dict[str, dict[str, datetime]] = {}
        covered = server_now
        try:
            for name in KINDS:
                page = await self._read(name, start, server_now)
                stamps[name] = {
                    each.id: wire.parse_moment(each.deleted_date) for each in page.deleted_records
                }
                covered = min(covered, wire.parse_moment(page.latest_date_covered))
        except (Failure, BadBody) as error:
            if isinstance(error, Failure) and not isinstance(error.outcome, Rejected):
                raise
            log.warning("deletion_log_failed", connection=self._org.connection, reason=str(error)[:300])
            return [], moment
        gone = await self._present.gone(stamps)
        events = [
            map_gone(name, id, stamps[name][id], self._org) for name in gone for id in sorted(gone[name])
        ]
        return events, max(moment, covered - overlap)

    async def _read(self, name: str, start: datetime, end: datetime) -> DeletedPage:
        path = (
            f"{self._client.data}/sobjects/{name}/deleted/"
            f"?start={soql.instant(start)}&end={soql.instant(end)}"
        )
        return read_page(await self._client.read(path, "deletions.read"))
