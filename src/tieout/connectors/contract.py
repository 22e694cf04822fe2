"""What a connector is: small Protocols, and a descriptor. Having a Protocol is having the capability.

A connector translates; it decides nothing and remembers nothing but its access token. Limits, longest execution,
visibility delay and uniqueness class are data here, because the engine's safety rests on them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, TypeVar, runtime_checkable
from weakref import WeakKeyDictionary

import msgspec

from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.canonical.journal import AccountingPeriod
from tieout.canonical.model import Value
from tieout.canonical.outcome import FindOutcome, Misconfigured, Rejected, SendOutcome
from tieout.canonical.write import Fields, Write
from tieout.ports import Chance, Clock, Transport

T = TypeVar("T")
# Which capabilities an object has was found out once; asking a Protocol anew costs more than a small database read.
_found: WeakKeyDictionary[Any, dict[type, bool]] = WeakKeyDictionary()


class Capability(type(Protocol)):  # type: ignore[misc] # the metaclass has no public name
    """The metaclass of the Protocols below: `isinstance` as always, but remembered per object, whose capabilities never
    change while it lives."""

    def __instancecheck__(cls, instance: Any) -> bool:
        try:
            known = _found.get(instance)
            if known is None:
                known = _found[instance] = {}
        except TypeError:  # no weak reference to it, or no hash
            return bool(super().__instancecheck__(instance))
        has = known.get(cls)
        if has is None:
            has = known[cls] = bool(super().__instancecheck__(instance))
        return has


class Keys(Value, frozen=True):
    """The three names of one effect: `effect` in the ledger, `document` (16 characters) carried in the outside
    document, `wire` the idempotency header. `trace` joins it to the deal."""

    effect: str
    document: str
    wire: str
    trace: str = ""


class OperationTraits(Value, frozen=True):
    """Facts about one create operation of one vendor.

    `uniqueness`: `atomic` (the vendor refuses a second document under our key) or `search_only`.
    `idempotency_seconds`: how long the vendor replays an answer under one wire key (0: not at all).
    `longest_seconds`: the vendor's longest execution after the client gave up; `visibility_seconds`: until a look-up
    sees a document that exists. Absence is conclusive only after both. `two_phase`: created is not posted. `settles`
    (of a `<kind>.post`): what the document applies to is settled with its posting, so that a document that is seen to
    be posted is not yet done."""

    uniqueness: str
    longest_seconds: int
    visibility_seconds: int
    idempotency_seconds: int = 0
    two_phase: bool = False
    timeout_seconds: int = 30
    settles: bool = False


class Limits(Value, frozen=True):
    """The budget of one connection: calls in flight, and calls a second (0: no such limit)."""

    in_flight: int
    per_second: int = 0


class Behaviour(Value, frozen=True):
    """One vendor behaviour that we rely on: `state` is `documented`, `assumed` or `verified`."""

    id: str
    text: str
    source: str
    state: str


class Identity(Value, frozen=True):
    """Who answered at the other end: organisation, account, and whether it is live. Pinned on first contact."""

    organisation: str
    account: str
    live: bool


class FeedPage(Value, frozen=True):
    """Events since a cursor, and the cursor to save in the same transaction as they are. `more`: ask again at once."""

    events: tuple[ChangeEvent, ...]
    cursor: str
    more: bool = False


class ListedDocument(Value, frozen=True):
    """One document as a listing shows it: enough to reconcile. Amounts in minor units; `kind` is `invoice`,
    `credit_memo`, `payment`, `refund` or `journal`; `reason` tells what it stems from where the system says so;
    `source` is the billing document's id where the system holds it, `document_key` ours. `settled` are (id of the
    document of the same system, amount). Billing says `status` in our words (`draft`, `open`, `paid`, `voided`,
    `written_off`, `issued`, `succeeded`, `pending`) and `transitions` as the kinds of `Invoice.transitions`; the
    ERP says `accounts`: net per ledger account, debit positive, as (account, amount in the document's currency,
    amount in the functional currency). Billing says of an invoice what of the customer's credit balance settled it
    (`balance_minor`) and what was paid or credited of it after it had been written off (`recovered`, one by one)."""

    id: str
    number: str
    kind: str
    entity: str
    currency: str
    total_minor: int
    tax_minor: int
    day: date
    status: str
    document_key: str = ""
    source: str = ""
    reason: str = ""
    period: str = ""
    period_start: date | None = None
    open_minor: int = 0
    posted: bool = True
    settled: tuple[tuple[str, int], ...] = ()
    transitions: tuple[str, ...] = ()
    accounts: tuple[tuple[str, int, int], ...] = ()
    balance_minor: int = 0
    recovered: tuple[int, ...] = ()


class ListedSettlement(Value, frozen=True):
    """A payout or a dispute (`kind`) as the gateway has it, and what it calls for at the ERP: (reason of the journal,
    sum of its debits in minor units). `clearing_minor` is what all of them move on gateway clearing, debit positive;
    `lost_minor` what a lost dispute took for good, which the policy of the legal entity disposes of."""

    id: str
    kind: str
    entity: str
    currency: str
    day: date
    status: str
    journals: tuple[tuple[str, int], ...] = ()
    clearing_minor: int = 0
    lost_minor: int = 0


class ListedLine(Value, frozen=True):
    """One contract line as CRM or billing holds it, per billing period and without tax."""

    contract: str
    line: str
    entity: str
    currency: str
    product: str
    quantity: Decimal
    unit_minor: Decimal
    frequency: str
    start: date | None
    end: date | None
    contracted_minor: int
    status: str = ""


class UsedLine(Value, frozen=True):
    """One line of an invoice that bills usage: what was billed of [start, end), and what the meter holds of it now."""

    line: str
    customer: str
    meter: str
    start: datetime
    end: datetime
    billed: Decimal
    metered: Decimal


class LedgerBalance(Value, frozen=True):
    """What moved on one account in one period of one entity, in the functional currency (debit positive), and
    beside it the sum of the subledger's documents where the account is a control account."""

    entity: str
    period: str
    account: str
    currency: str
    balance_minor: int
    subledger_minor: int | None = None


