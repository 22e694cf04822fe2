"""What a claim reads does not grow with what is finished, nor with what waits behind parked lanes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.store.facts import NOW, WORKER
from tieout.store import lanes, postgres

LIMIT = 64
READY = 100
# Rows that PostgreSQL reads for one claimed lane: by the index, to lock it, once more to change it, to give it back.
ROWS_PER_LANE = 5
PAGES_PER_LANE = 20
STEPS_PER_LANE = 150

_NUMBERS = {
    "sqlite": "WITH RECURSIVE of (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM of WHERE n < {count})",
    "postgresql": "WITH of (n) AS (SELECT generate_series(1, {count}))",
}
_LANE = """INSERT INTO lanes (lane_id, connection, kind, subject_id, state, due_at, last_seq, hints, worker_group)
    {of} SELECT '{group}{state} lane ' || n, 'billing', 'invoice', 'in_' || n, '{state}', {due} + n, n, 1, '{group}'
    FROM of"""
_EVENT = """INSERT INTO inbox (id, connection, event_id, type, lane_id, received_at, state, body)
    {of} SELECT '{state} ' || n, 'billing', '{state} ' || n, 'invoice.paid', '{lane} lane ' || (n % {lanes} + 1), {due},
    '{state}', {body} FROM of"""


def filling(dialect: str, *, finished: int, waiting: int, parked: int) -> list[str]:
    """A hub with finished events on idle lanes, others waiting behind parked lanes, and a few lanes
    ready, and many that are other groups'."""
    body = "x'00'" if dialect == "sqlite" else "'\\x00'::bytea"

    def of(count: int) -> str:
        return _NUMBERS[dialect].format(count=count)

    return [
        _LANE.format(of=of(finished), state="idle", due=NOW - 10_000_000, group=""),
        _EVENT.format(of=of(finished), state="applied", lane="idle", lanes=finished, due=NOW, body=body),
        _LANE.format(of=of(parked), state="parked", due=NOW - 20_000_000, group=""),
        _EVENT.format(of=of(waiting), state="pending", lane="parked", lanes=parked, due=NOW, body=body),
        _LANE.format(of=of(READY), state="ready", due=NOW - 1_000, group=""),
        # Longer due, and of other groups, before ours and after it in the index.
        _LANE.format(of=of(parked), state="ready", due=NOW - 20_000_000, group="emea"),
        _LANE.format(of=of(parked), state="ready", due=NOW - 20_000_000, group="zone"),
        _LANE.format(of=of(READY), state="ready", due=NOW - 1_000, group="us"),
    ]


SMALL = {"finished": 1_000, "waiting": 1_000, "parked": 100}
LARGE = {"finished": 50_000, "waiting": 50_000, "parked": 5_000}
HUGE = {"finished": 1_000_000, "waiting": 1_000_000, "parked": 100_000}


def sqlite_cost(path: Path, template: Path, size: dict[str, int], group: str) -> int:
    """The steps of SQLite's virtual machine for one claim."""
    path.write_bytes(template.read_bytes())
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        for sql in filling("sqlite", **size):
            connection.execute(sql)
        connection.execute("COMMIT")
        values = lanes.CLAIM.sqlite_values({"worker": WORKER, "now": NOW, "limit": LIMIT, "group": group})
        plan = " ".join(
            row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {lanes.CLAIM.sqlite}", values)
        )
        assert "USING INDEX lanes_ready" in plan or "USING COVERING INDEX lanes_ready" in plan
        assert "SCAN lanes" not in plan.replace("SCAN lanes USING", "")
        assert "TEMP B-TREE" not in plan
        steps = 0

        def count() -> int:
            nonlocal steps
            steps += 1
            return 0

        connection.execute("BEGIN IMMEDIATE")
        connection.set_progress_handler(count, 1)
        claimed = connection.execute(lanes.CLAIM.sqlite, values).fetchall()
        connection.set_progress_handler(None, 1)
        connection.execute("ROLLBACK")
        assert len(claimed) == LIMIT
        return steps
    finally:
        connection.close()


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


