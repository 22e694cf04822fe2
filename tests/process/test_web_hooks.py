"""Webhooks over real sockets: what is refused leaves nothing behind, what is answered 2xx is stored."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.process.web_world import Served, event, served, signature
from tieout.store import people
from tieout.store.statements import StoreUnavailable


async def forged(world: Served) -> float:
    value = world.app.hub.metrics.registry.get_sample_value(
        "o2c_webhook_signature_failures_total", {"source": "billing-us"}
    )
    return value or 0.0


async def test_a_signed_event_is_stored_before_it_is_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        body = event()
        assert await world.hook(body, signature(body)) == (200, "{}")
        assert await world.stored() == {"billing-us": {"pending": 1}}


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=1,v1=00",
        "nonsense",
        signature(event(), secret="whsec_other"),
        signature(b"another body"),
    ],
    ids=["unsigned", "empty", "wrong", "nonsense", "other_secret", "other_body"],
)
async def test_forged_or_unsigned_is_401_and_only_counted(tmp_path: Path, header: str | None) -> None:
    async with served(tmp_path) as world:
        status, text = await world.hook(event(), header)
        assert status == 401
        assert "signature" in text
        assert await world.stored() == {}
        assert await forged(world) == 1
        assert await world.app.hub.store.fetch(people.LIST_ALL, {}) == []


async def test_a_stale_signature_is_401(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        body = event()
        assert (await world.hook(body, signature(body, age_seconds=3600)))[0] == 401
        assert await world.stored() == {}


@pytest.mark.parametrize("connection", ["billing-jp", "erp-main", "nobody", "", "billing-us/x"])
async def test_no_secret_no_webhooks_or_unknown_is_404(tmp_path: Path, connection: str) -> None:
    async with served(tmp_path) as world:
        body = event()
        assert (await world.hook(body, signature(body), connection))[0] == 404
        assert await world.stored() == {}


BAD = {
    "empty": b"",
    "not_json": b"{",
    "a_list": b"[]",
    "xml": b"<?xml version='1.0'?><event/>",
    "dtd": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "duplicate_keys": event().replace(b'"type":', b'"type":"invoice.voided","type":', 1),
    "no_id": event().replace(b'"id":"evt_1"', b'"id":""'),
    "not_utf8": b'{"id":"\xff"}',
}


@pytest.mark.parametrize("name", BAD)
async def test_malformed_is_a_clear_400(tmp_path: Path, name: str) -> None:
    async with served(tmp_path) as world:
        status, text = await world.hook(BAD[name], signature(BAD[name]))
        assert status == 400
        assert text.startswith('{"error":"')
        assert await world.stored() == {}


async def test_five_megabytes_are_413_with_and_without_a_length(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        body = event(padding="x" * 5_000_000)
        headers = {"stripe-signature": signature(body)}

        async def chunks() -> Any:
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        for data in (io.BytesIO(body), chunks()):
            try:
                async with world.http.post(
                    f"{world.url}/hooks/billing-us", data=data, headers=headers
                ) as answer:
                    assert answer.status == 413
            except aiohttp.ClientConnectionError:
                pass  # refused while it was still being sent
        assert await world.stored() == {}
        small = event()
        assert (await world.hook(small, signature(small)))[0] == 200


async def test_an_unknown_type_is_stored_and_ignored_by_a_named_rule(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        body = event(type_="radar.early_fraud_warning.created")
        assert (await world.hook(body, signature(body)))[0] == 200
        assert await world.stored() == {"billing-us": {"ignored": 1}}
        _, text = await world.get("/api/events")
        assert "no process for radar.early_fraud_warning.created" in text


async def test_duplicates_are_stored_once(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        body = event()
        answers = await asyncio.gather(*(world.hook(body, signature(body)) for _ in range(20)))
        assert {status for status, _ in answers} == {200}
        assert await world.stored() == {"billing-us": {"pending": 1}}


async def test_nothing_is_promised_that_the_store_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with served(tmp_path) as world:

        async def full(unit: Any) -> Any:
            raise StoreUnavailable("disk full")

        body = event()
        with monkeypatch.context() as patched:
            patched.setattr(world.app.hub.store, "commit", full)
            status, text = await world.hook(body, signature(body))
        assert status == 503
        assert "send it again" in text
        assert await world.stored() == {}
        assert (await world.hook(body, signature(body)))[0] == 200


async def test_only_post_is_taken(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        assert (await world.get("/hooks/billing-us"))[0] == 405
