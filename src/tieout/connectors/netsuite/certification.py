"""Probes of what we rely on NetSuite to do, for `tieout certify`: in a sandbox, with records of their own.

Documents are deleted again where the role may delete; their numbers stay used, and the sandbox's audit trail says so.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from typing import Any

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.http import BadBody, Token, decode_json
from tieout.connectors.netsuite.catalogue import Catalogue
from tieout.connectors.netsuite.client import (
    RECORDS,
    NetSuiteClient,
    canonical_account,
    eid,
    text,
    token_account,
)
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import CATCH_ALL, DUPLICATE, PERIOD_CLOSED, refusal
from tieout.connectors.netsuite.writing import location_id
from tieout.ports import Response, TransportError

_encode = msgspec.json.Encoder(decimal_format="number").encode
MISTYPED = "companyNaem"

UNTESTABLE = {
    "netsuite.longest-execution": "shows only when an answer is lost",
    "netsuite.invalid-login-overload": "would overload an account that others use",
    "netsuite.rejected-concurrency": "would overload an account that others use",
    "netsuite.credit-hold-auto": "no probe yet: needs a customer over a credit limit, a setting of the account",
}


class Prober(NetSuiteClient):
    """The connector's own client; `extra` headers go with the next calls."""

    extra: Mapping[str, str] = {}

    def _headers(self, token: Token, path: str, *, body: bool) -> dict[str, str]:
        return {**super()._headers(token, path, body=body), **self.extra}

    async def record(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Response:
        """One call of the record API. 200 to 299, 400, 404 are answers; raises Failure for what says nothing."""
        body = b"" if document is None else _encode(document)
        try:
            response = await self.call(method, RECORDS + path, body=body, operation="certify")
        except TransportError as error:
            self.http.read_failed(error)
        if not (200 <= response.status < 300 or response.status in (400, 404)):
            said = refusal(response)
            self.http.read_status(response, said.code, said.message)
        return response

    async def shown(self, path: str) -> dict[str, Any]:
        """One record as it is. Raises Failure."""
        response = await self.record("GET", path)
        if response.status != 200:
            raise Failure(Rejected(code=str(response.status), message=f"{path} cannot be read"))
        try:
            found: dict[str, Any] = decode_json(response.body)
        except BadBody as error:
            raise Failure(Rejected(code="200", message=str(error))) from error
        return found


class NetSuiteCertification:
    """`Certification` of one account."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self._catalogue = Catalogue(name, config, world)
        self._client = Prober(name, config, world)
        self._config = config
        self._world = world
        self._run = world.chance.token(5).hex()
        self._known: dict[str, Any] = {}
        self._made: list[tuple[str, str]] = []
        self.untestable: Mapping[str, str] = UNTESTABLE
        customer, invoice = ("a customer",), ("a customer", "an invoice of 100.00")
        paid = ("a customer", "an invoice of 100.00", "a payment of 60.00")
        self.probes = (
            _probe("token-account", self._token_account),
            _probe("location", self._location, customer),
            _probe("eid-upsert", self._upsert, customer),
            _probe("unknown-property", self._unknown_property),
            _probe("sync-key-ignored", self._key_ignored, ("two customers under one idempotency key",)),
            _probe("record-read", self._record_read, invoice),
            _probe("visibility", self._visible, invoice),
            _probe("amount-wins", self._amount_wins, invoice),
            _probe("suiteql-types", self._types, invoice),
            _probe(
                "eid-insert-only",
                self._insert_only,
                (*invoice, "a second one under its external id, if taken"),
            ),
            _probe("tax-override", self._tax_override, ("a customer", "an invoice with a tax of 1.23")),
            _probe("auto-apply", self._unapplied, paid),
            _probe("replace-apply", self._replaced, paid),
            _probe("payment-links", self._links, paid),
            _probe("approval-routing", self._routing, ("an invoice in a subsidiary with approval routing",)),
            _probe("approve", self._approve, ("an invoice in a subsidiary with approval routing, approved",)),
            _probe("period-codes", self._closed, ("an invoice in a closed period, if it is taken",)),
        )

    # -- what probes share ----------------------------------------------------------------------------------------
    async def _make(self, what: str, type_: str, body: Mapping[str, Any]) -> str:
        """The id of a new record, which is deleted at the end. Raises Failure when it is refused."""
        response = await self._client.record("POST", type_, body)
        id = self._note(what, type_, response)
        if not id:
            said = refusal(response)
            raise Failure(
                Rejected(
                    code=said.code,
                    message=f"{what} was not made: {response.status} {said.code} {said.message}",
                )
            )
        return id

    def _note(self, what: str, type_: str, response: Response) -> str:
        """The id of what a call made, to be deleted; empty when it made nothing."""
        id = location_id(response) if 200 <= response.status < 300 else ""
        if id and (what, f"{type_}/{id}") not in self._made:
            self._made.append((what, f"{type_}/{id}"))
        return id

    async def _shared(self, what: str, make: Callable[[], Awaitable[str]]) -> str:
        if what not in self._known:
            self._known[what] = await make()
        return str(self._known[what])

    def _subsidiary(self) -> str:
        """One without approval routing where there is one."""
        known = sorted({*self._config.currencies, *self._config.entities})
        plain = [one for one in known if self._config.approval.get(one, "off") == "off"]
        return next(iter(plain or known), "1")

    def _customer_body(self, subsidiary: str, name: str = "") -> dict[str, Any]:
        return {
            "companyName": f"tieout certify {self._run} {name}".strip(),
            "subsidiary": {"id": subsidiary},
        }

    async def _customer(self, subsidiary: str = "") -> str:
        where = subsidiary or self._subsidiary()
        body = self._customer_body(where, where)
        return await self._shared(f"customer {where}", lambda: self._make("customer", "customer", body))

    async def _invoice_body(self, key: str, subsidiary: str = "", **more: Any) -> dict[str, Any]:
        where = subsidiary or self._subsidiary()
        items = await self._catalogue.code_tables.table("item")
        if not items.ids:
            raise Failure(
                Rejected(code="no_item", message="the account has no active item to put on an invoice")
            )
        line = {"item": {"id": next(iter(items.ids.values()))}, "quantity": 3, "amount": 100}
        return {
            "externalId": f"CERTIFY-{self._run}-{key}",
            "entity": {"id": await self._customer(where)},
            "subsidiary": {"id": where},
            "tranDate": (await self._open_day()).isoformat(),
            "item": {"items": [line | {"taxDetailsReference": "L1"}]},
            "taxDetailsOverride": True,
            "taxDetails": {"items": []},
            **more,
        }

    async def _open_day(self) -> date:
        """Today where its period is open, else the first day of an open period. Raises Failure."""
        today = self._world.clock.now().date()
        periods = [one for one in await self._periods() if one.status == "open"]
        if not periods:
            raise Failure(Rejected(code="no_period", message="no accounting period is open"))
        return today if any(one.start <= today <= one.end for one in periods) else periods[-1].start

    async def _periods(self) -> tuple[AccountingPeriod, ...]:
        return await self._catalogue.known_periods()

    async def _invoice(self) -> str:
        async def make() -> str:
            return await self._make("invoice", "invoice", await self._invoice_body("1"))

        return await self._shared("invoice", make)

    async def _bank(self) -> str:
        accounts = (await self._catalogue.code_tables.table("account")).rows
        banks = [id for id, row in accounts.items() if row.get("accttype") == "Bank"]
        if not banks:
            raise Failure(Rejected(code="no_bank", message="the account shows no bank account"))
        return banks[0]

    async def _payment(self) -> str:
        async def make() -> str:
            await self._invoice()
            return await self._make("payment", "customerPayment", {
                "externalId": f"CERTIFY-{self._run}-P",
                "customer": {"id": await self._customer()},
                "subsidiary": {"id": self._subsidiary()},
                "tranDate": (await self._open_day()).isoformat(),
                "account": {"id": await self._bank()},
                "payment": 60,
                "autoApply": False,
            })  # fmt: skip

        return await self._shared("payment", make)

    # -- probes: records ------------------------------------------------------------------------------------------
    async def _token_account(self) -> Verdict:
        account = token_account((await self._client._sign_in.token()).value)  # noqa: SLF001 - our own client's
        if not account:
            return seen(False, "the access token names no account")
        same = canonical_account(account) == canonical_account(self._config.account)
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
        self._client.extra = {"x-netsuite-idempotency-key": f"certify-{self._run}"}
        try:
            for number in ("one", "two"):
                body = self._customer_body(self._subsidiary(), f"key {number}")
                ids.append(await self._make("customer", "customer", body))
        finally:
            self._client.extra = {}
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
            rows = await self._client.query(query, operation="certify")
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
        rows = await self._client.query(query, operation="certify")
        row = {name: value for name, value in rows[0].items() if name != "links"} if rows else {}
        held = (
            bool(row)
            and all(isinstance(value, str) for value in row.values())
            and row.get("posting") in ("T", "F")
            and "memo" not in row
        )
        return seen(held, f"a number, a boolean and a null come as {row}")

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
        rows = await self._client.query(query, operation="certify")
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
        row = (await self._client.query(query, operation="certify"))[0]
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

    # -- afterwards -----------------------------------------------------------------------------------------------
    async def clean_up(self) -> tuple[str, ...]:
        """Delete, the youngest first; what cannot be deleted is told."""
        left = []
        for what, path in reversed(self._made):
            try:
                response = await self._client.record("DELETE", path)
            except Failure as failure:
                left.append(f"{what} {path}: {failure}")
                continue
            if response.status not in (200, 204, 404):
                said = refusal(response)
                left.append(f"{what} {path}: {response.status} {said.code} {said.message}")
        self._made.clear()
        return tuple(left)


def _probe(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    return Probe(behaviour=f"netsuite.{id}", run=run, makes=makes)
