"""Canonical writes as NetSuite record bodies. Pure: internal ids are looked up before.

Amounts come from the write, as plain decimal numbers; a rate is never sent, so that nobody multiplies.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from tieout.canonical.journal import JournalLine
from tieout.canonical.money import to_major
from tieout.canonical.party import Address
from tieout.canonical.write import (
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    Fields,
    JournalWrite,
    PaymentWrite,
    Postable,
    RefundWrite,
)
from tieout.connectors.netsuite.config import NetSuiteConfig

Body = dict[str, object]
NAME_LENGTH = 83  # of companyName and entityId


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Internal ids that a body needs, by code. `currencies` by ISO code; `period` is one id or empty."""

    currencies: dict[str, str] = {}
    items: dict[str, str] = {}
    departments: dict[str, str] = {}
    tax_codes: dict[str, str] = {}
    tax_types: dict[str, str] = {}
    terms: dict[str, str] = {}
    accounts: dict[str, str] = {}
    period: str = ""


def reference(id: str) -> Body:
    """A reference to a record or an enumeration value."""
    return {"id": id}


def amount(amount_minor: int, currency: str) -> Decimal:
    """Minor units as the decimal that is sent: 1999 USD -> 19.99, 1999 JPY -> 1999."""
    return to_major(amount_minor, currency)


def amounts_minor(write: Postable) -> Iterator[int]:
    """Every amount that a body of this write holds."""
    match write:
        case DocumentWrite():
            for line in write.lines:
                yield line.net_minor
                for tax in line.taxes:
                    yield from (tax.tax_minor, tax.basis_minor)
            yield from (minor for _, minor in write.applies_to)
        case PaymentWrite():
            yield write.amount_minor
        case RefundWrite():
            yield from (minor for _, minor in write.settles)
        case JournalWrite():
            yield from (abs(line.amount_minor) for line in write.journal)


def plain(number: Decimal) -> Decimal:
    """The same number without an exponent: 1E+2 -> 100."""
    return Decimal(format(number, "f"))


def customer_body(write: CustomerWrite, ids: Ids) -> Body:
    """A customer. The entity id carries the CRM account's id, because the vendor wants it unique over all names."""
    suffix = f" {write.source.id}"
    body: Body = {
        "entityId": write.name[: NAME_LENGTH - len(suffix)].rstrip() + suffix,
        "companyName": write.name[:NAME_LENGTH],
        "isPerson": False,
        "subsidiary": reference(write.subsidiary),
        "custentity_crm_account": write.source.id,
    }
    if write.currencies:
        body["currency"] = reference(ids.currencies[write.currencies[0]])
        body["currencyList"] = {
            "items": [{"currency": reference(ids.currencies[code])} for code in write.currencies]
        }
    if write.email:
        body["email"] = write.email
    if write.terms:
        body["terms"] = reference(ids.terms[write.terms])
    if write.tax_ids:
        body["vatRegNumber"] = write.tax_ids[0].number
    if addresses := _addresses(write):
        body["addressBook"] = {"items": addresses}
    return body


def _addresses(write: CustomerWrite) -> list[Body]:
    billing, shipping = write.billing_address, write.shipping_address
    if billing == shipping:
        return [_address(write.name, billing, billing=True, shipping=True)] if billing.country else []
    lines = []
    if billing.country:
        lines.append(_address(write.name, billing, billing=True, shipping=not shipping.country))
    if shipping.country:
        lines.append(_address(write.name, shipping, billing=not billing.country, shipping=True))
    return lines


def _address(name: str, address: Address, *, billing: bool, shipping: bool) -> Body:
    parts = {
        "addressee": name[:NAME_LENGTH],
        "addr1": address.line1,
        "addr2": address.line2,
        "city": address.city,
        "state": address.region,
        "zip": address.postal_code,
    }
    found: Body = {key: value for key, value in parts.items() if value}
    found["country"] = reference(address.country)
    return {"defaultBilling": billing, "defaultShipping": shipping, "addressBookAddress": found}


