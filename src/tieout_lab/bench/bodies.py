"""What the stub answers and the loader sends: one invoice of two lines, its ids derived from a number."""

from __future__ import annotations

import hashlib
import hmac

CUSTOMERS = 500
ACCOUNT = "acct_us"
API_KEY = "sk_test_bench"
WEBHOOK_SECRET = "whsec_bench"  # noqa: S105 - known to the bench's own loader only
ORG = "00D000000000001EAA"
ERP_ACCOUNT = "TSTDRV1"
_ISSUED = 1767297600  # 2026-01-01 20:00 UTC
_ERP_FIRST = 10_000_000


def invoice_id(number: int) -> str:
    return f"in_{number:08d}"


def billing_customer(number: int) -> str:
    return f"cus_{number % CUSTOMERS:05d}"


def crm_account(number: int) -> str:
    return f"001{number % CUSTOMERS:012d}AAA"


def erp_customer(number: int) -> str:
    return str(500_000 + number % CUSTOMERS)


def erp_document(number: int) -> str:
    return str(_ERP_FIRST + number)


def number_of_document(text: bytes) -> int:
    """The invoice number behind an ERP document's id."""
    return int(text) - _ERP_FIRST


def _line(id: str, name: str, product: str, amount: int, tax: int) -> bytes:
    return (
        f'{{"id":"il_@_{id}","object":"line_item","amount":{amount},"currency":"usd","description":"{name}",'
        '"discount_amounts":[],"discountable":true,"discounts":[],"invoice":"in_@","livemode":false,"metadata":{},'
        '"parent":{"invoice_item_details":null,"subscription_item_details":{"invoice_item":null,"proration":false,'
        '"proration_details":{"credited_items":null},"subscription":"sub_@","subscription_item":"si_@"},'
        '"type":"subscription_item_details"},"period":{"end":1769904000,"start":1767225600},'
        f'"pretax_credit_amounts":[],"pricing":{{"price_details":{{"price":"price_{id}","product":"{product}"}},'
        f'"type":"price_details","unit_amount_decimal":"{amount // 10}"}},"quantity":10,"taxes":[{{"amount":{tax},'
        '"tax_behavior":"exclusive","tax_rate_details":{"tax_rate":"txr_ca"},"taxability_reason":"standard_rated",'
        f'"taxable_amount":{amount},"type":"tax_rate_details"}}]}}'
    ).encode()


def _template() -> bytes:
    lines = b",".join(
        (
            _line("a", "10 seats Platform (January 2026)", "prod_PLATFORM", 45_500, 3_299),
            _line("b", "Premium support (January 2026)", "prod_SUPPORT", 100_000, 7_250),
        )
    )
    head = (
        '{"id":"in_@","object":"invoice","account_country":"US","amount_due":156049,"amount_paid":0,'
        '"amount_remaining":156049,"attempt_count":0,"auto_advance":true,"billing_reason":"subscription_cycle",'
        f'"collection_method":"send_invoice","created":{_ISSUED - 60},"currency":"usd","customer":"cus_#",'
        '"customer_address":{"city":"San Francisco","country":"US","line1":"1 Market Street","line2":null,'
        '"postal_code":"94105","state":"CA"},"customer_email":"ap@customer.example","customer_name":"Customer #",'
        f'"due_date":{_ISSUED + 2_592_000},"effective_at":{_ISSUED},"lines":{{"object":"list","data":['
    ).encode()
    tail = (
        '],"has_more":false,"total_count":2,"url":"/v1/invoices/in_@/lines"},"livemode":false,"metadata":{},'
        '"number":"BENCH-@","parent":{"quote_details":null,"subscription_details":{"metadata":{"trace":"T@"},'
        '"subscription":"sub_@"},"type":"subscription_details"},"status":"open","status_transitions":'
        f'{{"finalized_at":{_ISSUED},"marked_uncollectible_at":null,"paid_at":null,"voided_at":null}},'
        '"subtotal":145500,"subtotal_excluding_tax":145500,"total":156049,"total_excluding_tax":145500,'
        '"total_taxes":[{"amount":10549,"tax_behavior":"exclusive","tax_rate_details":{"tax_rate":"txr_ca"},'
        '"taxability_reason":"standard_rated","taxable_amount":145500,"type":"tax_rate_details"}]}'
    ).encode()
    return head + lines + tail


_INVOICE = _template()


