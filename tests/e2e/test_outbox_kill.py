"""`kill -9` of `tieout up` while it delivers: everything arrives, in order, and little of it twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
from collections import Counter
from pathlib import Path

from aiohttp import web

from tests.e2e.demo_run import COMMAND, environment
from tests.process.web_world import write_company
from tieout.engine.receivers import new_secret
from tieout.system import SystemChance

EVENTS, KEYS, AT_ONCE, KILLS = 240, 30, 4, 2


def configured(folder: Path, port: int) -> Path:
    path = write_company(folder)
    secret = new_secret(SystemChance().token)
    path.write_text(f"""{path.read_text()}
[[outbox.webhooks]]
name = "hook"
url = "http://127.0.0.1:{port}/in"
secrets = ["{secret}"]
private = true
at_once = {AT_ONCE}
types = ["invoice.posted"]
""")
    return path


def announced(database: Path) -> None:
    """As runs would have committed them."""
    with sqlite3.connect(database) as connection:
        connection.executemany(
            """INSERT INTO outbox (event_id, type, subject, key, at, state, data)
               VALUES (?, 'invoice.posted', 's', ?, 1, 'new', '{}')""",
            [(f"E{number}", f"deal-{number % KEYS}") for number in range(EVENTS)],
        )


async def test_kills_lose_nothing_and_repeat_little(tmp_path: Path) -> None:
    heard: list[dict] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.005)
        heard.append(json.loads(await request.read()))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = configured(tmp_path, runner.addresses[0][1])
    command = [*COMMAND, "--config", str(path), "--log-level", "error"]
    subprocess.run([*command, "migrate"], check=True, env=environment(), stdout=subprocess.DEVNULL)
    announced(tmp_path / "tieout.db")
    try:
        for life in range(KILLS + 1):
            before = len(heard)
            hub = subprocess.Popen([*command, "up"], env=environment(), stdout=subprocess.DEVNULL)
            try:
                async with asyncio.timeout(60):
                    while (
                        (len(heard) < before + 40)
                        if life < KILLS
                        else len({one["id"] for one in heard}) < EVENTS
                    ):
                        assert hub.poll() is None, "the hub ended by itself"
                        await asyncio.sleep(0.005)
            finally:
                hub.send_signal(signal.SIGKILL if life < KILLS else signal.SIGTERM)
                await asyncio.to_thread(hub.wait, 30)
    finally:
        await runner.cleanup()
    times = Counter(one["id"] for one in heard)
    assert len(times) == EVENTS
    assert sum(count - 1 for count in times.values()) <= KILLS * AT_ONCE
    first: dict[str, list[int]] = {}
    for event_id in dict.fromkeys(one["id"] for one in heard):
        number = int(event_id[1:])
        first.setdefault(f"deal-{number % KEYS}", []).append(number)
    assert all(numbers == sorted(numbers) for numbers in first.values())


async def test_the_command_line_sends_shows_and_says_what_is_wrong(tmp_path: Path) -> None:
    heard: list[dict] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        heard.append(json.loads(await request.read()))
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    path = configured(tmp_path, runner.addresses[0][1])

    async def call(*arguments: str) -> tuple[int, str, str]:
        command = [*COMMAND, "--config", str(path), *arguments]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*command, env=environment(), stdout=pipe, stderr=pipe)
        async with asyncio.timeout(60):
            out, error = await process.communicate()
        return process.returncode or 0, out.decode(), error.decode()

    try:
        assert (await call("migrate"))[0] == 0
        announced(tmp_path / "tieout.db")
        code, out, _ = await call("outbox", "test", "hook", "--json")
        assert (code, json.loads(out)["taken"]) == (0, True)
        assert [one["type"] for one in heard] == ["io.tieout.test.v1"]
        assert (await call("outbox", "test", "nobody"))[0] == 2
        code, out, _ = await call("outbox", "receivers", "--json")
        assert [(one["receiver"], one["state"]) for one in json.loads(out)] == [("hook", "on")]
        path.write_text(
            path.read_text().replace("private = true\n", "").replace("http://127.0.0.1", "https://localhost")
        )
        code, _, said = await call("outbox", "test", "hook")
        assert code == 1
        assert "private = true allows it" in said
        code, out, _ = await call("check", "--json")
        (found,) = [one for one in json.loads(out)["findings"] if one["subject"] == "outbox hook"]
        assert found["level"] == "error"
        assert "127.0.0.1" in found["message"] or "::1" in found["message"]
        assert "private = true" in found["remedy"]
        path.write_text(path.read_text().replace("whsec_", "hush_"))
        code, _, said = await call("outbox", "list")
        assert (code, "tieout outbox secret" in said, "hush_" in said) == (2, True, False)
    finally:
        await runner.cleanup()
    assert len(heard) == 1
