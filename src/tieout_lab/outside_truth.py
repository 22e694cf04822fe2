"""The judge from outside: looks at the twins' own journals and documents, and knows nothing of the hub.

A duplicate that the hub does not know of is the one that matters; so what must stand at the ERP is derived here once
more, from billing's documents alone, and compared by content.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

Snapshot = Mapping[str, Any]
SELLERS = {
    "acct_us": ("1", ZoneInfo("America/Los_Angeles")),
    "acct_jp": ("2", ZoneInfo("Asia/Tokyo")),
}
ISSUED = ("open", "paid", "void", "uncollectible")


@dataclass(frozen=True)
class Violation:
    """One thing that is not as it must be."""

    rule: str
    document: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.document}: {self.message}"


@dataclass
class Owed:
    """What one billing document must have led to at the ERP: type and sum, and the day that it bears."""

    type: str
    total: int
    day: date


@dataclass
class Truth:
    """Snapshots of the three twins. `allowed` are ids of billing documents and deals that a person owns: they may
    be missing. `released`: billing documents that may stand in another period than their day's."""

    billing: Snapshot
    erp: Snapshot
    crm: Snapshot
    allowed: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    violations: list[Violation] = field(default_factory=list)

    def judge(self) -> list[Violation]:
        """Everything that is wrong; empty when nothing is."""
        self.by_source: dict[str, list[Any]] = defaultdict(list)
        for document in self.erp["documents"]:
            self.by_source[document["source"] or ""].append(document)
        known: set[str] = set()
        for account, objects in self.billing.items():
            owed = dict(self._owed(account, objects))
            known |= set(owed)
            for source, wanted in owed.items():
                self._documents(account, source, wanted)
            self._open_amounts(objects)
            self._subscriptions(objects)
        for source in sorted(set(self.by_source) - known):
            self._say(
                "no source", source or "(none)", f"{len(self.by_source[source])} ERP documents without one"
            )
        self._customers()
        self._balance()
        return self.violations

    def _say(self, rule: str, document: str, message: str) -> None:
        self.violations.append(Violation(rule, document, message))

    # -- what billing owes the ERP ----------------------------------------------------------------------------------
    def _owed(self, account: str, objects: Snapshot) -> Iterator[tuple[str, list[Owed]]]:
        zone = SELLERS[account][1]
        given_up = {
            invoice["id"]: invoice["status_transitions"]["marked_uncollectible_at"]
            for invoice in objects.get("invoices", ())
        }
        notes: dict[str, int] = defaultdict(int)
        for note in objects.get("credit_notes", ()):
            if note["status"] != "void":
                notes[note["invoice"]] += note["total"]
        paid: dict[str, int] = defaultdict(int)
        recovered: dict[str, list[Owed]] = defaultdict(list)
        for part in objects.get("invoice_payments", ()):
            if part["status"] != "paid":
                continue
            moment = part["status_transitions"]["paid_at"]
            if (given_up.get(part["invoice"]) or math.inf) <= moment:
                recovered[part["invoice"]].append(Owed("invoice", part["amount_paid"], _day(moment, zone)))
            else:
                paid[part["invoice"]] += part["amount_paid"] or 0
        for invoice in objects.get("invoices", ()):
            if invoice["status"] in ISSUED and invoice["total"]:
                found = self._of_invoice(invoice, zone, notes, paid)
                yield invoice["id"], [*found, *recovered[invoice["id"]]]
        for note in objects.get("credit_notes", ()):
            found = [Owed("creditMemo", note["total"], _day(note["created"], zone))]
            if note["status"] == "void":
                found.append(Owed("invoice", note["total"], _day(note["voided_at"], zone)))
            yield note["id"], found
        yield from self._of_money(objects, zone)

    def _of_money(self, objects: Snapshot, zone: ZoneInfo) -> Iterator[tuple[str, list[Owed]]]:
        for intent in objects.get("payment_intents", ()):
            if intent["status"] == "succeeded":
                yield (
                    intent["id"],
                    [Owed("customerPayment", intent["amount_received"], _charged(objects, intent, zone))],
                )
        for record in objects.get("payment_records", ()):
            if record["amount_guaranteed"]["value"]:
                amount = record["amount_guaranteed"]["value"]
                yield record["id"], [Owed("customerPayment", amount, _day(record["created"], zone))]
        for refund in objects.get("refunds", ()):
            if refund["status"] == "succeeded":
                yield refund["id"], [Owed("customerRefund", refund["amount"], _day(refund["created"], zone))]

    def _of_invoice(
        self, invoice: Any, zone: ZoneInfo, notes: Mapping[str, int], paid: Mapping[str, int]
    ) -> list[Owed]:
        moments = invoice["status_transitions"]
        issued = _day(invoice.get("effective_at") or moments["finalized_at"], zone)
        if invoice["total"] < 0:  # a downgrade: the memo of what it gives back
            return [Owed("creditMemo", -invoice["total"], issued)]
        found = [Owed("invoice", invoice["total"], issued)]
        credit = max(0, (invoice["ending_balance"] or 0) - invoice["starting_balance"])
        left = invoice["total"] - notes[invoice["id"]]
        if moments["marked_uncollectible_at"]:
            lost = left - paid[invoice["id"]] - credit
            found.append(Owed("creditMemo", lost, _day(moments["marked_uncollectible_at"], zone)))
            left -= lost
        if moments["voided_at"] and left:
            found.append(Owed("creditMemo", left, _day(moments["voided_at"], zone)))
        return found

    # -- what stands there ------------------------------------------------------------------------------------------
    def _documents(self, account: str, source: str, wanted: list[Owed]) -> None:
        standing = self.by_source.get(source, [])
        if not standing and source in self.allowed:
            return
        subsidiary = SELLERS[account][0]
        want = Counter((one.type, one.total) for one in wanted)
        have = Counter((one["type"], one["total_minor"]) for one in standing)
        for (kind, total), count in (want - have).items():
            if source not in self.allowed:
                self._say("missing", source, f"{count} {kind} of {total}")
        for (kind, total), count in (have - want).items():
            self._say("surplus", source, f"{count} {kind} of {total}")
        days = {(one.type, one.total): one.day for one in wanted}
        for document in standing:
            day = days.get((document["type"], document["total_minor"]))
            if day is not None:
                self._dated(source, document, day)
            if document["subsidiary"] != subsidiary:
                self._say("subsidiary", source, f"{document['number']} stands in {document['subsidiary']}")
            if not document["posted"]:
                self._say("not posted", source, document["number"])

    def _dated(self, source: str, document: Any, day: date) -> None:
        if document["date"] != day.isoformat():
            self._say("date", source, f"{document['number']} bears {document['date']}, not {day}")
        if source not in self.released and document["period"] != f"{day:%b %Y}":
            self._say(
                "period", source, f"{document['number']} stands in {document['period']}, not {day:%b %Y}"
            )

    def _open_amounts(self, objects: Snapshot) -> None:
        """What billing waits for is what the ERP shows as open: payments and credits are applied as at billing."""
        for invoice in objects.get("invoices", ()):
            if invoice["id"] in self.allowed or invoice["status"] not in ISSUED:
                continue
            left = invoice["amount_remaining"] if invoice["status"] == "open" else 0
            held = sum(
                one["open_minor"] for one in self.by_source.get(invoice["id"], ()) if one["type"] == "invoice"
            )
            if held != left:
                self._say("application", invoice["id"], f"{left} is open at billing, {held} in the ERP")

    # -- who and what was sold --------------------------------------------------------------------------------------
    def _subscriptions(self, objects: Snapshot) -> None:
        """One subscription per deal, or one schedule that has not begun."""
        found: Counter[str] = Counter()
        for one in objects.get("subscriptions", ()):
            found[one["metadata"].get("crm_opportunity", "")] += 1
        for one in objects.get("subscription_schedules", ()):
            if not one["subscription"] and not one["released_subscription"]:
                found[one["metadata"].get("crm_opportunity", "")] += 1
        for deal, count in found.items():
            if count > 1 or not deal:
                self._say("subscription", deal or "(no deal)", f"{count} subscriptions")

    def _customers(self) -> None:
        """One customer per account at billing, and per account and subsidiary at the ERP."""
        held: Counter[tuple[str, str]] = Counter()
        for one in self.erp["customers"]:
            held[one["crm_account"] or "", one["subsidiary"]] += 1
        for objects_account, objects in self.billing.items():
            for one in objects.get("customers", ()):
                if not one.get("deleted"):
                    held[one["metadata"].get("crm_account", ""), objects_account] += 1
        for (account, place), count in held.items():
            if count > 1 or not account:
                self._say("customer", account or "(no account)", f"{count} customers in {place}")
        self._deals(self.crm.get("Opportunity", ()))

    def _deals(self, deals: Sequence[Any]) -> None:
        """Every won, approved deal has its subscription, unless a person owns it."""
        sold = {
            one["metadata"].get("crm_opportunity")
            for objects in self.billing.values()
            for kind in ("subscriptions", "subscription_schedules")
            for one in objects.get(kind, ())
        }
        for deal in deals:
            due = deal["IsWon"] and deal["Finance_Approved__c"] and not deal["IsDeleted"]
            if due and deal["Id"] not in sold and deal["Id"] not in self.allowed:
                self._say("deal", deal["Id"], "won, and never billed")

    def _balance(self) -> None:
        """Debits and credits of every subsidiary and period sum to nothing."""
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for row in self.erp["trial_balance"]:
            sums[str(row["subsidiary"]), str(row["period"])] += row["net_minor"]
        for place, total in sums.items():
            if total:
                self._say("trial balance", " ".join(place), str(total))


def judge(
    billing: Snapshot,
    erp: Snapshot,
    crm: Snapshot,
    *,
    allowed: frozenset[str] = frozenset(),
    released: frozenset[str] = frozenset(),
) -> list[Violation]:
    """What the twins' snapshots have wrong. See `Truth`."""
    return Truth(billing, erp, crm, allowed, released).judge()


def _day(seconds: int, zone: ZoneInfo) -> date:
    return datetime.fromtimestamp(seconds, UTC).astimezone(zone).date()


def _charged(objects: Snapshot, intent: Any, zone: ZoneInfo) -> date:
    """The day on which the charge of an intent was settled."""
    charge = next((one for one in objects.get("charges", ()) if one["id"] == intent["latest_charge"]), None)
    return _day((charge or intent)["created"], zone)
