"""What all transactions share: entity, subsidiary, currency, rate, date, period, number, and when they may change."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.applications import Settlements
from tieout_lab.twins.netsuite.errors import invalid_key, missing, user_error
from tieout_lab.twins.netsuite.intake import Body
from tieout_lab.twins.netsuite.kinds import WRITE, Kind
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.state import Document, Record
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import Ref, from_minor, printed, stamp, text

# Fields with a place of their own in a document, and fields that the account computes and a write cannot set.
OWN = frozenset(
    """entity customer subsidiary currency exchangeRate tranDate postingPeriod account arAcct item taxDetails
    taxDetailsOverride apply line externalId approvalStatus payment""".split()
)
COMPUTED = frozenset(
    """id links refName status total subtotal taxTotal amountPaid amountRemaining amountRemainingTotalBox applied
    unapplied pending balance tranId transactionNumber createdDate lastModifiedDate createdFrom""".split()
)
# Changing one of these changes no posting.
HARMLESS = frozenset(
    "externalId memo otherRefNum message email toBeEmailed toBePrinted terms dueDate".split()
)


class Transactions(Kind):
    """The common part of invoices, credit memos, payments, refunds and journals."""

    methods = WRITE
    prefix: str
    entity_field = "entity"
    entity_label = "Customer"
    receivables = True

    def __init__(self, tenant: Tenant, ledger: Ledger, settlements: Settlements) -> None:
        super().__init__(tenant)
        self.ledger = ledger
        self.settlements = settlements

    # -- creating ---------------------------------------------------------------------------------------------------
    def open(self, body: Body) -> Document:
        """A document with its header, in an open period; lines and totals are still to come."""
        entity = self._entity(body)
        subsidiary = self._subsidiary(body, entity)
        currency = self._currency(body, entity, subsidiary)
        on = body.get("tranDate") or self.tenant.today(subsidiary)
        rate = body.get("exchangeRate") or self.ledger.rate(currency, subsidiary, on)
        if rate <= 0:
            raise user_error("The exchange rate must be greater than zero.", path="exchangeRate")
        period = self.ledger.choose_period(
            body.get("postingPeriod"), on, subsidiary, receivables=self.receivables
        )
        start = self.start(body)
        same = currency == self.tenant.functional(subsidiary)
        document = Document(
            **start.__dict__,
            number=f"{self.prefix}{self.tenant.state.next('number/' + self.type, 1001)}",
            subsidiary=subsidiary,
            entity=entity.id if entity is not None else None,
            currency=currency,
            rate=Decimal(1) if same else rate,
            on=on,
            period=period,
            account=body.get("account"),
        )
        self.keep(document, body)
        return document

    def keep(self, document: Document, body: Body) -> None:
        """Store the plain fields of a body."""
        for name, value in body.values.items():
            if name not in OWN and name not in COMPUTED:
                document.fields[name] = value
        receivables = body.get("arAcct") or (body.get("account") if self.entity_field == "entity" else None)
        if receivables is not None:
            if self.tenant.state.get("account", receivables).fields["acctType"] != "AcctRec":
                raise invalid_key("account", receivables, "subsidiary", document.subsidiary, "account")
            document.receivables = receivables

    def _entity(self, body: Body) -> Record | None:
        id_ = body.get(self.entity_field)
        if not id_:
            raise missing(self.entity_label, path=self.entity_field)
        return self.tenant.state.get("customer", id_)

    def _subsidiary(self, body: Body, entity: Record | None) -> str:
        given = body.get("subsidiary")
        if entity is None:
            if not given:
                raise missing("Subsidiary", path="subsidiary")
            return str(given)
        subsidiary = str(given or entity.fields["subsidiary"])
        if not self.tenant.customer_in(entity, subsidiary):
            raise invalid_key("entity", entity.id, "subsidiary", subsidiary, "subsidiary")
        return subsidiary

    def _currency(self, body: Body, entity: Record | None, subsidiary: str) -> str:
        given = body.get("currency")
        if entity is None:
            return str(given or self.tenant.functional(subsidiary))
        currency = str(given or entity.fields["currency"])
        if not self.tenant.customer_takes(entity, currency):
            raise invalid_key("currency", currency, "entity", entity.id, "currency")
        return currency

    # -- changing ---------------------------------------------------------------------------------------------------
    def change(self, document: Document, body: Body) -> None:
        """The common part of an update: period rules, header fields. Lines follow in the subclass."""
        period = self.tenant.state.get("accountingPeriod", document.period)
        refused = self.ledger.refusal(period, document.subsidiary, receivables=self.receivables)
        # An application has no accounting effect of its own; what it realises is posted where that is open.
        touching = set(body.values) - {"apply", "autoApply"}
        harmless = period.fields["allowNonGLChanges"] and touching <= HARMLESS
        if refused is not None and touching and not harmless and document.approval == "2":
            raise refused
        for name in (self.entity_field, "subsidiary", "currency"):
            current = {"subsidiary": document.subsidiary, "currency": document.currency}.get(
                name, document.entity
            )
            if body.get(name) not in (None, current):
                raise user_error(
                    f"You cannot change the {name} of a transaction after it has been saved.", path=name
                )
        self.retitle(document, body)
        if body.get("tranDate") or body.get("postingPeriod"):
            document.on = body.get("tranDate") or document.on
            given = body.get("postingPeriod") or (None if body.get("tranDate") else document.period)
            document.period = self.ledger.choose_period(
                given, document.on, document.subsidiary, receivables=self.receivables
            )
        if body.get("exchangeRate") and document.currency != self.tenant.functional(document.subsidiary):
            if (document.applies or document.applied) and body.get("exchangeRate") != document.rate:
                raise user_error(
                    "You cannot change the exchange rate of an applied transaction.", path="exchangeRate"
                )
            document.rate = body.get("exchangeRate")
        self.keep(document, body)

    def delete(self, record: Record) -> None:
        document = self.tenant.state.document(record.id)
        period = self.tenant.state.get("accountingPeriod", document.period)
        if document.gl:
            self.ledger.check(period, document.subsidiary, receivables=self.receivables)
        if document.applied:
            raise user_error(
                "This transaction cannot be deleted because it is linked to by one or more transactions."
            )
        self.settlements.settle(document, {})
        for correction in self.settlements.corrections(document):
            self.tenant.state.remove(correction)
        self.tenant.state.remove(document)

    # -- showing ----------------------------------------------------------------------------------------------------
    def amount(self, document: Document, minor: int) -> Decimal:
        """An amount of a document as it is shown."""
        return from_minor(minor, self.tenant.exponent(document.currency))

    def header(self, document: Document) -> dict[str, Any]:
        """The fields every transaction shows."""
        tenant = self.tenant
        shown: dict[str, Any] = {"id": document.id}
        if document.external_id is not None:
            shown["externalId"] = document.external_id
        for name, value in document.fields.items():
            if value is not None and not name.startswith("_"):
                shown[name] = shown_field(tenant, name, value)
        shown.update(
            tranId=document.number,
            tranDate=document.on.isoformat(),
            postingPeriod=Ref(
                "accountingPeriod", document.period, tenant.name("accountingPeriod", document.period)
            ),
            subsidiary=Ref("subsidiary", document.subsidiary, tenant.name("subsidiary", document.subsidiary)),
            currency=Ref("currency", document.currency, tenant.name("currency", document.currency)),
            exchangeRate=printed(document.rate),
            createdDate=stamp(document.created),
            lastModifiedDate=stamp(document.modified),
        )
        if document.entity is not None:
            shown[self.entity_field] = Ref(
                "customer", document.entity, tenant.name("customer", document.entity)
            )
        return shown


_SHOWN_REFS = {
    "terms": "term",
    "department": "department",
    "paymentMethod": "paymentMethod",
    "paymentOption": "paymentMethod",
    "taxCode": "salesTaxItem",
}


def shown_field(tenant: Tenant, name: str, value: Any) -> Any:
    """A stored plain field as it is shown."""
    if name in _SHOWN_REFS:
        return Ref(_SHOWN_REFS[name], str(value), tenant.name(_SHOWN_REFS[name], str(value)))
    if isinstance(value, Decimal):
        return printed(value)
    if isinstance(value, dict | list | bool):
        return value
    return value.isoformat() if hasattr(value, "isoformat") else text(value)
