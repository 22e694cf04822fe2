"""The general ledger: periods, exchange rates, what each document posts, the trial balance.

Every posted document balances by itself, in its own currency and in its subsidiary's functional currency. Signs: debit
positive. ASSUMED (rounding): each line is converted and rounded by itself, receivables are the converted total, and
the line with the largest amount takes the rounding difference.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.errors import Refusal, user_error
from tieout_lab.twins.netsuite.state import Document, Posting, Record
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import convert

REALISED = "7100"
DEPOSITS = "2300"  # the liability in which a customer's deposit stands


class Ledger:
    """Posts documents and answers for the books."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant

    # -- periods --------------------------------------------------------------------------------------------------
    def leaf_periods(self) -> list[Record]:
        """The periods that a date falls into, in order of time. An adjustment period has to be named."""
        found = [
            p
            for p in self.tenant.state.of_type("accountingPeriod")
            if is_leaf(p) and not p.fields["isAdjust"]
        ]
        return sorted(found, key=lambda p: str(p.fields["startDate"]))

    def period_of(self, on: date) -> Record:
        """The leaf period that contains a day. Raises Refusal where the account has none."""
        iso = on.isoformat()
        for period in self.leaf_periods():
            if period.fields["startDate"] <= iso <= period.fields["endDate"]:
                return period
        raise user_error(
            f"The transaction date {iso} is not within the date range of any accounting period.",
            path="tranDate",
        )

    def is_closed(self, period: Record, subsidiary: str) -> bool:
        """Whether nobody can post to a period in a subsidiary."""
        return bool(period.fields["closed"]) or (period.id, subsidiary) in self.tenant.preferences.closed_for

    def refusal(self, period: Record, subsidiary: str, *, receivables: bool) -> Refusal | None:
        """Why the API role cannot post to a period, or None. Texts ASSUMED; the code is the documented catch-all."""
        name = period.fields["periodName"]
        if not is_leaf(period):
            return user_error(
                f"You cannot post to period {name}: it is not a posting period.", path="postingPeriod"
            )
        if self.is_closed(period, subsidiary):
            return user_error(
                f"The posting period {name} is closed. Your transaction falls within a period which has been closed. "
                "Please modify the transaction date to make it fall into a valid open period.",
                path="postingPeriod",
            )
        if self.tenant.preferences.override_periods:
            return None
        if period.fields["allLocked"] or (receivables and period.fields["arLocked"]):
            what = "All transactions are" if period.fields["allLocked"] else "A/R is"
            return user_error(
                f"{what} locked for the posting period {name}. You need the permission Override Period Restrictions "
                "to create or edit this transaction.",
                path="postingPeriod",
            )
        return None

    def check(self, period: Record, subsidiary: str, *, receivables: bool = True) -> None:
        """Refuse to post to a period that is closed or locked."""
        refused = self.refusal(period, subsidiary, receivables=receivables)
        if refused is not None:
            raise refused

    def choose_period(self, given: str | None, on: date, subsidiary: str, *, receivables: bool = True) -> str:
        """The id of the period a new document posts to."""
        if given is not None:
            period = self.tenant.state.get("accountingPeriod", given)
        else:
            period = self.period_of(on)
            first_open = self.tenant.preferences.closed_period_default == "first_open"
            if first_open and self.refusal(period, subsidiary, receivables=receivables):
                period = self.first_open(period, subsidiary, receivables=receivables)
        self.check(period, subsidiary, receivables=receivables)
        return period.id

    def first_open(self, period: Record, subsidiary: str, *, receivables: bool = True) -> Record:
        """The first period at or after one that can be posted to; that one itself where there is none."""
        later = [p for p in self.leaf_periods() if p.fields["startDate"] >= period.fields["startDate"]]
        return next((p for p in later if not self.refusal(p, subsidiary, receivables=receivables)), period)

    # -- rates ----------------------------------------------------------------------------------------------------
    def rate(self, currency: str, subsidiary: str, on: date) -> Decimal:
        """Units of functional currency for one unit of a currency, as the table has it on a day."""
        base = self.tenant.functional(subsidiary)
        if currency == base:
            return Decimal(1)
        known = [rate for since, rate in self.tenant.state.rates[(currency, base)] if since <= on]
        if not known:
            raise user_error(
                f"There is no exchange rate for this currency on {on.isoformat()}.", path="currency"
            )
        return known[-1]

    def to_functional(self, document: Document, amount: int) -> int:
        """An amount of a document in its subsidiary's currency, at the document's rate."""
        tenant = self.tenant
        base = tenant.functional(document.subsidiary)
        if document.currency == base:
            return amount
        return convert(amount, tenant.exponent(document.currency), document.rate, tenant.exponent(base))

    # -- posting --------------------------------------------------------------------------------------------------
    def post(self, document: Document) -> None:
        """Write the document's lines anew, or none while it awaits approval."""
        document.functional = self.to_functional(document, document.total)
        document.gl = self.entries(document) if document.approval == "2" else []

    def entries(self, document: Document) -> list[Posting]:
        """What a document posts with its applications as they stand."""
        if document.type in ("invoice", "creditMemo"):
            lines = self._sale(document)
        elif document.type in ("customerPayment", "customerRefund", "depositApplication"):
            lines = self._cash(document)
        elif document.type == "customerDeposit":
            lines = [
                Posting(0, str(document.account), document.total, document.functional),
                Posting(1, DEPOSITS, -document.total, -document.functional),
            ]
        elif document.type == "journalEntry":
            lines = self._journal(document)
        else:
            lines = list(document.gl)
        return [line for line in lines if line.amount or line.functional]

    def _sale(self, document: Document) -> list[Posting]:
        sign = 1 if document.type == "invoice" else -1
        state = self.tenant.state
        others: list[Posting] = []
        for line in document.lines:
            income = str(state.get("serviceSaleItem", str(line.item)).fields["incomeAccount"])
            others.append(Posting(line.line, income, -sign * line.amount, 0, line.fields.get("description")))
        position = max((line.line for line in document.lines), default=0)
        for tax in document.taxes:
            position += 1
            account = str(state.get("salesTaxItem", tax.code).fields["saleAccount"])
            others.append(Posting(position, account, -sign * tax.amount, 0, tax.fields.get("calcDetail")))
        for posting in others:
            posting.functional = self.to_functional(document, posting.amount)
        spread = -sign * document.functional - sum(posting.functional for posting in others)
        if spread and others:
            max(others, key=lambda posting: abs(posting.amount)).functional += spread
        carried, realised = self._settled(document)
        lines = [Posting(0, document.receivables, sign * document.total, sign * carried), *others]
        return [*lines, *self._difference(position + 1, -realised if sign < 0 else 0)]

    def _cash(self, document: Document) -> list[Posting]:
        sign = -1 if document.type == "customerRefund" else 1
        carried, realised = self._settled(document)
        return [
            Posting(0, str(document.account), sign * document.total, sign * document.functional),
            Posting(1, document.receivables, -sign * document.total, -sign * carried),
            *self._difference(2, -sign * realised),
        ]

    def _journal(self, document: Document) -> list[Posting]:
        lines = [
            Posting(line.line, str(line.account), line.amount, self.to_functional(document, line.amount))
            for line in document.lines
        ]
        spread = sum(line.functional for line in lines)
        if spread:
            max(lines, key=lambda posting: abs(posting.amount)).functional -= spread
        return lines

    def _settled(self, document: Document) -> tuple[int, int]:
        """Functional amount at receivables, and what is realised by the document's own applications."""
        given_up = sum(a.applier_functional for a in document.applies)
        settled = sum(a.target_functional for a in document.applies)
        return document.functional - given_up + settled, given_up - settled

    def _difference(self, line: int, functional: int) -> list[Posting]:
        return [Posting(line, REALISED, 0, functional, "Realized gain/loss")] if functional else []

    # -- answering ------------------------------------------------------------------------------------------------
    def trial_balance(self) -> list[dict[str, Any]]:
        """Debit, credit and net per subsidiary, period and account, in minor units of the functional currency."""
        sums: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0])
        for document in self.tenant.state.documents():
            for line in document.gl:
                pair = sums[(document.subsidiary, document.period, line.account)]
                pair[0 if line.functional >= 0 else 1] += abs(line.functional)
        state = self.tenant.state
        rows = [
            {
                "subsidiary": subsidiary,
                "period": state.get("accountingPeriod", period).fields["periodName"],
                "period_id": period,
                "account": account,
                "currency": state.get("currency", self.tenant.functional(subsidiary)).fields["symbol"],
                "debit_minor": debit,
                "credit_minor": credit,
                "net_minor": debit - credit,
            }
            for (subsidiary, period, account), (debit, credit) in sums.items()
        ]
        return sorted(rows, key=lambda row: (row["subsidiary"], int(row["period_id"]), row["account"]))


def is_leaf(period: Record) -> bool:
    """Whether a period is a month that takes postings, not a year or quarter."""
    return not period.fields["isYear"] and not period.fields["isQuarter"] and bool(period.fields["isPosting"])
