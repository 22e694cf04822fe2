"""What a process sees: read, need, hold, create, assign. A run may be repeated from the top at any moment; an effect
that is done answers from the ledger, and the run goes on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from tieout.canonical.announcement import Announcement
from tieout.canonical.decision import AnyDecision, Decision, MissingRule
from tieout.canonical.ids import Ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import (
    Failure,
    NotFound,
    RateLimited,
    Receipt,
)
from tieout.canonical.party import LegalEntity
from tieout.canonical.posting import Posting
from tieout.canonical.write import Fields, Write, decode_write
from tieout.connectors.contract import Reader
from tieout.engine import announcing, assigning, sending
from tieout.engine import effects as making
from tieout.engine.hub import Connection, Hub
from tieout.engine.keys import (
    assign_key,
    effect_key,
    hold_key,
    lane_of,
    need_key,
    trace_of,
)
from tieout.engine.lane import Frozen, Lane, Replay, key_name
from tieout.engine.lease import Lease
from tieout.engine.ledger import DocumentRow, EffectRow, document_of, effect_of
from tieout.engine.moments import moment
from tieout.engine.retry import Again, Block, Park, decide
from tieout.engine.stops import (
    NO_FACTS,
    Blocked,
    Diverged,
    Facts,
    FencedOut,
    Need,
    NotYet,
    Parked,
    RunAgain,
    Stop,
)
from tieout.masterdata.tables import MasterData
from tieout.store import documents, effects, inbox, lanes, people, records, stories, waits
from tieout.store.statements import Refused, Row, Step

T = TypeVar("T")


class Run:
    """One run of one process over one lane."""

    def __init__(
        self, hub: Hub, lane: Lane, process: str, run_id: str, lease: Lease, actor: str = ""
    ) -> None:
        self.hub = hub
        self.lane = lane
        self.process = process
        self.run_id = run_id
        self.lease = lease
        self.worker = lease.worker
        self.replay = msgspec.json.decode(lane.replay, type=Replay) if lane.replay else None
        self.actor = actor or (self.replay.actor if self.replay is not None else "hub")
        self.trace = lane.trace or trace_of(lane.subject)
        self.effects: dict[str, EffectRow] = {}
        self.documents: dict[str, DocumentRow] = {}
        self.assigns: dict[str, Row] = {}
        self.asked: set[str] = set()
        self.buffer: list[Step] = []
        self.decisions: list[AnyDecision] = []
        self.holding = False
        self.posted_now: dict[str, bool] = {}
        self.key = key_name(lane.lane_id, lane.kind)
        self._frozen = msgspec.json.decode(lane.frozen, type=Frozen) if lane.frozen else None
        self._known: dict[tuple[str, Ref], Ref] = {}

    # -- what the hub knows -------------------------------------------------------------------------------------
    @property
    def masterdata(self) -> MasterData:
        return self.hub.masterdata

    async def load(self) -> None:
        """The lane's effects, documents and assigns; a lane claimed for the first time has none."""
        await self.hub.open_key(self.key)
        if self.lane.fence <= 1:
            return
        of_lane = {"lane_id": self.lane.lane_id}
        for row in await self.hub.store.fetch(effects.OF_LANE, of_lane):
            effect = effect_of(row)
            self.effects[effect.effect_key] = effect
        for row in await self.hub.store.fetch(effects.ASSIGNS_OF_LANE, of_lane):
            self.assigns[row[0]] = row
        if self.effects:
            for row in await self.hub.store.fetch(documents.OF_LANE, of_lane):
                document = document_of(row)
                self.documents[document.effect_key] = document

    def guard(self) -> Step:
        """The first step of every commit of this run."""
        return (
            lanes.GUARD,
            {
                "lane_id": self.lane.lane_id,
                "worker": self.worker,
                "fence": self.lane.fence,
                "real_now": self.hub.real_now(),
            },
        )

    async def commit(self, *steps: Step) -> list[list[Row]]:
        """Commit steps, what was noted before included, under the lane's guard. Raises FencedOut, Refused."""
        unit = [self.guard(), *self.buffer, *steps]
        self.buffer.clear()
        try:
            return (await self.hub.store.commit(unit))[1:]
        except Refused as refused:
            if refused.statement == lanes.GUARD.name:
                raise FencedOut from refused
            raise

    async def attempt(self, *steps: Step) -> list[list[Row]]:
        """As `commit`, where these steps may be refused and the run goes on: what was noted before stays noted."""
        noted = self.buffer.copy()
        try:
            return await self.commit(*steps)
        except Refused:
            self.buffer[:0] = noted
            raise

    def audit(self, action: str, subject: str, detail: str) -> Step:
        """The audit row of one thing done."""
        return (
            people.AUDIT,
            {
                "audit_id": self.hub.ids.new(),
                "at": self.hub.now(),
                "actor": self.actor,
                "action": action,
                "subject": subject,
                "trace": self.trace,
                "detail": detail,
            },
        )

    def check_lease(self, seconds: int) -> None:
        """Do not send what the lease might not outlive: the lane could be somebody else's before the answer."""
        if not self.lease.outlives(seconds):
            raise FencedOut

    def note(self, *steps: Step) -> None:
        """Steps to be committed with the next commit of this run; re-running the process would write them again."""
        self.buffer.extend(steps)

    def stop_for(self, outcome: Any, facts: Facts = NO_FACTS) -> Stop:
        """The stop that an outcome other than success leads to."""
        jitter = self.hub.chance.jitter(self.lane.lane_id, self.lane.attempts)
        match decide(outcome, self.hub.clock.now(), self.lane.attempts, jitter):
            case Again(at=at, reason=reason):
                return RunAgain(at, reason)
            case Park(code=code, cause=cause, remedy=remedy):
                return Parked(code, cause, remedy, facts)
            case Block(scope=scope, key=key, message=message, remedy=remedy):
                return Blocked(scope, key, message, remedy)

    # -- reading ------------------------------------------------------------------------------------------------
    async def read(self, kind: type[T], ref: Ref) -> T:
        """The present aggregate. Ends the run when it cannot be read now; NotFound when it does not exist."""
        reader = self.hub.connection(ref.connection).api
        if not isinstance(reader, Reader):
            raise TypeError(f"connection {ref.connection} reads nothing")
        try:
            return await reader.fetch(kind, ref.id, self.lane.lane_id)
        except Failure as failure:
            if isinstance(failure.outcome, RateLimited):
                self.hub.budgets[ref.connection].refused()
            raise self.stop_for(failure.outcome) from failure

    async def read_or_wait(self, kind: type[T], ref: Ref) -> T:
        """As `read`, for a document that somebody told us of: what does not exist (yet) is waited for."""
        try:
            return await self.read(kind, ref)
        except NotFound as missing:
            raise NotYet(
                Need(key=need_key("exists", ref, ref.connection), what=f"{ref} does not exist there")
            ) from missing

    async def known(self, kind: str, external: Ref) -> Ref | None:
        """The source of a document that we made there: their id to ours, by the crosswalk, once per run."""
        found = self._known.get((kind, external))
        if found is not None:
            return found
        rows = await self.hub.store.fetch(
            documents.RESOLVE, {"connection": external.connection, "kind": kind, "external_id": external.id}
        )
        if not rows:
            return None
        connection, of_kind, id_ = rows[0][0].split("|", 2)
        found = self._known[kind, external] = Ref(connection=connection, kind=of_kind, id=id_)
        return found

    async def trace_of_document(self, source: Ref) -> str:
        """The trace of what was made for a document, empty when nothing was."""
        rows = await self.hub.store.fetch(documents.OF_SOURCE, {"source": str(source)})
        return document_of(rows[0]).trace if rows else ""

    async def record(self, kind: str, key: str, type_: type[T]) -> T | None:
        """Something that the hub accepted or learnt, or None."""
        found = await self.record_with_age(kind, key, type_)
        return found[0] if found is not None else None

    async def record_with_age(self, kind: str, key: str, type_: type[T]) -> tuple[T, timedelta] | None:
        """As `record`, with its age."""
        rows = await self.hub.store.fetch(records.LOAD, {"kind": kind, "key": key})
        if not rows:
            return None
        body, updated_at, _ = rows[0]
        return self._opened(kind, key, bytes(body), type_), self.hub.clock.now() - moment(updated_at)

    async def records(self, kind: str, type_: type[T]) -> list[T]:
        """Every record of a kind."""
        rows = await self.hub.store.fetch_long(records.ALL, {"kind": kind})
        return [self._opened(kind, key, bytes(body), type_) for key, body, _, _ in rows]

    def _opened(self, kind: str, key: str, body: bytes, type_: type[T]) -> T:
        return msgspec.json.decode(self.hub.keyring.unseal(body, records.box_of(kind, key)), type=type_)

    def save(self, kind: str, key: str, value: Any) -> Step:
        """The step that stores something the hub accepted or learnt."""
        body = self.hub.keyring.seal(encode(value), records.box_of(kind, key))
        return (
            records.SAVE,
            {"kind": kind, "key": key, "body": body, "now": self.hub.now(), "trace": self.trace},
        )

    # -- freezing -----------------------------------------------------------------------------------------------
    def decided(self, entity: LegalEntity, *connections: str) -> None:
        """Legal entity and connections of this lane, frozen by its first effect. Raises Diverged when a later run
        would choose others: before any key is computed, so that nothing is made a second time elsewhere."""
        chosen = Frozen(entity=entity.code, connections=connections)
        if self._frozen is not None and self._frozen != chosen:
            raise Diverged(
                "diverged_route",
                f"this was begun for {self._frozen.entity} on {', '.join(self._frozen.connections)}, would now go to "
                f"{chosen.entity} on {', '.join(chosen.connections)}",
                "restore the legal entity and routes, or correct the documents by hand and resolve",
                Facts(entity=self._frozen.entity),
            )
        if self._frozen is None:
            self._frozen = chosen
            text = encode(chosen).decode()
            self.note((lanes.FREEZE, {"lane_id": self.lane.lane_id, "frozen": text}))

    def rule(self, look_up: Callable[..., Decision[T]], *args: Any) -> T:
        """A look-up in the master data; what is missing blocks everything that needs the same rule."""
        try:
            decision = look_up(*args)
        except MissingRule as missing:
            raise self.stop_for(missing.outcome) from missing
        self.decisions.append(decision)
        return decision.value

    def posting(self, post: Callable[..., Posting], *args: Any, **kwargs: Any) -> Posting:
        """A pure posting function, with its decisions kept; what it cannot post ends the run."""
        try:
            posting = post(*args, **kwargs)
        except Failure as failure:
            raise self.stop_for(failure.outcome) from failure
        self.decisions.extend(posting.decisions)
        return posting

    async def asked_of(self, answer: Awaitable[T]) -> T:
        """The answer of a connection; ends the run when it cannot answer now."""
        try:
            return await answer
        except Failure as failure:
            raise self.stop_for(failure.outcome) from failure

    # -- waiting ------------------------------------------------------------------------------------------------
    async def need(self, kind: str, ref: Ref, *, at: str, producer: Ref | None = None) -> str:
        """The id that a document has at a connection; ends the run until it is there, and asks its producer for it."""
        key = need_key(kind, ref, at)
        value = await self.met(key)
        if value is not None:
            return value
        made_by = producer or ref
        raise NotYet(
            Need(key=key, what=f"{kind} of {ref} at {at}", on_lane=lane_of(made_by), producer=made_by)
        )

    async def wanted(self, kind: str, producer: Ref) -> set[tuple[Ref, str]]:
        """Where documents of this producer are needed and not there yet: (source, connection)."""
        low = f"{kind}|{producer}"
        found = set()
        for (key,) in await self.hub.store.fetch(waits.UNMET, {"low": low, "high": low + "~"}):
            _, connection, of_kind, id_, at = key.split("|")
            if id_.partition("#")[0] != producer.id:
                continue  # a longer id that begins alike
            found.add((Ref(connection=connection, kind=of_kind, id=id_), at))
        return found

    async def met(self, key: str) -> str | None:
        """The value of a need that is met, or None."""
        rows = await self.hub.store.fetch(waits.MET, {"need_key": key})
        return rows[0][0] if rows else None

    async def hold(self, *resources: str) -> None:
        """Exclude other runs that hold any of these: all at once, before the first effect; freed when the run ends."""
        if self.holding:
            raise RuntimeError("one hold per run, all ids at once")
        wanted = sorted(set(resources))
        now = self.hub.now()
        steps = [
            (waits.HOLD, {"resource": name, "lane_id": self.lane.lane_id, "now": now}) for name in wanted
        ]
        try:
            await self.commit(*steps)
        except Refused as refused:
            needs = []
            for name in wanted:
                holder = await self.hub.store.fetch(waits.HOLDER, {"resource": name})
                if holder and holder[0][0] != self.lane.lane_id:
                    needs.append(
                        Need(
                            key=hold_key(name),
                            what=f"{name} is held by {holder[0][0]}",
                            on_lane=holder[0][0],
                            resource=name,
                        )
                    )
            if not needs:
                raise RunAgain(self.hub.clock.now(), "a hold was freed meanwhile", count=False) from refused
            raise NotYet(*needs) from refused
        self.holding = True

    # -- writing ------------------------------------------------------------------------------------------------
    def effect_key(self, connection: str, obligation: str, source: Ref, ordinal: int = 0) -> str:
        """The key of one obligation's effect at a connection."""
        return effect_key(
            self.hub.company, connection, obligation, source, ordinal=ordinal, generation=self.lane.generation
        )

    async def create(
        self,
        connection: str,
        operation: str,
        write: Write,
        *,
        source: Ref,
        obligation: str = "",
        ordinal: int = 0,
        facts: Facts = NO_FACTS,
    ) -> Receipt:
        """Make an outside document once. `operation` is the connector's, `obligation` names what it makes good where
        one operation serves several (a void is a credit memo). `facts` go onto an exception."""
        key = self.effect_key(connection, obligation or operation, source, ordinal)
        return await making.create(self, connection, operation, write, key=key, source=source, facts=facts)

    def standing(self, connection: str, obligation: str, source: Ref, ordinal: int = 0) -> EffectRow | None:
        """The effect of an obligation if it was ever sent and not refused: its frozen request stands."""
        row = self.effects.get(self.effect_key(connection, obligation, source, ordinal))
        return row if row is not None and row.state in ("SENT", "UNKNOWN", "CONFIRMED") else None

    async def settled(self, row: EffectRow, facts: Facts) -> Receipt:
        """The receipt of a standing effect, as it was frozen."""
        return await making.settle(self, row, facts)

    def frozen_write(self, row: EffectRow) -> Write:
        """The frozen request of an effect."""
        return decode_write(sending.unseal(self, row))

    async def posted(
        self,
        connection: str,
        operation: str,
        receipt: Receipt,
        *,
        source: Ref,
        obligation: str = "",
        ordinal: int = 0,
    ) -> Receipt:
        """The document of an effect stands in the ledger; ends the run until it does. Answers the receipt with the
        number that posting gave it."""
        key = self.effect_key(connection, obligation or operation, source, ordinal)
        number = await making.require_posted(self, connection, key, source)
        return msgspec.structs.replace(receipt, number=number) if number else receipt

    def assigned(self, target: Ref, group: str) -> bool:
        """Whether this lane ever set these fields."""
        return assign_key(target, group) in self.assigns

    async def settled_by_hand(self, fact: str) -> bool:
        """Whether a person, with approval, said that this very fact was made good by hand."""
        return await self.record("by_hand", self.lane.lane_id, str) == fact

    async def told_at(self) -> datetime:
        """When the latest of what was told of this lane happened, by its sender's word; now, where nobody said."""
        rows = await self.hub.store.fetch(inbox.TOLD_AT, {"lane_id": self.lane.lane_id})
        return self.hub.clock.now() if rows[0][0] is None else moment(rows[0][0])

    def tell_in_story_of(self, document: Ref) -> None:
        """This lane is also told when somebody asks for the story of that document."""
        row = {"on_lane": lane_of(document), "lane_id": self.lane.lane_id}
        self.note((stories.LINK, row))

    def start(self, subject: Ref, *, entity: str = "") -> None:
        """Start the process of another document with the next commit of this run; `entity` is its legal entity, where
        its connection does not say."""
        self.note(*self.hub.groups.start(subject, self.hub.now(), entity=entity))

    def announce(self, what: Announcement, subject: Ref, *, occurrence: str = "") -> None:
        """Tell the outside of something, in the commit of what was noted last. To be called where it becomes so, not
        where it is found to be so already. `occurrence` tells one from the next where it can happen again."""
        told = announcing.announce(self.hub, what, subject, occurrence=occurrence, trace=self.trace)
        self.note(*told)

    async def assign(self, target: Ref, group: str, fields: Fields, *, optional: bool = False) -> int:
        """Set these fields to these values, idempotently; a newer value supersedes an older unsent one. Answers the
        revision that was set now, noted for the next commit; 0 where they stood already, or a newer one supersedes it.

        `optional`: a refusal by the other side is recorded and does not stop the process."""
        return await assigning.assign(self, target, group, fields, optional=optional)

    # -- the end ------------------------------------------------------------------------------------------------
    def orphans(self) -> Sequence[EffectRow]:
        """Effects of this lane, of its present generation, that the process no longer asks for."""
        generation = f"|{self.lane.generation}"
        return [
            row
            for key, row in self.effects.items()
            if key not in self.asked
            and row.state not in ("PLANNED", "REJECTED")
            and key.removesuffix("|post").endswith(generation)
        ]

    @property
    def entity_code(self) -> str:
        """The legal entity this lane was decided for, if it was."""
        return self._frozen.entity if self._frozen is not None else ""

    def connection(self, name: str) -> Connection:
        return self.hub.connection(name)
