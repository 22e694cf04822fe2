"""The rows of every object, with undo, indexes, and rows whose last change others cannot see yet.

A row is a dict by canonical field name and is never changed in place: a change puts a new row. Keys that begin with `_`
are the store's own. Nothing here knows a rule of Salesforce; `org.py` does.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tieout_lab.twins.salesforce import ids
from tieout_lab.twins.salesforce.schema import Field, Schema

Row = dict[str, Any]
Key = tuple[str, str]
Journal = list[tuple[str, str, Row | None]]


@dataclass(frozen=True, slots=True)
class Commit:
    """One committed transaction: (object, id, row before, row after) of each record, who did it and by which client."""

    changes: list[tuple[str, str, Row | None, Row | None]]
    actor: str
    origin: str


class Store:
    """Rows by object and id."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._rows: dict[str, dict[str, Row]] = {name: {} for name in schema.objects}
        self._indexes: dict[Key, defaultdict[Any, dict[str, None]]] = {
            (each.name, field.name): defaultdict(dict)
            for each in schema.objects.values()
            for field in each.fields.values()
            if field.indexed
        }
        self._indexed: dict[str, list[Field]] = {
            each.name: [field for field in each.fields.values() if field.indexed]
            for each in schema.objects.values()
        }
        self._numbers: Counter[str] = Counter()
        self._journals: list[Journal] = []
        self._hidden: dict[Key, tuple[datetime, Row | None]] = {}
        self._late: list[tuple[datetime, Commit]] = []
        # Told of every transaction when others can see it; the author is asked when it ends.
        self.on_commit: list[Callable[[Commit], None]] = []
        self.author: Callable[[], tuple[str, str]] = lambda: ("", "")

    # -- reading ------------------------------------------------------------------------------------------------
    def get(self, name: str, record_id: str | None) -> Row | None:
        """The row as its writer sees it."""
        return self._rows[name].get(record_id) if record_id else None

    def seen(self, name: str, record_id: str | None) -> Row | None:
        """The row as everyone else sees it: without a change that is not committed yet."""
        if self._hidden and record_id and (name, record_id) in self._hidden:
            return self._hidden[name, record_id][1]
        return self.get(name, record_id)

    def rows(self, name: str) -> Iterator[Row]:
        """Every row as its writer sees it, in order of creation."""
        return iter(self._rows[name].values())

    def seen_rows(self, name: str) -> Iterator[Row]:
        """Every row as everyone else sees it."""
        if not self._hidden:
            yield from self._rows[name].values()
            return
        for record_id in self._rows[name]:
            row = self.seen(name, record_id)
            if row is not None:
                yield row

    def by_key(self, name: str, field: Field, value: Any) -> list[Row]:
        """Rows whose indexed field has this value; `field.indexed` must hold."""
        found = self._indexes[name, field.name].get(_key(field, value), {})
        return [self._rows[name][record_id] for record_id in found]

    @property
    def all_visible(self) -> bool:
        """Whether indexes tell what everyone sees."""
        return not self._hidden

    def is_pending(self, name: str, record_id: str) -> bool:
        """Whether somebody's change of this row is not committed yet: the row is locked."""
        return (name, record_id) in self._hidden

    # -- writing ------------------------------------------------------------------------------------------------
    def new_id(self, name: str) -> str:
        self._numbers[name] += 1
        return ids.mint(self.schema.objects[name].prefix, self._numbers[name])

    def next_number(self, name: str) -> int:
        """The next value of an auto-number; like the vendor's it leaves gaps after an undo."""
        self._numbers[name] += 1
        return self._numbers[name]

    def put(self, name: str, row: Row) -> None:
        """Write a row under its Id."""
        record_id = row["Id"]
        before = self._rows[name].get(record_id)
        if self._journals:
            self._journals[-1].append((name, record_id, before))
        self._replace(name, record_id, before, row)

    def remove(self, name: str, record_id: str) -> None:
        """Take a row away without a trace (emptied recycle bin)."""
        before = self._rows[name].get(record_id)
        if before is not None and self._journals:
            self._journals[-1].append((name, record_id, before))
        self._replace(name, record_id, before, None)

    @contextmanager
    def transaction(self, until: datetime | None = None) -> Iterator[Journal]:
        """All or nothing: any exception undoes what was put inside. Transactions nest. What the outermost one did is
        kept from everyone else until the technical moment `until`."""
        journal: Journal = []
        self._journals.append(journal)
        try:
            yield journal
        except BaseException:
            self._journals.pop()
            self._undo(journal)
            raise
        self._journals.pop()
        if self._journals:
            self._journals[-1].extend(journal)
            return
        commit = self._commit(journal)
        if until is None:
            self._tell(commit)
        else:
            self.hide(journal, until)
            self._late.append((until, commit))

    def _commit(self, journal: Journal) -> Commit:
        first: dict[Key, Row | None] = {}
        for name, record_id, before in journal:
            first.setdefault((name, record_id), before)
        changes = [(*key, before, self._rows[key[0]].get(key[1])) for key, before in first.items()]
        return Commit(changes, *self.author())

    def _tell(self, commit: Commit) -> None:
        for told in self.on_commit:
            told(commit)

    def next_settling(self) -> datetime | None:
        """When the next hidden transaction commits."""
        return min((until for until, _ in self._late), default=None)

    def hide(self, journal: Journal, until: datetime) -> None:
        """Keep the changes of a finished transaction from everyone else until this technical moment."""
        for name, record_id, before in journal:
            earlier = self._hidden.get((name, record_id))
            self._hidden[name, record_id] = (until, earlier[1] if earlier else before)

    def settle(self, now: datetime) -> None:
        """Show what is due."""
        due = [key for key, (until, _) in self._hidden.items() if until <= now]
        for key in due:
            del self._hidden[key]
        ready = [each for each in self._late if each[0] <= now]
        self._late = [each for each in self._late if each[0] > now]
        for _, commit in sorted(ready, key=lambda each: each[0]):
            self._tell(commit)

    def _undo(self, journal: Journal) -> None:
        for name, record_id, before in reversed(journal):
            self._replace(name, record_id, self._rows[name].get(record_id), before)

    def _replace(self, name: str, record_id: str, before: Row | None, after: Row | None) -> None:
        for field in self._indexed[name]:
            old = before.get(field.name) if before else None
            new = after.get(field.name) if after else None
            if old == new:
                continue
            index = self._indexes[name, field.name]
            if old is not None:
                index[_key(field, old)].pop(record_id, None)
                if not index[_key(field, old)]:
                    del index[_key(field, old)]
            if new is not None:
                index[_key(field, new)][record_id] = None
        if after is None:
            self._rows[name].pop(record_id, None)
        else:
            self._rows[name][record_id] = after


def _key(field: Field, value: Any) -> Any:
    """What two values must share to be the same key."""
    return value.lower() if isinstance(value, str) and not (field.case_sensitive or field.target) else value
