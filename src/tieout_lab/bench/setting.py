"""What every measurement stands on: the stub, fresh databases, a hub over each, loads through the front door."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tieout_lab.bench import company
from tieout_lab.bench.children import Child, cpu_seconds, report, steer

_WARM = 500


class Store:
    """A fresh database of the measurement, and the CPU that it uses."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def kind(self) -> str:
        return "SQLite" if self.url.startswith("sqlite") else "PostgreSQL"

    def cpu_seconds(self) -> float:
        """CPU of the server's processes on this database, its writers included; 0 on SQLite, which is in the hub."""
        if self.kind == "SQLite":
            return 0.0
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " OR backend_type IN ('walwriter', 'background writer', 'checkpointer')"
            ).fetchall()
        return sum(cpu_seconds(row[0]) for row in rows)


@contextmanager
def fresh(server: str, folder: Path, name: str) -> Iterator[Store]:
    """An empty database: a file in the folder, or a database of its own on that server, dropped afterwards."""
    if not server:
        yield Store(f"sqlite:///{folder / name}.db")
        return
    database = f"tieout_bench_{name}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {database}")
    try:
        yield Store(urlunsplit(urlsplit(server)._replace(path=f"/{database}")))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


class Bench:
    """One run on one kind of database (`server` empty: SQLite)."""

    def __init__(self, stub: Child, server: str, folder: Path, events: int) -> None:
        self.stub = stub
        self.stub_port: int = stub.said["port"]
        self.server = server
        self.folder = folder
        self.events = events

    @contextmanager
    def hub(
        self,
        name: str,
        *,
        work: bool = True,
        warm: bool = True,
        step: int = 1,
        prepare: Callable[[Store], None] = lambda _: None,
        options: Mapping[str, Any] = MappingProxyType({}),
        settings: Mapping[str, int] = MappingProxyType({}),
    ) -> Iterator[Hub]:
        """A hub over a fresh database, warmed up; `prepare` is given the database before. `settings` are those of
        `company.write`, `options` the process's own (hub.py)."""
        steer(self.stub_port)
        folder = self.folder / name
        path = company.write(folder, self.stub_port, **settings)
        with fresh(self.server, folder, name) as store:
            prepare(store)
            given = {"configuration": str(path), "database": store.url, **options}
            with Child("hub", work=work, **given) as child:
                hub = Hub(self, child, store, given, step)
                if work and warm:
                    hub.load(_WARM)
                yield hub

    @contextmanager
    def raw(self, name: str) -> Iterator[Child]:
        """The raw loop over a fresh database."""
        base = f"http://127.0.0.1:{self.stub_port}"
        with (
            fresh(self.server, self.folder, name) as store,
            Child("rawloop", base=base, database=store.url) as child,
        ):
            yield child

    def seen(self) -> dict[str, Any]:
        """What the stub saw since it was last set."""
        return report(self.stub_port)


class Hub:
    """The hub under measurement, and the loads that go into it."""

    def __init__(self, bench: Bench, child: Child, store: Store, given: Mapping[str, Any], step: int) -> None:
        self.bench = bench
        self.given = given
        self.step = step
        self.child = child
        self.store = store
        self.port: int = child.said["port"]
        self.done = 0
        self.first = 0

    @contextmanager
    def loader(self, count: int, **options: Any) -> Iterator[Child]:
        """A loader with its requests made and its connections open; it waits for `go`."""
        with Child(
            "loader", port=self.port, first=self.first, count=count, step=self.step, **options
        ) as loader:
            self.first += count * self.step
            yield loader

    @contextmanager
    def another(self) -> Iterator[Child]:
        """One more process that works on the same database."""
        with Child("hub", bind=False, **self.given) as child:
            yield child

    def load(self, count: int, **options: Any) -> dict[str, Any]:
        """Send webhooks and wait until the runs of all of them are durable. Answers seconds and CPU per event."""
        with self.loader(count, **options) as loader:
            pids = {"hub": self.child.pid, "stub": self.bench.stub.pid, "loader": loader.pid}
            before = {name: cpu_seconds(pid) for name, pid in pids.items()}
            stored = self.store.cpu_seconds()
            loader.tell("go")
            ended = self.child.ask("runs", count=self.done + count)["at"]
            said = loader.hear()
            if said["refused"]:
                raise AssertionError(f"the hub refused {said['refused']} webhooks: {said['refusal']}")
            used = {name: (cpu_seconds(pid) - before[name]) / count * 1e6 for name, pid in pids.items()}
            used["store"] = (self.store.cpu_seconds() - stored) / count * 1e6
        self.done += count
        return {"seconds": ended - said["started"], "cpu_us": used, "started": said["started"]}


@contextmanager
def folder_of_run() -> Iterator[Path]:
    """A folder that goes away."""
    folder = Path(tempfile.mkdtemp(prefix="tieout-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
