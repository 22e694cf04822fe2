"""The hub under measurement: the composition of `tieout up` without its pages, in a process of its own."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import structlog
import uvloop

from tieout.app import App, compose, read_settings, system_ports
from tieout.canonical.ids import Ref
from tieout.engine.keys import need_key
from tieout.engine.ledger import meet
from tieout.store import documents
from tieout.store.statements import Step
from tieout.system import keep_still
from tieout.web.app import Web
from tieout.web.hooks import Hooks
from tieout_lab.bench import bodies
from tieout_lab.bench.bare import serving
from tieout_lab.bench.children import answer, given, heard
from tieout_lab.bench.obligations import ledger_of


async def bind_customers(app: App) -> None:
    """Every customer is known at billing and at the ERP, as after years of work."""
    now = app.hub.now()
    steps: list[Step] = []
    for number in range(bodies.CUSTOMERS):
        account = Ref(connection="salesforce-main", kind="account", id=bodies.crm_account(number))
        at_erp = Ref(connection="salesforce-main", kind="account", id=f"{account.id}#us")
        bound = {
            "kind": "customer",
            "canonical_id": str(account),
            "connection": "stripe-us",
            "external_id": bodies.billing_customer(number),
            "now": now,
        }
        steps.append((documents.BIND, bound))
        steps += meet(need_key("customer", at_erp, "netsuite-main"), bodies.erp_customer(number), now)
    await app.hub.store.commit(steps)


def slow_down(app: App, seconds: float) -> None:
    """Each commit of an SQLite store takes so much longer, in the thread that waits for the disk. PostgreSQL has a
    setting for it."""
    store: Any = app.hub.store
    if not seconds or store.dialect != "sqlite":
        return
    commit = store._commit  # noqa: SLF001 - no hub has this switch

    def slowly() -> Any:
        time.sleep(seconds)
        return commit()

    store._commit = slowly  # noqa: SLF001


async def _nothing() -> None:
    """In place of an hourly loop."""


def finished(app: App) -> int:
    """Runs that ended, as the hub's own metric counts them; each is durable by then."""
    total = 0
    for family in app.hub.metrics.runs.collect():
        for sample in family.samples:
            if sample.name.endswith("_total") and sample.labels["outcome"] == "done":
                total += int(sample.value)
    return total


class Profiler:
    """cProfile of the whole process, on demand."""

    def __init__(self) -> None:
        self._profile: Any = None

    def start(self) -> None:
        import cProfile

        self._profile = cProfile.Profile()
        self._profile.enable()

    def stop(self, path: str) -> None:
        self._profile.disable()
        self._profile.dump_stats(path)


async def obey(app: App, port: int) -> None:
    """Do what the parent says, until it has gone."""
    answer({"port": port, "pid": os.getpid()})
    profiler = Profiler()
    while (told := await heard()) is not None:
        match told["do"]:
            case "runs":
                while finished(app) < told["count"]:  # noqa: ASYNC110 - a counter tells
                    await asyncio.sleep(0.01)
                answer({"at": time.monotonic(), "count": finished(app)})
            case "work":
                await app.start()
                answer({"working": True})
            case "lanes":
                answer(await ledger_of(app, told))
            case "profile":
                profiler.start()
                answer({})
            case "profiled":
                profiler.stop(told["path"])
                answer({})
            case "stats":
                store: Any = app.hub.store
                budgets = {name: budget.most_out for name, budget in app.hub.budgets.items()}
                answer({"commits": store.commits, "units": store.units, "most_out": budgets})
            case other:
                raise ValueError(other)


async def main() -> None:
    options = given()
    app = await compose(
        read_settings(Path(options["configuration"])), system_ports(), database=options["database"]
    )
    if options.get("bind", True):
        await bind_customers(app)
    slow_down(app, options.get("slow_seconds", 0.0))
    if not options.get("examine", True):
        housekeeping: Any = app.housekeeping
        housekeeping.examine = _nothing
    if options.get("work", True):
        await app.start()
    keep_still()
    whole = options.get("pages", False)
    application = Web(app, app.worker.wake) if whole else Hooks(app.hub, 1_000_000, app.worker.wake)
    server, task, port = await serving(application)
    await obey(app, port)
    server.should_exit = True
    await task
    await app.stop()


def quietly(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a hub of the bench to its end: what it says on the way goes to stderr, and only what is wrong."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )
    uvloop.run(main())


if __name__ == "__main__":
    quietly(main)
