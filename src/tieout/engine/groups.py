"""Worker groups: whose workers alone run which lanes. Nothing is pinned where the configuration names no group."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

import msgspec

from tieout.canonical.ids import Ref
from tieout.engine.keys import lane_of
from tieout.store import lanes
from tieout.store.statements import Step


class Group(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`[groups.NAME]`: what only the workers of this group run. A legal entity's billing connection comes with it, for
    every document there is that entity's."""

    entities: list[str] = []
    connections: list[str] = []


class WrongGroup(ValueError):
    """`where`: the key path below `groups` that is wrong."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(why)
        self.where = where


class Groups(msgspec.Struct, kw_only=True, frozen=True):
    """`connections` and `entities`: the group of each that has one. `serves`: the groups whose lanes this process runs;
    an empty name stands for the lanes of no group."""

    connections: Mapping[str, str] = {}
    entities: Mapping[str, str] = {}
    serves: tuple[str, ...] = ("",)

    @property
    def named(self) -> bool:
        """Whether anything is pinned."""
        return bool(self.connections or self.entities)

    def pin(self, lane_id: str, connection: str, entity: str = "") -> list[Step]:
        """The step that puts a lane into the group of its legal entity, where that is known, else of its connection."""
        if not self.named:
            return []
        group = self.entities.get(entity, self.connections.get(connection, ""))
        return [(lanes.PIN, {"lane_id": lane_id, "group": group})]

    def start(self, subject: Ref, now: int, *, entity: str = "") -> list[Step]:
        """The steps that start the process of a document, in its group. `entity`: its legal entity, where its
        connection does not say."""
        lane_id = lane_of(subject)
        where = {"lane_id": lane_id, "connection": subject.connection, "kind": subject.kind}
        start = (lanes.START, {**where, "subject_id": subject.id, "now": now})
        return [start, *self.pin(lane_id, subject.connection, entity)]

    def serve(self, worker: str) -> list[Step]:
        """The step that says which lanes a worker runs."""
        if not self.named:
            return []
        return [(lanes.SERVE, {"worker": worker, "serves": msgspec.json.encode(self.serves).decode()})]


def open_groups(
    given: Mapping[str, Group],
    billing: Mapping[str, str],
    connections: Container[str],
    serves: tuple[str, ...] = ("",),
) -> Groups:
    """The groups of a configuration; `billing`: each legal entity's billing connection. Raises WrongGroup."""
    of_entity: dict[str, str] = {}
    of_connection: dict[str, str] = {}
    for group, members in given.items():
        if not re.fullmatch(r"[a-z0-9_-]+", group):
            raise WrongGroup(group, f"group {group!r}: small letters, digits, _ and - alone")
        for code in members.entities:
            if code not in billing:
                raise WrongGroup(f"{group}.entities", f"group {group}: there is no legal entity {code!r}")
            _into(of_entity, code, group, "entities")
        for name in dict.fromkeys((*members.connections, *(billing[code] for code in members.entities))):
            if name not in connections:
                raise WrongGroup(f"{group}.connections", f"group {group}: there is no connection {name!r}")
            _into(of_connection, name, group, "connections")
    for name in serves:
        if name and name not in given:
            raise WrongGroup(name, f"there is no group {name!r}; there are: {', '.join(given) or 'none'}")
    return Groups(connections=of_connection, entities=of_entity, serves=serves)


def _into(groups: dict[str, str], member: str, group: str, key: str) -> None:
    if groups.setdefault(member, group) != group:
        raise WrongGroup(
            f"{group}.{key}",
            f"group {group}: {member!r} is of group {groups[member]} already; one lane, one group",
        )


def runs(serves: str, group: str) -> bool:
    """Whether a worker whose row says `serves` runs the lanes of a group."""
    return serves == "*" or group in msgspec.json.decode(serves, type=list[str])


def shown(group: str) -> str:
    """A group in words."""
    return f"group {group}" if group else "no group"
