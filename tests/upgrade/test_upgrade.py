"""What an earlier release has left: its stored values are read, its half-done effects finished, nothing made twice."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.upgrade.outside import World, company, opened, rest
from tieout.app import App
from tieout.canonical.model import encode
from tieout.canonical.order import Order
from tieout.canonical.write import decode_write, encode_write
from tieout.engine import invariants, sealing
from tieout.engine.keys import content_hash, document_key
from tieout.engine.lane import Frozen, key_name
from tieout.engine.ledger import effect_of, receipt_of
from tieout.processes.close_won import Activation
from tieout.store import effects
from tieout.store.revision import newest, present
from tieout.store.statements import Statement

FIXTURES = Path(__file__).parent / "fixtures"
REVISIONS = sorted(path.name for path in FIXTURES.iterdir())


def _left(folder: Path, revision: str) -> tuple[Path, World]:
    """The folder as the killed hub left it."""
    given = FIXTURES / revision
    settings = company(folder)
    with closing(sqlite3.connect(folder / "tieout.db")) as database:
        database.executescript((given / "tieout.sql").read_text())
    shutil.copy(given / "master-key.txt", folder / "tieout.key")
    (folder / "tieout.key").chmod(0o600)
    assert present(f"sqlite:///{folder / 'tieout.db'}") == revision
    world = msgspec.json.decode((given / "outside.json").read_bytes(), type=World)
    world.hanging = {}
    return settings, world


async def _rows(app: App, sql: str) -> list[tuple[Any, ...]]:
    return await app.hub.store.fetch(Statement("test", sql, returns=True), {})


async def _unseal(app: App, box: bytes, place: str, name: str) -> bytes:
    await app.hub.open_key(name)
    return app.hub.keyring.unseal(bytes(box), place, name)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_everything_that_was_stored_is_read(revision: str, tmp_path: Path) -> None:
    settings, world = _left(tmp_path, revision)
    app = await opened(settings, world)
    try:
        assert present(f"sqlite:///{tmp_path / 'tieout.db'}") == newest()
        ledger = [effect_of(row) for row in await _rows(app, f"SELECT {effects.COLUMNS} FROM effects")]
        assert {row.state for row in ledger} >= {"SENT", "CONFIRMED"}
        for row in ledger:
            assert document_key(row.effect_key) == row.document_key
            name = key_name(row.lane_id, row.lane_id.split("|")[1])
            raw = await _unseal(app, row.request, f"effects|{row.effect_key}", name)
            # The same bytes: else every re-run would find that it decides otherwise.
            assert encode_write(decode_write(raw)) == raw
            assert content_hash(raw) == row.request_hash
            if row.state == "CONFIRMED":
                assert receipt_of(row).external_id == row.external_id
        types = {"order": Order, "activation": Activation}
        for kind, key, box in await _rows(app, "SELECT kind, key, body FROM records"):
            raw = await _unseal(app, box, f"records|{kind}|{key}", "company")
            assert encode(msgspec.json.decode(raw, type=types[kind])) == raw
        for (frozen,) in await _rows(app, "SELECT frozen FROM lanes WHERE frozen <> ''"):
            assert msgspec.json.decode(frozen, type=Frozen).entity == "us"
        for key, box, hashed in await _rows(app, "SELECT assign_key, fields, fields_hash FROM assigns"):
            assert content_hash(await _unseal(app, box, f"assigns|{key}", "company")) == hashed
        for connection, event_id, box in await _rows(app, "SELECT connection, event_id, body FROM inbox"):
            await _unseal(app, box, f"inbox|{connection}|{event_id}", "company")
        verdict = await sealing.verify(app.hub)
        assert (verdict.first_bad, verdict.rows > 0) == (0, True), verdict.message
    finally:
        await app.close()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_what_was_half_done_is_finished_and_nothing_is_made_twice(
    revision: str, tmp_path: Path
) -> None:
    settings, world = _left(tmp_path, revision)
    before = {key: list(made) for key, made in world.documents.items()}
    app = await opened(settings, world)
    in_doubt = await _rows(app, "SELECT operation, source FROM effects WHERE state = 'SENT'")
    assert len(in_doubt) == 5
    try:
        await app.start()
        states = await rest(app, within_seconds=60)
        # One deal waits for a person, as it did before.
        assert (states.get("parked"), states.get("waiting")) == (1, None)
        assert all(len(made) == 1 for made in world.documents.values())
        assert all(world.documents[key] == made for key, made in before.items())
        made = sorted(one for (one,) in world.documents.values())
        wanted = [f"subscription.create-006D{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9)]
        wanted += [f"customer.create-001D{number}" for number in (1, 2, 3, 4, 5, 7, 8, 9)]
        wanted += [f"customer.create-001D{number}#us" for number in (1, 4, 5, 8)]
        wanted += [f"invoice.create-in_{number}" for number in (1, 4, 5, 8)]
        assert made == sorted(wanted)
        for number in (1, 2, 3, 4, 5, 7, 8, 9):
            assert world.fields[f"crm-main|opportunity|006D{number}"]["status"] == "active"
        broken = [one for one in await invariants.examine(app.hub) if one.state == "broken"]
        assert broken == []
    finally:
        await app.stop()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_worker_of_the_earlier_release_goes_on_beside_the_new_tables(
    revision: str, tmp_path: Path
) -> None:
    """Columns and tables are only added: whatever an earlier release writes without knowing of them is taken."""
    settings, world = _left(tmp_path, revision)
    with closing(sqlite3.connect(tmp_path / "tieout.db")) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        old = {name: {row[1] for row in database.execute(f"PRAGMA table_info({name})")} for name in tables}
    app = await opened(settings, world)
    await app.close()
    with closing(sqlite3.connect(tmp_path / "tieout.db")) as database:
        for name, columns in old.items():
            new = {row[1]: row for row in database.execute(f"PRAGMA table_info({name})")}
            assert columns <= set(new), name
            for added in set(new) - columns:
                _, _, _, not_null, default, _ = new[added]
                assert not not_null or default is not None, f"{name}.{added}"
