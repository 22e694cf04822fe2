"""A full disk: webhooks are answered 503 before anything is promised; with space again everything goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.web_world import Served, event, served, serving, signature, write_company
from tieout.app import compose, read_settings, system_ports
from tieout.store.statements import StoreUnavailable

Fill = Callable[[Served], Callable[[], None]]


def by_page_count(world: Served) -> Callable[[], None]:
    """SQLite itself finds no page more: the very error that a full disk gives."""
    writer = world.app.hub.store._writer
    (pages,) = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages}")

    def free() -> None:
        writer.execute("PRAGMA max_page_count = 1073741823")

    return free


async def _until_full(world: Served) -> int:
    """How many were taken before the first 503."""
    for number in range(3000):
        body = event(f"evt_{number}", padding="x" * 3000)
        status, text = await world.hook(body, signature(body))
        if status == 503:
            assert "send it again" in text
            return number
        assert status == 200, text
    raise AssertionError("the disk is not full yet")


async def _heals(world: Served, free: Callable[[], None], taken: int) -> None:
    body = event("evt_late", padding="x" * 3000)
    assert (await world.hook(body, signature(body)))[0] == 503
    assert (await world.stored())["billing-us"] == {"pending": taken}
    # Reading goes on.
    assert (await world.get("/api/status"))[0] == 200
    free()
    assert (await world.hook(body, signature(body)))[0] == 200
    assert (await world.stored())["billing-us"] == {"pending": taken + 1}


async def test_503_before_the_promise_and_healed_with_space(tmp_path: Path) -> None:
    async with served(tmp_path) as world:
        free = by_page_count(world)
        taken = await _until_full(world)
        assert taken > 0
        await _heals(world, free, taken)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of three megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk: this machine lets nobody mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


async def test_a_real_disk_that_fills_up(small_disk: Path, tmp_path: Path) -> None:
    """The database, its log and everything beside it on a disk that is full: ENOSPC from the kernel."""
    settings = write_company(tmp_path)
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    app = await compose(
        read_settings(settings), system_ports(), database=f"sqlite:///{small_disk / 'tieout.db'}"
    )
    async with serving(app) as world:
        taken = await _until_full(world)
        assert taken > 0
        await _heals(world, ballast.unlink, taken)


async def test_a_run_that_finds_the_disk_full_is_not_lost(tmp_path: Path) -> None:
    """The store says so to whoever commits, and takes the next unit."""
    async with served(tmp_path) as world:
        free = by_page_count(world)
        await _until_full(world)
        from tieout.engine.lease import Lease

        lease = Lease(hub=world.app.hub, worker="w" * 4000)
        with pytest.raises(StoreUnavailable, match="full"):
            await lease.join("h" * 4000, 1)
        free()
        await lease.join("here", 1)
