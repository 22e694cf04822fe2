"""Probes of what we rely on Salesforce to do, for `tieout certify`: in a sandbox, with records of their own.

Records are deleted at the end; what was deleted stays in the recycle bin for fifteen days.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.batch_probes import BatchProbes
from tieout.connectors.salesforce.config import SalesforceConfig
from tieout.connectors.salesforce.probing import Records, answered, probe_of, status_of, words_of
from tieout.connectors.salesforce.sold_probes import SoldProbes
from tieout.connectors.salesforce.stream_probes import StreamProbes
from tieout.ports import Response

# https://login.../id/<organisation>/<user>
_IDENTITY = re.compile(r"/id/00D[A-Za-z0-9]{15}/005[A-Za-z0-9]{12,15}$")
MOST_TRIES = 3

UNTESTABLE = {
    "salesforce.row_lock_not_done": "needs another transaction that holds the row at that moment",
    "salesforce.request_limit_403": "would use up the allowance of the whole org",
    "salesforce.stamp_before_commit": "needs a transaction that runs long; the sweep reads an overlap again",
    "salesforce.subselect_pages": "needs a parent with more lines than fit on a page",
    "salesforce.longest_write": "shows only when an answer is lost",
    "salesforce.gap_named": "needs a change of which the vendor can make no event; none can be provoked from outside",
    "salesforce.outbound_message_ack": "needs a public address and 24 hours in which no message is acknowledged",
}


class SalesforceCertification(Records):
    """`Certification` of one org."""

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        super().__init__(name, config, world)
        self._line: dict[str, Any] | None = None
        self.untestable: Mapping[str, str] = UNTESTABLE
        mirror = self.names.mirror_object
        deal = ("an account", "an opportunity with two lines, one of which is deleted")
        self.probes: tuple[Probe, ...] = (
            probe_of("org_in_id_url", self._identity_url),
            probe_of("session_expired_401", self._ended_session),
            probe_of("upsert_by_external_id", self._upsert, (f"a record of {mirror}",)),
            probe_of("concurrent_upsert_duplicate_value", self._race, (f"{MOST_TRIES} records of {mirror}",)),
            probe_of("query_all_shows_deleted", self._deleted_row, (f"a record of {mirror}, deleted",)),
            probe_of("composite_queries", self._composite),
            probe_of("line_total_rounded", self._line_total, deal),
            probe_of("deleted_line_keeps_parent", self._deleted_line, deal),
            probe_of("query_all_subselect_shows_deleted", self._deleted_child, deal),
            *BatchProbes(self).probes,
            *SoldProbes(self).probes,
            *StreamProbes(self).probes,
        )

    # -- probes: sign-in and records ------------------------------------------------------------------------------
    async def _identity_url(self) -> Verdict:
        await self.calls.client.token()
        told = self.calls.tapped.answers["sign_in"]
        url = wire.decode(wire.TOKEN, told.body).id
        return seen(bool(_IDENTITY.search(url)), f"the id URL ends in {'/'.join(url.split('/')[-2:])}")

    async def _ended_session(self) -> Verdict:
        key = self.key("ended")
        token = f"{(await self.calls.client.token()).organisation[:15]}!ended"
        response = await self.calls.with_session(token, "PATCH", self.mirror(key), self.fields("none"))
        code, _ = wire.read_error(response)
        made = await self.of_key(key)
        for row in made:
            self.note(self.names.mirror_object, str(row["Id"]))
        told = f"a write without a session: {response.status} {code}, records made: {len(made)}"
        return seen(response.status == 401 and code == "INVALID_SESSION_ID" and not made, told)

    async def _upsert(self) -> Verdict:
        key = self.key("upsert")
        first, second = await self.put(key, "one"), await self.put(key, "two")
        found = len(await self.of_key(key))
        told = f"{words_of(first)}, then {words_of(second)}; records under the key: {found}"
        return seen(status_of(first) == 201 and status_of(second) in (200, 204) and found == 1,
                    told + "; 300 needs a key that is not unique")  # fmt: skip

    async def _race(self) -> Verdict:
        """Two upserts of one new key at once. Where both come through one after the other, nothing was shown."""
        for attempt in range(MOST_TRIES):
            key = self.key(f"race-{attempt}")
            answers = await asyncio.gather(self.put(key, "one"), self.put(key, "two"))
            found = len(await self.of_key(key))
            refused = [one for one in answers if isinstance(one, Rejected)]
            told = f"{', '.join(map(words_of, answers))}; records under the key: {found}"
            if found != 1:
                return seen(False, told)
            if refused:
                codes = {one.code for one in refused}
                again = await self.put(key, "three")
                return seen(codes == {"DUPLICATE_VALUE"} and status_of(again) in (200, 204), told)
        return untestable(f"no collision in {MOST_TRIES} tries: one record each time")

    async def _deleted_row(self) -> Verdict:
        key = self.key("deleted")
        made = await self.put(key, "one")
        if not isinstance(made, Response) or made.status != 201:
            return untestable(f"no record was made: {words_of(made)}")
        gone = await self.delete(self.names.mirror_object, str(answered(made)["id"]))
        if gone:
            return untestable(f"the record cannot be deleted: {gone}")
        plain, everything = await self.of_key(key), await self.of_key(key, deleted=True)
        shows = [bool(row.get("IsDeleted")) for row in everything] == [True]
        return seen(shows and not plain, f"once deleted: query {len(plain)}, queryAll {len(everything)}")

    async def _composite(self) -> Verdict:
        """Others may call the org meanwhile: one of several tries that counts one call is enough."""
        queries = {f"q{number}": "SELECT Id FROM Organization LIMIT 1" for number in range(5)}
        counted = []
        for _ in range(MOST_TRIES):
            await self.rows(queries["q0"])
            before = self.calls.client.usage
            pages, _ = await self.calls.client.first_pages(queries, "certify")
            after = self.calls.client.usage
            if before is None or after is None or len(pages) != len(queries):
                return untestable("the answers do not tell how many calls were counted")
            counted.append(after.used - before.used)
        told = (
            f"five queries in one call, {MOST_TRIES} times: counted as {', '.join(map(str, counted))} calls"
        )
        if 1 in counted:
            return seen(True, told)
        if min(counted) >= len(queries):
            return seen(False, told)
        return untestable(f"{told}; the header may lag, or others call the org")

    # -- probes: a deal with two lines ----------------------------------------------------------------------------
    async def _deal(self) -> dict[str, Any]:
        """The ids of an opportunity and of its two lines, the second of which is deleted. Raises Failure."""
        if self._line is None:
            account, price = await self.account(), await self.price()
            currency = self.config.currency_field
            stages = await self.rows(
                "SELECT ApiName FROM OpportunityStage WHERE IsActive = true AND IsClosed = false"
            )
            if not stages:
                raise Failure(Rejected(code="no_stage", message="no open stage is shown"))
            body = {
                "Name": f"tieout certify {self.run}",
                "AccountId": account,
                "StageName": stages[0]["ApiName"],
                "CloseDate": self.calls.client.http.now().date().isoformat(),
                "Pricebook2Id": price["Pricebook2Id"],
            }
            opportunity = await self.create(
                "Opportunity", body | ({currency: price[currency]} if currency else {})
            )
            lines = []
            for quantity in (3, 2):
                line = {
                    "OpportunityId": opportunity,
                    "PricebookEntryId": price["Id"],
                    "Quantity": quantity,
                }
                discounted = {"UnitPrice": Decimal("33.33"), "Discount": Decimal("12.5")}
                lines.append(await self.create("OpportunityLineItem", line | discounted))
            refused = await self.delete("OpportunityLineItem", lines[1])
            self._line = {
                "opportunity": opportunity,
                "kept": lines[0],
                "deleted": lines[1],
                "refused": refused,
            }
        return self._line

    async def _line_total(self) -> Verdict:
        deal = await self._deal()
        query = "SELECT Quantity, UnitPrice, Discount, TotalPrice FROM OpportunityLineItem WHERE Id = "
        row = (await self.rows(query + soql.quoted(deal["kept"])))[0]
        quantity, price, discount = (
            Decimal(str(row[name])) for name in ("Quantity", "UnitPrice", "Discount")
        )
        exact = quantity * price * (1 - discount / 100)
        rounded = exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
        total = Decimal(str(row["TotalPrice"]))
        told = f"{quantity} x {price} less {discount} %: {total} (exact {exact.normalize()})"
        return seen(total in (exact, rounded), told)

    async def _deleted_line(self) -> Verdict:
        deal = await self._deal()
        if deal["refused"]:
            return untestable(f"the line cannot be deleted: {deal['refused']}")
        query = (
            "SELECT Id, OpportunityId FROM OpportunityLineItem WHERE Opportunity.CloseDate != null AND Id = "
        )
        rows = await self.rows(query + soql.quoted(deal["deleted"]), deleted=True)
        kept = [str(row.get("OpportunityId")) for row in rows]
        return seen(kept == [deal["opportunity"]], f"a deleted line, filtered by its deal: {len(rows)} row, deal kept: "
                    f"{kept == [deal['opportunity']]}")  # fmt: skip

    async def _deleted_child(self) -> Verdict:
        deal = await self._deal()
        if deal["refused"]:
            return untestable(f"the line cannot be deleted: {deal['refused']}")
        query = "SELECT Id, (SELECT Id, IsDeleted FROM OpportunityLineItems) FROM Opportunity WHERE Id = "
        row = (await self.rows(query + soql.quoted(deal["opportunity"]), deleted=True))[0]
        lines = (row.get("OpportunityLineItems") or {}).get("records") or []
        return seen(len(lines) == 2, f"lines in the sub-select, one of two deleted: {len(lines)}")
