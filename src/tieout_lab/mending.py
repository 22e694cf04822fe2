"""What people do about the two planned exceptions: finance writes the rules, the controller approves a release."""

from __future__ import annotations

from typing import Any

from tieout.app import App
from tieout_lab.scenario import Player, Steering

ACTOR = "controller@tieout-demo.example"
# The period after the one that was closed early.
TARGET = "2026-05"


class NotMended(Exception):
    """An exception could not be resolved; the message is the hub's."""


async def mend(app: App, steering: Steering, player: Player) -> None:
    """Resolve both. The rules must have been written and read before. Raises NotMended."""
    await steering.post_form(
        "stripe", "/v1/products", {"id": "prod_GHOST", "name": "Ghost module"}, key="acct_us"
    )
    for exception in await app.exceptions():
        if exception["code"] == "preflight":
            await _command(app, "exceptions.resolve", {"exception_id": exception["exception_id"]})
    # What the deal leads to falls into the closed period, too: the release lists both documents.
    await player.quiet()
    for exception in await app.exceptions():
        if exception["blocker"].startswith("period|"):
            asked = await _command(
                app, "exceptions.resolve", {"exception_id": exception["exception_id"], "period": TARGET}
            )
            player.released = frozenset(
                document["lane"].rpartition("|")[2] for document in asked["documents"]
            )
            verdict = {"approval_id": asked["approval_id"], "approve": True, "reason": "late deal"}
            await _command(app, "approvals.decide", verdict)
    await player.quiet()


async def _command(app: App, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    state, result = await app.execute(name, arguments, ACTOR)
    if state != "done":
        raise NotMended(f"{name}: {result.get('error', result)}")
    return result
