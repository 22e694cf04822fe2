"""A million documents that are long done, written into a fresh database by SQL: rows in every table that a document
leaves behind. Their bodies are short, their keys lie where those of new documents will lie."""

from __future__ import annotations

import sqlite3

import psycopg

from tieout.store.upgrading import upgrade
from tieout_lab.bench.setting import Store

DOCUMENTS = 1_000_000
# Invoice numbers reach up to here; of each hundred one is history's.
SPAN = 100_000_000
EACH = SPAN // DOCUMENTS
# Between two keys that look like hashes: the last one still fits into an integer of the databases.
SPREAD = 2**63 // DOCUMENTS
_AT = "1760000000000000 + i"
# Text and bytes as each database writes them. `{n}`: the invoice's number, `{i}`: the document's own, `{spread}`: 16
# characters spread over all there are, as those of a hash.
SQLITE = {
    "n": f"printf('%08d', i * {EACH} + {EACH // 2})",
    "i": "printf('%012d', i)",
    "spread": f"printf('%016X', i * {SPREAD})",
    "box": "zeroblob(200)",
}
_POSTGRES = {
    "n": f"lpad((i * {EACH} + {EACH // 2})::text, 8, '0')",
    "i": "lpad(i::text, 12, '0')",
    "spread": f"lpad(upper(to_hex(i::bigint * {SPREAD})), 16, '0')",
    "box": "decode(repeat('00', 200), 'hex')",
}
_LANE = "'stripe-us|invoice|in_' || {n}"
_EFFECT = "'demo|netsuite-main|invoice.create|stripe-us|invoice|in_' || {n} || '|0|0'"
_ERP = "CAST(10000000 + i AS TEXT)"
TABLES: dict[str, dict[str, str]] = {
    "inbox": {
        "seq": "i + 1", "id": "'0' || {i}", "connection": "'stripe-us'", "event_id": "'evt_h' || {n}",
        "type": "'invoice.finalized'", "lane_id": _LANE, "occurred_at": _AT, "received_at": _AT,
        "state": "'applied'", "run_id": "'0' || {i}", "body": "{box}",
    },
    "lanes": {
        "lane_id": _LANE, "connection": "'stripe-us'", "kind": "'invoice'", "subject_id": "'in_' || {n}",
        "state": "'idle'", "due_at": _AT, "fence": "1", "last_seq": "i + 1", "hints": "1", "run_id": "'0' || {i}",
        "frozen": """'{{"entity":"us","connections":["netsuite-main"]}}'""", "trace": "'T' || {n}",
    },
    "runs": {
        "run_id": "'0' || {i}", "lane_id": _LANE, "process": "'invoice'", "attempt": "1", "started_at": _AT,
        "ended_at": _AT, "outcome": "'done'", "actor": "'hub'", "trace": "'T' || {n}",
    },
    "effects": {
        "effect_key": _EFFECT, "document_key": "{spread}", "lane_id": _LANE, "process": "'invoice'",
        "connection": "'netsuite-main'", "operation": "'invoice.create'",
        "source": _LANE, "state": "'CONFIRMED'", "attempt": "1", "request": "{box}", "request_hash": "{spread}",
        "planned_at": _AT, "first_sent_at": _AT, "sent_at": _AT, "confirmed_at": _AT, "fence": "1",
        "external_id": _ERP, "receipt": "'{{}}'", "run_id": "'0' || {i}", "trace": "'T' || {n}",
    },
    "documents": {
        "effect_key": _EFFECT, "connection": "'netsuite-main'", "kind": "'invoice'", "external_id": _ERP,
        "number": "'INV' || {n}", "status": "'POSTED'", "entity": "'us'", "currency": "'USD'",
        "total_minor": "156049", "tax_minor": "10549", "day": "'2025-10-01'", "period": "'Oct 2025'",
        "source": _LANE, "source_number": "'BENCH-' || {n}", "reason": "'finalised'", "lane_id": _LANE,
        "trace": "'T' || {n}", "verified_at": _AT, "created_at": _AT,
    },
    "assigns": {
        "assign_key": f"{_LANE} || '|erp'", "connection": "'stripe-us'", "kind": "'invoice'",
        "target_id": "'in_' || {n}", "field_group": "'erp'", "revision": "1", "state": "'CONFIRMED'",
        "fields": "{box}", "fields_hash": "{spread}", "lane_id": _LANE, "planned_at": _AT, "confirmed_at": _AT,
        "attempt": "1",
    },
    "needs": {
        "need_key": f"'posted-invoice|' || {_LANE} || '|netsuite-main'", "met_at": _AT, "value": _ERP,
    },
    "audit": {
        "seq": "i + 1", "audit_id": "'0' || {i}", "at": _AT, "actor": "'hub'", "action": "'effect.confirmed'",
        "subject": _EFFECT, "trace": "'T' || {n}",
    },
    "audit_chain": {"number": "i + 1", "seq": "i + 1", "hash": "{spread}"},
}  # fmt: skip


def inserts(texts: dict[str, str], rows: str) -> list[str]:
    """One statement for each table; `rows` is what gives `i`."""
    return [
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT "
        f"{', '.join(value.format(**texts) for value in columns.values())} {rows}"
        for table, columns in TABLES.items()
    ]


def plant(store: Store) -> None:
    """Make the tables and fill them. Indexes are made afterwards, which is several times as quick."""
    upgrade(store.url)
    if store.kind == "SQLite":
        _plant_sqlite(store.url.removeprefix("sqlite:///"))
    else:
        _plant_postgres(store.url)


def _plant_sqlite(file: str) -> None:
    connection = sqlite3.connect(file, isolation_level=None)
    for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "cache_size = -500000"):
        connection.execute(f"PRAGMA {pragma}")
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    connection.execute("BEGIN")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    counted = f"WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < {DOCUMENTS - 1})"
    for insert in inserts(SQLITE, "FROM c"):
        connection.execute(f"{counted} {insert}")
    for _, sql in indexes:
        connection.execute(sql)
    connection.execute("COMMIT")
    connection.close()


def _plant_postgres(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT IN"
            " (SELECT conname FROM pg_constraint)"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f'DROP INDEX "{name}"')
        for insert in inserts(_POSTGRES, f"FROM generate_series(0, {DOCUMENTS - 1}) AS c (i)"):
            connection.execute(insert)
        for _, sql in indexes:
            connection.execute(sql)
        for table in ("inbox", "audit"):
            connection.execute(f"SELECT setval(pg_get_serial_sequence('{table}', 'seq'), {DOCUMENTS})")
        connection.execute("VACUUM ANALYZE")
