"""Status and references back to where people look: the billing document, and its mirror in the CRM."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.invoice import Invoice
from tieout.canonical.outcome import Receipt
from tieout.canonical.write import Fields
from tieout.connectors.contract import Assigner
from tieout.engine.run import Run


async def show_at_billing(run: Run, ref: Ref, receipt: Receipt, status: str) -> None:
    """The ERP document on the billing document."""
    if not isinstance(run.connection(ref.connection).api, Assigner):
        return
    fields: Fields = {"erp_document": receipt.external_id, "erp_number": receipt.number, "erp_status": status}
    await run.assign(ref, "erp", fields, optional=True)


async def show_at_crm(run: Run, invoice: Invoice, account: Ref, receipt: Receipt, status: str) -> None:
    """The invoice with its ERP document, mirrored at the CRM of its account."""
    fields: Fields = {
        "name": invoice.number,
        "account": account.id,
        "opportunity": invoice.opportunity or None,
        "amount_minor": invoice.total_minor,
        "currency": invoice.currency,
        "status": status,
        "number": invoice.number,
        "erp_document": receipt.external_id,
        "erp_number": receipt.number,
        "billing": invoice.ref.connection,
    }
    target = Ref(connection=account.connection, kind="invoice_mirror", id=invoice.ref.id)
    await run.assign(target, "mirror", fields, optional=True)
