"""How far the database had come, in a file beside the master key: a database that was put back from a backup has not
come as far as its mark, and is not worked on before `tieout restored` was told.

The mark names an entry of the audit chain by number and hash. It is kept where the key is, because that is not restored
together with the database.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from tieout.engine.hub import Hub
from tieout.settings import SettingsFile
from tieout.store import people
from tieout.store.database import BadDatabase
from tieout.store.statements import StoreUnavailable

log = structlog.get_logger("tieout.mark")
_EVERY_SECONDS = 30.0


class Mark(msgspec.Struct, kw_only=True, frozen=True):
    """`first` is the hash of the chain's first entry, which says which database this is; `number` and `hash` are the
    newest sealed entry at the moment `at` (microseconds)."""

    first: str
    number: int
    hash: str
    at: int


def mark_file(file: SettingsFile) -> Path:
    """Where the mark of this configuration's database is."""
    key = file.directory / file.settings.keys.master
    return key.with_name(f"{key.stem}.mark")


def read(path: Path) -> Mark | None:
    """The mark, or None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError):
        return None


async def present(hub: Hub) -> Mark | None:
    """How far the database has come; None while nothing is sealed."""
    last = await hub.store.fetch(people.AUDIT_LAST, {})
    first = await hub.store.fetch(people.AUDIT_AT, {"number": 1})
    if not last or not first:
        return None
    return Mark(first=first[0][0], number=last[0][0], hash=last[0][2], at=hub.now())


async def went_back(hub: Hub, path: Path) -> str:
    """Why this database is not as far as it was, or nothing. Another database than the mark's is not judged, and
    neither is one whose restore was told after the mark was made."""
    mark = read(path)
    if mark is None or hub.restored_at > mark.at:
        return ""
    first = await hub.store.fetch(people.AUDIT_AT, {"number": 1})
    if not first or first[0][0] != mark.first:
        return ""
    there = await hub.store.fetch(people.AUDIT_AT, {"number": mark.number})
    if there and there[0][0] == mark.hash:
        return ""
    return (
        f"the database is older than it was: {path} says that its audit had come to entry {mark.number}, which is not"
        " there; it was put back from a backup, and has forgotten what was written outside since"
    )


async def refuse_older(hub: Hub, path: Path) -> None:
    """Raises BadDatabase when the database has gone back."""
    if why := await went_back(hub, path):
        raise BadDatabase(f"{why}; `tieout restored --backup-taken-at ...` first, then start")


async def write(hub: Hub, path: Path) -> None:
    """Bring the mark up to date; never back, while another process of this machine has written a later one."""
    mark = await present(hub)
    before = read(path)
    if mark is None or (
        before is not None
        and before.first == mark.first
        and before.number >= mark.number
        and hub.restored_at <= before.at
    ):
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_bytes(msgspec.json.encode(mark))
    fresh.replace(path)


@asynccontextmanager
async def kept(hub: Hub, path: Path) -> AsyncIterator[None]:
    """Keep the mark up to date meanwhile."""
    keeping = asyncio.create_task(_keep(hub, path))
    try:
        yield
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping


async def _keep(hub: Hub, path: Path) -> None:
    while True:
        try:
            await write(hub, path)
        except (OSError, StoreUnavailable) as error:
            log.warning("mark_not_written", path=str(path), reason=str(error))
        await hub.clock.sleep_real(_EVERY_SECONDS)
