"""Writes: create customers and subscriptions once, look them up by our key, set metadata."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import assert_never

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import (
    Absent,
    Failure,
    FindOutcome,
    Found,
    Inconclusive,
    NotFound,
    Receipt,
    Rejected,
    SendOutcome,
    Transient,
)
from tieout.canonical.write import CustomerWrite, Fields, FieldValue, SubscriptionWrite, UsageWrite, Write
from tieout.connectors.contract import Keys, OperationTraits, conclusive_at
from tieout.connectors.stripe import metering
from tieout.connectors.stripe.bodies import (
    NO_PRICES,
    VALUE_LENGTH,
    Unsendable,
    customer_body,
    schedule_body,
    subscription_body,
)
from tieout.connectors.stripe.client import Client, Pairs, path
from tieout.connectors.stripe.config import StripeConfig
from tieout.connectors.stripe.cycle import Form, by_schedule, day_moment
from tieout.connectors.stripe.wire import Customer, Thing

# Our clock and Stripe's may differ by this much when a listing is asked for what was made since we sent.
MARGIN = timedelta(minutes=10)
# The same, when a start is to have come.
_CLOCKS_DIFFER = timedelta(minutes=1)
ERP_GROUP = "erp"
# What the CRM leads of a customer: fields of the object itself, which later invoices show. Everything else is metadata.
CUSTOMER_GROUP = "customer"
LED = ("name", "email")
RECORDS = "payment_records"


def traits(config: StripeConfig) -> Mapping[str, OperationTraits]:
    """Creates take an idempotency key; a report of usage is known by its identifier for as long."""
    create = OperationTraits(
        uniqueness="atomic",
        longest_seconds=config.longest_seconds,
        visibility_seconds=config.visibility_seconds,
        idempotency_seconds=config.idempotency_seconds,
        timeout_seconds=config.timeout_seconds,
    )
    return {"customer.create": create, "subscription.create": create, metering.OPERATION: create}


def place_of(target: Ref) -> tuple[str, ...]:
    """The path of an object by our kind and its id. ValueError for a kind that has no metadata to set."""
    id = target.id
    match target.kind:
        case "invoice":
            return ("invoices", id)
        case "credit_memo":
            return ("credit_notes", id)
        case "refund":
            return ("refunds", id)
        case "payout":
            return ("payouts", id)
        case "customer":
            return ("customers", id)
        case "subscription":
            return ("subscription_schedules" if id.startswith("sub_sched_") else "subscriptions", id)
        case "payment" if id.startswith("pi_"):
            return ("payment_intents", id)
        case "payment" if id.startswith(("ch_", "py_")):
            return ("charges", id)
        case "payment":
            return (RECORDS, id)
        case _:
            raise ValueError(f"no metadata is kept on a {target.kind}")


def as_text(value: FieldValue) -> str:
    """A field as metadata holds it; empty removes the key."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | str():
            return str(value)
        case tuple():
            return ",".join(f"{id}={amount}" for id, amount in value)
        case _:
            assert_never(value)


