"""Usage that is reported by file: judged whole before any of it is taken, kept once, and then made good row by row as
every other outside write, each in a lane of its own. The sender's identifier names a report for good: the vendor knows
it for a day, the ledger for ever."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec

from tieout.canonical.ids import Ref
from tieout.canonical.model import Value
from tieout.canonical.write import UsageWrite, decode_write, encode_write
from tieout.connectors.contract import Catalogue, Prechecker, UsageReader, UsedLine, Writer
from tieout.engine.hub import Hub
from tieout.engine.keys import effect_key, need_key
from tieout.engine.ledger import effect_of
from tieout.store import documents, effects, records, waits
from tieout.store.statements import Refused, Step

KIND, OPERATION = "usage", "usage.report"
MOST_AT_ONCE = 1_000
# It stands in lanes and keys, between bars.
_IDENTIFIER = re.compile(r"[!-{}~]{1,100}")
_AT_ONCE = 200


class UsageRow(Value, frozen=True):
    """One row of a file. `customer`: billing's own id or the CRM account's; `quantity` in the meter's unit."""

    identifier: str
    customer: str
    meter: str
    quantity: Decimal
    at: datetime


class Judged(Value, frozen=True):
    """How a row stands. `state`: `new`; `waiting` or `reported` (known, nothing to do); `refused` (never taken, or the
    other side refused it), `conflict` (its identifier stands for something else); `why` in words."""

    identifier: str
    state: str
    why: str = ""


class Unfit(Exception):
    """Nothing can be taken: the message says why and what to do."""


async def judge(hub: Hub, name: str, rows: Sequence[UsageRow]) -> list[Judged]:
    """How every row stands, in order; takes nothing. Raises Unfit, and Failure when billing cannot be asked."""
    return [judged for judged, _ in await _judge(hub, name, rows)]


async def accept(hub: Hub, name: str, rows: Sequence[UsageRow], audit: Step) -> dict[str, int]:
    """Take the new rows, none of them where one cannot be taken; answers how many stand how. What an interruption left
    out, the same file given again takes. Raises Unfit, Failure."""
    found = await _judge(hub, name, rows)
    if bad := [one for one, _ in found if one.state in ("refused", "conflict")]:
        first = "; ".join(f"{one.identifier}: {one.why}" for one in bad[:20])
        raise Unfit(f"{len(bad)} of {len(rows)} rows cannot be taken, so none was: {first}")
    new = [write for one, write in found if one.state == "new" and write is not None]
    await hub.store.commit([audit])
    for start in range(0, len(new), _AT_ONCE):
        await asyncio.gather(*(_take(hub, write) for write in new[start : start + _AT_ONCE]))
    return dict(Counter(one.state for one, _ in found))


async def _take(hub: Hub, write: UsageWrite) -> None:
    key, now = str(write.source), hub.now()
    body = hub.keyring.seal(encode_write(write), records.box_of(KIND, key))
    try:
        await hub.store.commit(
            [
                (records.KEEP, {"kind": KIND, "key": key, "body": body, "now": now, "trace": ""}),
                *hub.groups.start(write.source, now),
            ]
        )
    except Refused as refused:
        raise Unfit(
            f"{write.source.id} was taken meanwhile by another command; give the file again"
        ) from refused


async def _judge(hub: Hub, name: str, rows: Sequence[UsageRow]) -> list[tuple[Judged, UsageWrite | None]]:
    if name not in hub.connections:
        raise Unfit(f"there is no connection {name!r}; there are: {', '.join(hub.connections)}")
    if len({row.identifier for row in rows}) != len(rows):
        twice = [one for one, count in Counter(row.identifier for row in rows).items() if count > 1]
        raise Unfit(f"identifiers that stand twice in the file: {', '.join(twice[:20])}")
    api = hub.connection(name).api
    if not isinstance(api, Writer) or OPERATION not in api.operations:
        raise Unfit(f"{name} takes no usage")
    meters = await api.codes("meter") if isinstance(api, Catalogue) else frozenset()
    return [await _stands(hub, name, row, meters) for row in rows]


