"""A real NATS JetStream before the inbox: what was acknowledged comes into the inbox, once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.process.web_world import Served, event, served, serving, signature, write_company
from tests.store.test_lost_connection import Line
from tieout.app import compose, read_settings, system_ports
from tieout.settings import ConfigurationError
from tieout.store.statements import StoreUnavailable
from tieout.store.upgrading import upgrade

nats = pytest.importorskip("nats", reason="NATS client: not installed (tieout[nats])")
SERVER = shutil.which("nats-server")
pytestmark = pytest.mark.skipif(
    SERVER is None and os.environ.get("TIEOUT_REQUIRE_NATS") != "1",
    reason="NATS: no nats-server on this machine",
)


def _ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


class Broker:
    """One nats-server of our own, or three that form a cluster."""

    def __init__(self, folder: Path, servers: int) -> None:
        self.folder = folder
        found = _ports(2 * servers)
        self.ports, routes = found[:servers], found[servers:]
        self.routes = routes if servers > 1 else []
        self.processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.ports[0]}"

    def start(self, *which: int) -> None:
        for number in which or range(len(self.ports)):
            command = [
                str(SERVER),
                "-a",
                "127.0.0.1",
                "-p",
                str(self.ports[number]),
                "-js",
                "-n",
                f"n{number}",
            ]
            command += ["-sd", str(self.folder / f"n{number}"), "-l", str(self.folder / f"n{number}.log")]
            if self.routes:
                others = ",".join(f"nats-route://127.0.0.1:{port}" for port in self.routes)
                command += ["--cluster_name", "test", "--cluster", f"nats://127.0.0.1:{self.routes[number]}"]
                command += ["--routes", others]
            self.processes.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

    def stop(self, how: int = signal.SIGTERM) -> None:
        processes, self.processes = self.processes, []
        for process in processes:
            process.send_signal(how)
        for process in processes:
            process.wait(10)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    single = Broker(tmp_path / "nats", 1)
    single.folder.mkdir()
    single.start()
    yield single
    single.stop()


def _company(folder: Path, url: str, *, unsafe: bool = True, **more: Any) -> Path:
    settings = write_company(folder)
    said = f'[buffer]\nurl = "{url}"\nunsafe_single_copy = {str(unsafe).lower()}\n'
    said += "".join(f"{name} = {value!r}\n".replace("'", '"') for name, value in more.items())
    if unsafe:
        said += "copies = 1\n"
    settings.write_text(settings.read_text().replace("[web]\n", f"{said}\n[web]\n"))
    return settings


async def _checked(settings: Path, database: str | None = None) -> Any:
    app = await compose(read_settings(settings), system_ports(), database=database, migrate=database is None)
    for _ in range(100):
        try:
            await app.check_buffer()
        except ConfigurationError as error:
            if "replicas" in str(error) or "is the server up" not in str(error):
                await app.close()
                raise
            await asyncio.sleep(0.2)
        else:
            return app
    await app.close()
    raise AssertionError("the broker does not come up")


@asynccontextmanager
async def buffered(settings: Path, database: str | None = None) -> AsyncIterator[Served]:
    """The web, and beside it the intake's own loop; no worker, so that what was stored can be counted."""
    app = await _checked(settings, database)
    async with serving(app) as world:
        yield world


async def _stored(world: Served, count: int, seconds: float = 20.0) -> None:
    for _ in range(int(seconds / 0.1)):
        with suppress(StoreUnavailable):
            if (await world.stored()).get("billing-us", {}).get("pending", 0) >= count:
                break
        await asyncio.sleep(0.1)
    assert (await world.stored()).get("billing-us", {}) == {"pending": count}


def _moving(world: Served) -> asyncio.Task[None]:
    assert world.app.inlet is not None
    return asyncio.create_task(world.app.inlet.run(world.app.lease, lambda: None))


async def _ended(world: Served, moving: asyncio.Task[None]) -> None:
    world.app.inlet.stop()
    await moving


async def test_webhooks_are_kept_by_the_broker_and_moved_into_the_inbox_once(
    tmp_path: Path, broker: Broker
) -> None:
    async with buffered(_company(tmp_path, broker.url)) as world:
        bodies = [event(f"evt_{number}") for number in range(300)]
        answers = await asyncio.gather(
            *(world.hook(body, signature(body)) for body in [*bodies, *bodies[:50]])
        )
        assert {status for status, _ in answers} == {200}
        # Nothing is in the database yet, and nothing of a customer stands open on the broker's disk.
        assert await world.stored() == {}
        kept = b"".join(path.read_bytes() for path in broker.folder.rglob("*.blk"))
        assert len(kept) > 300 * 100
        assert b"invoice.finalized" not in kept
        moving = _moving(world)
        await _stored(world, 300)
        await _ended(world, moving)
        facts = await world.app.inlet.buffer._client.jetstream().stream_info("tieout-demo")
        assert facts.state.messages == 0


async def test_what_is_forged_or_too_large_never_reaches_the_broker(tmp_path: Path, broker: Broker) -> None:
    async with buffered(_company(tmp_path, broker.url)) as world:
        assert (await world.hook(event(), signature(event(), secret="whsec_other")))[0] == 401
        large = event(padding="x" * 1_010_000)
        with suppress(aiohttp.ClientError):  # refused while it is still being sent
            assert (await world.hook(large, signature(large)))[0] == 413
        assert (await world.hook(b"{", signature(b"{")))[0] == 400
        facts = await world.app.inlet.buffer._client.jetstream().stream_info("tieout-demo")
        assert facts.state.last_seq == 0


