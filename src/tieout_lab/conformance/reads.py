"""Reading: whole, or refused with the reason; never half, never for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from tieout.canonical.outcome import Confirmed, Failure, Misconfigured, RateLimited, Transient
from tieout.connectors.contract import World
from tieout.ports import Request, Response
from tieout_lab.conformance.case import KEYS, Case, Ground
from tieout_lab.conformance.world import RecordingTransport, Served, serve
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.kit import Twin

PAUSE_SECONDS = 7
REDIRECTS = (301, 302, 307, 308)


def with_headers(answer: Response, **headers: str | None) -> Response:
    """The answer with headers set, or taken away by None."""
    kept = {name: value for name, value in answer.headers.items() if name not in headers}
    return msgspec.structs.replace(answer, headers=kept | {n: v for n, v in headers.items() if v is not None})


def later(seconds: str | None) -> Callable[[Request, Response], Response]:
    """Every refusal names this Retry-After, or none."""

    def change(_: Request, answer: Response) -> Response:
        return answer if answer.status < 400 else with_headers(answer, **{"retry-after": seconds})

    return change


def enriched(value: Any) -> Any:
    """JSON as a newer release of the vendor would send it: every object has a field more (a text, because some
    objects are maps of texts)."""
    if isinstance(value, dict):
        return {"brandNewField": "new"} | {name: enriched(one) for name, one in value.items()}
    return [enriched(one) for one in value] if isinstance(value, list) else value


def altered(answer: Response, change: Callable[[Any], Any]) -> Response:
    """The answer with its JSON body changed; what is no JSON stays as it is."""
    try:
        content = msgspec.json.decode(answer.body)
    except msgspec.DecodeError:
        return answer
    return msgspec.structs.replace(answer, body=msgspec.json.encode(change(content)))


class Reads(Ground):
    """Listings and reads by id."""

    @pytest.mark.asyncio
    async def test_paging_to_the_end(self, case: Case, served: Served, connection: Any) -> None:
        wanted, found = await case.many(served, connection)
        assert wanted
        assert found == wanted

    @pytest.mark.parametrize("kind", ["error_before", "malformed", "html", "hang", "refuse"])
    @pytest.mark.asyncio
    async def test_read_that_fails_is_transient(
        self, case: Case, served: Served, connection: Any, kind: str
    ) -> None:
        served.fail(kind, case.read_operation)
        with pytest.raises(Failure) as caught:
            await case.read(connection)
        assert isinstance(caught.value.outcome, Transient), caught.value
        served.faults()
        await case.read(connection)

    @pytest.mark.asyncio
    async def test_read_over_the_limit(
        self, case: Case, served: Served, connection: Any, transport: RecordingTransport
    ) -> None:
        now = datetime.now(UTC)
        date = format_datetime(now.replace(microsecond=0) + timedelta(seconds=PAUSE_SECONDS), usegmt=True)
        served.fail("rate_limited", case.read_operation)
        for told, at_least in ((None, None), (str(PAUSE_SECONDS), PAUSE_SECONDS), (date, PAUSE_SECONDS - 2)):
            transport.change = later(told)
            with pytest.raises(Failure) as caught:
                await case.read(connection)
            outcome = caught.value.outcome
            assert isinstance(outcome, RateLimited), outcome
            if at_least is None:
                assert outcome.retry_at is None
            else:
                assert outcome.retry_at is not None
                assert timedelta(seconds=at_least) <= outcome.retry_at - now < timedelta(seconds=60)

    @pytest.mark.asyncio
    async def test_unknown_word_is_pending(self, case: Case, served: Served, world: World) -> None:
        assert (await case.unknown(served, world)).startswith("pending")

    @pytest.mark.asyncio
    async def test_new_field_is_passed_over(
        self, case: Case, served: Served, world: World, transport: RecordingTransport
    ) -> None:
        transport.change = lambda _, answer: altered(answer, enriched)
        connection = case.open(served, world)
        await connection.identity()
        assert isinstance(await case.write(connection, KEYS), Confirmed)
        assert await case.made(connection) == 1
        changed = await case.read(connection)
        transport.change = None
        assert changed == await case.read(connection)

    @pytest.mark.asyncio
    async def test_answer_over_its_limit_is_refused(
        self, case: Case, connection: Any, transport: RecordingTransport
    ) -> None:
        transport.most_bytes = 8
        with pytest.raises(Failure) as caught:
            await case.read(connection)
        outcome = caught.value.outcome
        assert isinstance(outcome, Transient), outcome
        assert "larger than 8 bytes" in outcome.reason

    @pytest.mark.asyncio
    async def test_redirect_is_not_followed(
        self, case: Case, connection: Any, transport: RecordingTransport
    ) -> None:
        with serve(Twin(SystemTwinClock())) as elsewhere:
            for status in REDIRECTS:
                away = Response(status=status, headers={"location": f"{elsewhere.url}/x"}, body=b"")
                transport.change = lambda _request, _answer, away=away: away
                with pytest.raises(Failure) as caught:
                    await case.read(connection)
                outcome = caught.value.outcome
                assert isinstance(outcome, Misconfigured), outcome
                assert "redirect" in outcome.message
                outcome = await case.write(connection, KEYS)  # type: ignore[assignment]
                assert isinstance(outcome, Misconfigured), outcome
            assert elsewhere.log() == []

    @pytest.mark.asyncio
    async def test_page_that_repeats_is_refused(
        self, case: Case, served: Served, world: World, connection: Any, transport: RecordingTransport
    ) -> None:
        """The first page says that another one follows, and is given again for ever."""
        endless = case.given("endless")
        await case.unknown(served, world)
        pages: list[Response] = []

        def again(_: Request, answer: Response) -> Response:
            if not pages:
                pages.append(altered(answer, endless))
            return pages[0]

        transport.change = again
        before = len(transport.requests)
        async with asyncio.timeout(20):
            with pytest.raises(Failure) as caught:
                await case.read(connection)
        assert isinstance(caught.value.outcome, Transient), caught.value
        assert "repeat" in caught.value.outcome.reason
        assert len(transport.requests) - before < 10
