"""What the probes of `certification.py` stand on: the client, and the records that they make once and delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec

from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.contract import World
from tieout.connectors.http import Tapped
from tieout.connectors.netsuite.catalogue import Catalogue
from tieout.connectors.netsuite.client import NetSuiteClient
from tieout.connectors.netsuite.config import NetSuiteConfig
from tieout.connectors.netsuite.refusals import refusal
from tieout.connectors.netsuite.wire import Row
from tieout.connectors.netsuite.writing import location_id
from tieout.ports import Response, TransportError

_records = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal)


class Calls:
    """Calls through the connector's own client; `extra` headers go with every one."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self.tapped = Tapped(world.transport)
        self.client = NetSuiteClient(name, config, msgspec.structs.replace(world, transport=self.tapped))

    async def record(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Response:
        """One write of the record API. 200 to 299, 400, 404 are answers; raises Failure for what says nothing."""
        try:
            response = await self.client.write(method, path, document or {}, operation="certify")
        except TransportError as error:
            self.client.http.read_failed(error)
        if not (200 <= response.status < 300 or response.status in (400, 404)):
            said = refusal(response)
            self.client.http.read_status(response, said.code, said.message)
        return response

    async def shown(self, path: str) -> dict[str, Any]:
        """One record as it is. Raises NotFound, Failure."""
        return await self.client.fetch(_records, path, operation="certify")

    async def rows(self, query: str) -> list[Row]:
        """The rows of a query. Raises Failure."""
        return await self.client.query(query, operation="certify")


class Documents:
    """The records of one run, each made when the first probe needs it."""

    def __init__(self, name: str, config: NetSuiteConfig, world: World) -> None:
        self._catalogue = Catalogue(name, config, world)
        self._client = Calls(name, config, world)
        self._config = config
        self._world = world
        self._run = world.chance.token(5).hex()
        self._known: dict[str, Any] = {}
        self._made: list[tuple[str, str]] = []

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
