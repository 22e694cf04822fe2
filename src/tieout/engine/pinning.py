"""Whom we talk to: organisation, account and live or test of a connection are pinned on first contact.

A connection that answers as somebody else processes nothing: every call is refused before a byte leaves, its feed is
not polled, its webhooks are turned away, and an exception says so. A sandbox copied from production, a key pasted into
the wrong section: both look healthy until the first invoice stands in the wrong books.

So does one that a *stranger* has our secret of: a webhook that is signed as ours and tells of another organisation,
account or mode. Sign-in cannot show that, so it is kept as a record, which every process of the hub looks at, and only
a person takes it away. What is not signed parks nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from tieout.canonical.model import encode
from tieout.canonical.outcome import (
    Failure,
    Inconclusive,
    Misconfigured,
    NotFound,
    RateLimited,
    Rejected,
    Transient,
)
from tieout.connectors.contract import Checker, Finding, Identity, OtherAccount, connection_blocked
from tieout.engine.exceptions import exception
from tieout.engine.hub import Connection, Hub
from tieout.store import lanes, people, records
from tieout.store.statements import Step, StoreUnavailable

log = structlog.get_logger("tieout.pinning")
_identities = msgspec.json.Decoder(Identity)
_outcomes = msgspec.json.Decoder(Misconfigured)
# The record of a stranger, by connection.
_STRANGER = "stranger"
# Real seconds that a start waits for the other sides (less under a short lease, which nobody renews yet); who has not
# answered by then is asked again beside the work.
_PATIENCE_SECONDS = 10
_AGAIN_SECONDS = (1, 2, 5, 10, 30, 60)
_NOT_YET = "it is not known yet who answers at this connection"

_READS = (
    "poll fetch read_back statuses verify_document documents contract_lines balances periods codes credit_hold usage_of"
).split()
_WRITES = ("send", "assign")
_KEPT = ("identity check operations approves precheck poll_seconds assign_traits usage name").split()
_INBOUND = ("verify", "parse", "accepts_webhooks")


class Held:
    """Stands in for a connection's object while nothing of it may be processed: it can what `inner` can, and answers
    each call with `outcome`. `parked`: for a person; otherwise only until the other side has said who it is."""

    def __init__(self, inner: Any, outcome: Transient | Misconfigured) -> None:
        self.inner = inner
        self.outcome = outcome
        self.parked = isinstance(outcome, Misconfigured)
        # Attributes of the instance: a Protocol's `isinstance` looks for them statically.
        for name in (*_KEPT, *(() if self.parked else _INBOUND)):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))
        for name in _READS:
            if hasattr(inner, name):
                setattr(self, name, self._refused)
        for name in _WRITES:
            if hasattr(inner, name):
                setattr(self, name, self._not_done)
        if hasattr(inner, "find"):
            self.find = self._not_asked

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise Failure(self.outcome)

    async def _not_done(self, *_: Any, **__: Any) -> Transient | Misconfigured:
        return self.outcome

    async def _not_asked(self, *_: Any, **__: Any) -> Inconclusive:
        return Inconclusive(reason=self.reason)

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(Failure(self.outcome))


def inner(connection: Connection) -> Any:
    """The connector's own object, held or not."""
    return connection.api.inner if isinstance(connection.api, Held) else connection.api


def parked(connection: Connection) -> str:
    """Why nothing of a connection is processed; empty when all is well or not known yet."""
    return connection.api.reason if isinstance(connection.api, Held) and connection.api.parked else ""


