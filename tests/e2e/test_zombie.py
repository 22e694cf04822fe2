"""A worker that stands still past its lease and then goes on: its commits are refused, and outside stands one document.

Two in one case only: the ERP takes a second document under one key, and the worker stood between the check of its lease
and the first byte, until it was proved that nothing had been made. The next sweep opens the exception.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.demo_run import environment
from tests.e2e.machines import ROOT, configured, feed, opened, report, rows, stub
from tests.e2e.machines import command as tieout
from tieout.app import App
from tieout.engine import duplicates
from tieout_lab.bench.hub import bind_customers
from tieout_lab.environments import ends_with_us

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who stands still: Linux")
PATIENCE_SECONDS = 120
# The ERP takes its time over this one, so that a call to it can be caught under way; and not over that one.
SLOW, QUICK = 0, 1


def _started(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(
            [*ends_with_us(), *arguments], stdout=out, stderr=out, env=environment(), cwd=ROOT
        )


async def _until(what: Any, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await what():
            assert process is None or process.poll() is None, "it ended by itself"
            await asyncio.sleep(0.02)


def _stands_still(process: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def _kept(app: App) -> list[Any]:
    """All that a run of the stopped worker could have written."""
    return [
        await rows(app, "SELECT * FROM effects ORDER BY effect_key"),
        await rows(app, "SELECT * FROM documents ORDER BY effect_key"),
        await rows(app, "SELECT run_id, outcome FROM runs ORDER BY run_id"),
        await rows(app, "SELECT lane_id, state, fence, attempts FROM lanes"),
        await rows(app, "SELECT assign_key, revision, state FROM assigns ORDER BY assign_key"),
    ]


async def _stopped(victim: subprocess.Popen[bytes], where: str, port: int) -> None:
    """Until the victim stands still at its place."""
    if where == "mid_send":

        async def received() -> bool:
            return bool((await asyncio.to_thread(report, port))["calls"].get("document.post"))

        await _until(received, victim)
        victim.send_signal(signal.SIGSTOP)

    async def still() -> bool:
        return _stands_still(victim)

    await _until(still, victim)


@pytest.mark.parametrize(
    ("where", "enforce", "documents"),
    [
        ("before_check", False, 1),
        pytest.param("mid_send", False, 1, marks=pytest.mark.soak),
        ("after_check", False, 2),
        pytest.param("before_check", True, 1, marks=pytest.mark.soak),
        pytest.param("mid_send", True, 1, marks=pytest.mark.soak),
        pytest.param("after_check", True, 1, marks=pytest.mark.soak),
    ],
)
async def test_a_worker_that_stood_still_past_its_lease(
    where: str, enforce: bool, documents: int, empty_postgres_url: str, tmp_path: Path
) -> None:
    url, number = empty_postgres_url, SLOW if where == "mid_send" else QUICK
    log = tmp_path / "victim.log"
    started: list[subprocess.Popen[bytes]] = []
    with stub(enforce=enforce) as port:
        settings = configured(tmp_path, port, enforce=enforce)
        try:
            async with opened(settings, url) as app:
                await bind_customers(app)
                child = [sys.executable, "-m", "tests.e2e.stopping_child", str(settings), url, where]
                victim = _started(child, log)
                started.append(victim)

                async def ready() -> bool:
                    return "ready" in log.read_text()

                await _until(ready, victim)
                await feed(app, number, 1)
                await _stopped(victim, where, port)
                assert await rows(app, "SELECT state, attempt FROM effects") == [("SENT", 1)]
                taker = _started(tieout(settings, url, "work"), tmp_path / "taker.log")
                started.append(taker)

                async def ended() -> bool:
                    return await app.lanes() == {"idle": 1}

                await _until(ended, taker)
                kept = await _kept(app)
                assert _stands_still(victim)
                victim.send_signal(signal.SIGCONT)
                assert await asyncio.to_thread(victim.wait, PATIENCE_SECONDS) == 0
                # Refused: by the fence, or it saw that it is nobody any more.
                assert any(word in log.read_text() for word in ("fenced_out", "lease_lost"))
                assert await _kept(app) == kept
                found = await asyncio.to_thread(report, port)
                assert len(found["documents"][f"in_{number:08d}"]) == documents
                await _sweep_finds(app, documents - 1)
                await _sweep_finds(app, documents - 1)
        finally:
            for process in started:
                process.kill()
                process.wait()


async def _sweep_finds(app: App, doubles: int) -> None:
    """One sweep, as housekeeping makes it: as many exceptions, however often."""
    assert await duplicates.sweep(app.hub) == doubles
    opened_ = await app.exceptions()
    assert [one["code"] for one in opened_] == ["duplicate"] * doubles
    for one in opened_:
        assert one["document"] == f"stripe-us|invoice|in_{QUICK:08d}"
        assert "exists more than once at netsuite-main" in one["cause"]
