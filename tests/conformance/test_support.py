"""The ground the conformance suite stands on: whether anything was sent is told rightly, and twins end cleanly."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.support import open_world, refused_url, serve
from tieout.ports import Request, TransportError
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.kit import Request as TwinRequest
from tieout_lab.twins.kit import Response as TwinResponse
from tieout_lab.twins.kit import Twin


class Echo(Twin):
    def __init__(self) -> None:
        super().__init__(SystemTwinClock())
        self.route("POST", "/echo", "echo", self.echo)
        self.route("GET", "/away", "away", self.away)

    async def echo(self, request: TwinRequest) -> TwinResponse:
        return TwinResponse(201, {"said": request.body.decode(), "query": request.query}, {"X-Said": "yes"})

    async def away(self, request: TwinRequest) -> TwinResponse:
        return TwinResponse(302, b"", {"Location": "http://127.0.0.1:1/elsewhere"})


def post(url: str, timeout_seconds: float = 5.0) -> Request:
    return Request(method="POST", url=url, headers={}, body="añ'\"".encode(), timeout_seconds=timeout_seconds)


async def test_exchange_and_no_redirect() -> None:
    with serve(Echo()) as twin:
        async with open_world() as world:
            answer = await world.transport.exchange(post(twin.url + "/echo?q=a%27%2Bb%20c"))
            assert (answer.status, answer.headers["x-said"]) == (201, "yes")
            assert b'"query":[["q","a\'+b c"]]' in answer.body
            away = Request(method="GET", url=twin.url + "/away", headers={})
            assert (await world.transport.exchange(away)).status == 302
        assert [entry["operation"] for entry in twin.log()] == ["echo", "away"]


async def test_refused_is_not_sent() -> None:
    async with open_world() as world:
        with pytest.raises(TransportError) as caught:
            await world.transport.exchange(post(refused_url()))
    assert caught.value.sent is False


@pytest.mark.parametrize("kind", ["hang", "timeout_after_work", "refuse", "reset"])
async def test_no_answer_after_connecting_is_sent(kind: str) -> None:
    with serve(Echo()) as twin:
        twin.fail(kind)
        async with open_world() as world:
            with pytest.raises(TransportError) as caught:
                await world.transport.exchange(post(twin.url + "/echo", 0.2))
    assert caught.value.sent is True


async def test_cut_ends_the_answer_in_the_middle_of_its_body() -> None:
    with serve(Echo()) as twin:
        twin.fail("cut")
        reader, writer = await asyncio.open_connection("127.0.0.1", twin.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        try:
            rest = await reader.read()
        except ConnectionResetError:
            rest = b""
        assert len(rest) < length
        writer.close()


async def test_deviation_changes_the_answer_and_not_the_work() -> None:
    with serve(Echo()) as twin:
        twin.deviate(
            {
                "operation": "echo",
                "was": 201,
                "status": 207,
                "headers": {"X-Said": None},
                "fields": {"said": 1},
            },
            {"operation": "away", "status": 200},
            {"operation": "echo", "was": 500, "status": 200},
        )
        async with open_world() as world:
            answer = await world.transport.exchange(post(twin.url + "/echo?a=b"))
            assert (answer.status, answer.body) == (207, b'{"said":1,"query":[["a","b"]]}')
            assert "x-said" not in answer.headers
            twin.deviate()
            answer = await world.transport.exchange(post(twin.url + "/echo"))
            assert (answer.status, answer.headers["x-said"]) == (201, "yes")
        with pytest.raises(AssertionError, match="unexpected keyword"):
            twin.deviate({"oops": 1})
