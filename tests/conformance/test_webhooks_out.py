"""Events out over real sockets: a receiver that takes, redirects, drips or hangs; a private address; a real broker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from tieout.canonical.secret import Secret
from tieout.cli import telling
from tieout.engine.outbox import Event, NotTaken, Taken, Verdict
from tieout.engine.receivers import (
    NatsConfig,
    OutboxConfig,
    Stream,
    Webhook,
    WebhookConfig,
    new_secret,
    open_outbox,
)
from tieout.ports import Request, TransportError
from tieout.system import AiohttpTransport, SystemChance, SystemClock
from tieout.system.addresses import addresses_refused
from tieout.system.broker import NatsPublisher

SECRET = new_secret(SystemChance().token)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def event(event_id: str = "EVENT1", type_: str = "invoice.posted") -> Event:
    return Event(seq=1, event_id=event_id, type=type_, subject="s", key="k", at=1, data='{"total_minor":1}')


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[int]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def deliver(url: str, **given: Any) -> Verdict:
    transport = AiohttpTransport()
    world: Any = SimpleNamespace(clock=SystemClock(), transport=transport)
    config = {"name": "hook", "url": url, "secrets": [Secret(SECRET)], "private": True, "timeout_seconds": 1}
    try:
        return await Webhook(WebhookConfig(**{**config, **given}), "urn:x", world).deliver(event())
    finally:
        await transport.close()


async def test_a_receiver_gets_the_event_signed_and_a_redirect_is_not_followed() -> None:
    seen: list[tuple[str, str, bytes]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append((request.path, request.headers["webhook-signature"], await request.read()))
        if request.path == "/moved":
            raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{request.url.port}/secret")
        return web.Response(status=202)

    async with served(handler) as port:
        assert await deliver(f"http://127.0.0.1:{port}/in") == Taken()
        moved = await deliver(f"http://127.0.0.1:{port}/moved")
    assert isinstance(moved, NotTaken)
    assert [path for path, _, _ in seen] == ["/in", "/moved"]
    assert json.loads(seen[0][2])["data"] == {"total_minor": 1}
    assert seen[0][1].startswith("v1,")


async def test_one_that_hangs_or_drips_is_given_up_in_time_and_one_that_says_too_much_is_not_read() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        if request.path == "/hangs":
            await asyncio.sleep(30)
        answer = web.StreamResponse()
        await answer.prepare(request)
        while request.path == "/drips":
            await answer.write(b".")
            await asyncio.sleep(0.2)
        for _ in range(3):
            await answer.write(b"x" * 500_000)
        return answer

    async with served(handler) as port:
        for path in ("hangs", "drips", "floods"):
            async with asyncio.timeout(5):
                verdict = await deliver(f"http://127.0.0.1:{port}/{path}")
            assert isinstance(verdict, NotTaken), path


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "[::ffff:127.0.0.1]"])
async def test_a_private_address_is_not_called_unless_it_is_allowed(host: str) -> None:
    called: list[str] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        called.append(request.path)
        return web.Response()

    async with served(handler) as port:
        transport = AiohttpTransport()
        url = f"http://{host}:{port}/x"
        request = Request(method="POST", url=url, headers={}, body=b"{}", timeout_seconds=2)
        try:
            # The other pool's open connection must not serve this one.
            if host == "127.0.0.1":
                await transport.exchange(request)
                called.clear()
            with pytest.raises(TransportError) as refused:
                await transport.exchange(replace(request, public_only=True))
        finally:
            await transport.close()
        assert called == []
        assert refused.value.sent is False
        # The client takes a bare number for no host at all; the operating system would have.
        expected = "InvalidUrl" if host == "2130706433" else "private = true"
        assert expected in refused.value.reason
        assert "private = true" in await addresses_refused(url)
        if host in ("127.0.0.1", "localhost"):
            assert await deliver(url) == Taken()
            assert called == ["/x"]


async def test_nobody_there_is_no_answer_and_nothing_was_sent() -> None:
    verdict = await deliver("http://127.0.0.1:9/x")
    assert isinstance(verdict, NotTaken)
    assert "no connection" in verdict.reason


# -- a real broker ------------------------------------------------------------------------------------------------
@pytest.fixture
async def stream(nats_url: str) -> AsyncIterator[tuple[str, Any]]:
    """A stream of this test's own, and a client to look into it."""
    import nats

    name = f"TIEOUT_TEST_{os.getpid()}_{os.urandom(3).hex()}"
    client = await nats.connect(nats_url)
    made = client.jetstream()
    await made.add_stream(name=name, subjects=[f"{name}.invoice.*"], duplicate_window=120)
    try:
        yield name, made
    finally:
        await made.delete_stream(name)
        await client.close()


