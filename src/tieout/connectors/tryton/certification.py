"""Probes of what we rely on Tryton to do, for `tieout certify`: in a database for tests, with records of their own.

Drafts and parties are deleted again. What is posted cannot be: one invoice of a small sum is left, and told.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from tieout.canonical.outcome import Failure, Misconfigured, RateLimited, Rejected, Transient
from tieout.connectors.contract import Probe, Verdict, World, seen, untestable
from tieout.connectors.tryton.catalogue import Catalogue
from tieout.connectors.tryton.client import NotDone
from tieout.connectors.tryton.config import TrytonConfig
from tieout.connectors.tryton.wire import Row, request_body

NET, TAX = (
    Decimal(1000),
    Decimal(123),
)  # whole units: sums that every currency can hold, and a tax that no rate gives
UNTESTABLE = {
    "tryton.lock-503": "shows only where several post at one moment, and would hold up others who work there",
    "tryton.longest-execution": "shows only when an answer is lost",
}


class TrytonCertification:
    """`Certification` of one user and database: in the first of the user's companies."""

    def __init__(self, name: str, config: TrytonConfig, world: World) -> None:
        # The server's questions are answered by the probe that asks for them, and by nothing else.
        self._catalogue = Catalogue(name, msgspec.structs.replace(config, warnings=()), world)
        self._client = self._catalogue.client
        self._config = config
        self._world = world
        self._run = world.chance.token(5).hex()
        self._known: dict[str, int] = {}
        self._made: list[tuple[str, int]] = []
        self.untestable: Mapping[str, str] = UNTESTABLE
        party, draft = ("a party",), ("a party", "a draft of an invoice")
        posted = (*draft, "which is posted and cannot be deleted")
        self.probes = (
            _probe("session-401", self._session),
            _probe("party-code-unique", self._code, party),
            _probe("call-is-transaction", self._transaction, ("two parties in one call, which is refused",)),
            _probe("reference-not-unique", self._reference, ("a party", "two drafts under one reference")),
            _probe("number-read-only", self._number, (*draft, "with a number, if it is taken")),
            _probe("revenue-only", self._revenue, (*draft, "on the receivables account, if it is taken")),
            _probe("manual-tax", self._manual_tax, (*draft, "with a tax of its own")),
            _probe("warning-by-name", self._warning, posted),
            _probe("sequence-dates", self._dates, (*posted, "another draft, dated a day earlier")),
        )

    # -- probes ---------------------------------------------------------------------------------------------------
    async def _session(self) -> Verdict:
        user = self._config.username
        token = base64.b64encode(f"{user}:1:no-such-session".encode()).decode()
        body = request_body("model.res.user.get_preferences", (True, {}))
        response = await self._client.http.exchange(
            "POST",
            self._config.endpoint,
            headers={"content-type": "application/json", "authorization": f"Session {token}"},
            body=body,
            operation="certify",
            timeout_seconds=self._config.timeout_seconds,
        )
        return seen(response.status == 401, f"a session that there is not: {response.status}")

    async def _code(self) -> Verdict:
        await self._party()
        refused = await self._refusal("party.party", [self._party_body(self._run)])
        return seen(refused is not None, f"a second party under one code: {_told(refused)}")

    async def _transaction(self) -> Verdict:
        code = f"{self._run}-T"
        refused = await self._refusal("party.party", [self._party_body(code), self._party_body(code)])
        if refused is None:
            return untestable("two parties under one code were taken in one call")
        left = await self._rows("party.party", [["code", "=", code]], ["code"])
        return seen(not left, f"two parties, the second refused: {len(left)} of them stand")

    async def _reference(self) -> Verdict:
        ids = [await self._invoice(f"draft {number}", reference=f"{self._run}-R") for number in (1, 2)]
        found = await self._rows("account.invoice", [["reference", "=", f"{self._run}-R"]], ["state"])
        return seen(len(found) == len(set(ids)) == 2, f"two drafts under one reference: {len(found)} stand")

    async def _number(self) -> Verdict:
        body = await self._invoice_body(number=f"{self._run}-N")
        refused = await self._refusal("account.invoice", [body])
        return seen(refused is not None, f"an invoice with a number from outside: {_told(refused)}")

    async def _revenue(self) -> Verdict:
        body = await self._invoice_body()
        line = {**body["lines"][0][1][0], "account": body["account"]}
        refused = await self._refusal("account.invoice", [{**body, "lines": [["create", [line]]]}])
        return seen(refused is not None, f"a line on the receivables account: {_told(refused)}")

    async def _manual_tax(self) -> Verdict:
        taxes = (await self._catalogue.code_tables.table("tax_code", await self._company())).rows
        tax = next((row for row in taxes.values() if row.get("invoice_account")), None)
        if tax is None:
            return untestable("the company has no tax with an account")
        line = {
            "manual": True,
            "description": "certify",
            "tax": tax["id"],
            "account": tax["invoice_account"],
            "base": NET,
            "amount": TAX,
        }
        id = await self._invoice("draft with a tax", taxes=[["create", [line]]])
        row = await self._shown(id, "total_amount", "tax_amount")
        held = (row["tax_amount"], row["total_amount"]) == (TAX, NET + TAX)
        return seen(held, f"{NET} and a tax of {TAX}: tax {row['tax_amount']}, total {row['total_amount']}")

    async def _warning(self) -> Verdict:
        id = await self._invoice("invoice", payment_term_date=self._today() - timedelta(days=1))
        asked = await self._post(id)
        state = (await self._shown(id, "state"))["state"]
        if asked is None or asked.code != "UserWarning":
            return seen(False, f"posting what was due yesterday: {_told(asked)}, {state}")
        record = hashlib.md5(f"account.invoice,{id}".encode(), usedforsecurity=False).hexdigest()
        name = f"{record}.invoice_payment_term"
        await self._write("res.user.warning.skip", name, False)
        refused = await self._post(id)
        if refused is None:
            self._known["posted"] = id
        left = await self._rows("res.user.warning", [["name", "=", name]], ["name"])
        told = f"asked, then {state}; answered by name: {_told(refused)}, {len(left)} answers left over"
        return seen(state == "draft" and refused is None and not left, told)

    async def _dates(self) -> Verdict:
        if "posted" not in self._known:
            return untestable("no invoice of ours is posted")
        last = (await self._shown(self._known["posted"], "invoice_date"))["invoice_date"]
        domain = [["company", "=", int(await self._company())], ["start_date", "=", last]]
        if await self._rows("account.fiscalyear", domain, ["name"]):
            return untestable("the year and its sequence began today")
        due = last + timedelta(days=30)
        earlier = last - timedelta(days=1)
        id = await self._invoice("earlier draft", invoice_date=earlier, payment_term_date=due)
        refused = await self._post(id)
        return seen(refused is not None, f"dated {earlier} after one of {last}: {_told(refused)}")

    # -- records --------------------------------------------------------------------------------------------------
    def _today(self) -> date:
        return self._world.clock.now().date()

    async def _company(self) -> str:
        companies = await self._catalogue.companies()
        if not companies:
            raise Failure(Rejected(code="no_company", message="the user has no company"))
        return companies[0]

    def _party_body(self, code: str) -> Row:
        address = [["create", [{"street": "1 Certify St"}]]]
        return {"name": f"tieout certify {code}", "code": code, "addresses": address}

    async def _party(self) -> int:
        if "party" not in self._known:
            self._known["party"] = await self._make("party", "party.party", self._party_body(self._run))
        return self._known["party"]

    async def _invoice_body(self, **more: object) -> Row:
        """A draft of today with one line; `more` goes over it. Raises Failure where the company lacks something."""
        company, tables = await self._company(), self._catalogue.code_tables
        party = await self._party()
        (row,) = await self._rows("party.party", [["id", "=", party]], ["addresses"])
        of_company = ["company", "=", int(company)]
        revenues = await self._rows(
            "account.account", [of_company, ["type.revenue", "=", True], ["closed", "!=", True]], ["code"]
        )
        receivables = await tables.receivables(company)
        period = await self._catalogue.period_on(company, self._today())
        if not revenues or not receivables or period is None or period.status != "open":
            message = "no revenue account, no receivables account, or no open period today"
            raise Failure(Rejected(code="no_books", message=message))
        currency = await tables.id("currency", await tables.currency(company), company)
        line = {
            "type": "line",
            "company": int(company),
            "currency": currency,
            "account": revenues[0]["id"],
            "description": "tieout certify",
            "quantity": 1,
            "unit_price": NET,
        }
        body: Row = {
            "type": "out",
            "company": int(company),
            "party": party,
            "invoice_address": row["addresses"][0],
            "currency": currency,
            "journal": await tables.id("journal", self._config.revenue_journal, company),
            "account": min(receivables),
            "accounting_date": self._today(),
            "payment_term_date": self._today() + timedelta(days=30),
            "lines": [["create", [line]]],
        }
        return {**body, **more}

    async def _invoice(self, what: str, **more: object) -> int:
        return await self._make(what, "account.invoice", await self._invoice_body(**more))

    async def _shown(self, id: int, *fields: str) -> Row:
        (row,) = await self._rows("account.invoice", [["id", "=", id]], list(fields))
        return row

    # -- calls ----------------------------------------------------------------------------------------------------
    async def _rows(self, model: str, domain: list[Any], fields: list[str]) -> list[Row]:
        return await self._client.rows(model, domain, fields, operation="certify")

    async def _write(self, method: str, *params: object) -> object:
        """Raises NotDone."""
        company = int(await self._company())
        return await self._client.write(f"model.{method}", *params, operation="certify", company=company)

    async def _make(self, what: str, model: str, body: Row) -> int:
        """The id of a new record, which is deleted at the end. Raises Failure when it is refused."""
        refused = await self._refusal(model, [body])
        if refused is not None:
            raise Failure(Rejected(code=refused.code, message=f"{what} was not made: {refused.message}"))
        return self._made[-1][1]

    async def _refusal(self, model: str, bodies: list[Row]) -> Rejected | None:
        """The refusal of new records, None when they were made. Raises Failure for what says nothing."""
        try:
            made = await self._write(f"{model}.create", bodies)
        except NotDone as error:
            return _refused(error)
        self._made += [(model, int(id)) for id in made] if isinstance(made, list) else []
        return None

    async def _post(self, id: int) -> Rejected | None:
        try:
            await self._write("account.invoice.post", [id])
        except NotDone as error:
            return _refused(error)
        return None

    # -- afterwards -----------------------------------------------------------------------------------------------
    async def clean_up(self) -> tuple[str, ...]:
        """Delete, the youngest first; what is posted, and the party that it names, are told."""
        left = []
        for model, id in reversed(self._made):
            try:
                await self._write(f"{model}.delete", [id])
            except NotDone as error:
                words = error.outcome.message if isinstance(error.outcome, Rejected) else str(error)
                left.append(f"{model} {id}: {words}")
            except Failure as failure:
                left.append(f"{model} {id}: {failure}")
        self._made.clear()
        return tuple(left)


def _refused(error: NotDone) -> Rejected:
    outcome = error.outcome
    if isinstance(outcome, Rejected):
        return outcome
    if isinstance(outcome, Misconfigured | RateLimited | Transient):
        raise Failure(outcome) from error
    raise Failure(Transient(reason=f"no answer that says what happened: {outcome}")) from error


def _told(refused: Rejected | None) -> str:
    return "taken" if refused is None else f"{refused.code}: {refused.message}"


def _probe(id: str, run: Callable[[], Awaitable[Verdict]], makes: tuple[str, ...] = ()) -> Probe:
    return Probe(behaviour=f"tryton.{id}", run=run, makes=makes)
