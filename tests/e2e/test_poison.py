"""An event that takes its worker's process along: set aside after the third death, and the worker goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.demo_run import environment
from tests.e2e.poison_child import POISON
from tests.process.web_world import write_company
from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.change import ChangeEvent
from tieout.canonical.ids import Ref
from tieout.engine.inbox import accept
from tieout.store import people
from tieout.store.statements import Statement

INNOCENTS = 12
LIVES = 8


async def _opened(settings: Path) -> App:
    return await compose(read_settings(settings), system_ports())


async def _take_in(settings: Path) -> None:
    app = await _opened(settings)
    for number in range(INNOCENTS + 1):
        id_ = POISON if number == INNOCENTS // 2 else f"in_{number:02}"
        event = ChangeEvent(
            id=f"evt_{number}",
            source="billing-us",
            type="invoice.finalized",
            subject=Ref(connection="billing-us", kind="invoice", id=id_),
            time=app.hub.clock.now(),
        )
        await accept(app.hub, (event,))
    await app.close()


def _live(settings: Path, how: str) -> int:
    """One life of the worker, to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.poison_child", str(settings), how],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert "ready" in done.stdout, done.stderr[-3000:]
    return done.returncode


async def _rows(settings: Path, sql: str) -> list[tuple[object, ...]]:
    app = await _opened(settings)
    try:
        return await app.hub.store.fetch(Statement("test", sql, returns=True), {})
    finally:
        await app.close()


@pytest.mark.parametrize(("how", "deaths"), [("kill", 3), ("segfault", 3), ("memory", 0), ("exit", 0)])
async def test_a_poison_event_is_parked_and_the_worker_goes_on(how: str, deaths: int, tmp_path: Path) -> None:
    settings = write_company(tmp_path)
    await _take_in(settings)
    ends = []
    for _ in range(LIVES):
        ends.append(_live(settings, how))
        if ends[-1] == 0:
            break
    assert ends[-1] == 0, ends
    assert len(ends) - 1 == deaths
    parked = await _rows(settings, "SELECT subject_id FROM lanes WHERE state = 'parked'")
    assert parked == [(POISON,)]
    done = await _rows(settings, "SELECT COUNT(*) FROM lanes WHERE state = 'idle' AND crashes = 0")
    assert done == [(INNOCENTS,)]
    app = await _opened(settings)
    names = people.COLUMNS.split(", ")
    opened = [dict(zip(names, row, strict=True)) for row in await app.hub.store.fetch(people.LIST, {})]
    await app.close()
    (found,) = [one for one in opened if one["document"] == f"billing-us|invoice|{POISON}"]
    assert not [one for one in opened if one["lane_id"] != found["lane_id"] and one["lane_id"]]
    if deaths:
        assert found["code"] == "crashed"
        assert "3 workers in a row" in found["cause"]
        assert found["detail"]
    else:
        assert found["code"] == "bug"
        assert "poison_child" in found["detail"]
