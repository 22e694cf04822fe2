"""The tables SuiteQL sees, filled from the account record by record.

Column names are the vendor's, lower case. Dates carry a mark and ISO form inside, and are printed in the account's
format; `status` carries its record type inside, compares with and without it, and is printed as the bare letter.
Signs (ASSUMED where the vendor's pages are silent): `foreigntotal` has the sign of the main line's posting (invoice
and payment positive, credit memo and refund negative); item lines of an invoice are negative, as credits are.
"""

from __future__ import annotations

import sqlite3
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from tieout_lab.twins.netsuite import invoices
from tieout_lab.twins.netsuite.deposits import drawn
from tieout_lab.twins.netsuite.deposits import status as deposit_status
from tieout_lab.twins.netsuite.ledger import Ledger
from tieout_lab.twins.netsuite.state import TRAN_TYPES, Application, Document, Line, Posting, Record
from tieout_lab.twins.netsuite.tenant import Tenant
from tieout_lab.twins.netsuite.values import text

DAY_MARK, STATUS_MARK = "\x02", "\x03"
_DATES = frozenset(
    """trandate duedate startdate enddate lastmodifieddate createddate datecreated effectivedate nextdate previousdate
    closedate linelastmodifieddate custcol_service_start custcol_service_end""".split()
)
# Columns that hold ids and numbers; the rest are texts. It decides how a literal is compared with them.
_NUMERIC = frozenset(
    """id postingperiod entity subsidiary currency exchangerate approvalstatus terms foreigntotal foreignamountpaid
    foreignamountunpaid foreignpaymentamountused foreignpaymentamountunused totalaftertaxes taxtotal transaction
    linesequencenumber item quantity rate foreignamount netamount creditforeignamount debitforeignamount
    expenseaccount department taxcode transactionline accountingbook account amount debit credit amountpaid
    amountunpaid previousdoc previousline nextdoc nextline parent incomeaccount deferredrevenueaccount
    currencyprecision daysuntilnetdue taxtype saleaccount basecurrency transactioncurrency""".split()
)

_LIST = "id externalid name isinactive lastmodifieddate"
TABLES: dict[str, str] = {
    "transaction": """id externalid tranid transactionnumber type recordtype abbrevtype status trandate duedate
        postingperiod entity subsidiary currency exchangerate approvalstatus posting voided memo otherrefnum terms
        foreigntotal foreignamountpaid foreignamountunpaid foreignpaymentamountused foreignpaymentamountunused
        totalaftertaxes taxtotal createddate lastmodifieddate custbody_tieout_source custbody_tieout_reason
        custbody_tieout_trace""",
    "transactionline": """id transaction uniquekey linesequencenumber mainline taxline item itemtype quantity rate
        foreignamount netamount creditforeignamount debitforeignamount expenseaccount department subsidiary entity
        memo taxcode linelastmodifieddate custcol_tieout_source_line custcol_service_start custcol_service_end""",
    "transactionaccountingline": """transaction transactionline accountingbook account amount debit credit netamount
        amountpaid amountunpaid exchangerate posting lastmodifieddate""",
    "nexttransactionlinelink": """previousdoc previousline previoustype previousdate nextdoc nextline nexttype nextdate
        linktype foreignamount lastmodifieddate""",
    "previoustransactionlinelink": """previousdoc previousline previoustype previousdate nextdoc nextline nexttype
        nextdate linktype foreignamount lastmodifieddate""",
    "customer": """id entityid externalid companyname altname firstname lastname email phone isperson isinactive
        currency terms parent datecreated lastmodifieddate custentity_crm_account""",
    "customersubsidiaryrelationship": "id entity subsidiary isprimarysub externalid lastmodifieddate",
    "item": """id itemid externalid fullname displayname description itemtype subtype isinactive incomeaccount
        deferredrevenueaccount lastmodifieddate""",
    "account": """id acctnumber fullname accountsearchdisplayname accountsearchdisplaynamecopy accttype isinactive
        externalid lastmodifieddate""",
    "accountingperiod": """id periodname startdate enddate closed arlocked aplocked alllocked isyear isquarter isadjust
        isposting isinactive parent allownonglchanges lastmodifieddate""",
    "subsidiary": "id name fullname country currency parent iselimination isinactive externalid lastmodifieddate",
    "currency": "id name symbol displaysymbol currencyprecision isbasecurrency isinactive externalid lastmodifieddate",
    "department": f"{_LIST} fullname",
    "term": f"{_LIST} daysuntilnetdue",
    "salestaxitem": f"{_LIST} itemid description rate taxtype saleaccount",
    "taxtype": f"{_LIST} country description",
    "currencyrate": "id basecurrency transactioncurrency exchangerate effectivedate",
    "dual": "dummy",
}
_TABLE_OF = {"serviceSaleItem": "item"}


