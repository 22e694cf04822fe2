"""Worker groups on PostgreSQL: a region's documents are run by its workers alone, and nothing starves silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.upgrade.outside import World, company, opened, planned, rest, tell
from tieout.app import App
from tieout.canonical.ids import Ref
from tieout.cli.checking import _workers
from tieout.engine import unserved
from tieout.engine.standing import standing
from tieout.settings import ConfigurationError
from tieout.store.statements import Statement

AMER = '\n[groups.amer]\nentities = ["us"]\n'
DEALS = (1, 2, 3)


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = company(tmp_path)
    path.write_text(path.read_text() + AMER)
    return path


async def _lanes(app: App) -> set[tuple[Any, ...]]:
    sql = "SELECT DISTINCT kind, worker_group, state FROM lanes"
    return set(await app.hub.store.fetch(Statement("test", sql, returns=True), {}))


async def _open(app: App) -> list[str]:
    return [one["document"] for one in await app.exceptions()]


async def test_a_regions_documents_wait_for_its_workers_and_that_is_told(
    settings: Path, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unserved, "_PATIENCE_MICROS", 0)
    world = World(aggregates=planned().aggregates)

    async def hub(*serves: str) -> App:
        return await opened(settings, world, alone=False, database=empty_postgres_url, serves=serves)

    everybody, region = await hub(""), await hub("amer")
    try:
        await everybody.start()
        for number in DEALS:
            deal = Ref(connection="crm-main", kind="opportunity", id=f"006D{number}")
            await tell(everybody, deal, "deal.won")
            # Billing tells of invoices before anybody in the region has looked at the order.
        invoice = Ref(connection="billing-us", kind="invoice", id="in_1")
        await tell(everybody, invoice, "invoice.finalized")
        for _ in range(100):
            if ("order", "amer", "ready") in await _lanes(everybody):
                break
            await everybody.hub.clock.sleep_real(0.1)
        await everybody.hub.clock.sleep_real(1.5)
        # The deals are accepted; what is the legal entity's own stands still, and is not run by whoever is there.
        assert await _lanes(everybody) == {
            ("opportunity", "", "idle"),
            ("order", "amer", "ready"),
            ("invoice", "amer", "ready"),
        }
        assert world.documents == {}
        assert await unserved.raise_unserved(everybody.hub) == ["amer"]
        assert await unserved.raise_unserved(everybody.hub) == ["amer"]
        assert await _open(everybody) == ["group amer"]
        assert (await standing(everybody.hub)).unserved == ("group amer",)
        assert [one.level for one in await _workers(everybody)] == ["error"]

        await region.start()
        for number in DEALS:
            await _until_billed(region, world, number)
        # The invoice waited for the customer that the account's lane, which is of no group, makes at the ERP.
        await _until_idle(region, "invoice")
        assert all(len(made) == 1 for made in world.documents.values())
        assert await unserved.raise_unserved(region.hub) == []
        assert await _open(region) == []
        assert await _workers(region) == []

        await everybody.stop()
        await tell(region, Ref(connection="crm-main", kind="opportunity", id="006D4"), "deal.won")
        assert await unserved.raise_unserved(region.hub) == [""]
        assert await _open(region) == ["no group"]
    finally:
        await region.stop()
        await everybody.close()


async def _until_billed(app: App, world: World, number: int) -> None:
    for _ in range(300):
        made = [one for some in world.documents.values() for one in some]
        if f"subscription.create-006D{number}" in made:
            return
        await app.hub.clock.sleep_real(0.1)
    raise AssertionError(f"deal {number} was not billed: {await _lanes(app)}")


async def _until_idle(app: App, kind: str) -> None:
    for _ in range(300):
        if {state for one, _, state in await _lanes(app) if one == kind} == {"idle"}:
            return
        await app.hub.clock.sleep_real(0.1)
    raise AssertionError(f"{kind} is not done: {await _lanes(app)}")


async def test_one_process_on_a_file_runs_everything(settings: Path) -> None:
    world = World(aggregates=planned().aggregates)
    app = await opened(settings, world)
    try:
        await app.start()
        await tell(app, Ref(connection="crm-main", kind="opportunity", id="006D1"), "deal.won")
        assert (await rest(app))["idle"] == 3
        assert {group for _, group, _ in await _lanes(app)} == {""}
        assert [one.subject for one in await _workers(app)] == ["groups"]
    finally:
        await app.stop()


async def test_a_group_that_is_not_configured_is_refused(settings: Path) -> None:
    with pytest.raises(ConfigurationError, match="no group 'apac'; there are: amer"):
        await opened(settings, World(), serves=("apac",))
    text = settings.read_text()
    settings.write_text(text.replace('entities = ["us"]', 'entities = ["atlantis"]'))
    line = text.splitlines().index('entities = ["us"]') + 1
    with pytest.raises(
        ConfigurationError, match=rf"tieout.toml:{line}: group amer: there is no legal entity"
    ):
        await opened(settings, World())
