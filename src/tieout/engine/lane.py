"""One claimed lane, and what stands on its row: what its first effect froze, and who asked for the coming run."""

from __future__ import annotations

import msgspec

from tieout.canonical.ids import Ref
from tieout.security.keyring import COMPANY
from tieout.store.statements import Row


class Lane(msgspec.Struct, kw_only=True):
    """One claimed lane."""

    lane_id: str
    connection: str
    kind: str
    subject_id: str
    fence: int
    last_seq: int
    hints: int
    attempts: int
    generation: int
    frozen: str
    trace: str
    replay: str

    @property
    def subject(self) -> Ref:
        return Ref(connection=self.connection, kind=self.kind, id=self.subject_id)


def lane_from(row: Row) -> Lane:
    """A row of the claim as a value."""
    return Lane(**dict(zip(Lane.__struct_fields__, row, strict=True)))


def key_name(lane_id: str, kind: str) -> str:
    """The data key of a lane's frozen requests: a customer's personal data stands under a key of its own."""
    return f"subject|{lane_id}" if kind == "account" else COMPANY


class Replay(msgspec.Struct, kw_only=True, frozen=True):
    """Who asked for a run, why, and under which rules. `resumes`: from the failed effect; what stands is taken as it
    stands, even where the present rules would make it otherwise."""

    actor: str
    reason: str
    resumes: bool
    rules: dict[str, str]

    def __str__(self) -> str:
        origin = "the failed effect" if self.resumes else "the start"
        rules = " ".join(f"{table} {version}" for table, version in self.rules.items())
        return f"replay from {origin}: {self.reason} (rules {rules})"


class Frozen(msgspec.Struct, kw_only=True, frozen=True):
    """What the first effect of a lane decided, for every later run of it."""

    entity: str
    connections: tuple[str, ...]
