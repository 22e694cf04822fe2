"""The engines under comparison: how each is had, started, given work, and asked what came of it."""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tieout_lab.bench import company
from tieout_lab.bench.children import Broken, Child, group_cpu_seconds
from tieout_lab.bench.peers import work
from tieout_lab.bench.peers.served import Served
from tieout_lab.bench.setting import Store, fresh
from tieout_lab.environments import NotThere, cache, environment, free_port, install, made

_HERE = Path(__file__).parent
_RESTATE = "1.7.12"
_LONGEST_SECONDS = 600.0
Cpu = dict[str, Callable[[], float]]


@dataclass(frozen=True)
class Finished:
    """What came of the work: results and audit rows that stand, and when the last came (seconds since 1970)."""

    results: int
    audited: int
    at: float


@dataclass(frozen=True)
class Running:
    """An engine at work. `cpu`: the CPU seconds used so far, by part. `wait` returns when so many events are finished,
    or raises Broken."""

    loader: Child
    cpu: Cpu
    wait: Callable[[int], Finished]


@dataclass(frozen=True)
class Place:
    """Where a turn takes place: a folder of its own, the stub, the PostgreSQL server (empty: there is none)."""

    folder: Path
    stub_port: int
    postgres: str

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.stub_port}"


@dataclass(frozen=True)
class Engine:
    """One engine. `order`: what keeps the events of a lane in order. `get` has it installed, or raises NotThere."""

    name: str
    title: str
    order: str
    running: Callable[[Place], AbstractContextManager[Running]]
    get: Callable[[], object] = lambda: None
    postgres: bool = True

    @property
    def ours(self) -> bool:
        return self.name.startswith("tieout")


def _python(name: str) -> Path:
    """The Python of a peer's environment, made as its lock file says. Raises NotThere."""
    return environment(_HERE / f"{name}.txt", "peers") / "python"


def _of(*served: Served) -> Callable[[], float]:
    return lambda: sum(group_cpu_seconds(one.group) for one in served)


def _client(stack: ExitStack, name: str, given: dict[str, Any]) -> Child:
    """The loader, which hands events over by the engine's own client."""
    return stack.enter_context(Child(f"peers.with_{name}", python=str(_python(name)), do="load", **given))


def _worker(stack: ExitStack, place: Place, name: str, given: dict[str, Any], *command: str) -> Served:
    """The one worker process, in the peer's environment."""
    wanted = command or ("-m", f"tieout_lab.bench.peers.with_{name}")
    return stack.enter_context(Served(name, [_python(name), *wanted], place.folder, {**given, "do": "serve"}))


# -- tieout -----------------------------------------------------------------------------------------------------------


def _tieout(name: str, *, on_postgres: bool) -> Callable[[Place], AbstractContextManager[Running]]:
    @contextmanager
    def running(place: Place) -> Iterator[Running]:
        configuration = company.write(place.folder / "company", place.stub_port)
        with (
            fresh(place.postgres if on_postgres else "", place.folder, name) as store,
            Child("peers.ours", configuration=str(configuration), database=store.url, base=place.base) as hub,
            Child("peers.load", port=hub.said["port"]) as loader,
        ):
            cpu: Cpu = {
                "engine": lambda: group_cpu_seconds(hub.pid),
                "loader": lambda: group_cpu_seconds(loader.pid),
            }
            if on_postgres:
                cpu["database"] = store.cpu_seconds
            yield Running(loader, cpu, lambda count: Finished(**hub.ask("rested", count=count)))

    return running


# -- engines whose worker writes its rows to PostgreSQL ---------------------------------------------------------------


@contextmanager
def _tables(place: Place, name: str) -> Iterator[Store]:
    """A fresh database with the two tables."""
    with fresh(place.postgres, place.folder, f"peer_{name}") as store:
        with psycopg.connect(store.url, autocommit=True) as connection:
            connection.execute(work.TABLES)
        yield store


