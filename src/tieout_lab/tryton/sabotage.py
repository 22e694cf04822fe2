"""What is done behind everybody's back: in the server's tables, which its own rules would never allow."""

from __future__ import annotations

from datetime import date
from typing import Any

import psycopg
from psycopg import sql

from tieout_lab.tryton.server import Server

KINDS = ("drop", "double", "cent", "period", "account")
# Tables of documents and parties, and what is asked of a user meanwhile.
_MADE = ("account_", "analytic_", "party_", "res_user_warning")
Link = psycopg.Connection[tuple[Any, ...]]


def _open(server: Server) -> Link:
    return psycopg.connect(psycopg.conninfo.make_conninfo(server.postgres, dbname=server.database))


def _one(link: Link, query: str, *given: Any) -> tuple[Any, ...]:
    row = link.execute(query, given).fetchone()
    if row is None:
        raise LookupError("no posted invoice to alter")
    return row


def strike(server: Server, given: dict[str, Any]) -> dict[str, Any]:
    """Do one kind of damage to one invoice. Without an id: the first posted one that nothing is applied to, else the
    first posted one."""
    kind = given["kind"]
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}; known: {', '.join(KINDS)}")
    with _open(server) as link:
        # Unchecked, as by hand: the tables' own constraints between documents and moves do not stop it.
        link.execute("SET session_replication_role = replica")
        invoice, move, number, description, company = _one(
            link,
            "SELECT i.id, i.move, i.number, i.description, i.company FROM account_invoice i"
            " WHERE i.type = 'out' AND i.state IN ('posted', 'paid') AND coalesce(i.total_amount_cache, 0) > 0"
            " AND i.id = coalesce(%s, i.id)"
            " ORDER BY (i.state = 'paid') OR EXISTS (SELECT 1 FROM \"account_invoice-account_move_line\" p"
            " WHERE p.invoice = i.id), i.id LIMIT 1",
            int(str(given["id"]).removeprefix("I")) if given.get("id") else None,
        )
        told = {"kind": kind, "id": f"I{invoice}", "number": number, "subsidiary": str(company)}
        told["source"] = description.split(" | ")[-1]
        _DAMAGE[kind](link, invoice, move)
    return told


def _cent(link: Link, invoice: int, move: int) -> None:
    """The smallest unit more: on the first line, in the total, and in the ledger."""
    (digits,) = _one(
        link,
        "SELECT c.digits FROM account_invoice i JOIN currency_currency c ON c.id = i.currency WHERE i.id = %s",
        invoice,
    )
    unit = f"0.{'0' * (digits - 1)}1" if digits else "1"
    link.execute(
        "UPDATE account_invoice_line SET unit_price = unit_price + %s::numeric WHERE id ="
        " (SELECT min(id) FROM account_invoice_line WHERE invoice = %s)",
        (unit, invoice),
    )
    link.execute(
        "UPDATE account_invoice SET total_amount_cache = total_amount_cache + %s::numeric,"
        " untaxed_amount_cache = untaxed_amount_cache + %s::numeric WHERE id = %s",
        (unit, unit, invoice),
    )
    for side, order in (("debit", "ASC"), ("credit", "ASC")):
        link.execute(
            sql.SQL(
                "UPDATE account_move_line SET {side} = {side} + %s::numeric WHERE id ="
                " (SELECT id FROM account_move_line WHERE move = %s AND {side} > 0 ORDER BY id {order} LIMIT 1)"
            ).format(side=sql.Identifier(side), order=sql.SQL(order)),
            (unit, move),
        )


def _period(link: Link, _: int, move: int) -> None:
    """Moved to the next period; date and amounts stay."""
    link.execute(
        "UPDATE account_move SET period = (SELECT n.id FROM account_period o, account_period n"
        " JOIN account_fiscalyear f ON f.id = n.fiscalyear WHERE o.id = account_move.period"
        " AND f.company = account_move.company AND n.start_date > o.start_date ORDER BY n.start_date LIMIT 1)"
        " WHERE id = %s",
        (move,),
    )


def _account(link: Link, _: int, move: int) -> None:
    """The first income line posted to another account."""
    link.execute(
        "UPDATE account_move_line SET account = (SELECT n.id FROM account_account n JOIN account_account o"
        " ON o.id = account_move_line.account AND o.company = n.company"
        " WHERE n.code = CASE o.code WHEN '2400' THEN '4000' ELSE '2400' END)"
        " WHERE id = (SELECT l.id FROM account_move_line l JOIN account_account a ON a.id = l.account"
        " WHERE l.move = %s AND a.code IN ('2400', '4000', '4100') ORDER BY l.id LIMIT 1)",
        (move,),
    )


