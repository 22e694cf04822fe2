"""What one Stripe account needs to be told in the configuration."""

from __future__ import annotations

import msgspec

from tieout.canonical.secret import Secret
from tieout.connectors.contract import Limits


class MetadataKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names of the metadata keys that tieout writes and reads. `document` is the key that makes a document ours;
    `origin` repeats it on the subscription that grows out of a schedule, so that one key never names two."""

    document: str = "tieout_key"
    origin: str = "tieout_origin"
    opportunity: str = "crm_opportunity"
    account: str = "crm_account"
    line: str = "crm_line"
    lines: str = "crm_lines"
    trace: str = "trace"
    po_number: str = "po_number"
    erp_document: str = "erp_document"
    erp_number: str = "erp_number"
    erp_status: str = "erp_status"


class StripeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One account in one mode. `account` pins it; `entity` and `time_zone` label and date the listings.

    `product_prefix` stands before our product code in Stripe's product id (`prod_` + `PLATFORM`); empty: the ids
    are used as they are. `longest_seconds` and `visibility_seconds` decide when an empty look-up is believed."""

    api_key: Secret
    account: str
    live: bool = False
    url: str = "https://api.stripe.com"
    webhook_secrets: list[Secret] = []
    api_version: str = "2026-10-28.endive"
    entity: str = ""
    time_zone: str = "UTC"
    product_prefix: str = ""
    automatic_tax: bool = True
    align_billing_cycle: bool = True
    in_flight: int = 20
    per_second: int = 20
    per_endpoint_second: int = 25
    timeout_seconds: int = 30
    longest_seconds: int = 120
    visibility_seconds: int = 60
    idempotency_seconds: int = 86_400
    signature_tolerance_seconds: int = 300
    poll_seconds: int = 60
    events_lookback_seconds: int = 86_400
    events_overlap_seconds: int = 120
    metadata: MetadataKeys = MetadataKeys()


def limits(config: StripeConfig) -> Limits:
    """The budget: Stripe allows 100 calls a second live and 25 in a sandbox, and 25 at one endpoint."""
    return Limits(in_flight=config.in_flight, per_second=config.per_second)


EXAMPLE = """\
# A Stripe account: one section for each account, so one for each legal entity that bills from its own.
[connections.stripe-us]
vendor = "stripe"
role = "billing"
account = "acct_..."                      # pinned: answers and webhooks of another account are refused
live = false                              # pinned: true with a live key, false in a sandbox
api_key = { env = "STRIPE_US_API_KEY" }   # a restricted key will do; `tieout check` names the scopes it lacks
# The signing secret of the webhook endpoint; two while you roll it. Without one, webhooks are answered with 404.
webhook_secrets = [{ env = "STRIPE_US_WEBHOOK_SECRET" }]
entity = "us"                             # the legal entity's code, as listings show it
time_zone = "America/Los_Angeles"         # whose calendar day dates the documents in listings
# product_prefix = "prod_"                # if your product ids are "prod_" + your product code
# api_version = "2026-10-28.endive"
# per_second = 20                         # 25 in a sandbox, up to 100 live
# per_endpoint_second = 25                # Stripe's limit of one endpoint; matters where per_second is higher
# in_flight = 20
# timeout_seconds = 30
# poll_seconds = 60                       # how often the event list is read for what webhooks missed
# events_lookback_seconds = 86400         # how far back the first read of the event list goes (30 days at most)
# [connections.stripe-us.metadata]        # only if these names are taken in your account
# document = "tieout_key"
# opportunity = "crm_opportunity"
"""
