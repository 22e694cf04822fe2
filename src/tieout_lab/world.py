"""The demo company's configuration: the file of settings, the keys, and the decision tables, written into a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

ACCOUNTS = {"us": "acct_us", "jp": "acct_jp"}
BILLING = {"us": "stripe-us", "jp": "stripe-jp"}
# Sold products that billing and the ERP know; GHOST is in the CRM's price book alone.
PRODUCTS = ("PLATFORM", "SUPPORT", "ONBOARD", "ANALYTICS")
NAMES = {
    "PLATFORM": "Platform",
    "SUPPORT": "Premium support",
    "ONBOARD": "Onboarding",
    "ANALYTICS": "Analytics add-on",
    "GHOST": "Ghost module",
}
ACCOUNT_OF_PURPOSE = {
    "receivables": ("1100", ""),
    "clearing": ("1050", ""),
    "bank": ("1000", ""),
    "tax_payable": ("2200", ""),
    "bad_debt": ("6500", "BADDEBT"),
}
# CRM terms, days, and the internal id of the ERP's term.
TERMS = (("NET30", "30", "2"), ("NET60", "60", "3"), ("NET0", "0", "4"))
TAX_CODES = (
    ("us", "US-CA", "7.25", "CA_725"),
    ("us", "US-NY", "8.875", "NY_8875"),
    ("us", "*", "0", "EXEMPT"),
    ("jp", "JP", "10", "JP_10"),
    ("jp", "*", "0", "EXEMPT"),
)


# How long a real server may take to answer before its client gives up.
REAL_SECONDS = 4


@dataclass(frozen=True, kw_only=True)
class Company:
    """How the hub of the demo company is set up. `technical` is the present technical moment: the first sweep starts a
    day before it. `unkeyed`: the ERP does not enforce our keys. `timeout_seconds` and `lease_seconds` are real."""

    technical: datetime
    database: str = "sqlite:///tieout.db"
    port: int = 8700
    unkeyed: bool = False
    timeout_seconds: int = 30
    lease_seconds: int = 60
    poll_seconds: int = 1
    echo_suppression: bool = True


def write_company(directory: Path, twins: Mapping[str, Any], company: Company) -> Path:
    """Write everything the hub needs to talk to these twins; answers the path of the settings. Asking again writes
    the same files anew."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("salesforce", "netsuite"):
        _secret(directory / f"{name}.pem", twins[name]["private_key"])
    for entity, account in ACCOUNTS.items():
        given = twins["stripe"]["accounts"][account]
        _secret(directory / f"stripe-{entity}.key", given["api_key"])
        _secret(directory / f"stripe-{entity}.webhook", given["webhook_secret"])
    if "tryton" in twins:
        _secret(directory / "tryton.password", twins["tryton"]["password"])
    rules = directory / "rules"
    rules.mkdir(exist_ok=True)
    for table, rows in decision_tables().items():
        (rules / f"{table}.csv").write_text(_csv(rows), encoding="utf-8")
    path = directory / "tieout.toml"
    path.write_text(settings_text(twins, company), encoding="utf-8")
    return path


def add_ghost_rules(directory: Path) -> None:
    """What the finance department does about the parked deal: it writes the missing rules."""
    rows = {
        "products": [["P-GHOST-us", "GHOST", BILLING["us"], "GHOST", NAMES["GHOST"], "", ""]],
        "items": [
            ["I-GHOST-us-d", "GHOST", "us", "deferred", "ANALYTICS-DEF", "2400", "10", "", ""],
            ["I-GHOST-us-i", "GHOST", "us", "immediate", "ANALYTICS-IMM", "4000", "10", "", ""],
        ],
    }
    for table, added in rows.items():
        path = directory / "rules" / f"{table}.csv"
        text = path.read_text(encoding="utf-8")
        for row in added:
            if f"\n{row[0]}," not in text:
                text += ",".join(row) + "\n"
        path.write_text(text, encoding="utf-8")


