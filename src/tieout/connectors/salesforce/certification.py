"""Probes of what we rely on Salesforce to do, for `tieout certify`: in a sandbox, with records of their own.

Records are deleted at the end; what was deleted stays in the recycle bin for fifteen days.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from urllib.parse import quote

import msgspec

from tieout.canonical.outcome import Failure, Misconfigured, OutcomeUnknown, RateLimited, Rejected, Transient
from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.http import BadBody, Tapped, decode_json
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.client import Client
from tieout.connectors.salesforce.config import SalesforceConfig, resolve_names
from tieout.ports import Response, TransportError

_encode = msgspec.json.Encoder(decimal_format="number").encode
# https://login.../id/<organisation>/<user>
_IDENTITY = re.compile(r"/id/00D[A-Za-z0-9]{15}/005[A-Za-z0-9]{12,15}$")
MOST_TRIES = 3

UNTESTABLE = {
    "salesforce.row_lock_not_done": "needs another transaction that holds the row at that moment",
    "salesforce.request_limit_403": "would use up the allowance of the whole org",
    "salesforce.stamp_before_commit": "needs a transaction that runs long; the sweep reads an overlap again",
    "salesforce.subselect_pages": "needs a parent with more lines than fit on a page",
    "salesforce.longest_write": "shows only when an answer is lost",
}


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


class SalesforceCertification:
    """`Certification` of one org."""

    def __init__(self, name: str, config: SalesforceConfig, world: World) -> None:
        self._client = Calls(name, config, world)
        self._config = config
        self._names = resolve_names(config)
        self._run = world.chance.token(6).hex()
        self._made: list[tuple[str, str]] = []
        self._line: dict[str, Any] | None = None
        self.untestable: Mapping[str, str] = UNTESTABLE
        mirror = self._names.mirror_object
        deal = ("an account", "an opportunity with two lines, one of which is deleted")
        self.probes = (
            _probe("org_in_id_url", self._identity_url),
            _probe("session_expired_401", self._ended_session),
            _probe("upsert_by_external_id", self._upsert, (f"a record of {mirror}",)),
            _probe("concurrent_upsert_duplicate_value", self._race, (f"{MOST_TRIES} records of {mirror}",)),
            _probe("query_all_shows_deleted", self._deleted_row, (f"a record of {mirror}, deleted",)),
            _probe("composite_queries", self._composite),
            _probe("line_total_rounded", self._line_total, deal),
            _probe("deleted_line_keeps_parent", self._deleted_line, deal),
            _probe("query_all_subselect_shows_deleted", self._deleted_child, deal),
        )

    # -- what probes share ----------------------------------------------------------------------------------------
    def _mirror(self, key: str) -> str:
        names = self._names
        return f"/sobjects/{names.mirror_object}/{names.mirror_external_id}/{quote(key, safe='')}"

    def _key(self, what: str) -> str:
        return f"certify-{self._run}-{what}"

    async def _put(self, key: str, number: str) -> Response | Rejected:
        """One upsert of a mirror record; what it makes is deleted at the end."""
        response = await self._client.ask("PATCH", self._mirror(key), self._fields(number))
        if _status(response) in (200, 201):
            self._note(self._names.mirror_object, str(_object(response).get("id", "")))
        return response

    def _fields(self, number: str) -> dict[str, str]:
        names = self._names
        body = {names.mirror_number: number} if names.mirror_number else {names.mirror_status: "open"}
        return body | ({self._config.currency_field: self._config.default_currency}
                       if self._config.currency_field and self._config.default_currency else {})  # fmt: skip

    def _note(self, sobject: str, id: str) -> None:
        if id and (sobject, id) not in self._made:
            self._made.append((sobject, id))

    async def _create(self, sobject: str, body: Mapping[str, Any]) -> str:
        response = await self._client.ask("POST", f"/sobjects/{sobject}", body)
        if not isinstance(response, Response) or response.status != 201:
            raise Failure(Rejected(code="not_made", message=f"{sobject} was not made: {_shown(response)}"))
        id = str(_object(response)["id"])
        self._note(sobject, id)
        return id

    async def _rows(self, query: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        return await self._client.client.rows(query, "certify", deleted=deleted)

    async def _of_key(self, key: str, *, deleted: bool = False) -> list[dict[str, Any]]:
        names = self._names
        where = f"{names.mirror_external_id} = {soql.quoted(key)}"
        return await self._rows(
            f"SELECT Id, IsDeleted FROM {names.mirror_object} WHERE {where}", deleted=deleted
        )

    # -- probes: sign-in and records ------------------------------------------------------------------------------
    async def _identity_url(self) -> Verdict:
        await self._client.client.token()
        told = self._client.tapped.answers["sign_in"]
        url = wire.decode(wire.TOKEN, told.body).id
        return seen(bool(_IDENTITY.search(url)), f"the id URL ends in {'/'.join(url.split('/')[-2:])}")

    async def _ended_session(self) -> Verdict:
        key = self._key("ended")
        token = f"{(await self._client.client.token()).organisation[:15]}!ended"
        response = await self._client.with_session(token, "PATCH", self._mirror(key), self._fields("none"))
        code, _ = wire.read_error(response)
        made = await self._of_key(key)
        for row in made:
            self._note(self._names.mirror_object, str(row["Id"]))
        told = f"a write without a session: {response.status} {code}, records made: {len(made)}"
        return seen(response.status == 401 and code == "INVALID_SESSION_ID" and not made, told)

    async def _upsert(self) -> Verdict:
        key = self._key("upsert")
        first, second = await self._put(key, "one"), await self._put(key, "two")
        found = len(await self._of_key(key))
        told = f"{_shown(first)}, then {_shown(second)}; records under the key: {found}"
        return seen(_status(first) == 201 and _status(second) in (200, 204) and found == 1,
                    told + "; 300 needs a key that is not unique")  # fmt: skip

    async def _race(self) -> Verdict:
        """Two upserts of one new key at once. Where both come through one after the other, nothing was shown."""
        for attempt in range(MOST_TRIES):
            key = self._key(f"race-{attempt}")
            answers = await asyncio.gather(self._put(key, "one"), self._put(key, "two"))
            found = len(await self._of_key(key))
            refused = [one for one in answers if isinstance(one, Rejected)]
            told = f"{', '.join(map(_shown, answers))}; records under the key: {found}"
            if found != 1:
                return seen(False, told)
            if refused:
                codes = {one.code for one in refused}
                again = await self._put(key, "three")
                return seen(codes == {"DUPLICATE_VALUE"} and _status(again) in (200, 204), told)
        return untestable(f"no collision in {MOST_TRIES} tries: one record each time")

    async def _deleted_row(self) -> Verdict:
        key = self._key("deleted")
        made = await self._put(key, "one")
        if not isinstance(made, Response) or made.status != 201:
            return untestable(f"no record was made: {_shown(made)}")
        gone = await self._delete(self._names.mirror_object, str(_object(made)["id"]))
        if gone:
            return untestable(f"the record cannot be deleted: {gone}")
        plain, everything = await self._of_key(key), await self._of_key(key, deleted=True)
        shows = [bool(row.get("IsDeleted")) for row in everything] == [True]
        return seen(shows and not plain, f"once deleted: query {len(plain)}, queryAll {len(everything)}")

    async def _composite(self) -> Verdict:
        """Others may call the org meanwhile: one of several tries that counts one call is enough."""
        queries = {f"q{number}": "SELECT Id FROM Organization LIMIT 1" for number in range(5)}
        counted = []
        for _ in range(MOST_TRIES):
            await self._rows(queries["q0"])
            before = self._client.client.usage
            pages, _ = await self._client.client.first_pages(queries, "certify")
            after = self._client.client.usage
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
            account = await self._create("Account", {"Name": f"tieout certify {self._run}"})
            currency = self._config.currency_field
            columns = soql.columns("Id", "Pricebook2Id", currency)
            prices = await self._rows(
                f"SELECT {columns} FROM PricebookEntry WHERE IsActive = true AND Pricebook2.IsStandard = true LIMIT 1"
            )
            stages = await self._rows(
                "SELECT ApiName FROM OpportunityStage WHERE IsActive = true AND IsClosed = false"
            )
            if not prices or not stages:
                raise Failure(
                    Rejected(code="no_price", message="no standard price or no open stage is shown")
                )
            body = {
                "Name": f"tieout certify {self._run}",
                "AccountId": account,
                "StageName": stages[0]["ApiName"],
                "CloseDate": self._client.client.http.now().date().isoformat(),
                "Pricebook2Id": prices[0]["Pricebook2Id"],
            }
            opportunity = await self._create(
                "Opportunity", body | ({currency: prices[0][currency]} if currency else {})
            )
            lines = []
            for quantity in (3, 2):
                line = {
                    "OpportunityId": opportunity,
                    "PricebookEntryId": prices[0]["Id"],
                    "Quantity": quantity,
                }
                discounted = {"UnitPrice": Decimal("33.33"), "Discount": Decimal("12.5")}
                lines.append(await self._create("OpportunityLineItem", line | discounted))
            refused = await self._delete("OpportunityLineItem", lines[1])
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
        row = (await self._rows(query + soql.quoted(deal["kept"])))[0]
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
        rows = await self._rows(query + soql.quoted(deal["deleted"]), deleted=True)
        kept = [str(row.get("OpportunityId")) for row in rows]
        return seen(kept == [deal["opportunity"]], f"a deleted line, filtered by its deal: {len(rows)} row, deal kept: "
                    f"{kept == [deal['opportunity']]}")  # fmt: skip

    async def _deleted_child(self) -> Verdict:
        deal = await self._deal()
        if deal["refused"]:
            return untestable(f"the line cannot be deleted: {deal['refused']}")
        query = "SELECT Id, (SELECT Id, IsDeleted FROM OpportunityLineItems) FROM Opportunity WHERE Id = "
        row = (await self._rows(query + soql.quoted(deal["opportunity"]), deleted=True))[0]
        lines = (row.get("OpportunityLineItems") or {}).get("records") or []
        return seen(len(lines) == 2, f"lines in the sub-select, one of two deleted: {len(lines)}")

    # -- afterwards -----------------------------------------------------------------------------------------------
    async def _delete(self, sobject: str, id: str) -> str:
        """Delete one record; why it could not be, or nothing. Raises Failure."""
        try:
            response = await self._client.ask("DELETE", f"/sobjects/{sobject}/{id}")
        except Failure as failure:
            return str(failure)
        if isinstance(response, Rejected) and response.code not in ("NOT_FOUND", "ENTITY_IS_DELETED"):
            return _shown(response)
        self._made = [one for one in self._made if one != (sobject, id)]
        return ""

    async def clean_up(self) -> tuple[str, ...]:
        """Delete, the youngest first; what cannot be deleted is told."""
        left, count = [], len(self._made)
        for sobject, id in reversed(list(self._made)):
            if why := await self._delete(sobject, id):
                left.append(f"{sobject} {id}: {why}")
        self._made.clear()
        return (*left, "what was deleted stays in the recycle bin for 15 days") if count else tuple(left)


def _object(response: Response | Rejected) -> dict[str, Any]:
    if not isinstance(response, Response):
        raise Failure(response)
    if not response.body:
        return {}
    try:
        found: dict[str, Any] = decode_json(response.body)
    except BadBody as error:
        raise Failure(Rejected(code=str(response.status), message=str(error))) from error
    return found


def _status(answer: Response | Rejected) -> int:
    return answer.status if isinstance(answer, Response) else 0


def _shown(answer: Response | Rejected) -> str:
    """Status, or errorCode and words."""
    return str(answer.status) if isinstance(answer, Response) else f"{answer.code} {answer.message}".strip()


def _probe(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    return Probe(behaviour=f"salesforce.{id}", run=run, makes=makes)
