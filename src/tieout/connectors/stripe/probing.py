"""What the probes of `certification.py` stand on: the client, and the objects that they make once and take away."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec

from tieout.canonical.outcome import Failure, Rejected
from tieout.connectors.contract import World
from tieout.connectors.http import BadBody, decode_json
from tieout.connectors.stripe.client import Client, replayed
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.mapping import moment
from tieout.connectors.stripe.wire import Error
from tieout.ports import TransportError

DAY = 86_400
BACKDATED_DAYS = 40
MARK = "tieout_certify"


class Answer(msgspec.Struct, frozen=True):
    """Status and JSON object of one call; `replayed` by the vendor's idempotency store."""

    status: int
    body: dict[str, Any]
    replayed: bool = False

    @property
    def words(self) -> str:
        """A refusal in the vendor's words."""
        error = msgspec.convert(self.body.get("error") or {}, Error)
        return f"{self.status} {error.code or error.type}".strip()


class Prober(Client):
    """The connector's own client, for calls that the connector itself never makes."""

    async def call(
        self, method: str, where: str, form: Mapping[str, str] | None = None, *, key: str = ""
    ) -> Answer:
        """One call. 400, 402, 404 and 409 are answers; raises Failure for everything that says nothing."""
        self._check_mode()
        query, body = ("", b"") if method == "POST" else (urlencode(form or {}), b"")
        if method == "POST":
            body = urlencode(form or {}).encode()
        headers = {**self._form, "Idempotency-Key": key} if key else self._form
        try:
            response = await self.http.exchange(
                method,
                f"{self._url}{where}?{query}" if query else self._url + where,
                headers=headers if method == "POST" else self._headers,
                body=body,
                operation="certify",
                timeout_seconds=self.config.timeout_seconds,
            )
        except TransportError as error:
            self.http.read_failed(error)
        if response.status not in (200, 400, 402, 404, 409):
            self._unanswered(where, response)
        try:
            found = decode_json(response.body)
        except BadBody as error:
            raise Failure(Rejected(code=str(response.status), message=str(error))) from error
        self.check_livemode(found.get("livemode"))
        return Answer(response.status, found, replayed(response))