async def begin(hub: Hub) -> None:
    """Pin every connection, or hold it; waits a little for answers. `watch` goes on with who did not answer."""
    await look(hub)
    asked = [
        connection
        for connection in hub.connections.values()
        if isinstance(inner(connection), Checker) and connection.name not in hub.strangers
    ]
    for connection in asked:
        connection.api = Held(inner(connection), Transient(reason=_NOT_YET))
    asking = [asyncio.ensure_future(settle(hub, connection)) for connection in asked]
    if not asking:
        return
    patience = min(_PATIENCE_SECONDS, hub.policy.lease_seconds_real / 3)
    pause = asyncio.ensure_future(hub.clock.sleep_real(patience))
    everybody = asyncio.ensure_future(asyncio.wait(asking))
    await asyncio.wait({everybody, pause}, return_when=asyncio.FIRST_COMPLETED)
    for task in (pause, everybody, *asking):
        task.cancel()
    for ended in await asyncio.gather(pause, everybody, *asking, return_exceptions=True):
        if isinstance(ended, Exception):
            # The connection stays held: nothing goes out to somebody we could not make out.
            log.error("pinning_failed", exc_info=ended)


async def watch(hub: Hub) -> None:
    """Ask again who answers at the connections that are held, and follow what other processes park; for ever."""
    await asyncio.gather(_ask_again(hub), follow(hub))


async def _ask_again(hub: Hub) -> None:
    tries = 0
    while True:
        held = [one for one in hub.connections.values() if isinstance(one.api, Held)]
        if not held:
            tries = 0
            await hub.clock.sleep_real(hub.policy.stranger_poll_real_seconds)
            continue
        await hub.clock.sleep(_AGAIN_SECONDS[min(tries, len(_AGAIN_SECONDS) - 1)])
        tries += 1
        for connection in held:
            await settle(hub, connection)


async def settle(hub: Hub, connection: Connection) -> None:
    """Ask who answers: let the connection go, hold it for a while, or park it and say so."""
    try:
        outcome = hub.strangers.get(connection.name) or await _verdict(hub, connection)
        if outcome is None:
            await _let_go(hub, connection)
        else:
            await _hold(hub, connection, outcome)
    except StoreUnavailable as error:
        log.warning("store_unavailable", connection=connection.name, reason=str(error))


async def is_another(hub: Hub, connection: Connection) -> bool:
    """Ask anew who answers, because of an answer that is not ours: a connection that is somebody else's is parked. Who
    does not say it now is left as he was."""
    if isinstance(connection.api, Checker):
        asked = await _ask(connection)
        if isinstance(asked, Identity):
            wrong = compare(connection.name, await pinned(hub, connection.name), asked)
            if wrong is not None:
                await _hold(hub, connection, wrong)
    return bool(parked(connection))


async def retest(hub: Hub, blocker: str) -> str:
    """Test a parked connection's cause again, for a person; answers what is still wrong, or nothing. What a stranger
    sends cannot be tested: the person says that it has ended, and the next of it parks the connection again."""
    scope, _, name = blocker.partition("|")
    connection = hub.connections.get(name)
    if scope != "connection" or connection is None:
        return ""
    await look(hub)
    if not parked(connection):
        return ""
    if name not in hub.strangers:
        await settle(hub, connection)
        return parked(connection)
    wrong = await _verdict(hub, connection)
    if wrong is not None:
        return wrong.message if isinstance(wrong, Misconfigured) else wrong.reason
    forgotten = (records.FORGET, {"kind": _STRANGER, "key": name})
    seen = _audit(hub, "connection.released", connection, "a person has seen to the stranger")
    await hub.store.commit([forgotten, seen])
    hub.strangers = {key: value for key, value in hub.strangers.items() if key != name}
    connection.api = inner(connection)
    log.info("connection_released", connection=name)
    # What runs next may run in another process, which has not seen it yet.
    await hub.clock.sleep_real(2 * hub.policy.stranger_poll_real_seconds)
    return ""


