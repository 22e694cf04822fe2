"""Documents that stand twice under one key, where the vendor lets them.

One way is left to make one: a process that stood still between the check of its lease and the first byte, for longer
than it takes to prove that its document is absent, and then went on. What was sent again after such a proof is
therefore looked up once more by every sweep, for as long as a process can be thought to stand still.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from tieout.canonical.outcome import Found
from tieout.canonical.write import ApproveWrite, decode_write
from tieout.connectors.contract import Writer
from tieout.engine.exceptions import exception
from tieout.engine.hub import Hub
from tieout.engine.lane import key_name
from tieout.engine.ledger import EffectRow, effect_of
from tieout.engine.moments import micros, moment
from tieout.engine.sending import box_of, keys_of
from tieout.store import effects

log = structlog.get_logger("tieout.duplicates")
CODE = "duplicate"
_STANDS_STILL = timedelta(days=7)
_PAGE = 200


def words(row: EffectRow, kept: str, others: tuple[str, ...]) -> tuple[str, str]:
    """Cause and remedy of documents that stand beside the one that is `kept`."""
    cause = f"{row.operation} of {row.source} exists more than once at {row.connection}: {', '.join((kept, *others))}"
    return cause, f"void or delete all but {kept} there, then `tieout exceptions resolve`"


async def sweep(hub: Hub) -> int:
    """Look up what was sent again after a proof of absence: each that stands twice has its exception. Answers how many
    there are."""
    found, after = 0, ""
    since = micros(hub.clock.now() - _STANDS_STILL)
    while rows := await hub.store.fetch_long(
        effects.SENT_AGAIN, {"since": since, "after": after, "limit": _PAGE}
    ):
        for raw in rows:
            row = effect_of(raw)
            after = row.effect_key
            found += await _look(hub, row)
    return found


async def _look(hub: Hub, row: EffectRow) -> bool:
    api = hub.connection(row.connection).api if row.connection in hub.connections else None
    if not isinstance(api, Writer) or row.operation not in api.operations:
        return False
    if api.operations[row.operation].uniqueness != "search_only":
        return False
    name = key_name(row.lane_id, row.lane_id.split("|")[1])
    await hub.open_key(name)
    write = decode_write(hub.keyring.unseal(bytes(row.request), box_of(row), name))
    if isinstance(write, ApproveWrite):
        return False  # makes nothing
    answer = await api.find(row.operation, write, keys_of(row), moment(row.sent_at or hub.now()))
    if not isinstance(answer, Found):
        return False
    there = (answer.receipt.external_id, *answer.others)
    others = tuple(id_ for id_ in there if id_ != row.external_id)
    if not others:
        return False
    cause, remedy = words(row, row.external_id, others)
    log.error("duplicate", lane=row.lane_id, trace=row.trace, cause=cause)
    opened = exception(
        hub,
        CODE,
        row.lane_id,
        cause,
        remedy,
        lane_id=row.lane_id,
        effect_key=row.effect_key,
        trace=row.trace,
    )
    await hub.store.commit(opened)
    return True