async def _stands(
    hub: Hub, name: str, row: UsageRow, meters: frozenset[str]
) -> tuple[Judged, UsageWrite | None]:
    def judged(state: str, why: str = "") -> tuple[Judged, UsageWrite | None]:
        return Judged(identifier=row.identifier, state=state, why=why), write if state == "new" else None

    write: UsageWrite | None = None
    if not _IDENTIFIER.fullmatch(row.identifier):
        return judged("refused", "an identifier is 1 to 100 visible ASCII characters without |")
    if row.at.tzinfo is None:
        return judged("refused", f"{row.at.isoformat()} does not say its time zone")
    source = Ref(connection=name, kind=KIND, id=row.identifier)
    customer = await _customer(hub, name, row.customer)
    if not customer:
        return judged("refused", f"customer {row.customer!r} is not one that the hub knows at {name}")
    # The same amount at the same moment is the same report, however it was written.
    quantity, at = Decimal(f"{row.quantity.normalize():f}"), row.at.astimezone(UTC)
    write = UsageWrite(source=source, customer=customer, meter=row.meter, quantity=quantity, at=at)
    known = await hub.store.fetch(records.LOAD, {"kind": KIND, "key": str(source)})
    if known:
        before = hub.keyring.unseal(bytes(known[0][0]), records.box_of(KIND, str(source)))
        if before != encode_write(write):
            return judged("conflict", "this identifier was given before, for something else")
        return judged(*await _of_ledger(hub, source))
    if row.meter not in meters:
        return judged("refused", f"{name} has no active meter {row.meter!r}")
    api = hub.connection(name).api
    why = api.precheck(OPERATION, write) if isinstance(api, Prechecker) else ()
    return judged("refused", why[0].message) if why else judged("new")


class Used(Value, frozen=True):
    """A line of an invoice that bills usage. `reported`: what the hub reported of it, by `reports` rows. `agrees`:
    billed and metered differ by less than one unit, which billing may round."""

    line: UsedLine
    reported: Decimal
    reports: int
    agrees: bool


async def of_invoice(hub: Hub, name: str, invoice: str) -> tuple[Used, ...]:
    """What usage an invoice was made of. Raises Unfit, NotFound, Failure."""
    api = hub.connection(name).api if name in hub.connections else None
    if not isinstance(api, UsageReader):
        raise Unfit(f"{name} is no connection that can say what usage an invoice was made of")
    lines = await api.usage_of(invoice)
    taken = await _taken_at(hub, name) if lines else []
    found = []
    for line in lines:
        within = [
            one
            for one in taken
            if (one.customer, one.meter) == (line.customer, line.meter) and line.start <= one.at < line.end
        ]
        ours = [one.quantity for one in within if (await _of_ledger(hub, one.source))[0] == "reported"]
        agrees = abs(line.billed - line.metered) < 1
        found.append(Used(line=line, reported=sum(ours, Decimal(0)), reports=len(ours), agrees=agrees))
    return tuple(found)


async def _taken_at(hub: Hub, name: str) -> list[UsageWrite]:
    """Everything that was ever taken for a connection."""
    found = []
    for key, box, _, _ in await hub.store.fetch_long(records.ALL, {"kind": KIND}):
        if key.startswith(f"{name}|"):
            write = decode_write(hub.keyring.unseal(bytes(box), records.box_of(KIND, key)))
            if isinstance(write, UsageWrite):
                found.append(write)
    return found


async def _customer(hub: Hub, name: str, given: str) -> str:
    """Billing's id of a customer that is given by that or by the CRM's, empty when the hub knows neither."""
    asked = {"connection": name, "kind": "customer", "external_id": given}
    if await hub.store.fetch(documents.RESOLVE, asked):
        return given
    for crm in hub.role("crm"):
        account = Ref(connection=crm.name, kind="account", id=given)
        rows = await hub.store.fetch(waits.MET, {"need_key": need_key("customer", account, name)})
        if rows:
            return str(rows[0][0])
    return ""


async def _of_ledger(hub: Hub, source: Ref) -> tuple[str, str]:
    key = effect_key(hub.company, source.connection, OPERATION, source)
    rows = await hub.store.fetch(effects.BY_KEY, {"effect_key": key})
    if not rows:
        return "waiting", ""
    effect = effect_of(rows[0])
    if effect.state == "CONFIRMED":
        return "reported", ""
    return ("refused" if effect.state == "REJECTED" else "waiting"), effect.error


def rows_of(given: object) -> list[UsageRow]:
    """The rows of a command. msgspec.ValidationError when they are none."""
    return msgspec.convert(given, list[UsageRow], strict=False)
