"""Planted faults: one invoice altered behind everyone's back, its ledger lines with it."""

from __future__ import annotations

import copy
from datetime import date
from decimal import Decimal
from typing import Any

from tieout_lab.twins.netsuite.applications import Settlements
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.snapshot import document_data
from tieout_lab.twins.netsuite.state import Document
from tieout_lab.twins.netsuite.tenant import Tenant

KINDS = ("cent", "period", "account", "drop", "double")


def strike(tenant: Tenant, ledger: Ledger, settlements: Settlements, given: dict[str, Any]) -> dict[str, Any]:
    """Do one kind of damage to one invoice. Without an id: the first posted invoice that nothing is applied to, else
    the first posted one. Answers kind, id, number, source, what changed, and for `drop` the documents released."""
    kind = given["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; known: {', '.join(KINDS)}")
    invoice = tenant.state.document(str(given["id"])) if given.get("id") else _victim(tenant)
    told = {
        "kind": kind,
        "id": invoice.id,
        "number": invoice.number,
        "external_id": invoice.external_id,
        "source": invoice.fields.get("custbody_tieout_source"),
        "subsidiary": invoice.subsidiary,
        "total_minor": invoice.total,
        "currency": tenant.name("currency", invoice.currency),
    }
    tenant.state.touch(invoice)  # its last change stays as it was: nobody is told
    if kind == "cent":
        told |= _cent(invoice, ledger)
    elif kind == "period":
        told |= _period(invoice, ledger)
    elif kind == "account":
        told |= _account(invoice)
    elif kind == "drop":
        told["released"] = settlements.release(invoice)
        tenant.state.remove(invoice)
    else:
        told["double"] = _double(tenant, invoice)
    return told


def _victim(tenant: Tenant) -> Document:
    posted = [d for d in tenant.state.documents() if d.type == "invoice" and d.gl]
    if not posted:
        raise LookupError("no posted invoice to alter")
    return next((d for d in posted if not d.applied), posted[0])


def _cent(invoice: Document, ledger: Ledger) -> dict[str, Any]:
    """One minor unit more on the first line, in the total and in the ledger."""
    invoice.lines[0].amount += 1
    invoice.total += 1
    ledger.post(invoice)
    return {"line": invoice.lines[0].line, "changed_total_minor": invoice.total}


def _period(invoice: Document, ledger: Ledger) -> dict[str, Any]:
    """Moved to the next period; date and amounts stay."""
    periods = [period.id for period in ledger.leaf_periods()]
    before = invoice.period
    position = periods.index(before)
    invoice.period = periods[position + 1 if position + 1 < len(periods) else position - 1]
    return {"from_period": before, "to_period": invoice.period}


def _account(invoice: Document) -> dict[str, Any]:
    """Its first income line posted to another account."""
    line = next(posting for posting in invoice.gl if posting.account in ("2400", "4000", "4100", "6500"))
    before = line.account
    line.account = "4000" if before == "2400" else "2400"
    return {"from_account": before, "to_account": line.account}


def _double(tenant: Tenant, invoice: Document) -> str:
    """The same document once more: another id and number, no external id, nothing applied."""
    twin = copy.deepcopy(invoice)
    twin.id = str(tenant.state.next("transaction"))
    twin.number = f"INV{tenant.state.next('number/invoice', 1001)}"
    twin.external_id = None
    twin.applied, twin.applies = [], []
    tenant.state.add(twin)
    return twin.id


def alter(tenant: Tenant, document: Document, path: str, value: Any) -> dict[str, Any]:
    """Set one stored value of a document, the ledger not minded. Paths: number, external_id, date, period, rate,
    total_minor, approval, `line.<n>.amount_minor`, `gl.<n>.account|amount_minor|functional_minor`, or a field name."""
    tenant.state.touch(document)
    parts = path.split(".")
    if parts[0] in ("line", "gl") and len(parts) == 3:
        entries: list[Any] = document.lines if parts[0] == "line" else document.gl
        name = {"amount_minor": "amount", "functional_minor": "functional"}.get(parts[2], parts[2])
        entry = entries[int(parts[1])]
        if not hasattr(entry, name):
            raise ValueError(f"no {path!r}")
        setattr(entry, name, value)
    elif path == "external_id":
        tenant.state.rename(document, value)
    elif path == "date":
        document.on = date.fromisoformat(value)
    elif path == "rate":
        document.rate = Decimal(str(value))
    elif path in ("number", "period", "approval", "total_minor"):
        setattr(document, path.removesuffix("_minor"), value)
    else:
        document.fields[path] = value
    return document_data(tenant, document)
