"""Control actions: what people do in the org, and what befalls it.

POST /_control/act/<name> with a JSON object. Changes are the sales user's unless said otherwise. While the fault plan
has a visibility delay, a change of an action is a long transaction: its stamps are of now, others see it later.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.salesforce import errors, ids, values
from tieout_lab.twins.salesforce.org import Lock
from tieout_lab.twins.salesforce.rules import live

if TYPE_CHECKING:
    from tieout_lab.twins.salesforce import SalesforceTwin

Given = dict[str, Any]
_ACCOUNT = {
    "name": "Name", "currency": "CurrencyIsoCode", "parent": "ParentId", "tax_id": "Tax_Id__c",
    "invoice_email": "Invoice_Email__c", "payment_terms": "Payment_Terms__c", "po_required": "PO_Required__c",
}  # fmt: skip
_DEAL = {
    "account": "AccountId", "name": "Name", "currency": "CurrencyIsoCode", "legal_entity": "Legal_Entity__c",
    "contract_start": "Contract_Start__c", "contract_end": "Contract_End__c", "term_months": "Term_Months__c",
    "billing_frequency": "Billing_Frequency__c", "po_number": "PO_Number__c", "payment_terms": "Payment_Terms__c",
    "close_date": "CloseDate", "finance_approved": "Finance_Approved__c", "stage": "StageName",
}  # fmt: skip
_LINE = {
    "quantity": "Quantity", "unit_price": "UnitPrice", "discount": "Discount", "description": "Description",
    "service_date": "ServiceDate", "sort_order": "SortOrder",
}  # fmt: skip
_ADDRESS = {
    "street": "Street", "city": "City", "state": "State", "state_code": "StateCode", "postal_code": "PostalCode",
    "country": "Country", "country_code": "CountryCode",
}  # fmt: skip


class Actions:
    """Everything under /_control/act of this twin."""

    def __init__(self, twin: SalesforceTwin) -> None:
        self.twin = twin
        self.org = twin.org
        self.changes: dict[str, Callable[[Given], Any]] = {
            "create_account": self.create_account,
            "create_deal": self.create_deal,
            "create": self.create,
            "update": self.update,
            "delete": self.delete,
            "undelete": self.undelete,
            "merge_accounts": self.merge_accounts,
        }
        for name, run in self.changes.items():
            twin.action(name, self._by_people(run))
        twin.action("delayed_commit", self.delayed_commit)
        twin.action("alter", self.alter)
        twin.action("snapshot", self.snapshot)
        twin.action("empty_recycle_bin", self.empty_recycle_bin)
        twin.action("expire_sessions", self.expire_sessions)
        twin.action("expire_cursors", lambda _: {"expired": twin.queries.close_all()})
        twin.action("limits", self.limits)
        twin.action("lock_rows", self.lock_rows)
        twin.action("approve_app", self.approve_app)
        twin.action("answers", self.answers)
        twin.action("bulk", self.bulk)
        twin.action("duplicate_rule", self.duplicate_rule)
        twin.action("field_security", self.field_security)

    def _by_people(self, run: Callable[[Given], Any], seconds: float | None = None) -> Callable[[Given], Any]:
        """The action as one transaction of the sales user; refusals of the org become the action's error."""

        def act(given: Given) -> Any:
            now = self.twin.clock.technical()
            self.org.store.settle(now)
            delay = self.twin.faults.visibility_delay_seconds if seconds is None else seconds
            until = now + timedelta(seconds=delay) if delay > 0 else None
            try:
                with self.org.acting(self.org.sales_id), self.org.store.transaction(until):
                    return run(_exact(given))
            except errors.SalesforceError as error:
                raise ValueError(str(error)) from error

        return act

    # -- what people do -----------------------------------------------------------------------------------------
    def create_account(self, given: Given) -> Given:
        """{name, currency?, parent?, billing: {street, city, state, postal_code, country}?, shipping?, ...}: {"id"}.

        Any API field name is taken too.
        """
        fields = {
            _ACCOUNT.get(name, name): value
            for name, value in given.items()
            if name not in ("billing", "shipping")
        }
        for part in ("billing", "shipping"):
            for name, value in (given.get(part) or {}).items():
                fields[part.title() + _ADDRESS[name]] = value
        return {"id": self.org.insert(self.org.sobject("Account"), fields)}

    def create_deal(self, given: Given) -> Given:
        """{account, name, lines: [{product, quantity, unit_price, discount?}], currency, legal_entity, contract_start,
        term_months, billing_frequency, close_date, won?, finance_approved?, ...}: {"id", "lines"}.

        `product` is a product code. The deal is won unless `won` is false; it is approved unless told otherwise.
        """
        lines, won = given.get("lines", []), given.get("won", True)
        extra = given.get("fields") or {}
        known = {name: value for name, value in given.items() if name not in ("lines", "won", "fields")}
        unknown = sorted(name for name in known if name not in _DEAL and not name[0].isupper())
        if unknown:
            raise ValueError(f"unknown deal fields {unknown}; known: {sorted(_DEAL)}")
        fields = {_DEAL.get(name, name): value for name, value in known.items() if value is not None}
        fields.setdefault("CloseDate", self.org.today())
        fields.setdefault("Finance_Approved__c", True)
        stage = fields.pop("StageName", "Closed Won" if won else "Negotiation/Review")
        opportunity = self.org.sobject("Opportunity")
        deal_id = self.org.insert(opportunity, {**fields, **extra, "StageName": "Negotiation/Review"})
        line_ids = [self._add_line(deal_id, at, line) for at, line in enumerate(lines, start=1)]
        if stage != "Negotiation/Review":
            self.org.update(opportunity, deal_id, {"StageName": stage})
        return {"id": deal_id, "lines": line_ids}

    def _add_line(self, deal_id: str, at: int, line: Given) -> str:
        products = [
            row for row in self.org.store.rows("Product2") if row.get("ProductCode") == line["product"]
        ]
        if not products:
            raise ValueError(f"no product with code {line['product']!r}")
        named = {
            _LINE.get(name, name): value
            for name, value in line.items()
            if name != "product" and value is not None
        }
        keys = {"OpportunityId": deal_id, "Product2Id": products[0]["Id"], "SortOrder": at}
        return self.org.insert(self.org.sobject("OpportunityLineItem"), {**keys, **named})

    def create(self, given: Given) -> Given:
        """{object, fields}: {"id"}."""
        return {"id": self.org.insert(self.org.sobject(given["object"]), given["fields"])}

    def update(self, given: Given) -> Given:
        """{object, id, fields}: {"id"}."""
        self.org.update(self.org.sobject(given["object"]), given["id"], given["fields"])
        return {"id": given["id"]}

    def delete(self, given: Given) -> Given:
        """{object, id}: {"id"}. Into the recycle bin, with what cannot live without it."""
        self.org.delete(self.org.sobject(given["object"]), given["id"])
        return {"id": given["id"]}

    def undelete(self, given: Given) -> Given:
        """{object, id}: {"id"}."""
        self.org.undelete(self.org.sobject(given["object"]), given["id"])
        return {"id": given["id"]}

    def merge_accounts(self, given: Given) -> Given:
        """{winner, loser} or {winner, losers: [...]}: {"id", "moved": {"Opportunity": n}}."""
        losers = given.get("losers") or [given["loser"]]
        moved = sum(
            len(live(self.org, "Opportunity", "AccountId", ids.full(each) or each)) for each in losers
        )
        self.org.merge(self.org.sobject("Account"), given["winner"], losers)
        return {"id": given["winner"], "moved": {"Opportunity": moved}}

    def delayed_commit(self, given: Given) -> Any:
        """{seconds, do, with}: do another change whose stamps are of now, seen by others `seconds` technical later."""
        return self._by_people(self.changes[given["do"]], float(given["seconds"]))(given.get("with") or {})

    # -- what befalls the org -----------------------------------------------------------------------------------
    def alter(self, given: Given) -> Given:
        """{object, id, fields}: change stored values behind everyone's back: no rule, no stamp, no roll-up.

        With `"remove": true` the record vanishes without a trace.
        """
        sobject = self.org.sobject(given["object"])
        row = self.org.store.get(sobject.name, ids.full(given["id"]) or given["id"])
        if row is None:
            raise LookupError(f"no {sobject.name} {given['id']}")
        if given.get("remove"):
            self.org.store.remove(sobject.name, row["Id"])
            return {"id": row["Id"], "before": None}
        changes: Given = {}
        for name, value in _exact(given["fields"]).items():
            column = sobject.get(name)
            if column is None:
                raise LookupError(f"no field {name} on {sobject.name}")
            try:
                changes[column.name] = values.accept(self.org.schema, sobject, column, value)
            except errors.SalesforceError as error:
                raise ValueError(str(error)) from error
        self.org.store.put(sobject.name, row | changes)
        return {"id": row["Id"], "before": {name: row.get(name) for name in changes}}

    def snapshot(self, given: Given) -> dict[str, list[Given]]:
        """{objects?: [...]}: every record by object, recycle bin included; numbers with a point are strings."""
        wanted = given.get("objects") or list(self.org.schema.objects)
        shown: dict[str, list[Given]] = {}
        for name in wanted:
            sobject = self.org.sobject(name)
            columns = [each for each in sobject.fields.values() if each.type != "address"]
            shown[sobject.name] = [
                {each.name: self.org.value(sobject, row, each) for each in columns}
                for row in self.org.store.rows(name)
            ]
        return shown

    def empty_recycle_bin(self, given: Given) -> Given:
        """{object?, keep_log?}: forget deleted records for good; with `keep_log` the deletion log still names them:
        {"removed"}."""
        names = [given["object"]] if given.get("object") else list(self.org.schema.objects)
        removed = 0
        for name in names:
            for row in [each for each in self.org.store.rows(name) if each.get("IsDeleted")]:
                self.org.store.remove(name, row["Id"])
                if given.get("keep_log"):
                    self.org.purged.append((name, {"Id": row["Id"], "_deleted": row["_deleted"]}))
                removed += 1
        return {"removed": removed}

    def expire_sessions(self, given: Given) -> Given:
        """End every session now; {session_seconds?} sets the life of those to come."""
        if given.get("session_seconds"):
            self.twin.sessions.life = timedelta(seconds=float(given["session_seconds"]))
        return {"expired": self.twin.sessions.close_all()}

    def limits(self, given: Given) -> Given:
        """{daily?, used?, page_size?, cursors?}: the day's API calls and the sizes of pages (below 200 too)."""
        if "daily" in given:
            self.twin.budget.daily = int(given["daily"])
        if "used" in given:
            self.twin.budget.set_used(int(given["used"]))
        if "page_size" in given:
            self.twin.queries.page_size = int(given["page_size"]) if given["page_size"] else None
        if "cursors" in given:
            self.twin.queries.most_cursors = int(given["cursors"])
        return {"daily": self.twin.budget.daily, "used": self.twin.budget.used()}

    def lock_rows(self, given: Given) -> Given:
        """{count?, status?, object?, ids?}: the next `count` writes on these rows find them locked; 0 clears."""
        count = int(given.get("count", 1))
        if count <= 0:
            self.org.locks.clear()
            return {"locks": 0}
        wanted = frozenset(ids.full(each) or each for each in given.get("ids") or [])
        self.org.locks = [lock for lock in self.org.locks if lock.remaining > 0]
        self.org.locks.append(Lock(count, int(given.get("status", 400)), given.get("object"), wanted))
        return {"locks": len(self.org.locks)}

    def answers(self, given: Given) -> Given:
        """{next: ["reversed" | "missing" | "repeated", ...]}: the results of the next Collections calls, one each."""
        unknown = sorted(set(given["next"]) - {"reversed", "missing", "repeated", ""})
        if unknown:
            raise ValueError(f"unknown disorder {unknown}")
        self.twin.collections.disorder = list(given["next"])
        return {"next": self.twin.collections.disorder}

    def duplicate_rule(self, given: Given) -> Given:
        """{object, field} or {}: records that an integration makes must differ in this field; empty clears all."""
        if not given:
            self.org.duplicate_rules.clear()
        else:
            field = self.org.sobject(given["object"]).get(given["field"])
            if field is None:
                raise LookupError(f"no field {given['field']} on {given['object']}")
            self.org.duplicate_rules.append((given["object"], field.name))
        return {"rules": len(self.org.duplicate_rules)}

    def field_security(self, given: Given) -> Given:
        """{hidden?: ["Account.Tax_Id__c", ...], read_only?: [...]}: custom fields that the integration user may not
        see, or not write; {} gives it all."""
        pairs = {}
        for kind in ("hidden", "read_only"):
            split = [tuple(name.split(".", 1)) for name in given.get(kind, [])]
            odd = [".".join(each) for each in split if len(each) != 2 or not each[1].endswith("__c")]
            if odd:
                raise ValueError(f"{', '.join(odd)}: write Object.Custom_Field__c")
            pairs[kind] = {(each[0], each[1]) for each in split}
        self.org.grant(pairs["hidden"], pairs["read_only"])
        return {kind: len(found) for kind, found in pairs.items()}

    def bulk(self, given: Given) -> Given:
        """{seconds?, stop_after?, old_refusal?}: how long jobs take; after how many rows ingests stop, null for never;
        whether Bulk tells an ended session as 400 InvalidSessionId."""
        bulk = self.twin.bulk
        bulk.seconds = float(given.get("seconds", bulk.seconds))
        bulk.stop_after = given.get("stop_after", bulk.stop_after)
        self.twin.old_bulk_refusal = bool(given.get("old_refusal", self.twin.old_bulk_refusal))
        return {"seconds": bulk.seconds, "stop_after": bulk.stop_after, "jobs": list(bulk.jobs)}

    def approve_app(self, given: Given) -> Given:
        """{approved}: whether the user has approved the app; without approval nobody signs in."""
        self.twin.sign_in.approved = bool(given["approved"])
        return {"approved": self.twin.sign_in.approved}


def _exact(given: Any) -> Any:
    """The control API's JSON with every fraction a Decimal of the digits it was written with."""
    if isinstance(given, dict):
        return {name: _exact(value) for name, value in given.items()}
    if isinstance(given, list):
        return [_exact(value) for value in given]
    return Decimal(str(given)) if isinstance(given, float) else given
