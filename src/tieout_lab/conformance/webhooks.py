"""Webhooks: what is forged, stale or of somebody else is refused; order and repeats do not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tieout.connectors.contract import Forged, Inbound, Malformed, OtherAccount, World
from tieout_lab.conformance.case import Case, Ground
from tieout_lab.conformance.world import Served

# Long enough for those who put them into an address.
CURRENT, NEXT, OTHER = (f"whsec_{name}_0123456789abcdef0123456789" for name in ("current", "next", "other"))
STALE = timedelta(hours=1)


class Webhooks(Ground):
    """`Inbound`, where the connector has it."""

    def _inbound(self, case: Case, connection: Any) -> Inbound:
        if not isinstance(connection, Inbound):
            pytest.skip(f"{case.name}: no webhooks")
        return connection

    @pytest.mark.asyncio
    async def test_forged_or_stale_webhook_is_refused(self, case: Case, served: Served, world: World) -> None:
        """Two secrets hold while one is rotated; without any the address does not exist."""
        connection = self._inbound(case, case.open(served, world))
        sign, body = case.given("sign"), case.given("events")[0]
        assert connection.accepts_webhooks
        assert not case.open(served, world, webhook_secrets=[]).accepts_webhooks
        now = datetime.now(UTC)
        for secret in (CURRENT, NEXT):
            connection.verify(sign(body, secret, now), body, now)
        refused = [
            {},
            dict.fromkeys(sign(body, CURRENT, now), ""),
            dict.fromkeys(sign(body, CURRENT, now), "t=soon,v1=00"),
            sign(body, OTHER, now),
        ]
        if case.signs_body:
            refused += [sign(body + b" ", CURRENT, now), sign(body, CURRENT, now - STALE)]
        for headers in refused:
            with pytest.raises(Forged):
                connection.verify(headers, body, now)

    @pytest.mark.asyncio
    async def test_secret_that_was_rotated_out_is_refused(
        self, case: Case, served: Served, world: World
    ) -> None:
        connection = case.open(served, world)
        self._inbound(case, connection)
        sign, body = case.given("sign"), case.given("events")[0]
        settings = case.settings(served.describe())
        rotated = case.open(served, world, webhook_secrets=settings["webhook_secrets"][1:])
        now = datetime.now(UTC)
        rotated.verify(sign(body, NEXT, now), body, now)
        with pytest.raises(Forged):
            rotated.verify(sign(body, CURRENT, now), body, now)

    @pytest.mark.asyncio
    async def test_order_and_repeats_do_not_matter(self, case: Case, served: Served, world: World) -> None:
        connection = self._inbound(case, case.open(served, world))
        older, newer = case.given("events")
        now = datetime.now(UTC)
        in_order = [connection.parse(older, now), connection.parse(newer, now)]
        turned = [connection.parse(newer, now), connection.parse(older, now), connection.parse(older, now)]
        assert turned == [in_order[1], in_order[0], in_order[0]]
        ids = [event.id for events in in_order for event in events]
        assert len(ids) == len(set(ids)) >= 2
        if case.signs_body:
            assert in_order[0][0].time < in_order[1][0].time

    @pytest.mark.asyncio
    async def test_event_of_another_account_is_nobodys(
        self, case: Case, served: Served, world: World
    ) -> None:
        connection = self._inbound(case, case.open(served, world))
        with pytest.raises(OtherAccount) as caught:
            connection.parse(case.given("foreign_event"), datetime.now(UTC))
        assert (caught.value.outcome.scope, caught.value.outcome.key) == ("connection", case.name)

    @pytest.mark.asyncio
    async def test_body_that_is_none_is_malformed(self, case: Case, served: Served, world: World) -> None:
        connection = self._inbound(case, case.open(served, world))
        body = case.given("events")[0]
        for broken in (b"", b"<html></html>", b"[]", b"{}", body[: len(body) // 2], b"\xff\xfe", b"null"):
            with pytest.raises(Malformed):
                connection.parse(broken, datetime.now(UTC))