class Outbox:
    """Writer and Assigner of one account."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._config = client.config
        names = self._config.metadata
        self._groups = {
            ERP_GROUP: {
                "erp_document": names.erp_document,
                "erp_number": names.erp_number,
                "erp_status": names.erp_status,
            },
            CUSTOMER_GROUP: {field: field for field in LED},
        }
        self.operations: Mapping[str, OperationTraits] = traits(self._config)

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome:
        """Make the document under the wire key. ValueError for an operation that is not ours."""
        try:
            prices = NO_PRICES
            if isinstance(write, SubscriptionWrite):
                prices = await metering.metered_prices(self._client, write)
            where, body = self._request(operation, write, keys, prices)
        except Unsendable as error:
            return error.outcome
        except Failure as failure:
            return failure.outcome
        if isinstance(write, UsageWrite):
            # Its identifier is what makes it safe to repeat, and unlike an idempotency key it keeps no failed answer.
            outcome = await self._client.post(where, body, operation=operation, keys=keys, keyed=False)
            return metering.counted(outcome, write)
        outcome = await self._client.post(where, body, operation=operation, keys=keys, keyed=True)
        return self._begins_later(outcome, write)

    def _begins_later(self, outcome: SendOutcome, write: Write) -> SendOutcome:
        """A deal of today may be closed where the day begins earlier than at home: Stripe takes no past start that has
        not come yet, so it is asked again when it has."""
        if not isinstance(write, SubscriptionWrite) or not isinstance(outcome, Rejected):
            return outcome
        begins = day_moment(write.starts_at, self._config) + _CLOCKS_DIFFER
        if "backdate_start_date" not in outcome.message or begins <= self._client.http.now():
            return outcome
        return Transient(reason=f"the contract begins at {begins.isoformat()}", retry_at=begins)

    def precheck(self, operation: str, write: Write) -> tuple[Rejected, ...]:
        """What Stripe cannot hold in one subscription. ValueError for an operation that is not ours."""
        try:
            self._request(operation, write, Keys(effect="", document="", wire=""))
        except Unsendable as error:
            return (error.outcome,)
        return ()

    def _request(
        self, operation: str, write: Write, keys: Keys, prices: Mapping[str, str] = NO_PRICES
    ) -> tuple[str, Form]:
        if operation == "customer.create" and isinstance(write, CustomerWrite):
            return "/v1/customers", customer_body(write, keys, self._config)
        if operation == "subscription.create" and isinstance(write, SubscriptionWrite):
            if by_schedule(write, self._config):
                return "/v1/subscription_schedules", schedule_body(write, keys, self._config, prices)
            return "/v1/subscriptions", subscription_body(write, keys, self._config, prices)
        if operation == metering.OPERATION and isinstance(write, UsageWrite):
            return metering.EVENTS, metering.usage_body(write)
        raise ValueError(
            f"{operation} of a {type(write).__name__} is not an operation of {self._client.name}"
        )

    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome:
        """Look the document up by its key, in lists (search lags a minute behind). Never raises for an answer."""
        if isinstance(write, UsageWrite):
            # Within its day the same report is sent again, and either taken or refused as known. After that only sums
            # could be looked at, and a sum does not say of what it was made.
            return Inconclusive(reason="the events of a meter cannot be listed, only their sums")
        try:
            found = await self._with_key(operation, write, keys.document, sent_at)
        except Failure as failure:
            return Inconclusive(reason=str(failure), ask_again_at=getattr(failure.outcome, "retry_at", None))
        if not found:
            return Absent(conclusive_at=conclusive_at(sent_at, self.operations[operation]))
        first, *others = sorted(found.values(), key=lambda thing: (thing.created, thing.id))
        return Found(receipt=Receipt(external_id=first.id), others=tuple(other.id for other in others))

    async def _with_key(self, operation: str, write: Write, key: str, sent_at: datetime) -> dict[str, Thing]:
        """What carries this key, by id. Raises Failure."""
        if isinstance(write, SubscriptionWrite):
            mine = ("customer", write.customer)
            try:
                found = await self._matching("/v1/subscriptions", [mine, ("status", "all")], key, operation)
                return found | await self._matching("/v1/subscription_schedules", [mine], key, operation)
            except Failure as failure:
                if isinstance(failure.outcome, Rejected) and failure.outcome.code == "resource_missing":
                    return {}  # no such customer: nothing was made for it
                raise
        if not isinstance(write, CustomerWrite):
            raise TypeError(f"{operation} is not an operation of {self._client.name}")
        if write.email:
            found = await self._matching("/v1/customers", [("email", write.email)], key, operation)
            if found:
                return found
        since = int((sent_at - MARGIN).timestamp())
        return await self._matching("/v1/customers", [("created[gte]", str(since))], key, operation)

    async def _matching(self, where: str, query: Pairs, key: str, operation: str) -> dict[str, Thing]:
        name = self._config.metadata.document
        try:
            return {
                thing.id: thing
                async for page in self._client.pages(Thing, where, query, operation=f"{operation}.find")
                for thing in page
                if (thing.metadata or {}).get(name) == key
            }
        except NotFound:
            return {}

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome:
        """Set fields of a group to values: a customer's own as they are, all others as metadata; None removes. Sends no
        idempotency key: the present value may be sent at any time, and an answer that was saved under an old key would
        hide that it was not set."""
        try:
            where, body = self._assignment(target, group, fields)
        except (KeyError, ValueError) as error:
            return Rejected(code="unknown_field", message=str(error))
        return await self._client.post(where, body, operation=f"{target.kind}.assign", keys=keys, keyed=False)

    def _assignment(self, target: Ref, group: str, fields: Fields) -> tuple[str, Form]:
        """Path and body. Raises ValueError, KeyError."""
        place = place_of(target)
        names = self._names(group, fields)
        # A payment record has no update of its own; this report changes nothing but what is given.
        where = path(*place, "report_payment_attempt_informational") if place[0] == RECORDS else path(*place)
        body = []
        for field, value in fields.items():
            text = as_text(value)
            if len(text) > VALUE_LENGTH:
                raise ValueError(f"{field}: {len(text)} characters, but Stripe holds {VALUE_LENGTH}")
            body.append((names[field] if group == CUSTOMER_GROUP else f"metadata[{names[field]}]", text))
        return where, body

    def _names(self, group: str, fields: Fields) -> dict[str, str]:
        known = self._groups.get(group, {})
        if unknown := [field for field in fields if field not in known]:
            raise ValueError(f"group {group!r} has no field {', '.join(unknown)}")
        return known

    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields:
        """These fields as they are now, in the form in which they were given. Raises NotFound, Failure."""
        names = self._names(group, fields)
        found = await self._client.get(
            Customer, path(*place_of(target)), operation=f"{target.kind}.read_back"
        )
        led = {"name": found.name, "email": found.email}
        there = led if group == CUSTOMER_GROUP else found.metadata or {}
        present: dict[str, FieldValue] = {}
        for field, value in fields.items():
            text = there.get(names[field])
            present[field] = (
                value if text == as_text(value) or (text is None and not as_text(value)) else text
            )
        return present
