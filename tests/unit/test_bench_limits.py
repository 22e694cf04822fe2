"""What the measurements of the engine's limits stand on."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tieout.store.sqlite import SqliteStore
from tieout.store.upgrading import upgrade
from tieout_lab.bench import export, history, hub
from tieout_lab.bench.loader import Load
from tieout_lab.bench.setting import Store


def indexes(file: Path) -> set[str]:
    connection = sqlite3.connect(file)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index'").fetchall()
    finally:
        connection.close()
    return {name for (name,) in rows}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(history, "DOCUMENTS", 30)
    file = tmp_path / "planted.db"
    history.plant(Store(f"sqlite:///{file}"))
    return file


def test_history_leaves_rows_in_every_table_and_all_indexes(planted: Path, tmp_path: Path) -> None:
    upgrade(f"sqlite:///{tmp_path / 'fresh.db'}")
    assert indexes(planted) == indexes(tmp_path / "fresh.db")
    connection = sqlite3.connect(planted)
    for table in history.TABLES:
        assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (30,), table
    connection.close()


def test_the_keys_of_history_are_all_different() -> None:
    last = f"SELECT {history.TABLES['effects']['document_key'].format(**history.SQLITE)}"
    connection = sqlite3.connect(":memory:")
    found = {
        connection.execute(f"{last} FROM (SELECT ? AS i)", (number,)).fetchone()[0]
        for number in (0, 1, history.DOCUMENTS // 2, history.DOCUMENTS - 2, history.DOCUMENTS - 1)
    }
    connection.close()
    assert len(found) == 5


def test_an_export_reads_every_row_and_sees_the_log_of_writes(planted: Path) -> None:
    assert sum(export.of_sqlite(str(planted))) >= 30 * len(history.TABLES)
    size = export.log_bytes(f"sqlite:///{planted}")
    assert size() == 0
    writer = sqlite3.connect(planted, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("DELETE FROM runs")
    assert size() > 0
    writer.close()


def test_a_slow_disk_makes_each_commit_longer(tmp_path: Path) -> None:
    async def seconds(slow: float) -> float:
        store = SqliteStore(tmp_path / f"{slow}.db")
        app: Any = SimpleNamespace(hub=SimpleNamespace(store=store))
        hub.slow_down(app, slow)
        began = time.monotonic()
        await store.commit([])
        took = time.monotonic() - began
        await store.close()
        return took

    assert asyncio.run(seconds(0.2)) >= 0.2
    assert asyncio.run(seconds(0.0)) < 0.2


def test_an_open_loop_tells_how_long_answers_took() -> None:
    load = Load([b""] * 100, 1)
    load.waits = [number / 1000 for number in range(100)]
    assert load.answered_ms() == {"p50": 50.0, "p99": 99.0, "max": 99.0}
    assert Load([], 1).answered_ms() == {}
