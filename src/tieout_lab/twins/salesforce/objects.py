"""The standard objects of the org. Field names are those of `standard_object_fields.json` (API 67.0)."""

from __future__ import annotations

from tieout_lab.twins.salesforce.schema import SObject, declare

CURRENCIES = (  # active in the org: two, no and three decimals among them
    "USD|EUR|JPY|GBP|CHF|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|HUF|SGD|HKD|CNY|KRW|INR|BRL|MXN|ZAR|AED|KWD|BHD|CLP|ISK|VND|TND"
)
_CODE = f"CurrencyIsoCode picklist:3 restricted values={CURRENCIES}\n"
_STAMPS = """
CreatedDate datetime ro
CreatedById ref:User ro
LastModifiedDate datetime ro
LastModifiedById ref:User ro
SystemModstamp datetime ro
"""
AUDIT = "Id id ro\nIsDeleted boolean ro\n" + _STAMPS
_SEEN = "LastViewedDate datetime ro\nLastReferencedDate datetime ro\n"

_ACCOUNT = """
MasterRecordId ref:Account ro rel=MasterRecord
Name string:255 req label=Account+Name
Type picklist:255 values=Prospect|Customer+-+Direct|Customer+-+Channel|Channel+Partner+/+Reseller|Other
ParentId ref:Account children=ChildAccounts label=Parent+Account+ID
@address Billing
@address Shipping
Phone phone:40
Fax phone:40
AccountNumber string:40
Website url:255
Industry picklist:255
AnnualRevenue currency:18.0
NumberOfEmployees int:8
Ownership picklist:255
TickerSymbol string:20
Description textarea:32000
Rating picklist:255
Site string:80
OwnerId ref:User
AccountSource picklist:255
LastActivityDate date ro
"""

_CONTACT = """
MasterRecordId ref:Contact ro rel=MasterRecord
AccountId ref:Account children=Contacts cascade label=Account+ID
LastName string:80 req
FirstName string:40
Salutation picklist:40
Name string:121 ro label=Full+Name
@address Mailing
@address Other
Phone phone:40
Fax phone:40
MobilePhone phone:40
HomePhone phone:40
OtherPhone phone:40
AssistantPhone phone:40
AssistantName string:40
ReportsToId ref:Contact
Email email:80
Title string:128
Department string:80
LeadSource picklist:255
Birthdate date
Description textarea:32000
OwnerId ref:User
HasOptedOutOfEmail boolean
DoNotCall boolean
IsEmailBounced boolean ro
LastActivityDate date ro
"""

_OPPORTUNITY = """
AccountId ref:Account children=Opportunities cascade label=Account+ID
IsPrivate boolean
Name string:120 req label=Opportunity+Name
Description textarea:32000
StageName picklist:255 req label=Stage
Amount currency:16.2
Probability percent:3.0
ExpectedRevenue currency:16.2 ro
TotalOpportunityQuantity double:16.2
CloseDate date req
Type picklist:255 label=Opportunity+Type
NextStep string:255
LeadSource picklist:255
IsClosed boolean ro
IsWon boolean ro
ForecastCategory picklist:40 ro
ForecastCategoryName picklist:255
ContractId ref:Contract
Pricebook2Id ref:Pricebook2 rel=Pricebook2 label=Price+Book+ID
OwnerId ref:User
HasOpportunityLineItem boolean ro
SyncedQuoteId ref:Quote rel=SyncedQuote
ContactId ref:Contact createonly
Fiscal string:6 ro
FiscalQuarter int:1 ro
FiscalYear int:4 ro
LastStageChangeDate datetime ro
LastActivityDate date ro
PushCount int ro
HasOpenActivity boolean ro
HasOverdueTask boolean ro
"""

_LINE = """
OpportunityId ref:Opportunity req createonly children=OpportunityLineItems cascade label=Opportunity+ID
SortOrder int:8
PricebookEntryId ref:PricebookEntry createonly label=Price+Book+Entry+ID
Product2Id ref:Product2 createonly rel=Product2 label=Product+ID
ProductCode string:255 via=Product2.ProductCode
Name string:376 ro label=Opportunity+Product+Name
Quantity double:10.2 req
Discount percent:3.2
Subtotal currency:16.2 ro
TotalPrice currency:16.2
UnitPrice currency:16.2 label=Sales+Price
ListPrice currency:16.2 ro
ServiceDate date label=Date
HasRevenueSchedule boolean ro
HasQuantitySchedule boolean ro
HasSchedule boolean ro
Description string:255 label=Line+Description
"""

