"""What the standard objects compute and refuse beyond the plain rules of their fields.

Sources: Object Reference (Opportunity, OpportunityLineItem, PricebookEntry, Contract, Order, Quote) and field page 4.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.salesforce import errors, places, values
from tieout_lab.twins.salesforce.schema import SObject
from tieout_lab.twins.salesforce.store import Row

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce.org import Org

CENT = Decimal("0.01")


def before_save(org: Org, sobject: SObject, row: Row, before: Row | None, given: Row) -> None:
    """Fill computed fields of a row about to be written; refuse what the object refuses."""
    places.complete(sobject, row, before)
    if sobject.custom and row.get("Name") is None:
        row["Name"] = row["Id"]  # so does the vendor with a custom object's text name
    rule = _BEFORE.get(sobject.name)
    if rule:
        rule(org, row, before, given)


def refuse_duplicates(org: Org, sobject: SObject, row: Row) -> None:
    """A duplicate rule that blocks what an integration makes, unless its header allows the save."""
    if org.actor != org.integration_id or org.allow_duplicates:
        return
    for name, field in org.duplicate_rules:
        if name != sobject.name or row.get(field) is None:
            continue
        same = [
            each
            for each in org.store.rows(name)
            if not each.get("IsDeleted") and each.get(field) == row[field]
        ]
        if same:
            raise errors.duplicates_detected(name, [each["Id"] for each in same])


def after_save(org: Org, sobject: SObject, row: Row, before: Row | None) -> None:
    """Roll a written line up to its header."""
    del before
    rule = _AFTER.get(sobject.name)
    if rule:
        rule(org, row)


def before_delete(org: Org, sobject: SObject, row: Row) -> None:
    """Refuse the deletion of what is activated."""
    del org
    if sobject.name in ("Order", "Contract") and row.get("StatusCode") == "Activated":
        text = f"Your attempt to delete {row.get('Name') or row['Id']} could not be completed because it is activated."
        raise errors.SalesforceError(400, "DELETE_FAILED", text, [])
    if sobject.name == "Pricebook2" and row.get("IsStandard"):
        raise errors.SalesforceError(400, "DELETE_FAILED", "The standard price book cannot be deleted.", [])


def add_months(start: date, months: int) -> date:
    """The same day so many months on, or that month's last day."""
    year, month = divmod(start.year * 12 + start.month - 1 + months, 12)
    return date(year, month + 1, min(start.day, monthrange(year, month + 1)[1]))


