"""What people ask the hub to do. Other processes insert a command row; a worker executes it, as an actor, audited."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import msgspec
import structlog

from tieout.canonical.ids import parse_ref
from tieout.canonical.model import encode
from tieout.canonical.outcome import Failure, Found
from tieout.canonical.write import decode_write
from tieout.connectors.contract import Keys, Writer
from tieout.engine import delivering, invariants, pinning, redelivering, releasing, usage
from tieout.engine.hub import Hub
from tieout.engine.keys import content_hash, lane_of, wire_key
from tieout.engine.lane import Replay, key_name
from tieout.engine.ledger import effect_of
from tieout.engine.moments import micros
from tieout.engine.sending import box_of
from tieout.store import documents, effects, lanes, people
from tieout.store.statements import Refused, Step, StoreUnavailable

log = structlog.get_logger("tieout.commands")
Command: TypeAlias = Callable[[Hub, Mapping[str, Any], str], Awaitable[dict[str, Any]]]
# Real seconds that a re-test of a cause may take before the answer is "still running".
_PATIENCE = 60
_RESOLVED = "resolved"


class CommandRefused(Exception):
    """The command cannot be done; the message says why and what to do."""


async def ask(hub: Hub, name: str, arguments: Mapping[str, Any], actor: str) -> str:
    """Put a command into the queue; answers its id."""
    command_id = hub.ids.new()
    row = {
        "command_id": command_id,
        "name": name,
        "arguments": encode(dict(arguments)).decode(),
        "actor": actor,
    }
    await hub.store.commit([(people.COMMAND, {**row, "now": hub.now()})])
    return command_id


async def execute_waiting(hub: Hub) -> int:
    """Execute the commands that wait; answers how many."""
    rows = await hub.store.fetch(people.COMMANDS, {})
    for command_id, name, arguments, actor in rows:
        try:
            await hub.store.commit([(people.COMMAND_CLAIM, {"command_id": command_id})])
        except Refused:
            continue  # another worker was quicker
        state, result = await execute(hub, name, msgspec.json.decode(arguments), actor)
        done = {"command_id": command_id, "state": state, "result": encode(result).decode(), "now": hub.now()}
        await hub.store.commit([(people.COMMAND_DONE, done)])
    return len(rows)


async def execute(
    hub: Hub, name: str, arguments: Mapping[str, Any], actor: str
) -> tuple[str, dict[str, Any]]:
    """Execute one command; a refusal is an answer, not an error."""
    command = COMMANDS.get(name)
    if command is None:
        return "failed", {"error": f"no command {name!r}; known: {', '.join(sorted(COMMANDS))}"}
    try:
        return "done", await command(hub, arguments, actor)
    except CommandRefused as refused:
        return "failed", {"error": str(refused)}
    except StoreUnavailable:
        raise
    except Exception as bug:
        # One command that fails must not hold up the others behind it.
        log.exception("command_failed", command=name)
        return "failed", {"error": f"{type(bug).__name__}: {bug}"}


def _audit(hub: Hub, actor: str, action: str, subject: str, detail: str, trace: str = "") -> Step:
    row = {"audit_id": hub.ids.new(), "at": hub.now(), "actor": actor, "action": action, "subject": subject}
    return people.AUDIT, {**row, "trace": trace, "detail": detail}


async def _exception(hub: Hub, arguments: Mapping[str, Any]) -> dict[str, Any]:
    wanted = str(arguments["exception_id"])
    rows = await hub.store.fetch(people.BY_ID, {"exception_id": wanted})
    if not rows:
        raise CommandRefused(f"no exception {wanted}; see `tieout exceptions list`")
    found = dict(zip(people.COLUMNS.split(", "), rows[0], strict=True))
    if found["state"] == _RESOLVED:
        raise CommandRefused(f"exception {wanted} is resolved already: {found['resolution']}")
    return found


async def _lane_ended(hub: Hub, lane_id: str) -> tuple[str, str]:
    """Wait until the lane's run has ended; answers (state, blocker)."""
    patience = hub.clock.monotonic() + _PATIENCE
    while hub.clock.monotonic() < patience:
        rows = await hub.store.fetch(lanes.BY_ID, {"lane_id": lane_id})
        if not rows:
            raise CommandRefused(f"no lane {lane_id}")
        state, attempts, blocker = rows[0][4], rows[0][6], rows[0][7]
        if state in ("idle", "parked", "waiting") or (state == "ready" and attempts > 0):
            return state, blocker
        await hub.clock.sleep_real(0.05)
    raise CommandRefused("the cause is still being tested; look again with `tieout exceptions show`")