def _rows(store: Store, worker: Served) -> Callable[[int], Finished]:
    """Wait by looking at the tables."""

    def wait(count: int) -> Finished:
        deadline = time.monotonic() + _LONGEST_SECONDS
        with psycopg.connect(store.url, autocommit=True) as connection:
            while True:
                worker.check()
                row = connection.execute(
                    "SELECT (SELECT COUNT(*) FROM results), COUNT(*), EXTRACT(EPOCH FROM MAX(at)) FROM audit"
                ).fetchone()
                found = Finished(row[0], row[1], float(row[2] or 0)) if row else Finished(0, 0, 0.0)
                if found.audited >= count:
                    return found
                if time.monotonic() > deadline:
                    raise Broken(f"{worker.name} finished {found.audited} of {count} events")
                time.sleep(0.1)

    return wait


@contextmanager
def _procrastinate(place: Place) -> Iterator[Running]:
    with _tables(place, "procrastinate") as store, ExitStack() as stack:
        given = {"database": store.url, "base": place.base}
        prepare = {**given, "do": "prepare"}
        command = [_python("procrastinate"), "-m", "tieout_lab.bench.peers.with_procrastinate"]
        with Served("procrastinate-schema", command, place.folder, prepare) as schema:
            schema.ended()
        worker = _worker(stack, place, "procrastinate", given)
        loader = _client(stack, "procrastinate", given)
        yield Running(loader, _cpu(loader, store, worker), _rows(store, worker))


@contextmanager
def _dbos(place: Place) -> Iterator[Running]:
    with _tables(place, "dbos") as store, ExitStack() as stack:
        given = {"database": store.url, "base": place.base}
        worker = _worker(stack, place, "dbos", given)
        worker.until((place.folder / "dbos.ready").exists)
        loader = _client(stack, "dbos", given)
        yield Running(loader, _cpu(loader, store, worker), _rows(store, worker))


