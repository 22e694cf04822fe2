"""Decision tables: the names of a product, a tax, payment terms and an account in each system, and since when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TypeVar

from tieout.canonical.decision import AccountChoice, Decision, ItemChoice, MissingRule, TermsChoice
from tieout.canonical.model import Value
from tieout.canonical.money import exponent
from tieout.canonical.outcome import Misconfigured
from tieout.canonical.party import LegalEntity
from tieout.masterdata.rules import Column, Row, RuleError, RuleErrors, RuleFile, Shape, Table, parse_table

V = TypeVar("V")
ANY = "*"
RECOGNITIONS = ("deferred", "immediate")
PURPOSES = (
    "receivables",
    "clearing",
    "bank",
    "tax_payable",
    "bad_debt",
    "deferred_default",
    "fx",
    "disputes",
    "dispute_fees",
    "fees",
)


def _one_of(*allowed: str) -> Callable[[str], str]:
    def normal(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"{text!r} is unknown; write one of {', '.join(allowed)}")
        return text

    return normal


def _days(text: str) -> str:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number of days; write a whole number such as 30")
    return str(int(text))


def _percent(text: str) -> str:
    try:
        rate = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is no number; write the per cent as 7.25") from None
    if not rate.is_finite() or not 0 <= rate <= 100:
        raise ValueError(f"{text!r} is not between 0 and 100; write the per cent as 7.25")
    return percent_text(rate)


def percent_text(rate: Decimal) -> str:
    """One spelling per rate: 10, 10.0 and 1E+1 are the same tax."""
    return f"{rate.normalize():f}"


def _currency(text: str) -> str:
    if text != ANY:
        exponent(text)
    return text


SHAPES = (
    Shape(
        table="products",
        key=("crm_product", "billing_connection"),
        columns=(
            Column(name="crm_product"),
            Column(name="billing_connection"),
            Column(name="billing_product"),
            Column(name="name", empty=True),
        ),
    ),
    Shape(
        table="items",
        key=("billing_product", "entity", "recognition"),
        columns=(
            Column(name="billing_product"),
            Column(name="entity"),
            Column(name="recognition", normal=_one_of(*RECOGNITIONS)),
            Column(name="item"),
            Column(name="account"),
            Column(name="department", empty=True),
        ),
    ),
    Shape(
        table="tax_codes",
        key=("entity", "jurisdiction", "rate_percent"),
        columns=(
            Column(name="entity"),
            Column(name="jurisdiction"),
            Column(name="rate_percent", normal=_percent),
            Column(name="code"),
        ),
    ),
    Shape(
        table="terms",
        key=("crm_terms",),
        columns=(
            Column(name="crm_terms"),
            Column(name="days", normal=_days),
            Column(name="erp_terms"),
        ),
    ),
    Shape(
        table="accounts",
        key=("entity", "purpose", "connection", "currency"),
        columns=(
            Column(name="entity"),
            Column(name="purpose", normal=_one_of(*PURPOSES)),
            Column(name="connection"),
            Column(name="currency", normal=_currency),
            Column(name="account"),
            Column(name="item", empty=True),
        ),
    ),
)


class MasterData(Value, frozen=True):
    """Legal entities and decision tables as they were loaded. Implements `canonical.decision.Rules`."""

    entities: dict[str, LegalEntity]
    tables: dict[str, Table]

    def versions(self) -> dict[str, str]:
        """Table -> version, to be frozen with the first effect of a run."""
        return {name: table.version for name, table in self.tables.items()}

    def legal_entity(self, code: str) -> LegalEntity:
        """Raises MissingRule when no such legal entity is configured."""
        if code in self.entities:
            return self.entities[code]
        raise missing(
            key=f"legal entity {code}",
            message=f"The legal entity {code or '(none given)'!r} is not configured.",
            remedy=f"Write one of {', '.join(sorted(self.entities))} on the deal, or configure the entity.",
        )

    def entity_of_billing(self, connection: str) -> LegalEntity:
        """The legal entity whose invoices a billing connection issues. Raises MissingRule."""
        for entity in self.entities.values():
            if entity.billing == connection:
                return entity
        raise missing(
            key=f"billing connection {connection}",
            message=f"No legal entity bills through {connection}.",
            remedy=f"Name {connection} as the billing connection of a legal entity in the configuration.",
        )

    def billing_product(self, crm_product: str, connection: str, on: date) -> Decision[str]:
        """The product at billing for a product of the CRM."""
        row = self._row("products", [(crm_product, connection)], on, scope=f"{crm_product} x {connection}")
        return self._decision("products", row, row.cells["billing_product"])

    def item(self, product: str, entity: str, recognition: str, on: date) -> Decision[ItemChoice]:
        """The ERP item of a billed product; `recognition` is `deferred` or `immediate`."""
        row = self._row("items", [(product, entity, recognition)], on, scope=f"{product} x {entity}")
        cells = row.cells
        choice = ItemChoice(item=cells["item"], account=cells["account"], department=cells["department"])
        return self._decision("items", row, choice)

    def tax_code(self, entity: str, jurisdiction: str, rate_percent: Decimal, on: date) -> Decision[str]:
        """The ERP tax code of what billing charged. A rate of 0 may fall back on the jurisdiction `*`."""
        rate = percent_text(rate_percent)
        keys = [(entity, jurisdiction, rate)] + ([(entity, ANY, rate)] if rate_percent == 0 else [])
        row = self._row("tax_codes", keys, on, scope=f"tax {jurisdiction} {rate} % x {entity}")
        return self._decision("tax_codes", row, row.cells["code"])

    def terms(self, crm_terms: str, on: date) -> Decision[TermsChoice]:
        """Payment terms of the CRM in days and in the ERP's key."""
        row = self._row("terms", [(crm_terms,)], on, scope=f"payment terms {crm_terms}")
        choice = TermsChoice(days=int(row.cells["days"]), erp_terms=row.cells["erp_terms"])
        return self._decision("terms", row, choice)

    def account(
        self, purpose: str, entity: str, connection: str, currency: str, on: date
    ) -> Decision[AccountChoice]:
        """The ledger account for a purpose. The row for this very connection and currency wins, then the connection's,
        then the currency's, then the row with `*` in both."""
        keys = [
            (entity, purpose, one, other)
            for one, other in ((connection, currency), (connection, ANY), (ANY, currency), (ANY, ANY))
        ]
        row = self._row("accounts", keys, on, scope=f"{purpose} account x {entity}")
        choice = AccountChoice(account=row.cells["account"], item=row.cells["item"])
        return self._decision("accounts", row, choice)

    def account_since(self, purpose: str, entity: str) -> date | None:
        """The first day for which a legal entity has named an account for a purpose; None: it never has."""
        return min((row.start for row in self._accounts(purpose, entity)), default=None)

    def accounts_for(self, purpose: str, entity: str) -> frozenset[str]:
        """Every account that a legal entity has named for a purpose, whatever the connection, currency and day."""
        return frozenset(row.cells["account"] for row in self._accounts(purpose, entity))

    def _accounts(self, purpose: str, entity: str) -> list[Row]:
        rows = self.tables["accounts"].rows
        return [row for row in rows if (row.cells["entity"], row.cells["purpose"]) == (entity, purpose)]

    def _row(self, name: str, keys: Sequence[tuple[str, ...]], on: date, *, scope: str) -> Row:
        table = self.tables[name]
        for key in keys:
            if (row := table.find(key, on)) is not None:
                return row
        shape = table.shape
        near = [row for key in keys for row in table.by_key.get(key, ())]
        known = f" ({near[0].path}:{near[0].line} holds on other days)" if near else ""
        asked = dict(zip(shape.key, keys[0], strict=True))
        template = ",".join(asked.get(column, f"<{column}>") for column in shape.header)
        raise missing(
            key=scope,
            message=f"No rule in {table.path} for {shape.label(keys[0])} on {on}{known}.",
            remedy=f"Add a row to {table.path}: {template}",
        )

    def _decision(self, name: str, row: Row, value: V) -> Decision[V]:
        return Decision(table=name, rule_id=row.rule_id, version=self.tables[name].version, value=value)