# -- strangers ----------------------------------------------------------------------------------------------------
async def park(hub: Hub, connection: Connection, stranger: OtherAccount) -> None:
    """Something that is signed as ours tells of another organisation, account or mode: nothing of this connection is
    processed until a person has seen to it. Raises StoreUnavailable, and then nothing is parked."""
    name, wrong = connection.name, stranger.outcome
    remedy = f"{wrong.remedy}; then `tieout exceptions resolve ID`"
    kept = connection_blocked(name, wrong.message, remedy)
    box = hub.keyring.seal(encode(kept), records.box_of(_STRANGER, name))
    mark = {"kind": _STRANGER, "key": name, "body": box, "now": hub.now(), "trace": ""}
    told = {"blocker": f"connection|{name}", "cause": kept.message, "remedy": kept.remedy}
    # Where a sign-in that failed has opened the exception before, it tells of the stranger from now on.
    opened = [*_exception(hub, kept), (people.RETELL, told)]
    await hub.store.commit(
        [(records.SAVE, mark), *opened, _audit(hub, "connection.parked", connection, kept.message)]
    )
    hub.strangers = {**hub.strangers, name: kept}
    await _hold(hub, connection, kept)


async def follow(hub: Hub, *, ask: bool = True) -> None:
    """Hold and let go as the processes of this hub find strangers and people see to them; for ever."""
    while True:
        try:
            await look(hub, ask=ask)
        except StoreUnavailable as error:
            log.warning("store_unavailable", reason=str(error))
        except Exception:
            log.exception("strangers_not_followed")
        await hub.clock.sleep_real(hub.policy.stranger_poll_real_seconds)


async def look(hub: Hub, *, ask: bool = True) -> None:
    """One look at the records of strangers. `ask`: who answers is asked before a connection is let go; a process that
    only takes webhooks asks nobody."""
    before = hub.strangers
    strangers = await _strangers(hub)
    if hub.strangers is not before:
        return  # this process parked one or let one go meanwhile: what was read may be older than that
    hub.strangers = strangers
    # To let one go takes an answer from outside: first those that must stop.
    for name in sorted(before.keys() | strangers.keys(), key=lambda one: one not in strangers):
        connection = hub.connections.get(name)
        if connection is None or before.get(name) == strangers.get(name):
            continue
        if ask or name in strangers:
            await settle(hub, connection)
        else:
            connection.api = inner(connection)
    for kept in strangers.values() if ask else ():
        # Parked between the last look of who resolved it and its end: no connection stands still without an exception.
        await hub.store.commit(_exception(hub, kept))


async def _strangers(hub: Hub) -> dict[str, Misconfigured]:
    rows = await hub.store.fetch(records.ALL, {"kind": _STRANGER})
    return {
        name: _outcomes.decode(hub.keyring.unseal(bytes(box), records.box_of(_STRANGER, name)))
        for name, box, _, _ in rows
    }


async def _verdict(hub: Hub, connection: Connection) -> Transient | Misconfigured | None:
    if not isinstance(inner(connection), Checker):
        return None
    asked = await _ask(connection)
    if not isinstance(asked, Identity):
        return asked
    row = {"connection": connection.name, "identity": encode(asked).decode(), "now": hub.now()}
    await hub.store.commit([(records.PIN, row)])
    return compare(connection.name, await pinned(hub, connection.name), asked)


async def _ask(connection: Connection) -> Identity | Transient | Misconfigured:
    try:
        answered: Identity = await inner(connection).identity()
    except Failure as failure:
        return _in_scope(connection.name, failure.outcome)
    except NotFound as missing:
        return connection_blocked(connection.name, f"sign-in answered: {missing}", "correct the address")
    return answered


def _in_scope(
    name: str, outcome: Transient | RateLimited | Rejected | Misconfigured
) -> Transient | Misconfigured:
    match outcome:
        case RateLimited(reason=reason, retry_at=retry_at):
            return Transient(reason=reason, retry_at=retry_at)
        case Rejected(message=message):
            return connection_blocked(name, message, "mend the sign-in of this connection")
        case _:
            return outcome


async def pinned(hub: Hub, name: str) -> Identity | None:
    """Whom a connection was pinned to, if it ever was."""
    rows = await hub.store.fetch(records.PINNED, {"connection": name})
    return _identities.decode(rows[0][0]) if rows else None


