"""Probes of what we rely on NetSuite to do, for `tieout certify`: in a sandbox, with records of their own.

Documents are deleted again where the role may delete; their numbers stay used, and the sandbox's audit trail says so.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

import msgspec

from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.netsuite.batch_probes import BatchProbes, whole
from tieout.connectors.netsuite.client import eid, text
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import CATCH_ALL, DUPLICATE, PERIOD_CLOSED, refusal

MISTYPED = "companyNaem"

UNTESTABLE = {
    "netsuite.longest-execution": "shows only when an answer is lost",
    "netsuite.invalid-login-overload": "would overload an account that others use",
    "netsuite.rejected-concurrency": "would overload an account that others use",
    "netsuite.query-rows": "needs an account with more than 100,000 rows in one table",
}


class NetSuiteCertification(BatchProbes):
    """`Certification` of one account."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        super().__init__(name, config, world)
        self.untestable: Mapping[str, str] = UNTESTABLE
        customer, invoice = ("a customer",), ("a customer", "an invoice of 100.00")
        batch = ("a batch of two customers and a third that is refused",)
        paid = ("a customer", "an invoice of 100.00", "a payment of 60.00")
        self.probes = (
            _probe("token-account", self._token_account),
            _probe("login-refused-header", self._login_header),
            _probe("tba-nonce", self._nonce),
            _probe("location", self._location, customer),
            _probe("eid-upsert", self._upsert, customer),
            _probe("unknown-property", self._unknown_property),
            _probe("sync-key-ignored", self._key_ignored, ("two customers under one idempotency key",)),
            _probe("record-read", self._record_read, invoice),
            _probe("visibility", self._visible, invoice),
            _probe("amount-wins", self._amount_wins, invoice),
            _probe("suiteql-types", self._types, invoice),
            _probe("currency-precision", self._precision),
            _probe(
                "credit-hold-auto",
                self._credit,
                ("a customer with a credit limit of 50.00", "an invoice of 100.00 to it"),
            ),
            _probe(
                "eid-insert-only",
                self._insert_only,
                (*invoice, "a second one under its external id, if taken"),
            ),
            _probe("tax-override", self._tax_override, ("a customer", "an invoice with a tax of 1.23")),
            _probe("auto-apply", self._unapplied, paid),
            _probe("replace-apply", self._replaced, paid),
            _probe("payment-links", self._links, paid),
            _probe("item-account", self._item_account, invoice),
            _probe("transform-replace", self._transformed, (*invoice, "a credit memo of 40.00 made of it")),
            _probe("batch-tasks", self._batch_tasks, batch),
            _probe("batch-results", self._batch_results, batch),
            _probe("batch-idempotency", self._batch_key, (*batch, "the same batch again, if taken")),
            _probe(
                "batch-size", self._batch_size, (*batch, "a batch of 101 records that are refused, if taken")
            ),
            _probe("approval-routing", self._routing, ("an invoice in a subsidiary with approval routing",)),
            _probe("approve", self._approve, ("an invoice in a subsidiary with approval routing, approved",)),
            _probe("period-codes", self._closed, ("an invoice in a closed period, if it is taken",)),
        )

    # -- probes: records ------------------------------------------------------------------------------------------
    async def _token_account(self) -> Verdict:
        account = await self._client.client.account()
        if not account:
            return seen(False, "the access token names no account")
        same = plain(account) == plain(self._config.account)
        return seen(same, f"the access token is of {account}, pinned is {self._config.account}")

    async def _location(self) -> Verdict:
        body = {**self._customer_body(self._subsidiary(), "location")}
        response = await self._client.record("POST", "customer", body)
        id = self._note("customer", "customer", response)
        if not id:
            said = refusal(response)
            if response.status == 400:
                return untestable(f"a customer is not taken: {said.code} {said.message}")
            return seen(False, f"{response.status}, Location {response.headers.get('location', '(none)')!r}")
        shown = await self._client.shown(f"customer/{id}")
        return seen(
            response.status == 204 and str(shown["id"]) == id, f"{response.status}, id {id}, which is there"
        )

    async def _upsert(self) -> Verdict:
        where = f"customer/{eid(f'CERTIFY-{self._run}-U')}"
        ids = []
        for name in ("before", "after"):
            response = await self._client.record("PUT", where, self._customer_body(self._subsidiary(), name))
            if response.status >= 300:
                said = refusal(response)
                return seen(False, f"PUT by eid: {response.status} {said.code} {said.message}")
            ids.append(str((await self._client.shown(where))["id"]))
            if ("customer", f"customer/{ids[-1]}") not in self._made:
                self._made.append(("customer", f"customer/{ids[-1]}"))
        name = str((await self._client.shown(where)).get("companyName", ""))
        return seen(
            len(set(ids)) == 1 and name.endswith("after"), f"two PUTs: ids {', '.join(ids)}, named {name!r}"
        )

    async def _unknown_property(self) -> Verdict:
        body = {**self._customer_body(self._subsidiary(), "mistyped"), MISTYPED: "x"}
        response = await self._client.record("POST", "customer", body)
        self._note("customer with a mistyped field", "customer", response)
        said = refusal(response)
        told = f"{response.status} {said.code if response.status >= 300 else ''}".strip()
        named = MISTYPED.lower() in said.message.lower()
        if response.status == 400 and not named:
            return untestable(f"{told}, for another reason: {said.message}")
        return seen(response.status == 400, f"a field {MISTYPED}: {told}")

    async def _key_ignored(self) -> Verdict:
        ids = []
        self._client.tapped.headers = {"x-netsuite-idempotency-key": f"certify-{self._run}"}
        try:
            for number in ("one", "two"):
                body = self._customer_body(self._subsidiary(), f"key {number}")
                ids.append(await self._make("customer", "customer", body))
        finally:
            self._client.tapped.headers = {}
        return seen(ids[0] != ids[1], f"one key, two synchronous POSTs: ids {', '.join(ids)}")

    async def _insert_only(self) -> Verdict:
        await self._invoice()
        response = await self._client.record("POST", "invoice", await self._invoice_body("1", memo="second"))
        second = self._note("second invoice under one external id", "invoice", response)
        said = refusal(response)
        told = f"a second invoice under one external id: {response.status} {second or said.code}"
        if not self._config.enforce_keys:
            return untestable(f"{told}; not relied on: enforce_keys = false")
        return seen(response.status == 400 and said.code in DUPLICATE, told)

    async def _record_read(self) -> Verdict:
        body = await self._invoice_body("R", memo="read")
        id = await self._make("invoice", "invoice", body)
        shown = await self._client.shown(f"invoice/{id}")
        same = shown.get("externalId") == body["externalId"] and shown.get("memo") == "read"
        return seen(same, f"read right after it was made: memo {shown.get('memo')!r}")

    async def _visible(self) -> Verdict:
        body = await self._invoice_body("V")
        id = await self._make("invoice", "invoice", body)
        began, most = self._world.clock.now(), self._config.visibility_seconds
        query = f"SELECT id FROM transaction WHERE externalid = {text(body['externalId'])}"
        while True:
            rows = await self._client.rows(query)
            waited_seconds = (self._world.clock.now() - began).total_seconds()
            if [str(row["id"]) for row in rows] == [id]:
                return seen(True, f"in a query after {waited_seconds:.1f} s, relied on within {most} s")
            if waited_seconds > most:
                return seen(False, f"not in a query after {waited_seconds:.0f} s")
            await self._world.clock.sleep(1)

    # -- probes: amounts and applications -------------------------------------------------------------------------
    async def _amount_wins(self) -> Verdict:
        shown = await self._client.shown(f"invoice/{await self._invoice()}?expandSubResources=true")
        line = shown["item"]["items"][0]
        kept = (line.get("quantity"), line.get("amount"))
        return seen(kept == (3, 100), f"quantity 3, amount 100 and no rate: {kept[0]} and {kept[1]}")

    async def _types(self) -> Verdict:
        query = f"SELECT id, posting, memo FROM transaction WHERE id = {await self._invoice()}"
        rows = await self._client.rows(query)
        row = {name: value for name, value in rows[0].items() if name != "links"} if rows else {}
        held = (
            bool(row)
            and all(isinstance(value, str) for value in row.values())
            and row.get("posting") in ("T", "F")
            and "memo" not in row
        )
        return seen(held, f"a number, a boolean and a null come as {row}")

    async def _precision(self) -> Verdict:
        rows = (await self._catalogue.code_tables.table("currency")).rows.values()
        shown = {str(row.get("symbol")): str(row.get("currencyprecision", "")) for row in rows}
        told = ", ".join(f"{currency} {decimals or '-'}" for currency, decimals in sorted(shown.items()))
        if not any(shown.values()):
            return untestable(f"queries do not show it ({told}): amounts are sent unchecked")
        return seen(all(one in ("0", "2") for one in shown.values()), f"decimals kept: {told}")

    async def _credit(self) -> Verdict:
        limited = {**self._customer_body(self._subsidiary(), "limited"), "creditLimit": 50}
        customer = await self._make("customer with a credit limit", "customer", limited)
        body = await self._invoice_body("L", entity={"id": customer})
        await self._make("invoice over the limit", "invoice", body)
        shown = await self._client.shown(f"customer/{customer}?fields=creditHoldOverride,creditLimit,balance")
        override = str((shown.get("creditHoldOverride") or {}).get("id", "(none)"))
        limit, balance = whole(shown.get("creditLimit")), whole(shown.get("balance"))
        told = f"limit 50 and an open invoice of 100: {override}, limit {limit}, balance {balance}"
        held = (override.upper(), limit, balance) == ("AUTO", "50", "100")
        return seen(held, f"{told}; what the account itself refuses then is a preference of its own")

    async def _tax_override(self) -> Verdict:
        codes = await self._catalogue.code_tables.table("tax_code")
        if not codes.ids:
            return untestable("the account shows no tax code")
        code, id = next(iter(codes.ids.items()))
        types = await self._catalogue.code_tables.tax_types({code})
        tax = {
            "taxDetailsReference": {"id": "L1"},
            "taxType": types[code],
            "taxCode": {"id": id},
            "taxRate": 10,
            "taxBasis": 100,
            "taxAmount": msgspec.Raw(b"1.23"),
        }
        made = await self._make(
            "invoice", "invoice", await self._invoice_body("T", taxDetails={"items": [tax]})
        )
        total = (await self._client.shown(f"invoice/{made}")).get("total")
        return seen(str(total) == "101.23", f"100 and a tax of 1.23 at 10 %, as given: total {total}")

    async def _applied(self) -> dict[str, str]:
        shown = await self._client.shown(f"customerPayment/{await self._payment()}?expandSubResources=true")
        lines = (shown.get("apply") or {}).get("items") or []
        return {str(line["doc"]["id"]): str(line.get("amount")) for line in lines if line.get("apply")}

    async def _unapplied(self) -> Verdict:
        applied = await self._applied()
        told = f"a payment with autoApply false beside an open invoice: applied to {len(applied)} documents"
        return seen(not applied, told)

    async def _replaced(self) -> Verdict:
        invoice, payment = await self._invoice(), await self._payment()
        kept = []
        for amount in (60, 25):
            line = {"doc": {"id": invoice}, "apply": True, "amount": amount}
            body = {"apply": {"items": [line]}}
            response = await self._client.record("PATCH", f"customerPayment/{payment}?replace=apply", body)
            if response.status >= 300:
                said = refusal(response)
                return seen(False, f"PATCH: {response.status} {said.code} {said.message}")
            kept.append((await self._applied()).get(invoice, "nothing"))
        whole = [re.sub(r"\.0+$", "", one) for one in kept] == ["60", "25"]
        return seen(whole, f"replaced by 60, then by 25: applied {', then '.join(kept)}")

    async def _links(self) -> Verdict:
        invoice, payment = await self._invoice(), await self._payment()
        if invoice not in await self._applied():
            return untestable("the payment is not applied to the invoice")
        query = (
            "SELECT linktype, previousdoc, nextdoc FROM nexttransactionlinelink"
            f" WHERE previousdoc = {invoice} AND nextdoc = {payment}"
        )
        rows = await self._client.rows(query)
        kinds = sorted({str(row.get("linktype")) for row in rows})
        return seen(
            kinds == ["Payment"], f"links of the invoice to its payment: {', '.join(kinds) or 'none'}"
        )

    # -- probes: approval and periods -----------------------------------------------------------------------------
    async def _held(self) -> str:
        routed = sorted(one for one, how in self._config.approval.items() if how != "off")
        if not routed:
            raise Failure(
                Rejected(code="no_routing", message="no subsidiary with approval routing is configured")
            )

        async def make() -> str:
            return await self._make("invoice", "invoice", await self._invoice_body("H", routed[0]))

        return await self._shared("held", make)

    async def _state(self, id: str) -> tuple[str, str]:
        query = f"SELECT status, posting FROM transaction WHERE id = {id}"
        row = (await self._client.rows(query))[0]
        return str(row.get("status")), str(row.get("posting"))

    async def _routing(self) -> Verdict:
        status, posting = await self._state(await self._held())
        return seen(
            status.endswith("D") and posting == "F", f"a new document: status {status}, posting {posting}"
        )

    async def _approve(self) -> Verdict:
        id = await self._held()
        states = []
        for _ in range(2):
            body = {"approvalStatus": {"id": "2"}}
            response = await self._client.record("PATCH", f"invoice/{id}", body)
            if response.status >= 300:
                said = refusal(response)
                return seen(False, f"PATCH approvalStatus 2: {response.status} {said.code} {said.message}")
            states.append(await self._state(id))
        held = states[0] == states[1] and states[0][1] == "T"
        return seen(held, f"approved: {' '.join(states[0])}; approved again: {' '.join(states[1])}")

    async def _closed(self) -> Verdict:
        closed = [one for one in await self._periods() if one.status != "open"]
        if not closed:
            return untestable("every period is open")
        period = max(closed, key=lambda one: one.start)
        body = await self._invoice_body("C")
        body["tranDate"] = (period.start + timedelta(days=1)).isoformat()
        if period.id:
            body["postingPeriod"] = {"id": period.id}
        response = await self._client.record("POST", "invoice", body)
        self._note("invoice in a closed period", "invoice", response)
        said = refusal(response)
        told = f"an invoice in {period.name} ({period.status}): {response.status} {said.code}"
        return seen(
            response.status == 400 and said.code in PERIOD_CLOSED | CATCH_ALL,
            f"{told} {said.message}".strip(),
        )


def _probe(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    return Probe(behaviour=f"netsuite.{id}", run=run, makes=makes)


def plain(account: str) -> str:
    """`1234567_SB1` and `1234567-sb1` are one account."""
    return account.upper().replace("-", "_")