async def test_the_stream_keeps_an_event_once_however_often_it_is_sent(nats_url: str, stream: Any) -> None:
    name, broker = stream
    publisher = NatsPublisher(nats_url, name)
    told = Stream(NatsConfig(url=nats_url, stream=name, subject=name), "urn:x", publisher)
    try:
        assert [await told.deliver(event()) for _ in range(3)] == [Taken()] * 3
        again = NatsPublisher(nats_url, name)  # as after a kill
        assert (
            await Stream(NatsConfig(url=nats_url, stream=name, subject=name), "urn:x", again).deliver(event())
            == Taken()
        )
        await again.close()
        assert (await broker.stream_info(name)).state.messages == 1
        kept = await broker.get_last_msg(name, f"{name}.invoice.posted")
        assert json.loads(kept.data)["id"] == "EVENT1"
        assert kept.headers["Nats-Msg-Id"] == "EVENT1"
        facts = await publisher.facts(5)
        assert (facts.subjects, facts.copies, facts.dedupe_seconds) == ((f"{name}.invoice.*",), 1, 120)
        # A subject that the stream does not keep.
        lost = await told.deliver(event("EVENT2", "exception.opened"))
        assert isinstance(lost, NotTaken)
        assert name in lost.reason
        # It goes on afterwards.
        assert await told.deliver(event("EVENT3")) == Taken()
    finally:
        await publisher.close()


async def test_another_stream_that_keeps_the_subject_is_not_taken_for_ours(
    nats_url: str, stream: Any
) -> None:
    name, _ = stream
    publisher = NatsPublisher(nats_url, "SOME_OTHER")
    told = Stream(NatsConfig(url=nats_url, stream="SOME_OTHER", subject=name), "urn:x", publisher)
    try:
        assert isinstance(await told.deliver(event()), NotTaken)
        with pytest.raises(TransportError, match="SOME_OTHER"):
            await publisher.facts(5)
    finally:
        await publisher.close()


async def test_no_server_is_no_answer(nats_url: str) -> None:
    publisher = NatsPublisher("nats://127.0.0.1:9", "TIEOUT")
    told = Stream(NatsConfig(url=nats_url, stream="TIEOUT"), "urn:x", publisher)
    async with asyncio.timeout(10):
        assert isinstance(await told.deliver(event()), NotTaken)
    await publisher.close()


async def test_check_says_what_is_wrong_with_the_stream_and_how_to_mend_it(
    nats_url: str, stream: Any
) -> None:
    name, broker = stream

    async def nothing(*_: Any) -> list[Any]:
        return []

    async def findings(**given: Any) -> list[Any]:
        config = OutboxConfig(nats=NatsConfig(url=nats_url, **{"stream": name, "subject": name, **given}))

        def publisher(nats: NatsConfig) -> NatsPublisher:
            return NatsPublisher(nats.url, nats.stream)

        nowhere: Any = None
        outbox = open_outbox(config, "demo", nowhere, publisher)
        assert outbox is not None
        hub = SimpleNamespace(outbox=outbox, store=SimpleNamespace(fetch=nothing, fetch_long=nothing))
        composed: Any = SimpleNamespace(settings=SimpleNamespace(outbox=config), hub=hub)
        try:
            return await telling.findings(composed)
        finally:
            await outbox.receivers["nats"].close()

    (absent,) = await findings(stream="NOT_THERE")
    assert (absent.level, "make the stream NOT_THERE" in absent.remedy) == ("error", True)
    wrong, copies = await findings()
    assert (wrong.level, copies.level) == ("error", "warning")
    assert f"{name}.exception.opened" in wrong.message
    assert f"{name}.invoice.posted" not in wrong.message
    assert f'"{name}.>"' in wrong.remedy
    (one,) = await findings(types=["invoice.posted"])
    assert "one copy" in one.message
    config = await broker.stream_info(name)
    assert config.state.messages == 0
