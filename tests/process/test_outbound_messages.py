"""Outbound Messages over real sockets: the twin posts, the hub acknowledges only what it has stored."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.process.web_world import Served, serving, write_company
from tieout.app import compose, read_settings, system_ports
from tieout.store import people
from tieout.store.statements import StoreUnavailable
from tieout_lab.twins.clock import SystemTwinClock
from tieout_lab.twins.salesforce import SalesforceTwin

SECRET = "0123456789abcdef0123456789abcdef"
XML = {"content-type": "text/xml; charset=utf-8", "soapaction": '""'}


class Hasty(SystemTwinClock):
    """Pauses between two tries pass at once."""

    async def sleep(self, technical_seconds: float) -> None:
        await asyncio.sleep(min(technical_seconds, 0.05))


def twin() -> SalesforceTwin:
    return SalesforceTwin(Hasty())


async def company(folder: Path, org_id: str):
    path = write_company(folder)
    text = path.read_text().replace('org_id = "00D000000000001EAA"', f'org_id = "{org_id}"')
    path.write_text(text + f'webhook_secrets = ["{SECRET}"]\n')
    return await compose(read_settings(path), system_ports())


async def post(world: Served, body: bytes, below: str = f"/{SECRET}") -> tuple[int, str, str]:
    url = f"{world.url}/hooks/crm-main{below}"
    async with world.http.post(url, data=body, headers=XML) as answer:
        return answer.status, answer.content_type, await answer.text()


async def sold(crm: SalesforceTwin) -> str:
    account = (await crm._act("create_account", {"name": "Acme & <Sons>"})).body["id"]
    deal = await crm._act("create_deal", {"account": account, "name": "Deal", "currency": "USD", "lines": []})
    return str(deal.body["id"])


async def test_the_twin_sends_until_the_message_is_acknowledged(tmp_path: Path) -> None:
    crm = twin()
    async with serving(await company(tmp_path, crm.org.org_id)) as world:
        url = f"{world.url}/hooks/crm-main/{SECRET}"
        await crm._act("register_outbound_message", {"object": "Opportunity", "fields": ["Name"], "url": url})
        commit, failures = world.app.hub.store.commit, 2

        async def full(unit):
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("the disk is full")
            return await commit(unit)

        world.app.hub.store.commit = full
        await sold(crm)
        async with asyncio.timeout(10):
            while crm.outbound_messages.pending():
                await asyncio.sleep(0.02)
        journal = crm.outbound_messages.journal
        assert [each["acknowledged"] for each in journal][:3] == [False, False, True]
        assert journal[0]["status"] == 503
        told = len({id for each in journal for id in each["ids"]})
        assert await world.stored() == {"crm-main": {"pending": told}}
        await crm.close()


async def test_a_message_sent_twice_is_taken_in_once_and_acknowledged_twice(tmp_path: Path) -> None:
    crm = twin()
    bodies: list[bytes] = []

    async def keep(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        bodies.append(body)
        return 200, b"<Ack>true</Ack>"

    crm.outbound_messages.post = keep
    await crm._act("register_outbound_message", {"object": "Opportunity", "url": "http://hub/"})
    await sold(crm)
    async with asyncio.timeout(10):
        while crm.outbound_messages.pending():
            await asyncio.sleep(0.02)
    async with serving(await company(tmp_path, crm.org.org_id)) as world:
        for _ in range(2):
            status, kind, answer = await post(world, bodies[0])
            assert (status, kind) == (200, "text/xml")
            assert "<Ack>true</Ack>" in answer
        assert await world.stored() == {"crm-main": {"pending": bodies[0].count(b"<Notification>")}}
    await crm.close()


async def test_what_is_forged_foreign_or_malformed_is_not_acknowledged(tmp_path: Path) -> None:
    crm = twin()
    rule = crm.outbound_messages.add("Opportunity", [], "http://hub/")
    from tieout_lab.twins.salesforce.outbound_messages import Notification

    given = crm.outbound_messages.body(
        rule, [Notification("04lHk0000000001AAA", "006Hk0000000001AAA", crm.clock.technical())]
    )
    async with serving(await company(tmp_path, crm.org.org_id)) as world:
        for below in ("", "/", "/wrong", f"/{SECRET}x"):
            assert (await post(world, given, below))[0] == 401, below
        bomb = b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'
        for body in (b"", given[:-20], bomb):
            status, _, text = await post(world, body)
            assert status == 400
            assert "Ack" not in text
        foreign = given.replace(crm.org.org_id.encode(), b"00DHk0000000009AAA")
        status, _, text = await post(world, foreign)
        assert status == 403
        assert "pinned" in text
        (stranger,) = await world.app.hub.store.fetch(people.LIST_ALL, {})
        assert "crm-main" in str(stranger)
        assert await world.stored() == {}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{world.url}/hooks/crm-main/{SECRET}") as answer,
        ):
            assert answer.status == 405
    await crm.close()


async def test_a_message_nobody_takes_is_dropped_after_a_day(tmp_path: Path) -> None:
    class Later(Hasty):
        passed = 0.0

        def technical(self):
            from datetime import timedelta

            return super().technical() + timedelta(seconds=self.passed)

        async def sleep(self, technical_seconds: float) -> None:
            self.passed += technical_seconds
            await asyncio.sleep(0)

    crm = SalesforceTwin(Later())

    async def polite(url: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        return 200, b'{"status":"ok"}'

    crm.outbound_messages.post = polite
    await crm._act("register_outbound_message", {"object": "Account", "url": "http://hub/"})
    await crm._act("create_account", {"name": "Acme"})
    async with asyncio.timeout(10):
        while crm.outbound_messages.pending():
            await asyncio.sleep(0.01)
    assert len(crm.outbound_messages.dropped) == 1
    tries = len(crm.outbound_messages.journal)
    assert 20 <= tries <= 40
    assert not any(each["acknowledged"] for each in crm.outbound_messages.journal)
    await crm.close()
