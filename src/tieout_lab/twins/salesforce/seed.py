"""What the org holds on its first day: people, organisation, stages, the demo company's products and price books."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tieout_lab.twins.salesforce.org import Org
from tieout_lab.twins.salesforce.store import Row

PRICED_IN = ("USD", "EUR", "JPY")
# code, name, family, charge type, list price in USD, EUR and JPY
PRODUCTS = (
    ("PLATFORM", "Platform", "Subscription", "Recurring", "50", "45", "6000"),
    ("SUPPORT", "Premium support", "Subscription", "Recurring", "200", "180", "24000"),
    ("ONBOARD", "Onboarding", "Services", "One-Time", "1500", "1350", "180000"),
    ("ANALYTICS", "Analytics add-on", "Subscription", "Recurring", "20", "18", "2400"),
    ("GHOST", "Ghost module", "Subscription", "Recurring", "10", "9", "1200"),
)
# label, probability, closed, won, forecast category
STAGES = (
    ("Prospecting", 10, False, False, "Pipeline"),
    ("Qualification", 10, False, False, "Pipeline"),
    ("Needs Analysis", 20, False, False, "Pipeline"),
    ("Value Proposition", 50, False, False, "Pipeline"),
    ("Id. Decision Makers", 60, False, False, "Pipeline"),
    ("Perception Analysis", 70, False, False, "Pipeline"),
    ("Proposal/Price Quote", 75, False, False, "Pipeline"),
    ("Negotiation/Review", 90, False, False, "Pipeline"),
    ("Closed Won", 100, True, True, "Closed"),
    ("Closed Lost", 0, True, False, "Omitted"),
)


def plant(org: Org, *, username: str, sandbox: bool) -> None:
    """Fill an empty org."""
    _raw(org, "Organization", org.org_id, {
        "Name": "Tieout Demo", "Country": "US", "DefaultLocaleSidKey": "en_US", "DefaultCurrencyIsoCode": "USD",
        "TimeZoneSidKey": "America/Los_Angeles", "LanguageLocaleKey": "en_US", "InstanceName": "TWIN1",
        "OrganizationType": "Enterprise Edition", "IsSandbox": sandbox, "FiscalYearStartMonth": 1,
        "UsesStartDateAsFiscalYearName": False,
    })  # fmt: skip
    people = (
        (org.admin_id, "admin@tieout-demo.example", "Ada", "Admin", "Standard"),
        (org.sales_id, "sales@tieout-demo.example", "Sam", "Sales", "Standard"),
        (org.integration_id, username, None, "Integration", "Standard"),
    )
    for user_id, name, first, last, kind in people:
        _raw(org, "User", user_id, {
            "Username": name, "FirstName": first, "LastName": last, "Email": name, "Alias": last[:8].lower(),
            "Name": " ".join(part for part in (first, last) if part), "TimeZoneSidKey": "GMT", "LocaleSidKey": "en_US",
            "LanguageLocaleKey": "en_US", "UserType": kind, "IsActive": True, "DefaultCurrencyIsoCode": "USD",
        })  # fmt: skip
    for order, (label, chance, closed, won, forecast) in enumerate(STAGES, start=1):
        _raw(org, "OpportunityStage", org.store.new_id("OpportunityStage"), {
            "MasterLabel": label, "ApiName": label, "IsActive": True, "SortOrder": order, "IsClosed": closed,
            "IsWon": won, "ForecastCategory": forecast, "ForecastCategoryName": forecast,
            "DefaultProbability": Decimal(f"{chance}.0"),
        })  # fmt: skip
    _prices(org)


def _prices(org: Org) -> None:
    book = org.store.new_id("Pricebook2")
    standard = {"Name": "Standard Price Book", "IsActive": True, "IsStandard": True, "IsArchived": False}
    _raw(org, "Pricebook2", book, {**standard, "IsDeleted": False})
    product, entry = org.sobject("Product2"), org.sobject("PricebookEntry")
    for code, name, family, charge, *prices in PRODUCTS:
        given: dict[str, Any] = {"Name": name, "ProductCode": code, "Family": family, "IsActive": True}
        product_id = org.insert(product, {**given, "Charge_Type__c": charge})
        for currency, price in zip(PRICED_IN, prices, strict=True):
            keys = {"Pricebook2Id": book, "Product2Id": product_id, "CurrencyIsoCode": currency}
            org.insert(entry, {**keys, "UnitPrice": Decimal(price), "IsActive": True})


def _raw(org: Org, name: str, record_id: str, fields: Row) -> None:
    """A row the platform itself makes."""
    now = org.stamp()
    by = {"CreatedById": org.admin_id, "LastModifiedById": org.admin_id}
    stamps = {"CreatedDate": now, "LastModifiedDate": now, "SystemModstamp": now}
    org.store.put(name, {"Id": record_id, **fields, **by, **stamps})
