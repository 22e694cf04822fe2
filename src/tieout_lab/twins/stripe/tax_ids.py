"""Tax ids of customers. What they say is taken as given; no register is asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tieout_lab.twins.stripe.accounts import Account, Obj
from tieout_lab.twins.stripe.errors import invalid, missing
from tieout_lab.twins.stripe.pages import page

if TYPE_CHECKING:
    from tieout_lab.twins.stripe.desk import Call, Desk

# Forms of some kinds, as the vendor's page of supported tax ids shows them.
_FORMS = {
    "eu_vat": r"[A-Z]{2}[0-9A-Z+*]{2,13}",
    "gb_vat": r"GB(\d{9}|\d{12}|GD\d{3}|HA\d{3})",
    "jp_cn": r"\d{13}",
    "jp_trn": r"T\d{13}",
    "us_ein": r"\d{2}-?\d{7}",
}
_COUNTRY_IN_VALUE = frozenset({"eu_vat", "eu_oss_vat"})


def add(account: Account, customer: Obj, kind: str, value: str) -> Obj:
    """A tax id of a customer. Refuses a value that has not the form of its kind."""
    _check(kind, value)
    country = value[:2] if kind in _COUNTRY_IN_VALUE else kind.partition("_")[0]
    tax_id = account.put(
        "tax_ids",
        {
            "id": account.new_id("txi"),
            "object": "tax_id",
            "country": country.upper(),
            "created": account.now(),
            "customer": customer["id"],
            "customer_account": None,
            "livemode": account.livemode,
            "owner": {"customer": customer["id"], "type": "customer"},
            "type": kind,
            "value": value,
            "verification": {"status": "pending", "verified_address": None, "verified_name": None},
        },
    )
    account.emit("customer.tax_id.created", tax_id)
    return tax_id


def of_customer(account: Account, customer: str) -> list[Obj]:
    """A customer's tax ids, oldest first."""
    return [tax_id for tax_id in account.all("tax_ids") if tax_id["customer"] == customer]


def _check(kind: str, value: str) -> None:
    """Refuse what has not the form of its kind; of a kind without a form here, what is empty."""
    if not re.fullmatch(_FORMS.get(kind, ".+"), value.replace(" ", "")):
        raise invalid(f"Invalid value for {kind}.", "value", "tax_id_invalid")


def _list(call: Call) -> Obj:
    customer = call.account.get("customers", call.path["customer"], status=404)
    return page(of_customer(call.account, customer["id"])[::-1], call.given, call.url, "tax_ids")


def _create(call: Call) -> Obj:
    customer = call.account.get("customers", call.path["customer"], status=404)
    return add(call.account, customer, call.given["type"], call.given["value"])


def _retrieve(call: Call) -> Obj:
    tax_id = call.account.get("tax_ids", call.path["id"], status=404)
    if tax_id["customer"] != call.path["customer"]:
        raise missing("tax_ids", call.path["id"], status=404)
    return tax_id


def _delete(call: Call) -> Obj:
    tax_id = _retrieve(call)
    del call.account.objects["tax_ids"][tax_id["id"]]
    call.account.emit("customer.tax_id.deleted", tax_id)
    return {"id": tax_id["id"], "object": "tax_id", "deleted": True}


def routes(desk: Desk) -> None:
    """Declare the endpoints of customers' tax ids."""
    many = "/v1/customers/{customer}/tax_ids"
    desk.v1("GET", many, "tax_ids.list", _list)
    desk.v1("POST", many, "tax_ids.create", _create)
    desk.v1("GET", many + "/{id}", "tax_ids.retrieve", _retrieve)
    desk.v1("DELETE", many + "/{id}", "tax_ids.delete", _delete)
