"""The engine at its limit: many workers, a slow disk, years of history, readers beside it, and nothing to do."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from tieout_lab.bench import history
from tieout_lab.bench.children import Child, cpu_seconds, machine_busy_seconds, steer
from tieout_lab.bench.measures import Goal, Measured
from tieout_lab.bench.setting import Bench, Hub, Store

_ROUNDS = 3
_CORES = os.cpu_count() or 1
_VENDORS = ("stripe", "netsuite", "salesforce")
_CALLS = 5
# Many workers: so many runs in hand each, each call so long; a run has one call out at a time.
_IN_HAND, _DELAY_SECONDS = 20, 0.05
_FLEETS = (1, 2, 4)
_FLEET_SECONDS = 8
# Until the workers have shared the permits among themselves.
_SHARING_SECONDS = 7
_SLOW_SECONDS = 0.002
_IDLE_SECONDS = 30
_READING_SECONDS = 15
_PAGES = ("/exceptions", "/trace/in_00000017", "/trace/in_00000040")


def workers(bench: Bench) -> Measured:
    """One, two and four workers on one database: with so many runs in hand each and a vendor that takes its time, then
    with what they do at most. On SQLite there is one process."""
    if not bench.server:
        return Measured(name="workers", figures={"left_out": "SQLite has one process: give --database"})
    held = {count: _fleet(bench, count, delay_seconds=_DELAY_SECONDS) for count in _FLEETS}
    free = {count: _fleet(bench, count, delay_seconds=0.0) for count in _FLEETS}
    grown = held[4]["events_per_second"] / held[1]["events_per_second"]
    figures = {
        "limit_of_one_per_second": _IN_HAND / _CALLS / _DELAY_SECONDS,
        "four_of_one": grown,
        **{f"held_{count}": found for count, found in held.items()},
        **{f"saturated_{count}": found for count, found in free.items()},
    }
    busy = held[4]["machine_busy"]
    void = (
        "" if busy < 0.8 else f"the machine's CPU was {busy:.0%} busy with four workers, under 80 % is asked"
    )
    goal = Goal(name="four workers, of one", value=grown, asked=3.5)
    return Measured(name="workers", figures=figures, goals=[goal], void=void)


def _fleet(bench: Bench, count: int, *, delay_seconds: float) -> dict[str, float]:
    """So many workers: events a second between the first and the last tenth, and how busy the machine was then."""
    runs = _IN_HAND if delay_seconds else 64
    expected = count * _IN_HAND / _CALLS / delay_seconds if delay_seconds else bench.events / _FLEET_SECONDS
    total = int(expected * _FLEET_SECONDS)
    wide = 4 * runs * max(_FLEETS)
    settings = {"runs_at_once": runs, "in_flight": wide, "others_in_flight": wide}
    with bench.hub("workers", work=False, settings=settings) as intake, ExitStack() as stack:
        fleet = [stack.enter_context(intake.another()) for _ in range(count)]
        time.sleep(_SHARING_SECONDS)
        steer(bench.stub_port, delay_seconds=dict.fromkeys(_VENDORS, delay_seconds), stamps=True)
        pids = [intake.child.pid, bench.stub.pid, *(one.pid for one in fleet)]
        with intake.loader(total) as loader:
            said = loader.ask("go")
        if said["refused"]:
            raise AssertionError(said["refusal"])
        before = _used(pids, intake.store)
        stamps = _until(bench, total)
        used = [now - then for now, then in zip(_used(pids, intake.store), before, strict=True)]
    return _figures(sorted(at for _, at in stamps), *used)


def _figures(times: list[float], seconds: float, busy: float, ours: float) -> dict[str, float]:
    """Of the moments at which documents were read back: the rate between the first and the last tenth."""
    first, last = len(times) // 10, len(times) - len(times) // 10
    return {
        "events_per_second": (last - first) / (times[last - 1] - times[first]),
        "machine_busy": busy / _CORES / seconds,
        "our_share_of_it": ours / busy if busy else 0.0,
    }


def _used(pids: list[int], store: Store) -> list[float]:
    """The moment; CPU seconds of the whole machine, and of ours."""
    ours = sum(cpu_seconds(pid) for pid in pids) + store.cpu_seconds()
    return [time.monotonic(), machine_busy_seconds(), ours]


def _until(bench: Bench, total: int) -> list[tuple[int, float]]:
    """What the stub saw, and when, once so many events were written back."""
    until = time.monotonic() + 20 * _FLEET_SECONDS
    while time.monotonic() < until:
        seen = bench.seen()
        if seen["counts"].get("mirror.upsert", 0) >= total:
            stamps: list[tuple[int, float]] = seen["stamps"]
            return stamps
        time.sleep(0.1)
    raise AssertionError(f"{total} events did not come through")


def slow_disk(bench: Bench) -> Measured:
    """Every commit two milliseconds slower than the disk makes it, beside the disk as it is, in turn."""
    count = max(bench.events // _ROUNDS, 300)
    options = {"slow_seconds": _SLOW_SECONDS}
    with (
        bench.hub("usual_disk") as usual,
        bench.hub("slow_disk", prepare=_slow, options=options) as slow,
    ):
        rounds = [
            [count / usual.load(count)["seconds"], count / slow.load(count)["seconds"]]
            for _ in range(_ROUNDS)
        ]
        stats = slow.child.ask("stats")
        kind, done = slow.store.kind, slow.done
    ratio = median(slowed / whole for whole, slowed in rounds)
    figures = {
        "events_per_second": median(whole for whole, _ in rounds),
        "slowed_events_per_second": median(slowed for _, slowed in rounds),
        "ratio": ratio,
        "ratios": [slowed / whole for whole, slowed in rounds],
        "sync_of_this_disk_ms": _sync_ms(bench.folder),
        "units_per_event": stats["units"] / done,
        "events_per_commit": done / stats["commits"],
        # Sixty-four runs, each waiting for its commits one after the other.
        "limit_per_second": 64 / (stats["units"] / done * _SLOW_SECONDS),
    }
    goal = Goal(name=f"a disk slowed by 2 ms on {kind}, of the usual one", value=ratio, asked=0.6)
    return Measured(name="slow_disk", figures=figures, goals=[goal])


def _slow(store: Store) -> None:
    """PostgreSQL waits before each flush; SQLite is slowed in the hub's process (hub.py)."""
    if store.kind == "SQLite":
        return
    with psycopg.connect(store.url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f'ALTER DATABASE "{name}" SET commit_delay = {int(_SLOW_SECONDS * 1e6)}')
        connection.execute(f'ALTER DATABASE "{name}" SET commit_siblings = 0')


