"""The control API's actions: what a person would do in the user interface, and what a saboteur would do."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tieout_lab.twins.netsuite import sabotage
from tieout_lab.twins.netsuite.applications import Settlements
from tieout_lab.twins.netsuite.invoices import Invoices
from tieout_lab.twins.netsuite.ledger import is_leaf
from tieout_lab.twins.netsuite.seed import plant
from tieout_lab.twins.netsuite.snapshot import snapshot
from tieout_lab.twins.netsuite.state import Document, Record, State
from tieout_lab.twins.netsuite.tenant import APPROVAL_MODES

if TYPE_CHECKING:
    from tieout_lab.twins.netsuite.twin import NetSuiteTwin


class Actions:
    """POST /_control/act/<name> with a JSON object."""

    def __init__(self, twin: NetSuiteTwin, settlements: Settlements) -> None:
        self.twin = twin
        self.tenant = twin.tenant
        self.settlements = settlements

    def declare(self) -> None:
        """Name every action to the twin."""
        for name in (
            "approve",
            "approve_all",
            "reject",
            "close_period",
            "reopen_period",
            "lock_period",
            "limits",
            "preferences",
            "routing",
            "rate",
            "custom_field",
            "lock",
            "unlock",
            "contend",
            "revoke_tokens",
            "alter",
            "sabotage",
            "snapshot",
            "trial_balance",
            "master",
            "seed",
        ):
            self.twin.action(name, getattr(self, name))

    # -- approvals --------------------------------------------------------------------------------------------------
    def approve(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"id"} or {"external_id"}: a person approves a pending invoice."""
        document = self._document(given)
        if document.approval != "1":
            raise ValueError(f"{document.number} is not pending")
        self._invoices().approve(document)
        return {"approved": [document.id]}

    def approve_all(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"subsidiary"?}: a person approves whatever is pending; what cannot be posted is told."""
        approved, refused = [], {}
        for document in list(self.tenant.state.documents()):
            if document.approval != "1" or given.get("subsidiary") not in (None, document.subsidiary):
                continue
            try:
                self._invoices().approve(document)
                approved.append(document.id)
            except Exception as error:  # noqa: BLE001 - told to whoever asked
                refused[document.id] = str(error)
        return {"approved": approved, "refused": refused}

    def reject(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"id"}: a person rejects a pending invoice."""
        document = self._document(given)
        if document.approval != "1":
            raise ValueError(f"{document.number} is not pending")
        self.tenant.state.touch(document, self.tenant.now())
        document.approval = "3"
        return {"rejected": [document.id]}

    # -- periods ----------------------------------------------------------------------------------------------------
    def close_period(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"period": id or name} or {"date": ISO}, {"subsidiary"?: only there}."""
        return self._period(given, closed=True)

    def reopen_period(self, given: dict[str, Any]) -> dict[str, Any]:
        """As close_period."""
        return self._period(given, closed=False)

    def lock_period(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"period"|"date", "ar"?: bool, "all"?: bool}: lock receivables, or everything."""
        period = self._find_period(given)
        self.tenant.state.touch(period, self.tenant.now())
        period.fields["arLocked"] = bool(given.get("ar", True))
        period.fields["allLocked"] = bool(given.get("all", False))
        return {"period": period.id, "name": period.fields["periodName"]}

    def _period(self, given: dict[str, Any], *, closed: bool) -> dict[str, Any]:
        period = self._find_period(given)
        self.tenant.state.touch(period, self.tenant.now())
        if given.get("subsidiary"):
            key = (period.id, str(given["subsidiary"]))
            only = self.tenant.preferences.closed_for
            only.add(key) if closed else only.discard(key)
        else:
            period.fields["closed"] = closed
            period.fields["closedOnDate"] = self.tenant.today("1").isoformat() if closed else None
        return {"period": period.id, "name": period.fields["periodName"], "closed": closed}

    def _find_period(self, given: dict[str, Any]) -> Record:
        if given.get("date"):
            return self.twin.ledger.period_of(date.fromisoformat(given["date"]))
        wanted = str(given["period"])
        for period in self.tenant.state.of_type("accountingPeriod"):
            if is_leaf(period) and wanted in (period.id, period.fields["periodName"]):
                return period
        raise LookupError(f"no accounting period {wanted!r}")

    # -- set-up -----------------------------------------------------------------------------------------------------
    def limits(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"concurrency"?, "disguise"?, "disguise_seconds"?}; answers the limits and the most seen at once."""
        self.tenant.preferences = self.tenant.preferences.change(given)
        preferences = self.tenant.preferences
        return {
            "concurrency": preferences.concurrency,
            "disguise": preferences.disguise,
            "active": self.twin.active,
            "most_active": self.twin.most_active,
        }

    def preferences(self, given: dict[str, Any]) -> dict[str, Any]:
        """Change any of the account's preferences; answers their names and values."""
        self.tenant.preferences = self.tenant.preferences.change(given)
        shown = {
            name: getattr(self.tenant.preferences, name)
            for name in self.tenant.preferences.__dataclass_fields__
        }
        return {**shown, "closed_for": sorted(self.tenant.preferences.closed_for)}

    def routing(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"subsidiary", "mode": off | api | person}: who may approve its invoices."""
        if given["mode"] not in APPROVAL_MODES:
            raise ValueError(f"mode {given['mode']!r}; known: {', '.join(APPROVAL_MODES)}")
        approval = {**self.tenant.preferences.approval, str(given["subsidiary"]): given["mode"]}
        self.tenant.preferences = self.tenant.preferences.change({"approval": approval})
        return {"approval": approval}

    def rate(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"currency": symbol, "base": symbol, "date": ISO, "rate": text}: an exchange rate from a day on."""
        ids = {c.fields["symbol"]: c.id for c in self.tenant.state.of_type("currency")}
        known = self.tenant.state.rates[(ids[given["currency"]], ids[given["base"]])]
        since = date.fromisoformat(given["date"])
        known[:] = sorted(
            [entry for entry in known if entry[0] != since] + [(since, Decimal(str(given["rate"])))]
        )
        return {"rates": [[day.isoformat(), str(rate)] for day, rate in known]}

    def custom_field(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"id": "custbody_x", "on": transaction | line | customer, "kind"?: text}: add a custom field."""
        self.tenant.custom_fields[given["id"]] = {"on": given["on"], "kind": given.get("kind", "text")}
        return {"custom_fields": sorted(self.tenant.custom_fields)}

    def lock(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"type", "id", "reads"?: bool}: a workflow locks a record against changes, or against reading as well."""
        self.tenant.locks[(given["type"], str(given["id"]))] = bool(given.get("reads", False))
        return {"locked": sorted(self.tenant.locks)}

    def unlock(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"type", "id"}."""
        self.tenant.locks.pop((given["type"], str(given["id"])), None)
        return {"locked": sorted(self.tenant.locks)}

    def contend(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"type", "id", "times"?: int}: so many changes of a record meet one that somebody else saves."""
        self.tenant.contended[(given["type"], str(given["id"]))] = int(given.get("times", 1))
        return {"contended": len(self.tenant.contended)}

    def revoke_tokens(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"certificate"?: bool}: every access token given so far stops holding, and so does the token of token-based
        authentication, for good; with the certificate no other access token is given either."""
        self.twin.signatures.revoked = True
        self.twin.desk.revoked = bool(given.get("certificate", False))
        return {"revoked": self.twin.desk.revoke()}

    def seed(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - an action
        """Empty the account and plant the demo company anew."""
        self.tenant.state.__dict__.update(State().__dict__)
        self.tenant.locks.clear()
        plant(self.tenant)
        self.twin.suiteql = type(self.twin.suiteql)(self.tenant, self.twin.ledger)
        return self.master({})

    def master(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - an action
        """Ids of the master data by their names."""
        state = self.tenant.state
        keys = {
            "serviceSaleItem": "itemId",
            "salesTaxItem": "name",
            "taxType": "name",
            "currency": "symbol",
            "term": "name",
            "department": "name",
            "account": "acctName",
            "subsidiary": "name",
            "accountingPeriod": "periodName",
            "paymentMethod": "name",
        }
        return {
            type_: {record.fields[key]: record.id for record in state.of_type(type_)}
            for type_, key in keys.items()
        }

    # -- behind everyone's back -------------------------------------------------------------------------------------
    def alter(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"type", "id", "path", "value"}: change one stored value, whatever the rules (see `sabotage.alter`)."""
        return sabotage.alter(self.tenant, self._document(given), str(given["path"]), given["value"])

    def sabotage(self, given: dict[str, Any]) -> dict[str, Any]:
        """{"kind": cent | period | account | drop | double, "id"?}: alter one invoice; answers what was altered."""
        return sabotage.strike(self.tenant, self.twin.ledger, self.settlements, given)

    # -- looking ----------------------------------------------------------------------------------------------------
    def snapshot(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - an action
        """Every document with its lines, applications and ledger lines, and the trial balance."""
        return snapshot(self.tenant, self.twin.ledger)

    def trial_balance(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002 - an action
        """Per subsidiary, period and account."""
        return {"trial_balance": self.twin.ledger.trial_balance()}

    # -- helpers ----------------------------------------------------------------------------------------------------
    def _invoices(self) -> Invoices:
        kind = self.twin.kinds["invoice"]
        assert isinstance(kind, Invoices)  # noqa: S101 - what the twin was built with
        return kind

    def _document(self, given: dict[str, Any]) -> Document:
        if given.get("id") is not None:
            return self.tenant.state.document(str(given["id"]))
        found = self.tenant.state.by_external_id("invoice", str(given["external_id"]))
        if not found or not isinstance(found[0], Document):
            raise LookupError(f"no transaction with external id {given['external_id']!r}")
        return found[0]
