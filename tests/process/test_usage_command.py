"""`tieout usage report` from the file to the meter, over real sockets, by the command that a person gives."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.process.test_usage import meter
from tests.process.web_world import write_company
from tests.unit.test_cli_commands import _own_logging, call
from tieout.app import compose, read_settings, system_ports
from tieout.engine.standing import standing
from tieout.store.upgrading import upgrade
from tieout_lab.conformance.world import serve
from tieout_lab.twins import stripe
from tieout_lab.twins.clock import SystemTwinClock

__all__ = ["_own_logging"]


async def work_until_quiet(path: Path) -> None:
    app = await compose(read_settings(path), system_ports())
    await app.start()
    async with asyncio.timeout(60):
        while not (await standing(app.hub)).quiet:
            await asyncio.sleep(0.2)
    await app.stop()


def test_a_file_goes_to_the_meter_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = stripe.create(SystemTwinClock())
    with serve(twin) as served:
        account = twin.accounts["acct_us"]
        meter(SimpleNamespace(billing=twin))
        path = write_company(tmp_path, stripe=served.url)
        path.write_text(path.read_text().replace("sk_test_us", account.api_key))
        upgrade(f"sqlite:///{tmp_path / 'tieout.db'}")
        with sqlite3.connect(tmp_path / "tieout.db") as database:
            bound = ("customer", "crm-main|account|001A", "billing-us", "cus_1", 0)
            names = "kind, canonical_id, connection, external_id, valid_from"
            database.execute(f"INSERT INTO crosswalk ({names}) VALUES (?, ?, ?, ?, ?)", bound)
        database.close()
        now = datetime.fromtimestamp(account.now(), UTC).isoformat()
        file = tmp_path / "usage.csv"
        file.write_text(f"identifier,customer,meter,quantity,at\nu-1,cus_1,calls,12.5,{now}\n")
        report = ("--config", path, "usage", "report", file, "--connection", "billing-us", "--json")

        def said() -> dict[str, object]:
            found = json.loads(capsys.readouterr().out)
            return {name: found[name] for name in ("taken", "counts")}

        assert call(*report, "--dry-run") == 0
        assert said() == {"taken": False, "counts": {"new": 1}}
        assert account.all("meter_events") == []
        assert call(*report) == 0
        assert said() == {"taken": True, "counts": {"new": 1}}
        asyncio.run(work_until_quiet(path))
        assert call(*report) == 0
        assert said() == {"taken": False, "counts": {"reported": 1}}
        (event,) = account.all("meter_events")
        assert (event["identifier"], event["payload"]["value"]) == ("u-1", "12.5")
        with file.open("a") as more:
            more.write(f"u-2,cus_2,calls,1,{now}\n")
        assert call(*report) == 1
        assert said() == {"taken": False, "counts": {"reported": 1, "refused": 1}}
        assert len(account.all("meter_events")) == 1