class Objects:
    """The objects of one run, each made when the first probe needs it."""

    def __init__(self, name: str, config: StripeConfig, world: World) -> None:
        self._client = Prober(name, config, world)
        self._config = config
        self._world = world
        self._run = world.chance.token(6).hex()
        self._known: dict[str, dict[str, Any]] = {}
        self._undo: list[tuple[str, str, str, dict[str, str], str]] = []

    # -- what probes share ----------------------------------------------------------------------------------------
    async def _made(self, what: str, where: str, form: Mapping[str, str]) -> dict[str, Any]:
        """A new object. Raises Failure when the vendor does not make it."""
        marked = {**form, f"metadata[{MARK}]": self._run}
        answer = await self._client.call("POST", where, marked, key=f"certify-{self._run}-{what}")
        if answer.status != 200:
            raise Failure(Rejected(code=str(answer.status), message=f"{what} was not made: {answer.words}"))
        return answer.body

    async def _shared(self, what: str, make: Callable[[], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
        if what not in self._known:
            self._known[what] = await make()
        return self._known[what]

    def _later(
        self,
        what: str,
        where: str,
        *,
        method: str = "POST",
        form: dict[str, str] | None = None,
        leaves: str = "",
    ) -> None:
        self._undo.append((what, method, where, form or {}, leaves))

    async def _currency(self) -> str:
        account = await self._shared("account", lambda: self._read("/v1/account"))
        return str(account.get("default_currency") or "usd")

    async def _read(self, where: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        answer = await self._client.call("GET", where, query)
        if answer.status != 200:
            raise Failure(Rejected(code=str(answer.status), message=f"{where}: {answer.words}"))
        return answer.body

    def _customer_form(self) -> dict[str, str]:
        return {"name": f"tieout certify {self._run}", "email": f"certify-{self._run}@example.com"}

    async def _customer(self) -> dict[str, Any]:
        async def make() -> dict[str, Any]:
            made = await self._made("customer", "/v1/customers", self._customer_form())
            self._later("customer", f"/v1/customers/{made['id']}", method="DELETE")
            return made

        return await self._shared("customer", make)

    async def _rate(self) -> dict[str, Any]:
        async def make() -> dict[str, Any]:
            form = {"display_name": "certify", "percentage": "10", "inclusive": "false"}
            made = await self._made("tax rate", "/v1/tax_rates", form)
            inactive = f"tax rate {made['id']}, made inactive"
            self._later("tax rate", f"/v1/tax_rates/{made['id']}", form={"active": "false"}, leaves=inactive)
            return made

        return await self._shared("tax rate", make)

    async def _invoice(self) -> dict[str, Any]:
        """An open invoice: 10.00 and 10 % tax on top."""

        async def make() -> dict[str, Any]:
            customer, rate, currency = await self._customer(), await self._rate(), await self._currency()
            form = {"customer": customer["id"], "currency": currency, "collection_method": "send_invoice"}
            form |= {"days_until_due": "30", "auto_advance": "false"}
            made = await self._made("invoice", "/v1/invoices", form)
            item = {"customer": customer["id"], "invoice": made["id"], "amount": "1000", "currency": currency}
            await self._made("invoice item", "/v1/invoiceitems", {**item, "tax_rates[0]": rate["id"]})
            return await self._open_invoice(made["id"])

        return await self._shared("invoice", make)

    async def _billed(self, what: str, customer: str, amount: int, *, stays: str = "") -> dict[str, Any]:
        """A finalised invoice of one line without tax; it is voided at the end, or `stays` says as what it stays."""
        currency = await self._currency()
        form = {"customer": customer, "currency": currency, "collection_method": "send_invoice"}
        form |= {"days_until_due": "30", "auto_advance": "false"}
        made = await self._made(f"invoice {what}", "/v1/invoices", form)
        item = {"customer": customer, "invoice": made["id"], "amount": str(amount), "currency": currency}
        await self._made(f"invoice item {what}", "/v1/invoiceitems", item)
        return await self._open_invoice(made["id"], stays=stays)

    async def _open_invoice(self, id: str, *, stays: str = "") -> dict[str, Any]:
        """An invoice as it stands once it is finalised; it is voided at the end (a draft of a subscription cannot be
        deleted)."""
        where = f"/v1/invoices/{id}"
        if stays:
            self._undo.append(("invoice", "", "", {}, f"invoice {id}, {stays}"))
        else:
            self._later("invoice", f"{where}/void", leaves=f"invoice {id}, voided")
        invoice = await self._read(where)
        if invoice["status"] != "draft":
            return invoice
        answer = await self._client.call("POST", f"{where}/finalize", {"auto_advance": "false"})
        if answer.status != 200:
            raise Failure(Rejected(code=str(answer.status), message=f"not finalised: {answer.words}"))
        return answer.body

    async def _product(self) -> dict[str, Any]:
        async def make() -> dict[str, Any]:
            made = await self._made("product", "/v1/products", {"name": f"tieout certify {self._run}"})
            left = f"product {made['id']}, made inactive"
            self._later("product", f"/v1/products/{made['id']}", form={"active": "false"}, leaves=left)
            return made

        return await self._shared("product", make)

    async def _price(self, prefix: str, *, recurs: bool) -> dict[str, str]:
        form = {
            f"{prefix}[currency]": await self._currency(),
            f"{prefix}[product]": str((await self._product())["id"]),
            f"{prefix}[unit_amount]": "1000",
        }
        return form | ({f"{prefix}[recurring][interval]": "month"} if recurs else {})

    async def _subscription(self) -> dict[str, Any]:
        """Monthly, begun forty days ago, with a one-time line."""

        async def make() -> dict[str, Any]:
            customer = await self._customer()
            start = backdated(int(customer["created"]))
            form = {
                "customer": customer["id"],
                "collection_method": "send_invoice",
                "days_until_due": "30",
                "billing_mode[type]": "flexible",
                "backdate_start_date": str(start),
                "billing_cycle_anchor_config[day_of_month]": str(moment(start).day),
                "metadata[probe]": "before",
                "add_invoice_items[0][metadata][probe]": "once",
                **await self._price("items[0][price_data]", recurs=True),
                **await self._price("add_invoice_items[0][price_data]", recurs=False),
            }
            made = await self._made("subscription", "/v1/subscriptions", form)
            self._later("subscription", f"/v1/subscriptions/{made['id']}", method="DELETE",
                        leaves=f"subscription {made['id']}, cancelled")  # fmt: skip
            first = made["latest_invoice"]
            invoice = await self._open_invoice(first if isinstance(first, str) else first["id"])
            return {**made, "_start": start, "_invoice": invoice}

        return await self._shared("subscription", make)

    async def _record(self) -> dict[str, Any]:
        async def make() -> dict[str, Any]:
            return await self._reported("payment record", await self._currency(), 100)

        return await self._shared("payment record", make)

    async def _reported(self, what: str, currency: str, amount: int) -> dict[str, Any]:
        """A payment that was made elsewhere three days ago, and is guaranteed."""
        paid = int((await self._customer())["created"]) - 3 * DAY
        form = {
            "amount_requested[currency]": currency,
            "amount_requested[value]": str(amount),
            "initiated_at": str(paid),
            "outcome": "guaranteed",
            "guaranteed[guaranteed_at]": str(paid),
            "payment_method_details[type]": "custom",
            "payment_method_details[custom][display_name]": "certify",
        }
        made = await self._made(what, "/v1/payment_records/report_payment", form)
        self._undo.append((what, "", "", {}, f"payment record {made['id']}: none can be deleted"))
        return {**made, "_paid": paid}

    # -- afterwards -----------------------------------------------------------------------------------------------
    async def clean_up(self) -> tuple[str, ...]:
        """Void, cancel, delete, in the opposite order; what stays is told."""
        left: list[str] = []
        for what, method, where, form, leaves in reversed(self._undo):
            if not method:
                left.append(leaves)
                continue
            try:
                answer = await self._client.call(method, where, form)
                void = where.removesuffix("/void")
                gone = answer.status == 200 or (
                    void != where and (await self._read(void))["status"] == "void"
                )
            except Failure as failure:
                left.append(f"{what} {where}: {failure}")
                continue
            if gone:
                left += [leaves] if leaves else []
            else:
                left.append(f"{what} {where}: {answer.words}")
        self._undo.clear()
        return tuple(left)


def recurs(line: Mapping[str, Any]) -> bool:
    """Whether an invoice line is of a subscription item, not of a one-time item."""
    return (line.get("parent") or {}).get("type") == "subscription_item_details"


def backdated(now: int) -> int:
    """A start over a month ago, on a day that every month has."""
    start = now - BACKDATED_DAYS * DAY
    return start - max(0, moment(start).day - 28) * DAY