@contextmanager
def _celery(place: Place) -> Iterator[Running]:
    port = free_port()
    with _tables(place, "celery") as store, ExitStack() as stack:
        # The append-only file, written to disk each second, as Redis advises for data that should not be lost.
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--dir", str(place.folder)]
        redis = stack.enter_context(Served("redis", command, place.folder))
        redis.until(lambda: _listens(port))
        given = {"database": store.url, "base": place.base, "broker": f"redis://127.0.0.1:{port}/0"}
        pool = ("-P", "gevent", "-c", str(work.IN_FLIGHT))
        quiet = ("-l", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")
        module = "tieout_lab.bench.peers.with_celery"
        worker = _worker(stack, place, "celery", given, "-m", "celery", "-A", module, "worker", *pool, *quiet)
        loader = _client(stack, "celery", given)
        yield Running(loader, _cpu(loader, store, worker, redis), _rows(store, worker))


def _cpu(loader: Child, store: Store, *served: Served) -> Cpu:
    return {
        "engine": _of(*served),
        "database": store.cpu_seconds,
        "loader": lambda: group_cpu_seconds(loader.pid),
    }


def _listens(port: int) -> bool:
    import socket

    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def _get_celery() -> None:
    if shutil.which("redis-server") is None:
        raise NotThere("redis-server is not there: install Redis (Debian: apt-get install redis-server)")
    _python("celery")


# -- Restate ----------------------------------------------------------------------------------------------------------


def _restate_server() -> Path:
    """The server's program, as the npm package of this machine's kind brings it. Raises NotThere."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--prefix", str(folder)]
        install([*npm, f"@restatedev/restate-server@{_RESTATE}"], folder)

    folder = made(cache("peers"), f"restate-server-{_RESTATE}", make)
    found = sorted(folder.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if not found:
        raise NotThere(f"{folder} holds no restate-server for this machine")
    return found[0]


def _get_restate() -> None:
    _python("restate")
    _restate_server()


@contextmanager
def _restate(place: Place) -> Iterator[Running]:
    ingress, admin, node, service = (free_port() for _ in range(4))
    configuration = place.folder / "restate.toml"
    # What is not set is the server's default: every step is in its replicated log on disk before it is told.
    configuration.write_text(
        f'base-dir = "{place.folder / "restate-data"}"\nbind-address = "127.0.0.1:{node}"\n'
        f'advertised-address = "http://127.0.0.1:{node}/"\ndisable-telemetry = true\nlog-filter = "warn"\n'
        f'[admin]\nbind-address = "127.0.0.1:{admin}"\n[ingress]\nbind-address = "127.0.0.1:{ingress}"\n'
    )
    given = {"base": place.base, "ingress": f"http://127.0.0.1:{ingress}", "port": service}
    with ExitStack() as stack:
        command = [_restate_server(), "--config-file", configuration]
        server = stack.enter_context(Served("restate-server", command, place.folder))
        worker = _worker(stack, place, "restate", given)
        server.until(lambda: _answers(f"http://127.0.0.1:{admin}/health"))
        worker.until(lambda: _listens(service))
        _post(f"http://127.0.0.1:{admin}/deployments", {"uri": f"http://127.0.0.1:{service}"})
        loader = _client(stack, "restate", given)

        def wait(count: int) -> Finished:
            deadline = time.monotonic() + _LONGEST_SECONDS
            while True:
                server.check()
                worker.check()
                if (found := _states(admin)).results >= count:
                    return found
                if time.monotonic() > deadline:
                    raise Broken(f"Restate finished {found.results} of {count} events")
                time.sleep(0.5)

        yield Running(
            loader, {"engine": _of(server, worker), "loader": lambda: group_cpu_seconds(loader.pid)}, wait
        )


def _states(admin: int) -> Finished:
    """What the lanes' states hold: of each event its result and its audit entry."""
    query = "SELECT key, value_utf8 FROM state WHERE service_name = 'Lane'"
    rows = _post(f"http://127.0.0.1:{admin}/query", {"query": query})["rows"]
    values = {kind: [json.loads(row["value_utf8"]) for row in rows if row["key"].startswith(kind)]
              for kind in ("result", "audit")}  # fmt: skip
    at = max((entry["at"] for entry in values["audit"]), default=0.0)
    return Finished(len(values["result"]), len(values["audit"]), at)


def _answers(url: str) -> bool:
    with urllib.request.urlopen(url, timeout=2) as response:  # noqa: S310 - on loopback
        return bool(response.status == 200)


def _post(url: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 - on loopback
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        found: dict[str, Any] = json.loads(response.read())
    return found


ENGINES = (
    Engine(
        name="tieout_sqlite",
        title="tieout, SQLite",
        order="a lane has one runner, which makes good one event after the other",
        running=_tieout("peer_tieout_sqlite", on_postgres=False),
        postgres=False,
    ),
    Engine(
        name="tieout_postgresql",
        title="tieout, PostgreSQL",
        order="a lane has one runner, which makes good one event after the other",
        running=_tieout("peer_tieout_postgresql", on_postgres=True),
    ),
    Engine(
        name="dbos",
        title="DBOS, PostgreSQL",
        order="a queue partitioned by lane, one workflow of a partition at a time",
        running=_dbos,
        get=lambda: _python("dbos"),
    ),
    Engine(
        name="restate",
        title="Restate",
        order="a virtual object for each lane, which runs one invocation at a time",
        running=_restate,
        get=_get_restate,
        postgres=False,
    ),
    Engine(
        name="celery",
        title="Celery, Redis",
        order="none: one queue, taken from in order, tasks beside one another",
        running=_celery,
        get=_get_celery,
    ),
    Engine(
        name="procrastinate",
        title="procrastinate, PostgreSQL",
        order="a lock for each lane, its jobs in the order in which they were deferred",
        running=_procrastinate,
        get=lambda: _python("procrastinate"),
    ),
)