async def retry(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Run the parked document again; a blocker's documents after one canary."""
    found = await _exception(hub, arguments)
    audit = _audit(hub, actor, "exception.retry", found["exception_id"], found["cause"][:200], found["trace"])
    if found["blocker"]:
        await hub.store.commit([audit])
        return await _release_blocker(hub, found, actor)
    released = (lanes.RELEASE, {"lane_id": found["lane_id"], "now": hub.now()})
    await hub.store.commit([audit, (documents.UNVERIFY, {"lane_id": found["lane_id"]}), released])
    return {"released": [found["lane_id"]]}


async def _release_blocker(hub: Hub, found: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """One canary first; the rest only when it did not meet the same wall."""
    blocker = found["blocker"]
    if blocker.startswith("period|"):
        raise CommandRefused(
            "documents held by a period are released only by an approved action: "
            f"`tieout exceptions resolve {found['exception_id']} --period YYYY-MM` lists them and asks for the approval"
        )
    for retest in (pinning.retest, invariants.retest, delivering.retest):
        if still := await retest(hub, blocker):
            raise CommandRefused(f"not mended: {still}")
    canary = await hub.store.fetch(lanes.BLOCKED_BY, {"blocker": blocker, "limit": 1})
    if canary:
        lane_id = canary[0][0]
        await hub.store.commit([(lanes.RELEASE, {"lane_id": lane_id, "now": hub.now()})])
        _, blocked_by = await _lane_ended(hub, lane_id)
        if blocked_by == blocker:
            raise CommandRefused(f"{lane_id} was tried first and met the same: {found['cause']}")
    rest = await hub.store.fetch(lanes.BLOCKED_BY, {"blocker": blocker, "limit": 100_000})
    now = hub.now()
    steps: list[Step] = [(lanes.RELEASE_BLOCKED, {"blocker": blocker, "now": now})]
    gone = {
        "exception_id": found["exception_id"],
        "now": now,
        "resolution": f"released by {actor} after a canary",
    }
    await hub.store.commit([*steps, (people.RESOLVE_BLOCKER, gone)])
    return {"canary": [row[0] for row in canary], "released": [row[0] for row in rest]}


async def resolve(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Test the cause again; succeeds only if it is gone. With `period` or `accept` asks for the approval it takes."""
    found = await _exception(hub, arguments)
    if arguments.get("period"):
        try:
            return await releasing.ask_release(hub, found, str(arguments["period"]), actor)
        except ValueError as error:
            raise CommandRefused(
                f"--period takes a month such as 2026-05, not {arguments['period']!r}"
            ) from error
    if arguments.get("accept"):
        return await releasing.ask_acceptance(hub, found, str(arguments.get("reason", "")), actor)
    if found["code"] == "duplicate":
        await _one_left(hub, found)
        gone = {
            "exception_id": found["exception_id"],
            "now": hub.now(),
            "resolution": f"one document left, seen by {actor}",
        }
        audit = _audit(
            hub, actor, "exception.resolved", found["exception_id"], "one document left", found["trace"]
        )
        released = (lanes.RELEASE, {"lane_id": found["lane_id"], "now": hub.now()})
        await hub.store.commit([(people.RESOLVE, gone), audit, released])
        return {"state": "resolved"}
    await retry(hub, arguments, actor)
    if found["blocker"]:
        return {"state": "resolved"}
    state, _ = await _lane_ended(hub, found["lane_id"])
    again = await hub.store.fetch(people.BY_ID, {"exception_id": found["exception_id"]})
    if again and again[0][11] == _RESOLVED:
        return {"state": "resolved", "lane": state}
    still = await hub.store.fetch(people.OF_LANE, {"lane_id": found["lane_id"]})
    raise CommandRefused(f"not mended: {still[0][9] if still else found['cause']}")


async def _one_left(hub: Hub, found: Mapping[str, Any]) -> None:
    """A duplicate is resolved when one document is left under the key."""
    rows = await hub.store.fetch(effects.BY_KEY, {"effect_key": found["effect_key"]})
    row = effect_of(rows[0])
    api = hub.connection(row.connection).api
    if not isinstance(api, Writer):
        raise CommandRefused(f"{row.connection} cannot be asked")
    key = key_name(row.lane_id, parse_ref(row.lane_id).kind)
    await hub.open_key(key)
    write = decode_write(hub.keyring.unseal(bytes(row.request), box_of(row), key))
    keys = Keys(effect=row.effect_key, document=row.document_key, wire=wire_key(row.effect_key, row.epoch))
    answer = await api.find(row.operation, write, keys, hub.clock.now())
    if not isinstance(answer, Found):
        raise CommandRefused(f"no document under key {row.document_key} could be found there: {answer}")
    if answer.others:
        raise CommandRefused(
            f"not mended: still there: {', '.join((answer.receipt.external_id, *answer.others))}"
        )


async def defer(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Put an exception off until a day, with a reason; it stays in the books and reopens."""
    found = await _exception(hub, arguments)
    reason = str(arguments.get("reason", "")).strip()
    if not reason:
        raise CommandRefused("a deferral needs a reason: --reason")
    try:
        until = datetime.fromisoformat(str(arguments["until"]))
    except (KeyError, ValueError) as error:
        raise CommandRefused("--until takes a date such as 2026-12-31") from error
    until = until if until.tzinfo else until.replace(tzinfo=hub.clock.now().tzinfo)
    if until <= hub.clock.now():
        raise CommandRefused(f"--until {until.date()} is in the past")
    put_off = {
        "exception_id": found["exception_id"],
        "until": micros(until),
        "reason": reason,
        "owner": actor,
    }
    await hub.store.commit(
        [(people.DEFER, put_off), _audit(hub, actor, "exception.defer", found["exception_id"], reason)]
    )
    return {"deferred_until": until.isoformat()}


async def decide(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Approve or reject what somebody asked for; what is approved is executed, exactly as it was listed."""
    rows = await hub.store.fetch(people.APPROVAL, {"approval_id": str(arguments["approval_id"])})
    if not rows:
        raise CommandRefused(f"no approval {arguments['approval_id']}; see `tieout approvals list`")
    asked = dict(zip(people.APPROVAL_COLUMNS.split(", "), rows[0], strict=True))
    if asked["state"] != "waiting":
        raise CommandRefused(f"approval {asked['approval_id']} is {asked['state']} already")
    if asked["maker"] == actor and not hub.single_operator:
        raise CommandRefused("who asked for it cannot approve it: another actor must")
    if content_hash(asked["payload"].encode()) != asked["payload_hash"]:
        raise CommandRefused("the payload was altered after it was asked for; ask anew")
    verdict = "approved" if arguments.get("approve") else "rejected"
    mark = "single operator, no segregation" if hub.single_operator else ""
    decided = {
        "approval_id": asked["approval_id"],
        "state": verdict,
        "checker": actor,
        "now": hub.now(),
        "reason": str(arguments.get("reason", "")),
        "payload_hash": asked["payload_hash"],
    }
    steps: list[Step] = [
        (people.DECIDE, decided),
        _audit(hub, actor, f"approval.{verdict}", asked["approval_id"], f"{asked['summary']} {mark}".strip()),
    ]
    if verdict == "approved":
        steps += await releasing.execution(hub, asked, actor)
    try:
        await hub.store.commit(steps)
    except Refused as refused:
        raise CommandRefused("it was decided by somebody else meanwhile") from refused
    return {"state": verdict, "summary": asked["summary"]}


async def replay(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Run a document again, as a linked attempt with actor and reason. `repost` takes an approval."""
    try:
        ref = parse_ref(str(arguments["subject"]))
    except ValueError as error:
        raise CommandRefused(f"{error}; give connection|kind|id, as `tieout trace` shows it") from error
    lane_id = lane_of(ref)
    if not await hub.store.fetch(lanes.BY_ID, {"lane_id": lane_id}):
        raise CommandRefused(f"the hub knows nothing of {ref}")
    reason = str(arguments.get("reason", "")).strip()
    if not reason:
        raise CommandRefused("a replay needs a reason: --reason")
    if arguments.get("repost"):
        return await releasing.ask_repost(hub, lane_id, reason, actor)
    begin = str(arguments.get("from") or "start")
    if begin not in ("start", "failed"):
        raise CommandRefused(f"a replay begins at the start or at the failed effect, not {begin!r}")
    rules = hub.masterdata.versions()
    asked = Replay(actor=actor, reason=reason, resumes=begin == "failed", rules=rules)
    start = {
        "lane_id": lane_id,
        "connection": ref.connection,
        "kind": ref.kind,
        "subject_id": ref.id,
        "now": hub.now(),
    }
    await hub.store.commit(
        [
            (lanes.REPLAY, {"lane_id": lane_id, "replay": encode(asked).decode()}),
            (lanes.RELEASE, {"lane_id": lane_id, "now": hub.now()}),
            (lanes.START, start),
            _audit(hub, actor, "replay", lane_id, str(asked)),
        ]
    )
    state, _ = await _lane_ended(hub, lane_id)
    return {"lane": lane_id, "state": state}


async def _replay_outbox(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    try:
        asked = msgspec.convert(arguments, redelivering.Range)
        audit = _audit(hub, actor, "outbox.replay", asked.receiver, encode(asked).decode()[:500])
        return {"queued": await redelivering.replay(hub, asked, audit)}
    except (msgspec.ValidationError, ValueError) as error:
        raise CommandRefused(str(error)) from error


async def _enable_receiver(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    name = str(arguments["receiver"])
    try:
        waiting = await redelivering.enable(hub, name, _audit(hub, actor, "outbox.enable", name, ""))
    except ValueError as error:
        raise CommandRefused(str(error)) from error
    return {"receiver": name, "pending": waiting}


async def _report_usage(hub: Hub, arguments: Mapping[str, Any], actor: str) -> dict[str, Any]:
    """Take rows of usage, all or none; each is reported by a run of its own."""
    name = str(arguments["connection"])
    try:
        rows = usage.rows_of(arguments["rows"])
        audit = _audit(
            hub, actor, "usage.report", name, f"{len(rows)} rows of {arguments.get('file', '')}"[:500]
        )
        return dict(await usage.accept(hub, name, rows, audit))
    except (msgspec.ValidationError, usage.Unfit) as error:
        raise CommandRefused(str(error)) from error
    except Failure as failure:
        remedy = "nothing was taken in: report the file again once it answers"
        raise CommandRefused(f"{name} was asked about the rows: {failure}; {remedy}") from failure


COMMANDS: dict[str, Command] = {
    "exceptions.retry": retry,
    "exceptions.resolve": resolve,
    "exceptions.defer": defer,
    "approvals.decide": decide,
    "replay": replay,
    "usage.report": _report_usage,
    "outbox.replay": _replay_outbox,
    "outbox.enable": _enable_receiver,
}
