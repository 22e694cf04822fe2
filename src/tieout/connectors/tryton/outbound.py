"""Canonical writes as Tryton records. Pure: internal ids are looked up before.

A line's net amount is sent as one unit of that price, so that nobody multiplies; billing's taxes go as manual tax
lines, so that nobody computes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from tieout.canonical.money import to_major
from tieout.canonical.party import Address
from tieout.canonical.write import (
    CustomerWrite,
    DocumentLine,
    DocumentWrite,
    JournalWrite,
    PaymentWrite,
    RefundWrite,
)
from tieout.connectors.tryton.mapping import describe
from tieout.connectors.tryton.wire import Row

Body = dict[str, object]


class Ids(msgspec.Struct, frozen=True, kw_only=True):
    """Internal ids that a record needs, by code. `receivable` is the receivables account of a document; `tax_accounts`
    by tax code; `parties`: accounts whose lines need a party."""

    company: int
    currency: int
    journal: int
    accounts: Mapping[str, int] = {}
    taxes: Mapping[str, int] = {}
    tax_accounts: Mapping[str, int] = {}
    departments: Mapping[str, Row] = {}
    parties: frozenset[str] = frozenset()
    terms: int | None = None
    receivable: int | None = None
    address: int | None = None


def party_body(write: CustomerWrite, key: str, terms: int | None) -> Body:
    """A customer: its code is our source's id, which the server keeps unique; our key is one of its identifiers."""
    body: Body = {
        "name": write.name,
        "code": write.source.id,
        "addresses": [["create", _addresses(write)]],
        "identifiers": [["create", [{"code": key}, *({"code": one.number} for one in write.tax_ids)]]],
    }
    if write.email:
        body["contact_mechanisms"] = [["create", [{"type": "email", "value": write.email}]]]
    if terms is not None:
        body["customer_payment_term"] = terms
    return body


def _addresses(write: CustomerWrite) -> list[Body]:
    """Billing first: an invoice goes to the first address."""
    billing, shipping = write.billing_address, write.shipping_address
    wanted = [billing] if billing == shipping or not shipping.country else [billing, shipping]
    return [_address(write.name, one) for one in wanted]


def _address(name: str, address: Address) -> Body:
    lines = [address.line1, address.line2, *([address.region] if address.region else [])]
    return {
        "party_name": name,
        "street": "\n".join(line for line in lines if line),
        "city": address.city,
        "postal_code": address.postal_code,
    }


def invoice_body(write: DocumentWrite, key: str, ids: Ids, party: int, *, day: date, dating: str) -> Body:
    """A customer's invoice; a credit memo is one with amounts below zero."""
    sign = 1 if write.kind == "invoice" else -1
    body: Body = {
        "type": "out",
        "company": ids.company,
        "party": party,
        "invoice_address": ids.address,
        "currency": ids.currency,
        "journal": ids.journal,
        "account": ids.receivable,
        "reference": key,
        "description": describe(write.number, write.reason, write.source.id),
        "comment": f"trace {write.trace}" if write.trace else "",
        "accounting_date": day,
        "payment_term_date": write.due or write.day,
        "lines": [["create", [_line(line, write.currency, sign, ids) for line in write.lines]]],
        "taxes": [["create", _taxes(write, sign, ids)]],
    }
    if dating == "document":
        body["invoice_date"] = write.day
    return body


def _line(line: DocumentLine, currency: str, sign: int, ids: Ids) -> Body:
    text = line.description
    if line.quantity is not None and line.quantity != 1:
        text = f"{format(line.quantity, 'f')} x {text}"
    if line.service_start is not None:
        text = f"{text} ({line.service_start} to {line.service_end or 'open'})"
    body: Body = {
        "type": "line",
        "company": ids.company,
        "currency": ids.currency,
        "account": ids.accounts[line.account],
        "description": text.strip(),
        "note": line.source_line,
        # One unit, or one returned; the sign of the price is the line's own (a discount is below zero).
        "quantity": sign,
        "unit_price": to_major(line.net_minor, currency),
    }
    if line.department:
        department = ids.departments[line.department]
        entry = {"root": department["root"], "account": department["id"]}
        body["analytic_accounts"] = [["create", [entry]]]
    return body


def _taxes(write: DocumentWrite, sign: int, ids: Ids) -> list[Body]:
    """One manual line per tax code. A tax of nothing moves nothing and is left out."""
    sums: dict[str, tuple[int, int]] = {}
    for line in write.lines:
        for tax in line.taxes:
            base, amount = sums.get(tax.code, (0, 0))
            sums[tax.code] = (base + tax.basis_minor, amount + tax.tax_minor)
    return [
        {
            "manual": True,
            "description": code,
            "tax": ids.taxes[code],
            "account": ids.tax_accounts[code],
            "base": sign * to_major(base, write.currency),
            "amount": sign * to_major(amount, write.currency),
        }
        for code, (base, amount) in sums.items()
        if amount
    ]


def cash_body(
    write: PaymentWrite | RefundWrite, key: str, ids: Ids, party: int, *, day: date, period: int
) -> Body:
    """Money as a move with the lines that were decided. A refund's receivables side is one line per document that it
    settles, named in the line's description."""
    kind = "payment" if isinstance(write, PaymentWrite) else "refund"
    lines: list[Body] = []
    for line in write.journal:
        with_party = line.account in ids.parties
        if with_party and isinstance(write, RefundWrite):
            lines += [
                move_line(ids.accounts[line.account], amount, write.currency, party, document)
                for document, amount in write.settles
            ]
        else:
            account = ids.accounts[line.account]
            lines.append(move_line(account, line.amount_minor, write.currency, party if with_party else None))
    reference = write.reference if isinstance(write, PaymentWrite) else ""
    return {
        "company": ids.company,
        "journal": ids.journal,
        "period": period,
        "date": day,
        "description": describe(key, kind, write.source.id, *([reference] if reference else [])),
        "lines": [["create", lines]],
    }


def journal_body(write: JournalWrite, key: str, ids: Ids, *, day: date, period: int) -> Body:
    """A journal as a move with the lines that were decided. A party only where the account asks for one."""
    lines = [
        move_line(
            ids.accounts[line.account],
            line.amount_minor,
            write.currency,
            int(line.customer) if line.customer and line.account in ids.parties else None,
        )
        for line in write.journal
    ]
    return {
        "company": ids.company,
        "journal": ids.journal,
        "period": period,
        "date": day,
        "description": describe(key, "journal", write.source.id, write.reason),
        "lines": [["create", lines]],
    }


def move_line(account: int, amount_minor: int, currency: str, party: int | None, document: str = "") -> Body:
    """One line of a move: a debit is positive."""
    amount = to_major(abs(amount_minor), currency)
    nothing = Decimal(0)
    body: Body = {
        "account": account,
        "debit": amount if amount_minor > 0 else nothing,
        "credit": amount if amount_minor < 0 else nothing,
    }
    if party is not None:
        body["party"] = party
    if document:
        body["description"] = document
    return body
