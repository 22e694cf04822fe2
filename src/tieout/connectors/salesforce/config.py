"""What a Salesforce connection is told: where to sign in, which org it must be, how its fields are called."""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from importlib.util import find_spec
from urllib.parse import urlsplit

import msgspec

from tieout.canonical.secret import Secret
from tieout.connectors.salesforce.soql import id18, is_api_name

PREFIX = "Tieout_"
OLDEST_API = Decimal("66.0")
ORDER_SOURCES = ("opportunity", "order", "cpq_quote")
AUTH = ("jwt", "client_credentials")
FEEDS = ("sweep", "pubsub")
# What the feed "pubsub" needs besides; the extra of the package brings them.
PUBSUB_PACKAGES = ("grpc", "google.protobuf", "fastavro")
SHORTEST_SECRET = 32
FREQUENCIES = {"Monthly": "month", "Quarterly": "quarter", "Annual": "year"}
CHARGES = {"Recurring": "recurring", "One-Time": "one_time", "Usage": "metered"}
SHARED_HOSTS = frozenset({"login.salesforce.com", "test.salesforce.com"})
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class FieldNames(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """API names of the fields that are ours or the customer's own. Empty: the org has no such field, and it is
    neither read nor written. `mirror_*` belong to the object that shows invoices inside the CRM."""

    account_external_id: str = "Tieout_External_Id__c"
    account_status: str = "Tieout_Status__c"
    account_last_error: str = "Tieout_Last_Error__c"
    account_tax_id: str = "Tax_Id__c"
    account_invoice_email: str = "Invoice_Email__c"
    account_payment_terms: str = "Payment_Terms__c"
    account_po_required: str = "PO_Required__c"
    opportunity_external_id: str = "Tieout_External_Id__c"
    opportunity_status: str = "Tieout_Status__c"
    opportunity_last_error: str = "Tieout_Last_Error__c"
    opportunity_subscription: str = "Tieout_Subscription_Id__c"
    opportunity_synced_at: str = "Tieout_Synced_At__c"
    opportunity_legal_entity: str = "Legal_Entity__c"
    opportunity_start: str = "Contract_Start__c"
    opportunity_end: str = "Contract_End__c"
    opportunity_term_months: str = "Term_Months__c"
    opportunity_frequency: str = "Billing_Frequency__c"
    opportunity_po_number: str = "PO_Number__c"
    product_charge_type: str = "Charge_Type__c"
    mirror_object: str = "Tieout_Invoice__c"
    mirror_external_id: str = "Tieout_External_Id__c"
    mirror_name: str = "Name"
    mirror_account: str = "Account__c"
    mirror_opportunity: str = "Opportunity__c"
    mirror_amount: str = "Amount__c"
    mirror_status: str = "Status__c"
    mirror_number: str = "Invoice_Number__c"
    mirror_erp_document: str = "ERP_Document__c"
    mirror_erp_number: str = "ERP_Number__c"
    mirror_billing: str = "Billing_Connection__c"


# Without these nothing works: they cannot be left empty.
NEEDED = ("account_status", "opportunity_status", "mirror_object", "mirror_external_id")


class Cpq(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Salesforce CPQ as this org runs it. `term_unit` is the package's setting Subscription Term Unit: `month` or
    `day`. `sold_statuses` are the words of a quote's status that count as approved. `periods`: what to do with a price
    that a billing period cannot carry to the minor unit: `refuse`, or `round` (the rest is then a difference that
    reconciliation shows)."""

    namespace: str = "SBQQ"
    term_unit: str = "month"
    sold_statuses: tuple[str, ...] = ("Approved", "Accepted")
    periods: str = "refuse"

    def name(self, short: str) -> str:
        """The API name of a field or object of the package: `Quote` is `SBQQ__Quote__c`."""
        return f"{self.namespace}__{short}__c"

    def parent(self, short: str) -> str:
        """The relationship of a look-up field of the package."""
        return f"{self.namespace}__{short}__r"


class SalesforceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One org. `org_id` and `live` pin it: an answer of another org processes nothing.

    `start_date` is where the first sweep starts; `deals_from`, when given, leaves out won deals that closed before
    it. `order_source` says where a deal's sold lines stand: on the opportunity, on its activated order, or on its
    primary CPQ quote. `field_prefix` starts the names of what was installed for tieout (`Tieout_`; `acme__Tieout_`
    where a package has a namespace). `currency_field` empty: an org without multi-currency, all in `default_currency`.
    `countries` and `regions` turn the org's address words into ISO codes; with `address_codes` the org's own code
    fields are read. `overlap_seconds` is how far behind the newest change a sweep reads again, because a record's
    stamp is set before its transaction commits. A listing of more rows than `bulk_threshold` is read by a Bulk job,
    waited for `bulk_deadline_seconds`.

    `feed` is how changes come: "sweep" by queries, "pubsub" by change events of `pubsub_channel` with a sweep every
    `safety_sweep_seconds` beside it. `deletion_log_days` is how far back the org answers what was deleted (assumed).
    `webhook_secrets` end the address that Outbound Messages are sent to, `/hooks/<connection>/<secret>`, two during a
    rotation; `webhook_client_header` is one that the proxy in front sets to `webhook_client_value` when it has
    verified the client certificate (empty: not asked for). ValueError says what to write instead."""

    login_url: str
    start_date: date
    username: str = ""
    consumer_key: str
    auth: str = "jwt"
    private_key: Secret = msgspec.field(default_factory=lambda: Secret(""))
    client_secret: Secret = msgspec.field(default_factory=lambda: Secret(""))
    audience: str = ""
    org_id: str = ""
    live: bool = False
    api_version: str = "68.0"
    order_source: str = "opportunity"
    cpq: Cpq = Cpq()
    approval_field: str = "Finance_Approved__c"
    field_prefix: str = PREFIX
    fields: FieldNames = FieldNames()
    frequencies: dict[str, str] = msgspec.field(default_factory=lambda: dict(FREQUENCIES))
    charges: dict[str, str] = msgspec.field(default_factory=lambda: dict(CHARGES))
    currency_field: str = "CurrencyIsoCode"
    default_currency: str = ""
    address_codes: bool = False
    countries: dict[str, str] = {}
    regions: dict[str, str] = {}
    deals_from: date | None = None
    poll_seconds: int = 5
    overlap_seconds: int = 600
    in_flight: int = 10
    timeout_seconds: int | float = 30
    query_page_size: int = 2000
    bulk_threshold: int = 20_000
    bulk_deadline_seconds: int = 1800
    detail_length: int = 32_000
    feed: str = "sweep"
    pubsub_url: str = "https://api.pubsub.salesforce.com:7443"
    pubsub_channel: str = "/data/ChangeEvents"
    safety_sweep_seconds: int = 900
    deletion_log_days: int = 30
    webhook_secrets: tuple[Secret, ...] = ()
    webhook_client_header: str = ""
    webhook_client_value: str = "SUCCESS"

    def __post_init__(self) -> None:
        problem = (
            self._sign_in_problem() or self._number_problem() or self._name_problem() or self._feed_problem()
        )
        if problem:
            raise ValueError(problem)

    def _sign_in_problem(self) -> str:
        addresses = (
            ("login_url", self.login_url),
            ("audience", self.audience),
            ("pubsub_url", self.pubsub_url),
        )
        for what, url in addresses:
            parts = urlsplit(url)
            if url and (
                parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK)
            ):
                return f'{what} must be an https address such as "https://acme.my.salesforce.com"'
        if not self.login_url:
            return "login_url is empty: write the My Domain address of the org"
        if self.auth not in AUTH:
            return f"auth is {self.auth!r}: write one of {', '.join(AUTH)}"
        if not self.consumer_key:
            return "consumer_key is empty: write the consumer key of the External Client App"
        if self.auth == "jwt" and not (self.username and self.private_key):
            return 'auth = "jwt" needs username and private_key (PEM)'
        if self.auth == "client_credentials" and not self.client_secret:
            return 'auth = "client_credentials" needs client_secret'
        if self.auth == "client_credentials" and urlsplit(self.login_url).hostname in SHARED_HOSTS:
            return 'auth = "client_credentials" works at the My Domain address of the org only'
        if self.org_id and id18(self.org_id[:15]) != self.org_id:
            return "org_id must be the 18-character id of the org (00D...), with its check letters"
        return ""

    def _number_problem(self) -> str:
        try:
            recent = Decimal(self.api_version) >= OLDEST_API and self.api_version.endswith(".0")
        except InvalidOperation:
            recent = False
        if not recent:
            return f'api_version is {self.api_version!r}: write {OLDEST_API} or newer, such as "68.0"'
        if self.bulk_threshold < 1 or self.bulk_deadline_seconds < 1:
            return "bulk_threshold and bulk_deadline_seconds must be 1 or more"
        if not 200 <= self.query_page_size <= 2000:
            return "query_page_size must lie between 200 and 2000"
        if (
            self.poll_seconds < 1
            or self.overlap_seconds < 60
            or self.in_flight < 1
            or self.timeout_seconds <= 0
        ):
            return (
                "poll_seconds >= 1, overlap_seconds >= 60, in_flight >= 1 and timeout_seconds > 0 are needed"
            )
        return ""

    def _feed_problem(self) -> str:
        if self.feed not in FEEDS:
            return f"feed is {self.feed!r}: write one of {', '.join(FEEDS)}"
        if self.safety_sweep_seconds < 60 or not 1 <= self.deletion_log_days <= 30:
            return "safety_sweep_seconds >= 60 and deletion_log_days between 1 and 30 are needed"
        if self.feed == "pubsub" and not self.pubsub_channel.startswith(("/data/", "/event/")):
            return 'pubsub_channel must be a channel of change events such as "/data/ChangeEvents"'
        if self.feed == "pubsub" and (missing := _missing_packages()):
            return f"feed = \"pubsub\" needs {', '.join(missing)}: pip install 'tieout[salesforce]'"
        if any(len(secret.reveal()) < SHORTEST_SECRET for secret in self.webhook_secrets):
            return f"a webhook secret has fewer than {SHORTEST_SECRET} characters: it is all that tells friend from foe"
        if any(not _fits_url(secret.reveal()) for secret in self.webhook_secrets):
            return "a webhook secret may hold letters, digits, - and _ only: it stands in an address"
        if self.webhook_secrets and not self.org_id:
            return "webhook_secrets need org_id: an Outbound Message of another org must be refused"
        return ""

    def _name_problem(self) -> str:
        if self.order_source not in ORDER_SOURCES:
            return f"order_source is {self.order_source!r}: write one of {', '.join(ORDER_SOURCES)}"
        if not is_api_name(self.cpq.namespace):
            return f"cpq.namespace is {self.cpq.namespace!r}: write the package's, such as SBQQ"
        if self.cpq.term_unit not in ("month", "day") or self.cpq.periods not in ("refuse", "round"):
            return 'cpq.term_unit must be "month" or "day", and cpq.periods "refuse" or "round"'
        if not self.currency_field and not self.default_currency:
            return "without currency_field, default_currency must name the org's currency"
        for name in NEEDED:
            if not getattr(self.fields, name):
                return f"fields.{name} must not be empty"
        names = {f"fields.{name}": getattr(self.fields, name) for name in FieldNames.__struct_fields__}
        names |= {"approval_field": self.approval_field, "currency_field": self.currency_field}
        for where, name in names.items():
            if name and not is_api_name(name):
                return f"{where} is {name!r}: that is not an API name"
        if not is_api_name(self.field_prefix):
            return f"field_prefix is {self.field_prefix!r}: names start with a letter"
        return ""


def _missing_packages() -> list[str]:
    def is_here(name: str) -> bool:
        try:
            return find_spec(name) is not None
        except ModuleNotFoundError:  # the package above it
            return False

    return [name for name in PUBSUB_PACKAGES if not is_here(name)]


def _fits_url(text: str) -> bool:
    return text.isascii() and text.replace("-", "a").replace("_", "a").isalnum()


def resolve_names(config: SalesforceConfig) -> FieldNames:
    """The field names with `field_prefix` in place of `Tieout_` where a name keeps its default."""
    defaults = FieldNames()
    changes = {
        name: config.field_prefix + default.removeprefix(PREFIX)
        for name in FieldNames.__struct_fields__
        if (default := getattr(defaults, name)) == getattr(config.fields, name) and default.startswith(PREFIX)
    }
    return msgspec.structs.replace(config.fields, **changes)


EXAMPLE = """\
# Salesforce, the CRM. Sign-in by an External Client App; the integration user needs the permission set that
# names the fields below, and "View All" on Account and Opportunity.
[connections.salesforce-main]
vendor = "salesforce"
role = "crm"
login_url = "https://acme.my.salesforce.com"   # My Domain; a sandbox has its own
org_id = "00D000000000001EAA"                  # 18 characters; an answer of another org processes nothing
live = false                                   # false: a sandbox
auth = "jwt"                                   # or "client_credentials"
consumer_key = "3MVG9..."
username = "tieout@acme.example"               # jwt: the integration user
private_key = { file = "salesforce.pem" }      # jwt; client_credentials: client_secret = { env = "..." }
# audience = "https://test.salesforce.com"     # jwt: when it is not login_url
start_date = 2026-01-01                        # the first sweep reads what changed since this day
# deals_from = 2026-01-01                      # leave out won deals that closed before this day
order_source = "opportunity"                   # where the sold lines stand: opportunity, order or cpq_quote
approval_field = "Finance_Approved__c"         # "" = every won deal is approved
# api_version = "68.0"
# bulk_threshold = 20000                       # longer listings are read by Bulk API 2.0
# field_prefix = "Tieout_"                     # "acme__Tieout_" where the fields came with a package
# currency_field = ""                          # an org without multi-currency: then name default_currency
# default_currency = "USD"
# feed = "pubsub"                              # change events as they happen; needs pip install 'tieout[salesforce]'
# pubsub_channel = "/data/Tieout__chn"         # a channel with Account, Opportunity and OpportunityLineItem
# webhook_secrets = [{ env = "SF_HOOK" }]      # Outbound Messages to /hooks/salesforce-main/<secret>, 32 characters
# [connections.salesforce-main.cpq]            # Salesforce CPQ
# namespace = "SBQQ"
# term_unit = "month"                          # the package's Subscription Term Unit: month or day
# sold_statuses = ["Approved", "Accepted"]     # of the primary quote
# [connections.salesforce-main.fields]         # any field can be renamed; "" = the org has none
# opportunity_legal_entity = "Selling_Company__c"
"""