def _drop(link: Link, invoice: int, move: int) -> None:
    """The document and its ledger lines are gone; what was settled with it is left behind."""
    link.execute('DELETE FROM "account_invoice-account_move_line" WHERE invoice = %s', (invoice,))
    link.execute("DELETE FROM account_invoice_tax WHERE invoice = %s", (invoice,))
    link.execute("DELETE FROM account_invoice_line WHERE invoice = %s", (invoice,))
    link.execute("DELETE FROM account_invoice WHERE id = %s", (invoice,))
    link.execute("DELETE FROM account_move_line WHERE move = %s", (move,))
    link.execute("DELETE FROM account_move WHERE id = %s", (move,))


def _double(link: Link, invoice: int, move: int) -> None:
    """The same document once more, with a move of its own, and without our key."""
    copied_move = _copied(link, "account_move", move, {})
    for (line,) in link.execute("SELECT id FROM account_move_line WHERE move = %s", (move,)).fetchall():
        _copied(link, "account_move_line", line, {"move": copied_move, "reconciliation": None})
    changes = {"move": copied_move, "reference": None, "state": "posted"}
    copied = _copied(link, "account_invoice", invoice, changes)
    for table in ("account_invoice_line", "account_invoice_tax"):
        of_invoice = sql.SQL("SELECT id FROM {} WHERE invoice = %s").format(sql.Identifier(table))
        for (line,) in link.execute(of_invoice, (invoice,)).fetchall():
            _copied(link, table, line, {"invoice": copied})


def _copied(link: Link, table: str, id: int, changes: dict[str, Any]) -> int:
    """A copy of one row with a new id; answers that."""
    names = [
        name
        for (name,) in link.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s"
            " AND column_name <> 'id'",
            (table,),
        ).fetchall()
    ]
    kept = [name for name in names if name not in changes]
    query = sql.SQL(
        "INSERT INTO {table} ({changed}{kept}) SELECT {values}{kept} FROM {table} WHERE id = %s RETURNING id"
    )
    comma = sql.SQL(", ")
    changed = [sql.Identifier(name) for name in changes]
    row = link.execute(
        query.format(
            table=sql.Identifier(table),
            changed=comma.join([*changed, sql.SQL("")]) if changed else sql.SQL(""),
            values=comma.join([*(sql.Placeholder() for _ in changed), sql.SQL("")])
            if changed
            else sql.SQL(""),
            kept=comma.join(sql.Identifier(name) for name in kept),
        ),
        (*changes.values(), id),
    ).fetchone()
    if row is None:
        raise LookupError(f"{table} has no row {id}")
    return int(row[0])


_DAMAGE = {"cent": _cent, "period": _period, "account": _account, "drop": _drop, "double": _double}


def alter(server: Server, given: dict[str, Any]) -> dict[str, Any]:
    """{"table", "id", "column", "value"}: set one stored value, whatever the rules."""
    with _open(server) as link:
        link.execute(
            sql.SQL("UPDATE {} SET {} = %s WHERE id = %s").format(
                sql.Identifier(given["table"]), sql.Identifier(given["column"])
            ),
            (given["value"], int(given["id"])),
        )
    return {"altered": 1}


def expire_sessions(server: Server) -> dict[str, Any]:
    """Every session has ended."""
    with _open(server) as link:
        return {"ended": link.execute("DELETE FROM ir_session").rowcount}


def close_period(server: Server, given: dict[str, Any]) -> dict[str, Any]:
    """{"date": ISO, "company"}: the controller closes the period of a day, over the server's API."""
    rpc = server.rpc()
    company, day = int(given["company"]), date.fromisoformat(given["date"])
    domain = [["company", "=", company], ["start_date", "<=", day], ["end_date", ">=", day]]
    (period,) = rpc.company(company).rows("account.period", domain, ["name"])
    method = "reopen" if given.get("state") == "open" else "close"
    rpc.do(f"account.period.{method}", [period["id"]])
    return {"period": period["name"]}


def empty(server: Server) -> dict[str, Any]:
    """Back to what was planted: everything made since is gone, every period is open. Takes a moment where a fresh copy
    and a fresh start would take seconds."""
    with _open(server) as link:
        link.execute("SET session_replication_role = replica")
        (planted,) = _one(link, "SELECT max(create_date) FROM account_period")
        tables = [
            str(name)
            for (name,) in link.execute(
                "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind = 'r'"
                " AND c.relnamespace = 'public'::regnamespace AND a.attname = 'create_date'"
            )
            if name.startswith(_MADE)
        ]
        # One look at all of them: most tests leave something in a few.
        look = sql.SQL("SELECT {} WHERE EXISTS (SELECT 1 FROM {} WHERE create_date > {})")
        looks = sql.SQL(" UNION ALL ").join(
            look.format(sql.Literal(name), sql.Identifier(name), sql.Literal(planted)) for name in tables
        )
        used = [name for (name,) in link.execute(looks).fetchall()]
        for name in used:
            link.execute(
                sql.SQL("DELETE FROM {} WHERE create_date > %s").format(sql.Identifier(name)), (planted,)
            )
        link.execute("UPDATE account_period SET state = 'open' WHERE state <> 'open'")
    return {"emptied": len(used)}
