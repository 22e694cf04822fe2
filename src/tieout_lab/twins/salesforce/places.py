"""State and country codes beside their names, as in an org with state and country picklists."""

from __future__ import annotations

from tieout_lab.twins.salesforce.schema import SObject
from tieout_lab.twins.salesforce.store import Row

COUNTRIES = {
    "US": "United States", "JP": "Japan", "DE": "Germany", "FR": "France", "GB": "United Kingdom", "CA": "Canada",
    "NL": "Netherlands", "IE": "Ireland", "ES": "Spain", "IT": "Italy", "CH": "Switzerland", "AT": "Austria",
    "AU": "Australia", "SG": "Singapore", "SE": "Sweden", "PL": "Poland", "BR": "Brazil", "MX": "Mexico",
    "IN": "India", "CN": "China", "KR": "South Korea", "KW": "Kuwait", "IL": "Israel", "SA": "Saudi Arabia",
}  # fmt: skip
STATES = {
    "CA": "California", "NY": "New York", "TX": "Texas", "WA": "Washington", "FL": "Florida", "IL": "Illinois",
    "MA": "Massachusetts", "CO": "Colorado", "OR": "Oregon", "NV": "Nevada", "AZ": "Arizona", "GA": "Georgia",
    "PA": "Pennsylvania", "OH": "Ohio", "VA": "Virginia", "NC": "North Carolina", "NJ": "New Jersey",
}  # fmt: skip


def complete(sobject: SObject, row: Row, before: Row | None) -> None:
    """Where only the code or only the name of a state or country was written, fill in the other."""
    for part in ("Billing", "Shipping", "Mailing", "Other"):
        if not sobject.has(f"{part}Address"):
            continue
        for kind, names in (("Country", COUNTRIES), ("State", STATES)):
            _pair(row, before or {}, f"{part}{kind}", f"{part}{kind}Code", names)


def _pair(row: Row, before: Row, name: str, code: str, names: dict[str, str]) -> None:
    name_moved, code_moved = row.get(name) != before.get(name), row.get(code) != before.get(code)
    if code_moved and not name_moved:
        row[name] = names.get(row.get(code) or "", row.get(code))
    elif name_moved and not code_moved:
        spoken = row.get(name)
        by_name = next((key for key, value in names.items() if value == spoken), None)
        row[code] = spoken if spoken in names else by_name  # integrations often write the code as the name