def _sync_ms(folder: Path) -> float:
    """What one flush of a small write takes here, the median of two hundred."""
    took = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(200):
            file.write(b"\0" * 4096)
            began = time.perf_counter()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return median(took) * 1000


def years(bench: Bench) -> Measured:
    """A million documents that are done, beside an empty database, in turn."""
    count = max(bench.events // _ROUNDS, 300)
    # The numbers of the invoices lie among those of the history, as new ids lie among old ones.
    step = history.SPAN // (bench.events + 1000) // history.EACH * history.EACH
    began = time.monotonic()
    # What was planted cannot be opened, so nobody examines it.
    options = {"examine": False}
    with (
        bench.hub("years", prepare=history.plant, step=step, options=options) as old,
        bench.hub("empty", step=step, options=options) as new,
    ):
        planted_seconds = time.monotonic() - began
        _settle(old)
        rounds = [(new.load(count), old.load(count)) for _ in range(_ROUNDS)]
        kind = old.store.kind
    costs = [1 - fresh["seconds"] / planted["seconds"] for fresh, planted in rounds]

    def cpu_us(which: int) -> float:
        used: float = median(turn[which]["cpu_us"]["hub"] + turn[which]["cpu_us"]["store"] for turn in rounds)
        return used

    figures = {
        "documents": history.DOCUMENTS,
        "events_per_second_empty": median(count / fresh["seconds"] for fresh, _ in rounds),
        "events_per_second": median(count / planted["seconds"] for _, planted in rounds),
        "cost": median(costs),
        "costs": costs,
        "cpu_us_per_event_empty": cpu_us(0),
        "cpu_us_per_event": cpu_us(1),
        "cpu_cost": cpu_us(1) / cpu_us(0) - 1,
        "planted_seconds": planted_seconds,
    }
    goal = Goal(
        name=f"a million documents of history on {kind}, cost", value=median(costs), asked=0.1, at_least=False
    )
    return Measured(name="history", figures=figures, goals=[goal])


def _settle(hub: Hub) -> None:
    """Until the hourly examination and the gauges, which begin at the start, have had their first look."""
    for _ in range(60):
        before = cpu_seconds(hub.child.pid)
        time.sleep(1)
        if cpu_seconds(hub.child.pid) - before < 0.1:
            return


def beside_reading(bench: Bench) -> Measured:
    """Half of what the hub does at most, with somebody who exports every table over and over and 20 pages a second:
    how long a webhook waits for its 2xx, and how large the log of writes grows."""
    with bench.hub("reading", options={"pages": True}) as hub:
        count = max(bench.events // _ROUNDS, 500)
        most = median(count / hub.load(count)["seconds"] for _ in range(_ROUNDS))
        rate, kind = most / 2, hub.store.kind
        total = int(rate * _READING_SECONDS)
        host = f"HTTP/1.1\r\nHost: 127.0.0.1:{hub.port}\r\n\r\n"
        pages: dict[str, Any] = {
            "requests": [f"GET {page} {host}" for page in _PAGES],
            "count": 20 * _READING_SECONDS,
            "rate": 20,
            "connections": 8,
        }
        with (
            Child("export", database=hub.store.url) as export,
            Child("loader", port=hub.port, **pages) as reader,
            hub.loader(total, connections=64, rate=rate) as loader,
        ):
            export.tell("go")
            reader.tell("go")
            said = loader.ask("go")
            read = reader.hear()
            exported = export.ask("end")
            hub.child.ask("runs", count=hub.done + total)
    for one in (said, read):
        if one["refused"]:
            raise AssertionError(one["refusal"])
    p99 = said["answered_ms"]["p99"]
    figures = {
        "rate": rate,
        "most": most,
        "ack_ms": said["answered_ms"],
        "page_ms": read["answered_ms"],
        "export": exported,
    }
    goals = [Goal(name=f"ack beside an export on {kind}, p99 ms", value=p99, asked=100, at_least=False)]
    if kind == "SQLite":
        # On PostgreSQL no reader holds the log back, and its size is the server's own setting (max_wal_size).
        wal = exported["log_mb"]
        goals.append(Goal(name="log of writes beside an export, MB", value=wal, asked=256, at_least=False))
    return Measured(name="reading", figures=figures, goals=goals)


def idle(bench: Bench) -> Measured:
    """The whole hub with nothing to do, its feeds polled twice a minute: CPU of one core."""
    with bench.hub("idle", options={"pages": True}, settings={"poll_seconds": 30}) as hub:
        _settle(hub)
        before, stored = cpu_seconds(hub.child.pid), hub.store.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        used = (cpu_seconds(hub.child.pid) - before) / _IDLE_SECONDS
        store, kind = (hub.store.cpu_seconds() - stored) / _IDLE_SECONDS, hub.store.kind
    figures = {"hub_of_a_core": used, "store_of_a_core": store}
    goal = Goal(name=f"idle on {kind}, CPU of a core", value=used, asked=0.01, at_least=False)
    return Measured(name="idle", figures=figures, goals=[goal])


MEASURES = {
    "workers": workers,
    "slow_disk": slow_disk,
    "history": years,
    "reading": beside_reading,
    "idle": idle,
}