def compare(name: str, pin: Identity | None, answered: Identity) -> Misconfigured | None:
    """Whether who answers is who was pinned. The account decides, and the organisation only where there is no account:
    companies are renamed, accounts are not."""
    if pin is None:
        return None
    same = (
        pin.account == answered.account if pin.account else pin.organisation == answered.organisation
    ) and pin.live == answered.live
    if same:
        return None
    return connection_blocked(
        name,
        f"{_words(answered)} answers, but this connection is pinned to {_words(pin)}; nothing of it is processed",
        f"restore the credentials of {name}, or give the other account a connection of its own",
    )


def _words(identity: Identity) -> str:
    mode = "live" if identity.live else "test"
    named = identity.account or identity.organisation
    return f"{named} ({mode})"


async def _hold(hub: Hub, connection: Connection, outcome: Transient | Misconfigured) -> None:
    """Put the stand-in into place; a parked connection opens one exception."""
    was = connection.api.outcome if isinstance(connection.api, Held) else None
    connection.api = Held(inner(connection), outcome)
    if isinstance(outcome, Transient):
        log.warning("connection_not_known", connection=connection.name, reason=outcome.reason)
        return
    if was == outcome:
        return
    log.error("connection_parked", connection=connection.name, reason=outcome.message)
    if hub.strangers.get(connection.name) == outcome:
        return  # told with its record
    audit = _audit(hub, "connection.parked", connection, outcome.message)
    await hub.store.commit([*_exception(hub, outcome), audit])


def _exception(hub: Hub, parked: Misconfigured) -> list[Step]:
    return exception(
        hub,
        "blocked_connection",
        parked.key,
        parked.message,
        parked.remedy,
        blocker=f"connection|{parked.key}",
    )


async def _let_go(hub: Hub, connection: Connection) -> None:
    """The connection is who it was: give it back. Its exception closes by itself when it holds no document back;
    otherwise a person releases them, canary first."""
    held = connection.api
    connection.api = inner(connection)
    blocker = f"connection|{connection.name}"
    if isinstance(held, Held) and held.parked:
        log.info("connection_released", connection=connection.name)
        await hub.store.commit([_audit(hub, "connection.released", connection, "it answers as pinned again")])
    (count,) = (await hub.store.fetch(lanes.BLOCKED_COUNT, {"blocker": blocker}))[0]
    if count:
        return
    for row in await hub.store.fetch(people.LIST, {}):
        if row[1] == "blocked_connection" and row[3] == blocker:
            gone = {"exception_id": row[0], "now": hub.now(), "resolution": "it answers as pinned again"}
            await hub.store.commit([(people.RESOLVE_BLOCKER, gone)])


def _audit(hub: Hub, action: str, connection: Connection, detail: str) -> Step:
    row = {
        "audit_id": hub.ids.new(),
        "at": hub.now(),
        "actor": "hub",
        "action": action,
        "subject": connection.name,
    }
    return people.AUDIT, {**row, "trace": "", "detail": detail}


async def finding(hub: Hub, connection: Connection) -> Finding:
    """What `check` says of a connection's pin; pins nothing."""
    subject = f"{connection.name} identity"
    if stranger := (await _strangers(hub)).get(connection.name):
        message = f"parked: {stranger.message}"
        return Finding(level="error", subject=subject, message=message, remedy=stranger.remedy)
    ask: Callable[[], Awaitable[Any]] | None = getattr(inner(connection), "identity", None)
    if ask is None:
        return Finding(level="warning", subject=subject, message="this connector cannot say who answers")
    answered = await _ask(connection)
    if not isinstance(answered, Identity):
        text = answered.message if isinstance(answered, Misconfigured) else answered.reason
        remedy = (
            answered.remedy if isinstance(answered, Misconfigured) else "see whether it is up, then try again"
        )
        return Finding(level="error", subject=subject, message=text, remedy=remedy)
    pin = await pinned(hub, connection.name)
    wrong = compare(connection.name, pin, answered)
    if wrong is not None:
        return Finding(level="error", subject=subject, message=wrong.message, remedy=wrong.remedy)
    how = "pinned" if pin is not None else "will be pinned when tieout starts"
    return Finding(level="ok", subject=subject, message=f"{_words(answered)}, {how}")