# -- accounts and people ------------------------------------------------------------------------------------------
def _account(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del before, given
    seen, parent = {row["Id"]}, row.get("ParentId")
    while parent:
        if parent in seen:
            text = "attempted to set up a circular dependency"
            raise errors.SalesforceError(400, "CIRCULAR_DEPENDENCY", text, ["ParentId"])
        seen.add(parent)
        above = org.store.get("Account", parent)
        parent = above.get("ParentId") if above else None


def _contact(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del org, before, given
    row["Name"] = " ".join(part for part in (row.get("FirstName"), row.get("LastName")) if part)


# -- opportunities ------------------------------------------------------------------------------------------------
def _opportunity(org: Org, row: Row, before: Row | None, given: Row) -> None:
    lines = live(org, "OpportunityLineItem", "OpportunityId", row["Id"]) if before else []
    if before and lines:
        row["Amount"] = before.get("Amount")  # with products an amount sent is ignored, not refused
        if row["CurrencyIsoCode"] != before["CurrencyIsoCode"]:
            raise errors.integrity(
                "cannot change the currency of an opportunity with products", ["CurrencyIsoCode"]
            )
        if row.get("Pricebook2Id") != before.get("Pricebook2Id"):
            raise errors.integrity(
                "cannot change the price book of an opportunity with products", ["Pricebook2Id"]
            )
    stage = next(
        (each for each in org.store.rows("OpportunityStage") if each["MasterLabel"] == row["StageName"]), {}
    )
    row["IsWon"], row["IsClosed"] = stage.get("IsWon", False), stage.get("IsClosed", False)
    moved = before is None or before["StageName"] != row["StageName"]
    sent = {name.lower() for name in given}
    if moved:
        row["LastStageChangeDate"] = row["SystemModstamp"] if before else None
        if "probability" not in sent:
            row["Probability"] = stage.get("DefaultProbability", Decimal("0.0"))
        if "forecastcategoryname" not in sent:
            row["ForecastCategoryName"] = stage.get("ForecastCategoryName", "Pipeline")
        row["ForecastCategory"] = stage.get("ForecastCategory", "Pipeline")
    closing = date.fromisoformat(row["CloseDate"])
    quarter = (closing.month + 2) // 3
    row |= {"FiscalYear": closing.year, "FiscalQuarter": quarter, "Fiscal": f"{closing.year} {quarter}"}
    row.setdefault("HasOpportunityLineItem", bool(lines))
    row["ExpectedRevenue"] = _expected(row)


def _expected(row: Row) -> Decimal | None:
    amount, chance = row.get("Amount"), row.get("Probability")
    return None if amount is None or chance is None else _round(amount * chance / 100)


def _opportunity_line(org: Org, row: Row, before: Row | None, given: Row) -> None:
    header = org.store.get("Opportunity", row["OpportunityId"]) or {}
    if before is None:
        entry = _entry(org, row, header)
        product = org.store.get("Product2", entry["Product2Id"]) or {}
        name = f"{header['Name']} {product['Name']}"[:376]
        row |= {"PricebookEntryId": entry["Id"], "Product2Id": entry["Product2Id"], "Name": name}
        row |= {"ListPrice": entry["UnitPrice"], "CurrencyIsoCode": header["CurrencyIsoCode"]}
        if not header.get("Pricebook2Id"):
            org.touch("Opportunity", header["Id"], {"Pricebook2Id": entry["Pricebook2Id"]})
    sent = {name.lower() for name in given}
    if {"unitprice", "totalprice"} <= sent and given.get("UnitPrice") is not None:
        text = "specify either the sales price or the total price of an opportunity product, not both"
        raise errors.integrity(text, ["UnitPrice", "TotalPrice"])
    quantity, factor = row["Quantity"], 1 - (row.get("Discount") or Decimal(0)) / 100
    if "totalprice" in sent and row.get("TotalPrice") is not None and quantity and factor:
        row["UnitPrice"] = _round(row["TotalPrice"] / quantity / factor)
    if row.get("UnitPrice") is None:
        raise errors.missing_fields(["UnitPrice"])
    row["Subtotal"] = _round(quantity * row["UnitPrice"])
    if "totalprice" not in sent or row.get("TotalPrice") is None:
        row["TotalPrice"] = _round(quantity * row["UnitPrice"] * factor)


def _roll_up_opportunity(org: Org, line: Row) -> None:
    header = org.store.get("Opportunity", line["OpportunityId"])
    if header is None or header.get("IsDeleted"):
        return
    lines = live(org, "OpportunityLineItem", "OpportunityId", header["Id"])
    changes: dict[str, Any] = {"HasOpportunityLineItem": bool(lines)}
    if lines:
        changes["Amount"] = _round(sum((each["TotalPrice"] for each in lines), Decimal(0)))
        changes["TotalOpportunityQuantity"] = _round(sum((each["Quantity"] for each in lines), Decimal(0)))
        changes["ExpectedRevenue"] = _expected(header | changes)
    org.touch("Opportunity", header["Id"], changes)


# -- prices -------------------------------------------------------------------------------------------------------
def _entry(org: Org, row: Row, header: Row) -> Row:
    """The price book entry of a new line, named itself or found by product, price book and currency."""
    if row.get("PricebookEntryId"):
        entry = org.store.get("PricebookEntry", row["PricebookEntryId"]) or {}
    elif row.get("Product2Id"):
        book = header.get("Pricebook2Id") or standard_book(org)
        found = [
            each
            for each in live(org, "PricebookEntry", "Product2Id", row["Product2Id"])
            if each["Pricebook2Id"] == book and each["CurrencyIsoCode"] == header["CurrencyIsoCode"]
        ]
        if not found:
            text = "No price book entry for this product in the price book and currency of the record"
            raise errors.integrity(text, ["Product2Id"])
        entry = found[0]
    else:
        raise errors.missing_fields(["PricebookEntryId"])
    if not entry.get("IsActive"):
        raise errors.integrity(
            "field integrity exception: PricebookEntryId (pricebook entry is inactive)", ["PricebookEntryId"]
        )
    if entry["CurrencyIsoCode"] != header["CurrencyIsoCode"]:
        text = "pricebook entry currency code does not match the currency code of the record"
        raise errors.integrity(f"field integrity exception: PricebookEntryId ({text})", ["PricebookEntryId"])
    if header.get("Pricebook2Id") and entry["Pricebook2Id"] != header["Pricebook2Id"]:
        text = "pricebook entry is in a different pricebook than the one assigned to the record"
        raise errors.integrity(f"field integrity exception: PricebookEntryId ({text})", ["PricebookEntryId"])
    return entry


def standard_book(org: Org) -> str:
    """The id of the standard price book."""
    return next(str(each["Id"]) for each in org.store.rows("Pricebook2") if each.get("IsStandard"))


def _price_entry(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    if before is not None:
        return
    same = [
        each
        for each in live(org, "PricebookEntry", "Product2Id", row["Product2Id"])
        if each["CurrencyIsoCode"] == row["CurrencyIsoCode"] and each["Id"] != row["Id"]
    ]
    if any(each["Pricebook2Id"] == row["Pricebook2Id"] for each in same):
        text = "This price definition already exists in this price book"
        raise errors.SalesforceError(400, "DUPLICATE_VALUE", text, [])
    book = standard_book(org)
    if row["Pricebook2Id"] != book and not any(each["Pricebook2Id"] == book for each in same):
        text = "Before creating a custom price, create a standard price."
        raise errors.SalesforceError(400, "STANDARD_PRICE_NOT_DEFINED", text, [])


# -- contracts, orders, quotes --------------------------------------------------------------------------------------
def _contract(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    if before is None:
        row["ContractNumber"] = _number(org, "ContractNumber")
    start, term = row.get("StartDate"), row.get("ContractTerm")
    row["EndDate"] = None
    if start and term:  # inclusive: a year from 1 March ends on the last day of February
        row["EndDate"] = (add_months(date.fromisoformat(start), term) - timedelta(days=1)).isoformat()
    _activate(
        org, row, before, {"Draft": "Draft", "In Approval Process": "InApproval", "Activated": "Activated"}
    )


def _order(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    if before is None:
        row["OrderNumber"] = _number(org, "OrderNumber")
        row["TotalAmount"] = Decimal("0.0")
    if row["Status"] == "Activated" and before and not live(org, "OrderItem", "OrderId", row["Id"]):
        raise errors.SalesforceError(400, "FAILED_ACTIVATION", "An order must have at least one product.", [])
    _activate(org, row, before, {"Draft": "Draft", "Activated": "Activated"})


def _activate(org: Org, row: Row, before: Row | None, codes: dict[str, str]) -> None:
    row["StatusCode"] = codes[row["Status"]]
    if row["StatusCode"] == "Activated" and before is None:
        text = "Choose a valid status and save your changes. Ask your admin for details."
        raise errors.SalesforceError(400, "FAILED_ACTIVATION", text, ["Status"])
    if row["StatusCode"] == "Activated" and before and before["StatusCode"] != "Activated":
        row |= {"ActivatedDate": row["SystemModstamp"], "ActivatedById": org.actor}


def _order_line(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    header = org.store.get("Order", row["OrderId"]) or {}
    if before is None:
        if header.get("StatusCode") == "Activated":
            text = "Order products can't be added to an activated order."
            raise errors.SalesforceError(400, "FAILED_ACTIVATION", text, [])
        entry = _entry(org, row, header)
        row |= {
            "PricebookEntryId": entry["Id"],
            "Product2Id": entry["Product2Id"],
            "ListPrice": entry["UnitPrice"],
        }
        row |= {
            "CurrencyIsoCode": header["CurrencyIsoCode"],
            "OrderItemNumber": _number(org, "OrderItemNumber", 10),
        }
    row["AvailableQuantity"] = row["Quantity"]
    row["TotalPrice"] = _round(row["Quantity"] * row["UnitPrice"])


def _quote(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    header = org.store.get("Opportunity", row["OpportunityId"]) or {}
    row["AccountId"] = header.get("AccountId")
    if before is None:
        row |= {
            "QuoteNumber": _number(org, "QuoteNumber"),
            "CurrencyIsoCode": header.get("CurrencyIsoCode", "USD"),
        }
        row |= {
            "LineItemCount": 0,
            "IsSyncing": False,
            "CanCreateQuoteLineItems": True,
            "Subtotal": Decimal("0.0"),
        }
        row["TotalPrice"] = Decimal("0.0")
    extras = (row.get("Tax") or Decimal(0)) + (row.get("ShippingHandling") or Decimal(0))
    row["GrandTotal"] = _round(row["TotalPrice"] + extras)


def _quote_line(org: Org, row: Row, before: Row | None, given: Row) -> None:
    del given
    header = org.store.get("Quote", row["QuoteId"]) or {}
    if before is None:
        entry = _entry(org, row, header)
        row |= {
            "PricebookEntryId": entry["Id"],
            "Product2Id": entry["Product2Id"],
            "ListPrice": entry["UnitPrice"],
        }
        row |= {"CurrencyIsoCode": header["CurrencyIsoCode"], "LineNumber": _number(org, "LineNumber")}
    row["Subtotal"] = _round(row["Quantity"] * row["UnitPrice"])
    row["TotalPrice"] = _round(row["Subtotal"] * (1 - (row.get("Discount") or Decimal(0)) / 100))


def _roll_up_order(org: Org, line: Row) -> None:
    lines = live(org, "OrderItem", "OrderId", line["OrderId"])
    org.touch(
        "Order", line["OrderId"], {"TotalAmount": _round(sum((e["TotalPrice"] for e in lines), Decimal(0)))}
    )


def _roll_up_quote(org: Org, line: Row) -> None:
    header = org.store.get("Quote", line["QuoteId"]) or {}
    lines = live(org, "QuoteLineItem", "QuoteId", line["QuoteId"])
    total = sum((each["TotalPrice"] for each in lines), Decimal(0))
    extras = (header.get("Tax") or Decimal(0)) + (header.get("ShippingHandling") or Decimal(0))
    subtotal = _round(sum((each["Subtotal"] for each in lines), Decimal(0)))
    sums = {"LineItemCount": len(lines), "Subtotal": subtotal, "TotalPrice": _round(total)}
    org.touch("Quote", line["QuoteId"], sums | {"GrandTotal": _round(total + extras)})


# -- shared -------------------------------------------------------------------------------------------------------
def live(org: Org, name: str, reference: str, record_id: str) -> list[Row]:
    """Children that are not in the recycle bin."""
    field = org.schema.objects[name].fields[reference.lower()]
    return [row for row in org.store.by_key(name, field, record_id) if not row.get("IsDeleted")]


def _round(number: Decimal) -> Decimal:
    return values.double(number.quantize(CENT, ROUND_HALF_UP))


def _number(org: Org, name: str, places_: int = 8) -> str:
    return str(org.store.next_number(f"#{name}")).rjust(places_, "0")


_BEFORE: dict[str, Callable[[Org, Row, Row | None, Row], None]] = {
    "Account": _account,
    "Contact": _contact,
    "Opportunity": _opportunity,
    "OpportunityLineItem": _opportunity_line,
    "PricebookEntry": _price_entry,
    "Contract": _contract,
    "Order": _order,
    "OrderItem": _order_line,
    "Quote": _quote,
    "QuoteLineItem": _quote_line,
}
_AFTER: dict[str, Callable[[Org, Row], None]] = {
    "OpportunityLineItem": _roll_up_opportunity,
    "OrderItem": _roll_up_order,
    "QuoteLineItem": _roll_up_quote,
}
