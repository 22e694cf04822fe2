"""Shared by every tier: which tier a test is in, where PostgreSQL is, where the vendors' specifications are.

A test says what it needs by asking for a fixture. What this machine cannot give is left out, and the summary
at the end names what was left out and why; with TIEOUT_REQUIRE_POSTGRES=1 a missing PostgreSQL is a failure.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from tests import house_rules
from tieout_lab.tryton import sabotage
from tieout_lab.tryton.proxy import TrytonProxy
from tieout_lab.tryton.server import NotThere, Server, served
from tieout_lab.twins.clock import SystemTwinClock

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tests"
SPECS = ROOT.parent / "shared" / "specs"
TIERS = frozenset({"unit", "store", "conformance", "process", "simulation", "upgrade", "e2e", "browser"})

POSTGRES = "TIEOUT_TEST_POSTGRES"
REQUIRE_POSTGRES = "TIEOUT_REQUIRE_POSTGRES"
NATS = "TIEOUT_TEST_NATS"
REQUIRE_NATS = "TIEOUT_REQUIRE_NATS"
REQUIRE_TRYTON = "TIEOUT_REQUIRE_TRYTON"
NO_POSTGRES = f"PostgreSQL: {POSTGRES} names no server (postgresql://user@host:port/database)"

_deselected: Counter[str] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folder is the tier; a test that asks for a database is of the postgres tier too. What waits for processes
    comes first: left to the end, it was all that two idle cores had to do for the last four minutes."""
    items.sort(key=lambda item: not item.path.is_relative_to(TESTS / "e2e"))
    for item in items:
        inside = item.path.is_relative_to(TESTS)
        tier = item.path.relative_to(TESTS).parts[0] if inside else ""
        if tier in TIERS:
            item.add_marker(tier)
        if {"postgres_url", "empty_postgres_url"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("postgres")


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("soak"):
            _deselected["soak: run it with `make soak`"] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out, so that a green line never says more than it knows."""
    left_out = Counter(_deselected)
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        left_out[reason.removeprefix("Skipped: ")] += 1
    if left_out:
        terminalreporter.section("left out")
        for reason, count in sorted(left_out.items()):
            terminalreporter.write_line(f"{count:5} x {reason}")
    elif not os.environ.get(POSTGRES):
        terminalreporter.section("left out")
        terminalreporter.write_line(f"    {NO_POSTGRES}")
    if long := house_rules.long_files(ROOT / "src"):
        terminalreporter.section(f"files over {house_rules.LINES_WORTH_A_LOOK} lines")
        for path, lines in long:
            terminalreporter.write_line(f"{lines:5} {path.relative_to(ROOT)}")


# ------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a server on which we may create databases."""
    url = os.environ.get(POSTGRES)
    if url:
        return url
    if os.environ.get(REQUIRE_POSTGRES) == "1":
        pytest.fail(NO_POSTGRES, pytrace=False)
    pytest.skip(NO_POSTGRES)


@pytest.fixture(scope="session")
def postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of this test session's own, dropped at its end."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    yield from _database(postgres_server, f"tieout_test_{os.getpid()}_{worker}")


@pytest.fixture
def empty_postgres_url(postgres_server: str) -> Iterator[str]:
    """A database of this one test's own; slower, for what a shared one would disturb."""
    yield from _database(postgres_server, f"tieout_test_{os.getpid()}_{os.urandom(4).hex()}")


def _database(server: str, name: str) -> Iterator[str]:
    identifier = sql.Identifier(name)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(identifier)
        )
    try:
        yield _url(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(identifier))


def _url(server: str, database: str) -> str:
    parts = conninfo_to_dict(server)
    user = str(parts.get("user", ""))
    password = f":{parts['password']}" if "password" in parts else ""
    login = f"{user}{password}@" if user else ""
    return f"postgresql://{login}{parts.get('host', '127.0.0.1')}:{parts.get('port', 5432)}/{database}"


# -------------------------------------------------------------------------------------------------------- NATS


@pytest.fixture(scope="session")
def nats_url() -> str:
    """A NATS server with JetStream, on which streams may be made: the one that is named, else the one on loopback."""
    url = os.environ.get(NATS, "nats://127.0.0.1:4222")
    parts = urlsplit(url)
    missing = "" if find_spec("nats") else "nats-py is not installed: pip install 'tieout[nats]'"
    if not missing:
        try:
            socket.create_connection((parts.hostname, parts.port or 4222), timeout=2).close()
        except OSError:
            missing = f"no server at {url}, and {NATS} names no other"
    if missing and os.environ.get(REQUIRE_NATS) == "1":
        pytest.fail(f"NATS: {missing}", pytrace=False)
    if missing:
        pytest.skip(f"NATS: {missing}")
    return url


# ------------------------------------------------------------------------------------------------------ Tryton


@pytest.fixture(scope="session")
def tryton_server(postgres_server: str) -> Iterator[Server]:
    """The real ERP over a database of this test session's own."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    try:
        with served(postgres_server, f"tieout_tryton_test_{os.getpid()}_{worker}") as server:
            yield server
    except NotThere as missing:
        if os.environ.get(REQUIRE_TRYTON) == "1":
            pytest.fail(f"Tryton: {missing}", pytrace=False)
        pytest.skip(f"Tryton: {missing}")


@pytest.fixture
def tryton_proxy(tryton_server: Server) -> TrytonProxy:
    """The real ERP behind its faults, as it was planted."""
    if not tryton_server.answers():
        tryton_server.start()
    sabotage.empty(tryton_server)
    return TrytonProxy(SystemTwinClock(), tryton_server)


# -------------------------------------------------------------------------------- the vendors' specifications


@pytest.fixture(scope="session")
def spec_path() -> Callable[[str], Path]:
    """`spec_path("stripe/openapi.json")`: the vendor's own published specification.

    They are not in this repository, because their licences are their vendors'; they lie beside it.
    """

    def resolve(name: str) -> Path:
        path = SPECS / name
        if not path.exists():
            pytest.skip("vendor specifications: not beside this checkout (../shared/specs)")
        return path

    return resolve
