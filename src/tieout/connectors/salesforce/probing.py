"""What the probes of `tieout certify` stand on: the connector's own client, and records made and deleted again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from tieout.canonical.outcome import Failure, Misconfigured, OutcomeUnknown, RateLimited, Rejected, Transient
from tieout.connectors.contract import Probe, Verdict, World
from tieout.connectors.http import BadBody, Tapped, decode_json
from tieout.connectors.salesforce import soql
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.config import SalesforceConfig, resolve_names
from tieout.ports import Response, TransportError

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Calls:
    """Calls through the connector's own client."""

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        self.tapped = Tapped(world.transport)
        self.client = Client(name, config, msgspec.structs.replace(world, transport=self.tapped))

    async def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Response | Rejected:
        """One write below the data API's root. Raises Failure for what says nothing about it."""
        raw = b"" if body is None else _encode(body)
        answer = await self.client.write(method, self.client.data + path, raw, "certify", "")
        match answer:
            case Response() | Rejected():
                return answer
            case OutcomeUnknown(reason=reason):
                raise Failure(Transient(reason=reason))
            case Transient() | RateLimited() | Misconfigured():
                raise Failure(answer)
        raise TypeError(f"a raw write was answered with {type(answer).__name__}")

    async def with_session(self, token: str, method: str, path: str, body: Mapping[str, Any]) -> Response:
        """One call under a session of the caller's choice. Raises Failure."""
        base = (await self.client.token()).base_url
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        try:
            return await self.client.http.exchange(
                method,
                base + self.client.data + path,
                headers=headers,
                body=_encode(body),
                operation="certify",
            )
        except TransportError as error:
            self.client.http.read_failed(error)


class Records:
    """The records of one run."""

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        self.calls = Calls(name, config, world)
        self.world = world
        self.config = config
        self.names = resolve_names(config)
        self.run = world.chance.token(6).hex()
        self._made: list[tuple[str, str]] = []
        self._account = ""

    # -- what probes share ----------------------------------------------------------------------------------------
    def mirror(self, key: str) -> str:
        names = self.names
        return f"/sobjects/{names.mirror_object}/{names.mirror_external_id}/{quote(key, safe='')}"

    def key(self, what: str) -> str:
        return f"certify-{self.run}-{what}"

    async def put(self, key: str, number: str) -> Response | Rejected:
        """One upsert of a mirror record; what it makes is deleted at the end."""
        response = await self.calls.ask("PATCH", self.mirror(key), self.fields(number))
        if status_of(response) in (200, 201):
            self.note(self.names.mirror_object, str(answered(response).get("id", "")))
        return response

    def fields(self, number: str) -> dict[str, str]:
        """What a mirror record of this run is given beside its key."""
        names = self.names
        body = {names.mirror_number: number} if names.mirror_number else {names.mirror_status: "open"}
        return body | ({self.config.currency_field: self.config.default_currency}
                       if self.config.currency_field and self.config.default_currency else {})  # fmt: skip

    def note(self, sobject: str, id: str) -> None:
        """Have a record deleted at the end."""
        if id and (sobject, id) not in self._made:
            self._made.append((sobject, id))

    async def create(self, sobject: str, body: Mapping[str, Any]) -> str:
        """The id of a new record, which is deleted at the end. Raises Failure."""
        response = await self.calls.ask("POST", f"/sobjects/{sobject}", body)
        if not isinstance(response, Response) or response.status != 201:
            raise Failure(Rejected(code="not_made", message=f"{sobject} was not made: {words_of(response)}"))
        id = str(answered(response)["id"])
        self.note(sobject, id)
        return id

    async def patch(self, sobject: str, id: str, body: Mapping[str, Any]) -> str:
        """Change one record; why it could not be, or nothing. Raises Failure."""
        response = await self.calls.ask("PATCH", f"/sobjects/{sobject}/{id}", body)
        return words_of(response) if isinstance(response, Rejected) else ""

    async def account(self) -> str:
        """The id of the run's account. Raises Failure."""
        if not self._account:
            self._account = await self.create("Account", {"Name": f"tieout certify {self.run}"})
        return self._account

    async def price(self) -> dict[str, Any]:
        """A standard price of the org. Raises Failure."""
        columns = soql.columns("Id", "Pricebook2Id", self.config.currency_field)
        prices = await self.rows(
            f"SELECT {columns} FROM PricebookEntry WHERE IsActive = true AND Pricebook2.IsStandard = true LIMIT 1"
        )
        if not prices:
            raise Failure(Rejected(code="no_price", message="no standard price is shown"))
        return prices[0]

    async def rows(self, query: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        return await self.calls.client.rows(query, "certify", deleted=deleted)

    async def of_key(self, key: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        names = self.names
        where = f"{names.mirror_external_id} = {soql.quoted(key)}"
        return await self.rows(
            f"SELECT Id, IsDeleted FROM {names.mirror_object} WHERE {where}", deleted=deleted
        )

    # -- afterwards -----------------------------------------------------------------------------------------------
    async def delete(self, sobject: str, id: str) -> str:
        """Delete one record; why it could not be, or nothing. Raises Failure."""
        try:
            response = await self.calls.ask("DELETE", f"/sobjects/{sobject}/{id}")
        except Failure as failure:
            return str(failure)
        if isinstance(response, Rejected) and response.code not in ("NOT_FOUND", "ENTITY_IS_DELETED"):
            return words_of(response)
        self._made = [one for one in self._made if one != (sobject, id)]
        return ""

    async def clean_up(self) -> tuple[str, ...]:
        """Delete, the youngest first; what cannot be deleted is told."""
        left, count = [], len(self._made)
        for sobject, id in reversed(list(self._made)):
            if why := await self.delete(sobject, id):
                left.append(f"{sobject} {id}: {why}")
        self._made.clear()
        return (*left, "what was deleted stays in the recycle bin for 15 days") if count else tuple(left)


def answered(response: Response | Rejected) -> dict[str, Any]:
    """The JSON object of an answer. Raises Failure for a refusal."""
    if not isinstance(response, Response):
        raise Failure(response)
    if not response.body:
        return {}
    try:
        found: dict[str, Any] = decode_json(response.body)
    except BadBody as error:
        raise Failure(Rejected(code=str(response.status), message=str(error))) from error
    return found


def status_of(answer: Response | Rejected) -> int:
    """The status of an answer; 0 of a refusal."""
    return answer.status if isinstance(answer, Response) else 0


def words_of(answer: Response | Rejected) -> str:
    """Status, or errorCode and words."""
    return str(answer.status) if isinstance(answer, Response) else f"{answer.code} {answer.message}".strip()


def probe_of(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    """The probe of one of our behaviours."""
    return Probe(behaviour=f"salesforce.{id}", run=run, makes=makes)
