"""The whole account as plain data, for checkers that judge the twin's documents from outside."""

from __future__ import annotations

from typing import Any

from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.sqltables import letter
from tieout_lab.twins.netsuite.state import TRAN_TYPES, Document
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import text


def document_data(tenant: Tenant, document: Document) -> dict[str, Any]:
    """One document: identity, amounts in minor units, lines, taxes, applications, ledger lines."""
    state = tenant.state
    customer = state.find("customer", document.entity) if document.entity else None
    return {
        "id": document.id,
        "type": document.type,
        "tran_type": TRAN_TYPES[document.type],
        "number": document.number,
        "external_id": document.external_id,
        "subsidiary": document.subsidiary,
        "customer": document.entity,
        "customer_external_id": customer.external_id if customer is not None else None,
        "currency": state.get("currency", document.currency).fields["symbol"],
        "rate": str(document.rate),
        "date": document.on.isoformat(),
        "due_date": text(document.fields.get("dueDate")),
        "period": state.get("accountingPeriod", document.period).fields["periodName"],
        "period_id": document.period,
        "status": letter(document),
        "approval": document.approval,
        "posted": bool(document.gl) or document.approval == "2",
        "account": document.account,
        "source": document.fields.get("custbody_tieout_source"),
        "reason": document.fields.get("custbody_tieout_reason"),
        "trace": document.fields.get("custbody_tieout_trace"),
        "memo": document.fields.get("memo"),
        "other_ref": document.fields.get("otherRefNum"),
        "total_minor": document.total,
        "tax_minor": sum(tax.amount for tax in document.taxes),
        "open_minor": document.open_amount,
        "functional_minor": document.functional,
        "lines": [
            {
                "line": line.line,
                "item": tenant.name("serviceSaleItem", line.item),
                "account": line.account,
                "amount_minor": line.amount,
                "quantity": text(line.quantity),
                "department": line.department,
                "source_line": line.fields.get("custcol_tieout_source_line"),
                "service_start": text(line.fields.get("custcol_service_start")),
                "service_end": text(line.fields.get("custcol_service_end")),
            }
            for line in document.lines
        ],
        "taxes": [
            {
                "code": tenant.name("salesTaxItem", tax.code),
                "rate": str(tax.rate),
                "basis_minor": tax.basis,
                "amount_minor": tax.amount,
            }
            for tax in document.taxes
        ],
        "applies": [
            {"document": a.target, "number": state.document(a.target).number, "amount_minor": a.amount}
            for a in document.applies
        ],
        "gl": [
            {
                "line": line.line,
                "account": line.account,
                "amount_minor": line.amount,
                "functional_minor": line.functional,
            }
            for line in document.gl
        ],
        "created": document.created.isoformat(),
        "modified": document.modified.isoformat(),
    }


def snapshot(tenant: Tenant, ledger: Ledger) -> dict[str, Any]:
    """{"documents": [...], "customers": [...], "trial_balance": [...]}."""
    customers = [
        {
            "id": record.id,
            "external_id": record.external_id,
            "entity_id": record.fields["entityId"],
            "company_name": record.fields.get("companyName"),
            "subsidiary": record.fields["subsidiary"],
            "crm_account": record.fields.get("custentity_crm_account"),
            "email": record.fields.get("email"),
        }
        for record in tenant.state.of_type("customer")
    ]
    return {
        "documents": [document_data(tenant, document) for document in tenant.state.documents()],
        "customers": customers,
        "trial_balance": ledger.trial_balance(),
    }
