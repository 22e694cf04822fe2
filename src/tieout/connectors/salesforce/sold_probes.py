"""Probes of what was sold: the org's own orders, and what a CPQ package wrote. Where an org has none of them there is
nothing to tell. What others wrote is only read."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from tieout.connectors.contract import Probe, Verdict, seen, untestable
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.probing import Records, probe_of

MOST_ROWS = 200
CODES = frozenset({"Draft", "Activated", "Canceled", "Cancelled", "Expired"})


class SoldProbes:
    """Probes over records of one run, and over those that stand in the org."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self.probes: tuple[Probe, ...] = (
            probe_of("order_status_codes", self._codes, ("an account", "an order, activated and taken back")),
            probe_of("reduction_negative", self._reductions),
            probe_of("cpq_amendment_deltas", self._deltas),
            probe_of("cpq_net_price", self._net_price),
            probe_of("cpq_inclusive_ends", self._ends),
        )

    async def _codes(self) -> Verdict:
        records = self._records
        price = await records.price()
        currency = records.config.currency_field
        header = {
            "AccountId": await records.account(),
            "EffectiveDate": records.calls.client.http.now().date().isoformat(),
            "Status": await self._status("Draft"),
            "Pricebook2Id": price["Pricebook2Id"],
        }
        order = await records.create("Order", header | ({currency: price[currency]} if currency else {}))
        line = {
            "OrderId": order,
            "PricebookEntryId": price["Id"],
            "Quantity": 1,
            "UnitPrice": Decimal("10.00"),
        }
        await records.create("OrderItem", line)
        codes = [await self._code(order)]
        activated = await records.patch("Order", order, {"Status": await self._status("Activated")})
        if not activated:
            codes.append(await self._code(order))
            await records.patch("Order", order, {"Status": header["Status"]})
        standing = await records.rows(
            f"SELECT Id, StatusCode FROM Order ORDER BY CreatedDate DESC LIMIT {MOST_ROWS}"
        )
        others = {str(row["StatusCode"]) for row in standing}
        told = f"a new order: {', then '.join(codes)}; {len(standing)} orders of the org: {', '.join(sorted(others))}"
        if activated:
            return untestable(f"{told}; it cannot be activated: {activated}")
        return seen(codes == ["Draft", "Activated"] and others <= CODES, told)

    async def _status(self, code: str) -> str:
        """What the org calls a status: by an order that has it, else as the vendor calls it."""
        query = f"SELECT Status FROM Order WHERE StatusCode = {soql.quoted(code)} LIMIT 1"
        rows = await self._records.rows(query)
        return str(rows[0]["Status"]) if rows else code

    async def _code(self, order: str) -> str:
        rows = await self._records.rows(f"SELECT StatusCode FROM Order WHERE Id = {soql.quoted(order)}")
        return str(rows[0]["StatusCode"])

    async def _reductions(self) -> Verdict:
        rows = await self._records.rows(
            "SELECT Id, Quantity, OriginalOrderItemId FROM OrderItem WHERE Order.IsReductionOrder = true"
            f" AND Order.StatusCode = 'Activated' LIMIT {MOST_ROWS}"
        )
        if not rows:
            return untestable("the org has no activated reduction order")
        named = sum(1 for row in rows if row.get("OriginalOrderItemId"))
        below = sum(1 for row in rows if (wire.number(row, "Quantity") or 0) < 0)
        told = f"{len(rows)} lines of reduction orders: {named} name the line they take from, {below} are below 0"
        return seen(named == len(rows), told)

    # -- CPQ --------------------------------------------------------------------------------------------------------
    def _verdict(self, what: str, right: int, wrong: list[str]) -> Verdict:
        """An org's own changes to a package can make single records differ: only where none is right was it wrong."""
        if not right and not wrong:
            return untestable(f"the org has no {what}")
        told = f"{right} of {right + len(wrong)} {what} are as expected"
        if wrong and right:
            return untestable(f"{told}, but {wrong[0]} is not")
        return seen(not wrong, told + (f": {wrong[0]} is not" if wrong else ""))

    async def _deltas(self) -> Verdict:
        """Of the quote's lines; that orders and subscriptions carry the same is not tried."""
        name = self._records.config.cpq.name
        columns = soql.columns("Id", name("Quantity"), name("PriorQuantity"), name("EffectiveQuantity"))
        rows = await self._records.rows(
            f"SELECT {columns} FROM {name('QuoteLine')} WHERE"
            f" {self._records.config.cpq.parent('Quote')}.{name('Type')} = 'Amendment'"
            f" AND {name('PriorQuantity')} != null LIMIT {MOST_ROWS}"
        )
        right, wrong = 0, []
        for row in rows:
            now, before, delta = (
                wire.number(row, name(each)) or Decimal(0)
                for each in ("Quantity", "PriorQuantity", "EffectiveQuantity")
            )
            if delta == now - before:
                right += 1
            else:
                wrong.append(f"{row['Id']} ({before} to {now}, effective {delta})")
        return self._verdict("lines of amendment quotes", right, wrong)

    async def _net_price(self) -> Verdict:
        """Unit price by quantity against the line's total; that the unit's is for the whole term is not tried."""
        name = self._records.config.cpq.name
        columns = soql.columns("Id", name("NetPrice"), name("NetTotal"), name("EffectiveQuantity"))
        rows = await self._records.rows(
            f"SELECT {columns} FROM {name('QuoteLine')} WHERE {name('Optional')} = false"
            f" AND {name('NetPrice')} != null AND {name('NetTotal')} != null LIMIT {MOST_ROWS}"
        )
        right, wrong = 0, []
        for row in rows:
            price, total, quantity = (
                wire.number(row, name(each)) or Decimal(0)
                for each in ("NetPrice", "NetTotal", "EffectiveQuantity")
            )
            # Half a cent of the unit's price for each unit, and half a cent of the total.
            if abs(price * quantity - total) <= (abs(quantity) + 1) * Decimal("0.005"):
                right += 1
            else:
                wrong.append(f"{row['Id']} ({quantity} x {price}, total {total})")
        return self._verdict("quote lines", right, wrong)

    async def _ends(self) -> Verdict:
        """Of subscriptions for whole months; whether quotes and lines are the same is not tried."""
        name = self._records.config.cpq.name
        start, end = name("SubscriptionStartDate"), name("SubscriptionEndDate")
        rows = await self._records.rows(
            f"SELECT Id, {start}, {end} FROM {name('Subscription')} WHERE {start} != null AND {end} != null"
            f" LIMIT {MOST_ROWS}"
        )
        right, wrong = 0, []
        for row in rows:
            first, last = wire.day(row, start), wire.day(row, end)
            if first is None or last is None:
                continue
            if (last + timedelta(days=1)).day == first.day:
                right += 1
            elif last.day == first.day:
                wrong.append(f"{row['Id']} ({first} to {last})")
        return self._verdict("subscriptions for whole months", right, wrong)
