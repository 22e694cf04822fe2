"""Salesforce CPQ as a package of custom objects and fields: quotes, their lines, the subscription ledger.

The package's own arithmetic (calculator, amender, renewer) is not here: a record holds what it is given, as it does in
an org whose package has already calculated. Field names as read in connectors and an org's dump; see README.md.
"""

from __future__ import annotations

from tieout_lab.twins.salesforce.objects import AUDIT, CURRENCIES
from tieout_lab.twins.salesforce.schema import SObject, declare, extend

NAMESPACE = "SBQQ"
_USUAL = (
    AUDIT + f"OwnerId ref:User\nName string:80\nCurrencyIsoCode picklist:3 restricted values={CURRENCIES}\n"
)

_QUOTE = """
SBQQ__Opportunity2__c ref:Opportunity children=SBQQ__Quotes2__r
SBQQ__Account__c ref:Account children=SBQQ__Quotes__r
SBQQ__Type__c picklist:40 values=Quote|Amendment|Renewal default=Quote
SBQQ__Status__c picklist:40 values=Draft|In+Review|Approved|Denied|Presented|Accepted|Rejected default=Draft
SBQQ__Primary__c boolean
SBQQ__Ordered__c boolean
SBQQ__StartDate__c date
SBQQ__EndDate__c date
SBQQ__SubscriptionTerm__c double:5.0
SBQQ__RenewalTerm__c double:5.0
SBQQ__MasterContract__c ref:Contract children=SBQQ__AmendmentQuotes__r
SBQQ__Source__c ref:SBQQ__Quote__c
SBQQ__NetAmount__c currency:16.2
SBQQ__PaymentTerms__c picklist:40
SBQQ__PricebookId__c string:18
SBQQ__ContractingMethod__c picklist:40
"""
_LINE = """
SBQQ__Quote__c ref:SBQQ__Quote__c req createonly children=SBQQ__LineItems__r cascade
SBQQ__Number__c double:5.0
SBQQ__Product__c ref:Product2
SBQQ__Description__c textarea:32000
SBQQ__Quantity__c double:12.2
SBQQ__PriorQuantity__c double:12.2
SBQQ__EffectiveQuantity__c double:12.2
SBQQ__ListPrice__c currency:12.2
SBQQ__CustomerPrice__c currency:12.2
SBQQ__NetPrice__c currency:12.6
SBQQ__NetTotal__c currency:16.2
SBQQ__ProrateMultiplier__c double:10.4
SBQQ__DefaultSubscriptionTerm__c double:5.0
SBQQ__StartDate__c date
SBQQ__EndDate__c date
SBQQ__EffectiveStartDate__c date
SBQQ__EffectiveEndDate__c date
SBQQ__SubscriptionPricing__c picklist:40
SBQQ__SubscriptionType__c picklist:40
SBQQ__ChargeType__c picklist:40 values=One-Time|Recurring|Usage
SBQQ__BillingType__c picklist:40 values=Advance|Arrears
SBQQ__BillingFrequency__c picklist:40 values=Monthly|Quarterly|Semiannual|Annual|Invoice+Plan
SBQQ__UpgradedSubscription__c ref:SBQQ__Subscription__c
SBQQ__RenewedSubscription__c ref:SBQQ__Subscription__c
SBQQ__Existing__c boolean
SBQQ__Optional__c boolean
SBQQ__Bundle__c boolean
SBQQ__Bundled__c boolean
SBQQ__RequiredBy__c ref:SBQQ__QuoteLine__c
SBQQ__SegmentKey__c string:80
SBQQ__SegmentIndex__c double:5.0
SBQQ__SegmentLabel__c string:80
"""
_SUBSCRIPTION = """
SBQQ__Contract__c ref:Contract children=SBQQ__Subscriptions__r
SBQQ__Account__c ref:Account children=SBQQ__Subscriptions__r
SBQQ__Product__c ref:Product2
SBQQ__Quantity__c double:12.2
SBQQ__NetPrice__c currency:12.6
SBQQ__SubscriptionStartDate__c date
SBQQ__SubscriptionEndDate__c date
SBQQ__StartDate__c date
SBQQ__EndDate__c date
SBQQ__RenewalPrice__c currency:12.2
SBQQ__RenewalQuantity__c double:12.2
SBQQ__RevisedSubscription__c ref:SBQQ__Subscription__c
SBQQ__TerminatedDate__c date
SBQQ__SubscriptionType__c picklist:40 values=Renewable|Evergreen
SBQQ__BillingFrequency__c picklist:40
SBQQ__QuoteLine__c ref:SBQQ__QuoteLine__c
SBQQ__OrderProduct__c ref:OrderItem
SBQQ__RequiredById__c string:18
SBQQ__SegmentKey__c string:80
SBQQ__SegmentIndex__c double:5.0
SBQQ__SegmentLabel__c string:80
"""
_FIELDS = {
    "Opportunity": """
SBQQ__PrimaryQuote__c ref:SBQQ__Quote__c
SBQQ__AmendedContract__c ref:Contract
SBQQ__RenewedContract__c ref:Contract
SBQQ__Contracted__c boolean
SBQQ__Ordered__c boolean
""",
    "Contract": """
SBQQ__Quote__c ref:SBQQ__Quote__c
SBQQ__Opportunity__c ref:Opportunity
SBQQ__Order__c ref:Order
SBQQ__MasterContract__c ref:Contract
SBQQ__RenewalOpportunity__c ref:Opportunity
SBQQ__RenewalTerm__c double:5.0
SBQQ__Evergreen__c boolean
SBQQ__DisableAmendmentCoTerm__c boolean
SBQQ__AmendmentStartDate__c date
SBQQ__AmendmentRenewalBehavior__c picklist:40 values=Latest+End+Date|Earliest+End+Date
SBQQ__RenewalForecast__c boolean
SBQQ__RenewalQuoted__c boolean
SBQQ__ExpirationDate__c date
SBQQ__PreserveBundleStructureUponRenewals__c boolean
""",
    "Order": """
SBQQ__Quote__c ref:SBQQ__Quote__c
SBQQ__Contracted__c boolean
SBQQ__PaymentTerm__c picklist:40
SBQQ__RenewalTerm__c double:5.0
""",
    "OrderItem": """
SBQQ__QuoteLine__c ref:SBQQ__QuoteLine__c
SBQQ__RevisedOrderProduct__c ref:OrderItem
SBQQ__Contract__c ref:Contract
SBQQ__ChargeType__c picklist:40
SBQQ__BillingFrequency__c picklist:40
SBQQ__OrderedQuantity__c double:12.2
SBQQ__Status__c picklist:40
""",
}


def install(objects: list[SObject], namespace: str = NAMESPACE) -> list[SObject]:
    """The package's own objects; its fields are put on the standard ones."""

    def named(lines: str) -> str:
        return lines.replace(f"{NAMESPACE}__", f"{namespace}__")

    for each in objects:
        if each.name in _FIELDS:
            extend(each, named(_FIELDS[each.name]))
    return [
        declare(f"{namespace}__{name}__c", prefix, named(_USUAL + fields))
        for name, prefix, fields in (
            ("Quote", "a0Q", _QUOTE),
            ("QuoteLine", "a0L", _LINE),
            ("Subscription", "a0S", _SUBSCRIPTION),
        )
    ]
