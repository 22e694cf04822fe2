"""The account as a whole: its preferences, clocks and look-ups, which every record type uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tieout_lab.twins.clock import TwinClock
from tieout_lab.twins.faults import FaultPlan
from tieout_lab.twins.kit import visible
from tieout_lab.twins.netsuite.catalogue import CUSTOM_FIELDS
from tieout_lab.twins.netsuite.errors import Refusal
from tieout_lab.twins.netsuite.state import Document, Record, State

APPROVAL_MODES = ("off", "api", "person")


@dataclass
class Preferences:
    """What an administrator of the account could set. `approval` and `time_zones` are by subsidiary id."""

    concurrency: int = 15
    disguise: bool | str = (
        False  # answer overload as 401 INVALID_LOGIN (True), or as 400 with this code, not as 429
    )
    disguise_seconds: int = 0  # technical seconds before that 401 comes
    date_format: str = "M/D/YYYY"  # how SuiteQL prints dates
    time_zone: str = "America/Los_Angeles"  # in which SuiteQL prints date-times
    closed_period_default: str = (
        "refuse"  # no postingPeriod given, period of tranDate closed: refuse | first_open
    )
    override_periods: bool = False  # the API role may post to locked (never to closed) periods
    administrator: bool = True  # governanceLimits answers administrators only
    batch_seconds: float = 1  # technical seconds until an asynchronous job runs
    record_seconds: float = 0  # technical seconds that one record of a job takes
    processors: int = 2  # records of a job that are worked on at the same time
    job_hours: float = 24  # for which a job, its results and its idempotency key are kept
    shuffle_tasks: bool = (
        False  # tasks run and are listed in an order of their own, under ids that tell nothing
    )
    lost_results: int = 0  # so many results of each job are never shown
    approve_journals: bool = False  # journal entries wait for approval
    approval: dict[str, str] = field(default_factory=lambda: {"1": "off", "2": "person"})
    time_zones: dict[str, str] = field(
        default_factory=lambda: {"1": "America/Los_Angeles", "2": "Asia/Tokyo"}
    )
    closed_for: set[tuple[str, str]] = field(default_factory=set)  # (period, subsidiary) locked for that one

    def change(self, given: dict[str, Any]) -> Preferences:
        """These preferences with some changed. Raises ValueError for an unknown name."""
        unknown = set(given) - set(self.__dataclass_fields__)
        if unknown:
            raise ValueError(
                f"unknown preferences {sorted(unknown)}; known: {sorted(self.__dataclass_fields__)}"
            )
        return replace(self, **given)


class Tenant:
    """One NetSuite account."""

    def __init__(self, clock: TwinClock, faults: Callable[[], FaultPlan]) -> None:
        self.clock = clock
        self.faults = faults
        self.state = State()
        self.preferences = Preferences()
        self.custom_fields: dict[str, dict[str, str]] = {name: dict(f) for name, f in CUSTOM_FIELDS.items()}
        self.locks: dict[
            tuple[str, str], bool
        ] = {}  # (type, id) locked by a workflow; True: against reading too
        self.contended: dict[tuple[str, str], int] = {}  # so many changes of a record meet somebody else's

    # -- clocks ---------------------------------------------------------------------------------------------------
    def now(self) -> datetime:
        """Technical time: when a record was created or changed."""
        return self.clock.technical()

    def today(self, subsidiary: str) -> date:
        """The business day in a subsidiary's time zone: the default date of its documents."""
        zone = self.preferences.time_zones.get(subsidiary, self.preferences.time_zone)
        return self.clock.business().astimezone(ZoneInfo(zone)).date()

    def seen(self, record: Record) -> bool:
        """Whether look-ups find the record yet (visibility delay)."""
        return visible(record.created, self.clock, self.faults().visibility_delay_seconds)

    # -- look-ups -------------------------------------------------------------------------------------------------
    def exponent(self, currency: str) -> int:
        """Digits after the point of a currency, by its internal id."""
        return int(self.state.get("currency", currency).fields["currencyPrecision"])

    def functional(self, subsidiary: str) -> str:
        """The currency id in which a subsidiary keeps its books."""
        return str(self.state.get("subsidiary", subsidiary).fields["currency"])

    def name(self, type_: str, id_: str | None) -> str | None:
        """The display name of a record."""
        if id_ is None:
            return None
        found = self.state.records["transaction"].get(id_) if type_ == "transaction" else None
        record = found or self.state.find(type_, id_)
        if record is None:
            return None
        if isinstance(record, Document):
            return record.number
        for name in ("entityId", "itemId", "periodName", "symbolName", "name"):
            if record.fields.get(name):
                return str(record.fields[name])
        if type_ == "account":
            return f"{record.fields['acctNumber']} {record.fields['acctName']}"
        return record.id

    # -- rules that hold for every type -----------------------------------------------------------------------------
    def claim_external_id(self, type_: str, external_id: str | None, own: Record | None = None) -> None:
        """Refuse an external id that another record of the family has, unless keys are not enforced."""
        if external_id is None or not self.faults().enforce_keys:
            return
        if any(other is not own for other in self.state.by_external_id(type_, external_id)):
            raise Refusal(
                "DUP_RCRD",
                "Error while accessing a resource. This record already exists",
                path="externalId",
            )

    def customer_takes(self, customer: Record, currency: str) -> bool:
        """Whether a customer has a currency."""
        return currency == customer.fields.get("currency") or currency in customer.fields["currencies"]

    def customer_in(self, customer: Record, subsidiary: str) -> bool:
        """Whether a customer belongs to a subsidiary, as its primary one or by a relationship."""
        if customer.fields.get("subsidiary") == subsidiary:
            return True
        return any(
            link.fields["entity"] == customer.id and link.fields["subsidiary"] == subsidiary
            for link in self.state.of_type("customerSubsidiaryRelationship")
        )