def missing(*, key: str, message: str, remedy: str) -> MissingRule:
    """A mapping that is not there, as the outcome that blocks what needs it."""
    return MissingRule(Misconfigured(scope="mapping", key=key, message=message, remedy=remedy))


def load(files: Iterable[RuleFile], entities: Iterable[LegalEntity]) -> MasterData:
    """Check and index the decision tables. Raises RuleErrors with every mistake of every file."""
    given = {file.table: file for file in files}
    known = {entity.code: entity for entity in entities}
    errors: list[RuleError] = []
    tables: dict[str, Table] = {}
    for shape in SHAPES:
        file = given.get(shape.table)
        if file is None:
            message = f"the file is missing; write it with the header {','.join(shape.header)}"
            errors.append(RuleError(path=f"{shape.table}.csv", line=1, message=message))
            continue
        table, faults = parse_table(shape, file)
        tables[shape.table] = table
        errors += sorted([*faults, *_references(table, known)], key=lambda error: error.line)
    if errors:
        raise RuleErrors(tuple(errors))
    return MasterData(entities=known, tables=tables)


def read_rule_files(folder: Path) -> tuple[RuleFile, ...]:
    """The decision tables that lie in a folder; what is missing there, `load` reports. Raises RuleErrors when a
    file cannot be read as UTF-8."""
    files: list[RuleFile] = []
    errors: list[RuleError] = []
    for shape in SHAPES:
        path = folder / f"{shape.table}.csv"
        if not path.is_file():
            continue
        try:
            files.append(RuleFile(table=shape.table, path=str(path), text=path.read_text(encoding="utf-8")))
        except UnicodeDecodeError:
            errors.append(RuleError(path=str(path), line=1, message="not UTF-8; save the file as UTF-8"))
    if errors:
        raise RuleErrors(tuple(errors))
    return tuple(files)


def _references(table: Table, entities: Mapping[str, LegalEntity]) -> Iterable[RuleError]:
    """Rows that name a legal entity or a billing connection that is not configured, or a fallback that may not be."""
    billing = {entity.billing for entity in entities.values()}
    for row in table.rows:
        entity = row.cells.get("entity")
        connection = row.cells.get("billing_connection")
        message = ""
        if entity is not None and entity not in entities:
            message = f"entity: {entity!r} is not configured; write one of {', '.join(sorted(entities))}"
        elif connection is not None and connection not in billing:
            message = f"billing_connection: {connection!r} bills for nobody; write one of {', '.join(sorted(billing))}"
        elif row.cells.get("jurisdiction") == ANY and row.cells["rate_percent"] != "0":
            message = "jurisdiction * stands for a rate of 0 only; write the jurisdiction of this rate"
        if message:
            yield RuleError(path=row.path, line=row.line, message=message)
