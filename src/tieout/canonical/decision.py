"""What a decision table answered, kept with the rule and the version of the table that answered it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from tieout.canonical.model import Value
from tieout.canonical.outcome import Failure, Misconfigured

V = TypeVar("V")


class Decision(Value, Generic[V], frozen=True):
    """One answer of a decision table. `rule_id` names the row, `version` the content of the whole file that day."""

    table: str
    rule_id: str
    version: str
    value: V

    def __str__(self) -> str:
        return f"{self.table} rule {self.rule_id} (version {self.version})"


AnyDecision: TypeAlias = Decision[Any]


class ItemChoice(Value, frozen=True):
    """The ERP item of a billed product, the account it leads to, and the department."""

    item: str
    account: str
    department: str = ""


class TermsChoice(Value, frozen=True):
    """Payment terms: days until due, and the ERP's own key of them."""

    days: int
    erp_terms: str


class AccountChoice(Value, frozen=True):
    """A ledger account by purpose; `item` where the ERP reaches it only through an item."""

    account: str
    item: str = ""


class MissingRule(Failure):
    """No row answers. Carries a `Misconfigured` of scope `mapping` that says which row to write."""

    def __init__(self, outcome: Misconfigured) -> None:
        super().__init__(outcome)
        self.outcome: Misconfigured = outcome


class Rules(Protocol):
    """The decision tables as posting and preflight ask them. Every look-up raises MissingRule."""

    def billing_product(self, crm_product: str, connection: str, on: date) -> Decision[str]: ...
    def item(self, product: str, entity: str, recognition: str, on: date) -> Decision[ItemChoice]: ...
    def tax_code(self, entity: str, jurisdiction: str, rate_percent: Decimal, on: date) -> Decision[str]: ...
    def terms(self, crm_terms: str, on: date) -> Decision[TermsChoice]: ...
    def account(
        self, purpose: str, entity: str, connection: str, currency: str, on: date
    ) -> Decision[AccountChoice]: ...
