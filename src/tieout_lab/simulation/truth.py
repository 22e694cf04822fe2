"""Outside truth: judges the twins' own documents, by billing document and content. Imports nothing from tieout.

What it knows is the company's rules: which billing account belongs to which subsidiary and time zone, and what every
billing document must have in the ERP. What the hub believes is of no interest here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

Obj = Mapping[str, Any]


# Accounts of the demo company's chart.
BANK, CLEARING = "1000", "1050"


@dataclass(frozen=True)
class Entity:
    """One legal entity: its billing account, its ERP subsidiary, and where its days begin."""

    code: str
    account: str
    subsidiary: str
    zone: str

    def day(self, seconds: int) -> date:
        return datetime.fromtimestamp(seconds, UTC).astimezone(ZoneInfo(self.zone)).date()


ENTITIES = (
    Entity("us", "acct_us", "1", "America/Los_Angeles"),
    Entity("jp", "acct_jp", "2", "Asia/Tokyo"),
)


@dataclass(frozen=True)
class Owed:
    """One ERP document that a billing document calls for."""

    type: str
    reason: str | None
    source: str
    subsidiary: str
    currency: str
    total_minor: int
    tax_minor: int | None
    day: date


class Truth:
    """One look at the twins. `excused` are billing ids that may lack ERP documents because a person has them in hand;
    `periods` are approved posting periods by billing id. Neither excuses a duplicate or a wrong amount."""

    def __init__(
        self,
        crm: Obj,
        billing: Mapping[str, Obj],
        erp: Obj,
        *,
        excused: Iterable[str] = (),
        periods: Mapping[str, str] | None = None,
    ) -> None:
        self.crm, self.billing, self.erp = crm, billing, erp
        self.excused = frozenset(excused)
        self.periods = periods or {}
        self.documents: list[Obj] = list(erp["documents"])
        self.by_source: dict[tuple[str, str | None, str], list[Obj]] = defaultdict(list)
        for document in self.documents:
            self.by_source[document["type"], document["reason"], str(document["source"])].append(document)
        self.found: list[str] = []
        self.known: set[tuple[str, str | None, str]] = set()

    def violations(self) -> list[str]:
        """Everything that is wrong, each with the id of the invariant it breaks."""
        for entity in ENTITIES:
            objects = self.billing.get(entity.account, {})
            owed = [*self._owed(entity, objects)]
            self._documents(owed)
            self._open_amounts(objects)
            self._applications(objects)
            self._billing_customers(entity, objects)
            self._settlements(objects)
            self._shown(objects)
        self._strangers()
        self._erp_customers()
        self._names()
        self._subscriptions()
        self._ledger()
        return self.found

    def say(self, invariant: str, text: str) -> None:
        self.found.append(f"{invariant} {text}")

    # -- what ought to be there -----------------------------------------------------------------------------------
    def _owed(self, entity: Entity, objects: Obj) -> Iterator[Owed]:
        for invoice in objects.get("invoices", []):
            yield from self._owed_of(entity, invoice, objects)
        for note in objects.get("credit_notes", []):
            tax = sum(int(part["amount"]) for part in note["total_taxes"])
            yield self._of(entity, "creditMemo", "credited", note, int(note["total"]), tax, note["created"])
        for intent in objects.get("payment_intents", []):
            if intent["status"] == "succeeded" and intent["amount_received"]:
                amount = int(intent["amount_received"])
                paid = [
                    p["created"] for p in objects.get("charges", []) if p["payment_intent"] == intent["id"]
                ]
                moment = min(paid, default=intent["created"])
                yield self._of(entity, "customerPayment", None, intent, amount, None, moment)
        for record in objects.get("payment_records", []):
            amount = int(record["amount_guaranteed"]["value"])
            if amount:
                yield self._of(entity, "customerPayment", None, record, amount, None, record["created"])
        for refund in objects.get("refunds", []):
            if refund["status"] == "succeeded":
                amount = int(refund["amount"])
                yield self._of(entity, "customerRefund", None, refund, amount, None, refund["created"])

    def _owed_of(self, entity: Entity, invoice: Obj, objects: Obj) -> Iterator[Owed]:
        moments = invoice["status_transitions"]
        if not moments["finalized_at"] or not invoice["total"]:
            return
        tax = sum(int(part["amount"]) for part in invoice["total_taxes"] or [])
        total = int(invoice["total"])
        if total < 0:
            when = moments["finalized_at"]
            yield self._of(entity, "creditMemo", "negative_invoice", invoice, -total, -tax, when)
            return
        yield self._of(entity, "invoice", "finalised", invoice, total, tax, moments["finalized_at"])
        recovered = _recovered(invoice, objects)
        for part in recovered:
            amount, paid_at = int(part["amount_paid"]), part["status_transitions"]["paid_at"]
            yield self._of(entity, "invoice", "recovered", invoice, amount, None, paid_at)
        memos = [
            n
            for n in objects.get("credit_notes", [])
            if n["invoice"] == invoice["id"] and n["status"] != "void"
        ]
        # What was credited once everything was paid took nothing off what was open.
        credited = sum(int(note["pre_payment_amount"]) for note in memos)
        paid = int(invoice["amount_paid"]) - sum(int(part["amount_paid"]) for part in recovered)
        # What still is bad debt: a credit note takes its part of it back.
        lost = total - credited - paid - max(_balance_used(invoice), 0)
        given_up = moments["marked_uncollectible_at"]
        if given_up:
            late = [note for note in memos if note["created"] >= given_up]
            for note in late:
                if amount := int(note["pre_payment_amount"]):
                    yield self._of(entity, "invoice", "recovered", invoice, amount, None, note["created"])
            written_off = lost + sum(int(note["pre_payment_amount"]) for note in late)
            if written_off:
                yield self._of(entity, "creditMemo", "written_off", invoice, written_off, None, given_up)
        # What was written off before has left the books already.
        rest = total - credited - (lost if given_up else 0)
        if moments["voided_at"] and (rest or given_up):
            yield self._of(entity, "creditMemo", "voided", invoice, rest, None, moments["voided_at"])

    @staticmethod
    def _of(
        entity: Entity, type_: str, reason: str | None, one: Obj, total: int, tax: int | None, seconds: int
    ) -> Owed:
        return Owed(
            type=type_,
            reason=reason,
            source=one["id"],
            subsidiary=entity.subsidiary,
            currency=(one.get("currency") or one["amount_guaranteed"]["currency"]).upper(),
            total_minor=total,
            tax_minor=tax,
            day=entity.day(seconds),
        )

    # -- is it ------------------------------------------------------------------------------------------------------
    def _documents(self, owed: list[Owed]) -> None:
        self.known |= {(one.type, one.reason, one.source) for one in owed}
        recoveries: set[str] = set()
        for one in owed:
            there = self.by_source[one.type, one.reason, one.source]
            if one.reason == "recovered":
                self._recovery(one, there, recoveries)
                continue
            name = f"{one.type} ({one.reason or 'cash'}) of {one.source}"
            if len(there) > 1:
                self.say("I01", f"{len(there)} documents: {name}: {', '.join(d['number'] for d in there)}")
            if not there:
                if one.source not in self.excused:
                    self.say("I09", f"missing: {name}, {one.total_minor} {one.currency}")
                continue
            self._equal(name, one, there[0])

    def _recovery(self, one: Owed, there: list[Obj], known: set[str]) -> None:
        """There are as many as there were payments, told apart by sum and day: what was paid in two halves, a month
        apart, is two documents of one sum."""
        left = [
            document
            for document in there
            if document["total_minor"] == one.total_minor and document["id"] not in known
        ]
        left.sort(key=lambda document: document["date"] != one.day.isoformat())
        if left:
            known.add(left[0]["id"])
            self._equal(f"recovery of {one.source}", one, left[0])
        elif one.source not in self.excused:
            self.say("I09", f"missing: recovery of {one.source}, {one.total_minor} {one.currency}")

    def _equal(self, name: str, one: Owed, there: Obj) -> None:
        pairs: list[tuple[str, str, Any, Any]] = [
            ("I09", "total", one.total_minor, there["total_minor"]),
            ("I09", "currency", one.currency, there["currency"]),
            ("I02", "subsidiary", one.subsidiary, there["subsidiary"]),
            ("I12", "date", one.day.isoformat(), there["date"]),
            ("I12", "period", self.periods.get(one.source, f"{one.day:%b %Y}"), there["period"]),
        ]
        if one.tax_minor is not None:
            pairs.append(("I09", "tax", one.tax_minor, there["tax_minor"]))
        for invariant, what, ours, theirs in pairs:
            if ours != theirs:
                self.say(invariant, f"{name}: {what} is {theirs}, not {ours}")

    def _strangers(self) -> None:
        """ERP documents that no billing document calls for."""
        for (type_, reason, source), there in self.by_source.items():
            if there and (type_, reason, source) not in self.known:
                self.say("I01", f"uncalled for: {type_} ({reason}) of {source}: {there[0]['number']}")
        contents = defaultdict(list)
        for document in self.documents:
            if document["type"] == "invoice":
                contents[document["other_ref"], document["total_minor"], document["subsidiary"]].append(
                    document
                )
        for (ref, _, _), same in contents.items():
            if ref and len(same) > 1:
                self.say("I01", f"one billing number twice: {ref}: {', '.join(d['number'] for d in same)}")

    def _open_amounts(self, objects: Obj) -> None:
        for invoice in objects.get("invoices", []):
            there = self.by_source["invoice", "finalised", invoice["id"]]
            if not there or invoice["id"] in self.excused or not there[0]["posted"]:
                continue
            gone = invoice["status"] in ("void", "uncollectible", "paid")
            expected = 0 if gone else int(invoice["amount_remaining"])
            if there[0]["open_minor"] != expected:
                self.say("I10", f"open of {invoice['id']}: {there[0]['open_minor']}, not {expected}")

    def _applications(self, objects: Obj) -> None:
        """What a payment settles, invoice by invoice."""
        expected: dict[tuple[str, str], int] = defaultdict(int)
        for part in objects.get("invoice_payments", []):
            if part["status"] == "paid":
                payment = part["payment"].get("payment_intent") or part["payment"].get("payment_record")
                expected[payment, part["invoice"]] += int(part["amount_paid"])
        ids = {d["id"]: d["source"] for d in self.documents}
        stands: dict[tuple[str, str], int] = defaultdict(int)
        sources = {payment for payment, _ in expected}
        for document in self.documents:
            if document["type"] == "customerPayment" and document["source"] in sources:
                for part in document["applies"]:
                    stands[document["source"], ids[part["document"]]] += part["amount_minor"]
        for key in expected.keys() | stands.keys():
            if expected[key] != stands[key] and not self.excused & set(key):
                self.say("I04", f"{key[0]} settles {stands[key]} of {key[1]}, not {expected[key]}")

    def _settlements(self, objects: Obj) -> None:
        """What payouts brought to the bank, and what disputes did to gateway clearing, by the journals of each."""
        for payout in objects.get("payouts", []):
            gone = payout["status"] not in ("paid", "in_transit", "pending")
            at_bank = int(payout["amount"]) if payout["status"] == "paid" else 0
            called = ("payout", "payout_returned", "payout_fees") if gone else ("payout",)
            self._journals(payout["id"], called, BANK, at_bank)
        for dispute in objects.get("disputes", []):
            moves = dispute["balance_transactions"]
            called = ("dispute_taken", "dispute_given_back", "dispute_lost")
            self._journals(dispute["id"], called, CLEARING, sum(int(one["net"]) for one in moves))

    def _journals(self, source: str, reasons: tuple[str, ...], account: str, expected: int) -> None:
        self.known |= {("journalEntry", reason, source) for reason in reasons}
        there = [one for reason in reasons for one in self.by_source["journalEntry", reason, source]]
        lines = [line for one in there for line in one["gl"] if line["account"] == account]
        stands = sum(int(line["amount_minor"]) for line in lines)
        if stands != expected and source not in self.excused:
            self.say("I09", f"journals of {source} move {stands} on {account}, not {expected}")

    # -- what people look at ----------------------------------------------------------------------------------------
    def _shown(self, objects: Obj) -> None:
        """The mirror of each posted invoice at the CRM, with its ERP document and what became of it."""
        if "Tieout_Invoice__c" not in self.crm:
            return
        mirrors = {row["Tieout_External_Id__c"]: row for row in self.crm["Tieout_Invoice__c"]}
        for invoice in objects.get("invoices", []):
            there = self.by_source["invoice", "finalised", invoice["id"]]
            if not there or not there[0]["posted"] or invoice["id"] in self.excused:
                continue
            shown = mirrors.get(invoice["id"])
            if shown is None:
                self.say("I25", f"{invoice['id']} is not shown at the CRM")
                continue
            became = [
                word
                for reason, word in (("voided", "voided"), ("written_off", "written off"))
                if self.by_source["creditMemo", reason, invoice["id"]]
            ]
            wanted = (there[0]["id"], (became or ["posted"])[0])
            stands = (shown["ERP_Document__c"], shown["Status__c"])
            if wanted != stands:
                self.say("I25", f"{invoice['id']} is shown at the CRM as {stands}, not {wanted}")

    def _names(self) -> None:
        """Customers bear the name that their CRM account has last: I07, as the outside shows it."""
        names = {row["Id"]: row["Name"] for row in self.crm.get("Account", []) if not row["IsDeleted"]}
        called = [
            (
                str(one["crm_account"] or "").partition("#")[0],
                one["company_name"],
                f"ERP customer {one['id']}",
            )
            for one in self.erp["customers"]
        ]
        called += [
            (one["metadata"].get("crm_account", ""), one["name"], f"billing customer {one['id']}")
            for objects in self.billing.values()
            for one in objects.get("customers", [])
            if not one.get("deleted")
        ]
        for account, name, who in called:
            if account in names and name != names[account] and account not in self.excused:
                self.say("I07", f"{who} is called {name!r}, not {names[account]!r}")

    # -- parties and contracts ------------------------------------------------------------------------------------
    def _billing_customers(self, entity: Entity, objects: Obj) -> None:
        seen: dict[str, list[str]] = defaultdict(list)
        for customer in objects.get("customers", []):
            if customer["metadata"].get("crm_account") and not customer.get("deleted"):
                seen[customer["metadata"]["crm_account"]].append(customer["id"])
        for account, ids in seen.items():
            if len(ids) > 1:
                self.say("I02", f"{len(ids)} customers of {account} at {entity.account}: {', '.join(ids)}")

    def _erp_customers(self) -> None:
        seen: dict[tuple[str, str], list[str]] = defaultdict(list)
        for customer in self.erp["customers"]:
            if customer["crm_account"]:
                account = customer["crm_account"].partition("#")[0]
                seen[account, customer["subsidiary"]].append(customer["id"])
        for (account, subsidiary), ids in seen.items():
            if len(ids) > 1:
                self.say("I02", f"{len(ids)} ERP customers of {account} in {subsidiary}: {', '.join(ids)}")

    def _subscriptions(self) -> None:
        seen: dict[str, list[str]] = defaultdict(list)
        for objects in self.billing.values():
            for one in objects.get("subscriptions", []):
                if deal := one["metadata"].get("crm_opportunity"):
                    seen[deal].append(one["id"])
            for schedule in objects.get("subscription_schedules", []):
                deal = schedule["metadata"].get("crm_opportunity")
                if deal and not schedule.get("subscription"):
                    seen[deal].append(schedule["id"])
        for deal, ids in seen.items():
            if len(ids) > 1:
                self.say("I03", f"{len(ids)} subscriptions of {deal}: {', '.join(ids)}")
        for deal in self.crm.get("Opportunity", []):
            won = deal["StageName"] == "Closed Won" and deal["Finance_Approved__c"] and not deal["IsDeleted"]
            if won and deal["Id"] not in self.excused | seen.keys():
                self.say("I03", f"no subscription of {deal['Id']}")

    # -- the ledger -------------------------------------------------------------------------------------------------
    def _ledger(self) -> None:
        for document in self.documents:
            if sum(line["functional_minor"] for line in document["gl"]):
                self.say("I08", f"{document['number']} does not balance")
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.erp["trial_balance"]:
            sums[row["subsidiary"], row["period"]] += row["net_minor"]
        for place, rest in sums.items():
            if rest:
                self.say("I08", f"trial balance of {place} is off by {rest}")


def _recovered(invoice: Obj, objects: Obj) -> list[Obj]:
    """The payments that came after the invoice had been written off."""
    given_up = invoice["status_transitions"]["marked_uncollectible_at"]
    return [
        part
        for part in objects.get("invoice_payments", [])
        if part["invoice"] == invoice["id"]
        and part["status"] == "paid"
        and given_up
        and part["status_transitions"]["paid_at"] >= given_up
    ]


def _balance_used(invoice: Obj) -> int:
    """What of the customer's credit settled the invoice."""
    return int(invoice["ending_balance"] or 0) - int(invoice["starting_balance"])


def books(erp: Obj, billing: Mapping[str, Obj]) -> list[tuple[Any, ...]]:
    """The ERP's documents by content, without any id or time of the technical clock: equal for equal books."""
    numbers: dict[str, str] = {}
    for objects in billing.values():
        for kind in ("invoices", "credit_notes"):
            numbers |= {one["id"]: str(one["number"]) for one in objects.get(kind, [])}
    sources = {
        d["id"]: numbers.get(d["source"], "") or f"{d['type']} {d['total_minor']}" for d in erp["documents"]
    }
    return sorted(
        (
            document["type"],
            document["reason"] or "",
            sources[document["id"]],
            document["subsidiary"],
            document["currency"],
            document["total_minor"],
            document["tax_minor"],
            document["open_minor"],
            document["date"],
            document["period"],
            document["posted"],
            tuple(sorted((line["account"], line["amount_minor"]) for line in document["gl"])),
            tuple(sorted((sources[part["document"]], part["amount_minor"]) for part in document["applies"])),
        )
        for document in erp["documents"]
    )