async def test_events_in_flight_while_the_database_is_down_are_kept(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with buffered(_company(tmp_path, broker.url)) as world:
        moving = _moving(world)

        async def away(unit: Any) -> Any:
            raise StoreUnavailable("the database is restarting")

        with monkeypatch.context() as patched:
            patched.setattr(world.app.hub.store, "commit", away)
            for number in range(40):
                body = event(f"evt_{number}")
                assert (await world.hook(body, signature(body)))[0] == 200
            await asyncio.sleep(3)
            assert await world.stored() == {}
        await _stored(world, 40)
        await _ended(world, moving)


class Outage(Line):
    """The way to PostgreSQL, which can be shut for a while."""

    async def shut(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    async def reopen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)


async def test_events_in_flight_while_postgres_is_down_are_kept(
    tmp_path: Path, broker: Broker, empty_postgres_url: str
) -> None:
    parts = urlsplit(empty_postgres_url)
    upgrade(empty_postgres_url)
    line = Outage(parts.hostname or "127.0.0.1", parts.port or 5432)
    await line.open()
    login = f"{parts.username}@" if parts.username else ""
    url = f"postgresql://{login}127.0.0.1:{line.port}{parts.path}"
    try:
        async with buffered(_company(tmp_path, broker.url), database=url) as world:
            moving = _moving(world)
            for number in range(30):
                body = event(f"evt_{number}")
                assert (await world.hook(body, signature(body)))[0] == 200
                if number == 10:
                    await line.shut()
            await asyncio.sleep(2)
            await line.reopen()
            await _stored(world, 30)
            await _ended(world, moving)
    finally:
        await line.close()


async def test_a_broker_that_dies_answers_503_and_loses_nothing_it_took(
    tmp_path: Path, broker: Broker
) -> None:
    async with buffered(_company(tmp_path, broker.url)) as world:
        for number in range(20):
            body = event(f"evt_{number}")
            assert (await world.hook(body, signature(body)))[0] == 200
        broker.stop(signal.SIGKILL)
        body = event("evt_late")
        status, text = await world.hook(body, signature(body))
        assert status == 503
        assert "send it again" in text
        broker.start()
        for _ in range(50):
            status, _ = await world.hook(body, signature(body))
            if status == 200:
                break
            await asyncio.sleep(0.2)
        assert status == 200
        moving = _moving(world)
        await _stored(world, 21)
        await _ended(world, moving)


async def test_an_event_whose_acknowledgement_was_lost_comes_again_and_is_stored_once(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with buffered(_company(tmp_path, broker.url)) as world:
        body = event()
        assert (await world.hook(body, signature(body)))[0] == 200
        buffer = world.app.inlet.buffer

        async def lost(message: Any) -> None:
            await buffer.again(message, 0.1)

        with monkeypatch.context() as patched:
            patched.setattr(buffer, "done", lost)
            moving = _moving(world)
            await _stored(world, 1)
            await asyncio.sleep(1)
        await _stored(world, 1)
        await asyncio.sleep(1)
        facts = await buffer._client.jetstream().stream_info("tieout-demo")
        assert facts.state.messages == 0
        await _ended(world, moving)


async def test_a_single_copy_is_refused_unless_it_is_named_unsafe(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "made").mkdir()
    app = await _checked(_company(tmp_path / "made", broker.url))
    await app.close()
    (tmp_path / "refused").mkdir()
    with pytest.raises(ConfigurationError, match=r"has 1 copies.*num_replicas = 3.*unsafe_single_copy"):
        await _checked(_company(tmp_path / "refused", broker.url, unsafe=False))


async def test_a_server_that_cannot_keep_three_copies_is_told_so(tmp_path: Path, broker: Broker) -> None:
    (tmp_path / "up").mkdir()
    app = await _checked(_company(tmp_path / "up", broker.url, stream="other"))
    await app.close()
    with pytest.raises(ConfigurationError, match="replicas"):
        await _checked(_company(tmp_path, broker.url, unsafe=False))


async def test_three_servers_keep_three_copies_and_one_may_die(tmp_path: Path) -> None:
    cluster = Broker(tmp_path / "nats", 3)
    cluster.folder.mkdir()
    cluster.start()
    try:
        async with buffered(_company(tmp_path, cluster.url, unsafe=False)) as world:
            assert (await world.app.inlet.buffer.facts()).copies == 3
            for number in range(20):
                body = event(f"evt_{number}")
                assert (await world.hook(body, signature(body)))[0] == 200
            # One that is not ours to talk to: the two others are a majority.
            cluster.processes[2].kill()
            cluster.processes[2].wait()
            for number in range(20, 30):
                body = event(f"evt_{number}")
                for _ in range(50):
                    status, _ = await world.hook(body, signature(body))
                    if status == 200:
                        break
                    await asyncio.sleep(0.2)
                assert status == 200
            moving = _moving(world)
            await _stored(world, 30)
            await _ended(world, moving)
    finally:
        cluster.stop()


async def test_a_broker_that_is_not_there_is_refused_at_start(tmp_path: Path) -> None:
    (port,) = _ports(1)
    app = await compose(read_settings(_company(tmp_path, f"nats://127.0.0.1:{port}")), system_ports())
    with pytest.raises(ConfigurationError, match="is the server up, with JetStream"):
        await app.check_buffer()
    await app.close()


async def test_a_missing_client_is_named_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.partition(".")[0] == "nats"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "nats", None)
    app = await compose(read_settings(_company(tmp_path, "nats://127.0.0.1:1")), system_ports())
    with pytest.raises(ConfigurationError, match=r"pip install 'tieout\[nats\]'"):
        await app.check_buffer()
    await app.close()


async def test_a_hub_without_a_buffer_is_as_it_was(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert world.app.inlet is None
        await world.app.check_buffer()
        body = event()
        assert (await world.hook(body, signature(body)))[0] == 200
        assert await world.stored() == {"billing-us": {"pending": 1}}
