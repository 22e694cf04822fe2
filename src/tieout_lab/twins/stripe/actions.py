"""What a scenario can do at billing that no API client does: customers pay, operators click, saboteurs tamper."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.stripe import (
    credit_notes,
    intents,
    invoices,
    payments,
    records,
    settlements,
    subscription_desk,
)
from tieout_lab.twins.stripe.accounts import Account, Obj, plain
from tieout_lab.twins.stripe.catalogue import new_product
from tieout_lab.twins.stripe.delivery import new_endpoint
from tieout_lab.twins.stripe.errors import Refusal

if TYPE_CHECKING:
    from tieout_lab.twins.stripe import StripeTwin

PRODUCTS = {
    "PLATFORM": "Platform",
    "SUPPORT": "Premium support",
    "ONBOARD": "Onboarding",
    "ANALYTICS": "Analytics add-on",
}
ROTATION_SECONDS = 24 * 3600


class Actions:
    """The control actions of the twin; each takes and gives a JSON object."""

    def __init__(self, twin: StripeTwin) -> None:
        self._twin = twin
        for name in (
            "advance", "alter", "change_subscription", "close_dispute", "copy", "credit", "delete", "detach_payment",
            "dispute", "fail_payout", "limits", "mark_uncollectible", "pay_invoice", "pay_out", "refund",
            "register_webhook", "rotate_secret", "seed_catalogue", "settings", "snapshot", "void_invoice",
            "webhook_journal", "wire",
        ):  # fmt: skip
            twin.action(name, self._guarded(getattr(self, name)))

    def _guarded(self, run: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
        def guarded(given: dict[str, Any]) -> Any:
            self._twin.bill()
            try:
                return run(given)
            except Refusal as refusal:
                raise ValueError(f"{refusal.code or refusal.kind}: {refusal.message}") from refusal

        return guarded

    def _account(self, given: dict[str, Any]) -> Account:
        return self._twin.accounts[given["account"]]

    # -- setting up ---------------------------------------------------------------------------------------------
    def seed_catalogue(self, _: dict[str, Any]) -> Any:
        """The demo company's products, in every account."""
        for account in self._twin.accounts.values():
            for code, name in PRODUCTS.items():
                if account.find("products", f"prod_{code}") is None:
                    account.emit("product.created", new_product(account, f"prod_{code}", name))
        return {"products": [f"prod_{code}" for code in PRODUCTS]}

    def register_webhook(self, given: dict[str, Any]) -> Any:
        """{account, url, secret?, events?}: an endpoint, with the account's own secret unless one is given."""
        account = self._account(given)
        secret = given.get("secret") or account.webhook_secret
        endpoint = new_endpoint(account, given["url"], given.get("events", ["*"]), secret)
        return {"endpoint": endpoint["id"], "secret": secret}

    def rotate_secret(self, given: dict[str, Any]) -> Any:
        """{account, secret, endpoint?, expires_seconds?}: a new secret; the old one signs beside it for a while."""
        account = self._account(given)
        until = account.technical() + float(given.get("expires_seconds", ROTATION_SECONDS))
        changed = []
        for endpoint in account.all("webhook_endpoints"):
            if given.get("endpoint") in (None, endpoint["id"]):
                endpoint["_old_secret"], endpoint["_old_until"] = endpoint["_secret"], until
                endpoint["_secret"] = given["secret"]
                changed.append(endpoint["id"])
        account.webhook_secret = given["secret"]
        return {"endpoints": changed}

    def limits(self, given: dict[str, Any]) -> Any:
        """{per_second?, per_endpoint?}: calls answered in a second of technical time; null for no limit."""
        self._twin.per_second = given.get("per_second")
        self._twin.per_endpoint = given.get("per_endpoint")
        return {"per_second": self._twin.per_second, "per_endpoint": self._twin.per_endpoint}

    def settings(self, given: dict[str, Any]) -> Any:
        """Change the fields of `Settings`; answers them all."""
        settings = self._twin.settings
        for name, value in given.items():
            if not hasattr(settings, name):
                raise KeyError(name)
            setattr(settings, name, value)
        self._twin.keys.life_seconds = settings.key_life_seconds
        return {name: getattr(settings, name) for name in settings.__slots__}

    def advance(self, given: dict[str, Any]) -> Any:
        """{business}: move the business clock there and bill what has become due."""
        self._twin.clock.set_business(datetime.fromisoformat(given["business"]))
        self._twin.bill()
        return {"business": self._twin.clock.business().isoformat()}

    # -- customers and operators --------------------------------------------------------------------------------
    def pay_invoice(self, given: dict[str, Any]) -> Any:
        """{account, invoice, amount?, payment_method?}: the customer pays by card."""
        account = self._account(given)
        invoice = account.get("invoices", given["invoice"], "invoice")
        method = given.get("payment_method", intents.CARD)
        return plain(payments.pay_by_card(account, invoice, method, given.get("amount")))

    def wire(self, given: dict[str, Any]) -> Any:
        """{account, customer, amount, currency, invoices: [{invoice, amount?}], reference?}: money by bank transfer.

        One payment record, attached to the invoices named; the rest stays attached to none."""
        account = self._account(given)
        customer = account.get("customers", given["customer"], "customer")
        record = records.new_record(
            account,
            given["amount"],
            given["currency"].lower(),
            customer_details={
                "customer": customer["id"],
                "email": customer["email"],
                "name": customer["name"],
                "phone": customer["phone"],
            },
            reference=given.get("reference"),
            description=given.get("description"),
            metadata=given.get("metadata", {}),
        )
        attached = []
        for one in given.get("invoices", []):
            invoice = account.get("invoices", one["invoice"], "invoice")
            attached.append(records.attach_record(account, invoice, record, one.get("amount")))
        return {"payment_record": plain(record), "invoice_payments": plain(attached)}

    def detach_payment(self, given: dict[str, Any]) -> Any:
        """{account, invoice, payment}: an operator takes a payment (intent or record) off an invoice."""
        account = self._account(given)
        invoice = account.get("invoices", given["invoice"], "invoice")
        for payment in account.payments_of(invoice):
            if given["payment"] in payment["payment"].values():
                payments.detach(account, invoice, payment)
                return {"detached": payment["id"]}
        raise LookupError(f"{given['payment']} pays nothing of {given['invoice']}")

    def change_subscription(self, given: dict[str, Any]) -> Any:
        """{account, subscription, items?, proration_behavior?, ...}: as the API's parameters."""
        account = self._account(given)
        wanted = {key: value for key, value in given.items() if key not in {"account", "subscription"}}
        subscription = account.get("subscriptions", given["subscription"], "subscription")
        return plain(subscription_desk.change(account, subscription, wanted))

    def void_invoice(self, given: dict[str, Any]) -> Any:
        """{account, invoice}."""
        account = self._account(given)
        return plain(invoices.void(account, account.get("invoices", given["invoice"])))

    def mark_uncollectible(self, given: dict[str, Any]) -> Any:
        """{account, invoice}."""
        account = self._account(given)
        return plain(invoices.write_off(account, account.get("invoices", given["invoice"])))

    def credit(self, given: dict[str, Any]) -> Any:
        """{account, invoice, amount | lines, refund?, reason?, ...}: as the API's own parameters.

        `refund`: true pays back by card whatever exceeds the open amount, "balance" keeps it as the customer's
        credit (the default), "outside" says that it is paid back by other means."""
        account = self._account(given)
        wanted = {key: value for key, value in given.items() if key not in {"account", "refund"}}
        if not {"refund_amount", "credit_amount", "out_of_band_amount", "refunds"} & set(wanted):
            way = {True: "refund_amount", "outside": "out_of_band_amount"}.get(
                given.get("refund", ""), "credit_amount"
            )
            beyond = self._beyond(account, wanted)
            if beyond:
                wanted[way] = beyond
        return plain(credit_notes.issue(account, wanted))

    def _beyond(self, account: Account, wanted: dict[str, Any]) -> int:
        """What of the credit exceeds the invoice's open amount."""
        total = credit_notes.total_of(account, wanted)
        invoice = account.get("invoices", wanted["invoice"], "invoice")
        pre: int = 0 if invoice["status"] == "paid" else min(total, invoice["amount_remaining"])
        return total - pre

    def dispute(self, given: dict[str, Any]) -> Any:
        """{account, charge | payment_intent, amount?, reason?}: the cardholder's bank takes the money back."""
        account = self._account(given)
        charge = intents.charge_of(account, given)
        reason = given.get("reason", "general")
        return plain(settlements.open_dispute(account, charge, given.get("amount"), reason))

    def close_dispute(self, given: dict[str, Any]) -> Any:
        """{account, dispute, won}."""
        account = self._account(given)
        dispute = account.get("disputes", given["dispute"], "dispute")
        return plain(settlements.close_dispute(account, dispute, won=given["won"]))

    def pay_out(self, given: dict[str, Any]) -> Any:
        """{account, currency}: all that is available goes to the bank, and arrives two days later."""
        return plain(settlements.pay_out(self._account(given), given["currency"]))

    def fail_payout(self, given: dict[str, Any]) -> Any:
        """{account, payout}: it comes back, whether or not it was shown as paid before."""
        account = self._account(given)
        return plain(settlements.give_back(account, account.get("payouts", given["payout"], "payout")))

    def refund(self, given: dict[str, Any]) -> Any:
        """{account, charge | payment_intent, amount?, reason?}."""
        account = self._account(given)
        charge = intents.charge_of(account, given)
        return plain(intents.refund_charge(account, charge, given.get("amount"), given.get("reason"), {}))

    # -- behind everyone's back ---------------------------------------------------------------------------------
    def alter(self, given: dict[str, Any]) -> Any:
        """{account, kind, id, path, value}: tamper, without event or rule. A path: lines.data.0.amount."""
        obj = self._stored(given)
        *way, last = str(given["path"]).split(".")
        here: Any = obj
        for part in way:
            here = here[int(part)] if isinstance(here, list) else here[part]
        place: Any = int(last) if isinstance(here, list) else last
        before = here[place]
        here[place] = given["value"]
        return {"before": plain(before), "after": given["value"]}

    def delete(self, given: dict[str, Any]) -> Any:
        """{account, kind, id}: a stored object is gone as if it had never been."""
        obj = self._stored(given)
        del self._account(given).objects[given["kind"]][obj["id"]]
        return {"deleted": obj["id"]}

    def copy(self, given: dict[str, Any]) -> Any:
        """{account, kind, id}: the same object a second time, under an identifier (and number) of its own."""
        account, obj = self._account(given), self._stored(given)
        double: Obj = copy.deepcopy(obj)
        double["id"] = account.new_id(str(obj["id"]).rpartition("_")[0])
        if double.get("number"):
            double["number"] = f"{double['number']}-D"
        for line in (double.get("lines") or {}).get("data", []):
            line["id"] = account.new_id("il")
        account.put(given["kind"], double)
        return plain(double)

    def _stored(self, given: dict[str, Any]) -> Obj:
        return self._account(given).objects[given["kind"]][given["id"]]

    # -- looking ------------------------------------------------------------------------------------------------
    def snapshot(self, given: dict[str, Any]) -> Any:
        """{account?, kinds?}: every object, whole, by account and kind; what an outside judge reads."""
        wanted = given.get("kinds")
        return {
            account.id: {
                kind: [plain(obj) for obj in objects.values()]
                for kind, objects in account.objects.items()
                if objects and (wanted is None or kind in wanted)
            }
            for account in self._twin.accounts.values()
            if given.get("account") in (None, account.id)
        }

    def webhook_journal(self, given: dict[str, Any]) -> Any:
        """{since?}: every delivery that was tried, with the status it got (0: no answer)."""
        return {"journal": self._twin.webhooks.journal[int(given.get("since", 0)) :]}
