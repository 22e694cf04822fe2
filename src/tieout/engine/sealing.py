"""The sealer: numbers and chains committed audit rows, signs the head; and the proof that nobody altered them."""

from __future__ import annotations

from cryptography.exceptions import InvalidSignature

from tieout.canonical.model import Value
from tieout.engine.hub import Hub
from tieout.security.chain import GENESIS, head_text, link
from tieout.store import people
from tieout.store.statements import Refused, Row, Step, Violated

_AT_ONCE = 500
_LATE_ROWS = 20_000


async def seal(hub: Hub) -> int:
    """Seal what was committed since; answers how many rows. Of two sealers one is refused, and tries again later."""
    sealed, read_to = 0, 0
    while True:
        last = await hub.store.fetch(people.AUDIT_LAST, {})
        number, hash_ = (last[0][0], last[0][2]) if last else (0, GENESIS)
        # Rows of slower transactions may appear behind the last sealed one, never this far behind: looked for once.
        after = read_to or (max(0, last[0][1] - _LATE_ROWS) if last else 0)
        rows = await hub.store.fetch(people.AUDIT_UNSEALED, {"after": after, "limit": _AT_ONCE})
        if not rows:
            return sealed
        steps: list[Step] = []
        for row in rows:
            number += 1
            hash_ = link(hash_, number, row[1:])
            steps.append((people.AUDIT_CHAIN, {"number": number, "seq": row[0], "hash": hash_}))
        at = hub.now()
        signature = hub.keyring.signer.sign(head_text(number, at, hash_)).hex()
        steps.append((people.AUDIT_HEAD, {"number": number, "at": at, "hash": hash_, "signature": signature}))
        try:
            await hub.store.commit(steps)
        except (Refused, Violated):
            return sealed
        sealed += len(rows)
        read_to = rows[-1][0]


class Verdict(Value, frozen=True):
    """What `audit verify` found. `first_bad` is the number of the first entry that does not hold, 0 when all do."""

    rows: int
    unsealed: int
    heads: int
    first_bad: int
    message: str


async def verify(hub: Hub) -> Verdict:
    """Walk the whole chain and check every signed head."""
    previous, number, bad, message = GENESIS, 0, 0, ""
    heads = {row[0]: row for row in await hub.store.fetch_long(people.AUDIT_HEADS, {})}
    while not bad:
        rows = await hub.store.fetch_long(people.AUDIT_READ, {"after": number, "limit": _AT_ONCE})
        if not rows:
            break
        for row in rows:
            number += 1
            bad, message = _check(hub, row, number, previous, heads)
            if bad:
                break
            previous = row[2]
    if not bad and heads and max(heads) > number:
        bad, message = number + 1, "the chain was cut short: a signed head names a later entry"
    total = (await hub.store.fetch(people.AUDIT_COUNT, {}))[0][0]
    return Verdict(
        rows=number,
        unsealed=total - number,
        heads=len(heads),
        first_bad=bad,
        message=message or "every entry holds",
    )


def _check(hub: Hub, row: Row, number: int, previous: str, heads: dict[int, Row]) -> tuple[int, str]:
    if row[0] != number:
        return number, f"entry {number} is missing"
    if row[3] is None:
        return number, f"the audit row of entry {number} was deleted"
    if link(previous, number, row[3:]) != row[2]:
        return number, f"entry {number} was altered"
    head = heads.get(number)
    if head is None:
        return 0, ""
    try:
        key = hub.keyring.signer.public_key()
        key.verify(bytes.fromhex(head[3]), head_text(number, head[1], head[2]))
    except (InvalidSignature, ValueError):
        return number, f"the signature of the head at entry {number} does not hold"
    if head[2] != row[2]:
        return number, f"the signed head at entry {number} names another hash"
    return 0, ""
