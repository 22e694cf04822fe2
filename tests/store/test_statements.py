"""Every statement of the store runs on both databases: what one of them does not understand shows here."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import tieout.store
from tests.store.facts import NOW, AnyStore
from tieout.store.statements import Refused, Statement, Violated

_BYTES = frozenset({"body", "request", "fields", "wrapped"})
_NUMBERS = frozenset(
    """now limit seq fence hints attempts due_at deadline_at real_now long_ago until after number at occurred_at
    received_at started_at ended_at attempt epoch looks absent_from total_minor tax_minor amount_minor posted revision
    verify_at value pid before since most held backup_taken_at restored_at listed_seq began step created_at""".split()
)
_TEXT_NUMBERS = frozenset({"documents.created", "documents.verified", "exceptions.open", "needs.meet"})


class Dummies(dict[str, object]):
    """Gives every parameter a value of the kind that its name says."""

    def __init__(self, statement: str) -> None:
        self.statement = statement

    def __missing__(self, name: str) -> object:
        if name in _BYTES:
            return b"\x00\xff"
        if name == "keys":
            return '["text"]'
        if name in {"number", "value"} and self.statement in _TEXT_NUMBERS:
            return "text"
        return NOW if name in _NUMBERS else "text"


def every_statement() -> list[Statement]:
    found = {}
    for module in pkgutil.iter_modules(tieout.store.__path__, "tieout.store."):
        if module.name.endswith("migrations"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Statement) and module.name != "tieout.store.postgres":
                found[value.name] = value
    return list(found.values())


def test_names_are_unique_and_statements_are_found() -> None:
    statements = every_statement()
    assert len(statements) > 90


@pytest.mark.parametrize("statement", every_statement(), ids=lambda statement: statement.name)
async def test_statement_runs(store: AnyStore, statement: Statement) -> None:
    refusal: Exception | None = None
    try:
        await store.commit([(statement, Dummies(statement.name))])
    except (Refused, Violated) as error:
        refusal = error
    # A dummy may violate a constraint; the statement itself must be understood.
    assert not isinstance(refusal, Violated) or str(refusal).startswith(("IntegrityError", "23")), refusal


async def test_a_missing_parameter_is_the_unit_s_own_fault(store: AnyStore) -> None:
    statement = Statement("test", "UPDATE counters SET value = :value WHERE name = :name")
    with pytest.raises(Violated):
        await store.commit([(statement, {"name": "x"})])


async def test_the_same_parameter_may_occur_twice(store: AnyStore) -> None:
    statement = Statement("test", "SELECT CAST(:b AS TEXT), CAST(:a AS TEXT), CAST(:b AS TEXT)", returns=True)
    assert await store.fetch(statement, {"a": "A", "b": "B"}) == [("B", "A", "B")]
