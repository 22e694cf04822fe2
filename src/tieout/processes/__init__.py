"""The order-to-cash flows, one file each: procedures that name roles (crm, billing, erp), never vendors."""

from __future__ import annotations

from tieout.engine.process import Process
from tieout.processes.activate import activate
from tieout.processes.apply_payment import apply_payment
from tieout.processes.bill_invoice import bill_invoice
from tieout.processes.book_dispute import book_dispute
from tieout.processes.book_payout import book_payout
from tieout.processes.close_won import close_won
from tieout.processes.credit_invoice import credit_invoice
from tieout.processes.refund_payment import refund_payment
from tieout.processes.report_usage import report_usage
from tieout.processes.sync_account import sync_account

PROCESSES: dict[str, Process] = {
    process.kind: process
    for process in (
        close_won,
        activate,
        sync_account,
        bill_invoice,
        apply_payment,
        credit_invoice,
        refund_payment,
        report_usage,
        book_dispute,
        book_payout,
    )
}
