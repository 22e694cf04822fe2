"""Undo, indexes and pending changes of the Salesforce twin's store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tieout_lab.twins.salesforce.custom import schema
from tieout_lab.twins.salesforce.store import Store

NOW = datetime(2026, 11, 23, tzinfo=UTC)
KEYS = st.sampled_from(["a", "b", "c", None])


def state(store: Store) -> Any:
    field = store.schema.objects["Account"].fields["tieout_external_id__c"]
    rows = {row["Id"]: row for row in store.rows("Account")}
    return rows, {key: sorted(row["Id"] for row in store.by_key("Account", field, key)) for key in "abc"}


@given(st.lists(st.tuples(st.integers(1, 4), KEYS, st.booleans()), max_size=12), st.integers(0, 12))
def test_a_failed_transaction_leaves_nothing(steps: list[tuple[int, str | None, bool]], cut: int) -> None:
    store = Store(schema())

    def apply(some: list[tuple[int, str | None, bool]]) -> None:
        for number, key, keep in some:
            if keep:
                store.put("Account", {"Id": f"{number}", "Tieout_External_Id__c": key})
            else:
                store.remove("Account", f"{number}")

    apply(steps[:cut])
    before = state(store)

    def fail() -> None:
        with store.transaction():
            apply(steps[cut:])
            with store.transaction():
                apply(steps)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert state(store) == before
    for key, found in before[1].items():
        assert found == sorted(row["Id"] for row in before[0].values() if row["Tieout_External_Id__c"] == key)


def test_hidden_changes_show_when_due() -> None:
    store = Store(schema())
    store.put("Account", {"Id": "1", "Name": "old"})
    with store.transaction() as journal:
        store.put("Account", {"Id": "1", "Name": "new"})
        store.put("Account", {"Id": "2", "Name": "fresh"})
    store.hide(journal, NOW + timedelta(seconds=10))
    assert [row["Name"] for row in store.seen_rows("Account")] == ["old"]
    assert [row["Name"] for row in store.rows("Account")] == ["new", "fresh"]
    assert not store.all_visible
    store.settle(NOW + timedelta(seconds=9))
    assert store.seen("Account", "2") is None
    store.settle(NOW + timedelta(seconds=10))
    assert [row["Name"] for row in store.seen_rows("Account")] == ["new", "fresh"]
    assert store.all_visible
