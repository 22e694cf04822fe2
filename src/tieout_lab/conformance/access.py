"""Who may, who answers, and that no secret is ever shown."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tieout.canonical.outcome import Confirmed, Failure, Misconfigured, Transient
from tieout.canonical.secret import Secret
from tieout.connectors.contract import World
from tieout.ports import Request, Response
from tieout_lab.conformance.case import KEYS, Case, Ground
from tieout_lab.conformance.world import RecordingTransport, Served, refused_url


class Access(Ground):
    """Sign-in, identity, secrets."""

    @pytest.mark.asyncio
    async def test_failed_sign_in_is_misconfigured(self, case: Case, served: Served, world: World) -> None:
        connection = case.open(served, world, **case.wrong)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, Misconfigured)
        assert (outcome.scope, outcome.key) == ("connection", case.name)
        assert outcome.remedy
        with pytest.raises(Failure) as caught:
            await case.read(connection)
        assert isinstance(caught.value.outcome, Misconfigured)
        assert not [
            entry
            for entry in served.log()
            if entry["operation"] == case.write_operation and entry["status"] != 401
        ]
        findings = await connection.check()
        assert "error" in {finding.level for finding in findings}

    @pytest.mark.asyncio
    async def test_check_finds_nothing_wrong(self, case: Case, connection: Any) -> None:
        """A fresh twin sends its webhooks nowhere yet, which is all that may be found."""
        errors = [finding for finding in await connection.check() if finding.level == "error"]
        assert [finding for finding in errors if finding.subject != "webhooks"] == []

    @pytest.mark.asyncio
    async def test_refused_connection_sends_nothing(self, case: Case, served: Served, world: World) -> None:
        connection = case.open(served, world, **{case.address: refused_url()})
        assert isinstance(await case.write(connection, KEYS), Transient)
        with pytest.raises(Failure) as caught:
            await case.read(connection)
        assert isinstance(caught.value.outcome, Transient)

    @pytest.mark.asyncio
    async def test_session_that_ends_between_two_writes(
        self, case: Case, served: Served, connection: Any
    ) -> None:
        expire = case.given("expire")
        assert isinstance(await case.write(connection, KEYS), Confirmed)
        expire(served)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, Confirmed), outcome

    @pytest.mark.asyncio
    async def test_session_that_ends_between_two_pages(
        self, case: Case, served: Served, connection: Any, transport: RecordingTransport
    ) -> None:
        expire = case.given("expire")
        wanted, found = await case.many(served, connection)
        assert found == wanted
        ended: list[int] = []

        def after_the_first_page(request: Request, answer: Response) -> Response:
            if not ended and answer.status == 200:
                ended.append(len(transport.requests))
                expire(served)
            return answer

        transport.change = after_the_first_page
        before = len(transport.requests)
        rows = await case.read(connection)
        assert ended
        # The session was renewed on the way, and nothing of the listing was lost.
        assert len(transport.requests) > before + 1
        transport.change = None
        assert rows == await case.read(connection)

    @pytest.mark.asyncio
    async def test_another_account_or_mode_processes_nothing(
        self, case: Case, served: Served, world: World
    ) -> None:
        for name, changes in case.given("others").items():
            connection = case.open(served, world, **changes)
            with pytest.raises(Failure) as caught:
                await connection.identity()
            outcome = caught.value.outcome
            assert isinstance(outcome, Misconfigured), (name, outcome)
            assert (outcome.scope, outcome.key) == ("connection", case.name), name
            assert outcome.remedy, name
            assert "error" in {finding.level for finding in await connection.check()}, name
        assert not [entry for entry in served.log() if entry["operation"] == case.write_operation]

    @pytest.mark.asyncio
    async def test_answers_of_an_impostor_are_not_believed(
        self, case: Case, served: Served, world: World, transport: RecordingTransport
    ) -> None:
        """From one moment on another account or mode answers: whatever comes of it, it is nothing done or read."""
        impostor = case.given("impostor")
        connection = case.open(served, world)
        assert isinstance(await case.write(connection, KEYS), Confirmed)
        transport.change = lambda _, answer: impostor(answer)
        if case.expire is not None:
            case.expire(served)
        outcome = await case.write(connection, KEYS)
        assert isinstance(outcome, Misconfigured), outcome
        assert outcome.scope == "connection"
        assert outcome.key == case.name

    @pytest.mark.asyncio
    async def test_secret_is_never_shown(
        self,
        case: Case,
        served: Served,
        world: World,
        transport: RecordingTransport,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        settings = case.settings(served.describe())
        connection = case.open(served, world)
        shown: list[str] = [
            repr(connection),
            repr(case.connector().config(**settings)),
            repr(await connection.identity()),
        ]
        for kind in ("error_after", "html", "rate_limited", "reset", "none"):
            served.fail(kind, case.write_operation) if kind != "none" else served.faults()
            shown.append(repr(await case.write(connection, KEYS)))
        for changes in (case.wrong, {case.address: refused_url()}):
            wrong = case.open(served, world, **changes)
            shown.append(repr(await case.write(wrong, KEYS)))
            with pytest.raises(Failure) as caught:
                await case.read(wrong)
            error: BaseException | None = caught.value
            while error is not None:
                shown += [str(error), repr(error)]
                error = error.__cause__ or error.__context__
            shown += [repr(finding) for finding in await wrong.check()]
        hidden = [value.reveal() for value in settings.values() if isinstance(value, Secret)]
        hidden += [value.reveal() for value in case.wrong.values() if isinstance(value, Secret)]
        hidden += [
            request.headers["authorization"].partition(" ")[2]
            for request in transport.requests
            if "authorization" in request.headers
        ]
        assert hidden
        text = "\n".join(shown) + caplog.text
        assert not [secret[:6] for secret in hidden if secret and secret in text]