def document_body(write: DocumentWrite, key: str, ids: Ids, config: NetSuiteConfig) -> Body:
    """An invoice or a credit memo, with billing's taxes instead of computed ones."""
    currency = write.currency
    lines: list[Body] = []
    taxes: list[Body] = []
    for number, line in enumerate(write.lines, start=1):
        mark = f"L{number}"
        lines.append(_line(line, mark, currency, ids, config))
        taxes += [
            {
                "taxDetailsReference": reference(mark),
                "taxType": ids.tax_types[tax.code],
                "taxCode": reference(ids.tax_codes[tax.code]),
                "taxRate": plain(tax.rate_percent),
                "taxBasis": amount(tax.basis_minor, currency),
                "taxAmount": amount(tax.tax_minor, currency),
            }
            for tax in line.taxes
        ]
    body: Body = _head(write, key, ids)
    body["entity"] = reference(write.customer)
    body["otherRefNum"] = write.number
    # Tells the memo of a void from that of a write-off, which may be alike in everything else.
    body["custbody_tieout_reason"] = write.reason
    body["item"] = {"items": lines}
    # Also with no tax line: without the override the vendor would compute taxes of its own.
    body["taxDetailsOverride"] = True
    body["taxDetails"] = {"items": taxes}
    if config.po_field and write.po_number:
        body[config.po_field] = write.po_number
    if write.kind == "invoice":
        if write.due is not None:
            body["dueDate"] = write.due.isoformat()
        if write.terms:
            body["terms"] = reference(ids.terms[write.terms])
    else:
        body["autoApply"] = False
        if write.applies_to:
            body["apply"] = apply_list(write.applies_to, currency)
    return body


def _line(line: DocumentLine, mark: str, currency: str, ids: Ids, config: NetSuiteConfig) -> Body:
    body: Body = {
        "item": reference(ids.items[line.item]),
        "quantity": plain(line.quantity) if line.quantity is not None else 1,
        "amount": amount(line.net_minor, currency),
        "description": line.description,
        "taxDetailsReference": mark,
    }
    if config.custom_price_level:
        body["price"] = reference(config.custom_price_level)
    if line.department:
        body["department"] = reference(ids.departments[line.department])
    if line.source_line:
        body["custcol_tieout_source_line"] = line.source_line
    if line.service_start is not None:
        body["custcol_service_start"] = line.service_start.isoformat()
    if line.service_end is not None:
        body["custcol_service_end"] = line.service_end.isoformat()
    return body


def _head(write: Postable, key: str, ids: Ids) -> Body:
    body: Body = {
        "externalId": key,
        "tranDate": write.day.isoformat(),
        "currency": reference(ids.currencies[write.currency]),
        "subsidiary": reference(write.subsidiary),
        "memo": write.source.id,
        "custbody_tieout_source": write.source.id,
    }
    if write.trace:
        body["custbody_tieout_trace"] = write.trace
    if ids.period:
        body["postingPeriod"] = reference(ids.period)
    return body


def payment_body(write: PaymentWrite, key: str, ids: Ids) -> Body:
    """Money received, unapplied; nothing is applied by itself."""
    body = _head(write, key, ids)
    body["customer"] = reference(write.customer)
    body["account"] = reference(ids.accounts[write.account])
    body["payment"] = amount(write.amount_minor, write.currency)
    body["autoApply"] = False
    if write.reference:
        body["checkNumber"] = write.reference
    return body


def refund_body(write: RefundWrite, key: str, ids: Ids, config: NetSuiteConfig) -> Body:
    """Money returned: its amount is the sum of what it settles (credit memos, unapplied payments)."""
    body = _head(write, key, ids)
    body["customer"] = reference(write.customer)
    body["account"] = reference(ids.accounts[write.account])
    if config.refund_payment_method:
        body["paymentMethod"] = reference(config.refund_payment_method)
    body["apply"] = apply_list(write.settles, write.currency)
    return body


def journal_body(write: JournalWrite, key: str, ids: Ids) -> Body:
    """A journal entry with the lines that were decided."""
    body = _head(write, key, ids)
    body["custbody_tieout_reason"] = write.reason
    body["line"] = {"items": [_journal_line(line, write, ids) for line in write.journal]}
    return body


def _journal_line(line: JournalLine, write: JournalWrite, ids: Ids) -> Body:
    side = "debit" if line.amount_minor > 0 else "credit"
    body: Body = {
        "account": reference(ids.accounts[line.account]),
        side: amount(abs(line.amount_minor), write.currency),
        "memo": f"{write.reason} {write.number}",
    }
    if line.customer:
        body["entity"] = reference(line.customer)
    if line.department:
        body["department"] = reference(ids.departments[line.department])
    return body


def apply_list(applications: tuple[tuple[str, int], ...], currency: str) -> Body:
    """The whole apply list: (document id, minor units). Lines are keyed by `doc`."""
    return {
        "items": [
            {"doc": reference(document), "apply": True, "amount": amount(minor, currency)}
            for document, minor in applications
        ]
    }


CUSTOMER_FIELDS = {
    "name": "companyName",
    "email": "email",
    "crm_account": "custentity_crm_account",
    "terms": "terms",
}


def customer_fields(fields: Fields, ids: Ids) -> Body:
    """Fields of the group `customer` as a partial body; None clears. KeyError for a field that we do not write."""
    body: Body = {}
    for name, value in fields.items():
        field = CUSTOMER_FIELDS[name]
        if value is not None and name == "terms":
            body[field] = reference(ids.terms[str(value)])
        else:
            body[field] = value
    return body