class Finding(Value, frozen=True):
    """One thing that `check` found: what is wrong and how to mend it. `level` is `ok`, `warning` or `error`."""

    level: str
    subject: str
    message: str
    remedy: str = ""


@runtime_checkable
class Inbound(Protocol, metaclass=Capability):
    """Webhooks. `verify` raises Forged; `parse` raises Malformed, and OtherAccount among these. Where it
    `accepts_webhooks` no signing secret is missing; where not, the address does not exist (404). Among the headers is
    `:path`, the path that was asked for; an Inbound whose secret stands there, below the connection's own address, has
    the attribute `secret_in_path`."""

    @property
    def accepts_webhooks(self) -> bool: ...
    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None: ...
    def parse(self, body: bytes, now: datetime) -> tuple[ChangeEvent, ...]: ...


class WebhookAnswer(Value, frozen=True):
    """What a vendor must be told, with status 200, for a webhook to count as taken: the attribute `answer` of an
    Inbound whose vendor does not take any 2xx."""

    content_type: str
    body: bytes


@runtime_checkable
class ChangeFeed(Protocol, metaclass=Capability):
    """Polling: `poll(cursor)` answers what changed since; an empty cursor starts at the connection's start date."""

    poll_seconds: int

    async def poll(self, cursor: str) -> FeedPage: ...


@runtime_checkable
class Reader(Protocol, metaclass=Capability):
    """`fetch` answers the present aggregate, whole (all pages). Raises NotFound, Failure."""

    async def fetch(self, kind: type[T], id: str, lane: str = "") -> T: ...


@runtime_checkable
class Writer(Protocol, metaclass=Capability):
    """`send` makes the document; `find` looks it up by our document key. Neither raises for a vendor's answer."""

    operations: Mapping[str, OperationTraits]

    async def send(self, operation: str, write: Write, keys: Keys) -> SendOutcome: ...
    async def find(self, operation: str, write: Write, keys: Keys, sent_at: datetime) -> FindOutcome: ...