def _secret(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


def _csv(rows: list[tuple[str, ...]]) -> str:
    return "".join(",".join(row) + "\n" for row in rows)


def decision_tables() -> dict[str, list[tuple[str, ...]]]:
    """The rules, header first; all in force for ever."""
    always = ("valid_from", "valid_to")
    tables: dict[str, list[tuple[str, ...]]] = {
        "products": [("rule_id", "crm_product", "billing_connection", "billing_product", "name", *always)],
        "items": [
            ("rule_id", "billing_product", "entity", "recognition", "item", "account", "department", *always)
        ],
        "tax_codes": [("rule_id", "entity", "jurisdiction", "rate_percent", "code", *always)],
        "terms": [("rule_id", "crm_terms", "days", "erp_terms", *always)],
        "accounts": [("rule_id", "entity", "purpose", "connection", "currency", "account", "item", *always)],
    }
    for entity, connection in BILLING.items():
        for product in PRODUCTS:
            name = NAMES[product]
            tables["products"].append((f"P-{product}-{entity}", product, connection, product, name, "", ""))
            tables["items"] += _items(product, entity)
        for purpose, (account, item) in ACCOUNT_OF_PURPOSE.items():
            tables["accounts"].append(
                (f"A-{purpose}-{entity}", entity, purpose, "*", "*", account, item, "", "")
            )
    for entity, jurisdiction, rate, code in TAX_CODES:
        place = jurisdiction.replace("*", "elsewhere")
        tables["tax_codes"].append((f"T-{entity}-{place}-{rate}", entity, jurisdiction, rate, code, "", ""))
    for terms, days, key in TERMS:
        tables["terms"].append((f"N-{terms}", terms, days, key, "", ""))
    return tables


def _items(product: str, entity: str) -> list[tuple[str, ...]]:
    if product == "ONBOARD":
        # A service rendered at once, whatever period billing prints on its line.
        return [
            (f"I-{product}-{entity}-{how[0]}", product, entity, how, "ONBOARD-IMM", "4000", "20", "", "")
            for how in ("deferred", "immediate")
        ]
    return [
        (f"I-{product}-{entity}-d", product, entity, "deferred", f"{product}-DEF", "2400", "10", "", ""),
        (f"I-{product}-{entity}-i", product, entity, "immediate", f"{product}-IMM", "4000", "10", "", ""),
    ]


def settings_text(twins: Mapping[str, Any], company: Company) -> str:
    """The settings as TOML."""
    entities = _ENTITIES
    if "tryton" in twins:
        # The last entity's line: its books are in the real ERP.
        head, _, tail = entities.rpartition('erp = "netsuite-main"')
        entities = f'{head}erp = "tryton-main"{tail}'
    parts = [_HEAD.format(company=company, echo=str(company.echo_suppression).lower()), entities]
    parts.append(_crm(twins["salesforce"], company))
    parts += [_billing(entity, twins["stripe"], company) for entity in ACCOUNTS]
    parts.append(_erp(twins["netsuite"], company))
    if "tryton" in twins:
        parts.append(_real_erp(twins["tryton"], company))
    return "\n".join(parts)


_HEAD = """\
# The demo company, as `tieout demo` wrote it: two legal entities that sell in three currencies.
company = "tieout-demo"
rules = "rules"
local_mode = true

[database]
url = "{company.database}"

[keys]
master = "tieout.key"

[web]
host = "127.0.0.1"
port = {company.port}

[engine]
lease_seconds = {company.lease_seconds}
runs_at_once = 64
status_poll_seconds = 1
echo_suppression = {echo}
"""

_ENTITIES = """\
[[entities]]
code = "us"
name = "Tieout Demo Inc"
time_zone = "America/Los_Angeles"
functional_currency = "USD"
currencies = ["USD", "EUR"]
billing = "stripe-us"
erp = "netsuite-main"
subsidiary = "1"
unregistered_jurisdictions = ["US-TX", "DE"]
registrations = [
  { jurisdiction = "US-CA", number = "CA-102-334455", valid_from = 2020-01-01 },
  { jurisdiction = "US-NY", number = "NY-11-2233445", valid_from = 2021-07-01 },
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
unregistered_jurisdictions = []
registrations = [{ jurisdiction = "JP", number = "T1234567890123", valid_from = 2023-10-01 }]
"""


def _crm(twin: Mapping[str, Any], company: Company) -> str:
    since = (company.technical - timedelta(days=1)).date()
    return f"""\
[connections.salesforce-main]
vendor = "salesforce"
login_url = "{twin["login_url"]}"
org_id = "{twin["org_id"]}"
live = false
auth = "jwt"
consumer_key = "{twin["consumer_key"]}"
username = "{twin["username"]}"
private_key = "file:salesforce.pem"
start_date = {since.isoformat()}
address_codes = true
poll_seconds = {company.poll_seconds}
overlap_seconds = 60
timeout_seconds = {company.timeout_seconds}
"""


def _billing(entity: str, twin: Mapping[str, Any], company: Company) -> str:
    zone = {"us": "America/Los_Angeles", "jp": "Asia/Tokyo"}[entity]
    return f"""\
[connections.stripe-{entity}]
vendor = "stripe"
url = "{twin["url"]}"
account = "{ACCOUNTS[entity]}"
live = false
api_key = "file:stripe-{entity}.key"
webhook_secrets = ["file:stripe-{entity}.webhook"]
entity = "{entity}"
time_zone = "{zone}"
product_prefix = "prod_"
per_second = 100
poll_seconds = 60
timeout_seconds = {company.timeout_seconds}
"""


def _real_erp(real: Mapping[str, Any], company: Company) -> str:
    """Under faults technical time outruns a server that works in real time: it is given the ERP twin's horizon."""
    longest = 900 if company.unkeyed else 120
    return f"""\
[connections.tryton-main]
vendor = "tryton"
url = "{real["url"]}"
database = "{real["database"]}"
username = "{real["username"]}"
password = "file:tryton.password"
live = false
timeout_seconds = {max(company.timeout_seconds, REAL_SECONDS)}
longest_seconds = {longest}

[connections.tryton-main.entities]
1 = "us"
2 = "jp"
"""


def _erp(twin: Mapping[str, Any], company: Company) -> str:
    return f"""\
[connections.netsuite-main]
vendor = "netsuite"
url = "{twin["url"]}"
account = "{twin["account"]}"
live = false
client_id = "{twin["client_id"]}"
certificate_id = "{twin["certificate_id"]}"
private_key = "file:netsuite.pem"
algorithm = "{twin["algorithm"]}"
in_flight = 12
timeout_seconds = {company.timeout_seconds}
enforce_keys = {str(not company.unkeyed).lower()}
refund_payment_method = "3"

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
