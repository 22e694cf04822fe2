"""The command line: what it writes, says, and answers; never a traceback for what is somebody's to mend."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from tests.process.web_world import write_company
from tieout import __version__
from tieout.canonical.secret import Secret
from tieout.cli import logs, preparing
from tieout.cli.lock import holder, only_instance
from tieout.cli.main import main
from tieout.cli.session import plain
from tieout.masterdata.tables import SHAPES
from tieout.settings import ConfigurationError, SettingsFile


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """The program sets up logging for its process: here that is everybody's."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(one) for one in arguments])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_init_writes_what_can_be_read_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "tieout.toml"
    assert call("--config", path, "init") == 0
    file = SettingsFile(path)
    assert file.settings.company == "example"
    assert {shape.table for shape in SHAPES} == {one.stem for one in (tmp_path / "rules").glob("*.csv")}
    for shape in SHAPES:
        header, row = (tmp_path / "rules" / f"{shape.table}.csv").read_text().splitlines()
        assert header == ",".join(shape.header)
        assert len(row.split(",")) == len(shape.header)
    before = path.read_text()
    assert call("--config", path, "init") == 2
    assert "stands already" in capsys.readouterr().err
    assert path.read_text() == before


def test_every_connectors_own_example_is_well_formed_toml() -> None:
    text = preparing.configuration()
    found = tomllib.loads(text)
    roles = {section["role"] for section in found["connections"].values()}
    assert {"crm", "billing", "erp"} <= roles
    assert found["entities"][0]["billing"] in found["connections"]
    assert found["entities"][0]["erp"] in found["connections"]


def test_the_example_of_each_section_is_accepted_once_its_secrets_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tieout.app import configuration_errors, read_settings, system_ports

    path = tmp_path / "tieout.toml"
    assert call("--config", path, "init") == 0
    secrets = ("NETSUITE_PRIVATE_KEY", "STRIPE_US_API_KEY", "STRIPE_US_WEBHOOK_SECRET", "TRYTON_PASSWORD")
    for name in secrets:
        monkeypatch.setenv(name, "x")
    for section in tomllib.loads(path.read_text())["connections"].values():
        for value in section.values():
            if isinstance(value, dict) and "file" in value:
                (tmp_path / value["file"]).write_text("x")
    assert configuration_errors(read_settings(path), system_ports()) == []


def test_no_database_yet_names_the_command_that_makes_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_company(tmp_path)
    for command in (["trace", "INV1"], ["events"], ["exceptions", "list"], ["audit", "verify"], ["status"]):
        assert call("--config", path, *command) == 2
        said = capsys.readouterr().err
        assert "tieout migrate" in said
        assert "Traceback" not in said
    assert not (tmp_path / "tieout.db").exists()


def test_an_unusable_configuration_is_one_line_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_company(tmp_path)
    path.write_text(path.read_text().replace('company = "demo"', 'compani = "demo"'))
    assert call("--config", path, "events") == 2
    said = capsys.readouterr().err
    assert "tieout.toml:1:" in said
    assert "did you mean company?" in said
    assert "Traceback" not in said
    assert call("--config", tmp_path / "none.toml", "events") == 2
    assert "tieout init" in capsys.readouterr().err


def test_overlapping_rules_are_named_by_check_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_company(tmp_path)
    with (tmp_path / "rules" / "terms.csv").open("a") as table:
        table.write("N30b,NET30,45,3,2026-01-01,\n")
    assert call("--config", path, "check", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    errors = [one["message"] for one in report["findings"] if one["level"] == "error"]
    assert any("terms.csv:3:" in one for one in errors)
    assert not (tmp_path / "tieout.key").exists()


def test_an_empty_hub_teaches_and_an_unknown_id_is_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_company(tmp_path)
    assert call("--config", path, "migrate") == 0
    assert call("--config", path, "migrate", "--json") == 0
    capsys.readouterr()
    for command, taught in (
        (["events"], "/hooks/<connection>"),
        (["exceptions", "list"], "Nothing waits"),
        (["approvals", "list"], "one thing that does"),
        (["audit", "verify"], "0 entries hold"),
        (["outbox", "list"], "docs/events.md"),
        (["outbox", "receivers"], "Nobody is told"),
        (["status"], "quiet"),
    ):
        assert call("--config", path, *command) == 0
        assert taught in capsys.readouterr().out
        assert call("--config", path, *command, "--json") == 0
        json.loads(capsys.readouterr().out)
    for command in (["trace", "INV1001"], ["exceptions", "show", "none"], ["approvals", "show", "none"]):
        assert call("--config", path, *command) == 1
        assert "tieout" in capsys.readouterr().err
    assert call("--config", path, "replay", "billing-us|invoice|in_1", "--dry-run") == 1
    assert call("--config", path, "replay", "billing-us|invoice|in_1") == 2
    assert call("--config", path, "trace") == 2


def test_every_command_has_an_example_and_a_json_form(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [
        "init",
        "check",
        "migrate",
        "up",
        "serve",
        "work",
        "trace",
        "events",
        "status",
        "replay",
        "books",
    ]
    groups = {
        "exceptions": ["list", "show", "retry", "resolve", "defer"],
        "approvals": ["list", "show", "approve", "reject"],
        "audit": ["verify"],
        "outbox": ["list", "receivers", "replay", "enable", "test", "secret"],
    }
    every = [[one] for one in commands] + [[group, one] for group, ones in groups.items() for one in ones]
    for command in every:
        assert call(*command, "--help") == 0
        shown = capsys.readouterr().out
        assert "Examples:" in shown, command
        assert "--json" in shown, command
    assert call("--help") == 0
    assert "Exit codes" in capsys.readouterr().out
    assert call("--version") == 0
    assert capsys.readouterr().out == f"tieout {__version__}\n"


def test_a_command_starts_without_what_only_a_migration_needs() -> None:
    """Alembic and SQLAlchemy were a third of what every start cost."""
    code = "import sys, tieout.cli.main; print(sorted({'alembic', 'sqlalchemy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_one_process_works_on_one_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tieout.db'}"
    assert holder(url) is None
    with only_instance(url):
        assert holder(url) is not None
        with pytest.raises(ConfigurationError, match=r"in use by process \d+"), only_instance(url):
            pass
    with only_instance(url), only_instance("postgresql://host/name"):
        pass


def test_secrets_never_reach_the_log() -> None:
    event = {
        "event": "call failed with Bearer abcdefghijkl and sk_live_12345678",
        "api_key": "sk_live_12345678",
        "headers": {"Authorization": "Basic abc", "x": "1"},
        "held": Secret("hush"),
        "url": "postgresql://me:hush@db/x",
        "body": b"raw",
        "pem": "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----",
        "lane": "billing-us|invoice|in_1",
        "trace": "T1",
    }
    shown = msgspec.json.encode(logs.redact(None, "", event)).decode()
    for secret in ("abcdefghijkl", "12345678", "Basic abc", "hush", "nabc"):
        assert secret not in shown
    assert "billing-us|invoice|in_1" in shown
    assert '"trace":"T1"' in shown


def test_a_terminal_is_not_driven_by_a_customers_name() -> None:
    assert "\x1b" not in plain("Evil \x1b[2J \u202e name")
    assert plain("=cmd|' /C calc'!A0, 日本") == "=cmd|' /C calc'!A0, 日本"


def test_a_log_that_nobody_reads_does_not_stop_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed standard error once turned a forged webhook's 401 into a 500."""
    logs.configure("info")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    structlog.get_logger("t").warning("said", lane="x")
    logging.getLogger("t").warning("said")