_STAGE = """
Id id ro
MasterLabel string:255 ro
ApiName string:255 ro
IsActive boolean ro
SortOrder int ro
IsClosed boolean ro
IsWon boolean ro
ForecastCategory picklist:40 ro
ForecastCategoryName picklist:255 ro
DefaultProbability percent:3.0 ro
Description string:255 ro
"""

_PRODUCT = """
Name string:255 req label=Product+Name
ProductCode string:255
Description textarea:4000
IsActive boolean
Family picklist:255 label=Product+Family
ExternalId string:255
DisplayUrl url:1000
QuantityUnitOfMeasure picklist:255
IsArchived boolean ro
StockKeepingUnit string:180 label=Product+SKU
Type picklist:40
ProductClass picklist:40 ro
"""

_BOOK = """
Name string:255 req label=Price+Book+Name
IsActive boolean
IsArchived boolean ro
IsStandard boolean ro
Description string:255
ValidFrom datetime
ValidTo datetime
"""

_ENTRY = """
Name string:255 via=Product2.Name
Pricebook2Id ref:Pricebook2 req createonly rel=Pricebook2 children=PricebookEntries cascade label=Price+Book+ID
Product2Id ref:Product2 req createonly rel=Product2 children=PricebookEntries cascade label=Product+ID
ProductCode string:255 via=Product2.ProductCode
UnitPrice currency:16.2 req label=List+Price
IsActive boolean
UseStandardPrice boolean
IsArchived boolean ro
"""

_STATUSES = "values=Draft|In+Approval+Process|Activated"
_CONTRACT = f"""
AccountId ref:Account req createonly children=Contracts cascade label=Account+ID
Pricebook2Id ref:Pricebook2 rel=Pricebook2
OwnerExpirationNotice picklist:40
StartDate date label=Contract+Start+Date
EndDate date ro label=Contract+End+Date
@address Billing
@address Shipping
ContractTerm int:8
OwnerId ref:User
Status picklist:40 restricted {_STATUSES} default=Draft
StatusCode picklist:40 ro
CompanySignedId ref:User
CompanySignedDate date
CustomerSignedId ref:Contact
CustomerSignedTitle string:40
CustomerSignedDate date
SpecialTerms textarea:4000
ActivatedById ref:User ro
ActivatedDate datetime ro
Description textarea:32000
ContractNumber string:30 ro
Name string:80 label=Contract+Name
SourceOpportunityId ref:Opportunity createonly
LastActivityDate date ro
"""

_ORDER = """
OwnerId ref:User
AccountId ref:Account req children=Orders cascade label=Account+ID
ContractId ref:Contract children=Orders
OpportunityId ref:Opportunity createonly children=Orders
QuoteId ref:Quote createonly children=Orders
Pricebook2Id ref:Pricebook2 rel=Pricebook2
OriginalOrderId ref:Order createonly
EffectiveDate date req label=Order+Start+Date
EndDate date
IsReductionOrder boolean
Status picklist:255 req restricted values=Draft|Activated
StatusCode picklist:40 ro
Description textarea:32000
CustomerAuthorizedById ref:Contact
CustomerAuthorizedDate date
CompanyAuthorizedById ref:User
CompanyAuthorizedDate date
Type picklist:255
@address Billing
@address Shipping
Name string:80
PoDate date
PoNumber string:80
OrderReferenceNumber string:80
BillToContactId ref:Contact
ShipToContactId ref:Contact
ActivatedDate datetime ro
ActivatedById ref:User ro
TotalAmount currency:16.2 ro
OrderNumber string:30 ro
"""

_ORDER_LINE = """
OrderId ref:Order req createonly children=OrderItems cascade label=Order+ID
Product2Id ref:Product2 createonly rel=Product2 children=OrderItems label=Product+ID
PricebookEntryId ref:PricebookEntry createonly label=Price+Book+Entry+ID
OriginalOrderItemId ref:OrderItem createonly
QuoteLineItemId ref:QuoteLineItem createonly
AvailableQuantity double:16.2 ro
Quantity double:16.2 req
UnitPrice currency:16.2 req
ListPrice currency:16.2 ro
TotalPrice currency:16.2 ro
ServiceDate date label=Start+Date
EndDate date
Description string:255
OrderItemNumber string:30 ro
"""

