"""A run that only looks: what would be posted, what is there already, what would fail. Nothing outside is written, and
nothing of the hub but the wrapped data key of a customer that has none yet."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value, encode
from tieout.canonical.money import to_major
from tieout.canonical.outcome import NotFound, Receipt
from tieout.canonical.write import Fields, Write, encode_write
from tieout.engine.hub import Hub
from tieout.engine.keys import assign_key, content_hash, document_key
from tieout.engine.lane import Lane, lane_from
from tieout.engine.lease import Lease
from tieout.engine.ledger import EffectRow, document_of, effect_of, kind_of, receipt_of
from tieout.engine.run import Run
from tieout.engine.stops import (
    NO_FACTS,
    Blocked,
    Diverged,
    Facts,
    Ignored,
    Need,
    NotYet,
    Parked,
    RunAgain,
    Stop,
)
from tieout.store import documents, effects, stories, waits
from tieout.store.statements import Row, Step

# Stands for the id of a document that would be made.
NEW = "(new)"


class Foreseen(Value, frozen=True):
    """One thing that a run would do. `verdict` is `would post`, `duplicate` (there already: skipped), `in doubt` (would
    be looked up first), `diverged`, `would set`, `unchanged`, `would wait`, `would fail`, `nothing`."""

    verdict: str
    what: str
    connection: str = ""
    operation: str = ""
    document_key: str = ""
    external_id: str = ""
    amount_minor: int | None = None
    currency: str = ""
    detail: str = ""

    @property
    def amount(self) -> str:
        """As a person writes it."""
        if self.amount_minor is None or not self.currency:
            return ""
        return f"{to_major(self.amount_minor, self.currency):,} {self.currency}"


class Forecast(Value, frozen=True):
    """What a replay of one lane would do, in order; `fails` when it would not get to its end."""

    lane: str
    process: str
    steps: tuple[Foreseen, ...]
    fails: bool


class DryRun(Run):
    """A run whose writes are only told. Reads go to the outside systems as in any run."""

    def __init__(self, hub: Hub, lane: Lane, process: str, *, resumes: bool = False) -> None:
        super().__init__(hub, lane, process, "dry", Lease(hub=hub, worker="dry"), actor="dry run")
        self.foreseen: list[Foreseen] = []
        self.resumes = resumes

    async def load(self) -> None:
        """What the ledger has of the lane, however often it was claimed."""
        await self.hub.open_key(self.key)
        of_lane = {"lane_id": self.lane.lane_id}
        for row in await self.hub.store.fetch(effects.OF_LANE, of_lane):
            effect = effect_of(row)
            self.effects[effect.effect_key] = effect
        for row in await self.hub.store.fetch(effects.ASSIGNS_OF_LANE, of_lane):
            self.assigns[row[0]] = row
        for row in await self.hub.store.fetch(documents.OF_LANE, of_lane):
            document = document_of(row)
            self.documents[document.effect_key] = document

    async def commit(self, *steps: Step) -> list[list[Row]]:
        """Writes nothing."""
        self.buffer.clear()
        return [[] for _ in steps]

    def note(self, *steps: Step) -> None:
        """Writes nothing."""

    async def hold(self, *resources: str) -> None:
        """Holds nothing; says who does."""
        for name in resources:
            holder = await self.hub.store.fetch(waits.HOLDER, {"resource": name})
            if holder and holder[0][0] != self.lane.lane_id:
                self._tell("would wait", f"{name} is held by {holder[0][0]} at this moment")
        self.holding = True

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
        """Tell what would become of the effect; a document that would be made has the id `(new)`."""
        del facts
        key = self.effect_key(connection, obligation or operation, source, ordinal)
        self.asked.add(key)
        row = self.effects.get(key) or await self._elsewhere(key)
        if row is not None and row.state == "CONFIRMED":
            hashed = content_hash(encode_write(write))
            same = hashed in (row.request_hash, row.accepted) or self.resumes
            return self._standing(row, write, "duplicate" if same else "diverged")
        if row is not None and row.state in ("SENT", "UNKNOWN"):
            return self._standing(row, write, "in doubt")
        amount = getattr(write, "total_minor", getattr(write, "amount_minor", None))
        self._tell(
            "would post",
            f"{kind_of(write)} of {source}",
            connection=connection,
            operation=operation,
            document_key=document_key(key),
            amount_minor=amount,
            currency=getattr(write, "currency", ""),
            detail=getattr(write, "number", ""),
        )
        return Receipt(external_id=NEW)

    async def _elsewhere(self, key: str) -> EffectRow | None:
        rows = await self.hub.store.fetch(effects.BY_KEY, {"effect_key": key})
        return effect_of(rows[0]) if rows else None

    def _standing(self, row: EffectRow, write: Write, verdict: str) -> Receipt:
        details = {
            "duplicate": "stands already: skipped",
            "diverged": "stands already, but would now be made otherwise: a person decides",
            "in doubt": "was sent and is in doubt: looked up before anything is sent again",
        }
        self._tell(
            verdict,
            f"{kind_of(write)} of {row.source}",
            connection=row.connection,
            operation=row.operation,
            document_key=row.document_key,
            external_id=row.external_id,
            amount_minor=getattr(write, "total_minor", getattr(write, "amount_minor", None)),
            currency=getattr(write, "currency", ""),
            detail=details[verdict],
        )
        if row.state == "CONFIRMED" and row.receipt:
            receipt, document = receipt_of(row), self.documents.get(row.effect_key)
            if document is None:
                return receipt
            return replace(receipt, number=document.number, period=document.period)
        return Receipt(external_id=row.external_id or NEW)

    async def settled(self, row: EffectRow, facts: Facts) -> Receipt:
        """As it was frozen."""
        del facts
        self.asked.add(row.effect_key)
        verdict = "duplicate" if row.state == "CONFIRMED" else "in doubt"
        return self._standing(row, self.frozen_write(row), verdict)

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
        """Takes for posted what would be made; waits, as any run, for what stands unposted."""
        key = self.effect_key(connection, obligation or operation, source, ordinal)
        document = self.documents.get(key)
        if document is not None and document.status != "POSTED":
            what = f"{document.kind} {document.number or document.external_id} to be posted at {connection}"
            raise NotYet(Need(key="dry", what=what))
        return receipt

    async def assign(self, target: Ref, group: str, fields: Fields, *, optional: bool = False) -> int:
        """Tell which fields would be set."""
        del optional
        row = self.assigns.get(assign_key(target, group))
        same = row is not None and row[2] == "CONFIRMED" and row[3] == content_hash(encode(fields))
        values = ", ".join(f"{name} = {value}" for name, value in fields.items())
        verdict = "unchanged" if same else "would set"
        self._tell(verdict, f"{group} of {target}", connection=target.connection, detail=values)
        return 0

    def start(self, subject: Ref, *, entity: str = "") -> None:
        """Starts nothing."""
        del entity
        self._tell("would post", f"the process of {subject} would be started", connection=subject.connection)

    def _tell(self, verdict: str, what: str, **more: Any) -> None:
        self.foreseen.append(Foreseen(verdict=verdict, what=what, **more))


def lane_of(row: Row) -> Lane:
    """A row of `stories.LANE`, which begins with what a claim answers, as a value."""
    return lane_from(row[: len(Lane.__struct_fields__)])


async def forecast(hub: Hub, lane_id: str, *, repost: bool = False, resumes: bool = False) -> Forecast | None:
    """What a replay of a lane would do; None when the hub knows no such lane. `repost`: under a new generation.
    `resumes`: from the failed effect."""
    rows = await hub.store.fetch(stories.LANE, {"lane_id": lane_id})
    if not rows:
        return None
    lane = lane_of(rows[0])
    if repost:
        lane.generation, lane.frozen = lane.generation + 1, ""
    process = hub.processes[lane.kind]
    run = DryRun(hub, lane, process.name, resumes=resumes)
    await run.load()
    fails = False
    try:
        await process.function(run, lane.subject)
    except Stop as stop:
        fails = not isinstance(stop, Ignored)
        run.foreseen.append(_ending(stop))
    except NotFound as missing:
        fails = True
        run.foreseen.append(Foreseen(verdict="would fail", what=f"{missing} does not exist there"))
    else:
        for row in () if repost else run.orphans():
            fails = True
            what = f"{row.operation} {row.external_id or row.document_key} is no longer asked for"
            run.foreseen.append(Foreseen(verdict="would fail", what=what, connection=row.connection))
    return Forecast(lane=lane_id, process=process.name, steps=tuple(run.foreseen), fails=fails)


def _ending(stop: Stop) -> Foreseen:
    match stop:
        case Ignored(rule=rule):
            return Foreseen(verdict="nothing", what=rule)
        case NotYet():
            return Foreseen(verdict="would wait", what=str(stop))
        case Diverged(cause=cause, remedy=remedy):
            return Foreseen(verdict="diverged", what=cause, detail=remedy)
        case Parked(cause=cause, remedy=remedy):
            return Foreseen(verdict="would fail", what=cause, detail=remedy)
        case Blocked(message=message, remedy=remedy):
            return Foreseen(verdict="would fail", what=message, detail=remedy)
        case RunAgain(reason=reason):
            return Foreseen(verdict="would fail", what=f"not now: {reason}", detail="it would be tried again")
        case _:
            return Foreseen(verdict="would fail", what=str(stop))
