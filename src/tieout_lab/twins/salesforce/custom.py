"""What the customer installs for tieout: external ids, status fields and the invoice mirror.

Names are the demo company's; those that start with `Tieout_` carry the prefix given to the twin.
"""

from __future__ import annotations

from tieout_lab.twins.salesforce import cpq
from tieout_lab.twins.salesforce.objects import AUDIT, CURRENCIES, standard_objects
from tieout_lab.twins.salesforce.schema import Schema, declare, extend

_STATUS = """
Tieout_External_Id__c string:80 ext uniq cs
Tieout_Status__c string:80
Tieout_Last_Error__c textarea:32768
"""
_ACCOUNT = """
Tax_Id__c string:40
Invoice_Email__c email:80
Payment_Terms__c string:40
PO_Required__c boolean
"""
_OPPORTUNITY = """
Tieout_Subscription_Id__c string:255
Tieout_Synced_At__c datetime
Legal_Entity__c picklist:40 restricted values=us|jp
Contract_Start__c date
Contract_End__c date
Term_Months__c double:4.0
Billing_Frequency__c picklist:40 restricted values=Monthly|Quarterly|Annual
PO_Number__c string:80
Payment_Terms__c string:40
Finance_Approved__c boolean
"""
_PRODUCT = """
Charge_Type__c picklist:40 restricted values=Recurring|One-Time|Usage
Legacy_Code__c string:80 ext
"""
_INVOICE = f"""
OwnerId ref:User
Name string:80 label=Invoice+Name
CurrencyIsoCode picklist:3 restricted values={CURRENCIES}
Tieout_External_Id__c string:80 ext uniq cs
Account__c ref:Account children=Tieout_Invoices__r
Opportunity__c ref:Opportunity children=Tieout_Invoices__r
Amount__c currency:15.3
Status__c string:40
Invoice_Number__c string:80
ERP_Document__c string:80
ERP_Number__c string:80
Billing_Connection__c string:80
"""


def schema(prefix: str = "Tieout_", namespace: str = cpq.NAMESPACE) -> Schema:
    """The org's schema; `prefix` replaces `Tieout_` in the names of what was installed, `namespace` is CPQ's."""

    def named(lines: str) -> str:
        return lines.replace("Tieout_", prefix)

    objects = standard_objects()
    extras = {"Account": _STATUS + _ACCOUNT, "Opportunity": _STATUS + _OPPORTUNITY, "Product2": _PRODUCT}
    ids = _STATUS.splitlines()[1]
    extras |= dict.fromkeys(
        ("Contact", "OpportunityLineItem", "Contract", "Order", "OrderItem", "Quote"), ids
    )
    for each in objects:
        if each.name in extras:
            extend(each, named(extras[each.name]))
    mirror = declare(f"{prefix}Invoice__c", "a00", AUDIT + named(_INVOICE))
    package = cpq.install(objects, namespace)
    return Schema([*objects, mirror, *package])