def postgres_cost(url: str, size: dict[str, int], group: str) -> tuple[int, int]:
    """Rows and pages that PostgreSQL reads for one claim, in the session that the store uses."""
    with psycopg.connect(url, autocommit=True) as connection:
        for sql in filling("postgresql", **size):
            connection.execute(sql)  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
        connection.execute("; ".join(postgres._SESSION))  # type: ignore[arg-type]
        connection.execute(f"PREPARE claim (text, text, bigint, bigint) AS {lanes.CLAIM.postgres}")  # type: ignore[arg-type]
        values = lanes.CLAIM.postgres_values({"worker": WORKER, "now": NOW, "limit": LIMIT, "group": group})
        listed = ", ".join(repr(value) for value in values)
        connection.execute("BEGIN")
        ((explained,),) = connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE claim ({listed})"  # type: ignore[arg-type]
        ).fetchall()
        connection.execute("ROLLBACK")
    plan = (json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"]
    scans = [node for node in nodes(plan) if node["Node Type"].endswith("Scan")]
    assert "lanes_ready" in {node.get("Index Name") for node in scans}
    assert not [node for node in scans if node["Node Type"] == "Seq Scan"]
    assert plan["Actual Rows"] == LIMIT
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes(plan)
    )
    return int(read), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def compare_sqlite(path: Path, template: Path, big: dict[str, int], group: str) -> None:
    small, large = (
        sqlite_cost(path / "small.db", template, SMALL, group),
        sqlite_cost(path / "large.db", template, big, group),
    )
    assert large <= LIMIT * STEPS_PER_LANE
    assert abs(large - small) <= LIMIT


def compare_postgres(url: str, empty: Callable[[], None], big: dict[str, int], group: str) -> None:
    small_rows, _ = postgres_cost(url, SMALL, group)
    empty()
    large_rows, large_pages = postgres_cost(url, big, group)
    assert large_rows == small_rows <= LIMIT * ROWS_PER_LANE
    assert large_pages <= LIMIT * PAGES_PER_LANE


@pytest.fixture
def empty(clean_postgres_url: str) -> Callable[[], None]:
    def truncate() -> None:
        with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
            connection.execute("TRUNCATE lanes, inbox")

    return truncate


@pytest.mark.parametrize("group", ["", "us"])
def test_the_claim_on_sqlite(tmp_path: Path, upgraded_sqlite: Path, group: str) -> None:
    compare_sqlite(tmp_path, upgraded_sqlite, LARGE, group)


@pytest.mark.postgres
@pytest.mark.parametrize("group", ["", "us"])
def test_the_claim_on_postgres(clean_postgres_url: str, empty: Callable[[], None], group: str) -> None:
    compare_postgres(clean_postgres_url, empty, LARGE, group)


@pytest.mark.soak
def test_the_claim_on_sqlite_behind_a_million(tmp_path: Path, upgraded_sqlite: Path) -> None:
    compare_sqlite(tmp_path, upgraded_sqlite, HUGE, "us")


@pytest.mark.soak
@pytest.mark.postgres
def test_the_claim_on_postgres_behind_a_million(clean_postgres_url: str, empty: Callable[[], None]) -> None:
    compare_postgres(clean_postgres_url, empty, HUGE, "us")


@pytest.mark.postgres
def test_the_plan_holds_on_statistics_of_an_empty_table(clean_postgres_url: str) -> None:
    """The plan that a queue loses its speed by: made on an empty table, kept when there are thousands."""
    with psycopg.connect(clean_postgres_url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE lanes")
        connection.execute("; ".join(postgres._SESSION))  # type: ignore[arg-type]
        connection.execute(f"PREPARE claim (text, text, bigint, bigint) AS {lanes.CLAIM.postgres}")  # type: ignore[arg-type]
        listed = f"'{WORKER}', '', {NOW}, {LIMIT}"
        found = connection.execute(f"EXPLAIN EXECUTE claim ({listed})").fetchall()  # type: ignore[arg-type]
    plan = "\n".join(row[0] for row in found)
    assert "lanes_ready" in plan
    assert "Seq Scan" not in plan
