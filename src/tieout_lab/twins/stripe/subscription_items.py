"""The endpoints of subscription items: each is a change of its subscription."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe.accounts import Obj
from tieout_lab.twins.stripe.pages import page
from tieout_lab.twins.stripe.subscription_desk import change

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk


def _item(call: Call) -> Obj:
    return call.account.get("subscription_items", call.path["item"], "item", status=404)


def _list_items(call: Call) -> Obj:
    subscription = call.account.get("subscriptions", call.given["subscription"], "subscription")
    return page(subscription["items"]["data"], call.given, call.url, "subscription_items")


def _change_one(call: Call, subscription: Obj, one: Obj) -> None:
    """One change of a subscription's items, in the terms of the subscription's own update."""
    names = ("proration_behavior", "proration_date", "payment_behavior")
    given: dict[str, Any] = {
        "items": [one],
        **{name: call.given[name] for name in names if name in call.given},
    }
    change(call.account, subscription, given)


def _own(given: Obj) -> Obj:
    """What of the parameters is about the item itself."""
    names = ("discounts", "metadata", "price", "price_data", "quantity", "tax_rates")
    return {name: given[name] for name in names if name in given}


def _create_item(call: Call) -> Obj:
    subscription = call.account.get("subscriptions", call.given["subscription"], "subscription")
    _change_one(call, subscription, _own(call.given))
    item: Obj = subscription["items"]["data"][-1]
    return item


def _update_item(call: Call) -> Obj:
    item = _item(call)
    subscription = call.account.get("subscriptions", item["subscription"])
    standing = {"quantity": item["quantity"]} if "quantity" in item else {}
    _change_one(call, subscription, {**standing, **_own(call.given), "id": item["id"]})
    return item


def _delete_item(call: Call) -> Obj:
    item = _item(call)
    _change_one(
        call, call.account.get("subscriptions", item["subscription"]), {"id": item["id"], "deleted": True}
    )
    return {"id": item["id"], "object": "subscription_item", "deleted": True}


def routes(desk: Desk) -> None:
    """Declare the endpoints of subscription items."""
    one = "/v1/subscription_items/{item}"
    desk.v1("GET", "/v1/subscription_items", "subscription_items.list", _list_items)
    desk.v1("POST", "/v1/subscription_items", "subscription_items.create", _create_item)
    desk.v1("GET", one, "subscription_items.retrieve", _item)
    desk.v1("POST", one, "subscription_items.update", _update_item)
    desk.v1("DELETE", one, "subscription_items.delete", _delete_item)