@runtime_checkable
class Prechecker(Protocol, metaclass=Capability):
    """Why a write could never be made as it is: known from the write alone, without asking anybody. Empty when nothing
    speaks against it; `send` may still be refused."""

    def precheck(self, operation: str, write: Write) -> tuple[Rejected, ...]: ...


@runtime_checkable
class Assigner(Protocol, metaclass=Capability):
    """Set fields of an outside record to values: idempotent. `read_back` answers the fields as they are now."""

    async def assign(self, target: Ref, group: str, fields: Fields, keys: Keys) -> SendOutcome: ...
    async def read_back(self, target: Ref, group: str, fields: Fields) -> Fields: ...


class Assignment(Value, frozen=True):
    """One `assign` of a batch."""

    target: Ref
    group: str
    fields: Fields
    keys: Keys


@runtime_checkable
class BulkAssigner(Protocol, metaclass=Capability):
    """Set fields of many records in one call: at most `most_assigns`, each of another record. Answers the outcome of
    each by its *effect key*, matched by what the vendor says of the record and never by position alone; what the vendor
    did not answer for is missing, and unknown. The records are independent: one's refusal undoes no other."""

    most_assigns: int

    async def assign_many(self, assignments: Sequence[Assignment]) -> Mapping[str, SendOutcome]: ...


@runtime_checkable
class BulkWriter(Protocol, metaclass=Capability):
    """Make many documents of one operation in one call. `batch_sizes`: operation -> most items (an operation that is
    missing has no bulk). `batch` is the wire key of the batch itself, the same when the same batch is sent again. Both
    answer by *document key*, matched by our key and never by position; an item without an answer is missing, and
    unknown. `find_many` looks all of them up in as few calls as there are pages; items are (write, keys, last byte
    sent at)."""

    batch_sizes: Mapping[str, int]

    async def send_many(
        self, operation: str, items: Sequence[tuple[Write, Keys]], batch: str
    ) -> Mapping[str, SendOutcome]: ...
    async def find_many(
        self, operation: str, items: Sequence[tuple[Write, Keys, datetime]]
    ) -> Mapping[str, FindOutcome]: ...


@runtime_checkable
class StatusReader(Protocol, metaclass=Capability):
    """Where created is not posted: the state of many documents in one call. Values: `created`, `posted`,
    `post_rejected`, `withdrawn`. An id that is missing from the answer does not exist (any more)."""

    async def statuses(self, kind: str, ids: tuple[str, ...]) -> dict[str, str]: ...


@runtime_checkable
class Approver(Protocol, metaclass=Capability):
    """Where created is not posted: whether the hub itself may post this document (else a person does, over there).
    Then the Writer has an operation `<kind>.post` that takes an ApproveWrite."""

    def approves(self, write: Write) -> bool: ...


@runtime_checkable
class Verifier(Protocol, metaclass=Capability):
    """Read back a document that was made: what it says of itself, its lines' net per account included.
    Answers differences as (field, ours, theirs); empty when it stands as asked. Raises NotFound, Failure."""

    async def verify_document(self, operation: str, write: Write, external_id: str) -> Verified: ...


class Verified(Value, frozen=True):
    """The outcome of a read-back."""

    receipt: Any
    differences: tuple[tuple[str, str, str], ...] = ()


@runtime_checkable
class Lister(Protocol, metaclass=Capability):
    """Listings for reconciliation; each yields every row, page by page."""

    def documents(self, kind: str) -> AsyncIterator[ListedDocument]: ...


@runtime_checkable
class SettlementLister(Protocol, metaclass=Capability):
    """Every payout and dispute of a gateway whose day is `since` or later. Raises Failure."""

    def settlements(self, since: date) -> AsyncIterator[ListedSettlement]: ...


@runtime_checkable
class LineLister(Protocol, metaclass=Capability):
    """Every contract line as CRM or billing holds it. Raises Failure."""

    def contract_lines(self) -> AsyncIterator[ListedLine]: ...


@runtime_checkable
class UsageReader(Protocol, metaclass=Capability):
    """What usage an invoice was made of. Raises NotFound, Failure."""

    async def usage_of(self, invoice: str) -> tuple[UsedLine, ...]: ...


