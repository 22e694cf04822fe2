"""The demo company: its configuration and its decision tables, for twins at given addresses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TOML = """\
company = "demo"
rules = "rules"

[database]
url = "sqlite:///tieout.db"

[web]
port = {port}

[engine]
lease_seconds = {lease_seconds}
status_poll_seconds = 20

[[entities]]
code = "us"
name = "Tieout Demo Inc"
time_zone = "America/Los_Angeles"
functional_currency = "USD"
currencies = ["USD", "EUR"]
billing = "stripe-us"
erp = "netsuite-main"
subsidiary = "1"
unregistered_jurisdictions = ["US-TX", "DE", "FR", "GB"]
registrations = [
  {{ jurisdiction = "US-CA", number = "CA-100200", valid_from = 2020-01-01 }},
  {{ jurisdiction = "US-NY", number = "NY-300400", valid_from = 2020-01-01 }},
]

[[entities]]
code = "jp"
name = "Tieout Demo KK"
time_zone = "Asia/Tokyo"
functional_currency = "JPY"
currencies = ["JPY"]
billing = "stripe-jp"
erp = "netsuite-main"
subsidiary = "2"
registrations = [{{ jurisdiction = "JP", number = "T1234567890123", valid_from = 2023-10-01 }}]

[connections.salesforce-main]
vendor = "salesforce"
login_url = "{salesforce[url]}"
org_id = "{salesforce[org_id]}"
live = false
auth = "jwt"
consumer_key = "{salesforce[consumer_key]}"
username = "{salesforce[username]}"
private_key = {{ file = "salesforce.pem" }}
start_date = 2025-01-01
feed = "{feed}"
pubsub_url = "{salesforce[pubsub_url]}"
poll_seconds = {poll_seconds}
timeout_seconds = {timeout_seconds}

[connections.stripe-us]
vendor = "stripe"
url = "{stripe[url]}"
account = "acct_us"
live = false
api_key = "{us[api_key]}"
webhook_secrets = ["{us[webhook_secret]}"]
entity = "us"
time_zone = "America/Los_Angeles"
product_prefix = "prod_"
timeout_seconds = {timeout_seconds}
poll_seconds = 60

[connections.stripe-jp]
vendor = "stripe"
url = "{stripe[url]}"
account = "acct_jp"
live = false
api_key = "{jp[api_key]}"
webhook_secrets = ["{jp[webhook_secret]}"]
entity = "jp"
time_zone = "Asia/Tokyo"
product_prefix = "prod_"
timeout_seconds = {timeout_seconds}
poll_seconds = 60

[connections.netsuite-main]
vendor = "netsuite"
url = "{netsuite[url]}"
account = "{netsuite[account]}"
live = false
client_id = "{netsuite[client_id]}"
certificate_id = "{netsuite[certificate_id]}"
private_key = {{ file = "netsuite.pem" }}
algorithm = "{netsuite[algorithm]}"
in_flight = 10
timeout_seconds = {timeout_seconds}
enforce_keys = {enforce_keys}
refund_payment_method = "4"

[connections.netsuite-main.approval]
1 = "off"
2 = "person"

[connections.netsuite-main.currencies]
1 = "USD"
2 = "JPY"

[connections.netsuite-main.entities]
1 = "us"
2 = "jp"
"""

PRODUCTS = {
    "PLATFORM": ("Platform", "10"),
    "SUPPORT": ("Premium support", "20"),
    "ANALYTICS": ("Analytics add-on", "10"),
    "ONBOARD": ("Onboarding", "20"),
}
_SINCE = "2025-01-01"


def rules() -> dict[str, str]:
    """The decision tables by file name. GHOST is sold in the CRM and has no rule: the planned parked deal."""
    products = ["rule_id,crm_product,billing_connection,billing_product,name,valid_from,valid_to"]
    items = ["rule_id,billing_product,entity,recognition,item,account,department,valid_from,valid_to"]
    for code, (name, department) in PRODUCTS.items():
        for entity in ("us", "jp"):
            key = f"{code.lower()}-{entity}"
            products.append(f"p-{key},{code},stripe-{entity},{code},{name},{_SINCE},")
            if code == "ONBOARD":
                items.append(f"i-{key},{code},{entity},immediate,ONBOARD-IMM,4000,{department},{_SINCE},")
                items.append(f"d-{key},{code},{entity},deferred,ONBOARD-IMM,4000,{department},{_SINCE},")
            else:
                items.append(f"i-{key},{code},{entity},immediate,{code}-IMM,4000,{department},{_SINCE},")
                items.append(f"d-{key},{code},{entity},deferred,{code}-DEF,2400,{department},{_SINCE},")
    taxes = [
        "rule_id,entity,jurisdiction,rate_percent,code,valid_from,valid_to",
        f"t-ca,us,US-CA,7.25,CA_725,{_SINCE},",
        f"t-ny,us,US-NY,8.875,NY_8875,{_SINCE},",
        f"t-us-0,us,*,0,EXEMPT,{_SINCE},",
        f"t-jp,jp,JP,10,JP_10,{_SINCE},",
        f"t-jp-0,jp,*,0,EXEMPT,{_SINCE},",
    ]
    terms = [
        "rule_id,crm_terms,days,erp_terms,valid_from,valid_to",
        f"net30,NET30,30,2,{_SINCE},",
        f"net0,NET0,0,4,{_SINCE},",
    ]
    accounts = ["rule_id,entity,purpose,connection,currency,account,item,valid_from,valid_to"]
    for entity in ("us", "jp"):
        for purpose, account, item in (
            ("receivables", "1100", ""),
            ("clearing", "1050", ""),
            ("bank", "1000", ""),
            ("fees", "6100", ""),
            ("tax_payable", "2200", ""),
            ("bad_debt", "6500", "BADDEBT"),
        ):
            accounts.append(f"a-{purpose}-{entity},{entity},{purpose},*,*,{account},{item},{_SINCE},")
    tables = {"products": products, "items": items, "tax_codes": taxes, "terms": terms, "accounts": accounts}
    return {f"{name}.csv": "\n".join(lines) + "\n" for name, lines in tables.items()}


def write_company(
    directory: Path,
    described: Mapping[str, Mapping[str, Any]],
    *,
    enforce_keys: bool = True,
    timeout_seconds: int = 2,
    lease_seconds: int = 10,
    poll_seconds: int = 5,
    feed: str = "sweep",
    port: int = 8700,
) -> Path:
    """Write tieout.toml, keys and rules into a folder; `described` is what each twin tells of itself."""
    accounts = described["stripe"]["accounts"]
    text = _TOML.format(
        salesforce=described["salesforce"],
        stripe=described["stripe"],
        netsuite=described["netsuite"],
        us=accounts["acct_us"],
        jp=accounts["acct_jp"],
        enforce_keys=str(enforce_keys).lower(),
        timeout_seconds=timeout_seconds,
        lease_seconds=lease_seconds,
        poll_seconds=poll_seconds,
        feed=feed,
        port=port,
    )
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "salesforce.pem").write_text(described["salesforce"]["private_key"])
    (directory / "netsuite.pem").write_text(described["netsuite"]["private_key"])
    (directory / "rules").mkdir(exist_ok=True)
    for name, table in rules().items():
        (directory / "rules" / name).write_text(table)
    path = directory / "tieout.toml"
    path.write_text(text)
    return path
