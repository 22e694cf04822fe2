"""Approved actions: what they list, and what they do once approved. The listed payload is executed, nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date
from typing import Any

import msgspec

from tieout.canonical.ids import parse_ref
from tieout.canonical.invoice import CreditMemo, Invoice
from tieout.canonical.model import Value, encode
from tieout.canonical.outcome import Failure, NotFound
from tieout.canonical.payment import Payment, Refund
from tieout.canonical.settlement import Dispute, Payout
from tieout.connectors.contract import Reader
from tieout.engine.hub import Hub
from tieout.engine.keys import content_hash
from tieout.store import documents, lanes, people, records
from tieout.store.statements import Step

_TYPES: dict[str, type[Any]] = {
    "invoice": Invoice,
    "credit_memo": CreditMemo,
    "payment": Payment,
    "refund": Refund,
    "payout": Payout,
    "dispute": Dispute,
}


class Release(Value, frozen=True):
    """A document's approved posting period (`YYYY-MM`), in place of the one that held it back (`held`: entity|YYYY-MM).
    A later document of the same lane, with a day in another period, is not meant."""

    period: str
    approval_id: str
    held: str = ""


async def ask_release(hub: Hub, found: Mapping[str, Any], period: str, actor: str) -> dict[str, Any]:
    """Ask to post the documents that a closed period holds back into another period: lists them and their sum.
    ValueError when `period` is no YYYY-MM."""
    date.fromisoformat(f"{period}-01")
    held = await hub.store.fetch(lanes.BLOCKED_BY, {"blocker": found["blocker"], "limit": 10_000})
    listed: list[dict[str, Any]] = []
    sums: dict[str, int] = {}
    # Side by side, as far as the connection's budget lets them: a closed period may hold back ten thousand.
    amounts = await asyncio.gather(*(_amount(hub, lane_id) for (lane_id,) in held))
    for (lane_id,), (amount, currency, number) in zip(held, amounts, strict=True):
        listed.append({"lane": lane_id, "number": number, "amount_minor": amount, "currency": currency})
        sums[currency] = sums.get(currency, 0) + amount
    payload = {"period": period, "blocker": found["blocker"], "documents": listed, "sum_minor": sums}
    total = ", ".join(f"{amount} {currency} (minor units)" for currency, amount in sorted(sums.items()))
    summary = f"post {len(listed)} documents held by {found['document']}, {total}, into period {period}"
    return await _ask(hub, "release_period", payload, summary, found["exception_id"], actor)


async def _amount(hub: Hub, lane_id: str) -> tuple[int, str, str]:
    ref = parse_ref(lane_id)
    api, kind = hub.connection(ref.connection).api, _TYPES.get(ref.kind)
    if kind is None or not isinstance(api, Reader):
        return 0, "", ""
    try:
        document = await api.fetch(kind, ref.id, lane_id)
    except (Failure, NotFound):
        return 0, "", "unreadable now"
    amount = document.total_minor if isinstance(document, Invoice | CreditMemo) else document.amount_minor
    return amount, document.currency, getattr(document, "number", "")


async def ask_acceptance(hub: Hub, found: Mapping[str, Any], reason: str, actor: str) -> dict[str, Any]:
    """Ask to accept a document that stands with a difference, or what was made good by hand (`fact`)."""
    payload = {
        "effect_key": found["effect_key"],
        "fact": "" if found["effect_key"] else found["detail"],
        "lane": found["lane_id"],
        "difference": found["cause"],
        "reason": reason,
    }
    return await _ask(
        hub, "accept_difference", payload, f"accept: {found['cause']}", found["exception_id"], actor
    )


async def ask_repost(hub: Hub, lane_id: str, reason: str, actor: str) -> dict[str, Any]:
    """Ask to make a document's effects again under a new generation (its documents outside are gone)."""
    summary = f"make the documents of {lane_id} again, under a new generation: {reason}"
    return await _ask(hub, "repost", {"lane": lane_id, "reason": reason}, summary, "", actor)


async def _ask(
    hub: Hub, action: str, payload: Mapping[str, Any], summary: str, exception_id: str, actor: str
) -> dict[str, Any]:
    text = encode(payload).decode()
    row = {
        "approval_id": hub.ids.new(),
        "action": action,
        "payload": text,
        "payload_hash": content_hash(text.encode()),
        "summary": summary,
        "maker": actor,
        "exception_id": exception_id,
        "now": hub.now(),
    }
    await hub.store.commit([(people.ASK, row)])
    return {"approval_id": row["approval_id"], "action": action, "summary": summary, **payload}


async def execution(hub: Hub, asked: Mapping[str, Any], actor: str) -> list[Step]:
    """The steps that carry out an approved action, in the commit that approves it."""
    payload = msgspec.json.decode(asked["payload"])
    now = hub.now()
    steps: list[Step] = []
    match asked["action"]:
        case "release_period":
            for document in payload["documents"]:
                lane_id = document["lane"]
                held = await _held(hub, lane_id, payload["blocker"].partition("|")[2])
                release = Release(period=payload["period"], approval_id=asked["approval_id"], held=held)
                box = hub.keyring.seal(encode(release), f"records|release|{lane_id}")
                row = {"kind": "release", "key": lane_id, "body": box, "now": now, "trace": ""}
                steps += [(records.SAVE, row), (lanes.RELEASE, {"lane_id": lane_id, "now": now})]
        case "accept_difference":
            steps += [
                _by_hand(hub, payload["lane"], payload["fact"])
                if payload.get("fact")
                else (documents.ACCEPT_DIFFERENCE, {"effect_key": payload["effect_key"]}),
                (lanes.RELEASE, {"lane_id": payload["lane"], "now": now}),
            ]
        case "repost":
            steps += [
                (lanes.REPOST, {"lane_id": payload["lane"]}),
                (lanes.RELEASE, {"lane_id": payload["lane"], "now": now}),
            ]
        case unknown:
            raise ValueError(f"unknown approved action {unknown!r}")
    if asked["exception_id"]:
        gone = {
            "exception_id": asked["exception_id"],
            "now": now,
            "resolution": f"{asked['summary']}; approved by {actor}",
        }
        steps.append((people.RESOLVE_BLOCKER, gone))
    return steps


def _by_hand(hub: Hub, lane_id: str, fact: str) -> Step:
    box = hub.keyring.seal(encode(fact), f"records|by_hand|{lane_id}")
    return records.SAVE, {"kind": "by_hand", "key": lane_id, "body": box, "now": hub.now(), "trace": ""}


async def _held(hub: Hub, lane_id: str, blocked: str) -> str:
    """Which period held the document back at first: one that was released before, into a period that closed meanwhile,
    is blocked under that target, and it is its own period that the new release is for."""
    rows = await hub.store.fetch(records.LOAD, {"kind": "release", "key": lane_id})
    if not rows:
        return blocked
    box = hub.keyring.unseal(bytes(rows[0][0]), f"records|release|{lane_id}")
    before = msgspec.json.decode(box, type=Release)
    return before.held if blocked.endswith(f"|{before.period}") else blocked
