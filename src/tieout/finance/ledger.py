"""Subledger against general ledger, by account in functional currency, down to the document whose line went astray."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal

from tieout.canonical.model import Value
from tieout.canonical.money import to_major
from tieout.connectors.contract import LedgerBalance, ListedDocument
from tieout.finance.breaks import SUBLEDGER_GL, BooksInput, Break, Totals

DECIDED = "documents on their accounts"
# A debit of receivables raises what the customer owes.
RECEIVABLES_SIGN = {"invoice": 1, "refund": 1, "credit_memo": -1, "payment": -1}


class LedgerRow(Value, frozen=True):
    """One account of one entity and period. `subledger_minor` is the subledger's sum for a control account; the last
    row of each period, account `*`, is the trial balance, which must be zero."""

    entity: str
    period: str
    account: str
    currency: str
    subledger_minor: int | None
    ledger_minor: int
    delta_minor: int


def compare_ledger(
    books: BooksInput, told: Iterable[Break]
) -> tuple[tuple[LedgerRow, ...], tuple[Break, ...]]:
    """Rows and breaks. `told` are the breaks of billing against ERP: what an altered document does to an account is
    not told as another difference."""
    comparison = _Ledger(books, told)
    comparison.documents()
    comparison.accounts()
    comparison.trial_balances()
    breaks = tuple(comparison.breaks)
    return _rows(books.balances), (*breaks, *comparison.totals.untied(breaks))


def _rows(balances: tuple[LedgerBalance, ...]) -> tuple[LedgerRow, ...]:
    rows = [
        LedgerRow(
            entity=one.entity,
            period=one.period,
            account=one.account,
            currency=one.currency,
            subledger_minor=one.subledger_minor,
            ledger_minor=one.balance_minor,
            delta_minor=0 if one.subledger_minor is None else one.subledger_minor - one.balance_minor,
        )
        for one in balances
    ]
    for (entity, period, currency), total in _trial_balances(balances).items():
        rows.append(
            LedgerRow(
                entity=entity,
                period=period,
                account="*",
                currency=currency,
                subledger_minor=0,
                ledger_minor=total,
                delta_minor=-total,
            )
        )
    # "~" sorts behind every account number, "*" would stand first.
    return tuple(sorted(rows, key=lambda row: (row.entity, row.period, row.account.replace("*", "~"))))


def _trial_balances(balances: Iterable[LedgerBalance]) -> dict[tuple[str, str, str], int]:
    totals: dict[tuple[str, str, str], int] = defaultdict(int)
    for one in balances:
        totals[one.entity, one.period, one.currency] += one.balance_minor
    return totals


class _Ledger:
    def __init__(self, books: BooksInput, told: Iterable[Break]) -> None:
        self.books = books
        self.totals = Totals(SUBLEDGER_GL)
        self.breaks: list[Break] = []
        self.told = [one for one in told if one.listed or one.duplicate]
        self.named = {one.document for one in self.told}
        self.control = {
            (one.entity, one.account) for one in books.balances if one.subledger_minor is not None
        }
        # Per entity and account: what single documents did to the difference, functional currency.
        self.shares: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))

    def documents(self) -> None:
        """Every document on the accounts that were decided for it."""
        for document in self.books.erp_documents:
            if not (document.posted and document.accounts):
                continue
            astray = self._control_share(document)
            recorded = self.books.recorded.get(document.document_key)
            if recorded is None or not recorded.accounts:
                if astray:
                    self.totals.add_left(DECIDED, document.entity, document.currency, abs(astray))
                    shown = f"{to_major(astray, document.currency)} {document.currency}"
                    cause = f"{_title(document)}: {shown} of it is not on the receivables account"
                    self._break(
                        DECIDED, document.entity, document.currency, self._name(document), abs(astray), cause
                    )
                continue
            decided = _nets(recorded.accounts)
            standing = _nets((account, amount) for account, amount, _ in document.accounts)
            whole = sum(amount for amount in decided.values() if amount > 0)
            more = {
                account: delta
                for account in sorted({*decided, *standing})
                if (delta := standing.get(account, 0) - decided.get(account, 0))
            }
            moved = max(
                sum(delta for delta in more.values() if delta > 0),
                -sum(delta for delta in more.values() if delta < 0),
            )
            self.totals.add_left(DECIDED, document.entity, document.currency, whole)
            self.totals.add_right(DECIDED, document.entity, document.currency, whole - moved)
            if moved:
                said = ", ".join(
                    f"account {account} is {'over' if delta > 0 else 'under'} by"
                    f" {to_major(abs(delta), document.currency)} {document.currency}"
                    for account, delta in more.items()
                )
                cause = f"{_title(document)}: {said}"
                self._break(DECIDED, document.entity, document.currency, self._name(document), moved, cause)

    def _control_share(self, document: ListedDocument) -> int:
        """What the subledger counts for a document less what its own lines put on control accounts."""
        sign = RECEIVABLES_SIGN.get(document.kind)
        accounts = sorted({account for entity, account in self.control if entity == document.entity})
        if sign is None or not accounts:
            return 0
        counted = sign * abs(document.total_minor)
        standing = sum(amount for account, amount, _ in document.accounts if account in accounts)
        if counted == standing:
            return 0
        share = _functional(document, counted - standing)
        touched = next((account for account, _, _ in document.accounts if account in accounts), accounts[0])
        self.shares[document.entity, touched][self._name(document)] += share
        return counted - standing

    def accounts(self) -> None:
        """Control accounts against their subledger, all periods together; then each period on its own."""
        sums: dict[tuple[str, str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
        for one in self.books.balances:
            if one.subledger_minor is not None:
                before = sums[one.entity, one.account, one.currency]
                sums[one.entity, one.account, one.currency] = (
                    before[0] + one.subledger_minor,
                    before[1] + one.balance_minor,
                )
        for (entity, account, currency), (subledger, ledger) in sums.items():
            measure = f"account {account}"
            self.totals.add_left(measure, entity, currency, subledger)
            self.totals.add_right(measure, entity, currency, ledger)
            self._explain(measure, entity, account, currency, subledger - ledger)
        disturbed = {one.entity for one in self.told} | {one.entity for one in self.breaks}
        for one in self.books.balances:
            if one.subledger_minor not in (None, one.balance_minor) and one.entity not in disturbed:
                # Cancels out over the periods: no document is missing, one half of it stands in another period.
                cause = f"control account {one.account} differs from its subledger in {one.period} alone"
                self._break(
                    f"account {one.account}", one.entity, one.currency, f"account {one.account}", 0, cause
                )

    def _explain(self, measure: str, entity: str, account: str, currency: str, delta: int) -> None:
        """Give the difference of one account to the documents that made it; the rest is the account's own."""
        shares = self.shares.get((entity, account), {})
        if delta and sum(shares.values()) == delta:
            for document, share in shares.items():
                cause = f"subledger and account {account} differ by this document"
                self._break(measure, entity, currency, document, share, cause)
            return
        if not delta:
            return
        here = [one for one in (*self.told, *self.breaks) if one.entity == entity and one.amount_minor]
        same = [one for one in here if one.currency == currency and abs(one.amount_minor) == abs(delta)]
        # At another currency's rate the amounts cannot be equal: one single such document is evidence enough.
        foreign = [one for one in here if one.currency != currency]
        if same or len(foreign) == 1:
            cause = "follows from the document's other difference"
            self._break(measure, entity, currency, (same or foreign)[0].document, delta, cause)
            return
        cause = f"the subledger of account {account} differs from the account"
        self._break(measure, entity, currency, measure, delta, cause)

    def trial_balances(self) -> None:
        for (entity, period, currency), total in _trial_balances(self.books.balances).items():
            self.totals.add_left("trial balance", entity, currency, 0)
            self.totals.add_right("trial balance", entity, currency, total)
            if total:
                same = [
                    one.document
                    for one in (*self.told, *self.breaks)
                    if one.entity == entity and abs(one.amount_minor) == abs(total)
                ]
                name = same[0] if same else f"trial balance {entity} {period}"
                cause = f"debits and credits of {period} differ"
                self._break("trial balance", entity, currency, name, -total, cause)

    def _name(self, document: ListedDocument) -> str:
        return document.source or document.id

    def _break(
        self, measure: str, entity: str, currency: str, document: str, amount: int, cause: str
    ) -> None:
        """One document is told once, wherever it was told first."""
        self.breaks.append(
            Break(
                pair=SUBLEDGER_GL,
                measure=measure,
                entity=entity,
                currency=currency,
                document=document,
                amount_minor=amount,
                cause=cause,
                listed=document not in self.named,
            )
        )
        self.named.add(document)


def _title(document: ListedDocument) -> str:
    return f"{document.kind.replace('_', ' ')} {document.number or document.id}"


def _nets(lines: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    nets: dict[str, int] = defaultdict(int)
    for account, amount in lines:
        nets[account] += amount
    return {account: amount for account, amount in nets.items() if amount}


def _functional(document: ListedDocument, amount_minor: int) -> int:
    """An amount of the document in functional currency, at the rate that its own largest line shows."""
    _, foreign, functional = max(document.accounts, key=lambda line: abs(line[1]))
    if not foreign:
        return amount_minor
    exact = Decimal(amount_minor) * functional / foreign
    return int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