def invoice(number: int) -> bytes:
    """The invoice as billing shows it."""
    return _INVOICE.replace(b"@", b"%08d" % number).replace(b"#", b"%05d" % (number % CUSTOMERS))


def event(number: int, created: int) -> bytes:
    """The webhook that says it was finalised."""
    return (
        b'{"id":"evt_%08d","object":"event","api_version":"2026-10-28.endive","created":%d,"data":{"object":%b},'
        b'"livemode":false,"pending_webhooks":1,"request":{"id":null,"idempotency_key":null},'
        b'"type":"invoice.finalized"}' % (number, created, invoice(number))
    )


def signed(body: bytes, at: int) -> str:
    """The signature header of a webhook."""
    stamp = str(at).encode()
    return f"t={at},v1={hmac.digest(WEBHOOK_SECRET.encode(), stamp + b'.' + body, hashlib.sha256).hex()}"


TAX_RATE = (
    b'{"id":"txr_ca","object":"tax_rate","country":"US","state":"CA","percentage":7.25,'
    b'"effective_percentage":7.25,"inclusive":false,"livemode":false}'
)
_DOCUMENT = (
    b'{"links":[],"id":"$","tranId":"INV$","externalId":"BENCH","tranDate":"2026-01-01","status":{"id":"A",'
    b'"refName":"Open"},"approvalStatus":{"id":"2","refName":"Approved"},"subsidiary":{"id":"1","refName":"Tieout Demo '
    b'Inc"},"currency":{"id":"1","refName":"USD"},"postingPeriod":{"id":"1","refName":"Jan 2026"},"account":{"id":'
    b'"1100","refName":"1100 Accounts receivable"},"entity":{"id":"&","refName":"Customer"},'
    b'"total":1560.49,"taxTotal":105.49,'
    b'"subTotal":1455.00,"memo":"in_@","otherRefNum":"BENCH-@","custbody_tieout_source":"in_@","item":{"items":['
    b'{"line":1,"item":{"id":"1","refName":"PLATFORM-DEF"},"amount":455.00,"quantity":10,"department":{"id":"10"},'
    b'"taxDetailsReference":"L1"},{"line":2,"item":{"id":"2","refName":"SUPPORT-DEF"},"amount":1000.00,"quantity":10,'
    b'"department":{"id":"20"},"taxDetailsReference":"L2"}],"totalResults":2},"taxDetails":{"items":['
    b'{"taxCode":{"id":"1","refName":"CA_725"},"taxAmount":32.99,"taxBasis":455.00,"taxRate":7.25},'
    b'{"taxCode":{"id":"1","refName":"CA_725"},"taxAmount":72.50,"taxBasis":1000.00,"taxRate":7.25}]}}'
)


def document(number: int) -> bytes:
    """The posted invoice as the ERP shows it."""
    return (
        _DOCUMENT.replace(b"$", b"%d" % (_ERP_FIRST + number))
        .replace(b"&", b"%d" % (500_000 + number % CUSTOMERS))
        .replace(b"@", b"%08d" % number)
    )


# SuiteQL answers by the table that the query names.
TABLES: dict[bytes, list[dict[str, str]]] = {
    b"FROM accountingperiod": [
        {
            "id": "1",
            "periodname": "Jan 2026",
            "startdate": "2026-01-01",
            "enddate": "2026-01-31",
            "closed": "F",
        }
    ],
    b"FROM account ": [
        {"id": number, "acctnumber": number, "accttype": "Income"}
        for number in ("1000", "1050", "1100", "2200", "2400", "4000", "4100", "6500")
    ],
    b"FROM item ": [
        {"id": "1", "itemid": "PLATFORM-DEF", "incomeaccount": "2400"},
        {"id": "2", "itemid": "SUPPORT-DEF", "incomeaccount": "2400"},
        {"id": "3", "itemid": "PLATFORM-IMM", "incomeaccount": "4000"},
        {"id": "4", "itemid": "SUPPORT-IMM", "incomeaccount": "4000"},
    ],
    b"FROM department ": [{"id": "10", "name": "Sales"}, {"id": "20", "name": "Services"}],
    b"FROM term ": [{"id": "2", "name": "Net 30"}],
    b"FROM salestaxitem ": [{"id": "1", "itemid": "CA_725", "taxtype": "1"}],
    b"FROM currency ": [{"id": "1", "symbol": "USD"}],
    b"FROM subsidiary": [{"id": "1", "name": "Tieout Demo Inc"}],
}
