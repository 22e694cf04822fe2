"""The endpoints of events, webhook endpoints and the account itself."""

from __future__ import annotations

from itertools import takewhile
from typing import TYPE_CHECKING

from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.delivery import new_endpoint
from tieout_lab.twins.stripe.errors import invalid
from tieout_lab.twins.stripe.form import merged, value_of
from tieout_lab.twins.stripe.pages import in_range, page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

MAX_TYPES = 20


def _list(call: Call) -> Obj:
    account, given = call.account, call.given
    if "type" in given and "types" in given:
        raise invalid("Only one of type and types.", "types", "parameters_exclusive")
    types = given.get("types") or ([given["type"]] if "type" in given else None)
    if types is not None and len(types) > MAX_TYPES:
        raise invalid(f"At most {MAX_TYPES} types.", "types")
    oldest = account.technical() - account.settings.event_life_seconds
    wanted, delivered = given.get("created"), given.get("delivery_success")
    if isinstance(wanted, dict):  # most of the log is older than what is asked for
        oldest = max(oldest, wanted.get("gt", oldest), wanted.get("gte", oldest))

    def fits(event: Obj) -> bool:
        if not in_range(event["created"], wanted):
            return False
        if types is not None and not any(_fits(event["type"], kind) for kind in types):
            return False
        return delivered is None or (event["pending_webhooks"] == 0) == delivered

    young = takewhile(lambda event: event["created"] >= oldest, reversed(account.objects["events"].values()))
    return page(young, given, call.url, "events", fits)


def _fits(actual: str, wanted: str) -> bool:
    return wanted in {"*", actual} or (wanted.endswith(".*") and actual.startswith(wanted[:-1]))


def _event(call: Call) -> Obj:
    return call.account.get("events", call.path["id"], status=404)


# -- webhook endpoints ----------------------------------------------------------------------------------------------
def _checked_url(given: Obj) -> None:
    url = given.get("url")
    if url is not None and not url.startswith(("https://", "http://")):
        raise invalid(f"Not a valid URL: {url}", "url", "url_invalid")


def _create(call: Call) -> Obj:
    _checked_url(call.given)
    metadata = merged({}, call.given.get("metadata"))
    endpoint = new_endpoint(call.account, call.given["url"], call.given["enabled_events"])
    endpoint["api_version"] = call.given.get("api_version")
    endpoint["description"] = value_of(call.given, "description")
    endpoint["metadata"] = metadata
    return {**endpoint, "secret": endpoint["_secret"]}


def _endpoint(call: Call) -> Obj:
    return call.account.get(
        "webhook_endpoints", call.path["webhook_endpoint"], "webhook_endpoint", status=404
    )


def _update(call: Call) -> Obj:
    endpoint, given = _endpoint(call), call.given
    _checked_url(given)
    metadata = merged(endpoint["metadata"], given.get("metadata"))
    for name in ("url", "enabled_events", "description"):
        if name in given:
            endpoint[name] = value_of(given, name)
    if "disabled" in given:
        endpoint["status"] = "disabled" if given["disabled"] else "enabled"
    endpoint["metadata"] = metadata
    return endpoint


def _delete(call: Call) -> Obj:
    endpoint = _endpoint(call)
    del call.account.objects["webhook_endpoints"][endpoint["id"]]
    return {"id": endpoint["id"], "object": "webhook_endpoint", "deleted": True}


def _endpoints(call: Call) -> Obj:
    return page(call.account.all("webhook_endpoints")[::-1], call.given, call.url, "webhook_endpoints")


# -- the account ----------------------------------------------------------------------------------------------------
def account_object(account: Account) -> Obj:
    """The account as the vendor shows it to its own key."""
    return {
        "id": account.id,
        "object": "account",
        "business_profile": {
            "annual_revenue": None,
            "estimated_worker_count": None,
            "mcc": None,
            "name": account.name,
            "product_description": None,
            "support_address": None,
            "support_email": None,
            "support_phone": None,
            "support_url": None,
            "url": None,
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": account.country,
        "default_currency": account.currency,
        "details_submitted": True,
        "email": f"billing@{account.id.replace('_', '-')}.example",
        "metadata": {},
        "payouts_enabled": True,
        "settings": {
            "bacs_debit_payments": {"display_name": None, "service_user_number": None},
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_payments": {
                "decline_on": {"avs_failure": False, "cvc_failure": False},
                "statement_descriptor_prefix": None,
                "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": account.name, "timezone": account.time_zone},
            "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "offer"},
            "payments": {
                "statement_descriptor": None,
                "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None,
            },
            "payouts": {
                "debit_negative_balances": True,
                "schedule": {"delay_days": 2, "interval": "daily"},
                "statement_descriptor": None,
            },
            "sepa_debit_payments": {},
        },
        "type": "standard",
    }


def routes(desk: Desk) -> None:
    """Declare the endpoints of events, webhook endpoints and the account."""
    one = "/v1/webhook_endpoints/{webhook_endpoint}"
    desk.v1("GET", "/v1/account", "account.retrieve", lambda c: account_object(c.account))
    desk.v1("GET", "/v1/events", "events.list", _list)
    desk.v1("GET", "/v1/events/{id}", "events.retrieve", _event)
    desk.v1("GET", "/v1/webhook_endpoints", "webhook_endpoints.list", _endpoints)
    desk.v1("POST", "/v1/webhook_endpoints", "webhook_endpoints.create", _create)
    desk.v1("GET", one, "webhook_endpoints.retrieve", _endpoint)
    desk.v1("POST", one, "webhook_endpoints.update", _update)
    desk.v1("DELETE", one, "webhook_endpoints.delete", _delete)
