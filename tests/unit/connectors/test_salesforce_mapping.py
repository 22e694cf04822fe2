"""Salesforce records become canonical values; what cannot be money or time is refused by name."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tieout.canonical.order import Order
from tieout.canonical.outcome import Failure, Rejected
from tieout.canonical.party import Customer
from tieout.canonical.secret import Secret
from tieout.connectors.http import BadBody
from tieout.connectors.salesforce import soql, wire
from tieout.connectors.salesforce.config import Cpq, FieldNames, SalesforceConfig, resolve_names
from tieout.connectors.salesforce.mapping import (
    Org,
    map_contract_line,
    map_customer,
    map_order,
)
from tieout.connectors.salesforce.places import US_STATES

FIXTURES = Path(__file__).parent / "fixtures" / "salesforce"


def config(**changes: Any) -> SalesforceConfig:
    given: dict[str, Any] = {
        "login_url": "https://acme.my.salesforce.com",
        "start_date": date(2026, 1, 1),
        "consumer_key": "3MVG9",
        "auth": "client_credentials",
        "client_secret": Secret("hush"),
    }
    return SalesforceConfig(**given | changes)


def org(**changes: Any) -> Org:
    given = config(**changes)
    return Org("crm", given, resolve_names(given))


def golden(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    pair = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"), parse_float=Decimal)
    return pair["wire"], pair["canonical"]


def order_of(row: dict[str, Any], **changes: Any) -> Order:
    lines = (row.get("OpportunityLineItems") or {"records": []})["records"]
    return map_order(row, lines, org(**changes))


def test_order_golden() -> None:
    row, expected = golden("order__two_lines")
    order = order_of(row)
    assert json.loads(msgspec.json.encode(order)) == expected
    assert msgspec.json.decode(msgspec.json.encode(order), type=Order) == order


def test_customer_golden() -> None:
    row, expected = golden("customer__free_text_address")
    customer = map_customer(row, ["001RM000003oCpsYAE"], org())
    assert json.loads(msgspec.json.encode(customer)) == expected
    assert msgspec.json.decode(msgspec.json.encode(customer), type=Customer) == customer


def test_address_codes_and_own_tables() -> None:
    row = {
        "Id": "001RM000003oCprYAE",
        "BillingCountryCode": "us",
        "BillingStateCode": "ny",
        "BillingCountry": "x",
    }
    assert map_customer(row, [], org(address_codes=True)).billing_address.jurisdiction == "US-NY"
    row = {"Id": "001RM000003oCprYAE", "BillingCountry": "Etats-Unis", "BillingState": "Californie"}
    mapped = map_customer(row, [], org(countries={"Etats-Unis": "US"}, regions={"Californie": "CA"}))
    assert mapped.billing_address.jurisdiction == "US-CA"
    assert len(US_STATES) == 51


def test_deleted_deal_keeps_its_lines() -> None:
    row, _ = golden("order__two_lines")
    assert len(order_of(row | {"IsDeleted": True}).lines) == 3


def test_third_decimal_names_every_line() -> None:
    row, _ = golden("order__two_lines")
    lines = row["OpportunityLineItems"]["records"]
    lines[0]["TotalPrice"] = Decimal("179.915")
    lines[1]["TotalPrice"] = None
    with pytest.raises(Failure) as caught:
        order_of(row)
    outcome = caught.value.outcome
    assert isinstance(outcome, Rejected)
    assert "00kRM000001abcdYAA (PLATFORM)" in outcome.message
    assert "179.915 USD" in outcome.message
    assert "00kRM000001abceYAA (ONBOARD)" in outcome.message


@pytest.mark.parametrize(
    ("currency", "total", "minor"),
    [("JPY", "120000.0", 120000), ("KWD", "1.234", 1234), ("EUR", "0.10", 10)],
)
def test_currencies(currency: str, total: str, minor: int) -> None:
    row, _ = golden("order__two_lines")
    row["CurrencyIsoCode"] = currency
    del row["OpportunityLineItems"]["records"][1:]
    row["OpportunityLineItems"]["records"][0]["TotalPrice"] = Decimal(total)
    assert order_of(row).lines[0].net_minor == minor


def test_unknown_words_are_pending() -> None:
    row, _ = golden("order__two_lines")
    row["Billing_Frequency__c"] = "Semiannual"
    row["OpportunityLineItems"]["records"][0]["Product2"]["Charge_Type__c"] = "Barter"
    row["OpportunityLineItems"]["records"][1]["Product2"]["Charge_Type__c"] = None
    order = order_of(row)
    assert order.frequency == "pending: Semiannual"
    assert [line.charge for line in order.lines] == ["pending: Barter", "pending"]
    assert order_of(row | {"Billing_Frequency__c": None}).frequency == ""


def test_approval_field() -> None:
    row, _ = golden("order__two_lines")
    assert not order_of(row | {"Finance_Approved__c": False}).approved
    assert order_of(row | {"Finance_Approved__c": False}, approval_field="").approved


def test_single_currency_org() -> None:
    row, _ = golden("order__two_lines")
    del row["CurrencyIsoCode"]
    assert order_of(row, currency_field="", default_currency="EUR").currency == "EUR"


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"Term_Months__c": Decimal("1.5")}, "BAD_TERM"), ({"Contract_End__c": "9999-12-31"}, "BAD_DATE")],
)
def test_terms_that_are_none(changes: dict[str, Any], code: str) -> None:
    row, _ = golden("order__two_lines")
    with pytest.raises(Failure) as caught:
        order_of(row | changes)
    assert isinstance(caught.value.outcome, Rejected)
    assert caught.value.outcome.code == code


def test_wrong_types_are_no_values() -> None:
    row, _ = golden("order__two_lines")
    for changes in ({"IsWon": "true"}, {"Name": 5}, {"Contract_Start__c": "soon"}, {"Account": "x"}):
        with pytest.raises(BadBody):
            order_of(row | changes)


def test_contract_line_listing() -> None:
    row, _ = golden("order__two_lines")
    line = row["OpportunityLineItems"]["records"][0] | {"OpportunityId": row["Id"], "Opportunity": row}
    listed = map_contract_line(line, org())
    assert (listed.unit_minor, listed.contracted_minor, listed.frequency) == (
        Decimal("1799.1"),
        215892,
        "month",
    )
    assert (listed.start, listed.end) == (date(2026, 2, 1), date(2027, 2, 1))
    bad = map_contract_line(line | {"TotalPrice": Decimal("1.005"), "Opportunity": {}}, org())
    assert bad.currency == ""
    assert bad.status.startswith("pending")


def test_soql_values_stay_values() -> None:
    hostile = "x' OR Name != '\\"
    assert soql.quoted(hostile) == "'x\\' OR Name != \\'\\\\'"
    assert soql.quoted('a\nb"c') == "'a\\nb\\\"c'"
    assert not soql.is_record_id("006' OR Id != '")
    assert not soql.is_record_id("００６RM00000A1b2c")
    assert (
        soql.id18("00DRM000000abcd") == soql.id18("00DRM000000abcd")[:15] + soql.id18("00DRM000000abcd")[15:]
    )
    assert soql.id18("001RM000003oCpr") == "001RM000003oCprYAE"


def test_usage_header_both_forms() -> None:
    assert wire.read_usage("api-usage=18/5000") == wire.Usage(18, 5000)
    both = wire.read_usage("api-usage=25/5000; per-app-api-usage=17/250(appName=sample-connected-app)")
    assert both == wire.Usage(17, 250)  # the app's own allowance is the scarcer one
    assert both.percent == 6
    assert wire.read_usage("per-app-api-usage=17/250(appName=x;y); api-usage=4999/5000") == wire.Usage(
        4999, 5000
    )
    assert wire.read_usage("nonsense") is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"login_url": "https://login.salesforce.com"}, "My Domain address of the org only"),
        ({"cpq": Cpq(namespace="no good")}, "cpq.namespace is"),
        ({"cpq": Cpq(term_unit="week")}, "cpq.term_unit must be"),
        ({"bulk_threshold": 0}, "bulk_threshold and"),
        ({"order_source": "quote"}, "order_source is 'quote': write one of"),
        ({"api_version": "65.0"}, "66.0 or newer"),
        ({"api_version": "new"}, "66.0 or newer"),
        ({"login_url": "http://acme.example"}, "https"),
        ({"org_id": "00DRM000000abcd"}, "18-character"),
        ({"auth": "password"}, "write one of"),
        ({"auth": "jwt"}, "private_key"),
        ({"currency_field": ""}, "default_currency"),
        ({"approval_field": "Approved__c = true OR Id"}, "not an API name"),
        ({"fields": FieldNames(opportunity_status="")}, "must not be empty"),
        ({"query_page_size": 5000}, "between 200 and 2000"),
    ],
)
def test_wrong_configuration_says_what_to_write(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**changes)


def test_names_with_a_package_namespace() -> None:
    names = resolve_names(config(field_prefix="acme__Tieout_", fields=FieldNames(account_status="Mine__c")))
    assert names.opportunity_status == "acme__Tieout_Status__c"
    assert names.mirror_object == "acme__Tieout_Invoice__c"
    assert (names.account_status, names.opportunity_start) == ("Mine__c", "Contract_Start__c")


def test_secret_is_not_shown() -> None:
    assert "hush" not in repr(config())