@runtime_checkable
class LedgerReader(Protocol, metaclass=Capability):
    """The general ledger's movements, whole. Raises Failure."""

    async def balances(self) -> tuple[LedgerBalance, ...]: ...


@runtime_checkable
class Catalogue(Protocol, metaclass=Capability):
    """What the other side knows: accounting periods per subsidiary, credit holds, products, items, accounts, tax
    codes. `*` among the codes of a kind: the system has none to choose from, and takes any."""

    async def periods(self, subsidiary: str) -> tuple[AccountingPeriod, ...]: ...
    async def codes(self, kind: str) -> frozenset[str]: ...
    async def credit_hold(self, customer: str) -> bool: ...


@runtime_checkable
class Checker(Protocol, metaclass=Capability):
    """`identity` pins whom we talk to; `check` tells what is wrong with sign-in, scopes, versions, limits."""

    async def identity(self) -> Identity: ...
    async def check(self) -> tuple[Finding, ...]: ...


class Forged(Exception):
    """The signature is missing, wrong or stale."""


class Malformed(Exception):
    """The body is not what the vendor documents; the message says what is wrong, and quotes no personal data."""


class OtherAccount(Malformed):
    """An event of another account or mode than the connection is pinned to: `outcome` blocks the connection. Nothing
    of the event is processed; sending it again does not help."""

    def __init__(self, outcome: Misconfigured) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


class World(msgspec.Struct, frozen=True, kw_only=True):
    """The ports a connector is given."""

    clock: Clock
    chance: Chance
    transport: Transport


class Verdict(Value, frozen=True):
    """What a probe saw of one behaviour. `answer` is `true`, `false` or `untestable`; `seen` is the evidence in words,
    or why there is none. It quotes no secret and no personal data."""

    answer: str
    seen: str


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """How one behaviour is put to the test. `makes`: what comes into being at the other side, in words (empty: it only
    reads). `run` may raise Failure, NotFound, TransportError: then nothing is known, which is no contradiction."""

    behaviour: str
    run: Callable[[], Awaitable[Verdict]]
    makes: tuple[str, ...] = ()


class Certification(Protocol):
    """The probes of one connection, to be run in their order against a sandbox. `untestable`: behaviour -> why no
    probe of ours can show it. `clean_up` takes away what the probes made, as far as the vendor allows, and answers in
    words what it left; it never raises for a vendor's answer."""

    @property
    def probes(self) -> Sequence[Probe]: ...
    @property
    def untestable(self) -> Mapping[str, str]: ...
    async def clean_up(self) -> tuple[str, ...]: ...


class ConnectorDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """`CONNECTOR` of each folder: what it is, how to open it, and what it relies on.

    `open(name, config, world)` makes the connection object, which implements the Protocols above that it can; it
    opens no socket. `config` is the msgspec type of its section of the configuration; `example` the commented TOML
    fragment that `init` writes. `certification(name, config, world)` makes the probes of `behaviours`."""

    vendor: str
    title: str
    roles: tuple[str, ...]
    config: type[Any]
    open: Callable[[str, Any, World], Any]
    limits: Callable[[Any], Limits]
    example: str
    behaviours: tuple[Behaviour, ...] = ()
    certification: Callable[[str, Any, World], Certification] | None = None


def seen(holds: bool, what: str) -> Verdict:  # noqa: FBT001 - a claim and its evidence
    """The verdict of a probe that could tell."""
    return Verdict(answer="true" if holds else "false", seen=what)


def untestable(why: str) -> Verdict:
    """The verdict of a probe that could not tell, here and today."""
    return Verdict(answer="untestable", seen=why)


def conclusive_at(sent_at: datetime, traits: OperationTraits) -> datetime:
    """From when on an empty look-up proves that nothing was made: send time + longest execution + visibility."""
    return sent_at + timedelta(seconds=traits.longest_seconds + traits.visibility_seconds)


def connection_blocked(connection: str, message: str, remedy: str) -> Misconfigured:
    """401, wrong organisation, missing scope: nothing of this connection can go on."""
    return Misconfigured(scope="connection", key=connection, message=message, remedy=remedy)
