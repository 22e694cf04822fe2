"""Asking for a command and waiting for what came of it, from whatever process somebody sits at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tieout.canonical.model import Value
from tieout.engine.commands import ask
from tieout.engine.hub import Hub
from tieout.store import lanes, people

SINGLE_OPERATOR = "single operator, no segregation"
# Real seconds; a re-test of a cause takes up to a minute.
PATIENCE_SECONDS = 90
_LOOK_SECONDS = 0.1


class Answer(Value, frozen=True):
    """`state` is `done`, `failed` (refused: `result["error"]` says why) or `waiting` (nobody executed it yet).
    `mode` is said where one person may both ask and approve."""

    command_id: str
    state: str
    result: dict[str, Any]
    mode: str = ""

    @property
    def refused(self) -> bool:
        """Whether it was not done."""
        return self.state != "done"


async def worker_alive(hub: Hub) -> bool:
    """Whether any process would execute a command now."""
    return bool(await hub.store.fetch(lanes.ALIVE, {"real_now": hub.real_now()}))


async def ask_and_wait(
    hub: Hub, name: str, arguments: Mapping[str, Any], actor: str, patience_seconds: int = PATIENCE_SECONDS
) -> Answer:
    """Ask, and wait for the worker's answer."""
    command_id = await ask(hub, name, arguments, actor)
    mode = SINGLE_OPERATOR if hub.single_operator else ""
    until = hub.clock.monotonic() + patience_seconds
    while True:
        rows = await hub.store.fetch(people.COMMAND_RESULT, {"command_id": command_id})
        if rows and rows[0][0] != "waiting":
            result = msgspec.json.decode(rows[0][1], type=dict[str, Any])
            return Answer(command_id=command_id, state=rows[0][0], result=result, mode=mode)
        if hub.clock.monotonic() >= until:
            error = "no worker has executed it yet; `tieout events` shows whether one is alive"
            return Answer(command_id=command_id, state="waiting", result={"error": error}, mode=mode)
        await hub.clock.sleep_real(_LOOK_SECONDS)
