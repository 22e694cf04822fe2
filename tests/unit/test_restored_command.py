"""`tieout restored`, and the mark beside the key that notices a database which went back."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from tests.process.web_world import write_company
from tests.unit.test_cli_commands import _own_logging, call  # noqa: F401 - its fixture keeps logging as it was
from tieout.app import compose, read_settings, system_ports
from tieout.cli import mark
from tieout.cli.lock import only_instance
from tieout.engine import sealing
from tieout.store import people

BACKUP = "2026-01-31T04:00:00Z"


@pytest.fixture
def company(tmp_path: Path) -> Path:
    path = write_company(tmp_path)
    assert call("--config", path, "migrate") == 0
    return path


def _worked(path: Path, *audits: str) -> None:
    """A hub that did these things, sealed them and wrote its mark."""

    async def work() -> None:
        file = read_settings(path)
        app = await compose(file, system_ports())
        for action in audits:
            row = {"audit_id": app.hub.ids.new(), "at": app.hub.now(), "actor": "hub", "action": action}
            await app.hub.store.commit([(people.AUDIT, {**row, "subject": "", "trace": "", "detail": ""})])
        await sealing.seal(app.hub)
        await mark.write(app.hub, mark.mark_file(file))
        await app.close()

    asyncio.run(work())


def _rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path.parent / "tieout.db")) as database:
        return database.execute(sql).fetchall()


def test_it_is_noted_with_the_moment_and_the_horizon(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert call("--config", company, "restored", "--backup-taken-at", BACKUP, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["backup_taken_at"] == BACKUP
    assert said["horizon_seconds"] >= 900
    assert said["worked_until"] is None
    moment = int(datetime(2026, 1, 31, 4, tzinfo=UTC).timestamp()) * 1_000_000
    assert _rows(company, "SELECT backup_taken_at, listed_seq, ended_at FROM restores") == [
        (moment, None, None)
    ]
    assert _rows(company, "SELECT action FROM audit") == [("database.restored",)]
    assert call("--config", company, "check") == 1
    out = capsys.readouterr().out
    assert "restored from a backup of 2026-01-31 04:00" in out
    assert "crm-main" in out


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ("yesterday", "no moment"),
        ("2026-01-31T04:00:00", "no offset"),
        ("2999-01-01T00:00:00Z", "still to come"),
    ],
)
def test_a_moment_that_cannot_be_meant_is_refused(
    given: str, word: str, company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("--config", company, "restored", "--backup-taken-at", given) == 2
    said = capsys.readouterr().err
    assert word in said
    assert "Traceback" not in said
    assert _rows(company, "SELECT 1 FROM restores") == []


def test_it_is_refused_while_a_process_works_on_the_file(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_instance(f"sqlite:///{company.parent / 'tieout.db'}"):
        assert call("--config", company, "restored", "--backup-taken-at", BACKUP) == 2
    assert "one process works on one SQLite file" in capsys.readouterr().err
    assert _rows(company, "SELECT 1 FROM restores") == []


def test_on_postgres_it_waits_for_the_leases_that_the_backup_holds(
    company: Path, empty_postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--config", company, "--database", empty_postgres_url)
    assert call(*given, "migrate") == 0
    with psycopg.connect(empty_postgres_url, autocommit=True) as database:
        row = "INSERT INTO workers (worker_id, started_at, lease_until) VALUES ('w', 1, %s)"
        database.execute(row, [(2**62)])
        assert call(*given, "restored", "--backup-taken-at", BACKUP) == 2
        assert "a worker holds a lease" in capsys.readouterr().err
        assert database.execute("SELECT 1 FROM restores").fetchall() == []
        database.execute("DELETE FROM workers")
        assert call(*given, "restored", "--backup-taken-at", BACKUP) == 0
        assert database.execute("SELECT listed_seq, ended_at FROM restores").fetchall() == [(None, None)]


def test_a_database_that_went_back_is_refused_until_it_is_told(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = company.parent / "tieout.db"
    _worked(company, "one", "two")
    shutil.copy(database, company.parent / "backup.db")
    assert call("--config", company, "check") in (0, 1)
    assert "older than it was" not in capsys.readouterr().out
    _worked(company, "three", "four")
    shutil.copy(company.parent / "backup.db", database)
    for command in (["up"], ["work"], ["serve"]):
        assert call("--config", company, *command) == 2
        said = capsys.readouterr().err
        assert "older than it was" in said
        assert "tieout restored" in said
    assert call("--config", company, "check") == 1
    assert "older than it was" in capsys.readouterr().out.replace("\n", " ")
    assert call("--config", company, "restored", "--backup-taken-at", BACKUP) == 0
    assert "the hub has worked on it since" in capsys.readouterr().out.replace("\n", " ")
    _worked(company, "five")
    assert call("--config", company, "check") == 1
    assert "older than it was" not in capsys.readouterr().out.replace("\n", " ")


def test_the_same_number_of_other_entries_is_noticed_too(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It went back, and an older process has written on it since: as many entries, but not those."""
    database = company.parent / "tieout.db"
    _worked(company, "one")
    shutil.copy(database, company.parent / "backup.db")
    _worked(company, "two")
    marked = mark.mark_file(read_settings(company)).read_bytes()
    shutil.copy(company.parent / "backup.db", database)
    mark.mark_file(read_settings(company)).unlink()
    _worked(company, "another")
    mark.mark_file(read_settings(company)).write_bytes(marked)
    assert call("--config", company, "up") == 2
    assert "older than it was" in capsys.readouterr().err


def test_another_database_and_a_mark_that_cannot_be_read_are_not_judged(company: Path) -> None:
    async def judged(path: Path) -> str:
        app = await compose(read_settings(path), system_ports())
        try:
            return await mark.went_back(app.hub, mark.mark_file(read_settings(path)))
        finally:
            await app.close()

    _worked(company, "one", "two", "three")
    (company.parent / "tieout.db").unlink()
    assert asyncio.run(judged(company)) == ""
    _worked(company, "one")
    assert asyncio.run(judged(company)) == ""
    mark.mark_file(read_settings(company)).write_text("{")
    assert asyncio.run(judged(company)) == ""


def test_a_newer_schema_is_refused_with_its_remedy(company: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(company.parent / "tieout.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        # One that says so of itself: its tables are not what this release could work on.
        database.execute("UPDATE counters SET value = 9999 WHERE name = 'schema_compatible_since'")
    for command in (
        ["up"],
        ["work"],
        ["serve"],
        ["migrate"],
        ["events"],
        ["restored", "--backup-taken-at", BACKUP],
    ):
        assert call("--config", company, *command) == 2
        said = capsys.readouterr().err
        assert "newer; upgrade tieout" in said
        assert "tieout migrate" not in said
    assert call("--config", company, "check") == 1
    assert "upgrade tieout" in capsys.readouterr().out


def test_two_processes_on_one_file_are_refused_by_whatever_name(
    company: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = company.parent / "other.db"
    other.symlink_to(company.parent / "tieout.db")
    with only_instance(f"sqlite:///{company.parent / 'tieout.db'}"):
        for name in ("tieout.db", "other.db"):
            url = f"sqlite:///{company.parent / name}"
            assert call("--config", company, "--database", url, "up") == 2
            assert "is in use by process" in capsys.readouterr().err
