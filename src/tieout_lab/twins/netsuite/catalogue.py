"""Names and kinds of the fields of every record type the twin serves.

Names are those of the REST API Browser, release 2026.1 (camelCase of the SuiteScript ids). A name that stands here
but has no meaning to the twin is kept and given back; a name that does not stand here is unknown to the account.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tieout_lab.twins.netsuite.names import (
    ADDRESS_BOOK_LINE,
    APPLY_LINE,
    CREDIT_MEMO,
    CURRENCY_LINE,
    CUSTOMER,
    DEPOSIT,
    DEPOSIT_APPLICATION,
    INVOICE,
    ITEM_LINE,
    JOURNAL,
    JOURNAL_LINE,
    PAYMENT,
    REFUND,
    SERVICE_ITEM,
    TAX_DETAIL,
    TAX_ITEM,
    TAX_REGISTRATION_LINE,
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field: `kind` is text, number, flag, day, moment, ref, list, sublist or any; `to` names what a ref means,
    `limit` the longest text."""

    kind: str
    to: str | None = None
    limit: int | None = None


@dataclass(slots=True)
class Shape:
    """The fields of a record type or of a sublist's lines, by name."""

    fields: dict[str, Field]
    lines: dict[str, Shape] = field(default_factory=dict)


# References the twin resolves; other references are kept as they came.
REFS = {
    "account": "account",
    "arAcct": "account",
    "currency": "currency",
    "customer": "customer",
    "department": "department",
    "deferredRevenueAccount": "account",
    "doc": "transaction",
    "entity": "customer",
    "incomeAccount": "account",
    "item": "serviceSaleItem",
    "parent": "customer",
    "paymentMethod": "paymentMethod",
    "paymentOption": "paymentMethod",
    "postingPeriod": "accountingPeriod",
    "primaryCurrency": "currency",
    "subsidiary": "subsidiary",
    "taxAccount": "account",
    "taxCode": "salesTaxItem",
    "terms": "term",
}
NUMBERS = frozenset(
    """amount amountPaid amountRemaining applied balance credit creditLimit debit due exchangeRate netAmount payment
    pending quantity rate subtotal taxAmount taxBasis taxRate taxTotal total unapplied""".split()
)
FLAGS = frozenset(
    """apply approved autoApply autoName includeChildren isInactive isPerson isPrimarySub isTaxable
    taxDetailsOverride taxRegOverride taxable toBeEmailed toBePrinted void""".split()
)
DAYS = frozenset("applyDate dueDate endDate reversalDate startDate tranDate".split())
MOMENTS = frozenset("createdDate dateCreated lastModifiedDate".split())
CHOICES = frozenset("approvalStatus creditHoldOverride status".split())
# Longest texts, of the vendor's field help.
LIMITS = {
    "companyName": 83,
    "entityId": 83,
    "externalId": 255,
    "firstName": 32,
    "itemId": 60,
    "lastName": 32,
    "memo": 999,
    "otherRefNum": 45,
    "checkNumber": 45,
    "description": 4000,
    "email": 254,
}
# Sublists and subrecords that are known but not modelled: kept as sent.
OPAQUE = frozenset(
    """accountingBookDetail appliedRules billingAddress campaigns contactList contactRoles credit_ deposit
    expCost giftCertRedemption groupPricing installment itemCost itemPricing partners payeeAddress promotions
    salesTeam shipGroup shippingAddress subscriptionMessageHistory subscriptions time""".split()
)


def _shape(names: str, sublists: dict[str, Shape] | None = None, plain: str = "") -> Shape:
    """The shape of names; `plain` names fields that mean something else here than elsewhere (kept as text)."""
    lines = sublists or {}
    fields: dict[str, Field] = {}
    for name in names.split():
        if name in lines:
            fields[name] = Field("sublist")
        elif name in plain.split():
            fields[name] = Field("any")
        elif name in REFS:
            fields[name] = Field("ref", REFS[name])
        elif name in NUMBERS:
            fields[name] = Field("number")
        elif name in FLAGS:
            fields[name] = Field("flag")
        elif name in DAYS:
            fields[name] = Field("day")
        elif name in MOMENTS:
            fields[name] = Field("moment")
        elif name in CHOICES:
            fields[name] = Field("choice")
        elif name in LIMITS:
            fields[name] = Field("text", limit=LIMITS[name])
        else:
            fields[name] = Field("any")
    return Shape(fields, lines)


