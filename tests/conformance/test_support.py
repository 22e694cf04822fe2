"""The ground the conformance suite stands on: whether anything was sent is told rightly, and twins end cleanly."""

from __future__ import annotations

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