def schema() -> list[str]:
    """The statements that make the tables."""
    made = []
    for table, columns in TABLES.items():
        parts = []
        for name in columns.split():
            collation = (
                " COLLATE nsdate" if name in _DATES else " COLLATE nsstatus" if name == "status" else ""
            )
            affinity = "NUMERIC" if name in _NUMERIC else "TEXT"
            parts.append(f"[{name}] {affinity}{collation}")
        made.append(f"CREATE TABLE [{table}] ({', '.join(parts)})")
    return made


class Tables:
    """Keeps the tables in step with the account."""

    def __init__(self, tenant: Tenant, ledger: Ledger, base: sqlite3.Connection) -> None:
        self.tenant = tenant
        self.ledger = ledger
        self.base = base
        for statement in schema():
            base.execute(statement)
        base.execute("INSERT INTO [dual] VALUES ('X')")
        # The rates as the table holds them.
        self._rates: dict[tuple[str, str], list[tuple[date, Decimal]]] = {}

    def refresh(self) -> None:
        """Write what has changed and can be seen; what cannot be seen yet stays for the next time."""
        state = self.tenant.state
        for key in sorted(state.changed, key=lambda key: (key[0], int(key[1]))):
            space, id_ = key
            record = state.records[space].get(id_)
            if record is not None and not self.tenant.seen(record):
                continue
            self._clear(space, id_)
            if record is not None:
                self._write(record)
            state.changed.discard(key)
        if state.rates != self._rates:
            self._rewrite_rates()

    def _rewrite_rates(self) -> None:
        self._rates = {key: list(entries) for key, entries in self.tenant.state.rates.items()}
        self.base.execute("DELETE FROM currencyrate")
        position = 0
        for (currency, base), entries in sorted(self._rates.items()):
            for since, rate in entries:
                position += 1
                self._insert(
                    "currencyrate",
                    id=position,
                    basecurrency=base,
                    transactioncurrency=currency,
                    exchangerate=rate,
                    effectivedate=since,
                )

    def _clear(self, space: str, id_: str) -> None:
        if space == "transaction":
            self.base.execute("DELETE FROM [transaction] WHERE id = ?", (_cell(id_),))
            for table in ("transactionline", "transactionaccountingline"):
                self.base.execute(f"DELETE FROM {table} WHERE [transaction] = ?", (_cell(id_),))
            for table in ("nexttransactionlinelink", "previoustransactionlinelink"):
                self.base.execute(f"DELETE FROM {table} WHERE nextdoc = ?", (_cell(id_),))
        else:
            table = _TABLE_OF.get(space, space.lower())
            if table in TABLES:
                self.base.execute(f"DELETE FROM [{table}] WHERE id = ?", (_cell(id_),))

    def _write(self, record: Record) -> None:
        if isinstance(record, Document):
            self._document(record)
            return
        table = _TABLE_OF.get(record.type, record.type.lower())
        if table not in TABLES:
            return
        cells: dict[str, Any] = {name.lower(): value for name, value in record.fields.items()}
        cells.update(id=record.id, externalid=record.external_id)
        cells["lastmodifieddate"] = self._moment(record.modified)
        cells["datecreated"] = self._moment(record.created)
        if table == "customer":
            cells["altname"] = cells.get("companyname") or cells.get("entityid")
            cells.setdefault("isperson", False)
        elif table == "item":
            cells.update(fullname=cells["itemid"], description=cells.get("salesdescription"))
            cells.update(itemtype="Service", subtype="Sale")
        elif table == "account":
            name = f"{cells['acctnumber']} {cells['acctname']}"
            cells.update(fullname=cells["acctname"], accountsearchdisplayname=name)
            cells["accountsearchdisplaynamecopy"] = cells["acctname"]
        elif table == "salestaxitem":
            cells["itemid"] = cells["name"]
        for name in ("startdate", "enddate"):
            if isinstance(cells.get(name), str):
                cells[name] = date.fromisoformat(cells[name])
        self._insert(table, **cells)

    # -- transactions -----------------------------------------------------------------------------------------------
    def _document(self, document: Document) -> None:
        sign = -1 if document.type in ("creditMemo", "customerRefund") else 1
        amount = self._amounts(document)
        tax = sum(detail.amount for detail in document.taxes)
        settled = document.total - document.open_amount
        credit = document.type in ("creditMemo", "customerPayment", "customerDeposit")
        left = document.open_amount
        if document.type == "customerDeposit":
            left = document.total - drawn(document)
            settled = document.total - left
        self._insert(
            "transaction",
            id=document.id,
            externalid=document.external_id,
            tranid=document.number,
            transactionnumber=document.number,
            type=TRAN_TYPES[document.type],
            recordtype=document.type.lower(),
            abbrevtype=document.number.rstrip("0123456789"),
            status=f"{STATUS_MARK}{TRAN_TYPES[document.type]}:{letter(document)}",
            trandate=document.on,
            duedate=document.fields.get("dueDate"),
            postingperiod=document.period,
            entity=document.entity,
            subsidiary=document.subsidiary,
            currency=document.currency,
            exchangerate=document.rate,
            approvalstatus=document.approval,
            posting=document.approval == "2",
            voided=False,
            memo=document.fields.get("memo"),
            otherrefnum=document.fields.get("otherRefNum"),
            terms=document.fields.get("terms"),
            foreigntotal=sign * amount(document.total),
            foreignamountpaid=amount(settled) if document.type == "invoice" else None,
            foreignamountunpaid=amount(document.open_amount) if document.type == "invoice" else None,
            foreignpaymentamountused=amount(settled) if credit else None,
            foreignpaymentamountunused=amount(left) if credit else None,
            totalaftertaxes=sign * amount(document.total),
            taxtotal=sign * amount(tax),
            createddate=self._moment(document.created),
            lastmodifieddate=self._moment(document.modified),
            custbody_tieout_source=document.fields.get("custbody_tieout_source"),
            custbody_tieout_reason=document.fields.get("custbody_tieout_reason"),
            custbody_tieout_trace=document.fields.get("custbody_tieout_trace"),
        )
        self._lines(document)
        self._postings(document)
        for application in document.applies:
            self._link(document, application)

    def _amounts(self, document: Document) -> Any:
        exponent = self.tenant.exponent(document.currency)
        return lambda minor: Decimal(minor).scaleb(-exponent)

    def _lines(self, document: Document) -> None:
        amount = self._amounts(document)
        base = self.tenant.exponent(self.tenant.functional(document.subsidiary))
        details = {line.line: line for line in document.lines}
        taxes_from = max(details, default=0)
        sale = document.type in ("invoice", "creditMemo")
        posted = document.gl or self._unposted(document)
        if document.type != "journalEntry" and not any(posting.line == 0 for posting in posted):
            # The ledger has no line of nothing; a transaction has its main line, whatever its total.
            posted = [Posting(0, document.receivables, 0, 0), *posted]
        for position, posting in enumerate(posted):
            line = details.get(posting.line) if posting.line or not sale else None
            main = posting.line == 0 and document.type != "journalEntry"
            foreign = amount(posting.amount)
            self._insert(
                "transactionline",
                id=posting.line,
                transaction=document.id,
                uniquekey=f"{document.id}{posting.line:03d}",
                linesequencenumber=position,
                mainline=main,
                taxline=sale and posting.line > taxes_from,
                **_line_cells(document, line),
                foreignamount=foreign,
                netamount=Decimal(posting.functional).scaleb(-base),
                debitforeignamount=foreign if posting.amount > 0 else None,
                creditforeignamount=-foreign if posting.amount < 0 else None,
                expenseaccount=posting.account,
                subsidiary=document.subsidiary,
                entity=(line.entity if line is not None else None) or document.entity,
                linelastmodifieddate=self._moment(document.modified),
            )

    def _unposted(self, document: Document) -> list[Posting]:
        """The lines of a document that awaits approval, which are not in the ledger."""
        return self.ledger.entries(document)

    def _postings(self, document: Document) -> None:
        base = self.tenant.exponent(self.tenant.functional(document.subsidiary))
        for posting in document.gl:
            functional = Decimal(posting.functional).scaleb(-base)
            main = posting.line == 0 and document.type == "invoice"
            unpaid = Decimal(document.open_functional).scaleb(-base)
            self._insert(
                "transactionaccountingline",
                transaction=document.id,
                transactionline=posting.line,
                accountingbook=1,
                account=posting.account,
                amount=functional,
                netamount=functional,
                debit=functional if posting.functional > 0 else None,
                credit=-functional if posting.functional < 0 else None,
                amountunpaid=unpaid if main else None,
                amountpaid=functional - unpaid if main else None,
                exchangerate=document.rate,
                posting=True,
                lastmodifieddate=self._moment(document.modified),
            )

    def _link(self, document: Document, application: Application) -> None:
        """How an application shows: the settled document is the previous one, the settling one the next."""
        target = self.tenant.state.document(application.target)
        cells = {
            "previousdoc": target.id,
            "previousline": 0,
            "previoustype": TRAN_TYPES[target.type],
            "previousdate": target.on,
            "nextdoc": document.id,
            "nextline": 1 if document.type in ("customerPayment", "depositApplication") else 0,
            "nexttype": TRAN_TYPES[document.type],
            "nextdate": document.on,
            "linktype": "Payment",
            "foreignamount": self._amounts(document)(application.amount),
            "lastmodifieddate": self._moment(document.modified),
        }
        self._insert("nexttransactionlinelink", **cells)
        self._insert("previoustransactionlinelink", **cells)

    # -- cells ------------------------------------------------------------------------------------------------------
    def _moment(self, when: datetime) -> str:
        zone = ZoneInfo(self.tenant.preferences.time_zone)
        return DAY_MARK + when.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")

    def _insert(self, table: str, **cells: Any) -> None:
        columns = TABLES[table].split()
        values = [_cell(cells.get(name)) for name in columns]
        marks = ", ".join("?" for _ in columns)
        self.base.execute(f"INSERT INTO [{table}] VALUES ({marks})", values)


def letter(document: Document) -> str:
    """The status letter of any transaction."""
    if document.type == "invoice":
        return invoices.status(document)
    if document.type == "creditMemo":
        return "B" if document.open_amount == 0 else "A"
    if document.type == "customerDeposit":
        return deposit_status(document, bank=True)
    if document.type == "journalEntry":
        return "B" if document.approval == "2" else "A"
    return {"customerPayment": "C"}.get(document.type, "Y")


def _line_cells(document: Document, line: Line | None) -> dict[str, Any]:
    if line is None:
        return {"memo": document.fields.get("memo")}
    sign = -1 if document.type == "invoice" else 1
    return {
        "item": line.item,
        "itemtype": "Service" if line.item is not None else None,
        "quantity": sign * line.quantity if line.quantity is not None else None,
        "rate": line.rate,
        "department": line.department,
        "memo": line.fields.get("description") or line.fields.get("memo"),
        "taxcode": line.fields.get("taxCode"),
        **{name: value for name, value in line.fields.items() if name in TABLES["transactionline"].split()},
    }


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return DAY_MARK + value.isoformat()
    return value if isinstance(value, int) else text(value)
