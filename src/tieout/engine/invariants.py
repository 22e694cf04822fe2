"""The invariants I01 to I26 in one place: what each says, in which forms it is checked, and what stands of them now.

Forms: `sql`, a query on the hub that answers no row; `ledger`, the frozen requests of the effect ledger, decoded;
`outside`, the outside systems' own books; `history`, what happened on the way, as the simulation watches it. The last
two are the simulation's and the reconciliation's (`tieout books`); here they are listed, not passed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import msgspec

from tieout.canonical.model import Value
from tieout.canonical.write import DocumentWrite, PaymentWrite, Postable, RefundWrite, Write, decode_write
from tieout.engine import sealing
from tieout.engine.exceptions import exception
from tieout.engine.hub import Hub
from tieout.engine.keys import content_hash
from tieout.store import invariants, people

CODE = "invariant_broken"


class Known(Value, frozen=True):
    """One invariant. `missing` says why it is not checked here at all; "" when it is, in any of `forms`."""

    id: str
    text: str
    forms: tuple[str, ...]
    missing: str = ""


def _known(id_: str, text: str, *forms: str, missing: str = "") -> Known:
    return Known(id=id_, text=text, forms=forms, missing=missing)


CATALOGUE: tuple[Known, ...] = (
    _known("I01", "at most one ERP invoice for a billing invoice", "sql", "outside"),
    _known("I02", "at most one ERP customer for a customer and legal entity", "sql", "outside"),
    _known("I03", "at most one subscription for a contract", "sql", "outside"),
    _known(
        "I04", "at most one cash document or journal for what bears it; applications equal", "sql", "outside"
    ),
    _known("I05", "an accepted event ends in exactly one state; none lost", "sql"),
    _known("I06", "what was acknowledged with 2xx is there", "history"),
    _known("I07", "of one target, revisions only grow; the last value stands", "history", "outside"),
    _known("I08", "every posting of the effect ledger balances", "ledger", "outside"),
    _known("I09", "billing total = ERP total, or an open difference says so", "sql", "outside"),
    _known("I10", "open amounts agree customer by customer", "outside"),
    _known("I11", "credits never exceed their invoice, refunds never what they settle", "ledger"),
    _known("I12", "no posting into a period that nobody approved", "sql", "ledger", "outside"),
    _known("I13", "document amount x rate = base amount", missing="no exchange rate is computed by the hub"),
    _known("I14", "an external id has one owner", "sql"),
    _known("I15", "every write has its ledger row; none in doubt for ever", "sql"),
    _known("I16", "nothing in doubt was sent again without a look-up", "sql"),
    _known("I17", "the audit chain is unbroken", "history", "sql"),
    _known("I18", "who asks does not approve; what was approved is what was listed", "sql"),
    _known("I19", "no secret in anything stored", "history"),
    _known("I20", "nothing of another company", "sql"),
    _known("I21", "at rest every lane is empty, or a person has it", "sql", "history"),
    _known("I22", "no commit under a fence that is over", "sql", "history"),
    _known("I23", "a restored backup converges", "sql", "outside"),
    _known("I24", "amounts are integers with a currency", "sql"),
    _known("I25", "a posted document is shown at billing and CRM", "sql", "outside"),
    _known("I26", "no more calls out than a connection's budget, whoever died", "history"),
)


class Standing(Value, frozen=True):
    """How one invariant stands: `state` is `holds`, `broken`, `not here` (another form's) or `not built`."""

    id: str
    text: str
    forms: tuple[str, ...]
    state: str
    rows: tuple[str, ...] = ()


async def examine(hub: Hub) -> list[Standing]:
    """Every invariant, by its forms that can be checked on a running hub."""
    found: dict[str, list[str]] = defaultdict(list)
    given = {"now": hub.now(), "real_now": hub.real_now(), "company": hub.company}
    for one in invariants.ALL:
        rows = await hub.store.fetch_long(one.rows, given)
        found[one.id] += [f"{one.text}: {row}" for row in rows]
    writes = await _writes(hub)
    found["I08"] += unbalanced(writes)
    found["I11"] += exceeded(writes)
    found["I12"] += await _deferred(hub, writes)
    found["I18"] += await _approvals(hub)
    verdict = await sealing.verify(hub)
    found["I17"] += [verdict.message] if verdict.first_bad else []
    return [_standing(hub, known, found[known.id]) for known in CATALOGUE]


def _standing(hub: Hub, known: Known, rows: Sequence[str]) -> Standing:
    here = {"sql", "ledger"} & set(known.forms)
    state = "broken" if rows else "holds" if here else "not built" if known.missing else "not here"
    text = known.text + (f" ({known.missing})" if known.missing else "")
    if known.id == "I18" and hub.single_operator and state == "holds":
        state, text = "not here", f"{known.text} (single operator: no segregation to check)"
    return Standing(id=known.id, text=text, forms=known.forms, state=state, rows=tuple(rows[:20]))


async def raise_broken(hub: Hub) -> list[Standing]:
    """Examine, set the metric, and open an exception for whatever is broken; answers that."""
    first = {one.id: set(one.rows) for one in await examine(hub) if one.state == "broken"}
    if not first:
        for known in CATALOGUE:
            hub.metrics.invariants.labels(known.id).set(0)
        return []
    # What passes by itself (a run that is just ending, a lane that is just taken over) is nobody's concern.
    await hub.clock.sleep(_LOOK_AGAIN_SECONDS)
    standings = [_lasting(one, first.get(one.id, set())) for one in await examine(hub)]
    for one in standings:
        hub.metrics.invariants.labels(one.id).set(len(one.rows))
    broken = [one for one in standings if one.state == "broken"]
    for one in broken:
        opened = exception(
            hub,
            CODE,
            one.id,
            f"{one.text}: {one.rows[0]}",
            "see `tieout invariants`; mend the cause, then `tieout exceptions resolve`",
            blocker=f"invariant|{one.id}",
            detail="\n".join(one.rows)[:4000],
        )
        await hub.store.commit(opened)
    return broken


def _lasting(one: Standing, before: set[str]) -> Standing:
    """How an invariant stands when only what was broken before counts."""
    if one.state != "broken":
        return one
    rows = tuple(row for row in one.rows if row in before)
    return msgspec.structs.replace(one, rows=rows, state="broken" if rows else "holds")


async def retest(hub: Hub, blocker: str) -> str:
    """What is still wrong with the invariant of a blocker, or nothing."""
    scope, _, id_ = blocker.partition("|")
    if scope != "invariant":
        return ""
    return next((one.rows[0] for one in await examine(hub) if one.id == id_ and one.state == "broken"), "")


# -- over the frozen requests of the ledger -----------------------------------------------------------------------
# Technical seconds until what looks broken is looked at again.
_LOOK_AGAIN_SECONDS = 60
# So many requests are opened in one go.
_AT_ONCE = 500
Made = tuple[str, str, str, str, Write]


async def _writes(hub: Hub) -> list[Made]:
    """(effect key, connection, lane, external id, frozen request) of every confirmed posting."""
    found: list[Made] = []
    after = ""
    while rows := await hub.store.fetch_long(invariants.CONFIRMED, {"after": after, "limit": _AT_ONCE}):
        for key, connection, lane_id, external_id, box in rows:
            if "|account|" in key:
                continue  # customers post nothing, and their requests stand under keys of their own
            write = decode_write(hub.keyring.unseal(bytes(box), f"effects|{key}"))
            found.append((key, connection, lane_id, external_id, write))
        after = rows[-1][0]
        await hub.clock.sleep_real(0)  # others of this loop have their turn
    return found


def unbalanced(writes: Sequence[Made]) -> list[str]:
    """I08: postings whose debits and credits differ, per currency."""
    found = []
    for key, _, _, _, write in writes:
        if isinstance(write, Postable):
            sums: dict[str, int] = defaultdict(int)
            for line in write.journal:
                sums[line.currency] += line.amount_minor
            found += [f"{key} is off by {rest} {currency}" for currency, rest in sums.items() if rest]
    return found


def exceeded(writes: Sequence[Made]) -> list[str]:
    """I11: documents that more was credited to, or refunded from, than they come to."""
    totals: dict[tuple[str, str], int] = {}
    taken: dict[tuple[str, str], int] = defaultdict(int)
    for _, connection, _, external_id, write in writes:
        if isinstance(write, DocumentWrite):
            totals[connection, external_id] = write.total_minor
            for applied, amount in write.applies_to if write.kind == "credit_memo" else ():
                taken[connection, applied] += amount
        elif isinstance(write, PaymentWrite):
            totals[connection, external_id] = write.amount_minor
        elif isinstance(write, RefundWrite):
            for settled, amount in write.settles:
                taken[connection, settled] += amount
    return [
        f"{connection} {id_}: {amount} of {totals[connection, id_]}"
        for (connection, id_), amount in taken.items()
        if (connection, id_) in totals and amount > totals[connection, id_]
    ]


async def _deferred(hub: Hub, writes: Sequence[Made]) -> list[str]:
    """I12: a document in another period than its day's, which no approved release lists."""
    elsewhere = [
        (key, lane_id)
        for key, _, lane_id, _, write in writes
        if isinstance(write, Postable) and write.posting_period not in ("", f"{write.day:%Y-%m}")
    ]
    if not elsewhere:
        return []
    names = people.APPROVAL_COLUMNS.split(", ")
    rows = [dict(zip(names, row, strict=True)) for row in await hub.store.fetch_long(people.APPROVALS, {})]
    listed = "\n".join(
        row["payload"]
        for row in rows
        if row["action"] == "release_period" and row["state"] in ("approved", "executed")
    )
    return [f"{key} was posted elsewhere" for key, lane_id in elsewhere if f'"{lane_id}"' not in listed]


async def _approvals(hub: Hub) -> list[str]:
    """I18: approved by its maker (unless one person does everything), or another payload than was asked for."""
    names = people.APPROVAL_COLUMNS.split(", ")
    found = []
    for raw in await hub.store.fetch_long(people.APPROVALS, {}):
        row = dict(zip(names, raw, strict=True))
        if content_hash(row["payload"].encode()) != row["payload_hash"]:
            found.append(f"{row['approval_id']}: the payload is not the one that was asked for")
        decided = row["state"] in ("approved", "executed")
        if decided and row["maker"] == row["checker"] and not hub.single_operator:
            found.append(f"{row['approval_id']}: approved by its maker, {row['maker']}")
    return found
