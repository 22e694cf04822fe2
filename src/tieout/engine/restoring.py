"""A database put back from a backup has forgotten what was written since. Until everything outside has been listed
again from before the backup, every create begins in doubt: it is looked up, and absence counts from the restore.

Not only until the feeds have caught up: what they told is still in line then. Lanes with an event that was listed, and
lanes that other lanes begin, stay careful until none of them has anything to do; lanes that are born later do not.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from tieout.canonical.change import ChangeEvent
from tieout.canonical.model import Value, encode
from tieout.connectors.contract import ChangeFeed, Writer
from tieout.engine import sending
from tieout.engine.exceptions import exception
from tieout.engine.hub import Hub, Restored
from tieout.engine.lease import Lease
from tieout.engine.ledger import EffectRow
from tieout.engine.moments import micros, moment
from tieout.store import effects, outbox, people, restores
from tieout.store.statements import Refused, Step

if TYPE_CHECKING:
    from tieout.engine.run import Run

log = structlog.get_logger("tieout.restoring")
# Begins the error of an effect that this hub may have made in the time that it has forgotten.
MARK = "restored: "
OLDER = "database_older"


async def load(hub: Hub) -> None:
    """Whether this database was put back from a backup and has not caught up; before anything is sent, and again while
    other processes work on the same database."""
    rows = await hub.store.fetch(restores.PRESENT, {})
    ((hub.restored_at,),) = await hub.store.fetch(restores.LATEST, {})
    hub.restored = (
        Restored(restored_at=rows[0][0], backup_taken_at=rows[0][1], listed_seq=rows[0][2]) if rows else None
    )


class Begun(Value, frozen=True):
    """What `tieout restored` set going. `horizon_seconds`: no create leaves before so long after the restore;
    `worked_until`: the newest moment in the database, if it lies after the backup: the hub has worked on it since."""

    backup_taken_at: datetime
    restored_at: datetime
    horizon_seconds: int
    worked_until: datetime | None


async def begin(hub: Hub, backup_taken_at: datetime, actor: str) -> Begun:
    """Write down that the database is of an earlier moment. ValueError when that moment is still to come."""
    now = hub.clock.now()
    if backup_taken_at > now:
        raise ValueError(f"{backup_taken_at.isoformat()} is still to come")
    newest = moment(max((await hub.store.fetch(restores.NEWEST, {}))[0]))
    at = micros(now)
    asked = {"now": at, "backup_taken_at": micros(backup_taken_at), "actor": actor}
    error = f"{MARK}what became of it after {backup_taken_at.isoformat()} is forgotten"
    audit = {
        "audit_id": hub.ids.new(),
        "at": at,
        "actor": actor,
        "action": "database.restored",
        "subject": hub.company,
        "trace": "",
        "detail": f"from a backup of {backup_taken_at.isoformat()}",
    }
    await hub.store.commit(
        [
            (restores.BEGIN, asked),
            (restores.END_OTHERS, {"now": at}),
            (restores.DOUBT_AGAIN, {"now": at, "error": error}),
            (restores.ASSIGNS_UNSURE, {}),
            (restores.FEEDS_UNLISTED, {}),
            (outbox.NUMBERED, {}),
            (outbox.NUMBERS_ABOVE, {"number": at}),
            (outbox.WAIT_ANEW, {"now": at}),
            (people.AUDIT, audit),
        ]
    )
    await load(hub)
    return Begun(
        backup_taken_at=backup_taken_at,
        restored_at=now,
        horizon_seconds=horizon_seconds(hub),
        worked_until=newest if newest > backup_taken_at else None,
    )


def horizon_seconds(hub: Hub) -> int:
    """The longest that any create can take to show after its last byte: technical seconds."""
    return max(
        (
            traits.longest_seconds + traits.visibility_seconds
            for connection in hub.connections.values()
            if isinstance(connection.api, Writer)
            for traits in connection.api.operations.values()
        ),
        default=0,
    )


# -- creates ------------------------------------------------------------------------------------------------------
async def in_question(run: Run, row: EffectRow | None) -> bool:
    """Whether this effect, which the ledger does not know to be sent, may have been made in the forgotten time."""
    restored = run.hub.restored
    if restored is None:
        return False
    if row is not None and (
        row.state not in ("PLANNED", "REJECTED") or (row.sent_at or 0) >= restored.restored_at
    ):
        return False
    if restored.listed_seq is None:
        return True
    ((first,),) = await run.hub.store.fetch(restores.FIRST_EVENT, {"lane_id": run.lane.lane_id})
    return first is None or first <= restored.listed_seq


async def doubt(run: Run, row: EffectRow, raw: bytes, hashed: str) -> None:
    """Begin an effect as one whose outcome is unknown: its request frozen, its absence counted from the restore."""
    hub, now = run.hub, run.hub.now()
    if hub.restored is None:
        raise TypeError("nothing is in question but in a restored database")
    row.request, row.request_hash = hub.keyring.seal(raw, sending.box_of(row), run.key), hashed
    row.decisions = encode(run.decisions).decode()
    row.state, row.absent_from, row.looks = "UNKNOWN", hub.restored.restored_at, 0
    row.error = f"{MARK}whether it was made before is not known yet"
    frozen = {
        "effect_key": row.effect_key,
        "document_key": row.document_key,
        "lane_id": row.lane_id,
        "process": row.process,
        "connection": row.connection,
        "operation": row.operation,
        "source": row.source,
        "epoch": row.epoch,
        "request": row.request,
        "request_hash": row.request_hash,
        "decisions": row.decisions,
        "now": now,
        "absent_from": row.absent_from,
        "worker": run.worker,
        "fence": run.lane.fence,
        "error": row.error,
        "run_id": run.run_id,
        "trace": run.trace,
    }
    audit = run.audit("effect.doubted", row.effect_key, f"after a restore; request {hashed[:16]}")
    await sending.guarded(run, (effects.DOUBT_FIRST, frozen), audit)
    row.sent_at = now
    run.effects[row.effect_key] = row


def next_epoch(hub: Hub, row: EffectRow) -> int:
    """The send epoch after a proof of absence or a rejection; after a restore above all that were forgotten."""
    return max(row.epoch + 1, hub.restored_at // 1_000_000)


# -- listing again ------------------------------------------------------------------------------------------------
async def listed(hub: Hub, lease: Lease, connection: str, began: int) -> None:
    """A poll that began at this moment has reached the present."""
    if hub.restored is not None and hub.restored.listed_seq is None:
        where = {"connection": connection, "worker": lease.worker, "began": began}
        await hub.store.commit([(restores.FEED_LISTED, where)])


async def unlisted(hub: Hub, restored: Restored) -> list[str]:
    """The connections whose feed has not been listed again since the restore and the longest doubt after it."""
    least = restored.restored_at + micros(moment(0) + timedelta(seconds=horizon_seconds(hub)))
    known = dict(await hub.store.fetch(restores.LISTED, {}))
    feeds = [name for name, one in hub.connections.items() if isinstance(one.api, ChangeFeed)]
    return [name for name in feeds if known.get(name, 0) < least]


async def advance(hub: Hub) -> None:
    """Note that everything was listed again; and, when nothing of it is left to do, that the restore is over."""
    await load(hub)
    restored = hub.restored
    if restored is None:
        return
    mine = {"restored_at": restored.restored_at}
    if restored.listed_seq is None:
        if await unlisted(hub, restored):
            return
        await hub.store.commit([(restores.ALL_LISTED, mine)])
        log.info("listed_again", restored_at=moment(restored.restored_at).isoformat())
        await load(hub)
        return
    if await hub.store.fetch(restores.OLD_WORK, {"listed_seq": restored.listed_seq}):
        return
    try:
        await hub.store.commit([(restores.END, {**mine, "now": hub.now()})])
    except Refused:
        return  # another process was quicker
    log.info("restore_over", restored_at=moment(restored.restored_at).isoformat())
    await load(hub)


class Progress(Value, frozen=True):
    """How far a restored database has come. `unlisted`: connections still to be listed; `unsettled`: documents that may
    have been made before and are not settled yet, twenty at most."""

    backup_taken_at: datetime
    restored_at: datetime
    unlisted: tuple[str, ...]
    unsettled: tuple[str, ...]


async def progress(hub: Hub) -> Progress | None:
    """What still keeps a restored database from being as good as it was; None when it is."""
    await load(hub)
    if hub.restored is None:
        return None
    rest: tuple[str, ...] = ()
    if hub.restored.listed_seq is not None:
        rows = await hub.store.fetch(restores.OLD_WORK, {"listed_seq": hub.restored.listed_seq})
        rest = tuple(f"{lane_id} ({state})" for lane_id, state in rows)
    return Progress(
        backup_taken_at=moment(hub.restored.backup_taken_at),
        restored_at=moment(hub.restored.restored_at),
        unlisted=tuple(await unlisted(hub, hub.restored)) if hub.restored.listed_seq is None else (),
        unsettled=rest,
    )


# -- finding out by itself ----------------------------------------------------------------------------------------
def older_than_the_outside(hub: Hub, event: ChangeEvent, key: str, external_id: str) -> list[Step]:
    """Opens the exception of an outside document under a key of ours that the ledger does not know. Keys are committed
    before a byte leaves, so the ledger has forgotten it, or somebody else writes under our company's name."""
    return exception(
        hub,
        OLDER,
        event.source,
        f"{external_id} at {event.source} carries our key {key}, which this database does not know: it is older than"
        " what stands outside, or another hub writes there under the same company",
        "if it was put back from a backup: stop every process, then `tieout restored --backup-taken-at ...`",
        blocker=f"database|{event.source}",
        detail=f"{event.type} {event.id}",
    )