_QUOTE = """
OwnerId ref:User
Name string:255 req label=Quote+Name
OpportunityId ref:Opportunity req createonly children=Quotes cascade label=Opportunity+ID
AccountId ref:Account ro children=Quotes
Pricebook2Id ref:Pricebook2 rel=Pricebook2
ContactId ref:Contact
ContractId ref:Contract
QuoteNumber string:30 ro
IsSyncing boolean ro
ShippingHandling currency:16.2
Tax currency:16.2
Status picklist:255 values=Draft|Needs+Review|In+Review|Approved|Rejected|Presented|Accepted|Denied
ExpirationDate date
Description textarea:32000
Subtotal currency:16.2 ro
TotalPrice currency:16.2 ro
LineItemCount int ro
@address Billing
@address Shipping
BillingName string:255
ShippingName string:255
Email email:80
Phone phone:40
Fax phone:40
Discount percent:3.2 ro
GrandTotal currency:16.2 ro
CanCreateQuoteLineItems boolean ro
"""

_QUOTE_LINE = """
LineNumber string:30 ro
QuoteId ref:Quote req createonly children=QuoteLineItems cascade label=Quote+ID
PricebookEntryId ref:PricebookEntry createonly label=Price+Book+Entry+ID
OpportunityLineItemId ref:OpportunityLineItem createonly
Product2Id ref:Product2 createonly rel=Product2 label=Product+ID
Quantity double:10.2 req
UnitPrice currency:16.2 req label=Sales+Price
Discount percent:3.2
Description string:255 label=Line+Item+Description
ServiceDate date label=Date
SortOrder int:8
ListPrice currency:16.2 ro
Subtotal currency:16.2 ro
TotalPrice currency:16.2 ro
"""

_USER = """
Id id ro
Username string:80 ro
LastName string:80 ro
FirstName string:40 ro
Name string:121 ro
CompanyName string:80 ro
Email email:128 ro
Alias string:8 ro
TimeZoneSidKey picklist:40 ro
LocaleSidKey picklist:40 ro
LanguageLocaleKey picklist:40 ro
ProfileId string:18 ro
UserType picklist:40 ro
IsActive boolean ro
DefaultCurrencyIsoCode picklist:3 ro
"""

_ORGANIZATION = """
Id id ro
Name string:80 ro
Country string:80 ro
DefaultLocaleSidKey picklist:40 ro
DefaultCurrencyIsoCode picklist:255 ro
TimeZoneSidKey picklist:40 ro
LanguageLocaleKey picklist:40 ro
OrganizationType picklist:40 ro
InstanceName string:5 ro
IsSandbox boolean ro
NamespacePrefix string:15 ro
TrialExpirationDate datetime ro
FiscalYearStartMonth int ro
UsesStartDateAsFiscalYearName boolean ro
"""


def standard_objects() -> list[SObject]:
    """Fresh declarations of every standard object; the caller may add custom fields to them."""
    usual = AUDIT + _CODE
    follows = AUDIT + _CODE.replace("restricted", "restricted ro")  # a line's currency is its header's
    return [
        declare("Account", "001", usual + _SEEN + _ACCOUNT),
        declare("Contact", "003", usual + _SEEN + _CONTACT),
        declare("Opportunity", "006", usual + _SEEN + _OPPORTUNITY, plural="Opportunities"),
        declare("OpportunityLineItem", "00k", follows + _LINE),
        declare("OpportunityStage", "01J", _STAGE + _STAMPS, writable=False),
        declare("Product2", "01t", usual + _SEEN + _PRODUCT),
        declare("Pricebook2", "01s", AUDIT + _SEEN + _BOOK),
        declare(
            "PricebookEntry", "01u", AUDIT + _CODE.replace("restricted", "restricted createonly") + _ENTRY
        ),
        declare("Contract", "800", usual + _SEEN + _CONTRACT),
        declare("Order", "801", usual + _SEEN + _ORDER),
        declare("OrderItem", "802", follows + _ORDER_LINE),
        declare("Quote", "0Q0", usual + _SEEN + _QUOTE),
        declare("QuoteLineItem", "0QL", follows + _QUOTE_LINE),
        declare("User", "005", _USER + _STAMPS, writable=False),
        declare("Organization", "00D", _ORGANIZATION + _STAMPS, writable=False),
    ]