_APPLY = _shape(APPLY_LINE, plain="currency")
_SALES = {"item": _shape(ITEM_LINE), "taxDetails": _shape(TAX_DETAIL)}

SHAPES: dict[str, Shape] = {
    "customer": _shape(
        CUSTOMER,
        {
            "currencyList": _shape(CURRENCY_LINE),
            "addressBook": _shape(ADDRESS_BOOK_LINE),
            "taxRegistration": _shape(TAX_REGISTRATION_LINE),
        },
    ),
    "customerSubsidiaryRelationship": _shape(
        """balance depositBalance entity externalId id isPrimarySub lastModifiedDate links name primaryCurrency
        refName subsidiary unbilledOrders"""
    ),
    # An item's subsidiary is a list of subsidiaries, not one reference.
    "serviceSaleItem": _shape(SERVICE_ITEM, plain="subsidiary parent"),
    "invoice": _shape(INVOICE, _SALES),
    "creditMemo": _shape(CREDIT_MEMO, {**_SALES, "apply": _APPLY}),
    "customerPayment": _shape(PAYMENT, {"apply": _APPLY}, plain="credit"),
    "customerRefund": _shape(REFUND, {"apply": _APPLY}),
    "customerDeposit": _shape(DEPOSIT),
    "depositApplication": _shape(DEPOSIT_APPLICATION, {"apply": _APPLY}, plain="deposit"),
    "journalEntry": _shape(JOURNAL, {"line": _shape(JOURNAL_LINE)}),
    "accountingPeriod": _shape(
        """allLocked allowNonGLChanges apLocked arLocked closed closedOnDate endDate externalId fiscalCalendar
        fiscalCalendars id isAdjust isInactive isPosting isQuarter isYear lastModifiedDate links parent
        payrollLocked perBookPeriodClosing periodName refName startDate"""
    ),
    "subsidiary": _shape(
        """country currency email externalId fullName id isElimination isInactive lastModifiedDate legalName links
        name parent refName state url"""
    ),
    "account": _shape(
        """acctName acctNumber acctType currency description displayNameWithHierarchy eliminate externalId
        id includeChildren isInactive lastModifiedDate links localizations parent refName subsidiary""",
        plain="subsidiary parent",
    ),
    "department": _shape("externalId fullName id isInactive lastModifiedDate links name parent refName"),
    "term": _shape("dateDriven daysUntilNetDue externalId id isInactive lastModifiedDate links name refName"),
    "currency": _shape(
        """currencyPrecision displaySymbol exchangeRate externalId id isBaseCurrency isInactive lastModifiedDate
        links name refName symbol"""
    ),
    "salesTaxItem": _shape(TAX_ITEM, plain="parent rate subsidiary"),
    "taxType": _shape("country description externalId id isInactive lastModifiedDate links name refName"),
    "paymentMethod": _shape("account externalId id isInactive lastModifiedDate links name refName"),
}

# Custom fields of the account. The vendor lists them in the metadata catalogue; so does the twin.
CUSTOM_FIELDS: dict[str, dict[str, str]] = {
    "custbody_tieout_source": {"on": "transaction", "kind": "text"},
    "custbody_tieout_reason": {"on": "transaction", "kind": "text"},
    "custbody_tieout_trace": {"on": "transaction", "kind": "text"},
    "custcol_tieout_source_line": {"on": "line", "kind": "text"},
    "custcol_service_start": {"on": "line", "kind": "day"},
    "custcol_service_end": {"on": "line", "kind": "day"},
    "custentity_crm_account": {"on": "customer", "kind": "text"},
}
